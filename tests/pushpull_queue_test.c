/* PUSH/PULL: who comes first or last, who dies, what stays, what each call
 * answers.                                                                 */
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "shmcomm_pushpull.h"

#include "core_support.h"

#include <pthread.h>

static void
push_open(shmc_push *push, const shmc_push_desc *desc)
{
    shmc_push_desc d;

    memset(&d, 0, sizeof d);
    if (desc != NULL) d = *desc;
    d.dir = core_dir;
    const int r = shmc_push_open(push, "robot/jobs", &d);
    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    assert_int_equal(r, SHMC_OK);
}

static int
push_open_fails(const shmc_push_desc *desc)
{
    shmc_push_desc d = *desc;
    shmc_push push;

    d.dir = core_dir;
    const int r = shmc_push_open(&push, "robot/jobs", &d);
    assert_int_equal(shmc_push_send(&push, "", 0, 0), SHMC_ECLOSED);
    return r;
}

static void
pull_open_as(shmc_pull *pull, bool until_end)
{
    const shmc_pull_desc d = { .until_end = until_end, .dir = core_dir };

    assert_int_equal(shmc_pull_open(pull, "robot/jobs", &d), SHMC_OK);
}

static void pull_open(shmc_pull *pull) { pull_open_as(pull, false); }

static void
say(shmc_push *push, const char *text)
{
    assert_int_equal(shmc_push_send(push, text, (uint32_t)strlen(text) + 1, 0),
                     SHMC_OK);
}

/* The next message is `text`, and comes for the n-th time.                */
static void
hear_again(shmc_pull *pull, const char *text, uint32_t again)
{
    char buf[256] = "";
    const int r = shmc_pull_recv(pull, buf, sizeof buf, SHMC_FOREVER);

    assert_int_equal(r, strlen(text) + 1);
    assert_string_equal(buf, text);
    assert_int_equal(shmc_pull_redeliveries(pull), again);
}

static void hear(shmc_pull *pull, const char *text) { hear_again(pull, text, 0); }

static void
hear_nothing(shmc_pull *pull)
{
    char buf[256];

    for (int i = 0; i < 50; i++)
        assert_int_equal(shmc_pull_recv(pull, buf, sizeof buf, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_pull_recv(pull, buf, sizeof buf, 3000000),
                     SHMC_ETIMEDOUT);
}

static int files(void) { return core_count(core_dir); }

/* ---- comings and goings -------------------------------------------------- */

static void
hello_world(void **state)
{
    shmc_push push;
    shmc_pull pull;

    (void)state;
    push_open(&push, NULL);
    pull_open(&pull);
    say(&push, "hello");
    hear(&pull, "hello");
    hear_nothing(&pull);
    assert_int_equal(shmc_push_send(&push, NULL, 0, 0), SHMC_OK);
    assert_int_equal(shmc_pull_recv(&pull, NULL, 0, SHMC_FOREVER), 0);
    assert_int_equal(shmc_push_close(&push), SHMC_OK);
    assert_int_equal(files(), 1);
    assert_int_equal(shmc_pull_close(&pull), SHMC_OK);
    assert_int_equal(files(), 0);
    assert_int_equal(core_logs, 0);
}

static void
either_side_may_be_first(void **state)
{
    shmc_push push;
    shmc_pull pull;

    (void)state;
    pull_open(&pull);
    assert_int_equal(shmc_pull_ready(&pull), 0);
    hear_nothing(&pull);
    push_open(&push, NULL);
    say(&push, "one");
    hear(&pull, "one");
    assert_int_equal(shmc_pull_ready(&pull), 1);
    shmc_push_close(&push);
    shmc_pull_close(&pull);
    push_open(&push, NULL);
    say(&push, "two");
    pull_open(&pull);
    hear(&pull, "two");
    shmc_pull_close(&pull);
    shmc_push_close(&push);
    pull_open(&pull);               /* and nobody ever comes                */
    shmc_pull_close(&pull);
}

static void
each_message_goes_to_one_worker(void **state)
{
    enum { MESSAGES = 3000, WORKERS = 3 };
    static uint8_t got[MESSAGES];
    const shmc_push_desc desc = { .depth = 16, .max_bytes = 300 };
    shmc_push push[2];
    shmc_pull pull[WORKERS];
    uint32_t in = 0, out = 0;

    (void)state;
    memset(got, 0, sizeof got);
    for (int i = 0; i < 2; i++) push_open(&push[i], &desc);
    for (int i = 0; i < WORKERS; i++) pull_open(&pull[i]);
    while (out < MESSAGES) {
        uint32_t m[75];
        while (in < MESSAGES) {
            for (int i = 0; i < 75; i++) m[i] = in;
            if (shmc_push_send(&push[in % 2], m, 4 + in % 75 * 4, 0) != SHMC_OK)
                break;
            in++;
        }
        const int r = shmc_pull_recv(&pull[in * 7 % 3], m, sizeof m, 0);
        if (r == SHMC_EAGAIN) continue;
        assert_int_equal(r, 4 + m[0] % 75 * 4);
        for (int i = 0; i < r / 4; i++) assert_int_equal(m[i], m[0]);
        assert_int_equal(m[0], out);        /* in order, all in one thread  */
        assert_int_equal(got[m[0]]++, 0);
        out++;
    }
    for (int i = 0; i < WORKERS; i++) shmc_pull_close(&pull[i]);
    for (int i = 0; i < 2; i++) shmc_push_close(&push[i]);
    assert_int_equal(files(), 0);
}

static void
what_nobody_has_taken_stays_for_the_next(void **state)
{
    shmc_push push;
    shmc_pull pull;

    (void)state;
    for (int round = 0; round < 2; round++) {
        push_open(&push, &(shmc_push_desc){ .depth = 8, .max_bytes = 100 });
        say(&push, "one");
        say(&push, "two");
        shmc_push_close(&push);
        assert_int_equal(files(), 1);
        if (round == 1) {           /* the next pusher finds it, too        */
            assert_int_equal(push_open_fails(&(shmc_push_desc){ .depth = 16 }),
                             SHMC_EMISMATCH);
            assert_non_null(strstr(shmc_last_error(), "depth 8, not 16"));
            assert_int_equal(files(), 1);
            push_open(&push, NULL);
            say(&push, "three");
            shmc_push_close(&push);
        }
        pull_open(&pull);
        hear(&pull, "one");
        shmc_pull_close(&pull);
        assert_int_equal(files(), 1);
        pull_open(&pull);
        hear(&pull, "two");
        if (round == 1) hear(&pull, "three");
        shmc_pull_close(&pull);
        assert_int_equal(files(), 0);
    }
}

static void
a_thousand_comings_and_goings_leave_nothing(void **state)
{
    shmc_push push;
    shmc_pull pull;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        if (i % 2) pull_open(&pull);
        push_open(&push, &(shmc_push_desc){ .depth = 2, .max_bytes = 64u << i % 3 });
        if (!(i % 2)) pull_open(&pull);
        if (i % 3) say(&push, "x");
        if (i % 3) hear(&pull, "x");
        if (i % 5 > 2) shmc_push_close(&push);
        shmc_pull_close(&pull);
        if (i % 5 <= 2) shmc_push_close(&push);
    }
    assert_int_equal(files(), 0);
    assert_int_equal(core_count("/proc/self/fd"), core_fds);
    assert_int_equal(core_logs, 0);
}

