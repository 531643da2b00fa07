/* PUSH/PULL dealt by turns: who gets what while workers come, leave, stop,
 * die and fall behind; and what is told where no worker is.                */
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMC_RECHECK_NS 10000000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"

#include "core_support.h"

#include <pthread.h>

enum { DEPTH = 4, SHARES = 4 };

static const shmc_push_desc turns = { .depth = DEPTH, .max_bytes = 8,
                                      .max_handles = 8, .round_robin = SHARES };

static void
push_open(shmc_push *push, const shmc_push_desc *desc)
{
    shmc_push_desc d = *desc;

    d.dir = core_dir;
    const int r = shmc_push_open(push, "jobs", &d);
    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    assert_int_equal(r, SHMC_OK);
}

static int
pull_try_open(shmc_pull *pull)
{
    return shmc_pull_open(pull, "jobs", &(shmc_pull_desc){ .dir = core_dir });
}

static void
pull_open(shmc_pull *pull)
{
    assert_int_equal(pull_try_open(pull), SHMC_OK);
}

static int
send(shmc_push *push, uint64_t n)
{
    return shmc_push_send(push, &n, sizeof n, 0);
}

static void
say(shmc_push *push, uint64_t from, uint64_t to)
{
    for (; from <= to; from++) assert_int_equal(send(push, from), SHMC_OK);
}

/* What a try gets, or 0.                                                   */
static uint64_t
get(shmc_pull *pull)
{
    uint64_t n = 0;
    const int r = shmc_pull_recv(pull, &n, sizeof n, 0);

    assert_true(r == sizeof n || r == SHMC_EAGAIN);
    return n;
}

static void
hear(shmc_pull *pull, uint64_t n) { assert_int_equal(get(pull), n); }

/* The next one that comes, at last.                                        */
static uint64_t
await(shmc_pull *pull)
{
    uint64_t n = 0;

    assert_int_equal(shmc_pull_recv(pull, &n, sizeof n, SHMC_FOREVER), sizeof n);
    return n;
}

static void
hear_all(shmc_pull *pull, uint64_t from, uint64_t to)
{
    uint64_t seen = 0, all = 0;

    for (uint64_t n = from; n <= to; n++) {
        all |= UINT64_C(1) << n;
        seen |= UINT64_C(1) << await(pull);
    }
    assert_int_equal(seen, all);
}

static void
done(shmc_push *push, shmc_pull *pull, int pulls)
{
    for (int i = 0; i < pulls; i++)
        assert_int_equal(shmc_pull_close(&pull[i]), SHMC_OK);
    assert_int_equal(shmc_push_close(push), SHMC_OK);
    assert_int_equal(core_count(core_dir), 0);
}

/* ---- who is next ---------------------------------------------------------- */

static void
three_workers_get_every_third_message(void **state)
{
    shmc_push push;
    shmc_pull pull[3];

    (void)state;
    push_open(&push, &turns);
    for (int i = 0; i < 3; i++) pull_open(&pull[i]);
    push.turn = 2;                  /* the first one's turn                 */
    for (uint64_t n = 1; n <= 300; n += 3) {
        say(&push, n, n + 2);
        /* By whom it is received first does not matter.                    */
        for (uint64_t k = 0; k < 3; k++) {
            const uint64_t i = (n / 3 + k) % 3;
            hear(&pull[i], n + i);
        }
    }
    for (int i = 0; i < 3; i++) hear(&pull[i], 0);
    done(&push, pull, 3);
}

static void
each_pusher_deals_by_itself(void **state)
{
    shmc_push push[2];
    shmc_pull pull[2];

    (void)state;
    for (int i = 0; i < 2; i++) push_open(&push[i], &turns);
    for (int i = 0; i < 2; i++) pull_open(&pull[i]);
    push[0].turn = push[1].turn = 1;
    say(&push[0], 1, 2);
    say(&push[1], 11, 12);
    hear(&pull[0], 1);
    hear(&pull[1], 2);
    hear(&pull[0], 11);
    hear(&pull[1], 12);
    assert_int_equal(shmc_push_close(&push[1]), SHMC_OK);
    done(&push[0], pull, 2);
}

