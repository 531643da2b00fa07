/* Deaths as events: of the other side of a queue, of a subscriber that holds a
 * publisher up, of a consumer that held a message, of a publisher in the
 * middle.  A stopped process is alive.                                     */
#define SHMC_RECHECK_NS 3600000000000     /* so that no look of its own helps */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_patterns.h"
#include "shmcomm_poll.h"
#include "shmcomm_recq.h"

#include "folder_support.h"

#define MS 1000000

static volatile uint32_t *step;     /* shared                               */

static int
begin(void **state)
{
    if (step == NULL) step = test_shared(4096);
    *step = 0;
    return folder_begin(state);
}

#define POLL_CASE(f) cmocka_unit_test_setup_teardown(f, begin, folder_end)

static void
wait_for_step(uint32_t n)
{
    while (*step < n) test_sleep_ms(1);
}

static void
stay(uint32_t n)
{
    *step = n;
    for (;;) pause();
}

static shmc_poll_item
item_of(shmc_pollable of, uint32_t events)
{
    shmc_poll_item item;

    memset(&item, 0, sizeof item);
    item.of = of;
    item.events = events;
    return item;
}

static const shmc_spsc_desc spsc_desc = { .slot_bytes = 8, .waitable = 1 };
static const shmc_recq_desc recq_desc = { .waitable = 1 };
static const shmc_latest_desc latest_desc = { .value_bytes = 8, .waitable = 1 };
static const shmc_mpmc_desc mpmc_desc = { .slot_bytes = 8, .slot_count = 4,
                                          .waitable = 1 };

static int
produce(void *arg)
{
    const uint64_t m = 9;
    shmc_segment s;
    shmc_spsc q;
    shmc_recq r;
    shmc_latest c;

    (void)arg;
    TEST_REQUIRE(shmc_segment_attach(&s, "d", NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_spsc_open(&q, &s, "q", &spsc_desc, SHMC_PRODUCER) == 0);
    TEST_REQUIRE(shmc_recq_open(&r, &s, "r", &recq_desc, SHMC_PRODUCER) == 0);
    TEST_REQUIRE(shmc_latest_open(&c, &s, "c", &latest_desc, SHMC_PRODUCER) == 0);
    TEST_REQUIRE(shmc_spsc_push(&q, &m, 8) == SHMC_OK);
    TEST_REQUIRE(shmc_recq_push(&r, &m, 8) == SHMC_OK);
    TEST_REQUIRE(shmc_latest_write(&c, &m, 8) == SHMC_OK);
    stay(1);
    return 0;
}

static void
the_death_of_a_producer_is_told_once_and_after_its_messages(void **state)
{
    shmc_segment s;
    shmc_spsc q;
    shmc_recq r;
    shmc_latest c;
    uint64_t m;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "d", NULL), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&q, &s, "q", &spsc_desc, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_recq_open(&r, &s, "r", &recq_desc, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_latest_open(&c, &s, "c", &latest_desc, SHMC_CONSUMER), 0);
    shmc_poll_item item[3] = {
        item_of(shmc_spsc_pollable(&q), SHMC_POLLIN),
        item_of(shmc_recq_pollable(&r), SHMC_POLLIN),
        item_of(shmc_latest_pollable(&c), SHMC_POLLIN) };
    for (int round = 0; round < 3; round++) {
        uint32_t told = 0;
        *step = 0;
        const pid_t child = test_spawn(produce, NULL);
        wait_for_step(1);
        if (round == 1) {           /* stopped: alive                       */
            for (int i = 0; i < 3; i++)
                assert_int_equal(shmc_poll(&item[i], 1, SHMC_FOREVER), 1);
            assert_int_equal(shmc_spsc_pop(&q, &m, 8), SHMC_OK);
            assert_int_equal(shmc_recq_pop(&r, &m, 8), 8);
            assert_int_equal(shmc_latest_read(&c, &m, 8, NULL), SHMC_OK);
            kill(child, SIGSTOP);
            assert_int_equal(shmc_poll(item, 3, 30 * MS), 0);
        }
        test_kill(child);
        if (round != 1) {
            assert_int_equal(shmc_poll(item, 3, SHMC_FOREVER), 3);
            for (int i = 0; i < 3; i++)
                assert_int_equal(item[i].revents, SHMC_POLLIN);
            assert_int_equal(shmc_spsc_pop(&q, &m, 8), SHMC_OK);
            assert_int_equal(shmc_recq_pop(&r, &m, 8), 8);
            assert_int_equal(shmc_latest_read(&c, &m, 8, NULL), SHMC_OK);
        }
        while (told != 7) {
            assert_true(shmc_poll(item, 3, SHMC_FOREVER) > 0);
            for (uint32_t i = 0; i < 3; i++) {
                if (item[i].revents == 0) continue;
                assert_int_equal(item[i].revents, SHMC_POLLDEAD);
                assert_false(told >> i & 1);
                told |= 1u << i;
            }
        }
        assert_int_equal(shmc_poll(item, 3, 30 * MS), 0);
    }
    shmc_latest_close(&c);
    shmc_recq_close(&r);
    shmc_spsc_close(&q);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("d", NULL), SHMC_OK);
}

