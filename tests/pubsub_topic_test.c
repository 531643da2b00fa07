/* Topics: who comes first or last, who dies, what a topic's shape is, and
 * what each call answers.                                                  */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "topic_support.h"

#include <pthread.h>

/* ---- comings and goings -------------------------------------------------- */

static void
hello_world(void **state)
{
    (void)state;
    shmc_pub pub;
    shmc_sub sub;

    pub_open(&pub, NULL);
    sub_open(&sub, NULL);
    say(&pub, "hello");
    hear(&sub, "hello");
    hear_nothing(&sub);
    assert_int_equal(shmc_pub_send(&pub, "", 0, 0), SHMC_OK);
    assert_int_equal(shmc_sub_recv(&sub, NULL, 0, SHMC_FOREVER), 0);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    assert_int_equal(shmc_pub_close(&pub), SHMC_OK);
    assert_int_equal(shmc_sub_close(&sub), SHMC_OK);
    assert_int_equal(failures_logged, 0);
}

static void
a_subscriber_that_was_first_gets_the_very_first_message(void **state)
{
    (void)state;
    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        const shmc_topic_desc desc = { .mode = mode };
        shmc_pub pub;
        shmc_sub sub;

        sub_open(&sub, NULL);
        assert_int_equal(shmc_sub_ready(&sub), 0);
        hear_nothing(&sub);
        pub_open(&pub, &desc);
        say(&pub, "one");
        say(&pub, "two");
        hear(&sub, "one");
        assert_int_equal(shmc_sub_ready(&sub), 1);
        hear(&sub, "two");
        hear_nothing(&sub);
        shmc_pub_close(&pub);
        shmc_sub_close(&sub);
    }
    assert_int_equal(failures_logged, 0);
}

enum { BURST = 1000 };

typedef struct burst { uint32_t waiting; } burst;

static int
hears_all_of_a_burst(void *arg)
{
    burst *b = arg;
    shmc_sub sub;
    uint32_t got;

    TEST_REQUIRE(shmc_sub_open(&sub, "robot/pose", NULL) == SHMC_OK);
    shmi_store_rel_32(&b->waiting, 1);
    for (uint32_t i = 0; i < BURST; i++) {
        TEST_REQUIRE(shmc_sub_recv(&sub, &got, sizeof got, SHMC_FOREVER) ==
                     sizeof got);
        TEST_REQUIRE(got == i);
    }
    TEST_REQUIRE(shmc_sub_lost(&sub) == 0);
    return shmc_sub_close(&sub);
}

static void
a_first_burst_longer_than_a_reliable_ring_waits_for_who_waits(void **state)
{
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 4 };

    (void)state;
    for (int round = 0; round < 20; round++) {
        burst *b = test_shared(sizeof *b);
        shmc_pub pub;
        const pid_t pid = test_spawn(hears_all_of_a_burst, b);

        while (shmi_load_acq_32(&b->waiting) == 0) test_sleep_ms(1);
        pub_open(&pub, &desc);
        for (uint32_t i = 0; i < BURST; i++)
            assert_int_equal(shmc_pub_send(&pub, &i, sizeof i, SHMC_FOREVER),
                             SHMC_OK);
        shmc_pub_close(&pub);
        assert_int_equal(test_join(pid), 0);
    }
}

static void
a_publisher_that_left_at_once_is_heard_by_who_waited(void **state)
{
    (void)state;
    shmc_pub pub;
    shmc_sub sub, other, never;

    sub_open(&sub, NULL);
    sub_open(&other, NULL);
    sub_open(&never, NULL);
    for (int i = 0; i < 2; i++) {   /* the second goes on with the topic    */
        pub_open(&pub, NULL);
        say(&pub, i ? "and gone" : "here");
        shmc_pub_close(&pub);
        assert_int_equal(files(), 1);
    }
    hear(&sub, "here");
    hear(&sub, "and gone");
    shmc_sub_close(&sub);
    hear(&other, "here");
    hear(&other, "and gone");
    shmc_sub_close(&other);
    assert_int_equal(files(), 1);
    shmc_sub_close(&never);
    assert_int_equal(files(), 0);
    /* What it left in another shape binds nobody.                         */
    sub_open(&sub, NULL);
    pub_open(&pub, NULL);
    shmc_pub_close(&pub);
    pub_open(&pub, &(shmc_topic_desc){ .depth = 32 });
    say(&pub, "in another shape");
    hear(&sub, "in another shape");
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    assert_int_equal(failures_logged, 0);
}

