/* Publishers are replaced, and topics made anew, in another shape, too, or
 * after they were removed by force: subscribers go on by themselves, with all
 * that was acknowledged, in order, and learn of it if they want to.        */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "topic_support.h"

#include <pthread.h>

static void
hear_of_a_restart(shmc_sub *sub)
{
    char buf[64];

    assert_int_equal(shmc_sub_recv(sub, buf, sizeof buf, SHMC_FOREVER),
                     SHMC_RESTARTED);
}

static void
a_restart_is_told_between_the_last_message_and_the_first(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
        const shmc_topic_desc desc = { .max_publishers = publishers };
        const shmc_sub_desc told = { .report_restart = true };
        shmc_pub pub;
        shmc_sub sub, quiet;
        const void *view;

        sub_open(&sub, &told);
        sub_open(&quiet, NULL);
        pub_open(&pub, &desc);
        say(&pub, "one");
        hear(&quiet, "one");
        hear(&sub, "one");
        assert_int_equal(shmc_sub_restarts(&quiet), 0);
        for (uint64_t life = 1; life < 5; life++) {
            say(&pub, "last");
            shmc_pub_close(&pub);
            pub_open(&pub, &desc);
            say(&pub, "first");
            hear(&sub, "last");
            if (life % 2) hear_of_a_restart(&sub);
            else assert_int_equal(shmc_sub_borrow(&sub, &view, 0), SHMC_RESTARTED);
            hear(&sub, "first");
            hear_nothing(&sub);
            assert_int_equal(shmc_sub_restarts(&sub), life);
            hear(&quiet, "last");
            hear(&quiet, "first");
            assert_int_equal(shmc_sub_restarts(&quiet), life);
        }
        shmc_sub_close(&quiet);
        /* What was before it came does not concern it.                    */
        sub_open(&quiet, &told);
        say(&pub, "x");
        hear(&quiet, "x");
        assert_int_equal(shmc_sub_restarts(&quiet), 0);
        shmc_sub_close(&quiet);
        shmc_sub_close(&sub);
        shmc_pub_close(&pub);
    }
    assert_int_equal(failures_logged, 0);
}

static void
one_more_publisher_is_no_restart(void **state)
{
    const shmc_sub_desc told = { .report_restart = true };
    shmc_pub pub, more;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, NULL);
    sub_open(&sub, &told);
    pub_open(&more, NULL);
    say(&more, "x");
    hear(&sub, "x");
    assert_int_equal(shmc_sub_restarts(&sub), 0);
    shmc_pub_close(&pub);
    shmc_pub_close(&more);
    hear_nothing(&sub);
    shmc_sub_close(&sub);
}

typedef struct sleeper { pthread_t thread; shmc_sub *sub; int result; } sleeper;

static void *
sleep_till_told(void *arg)
{
    sleeper *s = arg;
    char buf[64];

    s->result = shmc_sub_recv(s->sub, buf, sizeof buf, SHMC_FOREVER);
    return NULL;
}

static void
who_sleeps_learns_of_a_restart(void **state)
{
    const shmc_sub_desc told = { .report_restart = true };
    const shmc_topic_desc other = { .depth = 64 };
    shmc_pub pub;
    shmc_sub sub;
    sleeper s = { .sub = &sub };

    (void)state;
    for (int anew = 0; anew < 2; anew++) {
        pub_open(&pub, NULL);
        sub_open(&sub, &told);
        shmc_pub_close(&pub);
        assert_int_equal(pthread_create(&s.thread, NULL, sleep_till_told, &s), 0);
        test_sleep_ms(20);
        pub_open(&pub, anew ? &other : NULL);
        assert_int_equal(pthread_join(s.thread, NULL), 0);
        assert_int_equal(s.result, SHMC_RESTARTED);
        say(&pub, "x");
        hear(&sub, "x");
        shmc_sub_close(&sub);
        shmc_pub_close(&pub);
    }
}

/* ---- another shape ------------------------------------------------------- */