static int
sit(void *arg)
{
    shmc_sub sub;

    (void)arg;
    TEST_REQUIRE(shmc_sub_open(&sub, "t", NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_ready(&sub) == 1);
    stay(1);
    return 0;
}

static void
the_death_of_a_slow_subscriber_makes_room(void **state)
{
    const shmc_topic_desc topic = { .depth = 4, .max_bytes = 8,
                                    .mode = SHMC_RELIABLE };
    shmc_pub pub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "t", &topic), SHMC_OK);
    const pid_t child = test_spawn(sit, NULL);
    wait_for_step(1);
    shmc_poll_item item = item_of(shmc_pub_pollable(&pub), SHMC_POLLOUT);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(shmc_poll(&item, 1, 0), 1);
        assert_int_equal(shmc_pub_send(&pub, &i, 4, 0), SHMC_OK);
    }
    kill(child, SIGSTOP);
    assert_int_equal(shmc_poll(&item, 1, 30 * MS), 0);
    test_kill(child);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(item.revents, SHMC_POLLOUT);
    assert_int_equal(shmc_pub_close(&pub), SHMC_OK);
}

static int
hold(void *arg)
{
    const void *view;
    shmc_segment s;
    shmc_mpmc q;

    (void)arg;
    TEST_REQUIRE(shmc_segment_attach(&s, "m", NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_mpmc_open(&q, &s, "q", &mpmc_desc, SHMC_CONSUMER) == 0);
    TEST_REQUIRE(shmc_mpmc_borrow(&q, &view) == SHMC_OK);
    stay(1);
    return 0;
}

static void
what_a_dead_consumer_held_is_ready_and_there(void **state)
{
    shmc_segment s;
    shmc_mpmc q;
    uint64_t m = 31;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "m", NULL), SHMC_OK);
    assert_int_equal(shmc_mpmc_open(&q, &s, "q", &mpmc_desc, SHMC_PRODUCER |
                                    SHMC_CONSUMER), SHMC_OK);
    shmc_poll_item item = item_of(shmc_mpmc_pollable(&q), SHMC_POLLIN);
    for (int round = 0; round < 3; round++) {
        *step = 0;
        m = 31;
        assert_int_equal(shmc_mpmc_push(&q, &m, 8), SHMC_OK);
        const pid_t child = test_spawn(hold, NULL);
        wait_for_step(1);
        assert_int_equal(shmc_poll(&item, 1, 20 * MS), 0);
        test_kill(child);
        assert_int_equal(shmc_poll(&item, 1, 0), 1);
        assert_int_equal(item.revents, SHMC_POLLIN);
        m = 0;
        assert_int_equal(shmc_mpmc_pop(&q, &m, 8), SHMC_OK);
        assert_int_equal(m, 31);
        assert_int_equal(shmc_poll(&item, 1, 0), 0);
    }
    shmc_mpmc_close(&q);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("m", NULL), SHMC_OK);
}