static void
what_a_subscriber_that_was_first_comes_too_late_for_is_counted(void **state)
{
    (void)state;
    const shmc_topic_desc desc = { .depth = 16, .max_bytes = 8,
                                   .max_publishers = 1 };
    const shmc_sub_desc told = { .report_loss = true };
    shmc_pub pub;
    shmc_sub sub, quiet;
    uint64_t n = 0;

    sub_open(&sub, &told);
    sub_open(&quiet, NULL);
    pub_open(&pub, &desc);
    for (; n < 100; n++)
        assert_int_equal(shmc_pub_send(&pub, &n, 8, 0), SHMC_OK);
    assert_int_equal(shmc_sub_recv(&sub, &n, 8, SHMC_FOREVER), SHMC_ELAPPED);
    assert_int_equal(shmc_sub_gap(&sub), 84);
    assert_int_equal(shmc_sub_recv(&sub, &n, 8, SHMC_FOREVER), 8);
    assert_int_equal(n, 84);
    assert_int_equal(shmc_sub_recv(&quiet, &n, 8, SHMC_FOREVER), 8);
    assert_int_equal(n, 84);
    assert_int_equal(shmc_sub_lost(&quiet), 84);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    shmc_sub_close(&quiet);
}

static void
a_publisher_comes_back_and_subscribers_notice_nothing(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
        const shmc_topic_desc desc = { .max_publishers = publishers };
        shmc_pub pub;
        shmc_sub sub;
        char text[32];

        sub_open(&sub, NULL);
        for (int life = 0; life < 10; life++) {
            pub_open(&pub, &desc);
            snprintf(text, sizeof text, "life %d", life);
            say(&pub, text);
            if (life % 2) hear(&sub, text);
            shmc_pub_close(&pub);
            if (life % 2 == 0) hear(&sub, text);
        }
        assert_int_equal(shmc_sub_lost(&sub), 0);
        shmc_sub_close(&sub);
    }
    assert_int_equal(failures_logged, 0);
}

static void
a_late_subscriber_gets_the_history_it_asks_for(void **state)
{
    (void)state;
    const shmc_sub_desc two = { .history = 2 }, all = { .history = -1 };
    shmc_pub pub;
    shmc_sub none, some, every;

    pub_open(&pub, NULL);
    say(&pub, "a");
    say(&pub, "b");
    say(&pub, "c");
    sub_open(&none, NULL);
    sub_open(&some, &two);
    sub_open(&every, &all);
    say(&pub, "d");
    hear(&none, "d");
    hear(&some, "b");
    hear(&some, "c");
    hear(&some, "d");
    hear(&every, "a");
    shmc_sub_close(&none);
    shmc_sub_close(&some);
    shmc_sub_close(&every);
    shmc_pub_close(&pub);
}

static void
the_last_one_out_removes_the_file(void **state)
{
    (void)state;
    shmc_pub pub;
    shmc_sub sub;

    assert_int_equal(files(), 0);
    sub_open(&sub, NULL);
    assert_int_equal(files(), 0);
    pub_open(&pub, NULL);
    assert_int_equal(files(), 1);
    hear_nothing(&sub);
    shmc_pub_close(&pub);
    assert_int_equal(files(), 1);
    shmc_sub_close(&sub);
    assert_int_equal(files(), 0);
}

static void
folder_and_prefix_can_be_chosen(void **state)
{
    (void)state;
    char other[64];
    shmi_file_info info;
    test_dir_make(other);
    const shmc_topic_desc there = { .dir = other, .prefix = "fleet",
                                    .access = 0640 };
    const shmc_sub_desc sub_there = { .dir = other, .prefix = "fleet" };
    const shmc_sub_desc sub_half = { .dir = other };
    shmc_pub pub;
    shmc_sub sub, half;

    pub_open(&pub, &there);
    const int fd = shmi_dir_open(other);
    assert_int_equal(shmi_name_info(fd, "fleet.robot+pose", &info), 0);
    assert_int_equal(info.mode, 0640);
    shmi_close(fd);
    sub_open(&sub, &sub_there);
    sub_open(&half, &sub_half);
    say(&pub, "x");
    hear(&sub, "x");
    hear_nothing(&half);
    shmc_sub_close(&sub);
    shmc_sub_close(&half);
    shmc_pub_close(&pub);
    test_dir_remove(other);
}