/* ---- sizes ---------------------------------------------------------------- */

static void
fill(uint8_t *p, uint32_t bytes, uint32_t seed)
{
    for (uint32_t i = 0; i < bytes; i++) p[i] = (uint8_t)(seed + i * 7);
}

static bool
is_filled(const uint8_t *p, uint32_t bytes, uint32_t seed)
{
    for (uint32_t i = 0; i < bytes; i++)
        if (p[i] != (uint8_t)(seed + i * 7)) return false;
    return true;
}

/* Fill the queue and empty it again, so often that it wraps, with messages
 * of all sizes about the limits, by copy and in place.                     */
static void
messages_of_every_size_come_whole_at_every_depth(void **state)
{
    static const uint32_t most[] = { 1, 8, 60, 104, 111, 112, 113, 128, 1000 };
    static const uint32_t sizes[] = { 0, 1, 7, 8, 9, 63, 64, 65, 104, 105, 111,
                                      112, 113, 127, 128, 129, 999, 1000 };
    static uint8_t out[2048], in[2048];

    (void)state;
    for (uint32_t k = 0; k < 27; k++) {
        const shmc_push_desc desc = { .depth = 1u << k / 9,
                                      .max_bytes = most[k % 9] };
        shmc_push push;
        shmc_pull pull;
        push_open(&push, &desc);
        pull_open(&pull);
        for (uint32_t n = 0; n < 72; n += desc.depth) {
            for (uint32_t i = 0; i < desc.depth; i++) {
                const uint32_t bytes = sizes[(n + i) % 18];
                fill(out, bytes, n + i);
                const int r = shmc_push_send(&push, out, bytes, 0);
                const bool fits = bytes <= (desc.max_bytes > 112
                                  ? desc.max_bytes : (desc.max_bytes + 7) / 8 * 8);
                assert_int_equal(r, fits ? SHMC_OK : SHMC_EMSGSIZE);
                if (!fits) say(&push, "");
            }
            assert_int_equal(shmc_push_send(&push, out, 1, 0), SHMC_EAGAIN);
            for (uint32_t i = 0; i < desc.depth; i++) {
                const uint32_t bytes = sizes[(n + i) % 18];
                const void *view;
                const bool copy = n / desc.depth % 2;
                const int r = copy ? shmc_pull_recv(&pull, in, sizeof in, 0)
                                   : shmc_pull_borrow(&pull, &view, 0);
                assert_true(r >= 0);
                if ((uint32_t)r == bytes)
                    assert_true(is_filled(copy ? in : view, bytes, n + i));
                else assert_int_equal(r, 1);
                if (!copy) assert_int_equal(shmc_pull_release(&pull), SHMC_OK);
            }
            assert_int_equal(shmc_pull_recv(&pull, in, sizeof in, 0),
                             SHMC_EAGAIN);
        }
        shmc_pull_close(&pull);
        shmc_push_close(&push);
    }
}

static void
the_longest_message_has_64_mebibytes_in_place(void **state)
{
    const uint32_t bytes = 64u << 20;
    const shmc_push_desc desc = { .depth = 1, .max_bytes = bytes };
    shmc_push push;
    shmc_pull pull;
    const void *view;
    void *room;

    (void)state;
    push_open(&push, &desc);
    pull_open(&pull);
    assert_int_equal(shmc_push_loan(&push, bytes + 1, &room, 0), SHMC_EMSGSIZE);
    assert_int_equal(shmc_push_loan(&push, bytes, &room, 0), SHMC_OK);
    assert_int_equal((uintptr_t)room % 128, 0);
    ((uint8_t *)room)[0] = 1;
    ((uint8_t *)room)[bytes - 1] = 2;
    assert_int_equal(shmc_push_commit(&push, bytes), SHMC_OK);
    assert_int_equal(shmc_pull_borrow(&pull, &view, 0), bytes);
    assert_int_equal(((const uint8_t *)view)[0], 1);
    assert_int_equal(((const uint8_t *)view)[bytes - 1], 2);
    assert_int_equal(shmc_pull_release(&pull), SHMC_OK);
    shmc_push_close(&push);
    shmc_pull_close(&pull);
}

