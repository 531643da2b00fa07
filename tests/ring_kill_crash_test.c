/* One side of a queue or cell is killed after each instruction of one call;
 * the other side and a successor go on, at once.                          */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_recq.h"
#include "shmcomm_latest.h"
#include "crash_harness.h"

enum { SLOTS = 4, WORDS = 3, BATCH = 3, CAPACITY = 256 };

/* All words are the message's number, so that a torn one shows.           */
typedef struct message { uint64_t word[WORDS]; } message;

/* Shared with the child.                                                  */
typedef struct ledger {
    volatile uint32_t acked;        /* what the call returned, plus 1       */
    message out[BATCH];             /* where a pop puts its messages        */
} ledger;

static ledger *book;
static shmc_segment seg;            /* the test's, or the child's own       */
static shmc_spsc spsc, spsc_peer;
static shmc_recq recq, recq_peer;
static shmc_latest cell, cell_peer;
static uint32_t waitable, batch;

static message
number(uint64_t n)
{
    message m;

    for (int i = 0; i < WORDS; i++) m.word[i] = n;
    return m;
}

static bool
is_number(const message *m, uint64_t n)
{
    for (int i = 0; i < WORDS; i++)
        if (m->word[i] != n) return false;
    return true;
}

static void
acknowledge(int returned)
{
    TEST_REQUIRE(returned >= 0);
    shmi_fence_compiler();
    book->acked = (uint32_t)returned + 1;
}

static void
make_world(void)
{
    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0xff, sizeof *book);   /* no message looks like that       */
    book->acked = 0;
    crash_world(&seg, 16384);
}

static void
end_world(void)
{
    if (spsc.lane.shm != NULL) (void)shmc_spsc_close(&spsc);
    if (spsc_peer.lane.shm != NULL) (void)shmc_spsc_close(&spsc_peer);
    if (recq.lane.shm != NULL) (void)shmc_recq_close(&recq);
    if (recq_peer.lane.shm != NULL) (void)shmc_recq_close(&recq_peer);
    if (cell.shm != NULL) (void)shmc_latest_close(&cell);
    if (cell_peer.shm != NULL) (void)shmc_latest_close(&cell_peer);
    crash_leave(&seg);
}

/* ---- spsc -------------------------------------------------------------- */

static int
spsc_open(shmc_spsc *q, uint32_t role)
{
    const shmc_spsc_desc d = { .slot_bytes = sizeof(message),
                               .slot_count = SLOTS, .waitable = waitable };
    return shmc_spsc_open(q, &seg, "q", &d, role);
}

static void
spsc_push_before(void)
{
    make_world();
    CRASH_EQUAL(spsc_open(&spsc_peer, SHMC_CONSUMER), SHMC_OK);
    CRASH_EQUAL(shmc_spsc_close(&spsc_peer), SHMC_OK);
}

/* Fill the queue and take messages out, so that the next push finds it full
 * by what it knows, and wraps.  3 ... 6 or 3 stay.                        */
static void
spsc_push_enter(void)
{
    crash_join(&seg);
    TEST_REQUIRE(spsc_open(&spsc, SHMC_PRODUCER) == SHMC_OK);
    TEST_REQUIRE(spsc_open(&spsc_peer, SHMC_CONSUMER) == SHMC_OK);
    for (uint64_t n = 0; n < SLOTS; n++) {
        message m = number(n);
        TEST_REQUIRE(shmc_spsc_push(&spsc, &m, sizeof m) == SHMC_OK);
        if (n < 3)
            TEST_REQUIRE(shmc_spsc_pop(&spsc_peer, &m, sizeof m) == SHMC_OK);
    }
    TEST_REQUIRE(shmc_spsc_close(&spsc_peer) == SHMC_OK);
    /* As if somebody slept: the call goes through the wake-up, too.       */
    if (waitable) spsc.lane.shm->readable.asleep = 1;
}

static void
spsc_push_act(void)
{
    const message m[BATCH] = { number(4), number(5), number(6) };

    acknowledge(batch ? shmc_spsc_push_n(&spsc, m, sizeof m[0], BATCH)
                      : shmc_spsc_push(&spsc, m, sizeof m[0]));
}

/* The consumer gets what was there, then the call's messages, all or none;
 * a successor goes on.  Each in one call.                                 */
static void
spsc_push_check(void)
{
    message m;
    uint64_t next = 3;

    CRASH_EQUAL(spsc_open(&spsc_peer, SHMC_CONSUMER), SHMC_OK);
    while (shmc_spsc_pop(&spsc_peer, &m, sizeof m) == SHMC_OK)
        CRASH_CHECK(is_number(&m, next++));
    const uint64_t whole = batch ? 7 : 5;
    if (book->acked) CRASH_EQUAL(next, whole);
    CRASH_CHECK(next == 4 || next == whole);
    CRASH_EQUAL(spsc_open(&spsc, SHMC_PRODUCER), SHMC_OK);
    for (uint64_t n = 100; n < 100 + 3 * SLOTS; n++) {
        m = number(n);
        CRASH_EQUAL(shmc_spsc_push(&spsc, &m, sizeof m), SHMC_OK);
        if (n < 100 + SLOTS - 1) continue;
        CRASH_EQUAL(shmc_spsc_pop(&spsc_peer, &m, sizeof m), SHMC_OK);
        CRASH_CHECK(is_number(&m, n - SLOTS + 1));
    }
}