static void
who_has_no_room_is_skipped(void **state)
{
    shmc_push push;
    shmc_pull pull[2];

    (void)state;
    push_open(&push, &turns);
    for (int i = 0; i < 2; i++) pull_open(&pull[i]);
    push.turn = 1;
    say(&push, 1, 2 * DEPTH);       /* odd ones to the first                */
    assert_int_equal(send(&push, 99), SHMC_EAGAIN);
    assert_int_equal(push.refused, 1);
    for (uint64_t n = 2; n <= 2 * DEPTH; n += 2) hear(&pull[1], n);
    say(&push, 11, 10 + DEPTH);     /* all to the second                    */
    assert_int_equal(send(&push, 99), SHMC_EAGAIN);
    hear(&pull[0], 1);
    say(&push, 21, 21);
    assert_int_equal(send(&push, 99), SHMC_EAGAIN);
    for (uint64_t n = 3; n < 2 * DEPTH; n += 2) hear(&pull[0], n);
    hear(&pull[0], 21);
    for (uint64_t n = 11; n <= 10 + DEPTH; n++) hear(&pull[1], n);
    done(&push, pull, 2);
}

static void
who_comes_late_gets_its_turn(void **state)
{
    shmc_push push;
    shmc_pull pull[2], late;

    (void)state;
    push_open(&push, &turns);
    say(&push, 1, 2);               /* with nobody there: for the first     */
    for (int i = 0; i < 2; i++) pull_open(&pull[i]);
    hear(&pull[1], 0);
    hear(&pull[0], 1);
    hear(&pull[0], 2);
    say(&push, 3, 4);
    hear(&pull[1], 3);
    hear(&pull[0], 4);
    pull_open(&late);
    say(&push, 5, 8);
    hear(&pull[1], 5);
    hear(&late, 6);
    hear(&pull[0], 7);
    hear(&pull[1], 8);
    assert_int_equal(shmc_pull_close(&late), SHMC_OK);
    done(&push, pull, 2);
}

static void
order_holds_over_many_laps_of_one_slot(void **state)
{
    const shmc_push_desc d = { .depth = 1, .max_bytes = 300, .round_robin = 2 };
    shmc_push push;
    shmc_pull pull[2];
    uint8_t big[300];

    (void)state;
    push_open(&push, &d);
    for (int i = 0; i < 2; i++) pull_open(&pull[i]);
    push.turn = 1;
    for (uint32_t n = 0; n < 4000; n++) {
        const uint32_t bytes = n % 301;
        memset(big, (int)n & 0xff, sizeof big);
        assert_int_equal(shmc_push_send(&push, big, bytes, 0), SHMC_OK);
        memset(big, 0, sizeof big);
        assert_int_equal(shmc_pull_recv(&pull[n % 2], big, sizeof big, 0), bytes);
        for (uint32_t i = 0; i < bytes; i++)
            assert_int_equal(big[i], n & 0xff);
    }
    done(&push, pull, 2);
}

/* ---- leaving and dying ---------------------------------------------------- */