static void
messages_can_be_lent_and_borrowed(void **state)
{
    shmc_push push;
    shmc_pull pull;
    const void *view;
    void *room;

    (void)state;
    push_open(&push, NULL);
    pull_open(&pull);
    for (uint32_t bytes = 0; bytes < 16000; bytes = bytes * 2 + 1) {
        assert_int_equal(shmc_push_loan(&push, bytes, &room, 0), SHMC_OK);
        fill(room, bytes, bytes);
        assert_int_equal(shmc_push_send(&push, "", 0, 0), SHMC_EBUSY);
        assert_int_equal(shmc_push_loan(&push, 0, &room, 0), SHMC_EBUSY);
        assert_int_equal(shmc_push_drain(&push, 0), SHMC_EBUSY);
        assert_int_equal(shmc_pull_borrow(&pull, &view, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_push_commit(&push, bytes + 1), SHMC_EMSGSIZE);
        assert_int_equal(shmc_push_commit(&push, bytes / 2), SHMC_OK);
        assert_int_equal(shmc_push_commit(&push, 0), SHMC_EINVAL);
        assert_int_equal(shmc_pull_borrow(&pull, &view, SHMC_FOREVER), bytes / 2);
        assert_true(is_filled(view, bytes / 2, bytes));
        assert_int_equal(shmc_pull_recv(&pull, NULL, 0, 0), SHMC_EBUSY);
        assert_int_equal(shmc_pull_borrow(&pull, &view, 0), SHMC_EBUSY);
        assert_int_equal(shmc_pull_release(&pull), SHMC_OK);
        assert_int_equal(shmc_pull_release(&pull), SHMC_EINVAL);
        assert_int_equal(shmc_push_loan(&push, bytes, &room, 0), SHMC_OK);
        assert_int_equal(shmc_push_abort(&push), SHMC_OK);
        assert_int_equal(shmc_push_abort(&push), SHMC_EINVAL);
        assert_int_equal(shmc_pull_borrow(&pull, &view, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_pull_borrow(&pull, &view, 2000000), SHMC_ETIMEDOUT);
    }
    shmc_pull_close(&pull);
    shmc_push_close(&push);
}

static void
a_message_that_does_not_fit_is_kept_for_the_next_call(void **state)
{
    shmc_push push;
    shmc_pull pull, other;
    const void *view;
    char buf[200];

    (void)state;
    push_open(&push, &(shmc_push_desc){ .max_bytes = 200 });
    pull_open(&pull);
    pull_open(&other);
    for (uint32_t bytes = 20; bytes <= 200; bytes += 180) {
        for (int i = 0; i < 4; i++) {
            memset(buf, 'a' + i, sizeof buf);
            assert_int_equal(shmc_push_send(&push, buf, bytes, 0), SHMC_OK);
        }
        for (int i = 0; i < 3; i++)
            assert_int_equal(shmc_pull_recv(&pull, buf, 19, i - 1), SHMC_EMSGSIZE);
        assert_int_equal(shmc_pull_release(&pull), SHMC_EINVAL);
        assert_int_equal(shmc_pull_recv(&other, buf, 200, 0), bytes);
        assert_int_equal(buf[0], 'b');
        assert_int_equal(shmc_pull_recv(&pull, buf, 200, 0), bytes);
        assert_int_equal(buf[0], 'a');
        assert_int_equal(shmc_pull_recv(&pull, buf, 0, 0), SHMC_EMSGSIZE);
        assert_int_equal(shmc_pull_borrow(&pull, &view, 0), bytes);
        assert_int_equal(*(const char *)view, 'c');
        assert_int_equal(shmc_pull_release(&pull), SHMC_OK);
        assert_int_equal(shmc_pull_recv(&pull, buf, 0, 0), SHMC_EMSGSIZE);
        shmc_pull_close(&pull);     /* another one gets it                  */
        assert_int_equal(shmc_pull_recv(&other, buf, 200, SHMC_FOREVER), bytes);
        assert_int_equal(buf[0], 'd');
        assert_int_equal(shmc_pull_redeliveries(&other), 1);
        pull_open(&pull);
    }
    shmc_pull_close(&pull);
    shmc_pull_close(&other);
    shmc_push_close(&push);
    assert_int_equal(files(), 0);
}

static void
what_finds_no_room_is_refused_and_counted(void **state)
{
    shmc_push push;
    shmc_pull pull;
    void *room;

    (void)state;
    push_open(&push, &(shmc_push_desc){ .depth = 2, .max_bytes = 8 });
    pull_open(&pull);
    say(&push, "a");
    say(&push, "b");
    assert_int_equal(shmc_push_send(&push, "c", 2, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_push_send(&push, "c", 2, 3000000), SHMC_ETIMEDOUT);
    assert_int_equal(shmc_push_loan(&push, 2, &room, 0), SHMC_EAGAIN);
    assert_null(room);
    assert_int_equal(shmc_push_loan(&push, 2, &room, 3000000), SHMC_ETIMEDOUT);
    assert_int_equal(push.refused, 4);
    hear(&pull, "a");
    say(&push, "d");
    hear(&pull, "b");
    hear(&pull, "d");
    assert_int_equal(push.refused, 4);
    shmc_pull_close(&pull);
    shmc_push_close(&push);
}

/* ---- deaths -------------------------------------------------------------- */

typedef struct peer {
    uint32_t joined;                /* set once it is there                 */
    uint32_t go, bytes, got;
    char dir[64];
} peer;

/* Take one message, by copy if `got` says so, else hold it, until killed.   */
static int
take_and_wait(void *arg)
{
    peer *p = arg;
    const shmc_pull_desc d = { .dir = p->dir };
    shmc_pull pull;
    const void *view;

    TEST_REQUIRE(shmc_pull_open(&pull, "robot/jobs", &d) == SHMC_OK);
    TEST_REQUIRE(shmc_pull_borrow(&pull, &view, SHMC_FOREVER) > 0);
    shmi_store_rel_32(&p->joined, 1);
    while (shmi_load_acq_32(&p->go) == 0) test_sleep_ms(1);
    TEST_REQUIRE(shmc_pull_release(&pull) == SHMC_OK);
    TEST_REQUIRE(shmc_pull_close(&pull) == SHMC_OK);
    return 0;
}

static int
push_and_wait(void *arg)
{
    peer *p = arg;
    const shmc_push_desc d = { .dir = p->dir };
    shmc_push push;
    void *room;

    TEST_REQUIRE(shmc_push_open(&push, "robot/jobs", &d) == SHMC_OK);
    TEST_REQUIRE(shmc_push_send(&push, "of the dead", 12, 0) == SHMC_OK);
    if (p->bytes != 0)
        TEST_REQUIRE(shmc_push_loan(&push, p->bytes, &room, 0) == SHMC_OK);
    shmi_store_rel_32(&p->joined, 1);
    while (shmi_load_acq_32(&p->go) == 0) test_sleep_ms(1);
    return shmc_push_close(&push);
}

static pid_t
start(int (*fn)(void *), peer *p)
{
    p->joined = p->go = 0;
    snprintf(p->dir, sizeof p->dir, "%s", core_dir);
    const pid_t pid = test_spawn(fn, p);
    while (shmi_load_acq_32(&p->joined) == 0) test_sleep_ms(1);
    return pid;
}

static void
what_a_dead_worker_held_comes_again_with_a_count(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_push push;
    shmc_pull pull;

    (void)state;
    push_open(&push, &(shmc_push_desc){ .depth = 4 });
    pull_open(&pull);
    for (uint32_t deaths = 0; deaths < 4; deaths++) {
        say(&push, "again");
        for (uint32_t i = 0; i < deaths; i++)
            test_kill(start(take_and_wait, p));
        say(&push, "new");
        if (deaths == 0) hear(&pull, "again");
        hear(&pull, "new");         /* it comes out of turn                 */
        if (deaths > 0) hear_again(&pull, "again", deaths);
    }
    shmc_mpmc_stats st;
    assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
    assert_int_equal(st.redelivered, 1 + 2 + 3);
    assert_int_equal(st.dropped + st.poisoned, 0);
    shmc_pull_close(&pull);
    shmc_push_close(&push);
    shmi_unmap(p, sizeof *p);
}

static void
what_too_many_workers_died_with_is_poison(void **state)
{
    peer *p = test_shared(sizeof *p);

    (void)state;
    for (uint32_t limit = 1; limit <= 3; limit++) {
        const shmc_push_desc desc = { .depth = 2, .max_redeliveries = limit };
        shmc_mpmc_stats st;
        shmc_push push;
        shmc_pull pull;

        push_open(&push, &desc);
        say(&push, "poison");
        for (uint32_t i = 0; i <= limit; i++) test_kill(start(take_and_wait, p));
        pull_open(&pull);
        hear_nothing(&pull);
        assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
        assert_int_equal(st.poisoned, 1);
        assert_int_equal(st.redelivered, limit);
        assert_int_equal(st.popped, 0);
        /* Where it lay is free, also if a pusher meets it first.          */
        say(&push, "bad");
        say(&push, "good");
        for (uint32_t i = 0; i <= limit; i++) {
            if (i == 0) hear(&pull, "bad");
            if (i == 0) hear(&pull, "good");
            if (i == 0) say(&push, "bad");
            test_kill(start(take_and_wait, p));
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(shmc_push_send(&push, "next", 5, SHMC_FOREVER),
                             SHMC_OK);
        hear(&pull, "next");
        hear(&pull, "next");
        assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
        assert_int_equal(st.poisoned, 2);
        shmc_pull_close(&pull);
        shmc_push_close(&push);
        assert_int_equal(files(), 0);
    }
    shmi_unmap(p, sizeof *p);
}

static void
by_drop_what_a_dead_worker_held_is_gone(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_mpmc_stats st;
    shmc_push push;
    shmc_pull pull;

    (void)state;
    push_open(&push, &(shmc_push_desc){ .depth = 2,
                                        .on_worker_death = SHMC_DROP });
    for (int i = 0; i < 5; i++) {
        say(&push, "lost");
        test_kill(start(take_and_wait, p));
        assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_OK);
    }
    pull_open(&pull);
    hear_nothing(&pull);
    assert_int_equal(shmc_pull_stats_get(&pull, &st), SHMC_OK);
    assert_int_equal(st.dropped, 5);
    say(&push, "lost, too");        /* who leaves with it counts as dead    */
    const void *view;
    assert_int_equal(shmc_pull_borrow(&pull, &view, 0), 10);
    shmc_pull_close(&pull);
    assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_OK);
    assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
    assert_int_equal(st.dropped, 6);
    say(&push, "lost");
    test_kill(start(take_and_wait, p));
    shmc_push_close(&push);         /* nobody would get it                  */
    assert_int_equal(files(), 0);
    shmi_unmap(p, sizeof *p);
}

static void
what_the_dead_left_is_taken_over_or_replaced(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_push push;
    shmc_pull pull;

    (void)state;
    for (p->bytes = 0; p->bytes <= 10000; p->bytes += 5000) {
        test_kill(start(push_and_wait, p));
        assert_int_equal(files(), 1);
        assert_int_equal(push_open_fails(&(shmc_push_desc){ .max_bytes = 50 }),
                         SHMC_EMISMATCH);
        if (p->bytes == 0) push_open(&push, NULL);
        pull_open(&pull);
        hear(&pull, "of the dead");
        hear_nothing(&pull);        /* nothing of its loan                  */
        if (p->bytes == 0) shmc_push_close(&push);
        shmc_pull_close(&pull);
        assert_int_equal(files(), 0);
    }
    /* Without messages, its shape binds nobody, and no worker waits there. */
    p->bytes = 0;
    pull_open(&pull);
    const pid_t pid = start(push_and_wait, p);
    hear(&pull, "of the dead");
    shmc_pull_close(&pull);
    test_kill(pid);
    assert_int_equal(files(), 1);
    pull_open(&pull);
    hear_nothing(&pull);
    push_open(&push, &(shmc_push_desc){ .max_bytes = 50 });
    say(&push, "another shape");
    hear(&pull, "another shape");
    shmc_push_close(&push);
    shmc_pull_close(&pull);
    shmi_unmap(p, sizeof *p);
}

static void
a_stopped_worker_is_alive(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_push push;
    shmc_pull pull;
    shmc_mpmc_stats st;

    (void)state;
    push_open(&push, &(shmc_push_desc){ .depth = 4 });
    say(&push, "held");
    const pid_t pid = start(take_and_wait, p);
    kill(pid, SIGSTOP);
    pull_open(&pull);
    for (int i = 0; i < 3; i++) say(&push, "more");
    for (int i = 0; i < 3; i++) hear(&pull, "more");
    hear_nothing(&pull);
    assert_int_equal(shmc_push_drain(&push, 3000000), SHMC_ETIMEDOUT);
    assert_int_equal(shmc_push_send(&push, "full", 5, 3000000), SHMC_ETIMEDOUT);
    kill(pid, SIGCONT);
    shmi_store_rel_32(&p->go, 1);
    assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_OK);
    assert_int_equal(test_join(pid), 0);
    assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
    assert_int_equal(st.redelivered, 0);
    assert_int_equal(st.popped, 4);
    shmc_pull_close(&pull);
    shmc_push_close(&push);
    shmi_unmap(p, sizeof *p);
}

/* ---- draining, and the end ----------------------------------------------- */

static void
drained_is_what_was_taken_and_released(void **state)
{
    shmc_push push;
    shmc_pull pull;
    const void *view;

    (void)state;
    for (uint32_t depth = 1; depth <= 4; depth *= 2) {
        push_open(&push, &(shmc_push_desc){ .depth = depth });
        pull_open(&pull);
        assert_int_equal(shmc_push_drain(&push, 0), SHMC_OK);
        for (int lap = 0; lap < 5; lap++) {
            for (uint32_t i = 0; i < depth; i++) say(&push, "x");
            assert_int_equal(shmc_push_drain(&push, 0), SHMC_EAGAIN);
            assert_int_equal(shmc_push_drain(&push, 2000000), SHMC_ETIMEDOUT);
            for (uint32_t i = 1; i < depth; i++) hear(&pull, "x");
            assert_int_equal(shmc_pull_borrow(&pull, &view, 0), 2);
            assert_int_equal(shmc_push_drain(&push, 0), SHMC_EAGAIN);
            assert_int_equal(shmc_pull_release(&pull), SHMC_OK);
            assert_int_equal(shmc_push_drain(&push, 0), SHMC_OK);
        }
        shmc_pull_close(&pull);
        shmc_push_close(&push);
    }
}

typedef struct sleeper {
    pthread_t thread;
    shmc_push *push;
    shmc_pull *pull;
    uint32_t stage;
    int result, what;
} sleeper;

static void *
sleep_in_a_call(void *arg)
{
    sleeper *s = arg;
    char text[64];

    shmi_store_rel_32(&s->stage, 1);
    s->result = s->what == 0 ? shmc_pull_recv(s->pull, text, sizeof text, -1)
              : s->what == 1 ? shmc_push_send(s->push, "late", 5, -1)
                             : shmc_push_drain(s->push, -1);
    return NULL;
}

static void
sleeper_start(sleeper *s)
{
    s->stage = 0;
    assert_int_equal(pthread_create(&s->thread, NULL, sleep_in_a_call, s), 0);
    while (shmi_load_acq_32(&s->stage) == 0) test_sleep_ms(1);
    test_sleep_ms(20);
}

static void
sleepers_are_woken(void **state)
{
    (void)state;
    for (uint32_t wake = SHMC_WAKE_FENCE; wake <= SHMC_WAKE_ASYMMETRIC; wake++) {
        const shmc_push_desc desc = { .depth = 1, .wake = wake };
        shmc_push push, other;
        shmc_pull pull;
        sleeper s = { .push = &push, .pull = &pull, .what = 0 };

        push_open(&other, &desc);
        push_open(&push, &desc);
        pull_open_as(&pull, true);
        sleeper_start(&s);
        say(&push, "wake up");
        assert_int_equal(pthread_join(s.thread, NULL), 0);
        assert_int_equal(s.result, 8);
        for (s.what = 1; s.what <= 2; s.what++) {
            if (s.what == 1) say(&push, "full");
            sleeper_start(&s);
            hear(&pull, s.what == 1 ? "full" : "late");
            assert_int_equal(pthread_join(s.thread, NULL), 0);
            assert_int_equal(s.result, SHMC_OK);
        }
        s.what = 0;                 /* the last pusher's leaving, too       */
        shmc_push_close(&push);
        sleeper_start(&s);
        shmc_push_close(&other);
        assert_int_equal(pthread_join(s.thread, NULL), 0);
        assert_int_equal(s.result, SHMC_EEND);
        shmc_pull_close(&pull);
    }
}

static void
the_end_is_when_all_pushers_have_gone_and_all_is_done(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_push push, other;
    shmc_pull pull, holder;
    const void *view;
    char buf[16];

    (void)state;
    pull_open_as(&pull, true);      /* before there is a queue: not the end */
    assert_int_equal(shmc_pull_recv(&pull, buf, 16, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_pull_ended(&pull), 0);
    push_open(&push, NULL);
    push_open(&other, NULL);
    hear_nothing(&pull);
    say(&push, "one");
    say(&push, "two");
    shmc_push_close(&push);
    pull_open_as(&holder, true);
    assert_int_equal(shmc_pull_borrow(&holder, &view, 0), 4);
    hear(&pull, "two");
    hear_nothing(&pull);            /* the other pusher is there            */
    shmc_push_close(&other);
    hear_nothing(&pull);            /* the other worker has one             */
    assert_int_equal(shmc_pull_ended(&holder), 0);
    shmc_pull_close(&holder);       /* and left it to us                    */
    hear_again(&pull, "one", 1);
    assert_int_equal(shmc_pull_ended(&pull), 1);
    for (int i = -1; i < 2; i++) {
        assert_int_equal(shmc_pull_recv(&pull, buf, 16, i), SHMC_EEND);
        assert_int_equal(shmc_pull_borrow(&pull, &view, i), SHMC_EEND);
    }
    push_open(&push, NULL);         /* a new one begins anew                */
    hear_nothing(&pull);
    say(&push, "three");
    shmc_push_close(&push);
    hear(&pull, "three");
    assert_int_equal(shmc_pull_recv(&pull, buf, 16, -1), SHMC_EEND);
    const pid_t pid = start(push_and_wait, p);
    hear(&pull, "of the dead");
    hear_nothing(&pull);
    test_kill(pid);                 /* who died has gone                    */
    assert_int_equal(shmc_pull_recv(&pull, buf, 16, -1), SHMC_EEND);
    shmc_pull_close(&pull);
    shmi_unmap(p, sizeof *p);
}

static void
a_pusher_that_died_with_a_loan_does_not_put_the_end_off(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_pull pull;
    char buf[16];

    (void)state;
    for (p->bytes = 50; p->bytes < 1000; p->bytes += 500) {
        pull_open_as(&pull, true);
        const pid_t pid = start(push_and_wait, p);
        hear(&pull, "of the dead");
        hear_nothing(&pull);
        test_kill(pid);
        assert_int_equal(shmc_pull_recv(&pull, buf, 16, -1), SHMC_EEND);
        shmc_pull_close(&pull);
        assert_int_equal(files(), 0);
    }
    shmi_unmap(p, sizeof *p);
}

/* ---- who may what --------------------------------------------------------- */

static void
another_shape_is_refused_with_both_values(void **state)
{
    static const struct { shmc_push_desc desc; const char *text; } row[] = {
        { { .depth = 512 }, "depth 256, not 512" },
        { { .max_bytes = 1001 }, "max_bytes 1000, not 1001" },
        { { .max_bytes = 50 }, "max_bytes 1000, not 56" },
        { { .max_handles = 3 }, "max_handles 64, not 3" },
        { { .on_worker_death = SHMC_DROP }, "on_worker_death 0, not 1" },
        { { .max_redeliveries = 4 }, "max_redeliveries 3, not 4" },
        { { .wake = SHMC_WAKE_ASYMMETRIC }, "wake 0, not 1" },
    };
    shmc_push push, other;

    (void)state;
    push_open(&push, &(shmc_push_desc){ .max_bytes = 1000,
                                        .max_redeliveries = 3 });
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal(push_open_fails(&row[i].desc), SHMC_EMISMATCH);
        assert_non_null(strstr(shmc_last_error(), row[i].text));
    }
    push_open(&other, NULL);
    shmc_push_close(&other);
    shmc_push_close(&push);
}

static void
seats_run_out(void **state)
{
    const shmc_pull_desc d = { .dir = core_dir };
    shmc_push push;
    shmc_pull pull, more;

    (void)state;
    push_open(&push, &(shmc_push_desc){ .max_handles = 2 });
    pull_open(&pull);
    assert_int_equal(shmc_pull_open(&more, "robot/jobs", &d), SHMC_ELIMIT);
    assert_int_equal(shmc_pull_recv(&more, NULL, 0, -1), SHMC_ECLOSED);
    assert_int_equal(push_open_fails(&(shmc_push_desc){ .depth = 0 }),
                     SHMC_ELIMIT);
    shmc_pull_close(&pull);
    pull_open(&pull);
    shmc_pull_close(&pull);
    shmc_push_close(&push);
}

static void
bad_options_are_rejected(void **state)
{
    static const shmc_push_desc bad[] = {
        { .depth = 3 }, { .max_bytes = (1u << 30) + 1 }, { .max_handles = 4001 },
        { .on_worker_death = 2 }, { .max_redeliveries = 16384 }, { .wake = 2 },
        { .access = 01000 }, { .flags = SHMC_READ_ONLY },
        { .flags = SHMC_EPHEMERAL },
    };
    static const char *const names[] = { "", "/x", "x/", "a//b", "..", "a b" };
    const shmc_pull_desc flags = { .flags = SHMC_READ_ONLY };
    shmc_push push;
    shmc_pull pull;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(push_open_fails(&bad[i]), SHMC_EINVAL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(shmc_push_open(&push, names[i], NULL), SHMC_ENAME);
        assert_int_equal(shmc_pull_open(&pull, names[i], NULL), SHMC_ENAME);
    }
    assert_int_equal(shmc_pull_open(&pull, "bad", &flags), SHMC_EINVAL);
    assert_int_equal(shmc_pull_open(&pull, "bad", &(shmc_pull_desc){
                     .dir = "x" }), SHMC_ENAME);
    assert_int_equal(shmc_pull_open(&pull, "bad", &(shmc_pull_desc){
                     .dir = "/nowhere" }), SHMC_ENOENT);
    assert_int_equal(shmc_pull_close(&pull), SHMC_ECLOSED);
}

static void
a_full_file_system_is_told_at_create(void **state)
{
    (void)state;
    assert_int_equal(push_open_fails(&(shmc_push_desc){
                     .depth = 1u << 12, .max_bytes = 1u << 30 }), SHMC_ENOSPC);
    assert_int_equal(files(), 0);
}

static void
a_name_in_use_for_something_else_is_told(void **state)
{
    const shmc_topic_desc topic = { .dir = core_dir };
    const shmc_sub_desc sub_here = { .dir = core_dir };
    const shmc_pull_desc here = { .dir = core_dir };
    shmc_segment s;
    shmc_push push;
    shmc_pull pull;
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "robot/jobs", &topic), SHMC_OK);
    assert_int_equal(push_open_fails(&(shmc_push_desc){ .depth = 0 }), SHMC_ETYPE);
    assert_non_null(strstr(shmc_last_error(), "queue 'robot/jobs': the segment "
                           "of this name holds a 'topic' and is no queue"));
    assert_int_equal(shmc_pull_open(&pull, "robot/jobs", &here), SHMC_ETYPE);
    shmc_pub_close(&pub);
    push_open(&push, NULL);
    assert_int_equal(shmc_pub_open(&pub, "robot/jobs", &topic), SHMC_ETYPE);
    assert_int_equal(shmc_sub_open(&sub, "robot/jobs", &sub_here), SHMC_ETYPE);
    say(&push, "stays");
    shmc_push_close(&push);
    assert_int_equal(shmc_pub_open(&pub, "robot/jobs", &topic), SHMC_ETYPE);
    assert_int_equal(shmc_sub_open(&sub, "robot/jobs", &sub_here), SHMC_ETYPE);
    pull_open(&pull);
    hear(&pull, "stays");
    shmc_pull_close(&pull);
    /* A segment of the user's own, even with an object of that name.      */
    core_create(&s, "robot/jobs", 0);
    assert_int_equal(push_open_fails(&(shmc_push_desc){ .depth = 0 }), SHMC_ETYPE);
    const shmc_object_desc raw = { .bytes = 4096 };
    const shmc_mpmc_desc own = { .slot_bytes = 16, .waitable = 1, .slot_count = 4,
                                 .max_handles = 4 };
    shmc_object o;
    shmc_mpmc q;
    assert_int_equal(shmc_object_open(&s, "work", &raw, &o), SHMC_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(push_open_fails(&(shmc_push_desc){ .depth = 0 }),
                         SHMC_ETYPE);
        assert_int_equal(shmc_pull_open(&pull, "robot/jobs", &here), SHMC_ETYPE);
        if (i == 0) shmc_object_close(&s, &o);
        if (i == 0) assert_int_equal(shmc_object_remove(&s, "work"), SHMC_OK);
        if (i == 0) assert_int_equal(shmc_mpmc_open(&q, &s, "work", &own,
                                                    SHMC_PRODUCER), SHMC_OK);
    }
    shmc_mpmc_close(&q);
    shmc_segment_close(&s);
    assert_int_equal(push_open_fails(&(shmc_push_desc){ .depth = 0 }), SHMC_ETYPE);
    assert_int_equal(files(), 1);
    assert_int_equal(core_unlink("robot/jobs", 0), SHMC_OK);
}

