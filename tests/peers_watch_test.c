/* Who joined, left or died: each is told, once, in order, and rightly; who
 * came and went in between is counted.                                     */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_peers.h"
#include "shmcomm_poll.h"

#include "folder_support.h"

#define MS 1000000

static volatile uint32_t *step;     /* shared                               */
static shmc_peers w;
static shmc_poll_item item;

static int
begin(void **state)
{
    if (step == NULL) step = test_shared(4096);
    *step = 0;
    memset(&item, 0, sizeof item);
    item.of = shmc_peers_pollable(&w);
    item.events = SHMC_POLLIN;
    return folder_begin(state);
}

#define PEERS_CASE(f) cmocka_unit_test_setup_teardown(f, begin, folder_end)

static void
wait_for_step(uint32_t n)
{
    while (*step < n) test_sleep_ms(1);
}

/* The next event, waited for by the poller.                                */
static shmc_peer_event
next(uint32_t what)
{
    shmc_peer_event e = { 0 };

    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(item.revents, SHMC_POLLIN);
    assert_int_equal(shmc_peers_next(&w, &e), SHMC_OK);
    if (e.what != what) print_error("%s\n", shmc_peer_what(e.what));
    assert_int_equal(e.what, what);
    return e;
}

static void
nothing_more(void)
{
    shmc_peer_event e;

    assert_int_equal(shmc_poll(&item, 1, 15 * MS), 0);
    assert_int_equal(shmc_peers_next(&w, &e), SHMC_EAGAIN);
}

/* How a child takes part, and when it ends.                                */
enum { PUB = 1, SUB = 2, CLOSES = 4 };

static int
take_part(void *arg)
{
    const uint32_t how = *(const uint32_t *)arg;
    const shmc_topic_desc d = { .mode = SHMC_RELIABLE, .max_bytes = 8 };
    shmc_pub pub;
    shmc_sub sub;

    if (how & PUB) TEST_REQUIRE(shmc_pub_open(&pub, "t", &d) == SHMC_OK);
    if (how & SUB) {
        TEST_REQUIRE(shmc_sub_open(&sub, "t", NULL) == SHMC_OK);
        TEST_REQUIRE(shmc_sub_ready(&sub) == 1);
    }
    *step = 1;
    wait_for_step(2);
    if (how & CLOSES && how & PUB) TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    if (how & CLOSES && how & SUB) TEST_REQUIRE(shmc_sub_close(&sub) == SHMC_OK);
    *step = 3;
    for (;;) pause();
    return 0;
}

static void
comings_and_goings_are_told(void **state)
{
    static const uint32_t hows[] = { PUB, PUB | CLOSES, SUB, SUB | CLOSES };
    const shmc_topic_desc d = { .mode = SHMC_RELIABLE, .max_bytes = 8 };
    shmc_pub pub;

    (void)state;
    assert_int_equal(prctl(PR_SET_NAME, "watched"), 0);
    assert_int_equal(shmc_pub_open(&pub, "t", &d), SHMC_OK);
    assert_int_equal(shmc_peers_open(&w, "t", NULL), SHMC_OK);
    shmc_peer_event e = next(SHMC_PEER_JOINED);
    assert_int_equal(e.pid, getpid());
    assert_int_equal(e.roles, SHMC_PEER_PUBLISHES);
    assert_string_equal(e.label, "watched");
    nothing_more();
    for (int i = 0; i < 4; i++) {
        uint32_t how = hows[i];
        const uint32_t role = how & PUB ? SHMC_PEER_PUBLISHES
                                        : SHMC_PEER_SUBSCRIBES;
        *step = 0;
        const pid_t child = test_spawn(take_part, &how);
        e = next(SHMC_PEER_JOINED);
        const uint32_t slot = e.participant;
        const uint64_t generation = e.generation;
        assert_int_equal(e.pid, child);
        wait_for_step(1);
        if (e.roles != role) e = next(SHMC_PEER_ROLES);
        assert_int_equal(e.roles, role);
        nothing_more();
        kill(child, SIGSTOP);       /* alive                                */
        nothing_more();
        kill(child, SIGCONT);
        *step = 2;
        wait_for_step(3);
        if (!(how & CLOSES)) {
            nothing_more();
            test_kill(child);
        }
        for (;;) {                  /* its role first, maybe                */
            assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
            assert_int_equal(shmc_peers_next(&w, &e), SHMC_OK);
            if (e.what != SHMC_PEER_ROLES) break;
            assert_int_equal(e.roles, 0);
            assert_true(how & CLOSES);
        }
        assert_int_equal(e.what, how & CLOSES ? SHMC_PEER_LEFT : SHMC_PEER_DIED);
        assert_int_equal(e.pid, child);
        assert_int_equal(e.participant, slot);
        assert_int_equal(e.generation, generation);
        if (!(how & CLOSES)) assert_int_equal(e.roles, role);
        nothing_more();
        if (how & CLOSES) test_kill(child);
    }
    assert_int_equal(shmc_peers_missed(&w), 0);
    assert_int_equal(shmc_pub_close(&pub), SHMC_OK);
    e = next(SHMC_PEER_LEFT);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(item.revents, SHMC_POLLERR);
    assert_int_equal(item.error, SHMC_ENOENT);
    assert_int_equal(shmc_peers_next(&w, &e), SHMC_ENOENT);
    assert_int_equal(shmc_peers_close(&w), SHMC_OK);
}