static const crash_case spsc_push_case = {
    spsc_push_before, spsc_push_enter, spsc_push_act, NULL, spsc_push_check, end_world
};

static void
spsc_push_killed_anywhere_leaves_acknowledged_messages(void **state)
{
    (void)state;
    waitable = batch = 0;
    crash_sweep("spsc push", &spsc_push_case);
    waitable = 1;
    crash_sweep("spsc push, waking", &spsc_push_case);
}

static void
spsc_push_n_killed_anywhere_publishes_all_or_none(void **state)
{
    (void)state;
    waitable = 0;
    batch = 1;
    crash_sweep("spsc push_n", &spsc_push_case);
}

static void
spsc_pop_before(void)
{
    make_world();
    CRASH_EQUAL(spsc_open(&spsc, SHMC_PRODUCER), SHMC_OK);
    for (uint64_t n = 0; n < SLOTS; n++) {
        const message m = number(n);
        CRASH_EQUAL(shmc_spsc_push(&spsc, &m, sizeof m), SHMC_OK);
    }
    if (waitable) spsc.lane.shm->writable.asleep = 1;
}

static void
spsc_pop_enter(void)
{
    crash_join(&seg);
    TEST_REQUIRE(spsc_open(&spsc_peer, SHMC_CONSUMER) == SHMC_OK);
}

static void
spsc_pop_act(void)
{
    acknowledge(batch ? shmc_spsc_pop_n(&spsc_peer, book->out,
                                        sizeof book->out[0], BATCH)
                      : shmc_spsc_pop(&spsc_peer, book->out,
                                      sizeof book->out[0]));
}

/* A successor sees the messages again, unless the dead one had all of each
 * that is gone.                                                           */
static void
spsc_pop_check(void)
{
    const uint64_t taken = batch ? BATCH : 1;
    message m;

    CRASH_EQUAL(spsc_open(&spsc_peer, SHMC_CONSUMER), SHMC_OK);
    CRASH_EQUAL(shmc_spsc_pop(&spsc_peer, &m, sizeof m), SHMC_OK);
    uint64_t next = m.word[0];
    CRASH_CHECK(next == 0 || next == taken);
    if (book->acked) CRASH_EQUAL(next, taken);
    for (uint64_t n = 0; n < next; n++)
        CRASH_CHECK(is_number(&book->out[n], n));
    CRASH_CHECK(is_number(&m, next++));
    for (; next < 3 * SLOTS; next++) {
        while (shmc_spsc_used(&spsc) < SLOTS) {
            m = number(spsc.lane.mine);
            CRASH_EQUAL(shmc_spsc_push(&spsc, &m, sizeof m), SHMC_OK);
        }
        CRASH_EQUAL(shmc_spsc_pop(&spsc_peer, &m, sizeof m), SHMC_OK);
        CRASH_CHECK(is_number(&m, next));
    }
}

static const crash_case spsc_pop_case = {
    spsc_pop_before, spsc_pop_enter, spsc_pop_act, NULL, spsc_pop_check, end_world
};

static void
spsc_pop_killed_anywhere_loses_only_what_was_handed_over(void **state)
{
    (void)state;
    batch = 0;
    waitable = 1;
    crash_sweep("spsc pop", &spsc_pop_case);
    batch = 1;
    waitable = 0;
    crash_sweep("spsc pop_n", &spsc_pop_case);
}

/* ---- recq -------------------------------------------------------------- */

static int
recq_open(shmc_recq *q, uint32_t role)
{
    const shmc_recq_desc d = { .capacity_bytes = CAPACITY, .waitable = 1 };

    return shmc_recq_open(q, &seg, "r", &d, role);
}

static void
recq_push_before(void)
{
    make_world();
    CRASH_EQUAL(recq_open(&recq_peer, SHMC_CONSUMER), SHMC_OK);
    CRASH_EQUAL(shmc_recq_close(&recq_peer), SHMC_OK);
}

