/* A participant dies or stops after each instruction of its coming and of its
 * going: who watches is told once, never that a dead one lives or a stopped
 * one is dead, that it left only if it was about to, and of the next one in
 * its slot.                                                                */
#define SHMC_PEER_CHECK_NS 1000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_peers.h"
#include "crash_harness.h"

typedef struct ledger { volatile uint32_t acked, returned; } ledger;

static ledger *book;
static shmc_segment world, own;
static shmc_peers watch;
static shmc_peer_event joined;
static bool leaves;
static bool told;                   /* what the stopped one did             */

/* The next event, or what = 0 when there is none.                          */
static shmc_peer_event
next(void)
{
    shmc_peer_event e;

    memset(&e, 0, sizeof e);
    /* A round that found nothing may have begun before.                     */
    for (int i = 0; i < 3; i++) {
        watch.look_ns = 0;
        const int r = shmc_peers_next(&watch, &e);
        if (r == SHMC_OK) return e;
        CRASH_EQUAL(r, SHMC_EAGAIN);
    }
    e.what = 0;
    return e;
}

static void
before(void)
{
    const shmc_segment_desc d = { .dir = crash.dir };

    memset((void *)(uintptr_t)book, 0, sizeof *book);
    told = false;
    crash_world(&world, 65536);
    CRASH_EQUAL(shmc_peers_open(&watch, "s", &d), SHMC_OK);
    CRASH_EQUAL(next().what, SHMC_PEER_JOINED);     /* ourselves             */
    CRASH_EQUAL(next().what, 0);
}

static void
enter(void)
{
    memset(&own, 0, sizeof own);
    if (leaves) crash_join(&own);
}

static void
ready(void)
{
    joined = next();
    CRASH_EQUAL(joined.what, leaves ? SHMC_PEER_JOINED : 0);
}

static void
act(void)
{
    const int r = leaves ? shmc_segment_close(&own) : crash_attach(&own);

    crash_acknowledge(r, &book->acked, &book->returned);
}

/* Another one comes and goes, and is told of: it is not in the way.         */
static void
another(void)
{
    shmc_segment heir;

    CRASH_EQUAL(crash_attach(&heir), SHMC_OK);
    shmc_peer_event e = next();
    CRASH_EQUAL(e.what, SHMC_PEER_JOINED);
    CRASH_EQUAL(e.pid, getpid());
    CRASH_EQUAL(next().what, 0);
    CRASH_EQUAL(shmc_segment_close(&heir), SHMC_OK);
    CRASH_EQUAL(next().what, SHMC_PEER_LEFT);
}

static void
frozen(void)
{
    shmc_peer_event e = next();

    if (e.what != 0) {
        CRASH_EQUAL(e.what, leaves ? SHMC_PEER_LEFT : SHMC_PEER_JOINED);
        told = true;
        if (!leaves) joined = e;
        e = next();
    }
    CRASH_EQUAL(e.what, 0);
    another();
}

static void
check(void)
{
    const uint64_t missed = shmc_peers_missed(&watch);
    shmc_peer_event e = next();
    const bool news = leaves != told;

    if (news) {
        CRASH_EQUAL(e.participant, joined.participant);
        CRASH_EQUAL(e.generation, joined.generation);
        CRASH_EQUAL(e.pid, joined.pid);
        if (leaves)
            CRASH_CHECK(e.what == SHMC_PEER_LEFT ||
                        (e.what == SHMC_PEER_DIED && !book->returned));
        if (!leaves || (crash.k == 0 && !book->returned))
            CRASH_EQUAL(e.what, SHMC_PEER_DIED);
        e = next();
    }
    /* Who came and died between two looks is counted; it is no news.        */
    CRASH_EQUAL(e.what, 0);
    const uint64_t unseen = shmc_peers_missed(&watch) - missed;
    CRASH_CHECK(unseen <= (!leaves && !told));
    if (book->returned && !leaves && !told) CRASH_EQUAL(unseen, 1);
    another();
    CRASH_EQUAL(shmc_peers_missed(&watch) - missed, unseen);
}

static void
after(void)
{
    if (watch.known != NULL) (void)shmc_peers_close(&watch);
    crash_leave(&world);
}

static int
setup(void **state)
{
    if (book == NULL) book = test_shared(4096);
    return crash_setup(state);
}

static void
sweep_both(const crash_case *c)
{
    leaves = false;
    crash_sweep("attach, watched", c);
    leaves = true;
    crash_sweep("close, watched", c);
}

static void
a_participant_dies_as_it_comes_or_goes(void **state)
{
    static const crash_case killed = { before, enter, ready, act, NULL,
                                       check, after };

    (void)state;
    sweep_both(&killed);
}

static void
a_participant_stops_as_it_comes_or_goes(void **state)
{
    static const crash_case stopped = { before, enter, ready, act, frozen,
                                        check, after };

    (void)state;
    sweep_both(&stopped);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_participant_dies_as_it_comes_or_goes,
                                        setup, crash_teardown),
        cmocka_unit_test_setup_teardown(a_participant_stops_as_it_comes_or_goes,
                                        setup, crash_teardown),
    };

    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