static void
subscribers_alone_do_not_keep_a_shape(void **state)
{
    static const shmc_topic_desc shapes[] = {
        { .depth = 64 }, { .max_bytes = 8000, .mode = SHMC_RELIABLE },
        { .depth = 1u << 12 }, { .wake = SHMC_WAKE_ASYMMETRIC },
        { .meta = SHMC_META }, { .type_name = "pose" },
        { .type_name = "twist" }, { .type_bytes = 24, .max_publishers = 1 },
    };
    const shmc_sub_desc told = { .report_restart = true };
    const shmc_sub_desc ro = { .flags = SHMC_READ_ONLY };
    shmc_pub pub, other;
    shmc_sub sub, quiet, reader;
    const uint64_t n = sizeof shapes / sizeof shapes[0];

    (void)state;
    sub_open(&sub, &told);
    sub_open(&quiet, NULL);
    sub_open(&reader, &ro);
    for (uint64_t i = 0; i < n; i++) {
        pub_open(&pub, &shapes[i]);
        assert_int_equal(files(), 1);
        /* While one publishes, it does.                                   */
        assert_int_equal(shmc_pub_open(&other, "robot/pose",
                                       &(shmc_topic_desc){ .depth = 2 }),
                         SHMC_EMISMATCH);
        if (i > 0) {
            hear(&sub, "read only later");
            hear_of_a_restart(&sub);
            hear(&quiet, "read only later");
            hear(&reader, "read only later");
        }
        say(&pub, "new");
        hear(&sub, "new");
        hear(&quiet, "new");
        hear(&reader, "new");
        say(&pub, "read only later");
        shmc_pub_close(&pub);
        assert_int_equal(shmc_sub_restarts(&quiet), i);
    }
    hear(&sub, "read only later");
    assert_int_equal(shmc_sub_restarts(&sub), n - 1);
    assert_int_equal(shmc_sub_lost(&sub) + shmc_sub_lost(&quiet) +
                     shmc_sub_lost(&reader), 0);
    shmc_sub_close(&reader);
    shmc_sub_close(&quiet);
    shmc_sub_close(&sub);
    assert_int_equal(failures_logged, n);
}

static void
a_topic_removed_by_force_is_followed_when_its_publishers_left(void **state)
{
    const shmc_segment_desc force = { .flags = SHMC_FORCE };
    shmc_pub pub, next;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, NULL);
    sub_open(&sub, NULL);
    assert_int_equal(shmc_segment_unlink("robot/pose", &force), SHMC_OK);
    pub_open(&next, NULL);
    say(&next, "of the new");
    say(&pub, "of the old");
    hear(&sub, "of the old");
    hear_nothing(&sub);             /* its publisher lives                  */
    say(&pub, "its last");
    shmc_pub_close(&pub);
    hear(&sub, "its last");
    hear(&sub, "of the new");
    assert_int_equal(shmc_sub_lost(&sub), 0);
    assert_int_equal(shmc_sub_restarts(&sub), 1);
    shmc_sub_close(&sub);
    shmc_pub_close(&next);
    assert_int_equal(failures_logged, 0);
}

static void
who_only_polls_moves_over_too(void **state)
{
    char buf[64];
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, NULL);
    sub_open(&sub, NULL);
    shmc_pub_close(&pub);
    pub_open(&pub, &(shmc_topic_desc){ .depth = 8 });
    say(&pub, "x");
    int r = SHMC_EAGAIN;
    while (r == SHMC_EAGAIN) r = shmc_sub_recv(&sub, buf, sizeof buf, 0);
    assert_int_equal(r, 2);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

/* ---- deaths -------------------------------------------------------------- */

/* Publishers, each in another shape than the one before, number messages,
 * and are killed at random, but not while they open: docs/caveats.md; the
 * witness sees none twice, none out of order, and all of those whose send
 * returned.  For that a publisher waits a second for it to move over, which
 * is enough if it gets a CPU.                                              */
enum { LIVES = SHMI_TSAN ? 15 : 60, ITEMS = 1 << 16, STARVED_NS = 350000000 };

typedef struct diary {
    uint64_t next, life, opened, heard, listens, over, lost, starved;
    uint8_t acked[ITEMS], got[ITEMS];
} diary;

static int
publish_till_killed(void *arg)
{
    diary *d = arg;
    const uint64_t life = shmi_faa_64(&d->life, 1);
    const shmc_topic_desc desc = {
        .mode = SHMC_RELIABLE, .depth = 64u << life % 3, .max_publishers = 2,
        .max_subscribers = 4, .arena_bytes = 16384, .max_bytes = 2048,
        .meta = life % 2 };
    uint64_t words[256];
    shmc_pub pub;

    shmc_log_set(NULL, NULL, 0);
    const int r = shmc_pub_open(&pub, "robot/pose", &desc);
    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    TEST_REQUIRE(r == SHMC_OK);
    shmi_store_rel_64(&d->opened, life + 1);
    for (uint64_t item; (item = shmi_faa_64(&d->next, 1)) < ITEMS; ) {
        const uint32_t bytes = 8 + (uint32_t)(item % 200) * 8;
        bcast_seal(words, 0, item, bytes);
        TEST_REQUIRE(shmc_pub_send(&pub, words, bytes, SHMC_FOREVER) == SHMC_OK);
        d->acked[item] = 1;
        test_sleep_ms(item % 8 == 0);
    }
    return 1;
}