static void
what_a_worker_left_unread_others_get(void **state)
{
    shmc_push push;
    shmc_pull pull[2];
    shmc_mpmc_stats st;
    const void *view;

    (void)state;
    push_open(&push, &turns);
    for (int i = 0; i < 2; i++) pull_open(&pull[i]);
    push.turn = 1;
    say(&push, 1, 6);
    assert_int_equal(shmc_pull_borrow(&pull[0], &view, 0), 8);
    assert_int_equal(*(const uint64_t *)view, 1);
    assert_int_equal(shmc_push_drain(&push, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_pull_close(&pull[0]), SHMC_OK);
    say(&push, 7, 7);               /* no more to who left                  */
    hear_all(&pull[1], 1, 7);
    hear(&pull[1], 0);
    assert_int_equal(shmc_push_drain(&push, 0), SHMC_OK);
    assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
    assert_int_equal(st.pushed, 7);
    assert_int_equal(st.popped, 7);
    assert_int_equal(st.redelivered, 1);
    assert_int_equal(st.used, 0);
    assert_int_equal(st.slot_count, SHARES * DEPTH);
    done(&push, &pull[1], 1);
}

typedef struct peer {
    char dir[64];
    volatile uint32_t joined, go;
    bool holds;
} peer;

static int
work_and_wait(void *arg)
{
    peer *p = arg;
    const shmc_pull_desc d = { .dir = p->dir };
    shmc_pull pull;
    const void *view;

    TEST_REQUIRE(shmc_pull_open(&pull, "jobs", &d) == SHMC_OK);
    TEST_REQUIRE(shmc_pull_ready(&pull) == 1);
    p->joined = 1;
    if (p->holds) {
        TEST_REQUIRE(shmc_pull_borrow(&pull, &view, SHMC_FOREVER) > 0);
        p->joined = 2;
    }
    while (p->go == 0) test_sleep_ms(1);
    if (p->holds) TEST_REQUIRE(shmc_pull_release(&pull) == SHMC_OK);
    while (shmc_pull_recv(&pull, NULL, 0, 0) == SHMC_EMSGSIZE) {
        TEST_REQUIRE(shmc_pull_borrow(&pull, &view, 0) > 0);
        TEST_REQUIRE(shmc_pull_release(&pull) == SHMC_OK);
    }
    return shmc_pull_close(&pull);
}

static void
await_state(const peer *p, uint32_t joined)
{
    while (p->joined < joined) test_sleep_ms(1);
}

static pid_t
start(peer *p, bool holds)
{
    p->joined = p->go = 0;
    p->holds = holds;
    snprintf(p->dir, sizeof p->dir, "%s", core_dir);
    const pid_t pid = test_spawn(work_and_wait, p);
    await_state(p, 1);
    return pid;
}

static void
what_a_worker_died_with_others_get(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_push_desc d = turns;
    shmc_mpmc_stats st;
    shmc_push push;
    shmc_pull pull;

    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        d.on_worker_death = drop ? SHMC_DROP : SHMC_REDELIVER;
        push_open(&push, &d);
        pull_open(&pull);
        const pid_t pid = start(p, true);
        push.turn = 0;
        say(&push, 1, 6);           /* odd ones to the child                */
        await_state(p, 2);
        test_kill(pid);
        hear_all(&pull, drop ? 2 : 1, 6);
        say(&push, 7, 10);          /* its turn comes no more               */
        hear_all(&pull, 7, 9);
        assert_int_equal(shmc_push_drain(&push, 0), SHMC_EAGAIN);
        hear(&pull, 10);
        assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_OK);
        assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
        assert_int_equal(st.redelivered, !drop);
        assert_int_equal(st.dropped, drop);
        done(&push, &pull, 1);
    }
    shmi_unmap(p, sizeof *p);
}

/* Nobody is idle, and so nobody waits: the dead one's are found all the same. */
static void
busy_workers_find_what_the_dead_left(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_push push;
    shmc_pull pull;
    uint64_t n = 5, old = 0;

    (void)state;
    push_open(&push, &turns);
    pull_open(&pull);
    const pid_t pid = start(p, false);
    push.turn = 0;
    say(&push, 1, 4);
    test_kill(pid);
    while (old != (1 << 1 | 1 << 3)) {
        if (send(&push, n) == SHMC_OK) n++;
        const uint64_t got = get(&pull);
        if (got == 1 || got == 3) old |= UINT64_C(1) << got;
        assert_int_not_equal(got, 0);
    }
    while (get(&pull) != 0) { }
    assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_OK);
    done(&push, &pull, 1);
    shmi_unmap(p, sizeof *p);
}

static void
a_stopped_worker_keeps_its_share_and_others_go_on(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_mpmc_stats st;
    shmc_push push;
    shmc_pull pull;

    (void)state;
    push_open(&push, &turns);
    pull_open(&pull);
    const pid_t pid = start(p, false);
    kill(pid, SIGSTOP);
    push.turn = 0;
    for (uint64_t n = 1; n <= 2 * DEPTH; n += 2) {
        say(&push, n, n + 1);
        hear(&pull, n + 1);
    }
    for (uint64_t n = 100; n < 120; n++) {  /* there is no room with it      */
        say(&push, n, n);
        hear(&pull, n);
    }
    assert_int_equal(shmc_push_drain(&push, 15000000), SHMC_ETIMEDOUT);
    hear(&pull, 0);
    p->go = 1;
    kill(pid, SIGCONT);
    assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_OK);
    assert_int_equal(test_join(pid), 0);
    assert_int_equal(shmc_push_stats_get(&push, &st), SHMC_OK);
    assert_int_equal(st.redelivered, 0);
    done(&push, &pull, 1);
    shmi_unmap(p, sizeof *p);
}

