/* A poller dies or stops after each instruction of its poll, marked asleep
 * at its bells or not; and a sender does after each instruction of a push, the
 * one between publishing and ringing too, while a poller sleeps at several
 * bells.  Who is left is woken and hears everything.                       */
#define SHMC_SPIN_TRIES 4u
#define SHMC_YIELD_TRIES 2u
#define SHMC_RECHECK_NS 2000000u
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "shmcomm_poll.h"
#include "crash_harness.h"

enum { QUEUES = 2, WAIT_NS = 300000, OTHER = 6, LAST = 77 };

/* What the processes tell each other.                                      */
typedef struct ledger {
    volatile uint32_t acked, returned;
    volatile uint32_t asleep;       /* the listener is about to poll        */
    volatile uint64_t heard;        /* by the listener, the last one        */
    volatile uint32_t count;
    volatile uint32_t other;        /* it heard OTHER, which is not counted */
    volatile uint32_t failed;
} ledger;

static ledger *book;
static shmc_segment world, own;
static shmc_mpmc queue[QUEUES], mine[QUEUES];
static shmc_poll_item item[QUEUES];
static uint32_t full;               /* messages that are there before       */
static pid_t listener;
static bool reads;

static void
open_all(shmc_mpmc *q, shmc_segment *s, uint32_t role)
{
    const shmc_mpmc_desc d = { .slot_bytes = 8, .slot_count = 4,
                               .max_handles = 8, .waitable = 1 };
    char name[8];

    for (int i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof name, "q%d", i);
        const int r = shmc_mpmc_open(&q[i], s, name, &d, role);
        TEST_REQUIRE(r == SHMC_OK);
    }
}

static void
set_items(shmc_mpmc *q, uint32_t events)
{
    memset(item, 0, sizeof item);
    for (int i = 0; i < QUEUES; i++) {
        item[i].of = shmc_mpmc_pollable(&q[i]);
        item[i].events = events;
    }
}

static void
make_world(void)
{
    memset((void *)(uintptr_t)book, 0, sizeof *book);
    crash_world(&world, 65536);
    open_all(queue, &world, SHMC_PRODUCER | SHMC_CONSUMER);
}

static void
leave_world(void)
{
    if (listener > 0) test_kill(listener);
    listener = 0;
    for (int i = 0; i < QUEUES; i++)
        if (queue[i].shm != NULL) (void)shmc_mpmc_close(&queue[i]);
    crash_leave(&world);
}

static void
drain(void)
{
    uint64_t got;

    for (int i = 0; i < QUEUES; i++)
        while (shmc_mpmc_pop(&queue[i], &got, 8) == SHMC_OK) { }
}

static void
fill(void)
{
    const uint64_t m = 1;

    for (uint32_t i = 0; i < full; i++)
        CRASH_EQUAL(shmc_mpmc_push(&queue[1], &m, 8), SHMC_OK);
}

/* ---- the poller dies ------------------------------------------------------ */

static void
before_poll(void)
{
    make_world();
    fill();
}

static void
enter_poll(void)
{
    crash_join(&own);
    open_all(mine, &own, reads ? SHMC_CONSUMER : SHMC_PRODUCER);
    set_items(mine, reads ? SHMC_POLLIN : SHMC_POLLOUT);
}

static void
act_poll(void)
{
    crash_acknowledge(shmc_poll(item, QUEUES, WAIT_NS), &book->acked,
                      &book->returned);
}

/* The others' sends and receives work as before, and a poll of theirs.      */
static void
go_on(void)
{
    uint64_t m = LAST, got = 0;

    drain();
    for (int i = 0; i < QUEUES; i++) {
        set_items(queue, SHMC_POLLIN);
        CRASH_EQUAL(shmc_poll(item, QUEUES, 0), 0);
        CRASH_EQUAL(shmc_mpmc_push(&queue[i], &m, 8), SHMC_OK);
        CRASH_EQUAL(shmc_poll(item, QUEUES, SHMC_FOREVER), 1);
        CRASH_EQUAL(item[i].revents, SHMC_POLLIN);
        CRASH_EQUAL(shmc_mpmc_pop(&queue[i], &got, 8), SHMC_OK);
        CRASH_EQUAL(got, m);
        set_items(queue, SHMC_POLLOUT);
        CRASH_EQUAL(shmc_poll(item, QUEUES, SHMC_FOREVER), QUEUES);
    }
    /* A left mark costs one wake at each bell, and is gone.                 */
    for (int i = 0; i < QUEUES; i++) {
        CRASH_EQUAL(shmc_mpmc_push(&queue[i], &m, 8), SHMC_OK);
        CRASH_EQUAL(queue[i].shm->readable.asleep, 0);
    }
}

/* What the stopped one waits for, if anything, is there when it goes on.    */
static void
frozen_poll(void)
{
    go_on();
    drain();
    fill();
}

