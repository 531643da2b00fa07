/* The hard cases: names with '/', handles opened and closed without end, a
 * subscriber that never reads, a wall clock that goes back an hour.        */
#define _GNU_SOURCE 1
#include <time.h>

/* The wall clock, as the library reads it, is what the test says.          */
static int hard_clock(clockid_t clock, struct timespec *t);
#define clock_gettime hard_clock

#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#undef clock_gettime

#include "topic_support.h"

static int64_t step_s;              /* of the wall clock                    */
static uint64_t read_realtime;      /* how often it was read                */

static int
hard_clock(clockid_t clock, struct timespec *t)
{
    const int r = clock_gettime(clock, t);

    if (clock == CLOCK_REALTIME) {
        t->tv_sec += step_s;
        read_realtime++;
    }
    return r;
}

static int
count_own_fd(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return 0;
}

static int
descriptors(void)
{
    int n = 0;

    (void)shmi_dir_each("/proc/self/fd", count_own_fd, &n);
    return n;
}

static void
pub_open_as(shmc_pub *pub, const char *topic, const shmc_topic_desc *desc)
{
    assert_int_equal(shmc_pub_open(pub, topic, desc), SHMC_OK);
}

/* A thousand of what users compile, fewer where it takes longer; or
 * SHMC_ROUNDS.                                                             */
static uint32_t
cycles(void)
{
#ifdef NDEBUG
    const uint32_t usual = 1000;
#else
    const uint32_t usual = SHMI_TSAN ? 20 : 60;
#endif
    const char *text = getenv("SHMC_ROUNDS");
    const long n = text != NULL ? strtol(text, NULL, 10) : 0;

    return n > 0 && n <= 1000 ? (uint32_t)n : usual;
}

enum { SOCKETS = 100, TOPICS = 20 };

static void
a_hundred_sockets_over_and_over_leave_nothing(void **state)
{
    static shmc_pub pubs[SOCKETS / 2];
    static shmc_sub subs[SOCKETS / 2];
    const shmc_topic_desc desc = { .depth = 2, .max_bytes = 8,
                                   .max_publishers = 8, .max_subscribers = 8 };
    const int before = descriptors();
    const uint32_t n = cycles();
    char name[64];

    (void)state;
    for (uint32_t cycle = 0; cycle < n; cycle++) {
        test_watchdog(60);
        for (uint32_t i = 0; i < SOCKETS / 2; i++) {
            snprintf(name, sizeof name, "a/%u/c%u/d", i % TOPICS, i % 2);
            /* Either side may come first; one subscriber is under all.    */
            if (cycle % 2) pub_open_as(&pubs[i], name, &desc);
            assert_int_equal(shmc_sub_open(&subs[i], i == 7 ? "a/" : name, NULL),
                             SHMC_OK);
            if (cycle % 2 == 0) pub_open_as(&pubs[i], name, &desc);
        }
        assert_int_equal(files(), TOPICS);
        const uint32_t i = cycle % (SOCKETS / 2);
        assert_int_equal(shmc_pub_send(&pubs[i], &cycle, 4, 0), SHMC_OK);
        if (i != 7) {
            uint32_t got;
            assert_int_equal(shmc_sub_recv(&subs[i], &got, 4, SHMC_FOREVER), 4);
            assert_int_equal(got, cycle);
        }
        for (uint32_t k = 0; k < SOCKETS / 2; k++) {
            if (cycle / 2 % 2) assert_int_equal(shmc_pub_close(&pubs[k]), SHMC_OK);
            assert_int_equal(shmc_sub_close(&subs[k]), SHMC_OK);
            if (cycle / 2 % 2 == 0)
                assert_int_equal(shmc_pub_close(&pubs[k]), SHMC_OK);
        }
        assert_int_equal(files(), 0);
    }
    assert_int_equal(descriptors(), before);
    assert_int_equal(failures_logged, 0);
}