/* ---- deaths -------------------------------------------------------------- */

typedef struct peer {
    const char *topic;
    shmc_topic_desc desc;
    uint32_t bytes;                 /* of its loan                          */
    uint32_t joined;                /* set once it is there                 */
} peer;

static int
publish_and_wait(void *arg)
{
    peer *p = arg;
    shmc_pub pub;
    void *room;

    TEST_REQUIRE(shmc_pub_open(&pub, p->topic, &p->desc) == SHMC_OK);
    TEST_REQUIRE(shmc_pub_send(&pub, "of the dead", 12, 0) == SHMC_OK);
    if (p->bytes != 0) {
        TEST_REQUIRE(shmc_pub_loan(&pub, p->bytes, &room, -1) == SHMC_OK);
        memset(room, 0xee, p->bytes);
    }
    shmi_store_rel_32(&p->joined, 1);
    while (getppid() > 0) test_sleep_ms(1000);
    return 0;
}

static int
subscribe_and_wait(void *arg)
{
    peer *p = arg;
    shmc_sub sub;

    TEST_REQUIRE(shmc_sub_open(&sub, p->topic, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_ready(&sub) == 1);
    shmi_store_rel_32(&p->joined, 1);
    while (getppid() > 0) test_sleep_ms(1000);
    return 0;
}

static pid_t
start(int (*fn)(void *), peer *p)
{
    p->joined = 0;
    const pid_t pid = test_spawn(fn, p);
    while (shmi_load_acq_32(&p->joined) == 0) test_sleep_ms(1);
    return pid;
}

static void
what_the_dead_left_binds_no_publisher(void **state)
{
    (void)state;
    peer *p = test_shared(sizeof *p);
    static const shmc_topic_desc later[] = {
        { .depth = 64 }, { .max_bytes = 8000, .mode = SHMC_RELIABLE },
        { .depth = 1u << 16 }, { .wake = SHMC_WAKE_ASYMMETRIC }, { .depth = 0 },
    };
    shmc_pub pub;
    shmc_sub sub;

    p->topic = "robot/pose";
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        p->desc = (shmc_topic_desc){ .depth = 256, .max_bytes = 200,
                                     .arena_bytes = 1024 };
        test_kill(start(publish_and_wait, p));
        assert_int_equal(files(), 1);
        pub_open(&pub, &later[i]);
        sub_open(&sub, &(shmc_sub_desc){ .history = SHMC_BCAST_ALL });
        say(&pub, "new");
        hear(&sub, "new");
        shmc_sub_close(&sub);
        shmc_pub_close(&pub);
        assert_int_equal(files(), 0);
    }
    assert_int_equal(failures_logged, 0);
    shmi_unmap(p, sizeof *p);
}

static void
what_the_dead_left_binds_no_subscriber(void **state)
{
    (void)state;
    const shmc_topic_desc other = { .depth = 32, .max_bytes = 16 };
    peer *p = test_shared(sizeof *p);
    shmc_pub pub;
    shmc_sub sub, second;

    p->topic = "robot/pose";
    test_kill(start(publish_and_wait, p));
    sub_open(&sub, NULL);
    sub_open(&second, NULL);
    hear_nothing(&sub);
    pub_open(&pub, &other);
    say(&pub, "new");
    hear(&sub, "new");
    hear(&second, "new");
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    shmc_sub_close(&second);
    assert_int_equal(failures_logged, 0);
    shmi_unmap(p, sizeof *p);
}

/* Somebody who looks at the file just now keeps it from being removed.     */
static void
look_at(shmc_segment *s)
{
    assert_int_equal(shmc_segment_attach(s, "robot/pose", NULL), SHMC_OK);
}