static void
what_all_left_waits_in_the_file(void **state)
{
    shmc_push push;
    shmc_pull pull;

    (void)state;
    push_open(&push, &turns);
    pull_open(&pull);
    say(&push, 1, 3);
    assert_int_equal(shmc_pull_close(&pull), SHMC_OK);
    say(&push, 4, 4);
    assert_int_equal(shmc_push_close(&push), SHMC_OK);
    assert_int_equal(core_count(core_dir), 1);
    pull_open(&pull);
    hear_all(&pull, 1, 4);
    push_open(&push, &(shmc_push_desc){ .round_robin = SHARES });
    say(&push, 5, 5);
    hear(&pull, 5);
    done(&push, &pull, 1);
}

static void
the_end_comes_when_every_share_is_done(void **state)
{
    const shmc_pull_desc d = { .until_end = true, .dir = core_dir };
    shmc_push push;
    shmc_pull pull[2];
    uint64_t n;

    (void)state;
    push_open(&push, &turns);
    for (int i = 0; i < 2; i++)
        assert_int_equal(shmc_pull_open(&pull[i], "jobs", &d), SHMC_OK);
    push.turn = 1;
    say(&push, 1, 2);
    assert_int_equal(shmc_push_close(&push), SHMC_OK);
    hear(&pull[1], 2);
    assert_int_equal(shmc_pull_ended(&pull[1]), 0);
    hear(&pull[0], 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shmc_pull_recv(&pull[i], &n, 8, SHMC_FOREVER),
                         SHMC_EEND);
        assert_int_equal(shmc_pull_close(&pull[i]), SHMC_OK);
    }
    assert_int_equal(core_count(core_dir), 0);
}

/* ---- the other calls ------------------------------------------------------- */

static void
loans_and_what_is_kept_go_by_turns_too(void **state)
{
    shmc_push push;
    shmc_pull pull[2];
    uint64_t n;
    void *room;

    (void)state;
    push_open(&push, &turns);
    for (int i = 0; i < 2; i++) pull_open(&pull[i]);
    push.turn = 1;
    for (uint64_t k = 1; k <= 4; k++) {
        assert_int_equal(shmc_push_loan(&push, 8, &room, 0), SHMC_OK);
        assert_int_equal(send(&push, 99), SHMC_EBUSY);
        memcpy(room, &k, sizeof k);
        assert_int_equal(shmc_push_commit(&push, 8), SHMC_OK);
    }
    assert_int_equal(shmc_push_loan(&push, 8, &room, 0), SHMC_OK);
    assert_int_equal(shmc_push_abort(&push), SHMC_OK);
    assert_int_equal(shmc_push_abort(&push), SHMC_EINVAL);
    hear(&pull[0], 1);
    assert_int_equal(shmc_pull_recv(&pull[0], &n, 4, 0), SHMC_EMSGSIZE);
    hear(&pull[0], 3);
    hear(&pull[1], 2);
    hear(&pull[1], 4);
    assert_int_equal(shmc_pull_release(&pull[1]), SHMC_EINVAL);
    done(&push, pull, 2);
}

static void
another_shape_and_too_many_workers_are_told(void **state)
{
    shmc_push push, more;
    shmc_pull pull[SHARES], late;
    shmc_push_desc d = turns;

    (void)state;
    push_open(&push, &turns);
    d.dir = core_dir;
    d.round_robin = 2;
    assert_int_equal(shmc_push_open(&more, "jobs", &d), SHMC_EMISMATCH);
    assert_non_null(strstr(shmc_last_error(), "round_robin"));
    assert_int_equal(send(&more, 1), SHMC_ECLOSED);
    d.round_robin = 65;
    assert_int_equal(shmc_push_open(&more, "more", &d), SHMC_EINVAL);
    for (int i = 0; i < SHARES; i++) pull_open(&pull[i]);
    assert_int_equal(pull_try_open(&late), SHMC_ELIMIT);
    done(&push, pull, SHARES);
    push_open(&push, &(shmc_push_desc){ .depth = 4 });
    d = turns;
    d.depth = d.max_bytes = d.max_handles = 0;
    d.dir = core_dir;
    assert_int_equal(shmc_push_open(&more, "jobs", &d), SHMC_EMISMATCH);
    done(&push, NULL, 0);
}