/* Seven records of 32 bytes: the next of three is padded round the end.   */
static void
recq_push_enter(void)
{
    crash_join(&seg);
    TEST_REQUIRE(recq_open(&recq, SHMC_PRODUCER) == SHMC_OK);
    TEST_REQUIRE(recq_open(&recq_peer, SHMC_CONSUMER) == SHMC_OK);
    for (uint64_t n = 0; n < 7; n++) {
        message m = number(n);
        TEST_REQUIRE(shmc_recq_push(&recq, &m, sizeof m) == SHMC_OK);
        if (n < 5)
            TEST_REQUIRE(shmc_recq_pop(&recq_peer, &m, sizeof m) > 0);
    }
    TEST_REQUIRE(shmc_recq_close(&recq_peer) == SHMC_OK);
    recq.lane.shm->readable.asleep = 1;
}

static void
recq_push_act(void)
{
    const message m[2] = { number(7), number(7) };

    acknowledge(shmc_recq_push(&recq, m, sizeof m));
}

static void
recq_push_check(void)
{
    message m[2];
    uint64_t next = 5;

    CRASH_EQUAL(recq_open(&recq_peer, SHMC_CONSUMER), SHMC_OK);
    for (;; next++) {
        const int bytes = shmc_recq_pop(&recq_peer, m, sizeof m);
        if (bytes == SHMC_EAGAIN) break;
        CRASH_EQUAL(bytes, next < 7 ? sizeof m[0] : sizeof m);
        CRASH_CHECK(is_number(&m[0], next));
        CRASH_CHECK(next < 7 || is_number(&m[1], next));
    }
    CRASH_CHECK(next == 8 || (next == 7 && !book->acked));
    CRASH_EQUAL(recq_open(&recq, SHMC_PRODUCER), SHMC_OK);
    for (uint64_t n = 100; n < 140; n++) {
        m[0] = m[1] = number(n);
        const uint32_t bytes = (uint32_t)(sizeof m[0] * (1 + n % 2));
        CRASH_EQUAL(shmc_recq_push(&recq, m, bytes), SHMC_OK);
        CRASH_EQUAL(shmc_recq_pop(&recq_peer, m, sizeof m), bytes);
        CRASH_CHECK(is_number(&m[n % 2], n));
    }
}

static const crash_case recq_push_case = {
    recq_push_before, recq_push_enter, recq_push_act, NULL, recq_push_check, end_world
};

static void
recq_push_killed_anywhere_leaves_whole_records(void **state)
{
    (void)state;
    crash_sweep("recq push, padded and waking", &recq_push_case);
}

/* ---- latest ------------------------------------------------------------ */

static int
cell_open(shmc_latest *c, uint32_t role)
{
    const shmc_latest_desc d = { .value_bytes = sizeof(message),
                                 .slot_count = 2, .waitable = 1 };
    return shmc_latest_open(c, &seg, "c", &d, role);
}

static void
cell_before(void)
{
    make_world();
    CRASH_EQUAL(cell_open(&cell_peer, SHMC_CONSUMER), SHMC_OK);
}

static void
cell_enter(void)
{
    crash_join(&seg);
    TEST_REQUIRE(cell_open(&cell, SHMC_PRODUCER) == SHMC_OK);
    for (uint64_t n = 1; n <= 3; n++) {
        const message m = number(n);
        TEST_REQUIRE(shmc_latest_write(&cell, &m, sizeof m) == SHMC_OK);
    }
    cell.shm->readable.asleep = 1;
}

static void
cell_act(void)
{
    const message m = number(4);

    acknowledge(shmc_latest_write(&cell, &m, sizeof m));
}

static void
cell_check(void)
{
    message m;
    uint64_t version = 0;

    CRASH_EQUAL(shmc_latest_read(&cell_peer, &m, sizeof m, &version), SHMC_OK);
    CRASH_CHECK(version == 4 || (version == 3 && !book->acked));
    CRASH_CHECK(is_number(&m, version));
    CRASH_EQUAL(cell_open(&cell, SHMC_PRODUCER), SHMC_OK);
    for (uint64_t n = version + 1; n < version + 7; n++) {
        m = number(n);
        CRASH_EQUAL(shmc_latest_write(&cell, &m, sizeof m), SHMC_OK);
        uint64_t now = 0;
        CRASH_EQUAL(shmc_latest_read(&cell_peer, &m, sizeof m, &now), SHMC_OK);
        CRASH_EQUAL(now, n);
        CRASH_CHECK(is_number(&m, n));
    }
}

static const crash_case cell_case = {
    cell_before, cell_enter, cell_act, NULL, cell_check, end_world
};

static void
latest_write_killed_anywhere_leaves_a_whole_value(void **state)
{
    (void)state;
    crash_sweep("latest write", &cell_case);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(spsc_push_killed_anywhere_leaves_acknowledged_messages),
        CRASH_TEST(spsc_push_n_killed_anywhere_publishes_all_or_none),
        CRASH_TEST(spsc_pop_killed_anywhere_loses_only_what_was_handed_over),
        CRASH_TEST(recq_push_killed_anywhere_leaves_whole_records),
        CRASH_TEST(latest_write_killed_anywhere_leaves_a_whole_value),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