static void
a_ring_of_the_dead_that_is_used_again_begins_with_the_new_messages(void **state)
{
    (void)state;
    const shmc_topic_desc other = { .depth = 4096 };
    peer *p = test_shared(sizeof *p);
    shmc_segment looker;
    shmc_pub pub;
    shmc_sub sub;

    p->topic = "robot/pose";
    test_kill(start(publish_and_wait, p));
    look_at(&looker);
    sub_open(&sub, NULL);
    hear_nothing(&sub);
    assert_int_equal(shmc_pub_open(&pub, "robot/pose", &other), SHMC_EMISMATCH);
    assert_int_equal(failures_logged, 1);
    pub_open(&pub, NULL);
    say(&pub, "new");
    say(&pub, "newer");
    hear(&sub, "new");
    hear(&sub, "newer");
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_segment_close(&looker);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    assert_int_equal(failures_logged, 1);
    shmi_unmap(p, sizeof *p);
}

static void
a_topic_whose_creator_stopped_half_way_is_finished_by_another(void **state)
{
    (void)state;
    const shmc_segment_desc half = { .flags = SHMC_EPHEMERAL,
                                     .heap_bytes = 8u << 20 };
    shmc_segment creator;
    shmc_pub pub;
    shmc_sub sub;

    assert_int_equal(shmc_segment_create(&creator, "robot/pose", &half), SHMC_OK);
    sub_open(&sub, NULL);
    hear_nothing(&sub);
    pub_open(&pub, NULL);
    say(&pub, "first");
    hear(&sub, "first");
    shmc_segment_close(&creator);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    assert_int_equal(failures_logged, 0);
}

static int
publish_anew(void *arg)
{
    peer *p = arg;
    shmc_pub pub;

    shmc_log_set(NULL, NULL, 0);
    const int r = shmc_pub_open(&pub, p->topic, &p->desc);
    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    TEST_REQUIRE(r == SHMC_OK);
    TEST_REQUIRE(shmc_pub_send(&pub, "anew", 5, 0) == SHMC_OK);
    (void)shmi_faa_32(&p->joined, 1);
    while (shmi_load_acq_32(&p->joined) < 4) test_sleep_ms(1);
    TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    return 0;
}

static void
all_may_start_at_once_where_all_died_before(void **state)
{
    (void)state;
    peer *p = test_shared(sizeof *p);
    shmc_sub sub[2];

    p->topic = "robot/pose";
    for (uint32_t round = 0; round < 10; round++) {
        pid_t pid[4];
        p->desc = (shmc_topic_desc){ .depth = 64u << round % 2 };
        const pid_t dead = start(publish_and_wait, p);
        const pid_t dead_too = start(subscribe_and_wait, p);
        test_kill(dead);
        test_kill(dead_too);
        p->joined = 0;
        p->desc = (shmc_topic_desc){ .depth = 64u << (round + 1) % 2 };
        for (int i = 0; i < 2; i++) sub_open(&sub[i], NULL);
        for (int i = 0; i < 4; i++) pid[i] = test_spawn(publish_anew, p);
        for (int n = 0; n < 4; n++)
            for (int i = 0; i < 2; i++) hear(&sub[i], "anew");
        for (int i = 0; i < 4; i++) assert_int_equal(test_join(pid[i]), 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(shmc_sub_lost(&sub[i]), 0);
            shmc_sub_close(&sub[i]);
        }
        assert_int_equal(files(), 0);
    }
    assert_int_equal(failures_logged, 0);
    shmi_unmap(p, sizeof *p);
}

static void
a_publisher_killed_with_a_loan_loses_only_that(void **state)
{
    (void)state;
    peer *p = test_shared(sizeof *p);
    shmc_pub pub;
    shmc_sub sub;

    p->topic = "robot/pose";
    p->desc = (shmc_topic_desc){ .max_publishers = 1, .mode = SHMC_RELIABLE };
    sub_open(&sub, NULL);
    for (uint32_t bytes = 10; bytes <= 50010; bytes += 50000) {
        p->bytes = bytes;
        test_kill(start(publish_and_wait, p));
        hear(&sub, "of the dead");
        pub_open(&pub, &p->desc);
        for (int i = 0; i < 20; i++) {
            void *room;
            assert_int_equal(shmc_pub_loan(&pub, bytes, &room, -1), SHMC_OK);
            memset(room, 0, bytes);
            memcpy(room, "alive", 6);
            assert_int_equal(shmc_pub_commit(&pub, i % 2 ? 6 : 100 * (bytes > 100),
                                             -1), SHMC_OK);
            if (i % 2) hear(&sub, "alive");
            else assert_int_equal(shmc_sub_recv(&sub, &(char[100]){ 0 }, 100, -1),
                                  100 * (bytes > 100));
        }
        shmc_pub_close(&pub);
    }
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
    shmi_unmap(p, sizeof *p);
}

