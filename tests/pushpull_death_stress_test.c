/* Pushers and workers are killed, and some stopped, at random moments and
 * replaced, while others go on.  What was acknowledged as pushed is handed
 * out at least once by redelivery, at most once by drop, at most as often as
 * a limit says, always whole; and when all have gone, nothing is left.      */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"

#include "core_support.h"

enum {
    PUSHERS = 3, WORKERS = 4, PEOPLE = PUSHERS + WORKERS,
    KILLS = SHMI_TSAN ? 25 : 80, MAX_ITEMS = 1 << 20, MAX_BYTES = 1200
};

typedef struct book {
    shmc_push_desc desc;
    char dir[64];
    uint64_t next;                  /* item to push next                    */
    uint32_t open;                  /* the first pusher is here             */
    uint32_t stop, limit;
    uint8_t acked[MAX_ITEMS];       /* send returned                        */
    uint32_t out[MAX_ITEMS];        /* times handed out                     */
} book;

typedef struct who {
    book *b;
    uint32_t index;                 /* the first of each kind survives      */
} who;

/* ---- messages -------------------------------------------------------------- */

static uint32_t
bytes_of(uint64_t item)
{
    return 8 + (uint32_t)(item % 4 == 0 ? item % 149 : item % 14) * 8;
}

/* The item in each word, mixed with the word's place.                      */
static void
seal(uint64_t *w, uint64_t item)
{
    for (uint32_t i = 0; i < bytes_of(item) / 8; i++)
        w[i] = item + i * UINT64_C(0x9e3779b97f4a7c15);
}

static void
require_sealed(const uint64_t *w, int bytes)
{
    TEST_REQUIRE(bytes >= 8 && w[0] < MAX_ITEMS &&
                 (uint32_t)bytes == bytes_of(w[0]));
    for (uint32_t i = 0; i < (uint32_t)bytes / 8; i++)
        TEST_REQUIRE(w[i] == w[0] + i * UINT64_C(0x9e3779b97f4a7c15));
}

/* ---- people ------------------------------------------------------------------ */

static int
pushes(void *arg)
{
    who *w = arg;
    book *b = w->b;
    uint64_t words[MAX_BYTES / 8];
    shmc_push push;
    void *room;

    TEST_REQUIRE(shmc_push_open(&push, "death/work", &b->desc) == SHMC_OK);
    shmi_store_rel_32(&b->open, 1);
    while (shmi_load_acq_32(&b->stop) == 0) {
        const uint64_t item = shmi_faa_64(&b->next, 1);
        const uint32_t bytes = bytes_of(item);
        if (item >= MAX_ITEMS) {    /* all there are; nobody leaves for that */
            test_sleep_ms(1);
            continue;
        }
        seal(words, item);
        int r = SHMC_OK;
        if (item % 5 != 0) {
            r = shmc_push_send(&push, words, bytes, SHMC_FOREVER);
        } else {
            r = shmc_push_loan(&push, bytes, &room, SHMC_FOREVER);
            if (r == SHMC_OK) memcpy(room, words, bytes);
            if (r == SHMC_OK) r = shmc_push_commit(&push, bytes);
        }
        TEST_REQUIRE(r == SHMC_OK);
        b->acked[item] = 1;
        if (item % 512 == 0)
            TEST_REQUIRE(shmc_push_drain(&push, 1000000) != SHMC_ECORRUPT);
    }
    TEST_REQUIRE(shmc_push_close(&push) == SHMC_OK);
    return 0;
}

/* Who may die works in place, and so does not lose what it has only begun to
 * look at.                                                                 */
static int
works(void *arg)
{
    who *w = arg;
    book *b = w->b;
    const bool copies = w->index == PUSHERS;
    const shmc_pull_desc d = { .until_end = true, .dir = b->dir };
    uint64_t words[MAX_BYTES / 8];
    shmc_pull pull;
    int r;

    TEST_REQUIRE(shmc_pull_open(&pull, "death/work", &d) == SHMC_OK);
    for (uint32_t i = 0;; i++) {
        const void *data = words;
        r = copies ? shmc_pull_recv(&pull, words, sizeof words, 20000000)
                   : shmc_pull_borrow(&pull, &data, 20000000);
        /* Who came when all others had gone waits for a queue in vain.     */
        if (r == SHMC_ETIMEDOUT && shmi_load_acq_32(&b->stop) &&
            shmc_pull_ready(&pull) == 0) r = SHMC_EEND;
        if (r == SHMC_ETIMEDOUT) continue;
        if (r < 0) break;
        require_sealed(data, r);
        const uint32_t before = shmi_faa_32(&b->out[*(const uint64_t *)data], 1);
        TEST_REQUIRE(before <= shmc_pull_redeliveries(&pull));
        if (b->limit) TEST_REQUIRE(shmc_pull_redeliveries(&pull) <= b->limit);
        if (i % 256 == w->index) test_sleep_ms(1);
        if (copies) continue;
        if (i % 64 == 63) break;    /* and leave with it in hand            */
        TEST_REQUIRE(shmc_pull_release(&pull) == SHMC_OK);
    }
    TEST_REQUIRE(shmc_pull_close(&pull) == SHMC_OK);
    return r == SHMC_EEND ? 0 : r >= 0 ? 1 : 2;
}