static int
witness(void *arg)
{
    diary *d = arg;
    uint64_t words[256], last = 0;
    shmc_sub sub;

    TEST_REQUIRE(shmc_sub_open(&sub, "robot/pose", NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_recv(&sub, words, sizeof words, 0) == SHMC_EAGAIN);
    shmi_store_rel_64(&d->listens, 1);
    for (;;) {
        const bool over = shmi_load_acq_64(&d->over) != 0;
        const uint64_t before = shmi_now_ns();
        const int r = shmc_sub_recv(&sub, words, sizeof words, 300000000);
        if (shmi_now_ns() - before > STARVED_NS) d->starved = 1;
        if (r == SHMC_ETIMEDOUT && over) break;
        if (r == SHMC_ETIMEDOUT) continue;
        TEST_REQUIRE(r >= 8 && bcast_sealed(words, (uint32_t)r));
        TEST_REQUIRE(words[0] < ITEMS && words[0] >= last);
        last = words[0] + 1;
        d->got[words[0]] = 1;
        (void)shmi_faa_64(&d->heard, 1);
    }
    d->lost = shmc_sub_lost(&sub);
    TEST_REQUIRE(shmc_sub_close(&sub) == SHMC_OK);
    return 0;
}

static void
publishers_killed_at_random_are_replaced_in_other_shapes(void **state)
{
    diary *d = test_shared(sizeof *d);
    uint32_t x = 2463534242u;

    (void)state;
    const pid_t watching = test_spawn(witness, d);
    while (shmi_load_acq_64(&d->listens) == 0) test_sleep_ms(1);
    for (int life = 0; life < LIVES; life++) {
        const uint64_t heard = shmi_load_acq_64(&d->heard);
        const pid_t pid = test_spawn(publish_till_killed, d);
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        while (shmi_load_acq_64(&d->opened) != (uint64_t)life + 1 ||
               (life % 3 != 0 && shmi_load_acq_64(&d->heard) == heard))
            test_sleep_ms(1);
        shmi_sleep_until(shmi_now_ns() + x % 12000000);
        test_kill(pid);
    }
    shmi_store_rel_64(&d->over, 1);
    assert_int_equal(test_join(watching), 0);
    uint64_t missing = 0;
    for (uint64_t i = 0; i < ITEMS; i++) missing += d->acked[i] && !d->got[i];
    if (d->starved)
        print_message("the witness got no CPU for long; %u missing, %u counted\n",
                      (unsigned)missing, (unsigned)d->lost);
    else
        assert_true(missing == 0 && d->lost == 0);
    assert_true(d->heard > (uint64_t)LIVES / 2);
    shmi_unmap(d, sizeof *d);
}

/* An heir that died before it gave the file up counts for nothing; one that
 * is stopped there is told of.                                             */
static void
an_heir_that_died_or_stopped_half_way_does_not_block(void **state)
{
    const shmc_topic_desc other = { .depth = 8 };
    shmc_segment looker;
    shmc_pub pub, next;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, NULL);
    sub_open(&sub, NULL);
    pub.ring.shm->user[SHMI_TOPIC_HEIR] = BCAST_DEAD;
    pub_open(&next, NULL);
    assert_int_equal(pub.ring.shm->user[SHMI_TOPIC_HEIR], 0);
    say(&next, "x");
    hear(&sub, "x");
    shmc_pub_close(&next);
    pub.ring.shm->user[SHMI_TOPIC_HEIR] = BCAST_DEAD;
    hear_nothing(&sub);
    shmc_pub_close(&pub);
    pub_open(&pub, &other);
    say(&pub, "y");
    hear(&sub, "y");
    /* Alive, and at it.                                                   */
    assert_int_equal(shmc_segment_attach(&looker, "robot/pose", NULL), SHMC_OK);
    pub.ring.shm->user[SHMI_TOPIC_HEIR] = shmi_owner_self(&looker);
    assert_int_equal(shmc_pub_open(&next, "robot/pose", NULL), SHMC_EBUSY);
    assert_non_null(strstr(shmc_last_error(), "does not go on"));
    shmc_segment_close(&looker);
    pub_open(&next, NULL);
    shmc_pub_close(&next);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    assert_int_equal(failures_logged, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(a_restart_is_told_between_the_last_message_and_the_first),
        TOPIC_CASE(one_more_publisher_is_no_restart),
        TOPIC_CASE(who_sleeps_learns_of_a_restart),
        TOPIC_CASE(subscribers_alone_do_not_keep_a_shape),
        TOPIC_CASE(a_topic_removed_by_force_is_followed_when_its_publishers_left),
        TOPIC_CASE(who_only_polls_moves_over_too),
        TOPIC_CASE(publishers_killed_at_random_are_replaced_in_other_shapes),
        TOPIC_CASE(an_heir_that_died_or_stopped_half_way_does_not_block),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("pubsub_restart", tests, NULL, NULL);
}