static void
check_poll(void)
{
    const uint32_t ready = reads ? full != 0 : 1;

    if (book->returned) CRASH_EQUAL(book->acked, ready);
    go_on();
    crash_recovered();
}

/* ---- the sender dies ------------------------------------------------------ */

/* Polls until it has heard the last one.                                    */
static int
listen(void *arg)
{
    shmc_segment s;
    uint64_t got = 0;

    (void)arg;
    crash_join(&s);
    open_all(mine, &s, SHMC_CONSUMER);
    set_items(mine, SHMC_POLLIN);
    book->asleep = 1;
    while (got != LAST) {
        TEST_REQUIRE(shmc_poll(item, QUEUES, SHMC_FOREVER) > 0);
        for (int i = 0; i < QUEUES; i++) {
            if (item[i].revents == 0) continue;
            TEST_REQUIRE(item[i].revents == SHMC_POLLIN);
            const int r = shmc_mpmc_pop(&mine[i], &got, 8);
            TEST_REQUIRE(r == SHMC_OK);
            if (got == OTHER) {
                book->other = 1;
                continue;
            }
            book->heard = got;
            book->count++;
        }
    }
    return 0;
}

static void
before_push(void)
{
    make_world();
    listener = test_spawn(listen, NULL);
    for (int i = 0; i < 5000 && shmi_load_rlx_32(&queue[1].shm->readable.asleep)
         == 0; i++)
        test_sleep_ms(1);
    CRASH_EQUAL(queue[1].shm->readable.asleep, 1);
}

static void
enter_push(void)
{
    crash_join(&own);
    open_all(mine, &own, SHMC_PRODUCER);
}

static void
act_push(void)
{
    const uint64_t m = 5;

    crash_acknowledge(shmc_mpmc_push(&mine[1], &m, 8), &book->acked,
                      &book->returned);
}

/* The other queue does not wait for who is stopped inside a push.           */
static void
frozen_push(void)
{
    const uint64_t m = OTHER;

    CRASH_EQUAL(shmc_mpmc_push(&queue[0], &m, 8), SHMC_OK);
    while (book->other == 0) test_sleep_ms(1);
}

static void
check_push(void)
{
    const uint64_t last = LAST;

    /* What was acknowledged is heard without anybody's help.                */
    while (book->returned && book->count == 0) test_sleep_ms(1);
    CRASH_EQUAL(shmc_mpmc_push(&queue[1], &last, 8), SHMC_OK);
    CRASH_EQUAL(test_join(listener), 0);
    listener = 0;
    CRASH_EQUAL(book->heard, LAST);
    CRASH_CHECK(book->count == 2 || (book->count == 1 && !book->returned));
    crash_recovered();
}

/* A message that was published, and not rung for, is heard by a look.       */
static void
check_published(void)
{
    const uint64_t tail = shmi_load_rlx_64(&queue[1].shm->tail);
    const uint64_t *cell = shmi_mpmc_at(&queue[1], 0);

    if (tail == 1 && shmi_mpmc_full(shmi_load_rlx_64(cell), 0))
        for (int i = 0; i < 5000 && book->count == 0; i++) test_sleep_ms(1);
    check_push();
}

/* ---- sweeps ---------------------------------------------------------------- */

static int
setup(void **state)
{
    if (book == NULL) book = test_shared(4096);
    return crash_setup(state);
}

static void
sweep_polls(const crash_case *c)
{
    reads = true;
    full = 0;
    crash_sweep("poll to read, empty", c);
    full = 1;
    crash_sweep("poll to read, one is there", c);
    reads = false;
    full = 4;
    crash_sweep("poll to write, one is full", c);
}

static void
a_poller_dies(void **state)
{
    static const crash_case killed = { before_poll, enter_poll, NULL, act_poll,
                                       NULL, check_poll, leave_world };

    (void)state;
    sweep_polls(&killed);
}

static void
a_poller_stops(void **state)
{
    static const crash_case stopped = { before_poll, enter_poll, NULL, act_poll,
                                        frozen_poll, check_poll, leave_world };

    (void)state;
    sweep_polls(&stopped);
}

static void
a_sender_dies_while_a_poller_sleeps(void **state)
{
    static const crash_case killed = { before_push, enter_push, NULL, act_push,
                                       NULL, check_published, leave_world };

    (void)state;
    crash_sweep("push to a poller", &killed);
}

static void
a_sender_stops_while_a_poller_sleeps(void **state)
{
    static const crash_case stopped = { before_push, enter_push, NULL, act_push,
                                        frozen_push, check_push, leave_world };

    (void)state;
    crash_sweep("push to a poller", &stopped);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_poller_dies, setup, crash_teardown),
        cmocka_unit_test_setup_teardown(a_poller_stops, setup, crash_teardown),
        cmocka_unit_test_setup_teardown(a_sender_dies_while_a_poller_sleeps,
                                        setup, crash_teardown),
        cmocka_unit_test_setup_teardown(a_sender_stops_while_a_poller_sleeps,
                                        setup, crash_teardown),
    };

    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