static void
names_with_slashes_are_names_of_their_own(void **state)
{
    static const char *const names[] = { "a", "a/b", "a/b/c", "a.b", "a-b" };
    enum { N = sizeof names / sizeof names[0] };
    shmc_pub pub[N];
    shmc_sub sub[N], under;
    char longest[SHMC_NAME_BYTES];

    (void)state;
    for (int i = 0; i < N; i++) {
        assert_int_equal(shmc_pub_open(&pub[i], names[i], NULL), SHMC_OK);
        assert_int_equal(shmc_sub_open(&sub[i], names[i], NULL), SHMC_OK);
    }
    assert_int_equal(files(), N);
    assert_int_equal(shmc_sub_open(&under, "a/b/", NULL), SHMC_OK);
    for (int i = 0; i < N; i++) say(&pub[i], names[i]);
    for (int i = 0; i < N; i++) {
        hear(&sub[i], names[i]);
        hear_nothing(&sub[i]);
    }
    hear(&under, "a/b/c");
    hear_nothing(&under);
    shmc_sub_close(&under);
    for (int i = 0; i < N; i++) {
        shmc_pub_close(&pub[i]);
        shmc_sub_close(&sub[i]);
    }
    /* The longest name, and the longest one to be under.                  */
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    longest[sizeof longest - 3] = '/';
    assert_int_equal(shmc_pub_open(&pub[0], longest, NULL), SHMC_OK);
    longest[sizeof longest - 2] = '\0';
    assert_int_equal(shmc_sub_open(&under, longest, NULL), SHMC_OK);
    say(&pub[0], "long");
    hear(&under, "long");
    shmc_sub_close(&under);
    shmc_pub_close(&pub[0]);
    static const char *const bad[] = { "a//", "//", "/a/", "a b/", "../", "./" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(shmc_sub_open(&under, bad[i], NULL), SHMC_ENAME);
}

static int
never_read(void *arg)
{
    uint32_t *joined = arg;
    shmc_sub sub;

    TEST_REQUIRE(shmc_sub_open(&sub, "robot/pose", NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_ready(&sub) == 1);
    shmi_store_rel_32(joined, 1);
    while (getppid() > 0) test_sleep_ms(1000);
    return 0;
}

static void
silence_is_not_death_whatever_a_full_topic_does(void **state)
{
    uint32_t *joined = test_shared(sizeof *joined);
    shmc_pub pub;

    (void)state;
    for (uint32_t when = SHMC_FULL_WAIT; when <= SHMC_FULL_DROP_OLDEST; when++) {
        const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 8,
                                       .when_full = when };
        shmc_bcast_stats stats;
        pub_open(&pub, &desc);
        *joined = 0;
        const pid_t pid = test_spawn(never_read, joined);
        while (shmi_load_acq_32(joined) == 0) test_sleep_ms(1);
        for (int i = 0; i < 8; i++) say(&pub, "x");
        for (int i = 0; i < 100; i++)
            assert_int_equal(shmc_pub_send(&pub, "y", 2, when ? -1 : 200000),
                             when == SHMC_FULL_WAIT ? SHMC_ETIMEDOUT :
                             when == SHMC_FULL_DROP_NEW ? SHMC_EAGAIN : SHMC_OK);
        assert_int_equal(shmc_bcast_stats_get(&pub.ring, &stats), SHMC_OK);
        assert_int_equal(stats.subscribers, 1);
        assert_int_equal(stats.dropped, 0);
        test_kill(pid);
        /* Its death is noticed by all of them.                            */
        while (stats.dropped == 0) {
            (void)shmc_pub_send(&pub, "y", 2, 0);
            assert_int_equal(shmc_bcast_stats_get(&pub.ring, &stats), SHMC_OK);
        }
        assert_int_equal(stats.subscribers, 0);
        assert_int_equal(shmc_pub_send(&pub, "z", 2, 0), SHMC_OK);
        shmc_pub_close(&pub);
    }
    shmi_unmap(joined, sizeof *joined);
}

/* All that waits, times out, watches peers and follows names, while the wall
 * clock goes an hour back, and forth, between any two calls.               */
static void
a_wall_clock_that_goes_back_an_hour_changes_nothing(void **state)
{
    (void)state;
    read_realtime = 0;
    for (int64_t step = -3600; step <= 3600; step += 7200) {
        shmc_pub pub;
        shmc_sub sub, under;
        shmc_msg_info info;

        step_s = 0;
        shmc_sub_open(&sub, "robot/pose", NULL);
        assert_int_equal(shmc_sub_open(&under, "robot/", NULL), SHMC_OK);
        step_s = step;
        pub_open(&pub, &(shmc_topic_desc){ .mode = SHMC_RELIABLE, .depth = 4,
                                           .meta = SHMC_META });
        say(&pub, "one");           /* both were here before it             */
        hear(&sub, "one");
        hear(&under, "one");
        assert_int_equal(shmc_sub_info(&sub, &info), SHMC_OK);
        step_s = 0;
        assert_true(shmi_now_ns() >= info.sent_ns);
        hear_nothing(&sub);         /* a timeout                            */
        step_s = step;
        hear_nothing(&under);
        for (int i = 0; i < 4; i++) say(&pub, "x");
        step_s = 0;
        assert_int_equal(shmc_pub_send(&pub, "y", 2, 3000000), SHMC_ETIMEDOUT);
        for (int i = 0; i < 4; i++) hear(&sub, "x");
        for (int i = 0; i < 4; i++) hear(&under, "x");
        step_s = step;
        shmc_pub_close(&pub);
        step_s = 0;
        pub_open(&pub, &(shmc_topic_desc){ .depth = 8 });
        say(&pub, "made anew");
        hear(&sub, "made anew");
        hear(&under, "made anew");
        assert_int_equal(shmc_sub_restarts(&sub), 1);
        assert_int_equal(shmc_sub_lost(&sub) + shmc_sub_lost(&under), 0);
        shmc_pub_close(&pub);
        shmc_sub_close(&under);
        shmc_sub_close(&sub);
    }
    /* It is read for people: the clock that was stepped is the library's.  */
    assert_true(read_realtime > 0);
    step_s = 0;
    assert_int_equal(failures_logged, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(a_hundred_sockets_over_and_over_leave_nothing),
        TOPIC_CASE(names_with_slashes_are_names_of_their_own),
        TOPIC_CASE(silence_is_not_death_whatever_a_full_topic_does),
        TOPIC_CASE(a_wall_clock_that_goes_back_an_hour_changes_nothing),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("pubsub_hard", tests, NULL, NULL);
}