/* A peer that keeps no rules scribbles over what says where the shares lie.  */
static void
a_lying_geometry_is_refused(void **state)
{
    shmc_push_desc d = { .dir = core_dir };
    shmc_push push, more;
    shmc_pull pull;

    (void)state;
    push_open(&push, &turns);
    shmi_ring_head_shm *head = &push.shares.shm->head;
    shmi_ring_head_shm *second = &push.shares.work[1].ring.shm->ring;
    struct { void *at; uint32_t lie; } row[] = {
        { &head->seats, 0 }, { &head->seats, 65 }, { &head->seats, 64 },
        { &head->aux[0], 1 << 30 }, { &head->aux[0], 127 },
        { &head->total_bytes, 256 }, { &second->slot_bytes, 8 },
        { &second->aux[SHMI_MPMC_AUX_BESIDE], 1000 }, { &second->mode, 1 },
        { &second->slot_count, 2 }, { &second->flags, 0 },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint32_t was;
        memcpy(&was, row[i].at, sizeof was);
        memcpy(row[i].at, &row[i].lie, sizeof was);
        const int r = shmc_push_open(&more, "jobs", &d);
        assert_true(r == SHMC_ECORRUPT || r == SHMC_EMISMATCH);
        assert_true(pull_try_open(&pull) < 0);
        memcpy(row[i].at, &was, sizeof was);
    }
    pull_open(&pull);
    say(&push, 1, 1);
    hear(&pull, 1);
    done(&push, &pull, 1);
}

static int
look(shmc_pollable p, uint32_t events)
{
    shmi_poll_spot spot = { .slice_ns = SHMC_RECHECK_NS };

    return p.look(p.object, events, true, &spot);
}

static void
a_poller_sees_room_and_work(void **state)
{
    shmc_push push;
    shmc_pull pull[2];

    (void)state;
    push_open(&push, &turns);
    for (int i = 0; i < 2; i++) pull_open(&pull[i]);
    const shmc_pollable out = shmc_push_pollable(&push);
    const shmc_pollable in = shmc_pull_pollable(&pull[0]);
    assert_int_equal(look(out, SHMC_POLLIN), SHMC_EINVAL);
    assert_int_equal(look(in, SHMC_POLLIN), 0);
    push.turn = 0;
    say(&push, 1, 1);               /* the other one's                      */
    assert_int_equal(look(in, SHMC_POLLIN), 0);
    say(&push, 2, 2 * DEPTH);
    assert_int_equal(look(in, SHMC_POLLIN), SHMC_POLLIN);
    assert_int_equal(look(out, SHMC_POLLOUT), 0);
    hear(&pull[0], 2);
    assert_int_equal(look(out, SHMC_POLLOUT), SHMC_POLLOUT);
    for (uint64_t n = 4; n <= 2 * DEPTH; n += 2) hear(&pull[0], n);
    assert_int_equal(look(in, SHMC_POLLIN), 0);
    assert_int_equal(shmc_pull_close(&pull[1]), SHMC_OK);
    assert_int_equal(look(in, SHMC_POLLIN), SHMC_POLLIN);
    for (uint64_t n = 1; n <= 2 * DEPTH; n += 2) hear(&pull[0], n);
    assert_int_equal(look(in, SHMC_POLLIN), 0);
    done(&push, pull, 1);
}

/* ---- waiting --------------------------------------------------------------- */

typedef struct worker {
    pthread_t thread;
    uint64_t count, sum;
} worker;

static void *
work_until_told(void *arg)
{
    worker *w = arg;
    shmc_pull pull;

    TEST_REQUIRE(pull_try_open(&pull) == SHMC_OK);
    for (;;) {
        uint64_t n = 0;
        const int r = shmc_pull_recv(&pull, &n, sizeof n, SHMC_FOREVER);
        TEST_REQUIRE(r == sizeof n);
        if (n == 0) break;
        w->count++;
        w->sum += n;
        if (n % 64 == 0) test_sleep_ms(1);
    }
    TEST_REQUIRE(shmc_pull_close(&pull) == SHMC_OK);
    return NULL;
}