static void
a_subscriber_that_does_not_read_times_a_publisher_out_until_it_dies(void **state)
{
    (void)state;
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 16,
                                   .max_bytes = 2000 };
    peer *p = test_shared(sizeof *p);
    shmc_pub pub;
    shmc_sub sub;
    void *room;

    p->topic = "robot/pose";
    pub_open(&pub, &desc);
    sub_open(&sub, NULL);
    const pid_t lazy = start(subscribe_and_wait, p);
    for (int i = 0; i < 16; i++) say(&pub, "x");
    assert_int_equal(shmc_pub_send(&pub, "y", 2, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_pub_send(&pub, "y", 2, 3000000), SHMC_ETIMEDOUT);
    assert_int_equal(shmc_pub_loan(&pub, 1000, &room, 0), SHMC_OK);
    assert_int_equal(shmc_pub_commit(&pub, 1000, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_pub_commit(&pub, 1000, 3000000), SHMC_ETIMEDOUT);
    assert_int_equal(shmc_pub_abort(&pub), SHMC_OK);
    assert_int_equal(pub.refused, 4);
    for (int i = 0; i < 16; i++) hear(&sub, "x");
    kill(lazy, SIGSTOP);            /* stopped is not dead                  */
    assert_int_equal(shmc_pub_send(&pub, "y", 2, 3000000), SHMC_ETIMEDOUT);
    kill(lazy, SIGKILL);
    assert_int_equal(shmc_pub_send(&pub, "y", 2, SHMC_FOREVER), SHMC_OK);
    hear(&sub, "y");
    assert_int_equal(test_join(lazy), 1000 + SIGKILL);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    shmi_unmap(p, sizeof *p);
}

/* ---- waiting ------------------------------------------------------------- */

typedef struct sleeper {
    pthread_t thread;
    shmc_sub *sub;
    uint32_t stage;
    int result;
    char text[64];
} sleeper;

static void *
sleep_and_hear(void *arg)
{
    sleeper *s = arg;

    shmi_store_rel_32(&s->stage, 1);
    s->result = shmc_sub_recv(s->sub, s->text, sizeof s->text, SHMC_FOREVER);
    return NULL;
}

static void
a_sleeping_subscriber_is_woken(void **state)
{
    (void)state;
    for (uint32_t wake = SHMC_WAKE_FENCE; wake <= SHMC_WAKE_ASYMMETRIC; wake++) {
        for (int first = 0; first < 2; first++) {
            const shmc_topic_desc desc = { .wake = wake };
            sleeper s = { .result = 0 };
            shmc_pub pub;
            shmc_sub sub;

            if (!first) pub_open(&pub, &desc);
            sub_open(&sub, NULL);
            s.sub = &sub;
            assert_int_equal(pthread_create(&s.thread, NULL, sleep_and_hear, &s),
                             0);
            while (shmi_load_acq_32(&s.stage) == 0) test_sleep_ms(1);
            test_sleep_ms(20);
            if (first) pub_open(&pub, &desc);
            say(&pub, "wake up");
            assert_int_equal(pthread_join(s.thread, NULL), 0);
            assert_int_equal(s.result, 8);
            assert_string_equal(s.text, "wake up");
            shmc_pub_close(&pub);
            shmc_sub_close(&sub);
        }
    }
}

static void
a_gap_is_reported_once_if_asked_for(void **state)
{
    (void)state;
    const shmc_topic_desc desc = { .depth = 16, .max_bytes = 8 };
    const shmc_sub_desc told = { .report_loss = true };
    shmc_pub pub;
    shmc_sub sub, quiet;
    const void *view;
    uint64_t n = 0, got = 0;

    pub_open(&pub, &desc);
    sub_open(&sub, &told);
    sub_open(&quiet, NULL);
    for (; n < 40; n++) assert_int_equal(shmc_pub_send(&pub, &n, 8, 0), SHMC_OK);
    assert_int_equal(shmc_sub_recv(&sub, &got, 8, 0), SHMC_ELAPPED);
    const uint64_t gap = shmc_sub_gap(&sub);
    assert_true(gap >= 24 && gap < 40);
    assert_int_equal(shmc_sub_lost(&sub), gap);
    assert_int_equal(shmc_sub_recv(&sub, &got, 8, 0), 8);
    assert_int_equal(got, gap);
    assert_int_equal(shmc_sub_recv(&quiet, &got, 8, 0), 8);
    assert_int_equal(got, gap);
    assert_int_equal(shmc_sub_lost(&quiet), gap);
    for (; n < 80; n++) assert_int_equal(shmc_pub_send(&pub, &n, 8, 0), SHMC_OK);
    assert_int_equal(shmc_sub_borrow(&sub, &view, SHMC_FOREVER), SHMC_ELAPPED);
    assert_int_equal(shmc_sub_borrow(&sub, &view, SHMC_FOREVER), 8);
    assert_int_equal(*(const uint64_t *)view, shmc_sub_lost(&sub) + 1);
    assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
    shmc_sub_close(&sub);
    shmc_sub_close(&quiet);
    shmc_pub_close(&pub);
}

static void
messages_can_be_lent_and_borrowed(void **state)
{
    (void)state;
    shmc_pub pub;
    shmc_sub sub;
    const void *view;
    void *room;

    pub_open(&pub, NULL);
    sub_open(&sub, NULL);
    for (uint32_t bytes = 0; bytes < 60000; bytes = bytes * 2 + 1) {
        assert_int_equal(shmc_pub_loan(&pub, bytes, &room, 0), SHMC_OK);
        bcast_fill(room, bytes, bytes);
        assert_int_equal(shmc_pub_send(&pub, "", 0, 0), SHMC_EBUSY);
        assert_int_equal(shmc_pub_commit(&pub, bytes, 0), SHMC_OK);
        assert_int_equal(shmc_sub_borrow(&sub, &view, SHMC_FOREVER), bytes);
        assert_true(bcast_is(view, bytes, bytes));
        assert_int_equal(shmc_sub_recv(&sub, room, 0, 0), SHMC_EBUSY);
        assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
        assert_int_equal(shmc_pub_loan(&pub, bytes, &room, 0), SHMC_OK);
        assert_int_equal(shmc_pub_abort(&pub), SHMC_OK);
        assert_int_equal(shmc_sub_borrow(&sub, &view, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_sub_borrow(&sub, &view, 2000000), SHMC_ETIMEDOUT);
    }
    assert_int_equal(shmc_pub_send(&pub, "", 65537, 0), SHMC_EMSGSIZE);
    say(&pub, "longer than that");
    assert_int_equal(shmc_sub_recv(&sub, room, 4, 0), SHMC_EMSGSIZE);
    hear(&sub, "longer than that");
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

/* ---- who may what -------------------------------------------------------- */

static void
another_shape_is_refused_with_both_values(void **state)
{
    (void)state;
    const shmc_topic_desc is = { .depth = 256, .max_bytes = 1000 };
    static const struct { shmc_topic_desc desc; const char *text; } row[] = {
        { { .depth = 512 }, "slot_count 256, not 512" },
        { { .max_bytes = 999 }, "max_bytes 1000, not 999" },
        { { .mode = SHMC_RELIABLE }, "mode (1 lossy, 2 reliable) 1, not 2" },
        { { .wake = SHMC_WAKE_ASYMMETRIC }, "wake 0, not 1" },
        { { .max_publishers = 3 }, "max_publishers 16, not 3" },
    };
    shmc_pub pub, other;

    pub_open(&pub, &is);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal(shmc_pub_open(&other, "robot/pose", &row[i].desc),
                         SHMC_EMISMATCH);
        assert_non_null(strstr(shmc_last_error(), row[i].text));
        assert_int_equal(shmc_pub_send(&other, "", 0, 0), SHMC_ECLOSED);
    }
    pub_open(&other, NULL);
    shmc_pub_close(&other);
    shmc_pub_close(&pub);
}

static void
seats_of_a_topic_run_out(void **state)
{
    (void)state;
    const shmc_topic_desc desc = { .max_publishers = 1, .max_subscribers = 1,
                                   .mode = SHMC_RELIABLE };
    const shmc_sub_desc watch = { .watch = true };
    shmc_pub pub, more;
    shmc_sub sub, other;

    pub_open(&pub, &desc);
    assert_int_equal(shmc_pub_open(&more, "robot/pose", NULL), SHMC_ELIMIT);
    sub_open(&sub, NULL);
    assert_int_equal(shmc_sub_open(&other, "robot/pose", NULL), SHMC_ELIMIT);
    assert_int_equal(shmc_sub_recv(&other, NULL, 0, -1), SHMC_ECLOSED);
    sub_open(&other, &watch);
    say(&pub, "x");
    hear(&sub, "x");
    hear(&other, "x");
    shmc_sub_close(&other);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

static void
a_topic_has_seats_for_as_many_as_it_says(void **state)
{
    (void)state;
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .max_bytes = 90 };
    shmc_sub *sub = calloc(256, sizeof *sub);
    shmc_pub pub;

    assert_non_null(sub);
    pub_open(&pub, &desc);
    for (int i = 0; i < 256; i++) sub_open(&sub[i], NULL);
    say(&pub, "all");
    for (int i = 0; i < 256; i++) hear(&sub[i], "all");
    for (int i = 0; i < 256; i++) shmc_sub_close(&sub[i]);
    shmc_pub_close(&pub);
    free(sub);
}

static void
a_read_only_subscriber_watches(void **state)
{
    (void)state;
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 16 };
    const shmc_sub_desc ro = { .flags = SHMC_READ_ONLY };
    shmc_pub pub;
    shmc_sub sub;

    sub_open(&sub, &ro);
    pub_open(&pub, &desc);
    say(&pub, "first");
    hear(&sub, "first");
    hear_nothing(&sub);
    for (int i = 0; i < 40; i++) say(&pub, "x");
    hear(&sub, "x");
    assert_true(shmc_sub_lost(&sub) >= 24);
    shmc_pub_close(&pub);
    assert_int_equal(files(), 1);
    shmc_sub_close(&sub);
    assert_int_equal(files(), 0);
}

static void
bad_options_are_rejected(void **state)
{
    (void)state;
    static const shmc_topic_desc bad[] = {
        { .depth = 3 }, { .max_bytes = (1u << 30) + 1 }, { .mode = 7 },
        { .wake = 2 }, { .access = 01000 }, { .flags = SHMC_READ_ONLY },
        { .flags = SHMC_EPHEMERAL }, { .max_subscribers = 3001 },
        { .max_publishers = 1025 }, { .arena_bytes = 1 },
    };
    static const char *const names[] = { "", "/x", "x/", "a//b", "..", "a b" };
    const shmc_sub_desc flags = { .flags = SHMC_FORCE };
    shmc_pub pub;
    shmc_sub sub;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(shmc_pub_open(&pub, "bad", &bad[i]), SHMC_EINVAL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(shmc_pub_open(&pub, names[i], NULL), SHMC_ENAME);
        if (names[i][0] != 'x')     /* "x/": all topics under x             */
            assert_int_equal(shmc_sub_open(&sub, names[i], NULL), SHMC_ENAME);
    }
    assert_int_equal(shmc_sub_open(&sub, "bad", &flags), SHMC_EINVAL);
    assert_int_equal(shmc_sub_open(&sub, "bad", &(shmc_sub_desc){ .dir = "x" }),
                     SHMC_ENAME);
    assert_int_equal(shmc_pub_open(&pub, "bad", &(shmc_topic_desc){
                     .dir = "/nowhere" }), SHMC_ENOENT);
    assert_int_equal(shmc_sub_close(&sub), SHMC_ECLOSED);
}

static void
a_name_in_use_for_something_else_is_told(void **state)
{
    (void)state;
    shmc_segment s;
    shmc_pub pub;
    shmc_sub sub;

    assert_int_equal(shmc_segment_create(&s, "robot/pose", NULL), SHMC_OK);
    assert_int_equal(shmc_pub_open(&pub, "robot/pose", NULL), SHMC_ETYPE);
    assert_int_equal(shmc_sub_open(&sub, "robot/pose", NULL), SHMC_ETYPE);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink("robot/pose", NULL), SHMC_OK);
}