/* ---- a run --------------------------------------------------------------------- */

static pid_t
start(who *w)
{
    return test_spawn(w->index < PUSHERS ? pushes : works, w);
}

static void
deaths(who *w, pid_t *pid)
{
    for (uint32_t k = 0; k < KILLS; k++) {
        uint32_t victim = (uint32_t)random() % PEOPLE;
        if (victim == 0 || victim == PUSHERS) victim++;
        test_sleep_ms((unsigned)random() % 6);
        if (k % 8 == 7) {           /* a stopped one is not dead            */
            kill(pid[victim], SIGSTOP);
            test_sleep_ms(5);
            kill(pid[victim], SIGCONT);
            continue;
        }
        kill(pid[victim], SIGKILL);
        const int r = test_join(pid[victim]);
        assert_true(r == 1000 + SIGKILL || r == 1);
        pid[victim] = start(&w[victim]);
    }
}

/* All pushers leave, and then all workers, who may have left before with a
 * message in hand.                                                         */
static void
all_leave(who *w, pid_t *pid)
{
    shmi_store_rel_32(&w->b->stop, 1);
    for (int i = 0; i < PUSHERS; i++) assert_int_equal(test_join(pid[i]), 0);
    for (int i = PUSHERS; i < PEOPLE; i++) {
        const int r = test_join(pid[i]);
        if (i == PUSHERS) assert_int_equal(r, 0);
        else assert_true(r == 0 || r == 1);
    }
}

/* What the last ones left with in hand.                                    */
static void
last_worker(book *b)
{
    const shmc_pull_desc d = { .until_end = true, .dir = b->dir };
    uint64_t words[MAX_BYTES / 8];
    shmc_pull pull;
    int r = SHMC_EAGAIN;

    assert_int_equal(shmc_pull_open(&pull, "death/work", &d), SHMC_OK);
    while (shmc_pull_ready(&pull) == 1 &&
           (r = shmc_pull_recv(&pull, words, sizeof words, SHMC_FOREVER)) >= 0) {
        require_sealed(words, r);
        b->out[words[0]]++;
    }
    assert_true(r == SHMC_EAGAIN || r == SHMC_EEND);
    assert_int_equal(shmc_pull_close(&pull), SHMC_OK);
}

static void
run(uint32_t depth, uint32_t on_death, uint32_t limit)
{
    book *b = test_shared(sizeof *b);
    uint64_t acked = 0, never = 0, again = 0;
    who w[PEOPLE];
    pid_t pid[PEOPLE];

    snprintf(b->dir, sizeof b->dir, "%s", core_dir);
    b->desc = (shmc_push_desc){ .depth = depth, .max_bytes = MAX_BYTES,
                                .on_worker_death = on_death, .dir = b->dir,
                                .max_redeliveries = limit };
    b->limit = limit;
    for (uint32_t i = 0; i < PEOPLE; i++) {
        w[i] = (who){ b, i };
        pid[i] = start(&w[i]);
        /* The first pusher stays: without it the death of another may be
         * the end of the work.                                             */
        while (shmi_load_acq_32(&b->open) == 0) test_sleep_ms(1);
    }
    deaths(w, pid);
    all_leave(w, pid);
    last_worker(b);
    const uint64_t items = b->next < MAX_ITEMS ? b->next : MAX_ITEMS;
    for (uint64_t i = 0; i < items; i++) {
        acked += b->acked[i];
        never += b->acked[i] && b->out[i] == 0;
        again += b->out[i] > 1;
        if (on_death == SHMC_DROP) assert_true(b->out[i] <= 1);
        else if (limit == 0 && b->acked[i]) assert_true(b->out[i] >= 1);
        if (limit != 0) assert_true(b->out[i] <= limit + 1);
    }
    printf("depth %u, %s, limit %u: %llu of %llu items acknowledged, %llu came "
           "again, %llu never\n", depth, on_death == SHMC_DROP ? "drop"
           : "redeliver", limit, (unsigned long long)acked,
           (unsigned long long)items, (unsigned long long)again,
           (unsigned long long)never);
    assert_true(acked > KILLS);
    shmi_unmap(b, sizeof *b);
}

static void
redelivered_is_at_least_once(void **state)
{
    (void)state;
    srandom(1);
    run(64, SHMC_REDELIVER, 0);
    run(4, SHMC_REDELIVER, 0);
}

static void
dropped_is_at_most_once(void **state)
{
    (void)state;
    srandom(2);
    run(16, SHMC_DROP, 0);
}

static void
limited_is_at_most_so_often(void **state)
{
    (void)state;
    srandom(3);
    run(8, SHMC_REDELIVER, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(redelivered_is_at_least_once),
        CORE_CASE(dropped_is_at_most_once),
        CORE_CASE(limited_is_at_most_so_often),
    };

    return cmocka_run_group_tests_name("pushpull_death", tests, NULL, NULL);
}