static void
sleepers_on_both_sides_are_woken(void **state)
{
    enum { MESSAGES = 1500, WORKERS = 3 };
    worker w[WORKERS];
    shmc_push push;
    uint64_t count = 0, sum = 0;

    (void)state;
    push_open(&push, &turns);
    memset(w, 0, sizeof w);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, work_until_told,
                                        &w[i]), 0);
    for (uint64_t n = 1; n <= MESSAGES; n++) {
        assert_int_equal(shmc_push_send(&push, &n, sizeof n, SHMC_FOREVER),
                         SHMC_OK);
        if (n % 128 == 0) test_sleep_ms(2);
    }
    assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_OK);
    /* One 0 each; who leaves with another's hands it on.                   */
    for (int left = WORKERS; left > 0; left--) {
        const uint64_t end = 0;
        assert_int_equal(shmc_push_send(&push, &end, sizeof end, SHMC_FOREVER),
                         SHMC_OK);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        count += w[i].count;
        sum += w[i].sum;
    }
    assert_int_equal(count, MESSAGES);
    assert_int_equal(sum, (uint64_t)MESSAGES * (MESSAGES + 1) / 2);
    done(&push, NULL, 0);
}

static void
a_pusher_that_needs_workers_is_told_where_none_is(void **state)
{
    peer *p = test_shared(sizeof *p);
    shmc_push push, patient;

    (void)state;
    for (uint32_t shares = 0; shares <= 2; shares += 2) {
        const shmc_push_desc d = { .depth = 2, .max_bytes = 8,
                                   .round_robin = shares, .need_worker = true };
        push_open(&push, &d);
        push_open(&patient, &(shmc_push_desc){ .depth = 2 });
        assert_int_equal(shmc_push_served(&push), 0);
        say(&push, 1, 2);           /* there is room: nobody needs to wait  */
        assert_int_equal(send(&push, 3), SHMC_EPEERDEAD);
        assert_int_equal(send(&patient, 3), SHMC_EAGAIN);
        assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_EPEERDEAD);
        const pid_t pid = start(p, true);
        await_state(p, 2);
        assert_int_equal(shmc_push_served(&push), 1);
        for (uint64_t n = 3; send(&push, n) == SHMC_OK; n++) { }
        assert_int_equal(shmc_push_send(&push, "8 bytes", 8, 5000000),
                         SHMC_ETIMEDOUT);
        test_kill(pid);
        assert_int_equal(shmc_push_send(&push, "8 bytes", 8, SHMC_FOREVER),
                         SHMC_EPEERDEAD);
        assert_int_equal(shmc_push_drain(&push, SHMC_FOREVER), SHMC_EPEERDEAD);
        assert_int_equal(shmc_push_send(&patient, "8 bytes", 8, 5000000),
                         SHMC_ETIMEDOUT);
        assert_int_equal(shmc_push_served(&push), 0);
        shmc_pull pull;
        pull_open(&pull);
        assert_int_equal(shmc_push_served(&push), 1);
        while (get(&pull) != 0) { }
        test_sleep_ms(15);          /* what the dead one held               */
        while (shmc_push_drain(&push, 1000000) != SHMC_OK) (void)get(&pull);
        assert_int_equal(shmc_push_close(&patient), SHMC_OK);
        done(&push, &pull, 1);
        assert_int_equal(shmc_push_served(&push), SHMC_ECLOSED);
    }
    shmi_unmap(p, sizeof *p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(three_workers_get_every_third_message),
        CORE_CASE(each_pusher_deals_by_itself),
        CORE_CASE(who_has_no_room_is_skipped),
        CORE_CASE(who_comes_late_gets_its_turn),
        CORE_CASE(order_holds_over_many_laps_of_one_slot),
        CORE_CASE(what_a_worker_left_unread_others_get),
        CORE_CASE(what_a_worker_died_with_others_get),
        CORE_CASE(busy_workers_find_what_the_dead_left),
        CORE_CASE(a_stopped_worker_keeps_its_share_and_others_go_on),
        CORE_CASE(what_all_left_waits_in_the_file),
        CORE_CASE(the_end_comes_when_every_share_is_done),
        CORE_CASE(loans_and_what_is_kept_go_by_turns_too),
        CORE_CASE(another_shape_and_too_many_workers_are_told),
        CORE_CASE(a_lying_geometry_is_refused),
        CORE_CASE(a_poller_sees_room_and_work),
        CORE_CASE(sleepers_on_both_sides_are_woken),
        CORE_CASE(a_pusher_that_needs_workers_is_told_where_none_is),
    };

    return cmocka_run_group_tests_name("pushpull_turns", tests, NULL, NULL);
}