static void
a_slot_taken_before_we_looked_is_gone_and_those_between_are_counted(void **state)
{
    const shmc_segment_desc d = { .max_participants = 2 };
    shmc_segment first, s;
    shmc_peer_event e;

    (void)state;
    assert_int_equal(shmc_segment_create(&first, "s", &d), SHMC_OK);
    assert_int_equal(shmc_segment_attach(&s, "s", NULL), SHMC_OK);
    assert_int_equal(shmc_peers_open(&w, "s", NULL), SHMC_OK);
    (void)next(SHMC_PEER_JOINED);
    e = next(SHMC_PEER_JOINED);
    assert_int_equal(e.participant, 1);
    nothing_more();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(shmc_segment_close(&s), SHMC_OK);
        assert_int_equal(shmc_segment_attach(&s, "s", NULL), SHMC_OK);
    }
    e = next(SHMC_PEER_GONE);
    assert_int_equal(e.participant, 1);
    assert_int_equal(e.generation, 1);
    e = next(SHMC_PEER_JOINED);
    assert_int_equal(e.participant, 1);
    assert_int_equal(e.generation, 6);
    assert_int_equal(shmc_peers_missed(&w), 4);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(next(SHMC_PEER_LEFT).generation, 6);
    /* All of them between two looks.                                       */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shmc_segment_attach(&s, "s", NULL), SHMC_OK);
        assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    }
    nothing_more();
    assert_int_equal(shmc_peers_missed(&w), 7);
    assert_int_equal(shmc_segment_close(&first), SHMC_OK);
    (void)next(SHMC_PEER_LEFT);
    nothing_more();
    assert_int_equal(shmc_peers_close(&w), SHMC_OK);
    assert_int_equal(shmc_segment_unlink("s", NULL), SHMC_OK);
}

static int
come_and_go(void *arg)
{
    uint32_t seed = 5 + *(const uint32_t *)arg;
    shmc_segment s;

    for (int i = 0; i < 60; i++) {
        TEST_REQUIRE(shmc_segment_attach(&s, "s", NULL) == SHMC_OK);
        seed = seed * 1664525u + 1013904223u;
        test_sleep_ms(seed >> 28);
        TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    }
    TEST_REQUIRE(shmc_segment_attach(&s, "s", NULL) == SHMC_OK);
    shmi_faa_32((uint32_t *)(uintptr_t)step, 1);
    for (;;) pause();
    return 0;
}