static void
closed_handles_say_so(void **state)
{
    shmc_mpmc_stats st;
    shmc_push push;
    shmc_pull pull;
    const void *view;
    void *room;

    (void)state;
    push_open(&push, NULL);
    pull_open(&pull);
    shmc_push_close(&push);
    shmc_pull_close(&pull);
    assert_int_equal(shmc_push_send(&push, "", 0, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_push_loan(&push, 0, &room, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_push_commit(&push, 0), SHMC_ECLOSED);
    assert_int_equal(shmc_push_abort(&push), SHMC_ECLOSED);
    assert_int_equal(shmc_push_drain(&push, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_ECLOSED);
    assert_int_equal(shmc_push_close(&push), SHMC_ECLOSED);
    assert_int_equal(shmc_pull_recv(&pull, NULL, 0, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_pull_borrow(&pull, &view, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_pull_release(&pull), SHMC_ECLOSED);
    assert_int_equal(shmc_pull_ended(&pull), SHMC_ECLOSED);
    assert_int_equal(shmc_pull_ready(&pull), SHMC_ECLOSED);
    assert_int_equal(shmc_pull_stats_get(&pull, &st), SHMC_ECLOSED);
    assert_int_equal(shmc_pull_close(&pull), SHMC_ECLOSED);
}

typedef struct inherited { shmc_push push; shmc_pull pull, waiting; } inherited;

static int
use_inherited(void *arg)
{
    inherited *in = arg;
    shmc_mpmc_stats st;
    const void *view;
    void *room;

    TEST_REQUIRE(shmc_push_send(&in->push, "", 0, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_push_loan(&in->push, 1, &room, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_push_commit(&in->push, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_push_abort(&in->push) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_push_drain(&in->push, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_push_stats_get(&in->push, &st) == SHMC_EFORKED);
    for (shmc_pull *p = &in->pull; p <= &in->waiting; p++) {
        TEST_REQUIRE(shmc_pull_recv(p, NULL, 0, -1) == SHMC_EFORKED);
        TEST_REQUIRE(shmc_pull_borrow(p, &view, -1) == SHMC_EFORKED);
        TEST_REQUIRE(shmc_pull_release(p) == SHMC_EFORKED);
        TEST_REQUIRE(shmc_pull_ready(p) == SHMC_EFORKED);
        TEST_REQUIRE(shmc_pull_ended(p) == SHMC_EFORKED);
        TEST_REQUIRE(shmc_pull_stats_get(p, &st) == SHMC_EFORKED);
        TEST_REQUIRE(shmc_pull_close(p) == SHMC_OK);
    }
    TEST_REQUIRE(shmc_push_close(&in->push) == SHMC_OK);
    return 0;
}

static void
a_forked_child_may_not_use_what_it_inherits(void **state)
{
    const shmc_pull_desc here = { .dir = core_dir };
    inherited in;
    const void *view;

    (void)state;
    push_open(&in.push, NULL);
    pull_open(&in.pull);
    assert_int_equal(shmc_pull_open(&in.waiting, "nobody", &here), SHMC_OK);
    assert_int_equal(test_join(test_spawn(use_inherited, &in)), 0);
    say(&in.push, "still mine");
    assert_int_equal(shmc_pull_borrow(&in.pull, &view, 0), 11);
    assert_int_equal(test_join(test_spawn(use_inherited, &in)), 0);
    assert_int_equal(shmc_pull_release(&in.pull), SHMC_OK);
    assert_int_equal(shmc_push_drain(&in.push, 0), SHMC_OK);
    shmc_pull_close(&in.waiting);
    shmc_pull_close(&in.pull);
    shmc_push_close(&in.push);
    assert_int_equal(files(), 0);
}

/* ---- polling --------------------------------------------------------------- */

static int
look(shmc_pollable p, uint32_t events, shmi_poll_spot *spot)
{
    memset(spot, 0, sizeof *spot);
    spot->slice_ns = SHMC_RECHECK_NS;
    return p.look(p.object, events, true, spot);
}

static void
a_poller_is_told_when_to_look_and_where_to_sleep(void **state)
{
    shmi_poll_spot spot;
    shmc_push push;
    shmc_pull pull;
    char buf[16];

    (void)state;
    pull_open_as(&pull, true);
    assert_int_equal(look(shmc_pull_pollable(&pull), SHMC_POLLIN, &spot), 0);
    assert_int_equal(spot.slice_ns, SHMC_TOPIC_POLL_NS);
    assert_null(spot.bell[0]);
    push_open(&push, &(shmc_push_desc){ .depth = 1 });
    assert_int_equal(shmi_endpoint_await(shmi_pull_is_ready, &pull, UINT64_MAX),
                     SHMC_OK);
    assert_int_equal(look(shmc_pull_pollable(&pull), SHMC_POLLIN, &spot), 0);
    assert_ptr_equal(spot.bell[0], &pull.work.ring.shm->readable);
    assert_int_equal(spot.slice_ns, SHMC_PEER_CHECK_NS);
    assert_int_equal(look(shmc_push_pollable(&push), SHMC_POLLOUT, &spot),
                     SHMC_POLLOUT);
    say(&push, "x");
    assert_int_equal(look(shmc_push_pollable(&push), SHMC_POLLOUT, &spot), 0);
    assert_ptr_equal(spot.bell[1], &push.work.ring.shm->writable);
    assert_int_equal(look(shmc_pull_pollable(&pull), SHMC_POLLIN, &spot),
                     SHMC_POLLIN);
    assert_int_equal(shmc_pull_recv(&pull, buf, 1, 0), SHMC_EMSGSIZE);
    assert_int_equal(look(shmc_pull_pollable(&pull), SHMC_POLLIN, &spot),
                     SHMC_POLLIN);  /* the one that was kept                */
    hear(&pull, "x");
    shmc_push_close(&push);
    assert_int_equal(look(shmc_pull_pollable(&pull), SHMC_POLLIN, &spot),
                     SHMC_POLLIN);  /* the end                              */
    assert_int_equal(shmc_pull_recv(&pull, buf, 1, 0), SHMC_EEND);
    shmc_pull_close(&pull);
    assert_int_equal(look(shmc_push_pollable(&push), SHMC_POLLOUT, &spot),
                     SHMC_ECLOSED);
    assert_int_equal(look(shmc_pull_pollable(&pull), SHMC_POLLIN, &spot),
                     SHMC_ECLOSED);
}

/* ---- hostile peers ----------------------------------------------------------*/

static void
a_message_with_a_lying_length_is_corrupt_and_gone(void **state)
{
    static const uint64_t lies[] = {
        113, 1001, UINT32_MAX, UINT64_C(1) << 32 | 1001, UINT64_C(2) << 32,
        UINT64_C(1) << 32 | UINT32_MAX, UINT64_MAX
    };
    static uint8_t big[4096];
    shmc_push push;
    shmc_pull pull;
    const void *view;

    (void)state;
    push_open(&push, &(shmc_push_desc){ .depth = 4, .max_bytes = 1000 });
    pull_open(&pull);
    for (size_t i = 0; i < 3 * sizeof lies / sizeof lies[0]; i++) {
        shmc_mpmc *q = &push.work.ring;
        const uint64_t at = shmi_load_rlx_64(&q->shm->tail);

        say(&push, "a lie");
        shmi_store_rlx_64(shmi_mpmc_at(q, at) + 1, lies[i / 3]);
        if (i % 3 == 2) {           /* which becomes one while it is kept   */
            shmi_store_rlx_64(shmi_mpmc_at(q, at) + 1, 6);
            assert_int_equal(shmc_pull_recv(&pull, big, 1, 0), SHMC_EMSGSIZE);
            shmi_store_rlx_64(shmi_mpmc_at(q, at) + 1, lies[i / 3]);
        }
        assert_int_equal(i % 3 ? shmc_pull_recv(&pull, big, sizeof big, -1)
                               : shmc_pull_borrow(&pull, &view, -1),
                         SHMC_ECORRUPT);
        say(&push, "the truth");
        hear(&pull, "the truth");
        assert_int_equal(shmc_push_drain(&push, 0), SHMC_OK);
    }
    shmc_pull_close(&pull);
    shmc_push_close(&push);
}

static void
a_lying_geometry_is_refused_and_kept(void **state)
{
    static const struct { uint32_t at; uint64_t is; } lies[] = {
        { 0, 0 }, { 8, 1u << 30 }, { 16, 8 }, { 16, 1u << 31 }, { 20, 3 },
        { 20, 1u << 20 }, { 24, 8 }, { 28, 0 }, { 32, 5000 }, { 36, 2 },
        { 40, 20000 }, { 48, 16 }, { 48, 1u << 31 }, { 48, 1u << 29 }
    };
    const shmc_pull_desc here = { .dir = core_dir };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        shmc_push push, other;
        shmc_pull pull;

        push_open(&push, &(shmc_push_desc){ .depth = 4, .max_bytes = 1000 });
        uint8_t *head = (uint8_t *)push.work.ring.shm;
        uint64_t was;
        memcpy(&was, head + lies[i].at, 8);
        const uint64_t is = lies[i].at >= 40 ? lies[i].is
                          : (was & ~(uint64_t)UINT32_MAX) | lies[i].is;
        memcpy(head + lies[i].at, &is, 8);
        const shmc_push_desc any = { .dir = core_dir };
        assert_true(shmc_push_open(&other, "robot/jobs", &any) < 0);
        assert_true(shmc_pull_open(&pull, "robot/jobs", &here) < 0);
        say(&push, "has its own copy");
        shmc_push_close(&push);     /* cannot tell what is in it            */
        assert_int_equal(files(), 1);
        assert_int_equal(core_unlink("robot/jobs", 0), SHMC_OK);
    }
}

/* Whatever a peer writes anywhere in the ring, no call crashes, or takes
 * longer than it was allowed to.                                           */
static int
scribble(void *arg)
{
    uint64_t *words = arg, seed = 1;

    while (getppid() > 0) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint64_t at = seed >> 33;
        const uint64_t is = at % 3 == 0 ? seed : at % 3 == 1 ? seed >> 60
                          : shmi_load_rlx_64(words + at % 400) + (at % 7 - 3);
        if (at % 400 < 16) continue;            /* constant; checked once   */
        shmi_store_rlx_64(words + at % 400, is);
    }
    return 0;
}

static void
scribbling_peer_harms_nobodys_process(void **state)
{
    const shmc_push_desc desc = { .depth = 4, .max_bytes = 300,
                                  .max_handles = 8, .max_redeliveries = 2 };
    static uint8_t big[1000];
    shmc_push push;
    shmc_pull pull;
    const void *view;
    void *room;

    (void)state;
    push_open(&push, &desc);
    pull_open_as(&pull, true);
    const pid_t pid = test_spawn(scribble, push.work.ring.shm);
    for (int i = 0; i < 3000; i++) {
        (void)shmc_push_send(&push, big, (uint32_t)i % 301, i % 64 == 0 ? 20000 : 0);
        if (shmc_push_loan(&push, (uint32_t)i % 301, &room, 0) == SHMC_OK) {
            memset(room, 1, (size_t)i % 301);
            (void)(i % 2 ? shmc_push_commit(&push, 1) : shmc_push_abort(&push));
        }
        assert_true(shmc_pull_recv(&pull, big, sizeof big, 0) <= 300);
        const int r = shmc_pull_borrow(&pull, &view, i % 64 == 1 ? 20000 : 0);
        assert_true(r <= 300);
        if (r > 0) memcpy(big, view, (size_t)r);
        if (r >= 0) (void)shmc_pull_release(&pull);
        (void)shmc_push_drain(&push, i % 64 == 2 ? 20000 : 0);
        (void)shmc_pull_ended(&pull);
    }
    test_kill(pid);
    (void)shmc_pull_close(&pull);
    (void)shmc_push_close(&push);
    (void)core_unlink("robot/jobs", SHMC_FORCE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(hello_world),
        CORE_CASE(either_side_may_be_first),
        CORE_CASE(each_message_goes_to_one_worker),
        CORE_CASE(what_nobody_has_taken_stays_for_the_next),
        CORE_CASE(a_thousand_comings_and_goings_leave_nothing),
        CORE_CASE(messages_of_every_size_come_whole_at_every_depth),
        CORE_CASE(the_longest_message_has_64_mebibytes_in_place),
        CORE_CASE(messages_can_be_lent_and_borrowed),
        CORE_CASE(a_message_that_does_not_fit_is_kept_for_the_next_call),
        CORE_CASE(what_finds_no_room_is_refused_and_counted),
        CORE_CASE(what_a_dead_worker_held_comes_again_with_a_count),
        CORE_CASE(what_too_many_workers_died_with_is_poison),
        CORE_CASE(by_drop_what_a_dead_worker_held_is_gone),
        CORE_CASE(what_the_dead_left_is_taken_over_or_replaced),
        CORE_CASE(a_stopped_worker_is_alive),
        CORE_CASE(drained_is_what_was_taken_and_released),
        CORE_CASE(sleepers_are_woken),
        CORE_CASE(the_end_is_when_all_pushers_have_gone_and_all_is_done),
        CORE_CASE(a_pusher_that_died_with_a_loan_does_not_put_the_end_off),
        CORE_CASE(another_shape_is_refused_with_both_values),
        CORE_CASE(seats_run_out),
        CORE_CASE(bad_options_are_rejected),
        CORE_CASE(a_full_file_system_is_told_at_create),
        CORE_CASE(a_name_in_use_for_something_else_is_told),
        CORE_CASE(closed_handles_say_so),
        CORE_CASE(a_forked_child_may_not_use_what_it_inherits),
        CORE_CASE(a_poller_is_told_when_to_look_and_where_to_sleep),
        CORE_CASE(a_message_with_a_lying_length_is_corrupt_and_gone),
        CORE_CASE(a_lying_geometry_is_refused_and_kept),
        CORE_CASE(scribbling_peer_harms_nobodys_process),
    };

    return cmocka_run_group_tests_name("pushpull_queue", tests, NULL, NULL);
}
