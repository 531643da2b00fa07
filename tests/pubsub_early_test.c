/* A subscriber that opened before its reliable topic existed, and is elsewhere
 * when a publisher comes with a burst longer than the ring: nothing is lost,
 * whatever became of the subscriber.                                       */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "topic_support.h"

enum { DEPTH = 8, LARGE = 200 };

static const shmc_topic_desc reliable = {
    .mode = SHMC_RELIABLE, .depth = DEPTH, .max_bytes = LARGE,
    .max_publishers = 2, .max_subscribers = 3
};

static int
send_number(shmc_pub *pub, uint64_t n, uint32_t bytes, int64_t timeout_ns)
{
    uint64_t msg[LARGE / 8];

    for (uint32_t i = 0; i < bytes / 8; i++) msg[i] = n;
    return shmc_pub_send(pub, msg, bytes, timeout_ns);
}

/* Send until there is no room.                                            */
static uint64_t
burst(shmc_pub *pub, uint64_t first, uint32_t bytes)
{
    uint64_t n = first;

    while (n < first + 10 * DEPTH && send_number(pub, n, bytes, 0) == SHMC_OK) n++;
    return n;
}

/* Borrow the next one, which is `n` and whole.                            */
static void
look_at(shmc_sub *sub, uint64_t n, uint32_t bytes)
{
    const void *view;

    assert_int_equal(shmc_sub_borrow(sub, &view, SHMC_FOREVER), bytes);
    for (uint32_t i = 0; i < bytes / 8; i++)
        assert_int_equal(((const uint64_t *)view)[i], n);
    assert_int_equal(shmc_sub_release(sub), SHMC_OK);
}

static void
burst_of(const shmc_topic_desc *desc, uint32_t bytes)
{
    const shmc_sub_desc told = { .report_loss = true };
    shmc_pub pub, second;
    shmc_sub sub, late;
    uint64_t n, m;

    sub_open(&sub, &told);
    pub_open(&pub, desc);
    n = burst(&pub, 0, bytes);
    assert_true(n > 0 && n <= DEPTH);
    if (desc->max_publishers > 1) {     /* nor does one who comes later      */
        pub_open(&second, desc);
        m = burst(&second, n, bytes);
        assert_true(n < DEPTH || m == n);
        n = m;
    }
    sub_open(&late, NULL);              /* sits down at once                */
    m = n;
    for (uint64_t i = 0; i < n; i++) {
        look_at(&sub, i, bytes);
        if (i == 0) n = burst(&pub, n, bytes);
    }
    for (; m < n; m++) look_at(&late, m, bytes);
    /* Both sit now, and hold the ring up.                                 */
    n = burst(&pub, m, bytes);
    assert_true(n > m && n <= m + DEPTH);
    for (; m < n; m++) {
        look_at(&sub, m, bytes);
        look_at(&late, m, bytes);
    }
    assert_false(pub.ring.holding);
    assert_int_equal(shmc_sub_lost(&sub) + shmc_sub_lost(&late), 0);
    if (desc->max_publishers > 1) shmc_pub_close(&second);
    shmc_pub_close(&pub);
    shmc_sub_close(&late);
    shmc_sub_close(&sub);
    assert_int_equal(failures_logged, 0);
}

static void
an_early_subscriber_that_is_elsewhere_loses_nothing(void **state)
{
    shmc_topic_desc desc = reliable;

    (void)state;
    burst_of(&desc, 8);
    burst_of(&desc, LARGE);
    desc.meta = SHMC_META;
    burst_of(&desc, 8);
    desc.max_publishers = 1;
    burst_of(&desc, LARGE);
    desc.meta = 0;
    burst_of(&desc, 8);
}

static void
whoever_only_watches_holds_nobody_up(void **state)
{
    const shmc_sub_desc watch = { .watch = true }, newest = { .conflate = true };
    const shmc_topic_desc lossy = { .depth = DEPTH };
    shmc_topic_desc overruns = reliable;
    shmc_sub watcher, conflates, seated;
    shmc_pub pub;

    (void)state;
    overruns.when_full = SHMC_FULL_DROP_OLDEST;
    sub_open(&watcher, &watch);
    sub_open(&conflates, &newest);
    pub_open(&pub, &reliable);
    assert_int_equal(burst(&pub, 0, 8), 10 * DEPTH);
    shmc_pub_close(&pub);
    shmc_sub_close(&conflates);
    shmc_sub_close(&watcher);
    sub_open(&seated, NULL);
    pub_open(&pub, &lossy);
    assert_int_equal(burst(&pub, 0, 8), 10 * DEPTH);
    shmc_pub_close(&pub);
    shmc_sub_close(&seated);
    /* Who drops the oldest waits for nobody; the loss is exact.           */
    sub_open(&seated, NULL);
    pub_open(&pub, &overruns);
    assert_int_equal(burst(&pub, 0, 8), 10 * DEPTH);
    look_at(&seated, 9 * DEPTH, 8);
    assert_int_equal(shmc_sub_lost(&seated), 9 * DEPTH);
    shmc_pub_close(&pub);
    shmc_sub_close(&seated);
}