static int
loan(void *arg)
{
    void *slot;
    shmc_segment s;
    shmc_mpmc q;

    (void)arg;
    TEST_REQUIRE(shmc_segment_attach(&s, "l", NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_mpmc_open(&q, &s, "q", &mpmc_desc, SHMC_PRODUCER) == 0);
    TEST_REQUIRE(shmc_mpmc_loan(&q, &slot) == SHMC_OK);
    stay(1);
    return 0;
}

static void
what_comes_behind_a_dead_producer_is_ready(void **state)
{
    const uint64_t m = 4;
    shmc_segment s;
    shmc_mpmc q;
    uint64_t got = 0;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "l", NULL), SHMC_OK);
    assert_int_equal(shmc_mpmc_open(&q, &s, "q", &mpmc_desc, SHMC_PRODUCER |
                                    SHMC_CONSUMER), SHMC_OK);
    const pid_t child = test_spawn(loan, NULL);
    wait_for_step(1);
    assert_int_equal(shmc_mpmc_push(&q, &m, 8), SHMC_OK);
    shmc_poll_item item = item_of(shmc_mpmc_pollable(&q), SHMC_POLLIN);
    assert_int_equal(shmc_poll(&item, 1, 20 * MS), 0);
    test_kill(child);
    assert_int_equal(shmc_poll(&item, 1, 0), 1);
    assert_int_equal(shmc_mpmc_pop(&q, &got, 8), SHMC_OK);
    assert_int_equal(got, 4);
    shmc_mpmc_close(&q);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("l", NULL), SHMC_OK);
}

/* ---- scribbled bytes ------------------------------------------------------- */

static void
scribbled_rings_are_errors_or_quiet_and_never_hang(void **state)
{
    uint32_t seed = 99;
    shmc_segment s;
    shmc_spsc q;
    shmc_recq r;
    shmc_latest c;
    shmc_mpmc m;
    shmc_bcast b;
    const shmc_bcast_desc bd = { .slot_count = 4, .max_bytes = 64, .waitable = 1 };

    (void)state;
    for (int round = 0; round < 300; round++) {
        assert_int_equal(shmc_segment_open(&s, "x", NULL), SHMC_OK);
        assert_int_equal(shmc_spsc_open(&q, &s, "q", &spsc_desc, SHMC_CONSUMER), 0);
        assert_int_equal(shmc_recq_open(&r, &s, "r", &recq_desc, SHMC_PRODUCER), 0);
        assert_int_equal(shmc_latest_open(&c, &s, "c", &latest_desc,
                                          SHMC_CONSUMER), 0);
        assert_int_equal(shmc_mpmc_open(&m, &s, "m", &mpmc_desc,
                                        SHMC_CONSUMER | SHMC_PRODUCER), 0);
        assert_int_equal(shmc_bcast_open(&b, &s, "b", &bd, SHMC_CONSUMER), 0);
        shmc_poll_item item[] = {
            item_of(shmc_spsc_pollable(&q), SHMC_POLLIN),
            item_of(shmc_recq_pollable(&r), SHMC_POLLOUT),
            item_of(shmc_latest_pollable(&c), SHMC_POLLIN),
            item_of(shmc_mpmc_pollable(&m), SHMC_POLLIN | SHMC_POLLOUT),
            item_of(shmc_bcast_pollable(&b), SHMC_POLLIN) };
        uint8_t *heap = s.base + s.heap_at;
        for (int i = 0; i < 400; i++) {
            seed = seed * 1664525u + 1013904223u;
            heap[(seed >> 8) % 32768] = (uint8_t)(seed >> 3);
        }
        (void)shmc_poll(item, 5, 0);
        (void)shmc_poll(item, 5, round % 50 == 0 ? 2 * MS : 0);
        shmc_bcast_close(&b);
        shmc_mpmc_close(&m);
        shmc_latest_close(&c);
        shmc_recq_close(&r);
        shmc_spsc_close(&q);
        shmc_segment_close(&s);
        assert_int_equal(shmc_segment_unlink("x", NULL), SHMC_OK);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        POLL_CASE(the_death_of_a_producer_is_told_once_and_after_its_messages),
        POLL_CASE(the_death_of_a_slow_subscriber_makes_room),
        POLL_CASE(what_a_dead_consumer_held_is_ready_and_there),
        POLL_CASE(what_comes_behind_a_dead_producer_is_ready),
        POLL_CASE(scribbled_rings_are_errors_or_quiet_and_never_hang),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