static void
closed_handles_say_so(void **state)
{
    (void)state;
    shmc_pub pub;
    shmc_sub sub;
    const void *view;
    void *room;

    pub_open(&pub, NULL);
    sub_open(&sub, NULL);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    assert_int_equal(shmc_pub_send(&pub, "", 0, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_pub_loan(&pub, 0, &room, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_pub_commit(&pub, 0, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_pub_abort(&pub), SHMC_ECLOSED);
    assert_int_equal(shmc_pub_close(&pub), SHMC_ECLOSED);
    assert_int_equal(shmc_sub_recv(&sub, NULL, 0, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_sub_borrow(&sub, &view, -1), SHMC_ECLOSED);
    assert_int_equal(shmc_sub_release(&sub), SHMC_ECLOSED);
    assert_int_equal(shmc_sub_ready(&sub), SHMC_ECLOSED);
    assert_int_equal(shmc_sub_close(&sub), SHMC_ECLOSED);
}

typedef struct inherited { shmc_pub pub; shmc_sub sub, waiting; } inherited;

static int
use_inherited(void *arg)
{
    inherited *in = arg;
    const void *view;
    void *room;

    TEST_REQUIRE(shmc_pub_send(&in->pub, "", 0, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_pub_loan(&in->pub, 1, &room, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_recv(&in->sub, NULL, 0, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_borrow(&in->sub, &view, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_recv(&in->waiting, NULL, 0, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_ready(&in->waiting) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_close(&in->sub) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_close(&in->waiting) == SHMC_OK);
    TEST_REQUIRE(shmc_pub_close(&in->pub) == SHMC_OK);
    return 0;
}

static void
a_forked_child_may_not_use_what_it_inherits(void **state)
{
    (void)state;
    inherited in;

    pub_open(&in.pub, NULL);
    sub_open(&in.sub, NULL);
    assert_int_equal(shmc_sub_open(&in.waiting, "nobody", NULL), SHMC_OK);
    assert_int_equal(test_join(test_spawn(use_inherited, &in)), 0);
    say(&in.pub, "still mine");
    hear(&in.sub, "still mine");
    shmc_sub_close(&in.waiting);
    shmc_sub_close(&in.sub);
    shmc_pub_close(&in.pub);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(hello_world),
        TOPIC_CASE(a_subscriber_that_was_first_gets_the_very_first_message),
        TOPIC_CASE(a_first_burst_longer_than_a_reliable_ring_waits_for_who_waits),
        TOPIC_CASE(a_publisher_that_left_at_once_is_heard_by_who_waited),
        TOPIC_CASE(what_a_subscriber_that_was_first_comes_too_late_for_is_counted),
        TOPIC_CASE(a_publisher_comes_back_and_subscribers_notice_nothing),
        TOPIC_CASE(a_late_subscriber_gets_the_history_it_asks_for),
        TOPIC_CASE(the_last_one_out_removes_the_file),
        TOPIC_CASE(folder_and_prefix_can_be_chosen),
        TOPIC_CASE(what_the_dead_left_binds_no_publisher),
        TOPIC_CASE(what_the_dead_left_binds_no_subscriber),
        TOPIC_CASE(a_ring_of_the_dead_that_is_used_again_begins_with_the_new_messages),
        TOPIC_CASE(a_topic_whose_creator_stopped_half_way_is_finished_by_another),
        TOPIC_CASE(all_may_start_at_once_where_all_died_before),
        TOPIC_CASE(a_publisher_killed_with_a_loan_loses_only_that),
        TOPIC_CASE(a_subscriber_that_does_not_read_times_a_publisher_out_until_it_dies),
        TOPIC_CASE(a_sleeping_subscriber_is_woken),
        TOPIC_CASE(a_gap_is_reported_once_if_asked_for),
        TOPIC_CASE(messages_can_be_lent_and_borrowed),
        TOPIC_CASE(another_shape_is_refused_with_both_values),
        TOPIC_CASE(seats_of_a_topic_run_out),
        TOPIC_CASE(a_topic_has_seats_for_as_many_as_it_says),
        TOPIC_CASE(a_read_only_subscriber_watches),
        TOPIC_CASE(bad_options_are_rejected),
        TOPIC_CASE(a_name_in_use_for_something_else_is_told),
        TOPIC_CASE(closed_handles_say_so),
        TOPIC_CASE(a_forked_child_may_not_use_what_it_inherits),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("pubsub_topic", tests, NULL, NULL);
}