static void
a_topic_that_was_left_to_it_is_not_overrun_by_the_next_publisher(void **state)
{
    shmc_sub sub;
    shmc_pub pub;
    uint64_t n = 0;

    (void)state;
    sub_open(&sub, NULL);
    for (int i = 0; i < 3; i++) {
        pub_open(&pub, &reliable);
        for (int k = 0; k < 3; k++, n++)
            if (send_number(&pub, n, 8, 0) != SHMC_OK) break;
        shmc_pub_close(&pub);
    }
    assert_int_equal(n, DEPTH);         /* the ninth was refused            */
    for (uint64_t i = 0; i < n; i++) look_at(&sub, i, 8);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
}

static void
a_poller_finds_room_once_the_early_subscriber_sits(void **state)
{
    shmi_poll_spot spot = { .due_ns = SHMI_FOREVER };
    shmc_sub sub;
    shmc_pub pub;

    (void)state;
    sub_open(&sub, NULL);
    pub_open(&pub, &reliable);
    assert_int_equal(burst(&pub, 0, 8), DEPTH);
    const shmc_pollable p = shmc_pub_pollable(&pub);
    assert_int_equal(p.look(p.object, SHMC_POLLOUT, true, &spot), 0);
    for (uint64_t i = 0; i < DEPTH; i++) look_at(&sub, i, 8);
    assert_int_equal(p.look(p.object, SHMC_POLLOUT, true, &spot), SHMC_POLLOUT);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

/* ---- in another process -------------------------------------------------- */

enum { SENT = 4 * DEPTH };

typedef struct early { uint32_t opened, go_on; } early;

/* Open, and do something else for a while.                                */
static int
comes_early(void *arg)
{
    early *e = arg;
    shmc_sub sub;

    TEST_REQUIRE(shmc_sub_open(&sub, "robot/pose", NULL) == SHMC_OK);
    shmi_store_rel_32(&e->opened, 1);
    while (shmi_load_acq_32(&e->go_on) == 0) test_sleep_ms(1);
    for (uint64_t n = 0; n < SENT; n++) {
        const void *view;
        TEST_REQUIRE(shmc_sub_borrow(&sub, &view, SHMC_FOREVER) == 8);
        TEST_REQUIRE(*(const uint64_t *)view == n);
        TEST_REQUIRE(shmc_sub_release(&sub) == SHMC_OK);
    }
    TEST_REQUIRE(shmc_sub_lost(&sub) == 0);
    return shmc_sub_close(&sub);
}

static pid_t
start_early(early *e)
{
    memset(e, 0, sizeof *e);
    const pid_t pid = test_spawn(comes_early, e);

    while (shmi_load_acq_32(&e->opened) == 0) test_sleep_ms(1);
    return pid;
}

static void
a_publisher_waits_for_a_stopped_one_and_not_for_a_dead_one(void **state)
{
    early *e = test_shared(sizeof *e);
    shmc_pub pub;

    (void)state;
    for (int dies = 0; dies < 2; dies++) {
        const pid_t pid = start_early(e);
        uint64_t n;
        assert_int_equal(kill(pid, SIGSTOP), 0);
        pub_open(&pub, &reliable);
        n = burst(&pub, 0, 8);
        assert_int_equal(n, DEPTH);
        assert_int_equal(send_number(&pub, n, 8, 3000000), SHMC_ETIMEDOUT);
        if (dies) {
            test_kill(pid);
            assert_int_equal(send_number(&pub, n, 8, SHMC_FOREVER), SHMC_OK);
            assert_int_equal(burst(&pub, 0, 8), 10 * DEPTH);
        } else {
            assert_int_equal(kill(pid, SIGCONT), 0);
            shmi_store_rel_32(&e->go_on, 1);
            for (; n < SENT; n++)
                assert_int_equal(send_number(&pub, n, 8, SHMC_FOREVER), SHMC_OK);
            assert_int_equal(test_join(pid), 0);
        }
        shmc_pub_close(&pub);
    }
    shmi_unmap(e, sizeof *e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(an_early_subscriber_that_is_elsewhere_loses_nothing),
        TOPIC_CASE(whoever_only_watches_holds_nobody_up),
        TOPIC_CASE(a_topic_that_was_left_to_it_is_not_overrun_by_the_next_publisher),
        TOPIC_CASE(a_poller_finds_room_once_the_early_subscriber_sits),
        TOPIC_CASE(a_publisher_waits_for_a_stopped_one_and_not_for_a_dead_one),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("pubsub_early", tests, NULL, NULL);
}