static void
every_participant_is_told_or_counted(void **state)
{
    enum { CHILDREN = 3 };
    uint32_t number[CHILDREN] = { 0, 1, 2 };
    uint32_t joined = 0, left = 0;
    bool here[64] = { false };
    pid_t child[CHILDREN];
    shmc_segment first;
    shmc_peer_event e = { 0 };

    (void)state;
    assert_int_equal(shmc_segment_create(&first, "s", NULL), SHMC_OK);
    assert_int_equal(shmc_peers_open(&w, "s", NULL), SHMC_OK);
    for (int i = 0; i < CHILDREN; i++)
        child[i] = test_spawn(come_and_go, &number[i]);
    for (;;) {
        if (*step == CHILDREN) {    /* all are in for the last time         */
            for (int i = 0; i < CHILDREN; i++) test_kill(child[i]);
            *step = CHILDREN + 1;
        }
        if (*step == CHILDREN + 1 && joined - left == 1 &&
            joined + shmc_peers_missed(&w) == 1 + CHILDREN * 61) break;
        if (shmc_poll(&item, 1, 5 * MS) == 0) continue;
        assert_int_equal(shmc_peers_next(&w, &e), SHMC_OK);
        if (e.what == SHMC_PEER_JOINED) {
            assert_false(here[e.participant]);
            joined++;
        } else {
            assert_true(here[e.participant]);
            left++;
        }
        here[e.participant] = e.what == SHMC_PEER_JOINED;
    }
    assert_true(joined > CHILDREN);
    assert_int_equal(shmc_peers_close(&w), SHMC_OK);
    assert_int_equal(shmc_segment_close(&first), SHMC_OK);
    assert_int_equal(shmc_segment_unlink("s", NULL), SHMC_OK);
}

static void
scribbled_slots_keep_nobody_at_it(void **state)
{
    shmc_segment s;
    shmc_peer_event e;
    uint32_t seed = 3;

    (void)state;
    assert_int_equal(shmc_segment_create(&s, "x", NULL), SHMC_OK);
    assert_int_equal(shmc_peers_open(&w, "x", NULL), SHMC_OK);
    for (int round = 0; round < 50; round++) {
        uint8_t *table = (void *)s.participants;
        for (int i = 0; i < 500; i++) {
            seed = seed * 1664525u + 1013904223u;
            table[(seed >> 8) % (64 * 128)] = (uint8_t)(seed >> 3);
        }
        int events = 0;
        w.look_ns = 0;
        while (shmc_peers_next(&w, &e) == SHMC_OK) events++;
        assert_true(events <= 2 * 64);
    }
    assert_int_equal(shmc_peers_close(&w), SHMC_OK);
    (void)shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("x", NULL), SHMC_OK);
}

static int
inherit(void *arg)
{
    shmc_peer_event e;

    (void)arg;
    TEST_REQUIRE(shmc_peers_next(&w, &e) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_poll(&item, 1, SHMC_FOREVER) == 1);
    TEST_REQUIRE(item.error == SHMC_EFORKED);
    TEST_REQUIRE(shmc_peers_close(&w) == SHMC_OK);
    return 0;
}

static void
misuse_is_told(void **state)
{
    shmc_segment s;
    shmc_peer_event e;

    (void)state;
    assert_int_equal(shmc_peers_open(&w, "none", NULL), SHMC_ENOENT);
    assert_int_equal(shmc_peers_next(&w, &e), SHMC_ECLOSED);
    assert_int_equal(shmc_peers_close(&w), SHMC_ECLOSED);
    assert_int_equal(shmc_segment_create(&s, "f", NULL), SHMC_OK);
    assert_int_equal(shmc_peers_open(&w, "f", NULL), SHMC_OK);
    assert_int_equal(test_join(test_spawn(inherit, NULL)), 0);
    (void)next(SHMC_PEER_JOINED);
    assert_int_equal(shmc_peers_close(&w), SHMC_OK);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink("f", NULL), SHMC_OK);
    assert_string_equal(shmc_peer_what(SHMC_PEER_DIED), "died");
    assert_string_equal(shmc_peer_what(99), "?");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        PEERS_CASE(comings_and_goings_are_told),
        PEERS_CASE(
            a_slot_taken_before_we_looked_is_gone_and_those_between_are_counted),
        PEERS_CASE(every_participant_is_told_or_counted),
        PEERS_CASE(scribbled_slots_keep_nobody_at_it),
        PEERS_CASE(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
