/* Subscribers of all topics under a name: those that exist, come and go;
 * whose turn it is, what is counted, and what cannot be joined.            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "topic_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

static void
publish(shmc_pub *pub, const char *topic, const shmc_topic_desc *desc)
{
    const int r = shmc_pub_open(pub, topic, desc);

    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    assert_int_equal(r, SHMC_OK);
}

static void
under_open(shmc_sub *sub, const char *name, const shmc_sub_desc *desc)
{
    assert_int_equal(shmc_sub_open(sub, name, desc), SHMC_OK);
}

/* The next message is `text`, from `topic`.                               */
static void
hear_from(shmc_sub *sub, const char *topic, const char *text)
{
    shmc_msg_info info;

    hear(sub, text);
    assert_int_equal(shmc_sub_info(sub, &info), SHMC_OK);
    assert_string_equal(info.topic, topic);
}

/* What is known of one of its topics; joined is -1 where there is none.   */
static shmc_sub_topic
known(const shmc_sub *sub, const char *topic, int *joined)
{
    shmc_sub_topic t;

    *joined = -1;
    for (uint32_t i = 0; shmc_sub_topic_get(sub, i, &t) == SHMC_OK; i++) {
        if (strcmp(t.name, topic) != 0) continue;
        *joined = t.joined;
        return t;
    }
    return (shmc_sub_topic){ 0 };
}

static void
all_topics_under_a_name_are_received(void **state)
{
    shmc_pub left, right, other, deep;
    shmc_sub sub, all;
    shmc_msg_info info;

    (void)state;
    publish(&left, "camera/left", NULL);
    publish(&other, "cameras", NULL);
    under_open(&sub, "camera/", NULL);
    under_open(&all, "/", NULL);
    assert_int_equal(shmc_sub_ready(&sub), 1);
    assert_int_equal(shmc_sub_info(&sub, &info), SHMC_ENOENT);
    say(&left, "a");
    hear_from(&sub, "camera/left", "a");
    hear_from(&all, "camera/left", "a");
    /* Those that come later, from their first message on.                 */
    publish(&right, "camera/right", &(shmc_topic_desc){ .mode = SHMC_RELIABLE });
    publish(&deep, "camera/a/b", &(shmc_topic_desc){ .meta = SHMC_META });
    say(&right, "b");
    say(&other, "nobody asked");
    hear_from(&sub, "camera/right", "b");
    say(&deep, "c");
    hear_from(&sub, "camera/a/b", "c");
    assert_int_equal(shmc_sub_info(&sub, &info), SHMC_OK);
    assert_true(info.sent_ns != 0);
    hear_nothing(&sub);
    char buf[64];
    for (int i = 0; i < 3; i++)
        assert_true(shmc_sub_recv(&all, buf, sizeof buf, SHMC_FOREVER) > 0);
    hear_nothing(&all);
    shmc_sub_close(&all);
    shmc_sub_close(&sub);
    shmc_pub_close(&left);
    shmc_pub_close(&right);
    shmc_pub_close(&other);
    shmc_pub_close(&deep);
    assert_int_equal(failures_logged, 0);
}

static void
it_may_come_first_and_gets_what_was_left_to_it(void **state)
{
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        const shmc_topic_desc desc = { .mode = mode };
        under_open(&sub, "robot/", NULL);
        assert_int_equal(shmc_sub_ready(&sub), 0);
        hear_nothing(&sub);
        for (int i = 0; i < 3; i++) {
            publish(&pub, "robot/arm", &desc);
            say(&pub, "here and gone");
            shmc_pub_close(&pub);
            assert_int_equal(files(), 1);
        }
        for (int i = 0; i < 3; i++) hear_from(&sub, "robot/arm", "here and gone");
        publish(&pub, "robot/leg", &desc);
        say(&pub, "never read");
        shmc_pub_close(&pub);
        shmc_sub_close(&sub);
        assert_int_equal(files(), 0);
    }
    assert_int_equal(failures_logged, 0);
}

static void
history_is_of_each_topic(void **state)
{
    const shmc_sub_desc two = { .history = 2 };
    shmc_pub a, b;
    shmc_sub sub;
    char buf[64], heard[8] = "";

    (void)state;
    publish(&a, "h/a", NULL);
    publish(&b, "h/b", NULL);
    for (int i = 0; i < 3; i++) say(&a, i == 0 ? "1" : i == 1 ? "2" : "3");
    say(&b, "9");
    under_open(&sub, "h/", &two);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), 2);
        heard[i] = buf[0];
    }
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), SHMC_EAGAIN);
    assert_true(strchr(heard, '2') && strchr(heard, '3') && strchr(heard, '9'));
    shmc_sub_close(&sub);
    shmc_pub_close(&a);
    shmc_pub_close(&b);
}

enum { MANY = 20 };

static void
each_topic_has_its_turn(void **state)
{
    shmc_pub pub[MANY];
    shmc_sub sub;
    char name[32];
    uint32_t got[MANY] = { 0 }, n;

    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "turn/%u", i);
        publish(&pub[i], name, &(shmc_topic_desc){ .depth = 64, .max_bytes = 8 });
    }
    under_open(&sub, "turn/", NULL);
    /* One that sends ten times as much as each of the others.             */
    for (uint32_t i = 0; i < MANY; i++)
        for (int k = 0; k < (i == 7 ? 50 : 5); k++)
            assert_int_equal(shmc_pub_send(&pub[i], &i, sizeof i, 0), SHMC_OK);
    for (uint32_t round = 1; round <= 5; round++) {
        for (int k = 0; k < MANY; k++) {
            assert_int_equal(shmc_sub_recv(&sub, &n, sizeof n, 0), sizeof n);
            got[n]++;
        }
        for (uint32_t i = 0; i < MANY; i++) assert_int_equal(got[i], round);
    }
    for (int k = 0; k < 45; k++) {
        assert_int_equal(shmc_sub_recv(&sub, &n, sizeof n, 0), sizeof n);
        assert_int_equal(n, 7);
    }
    assert_int_equal(shmc_sub_recv(&sub, &n, sizeof n, 0), SHMC_EAGAIN);
    shmc_sub_close(&sub);
    for (uint32_t i = 0; i < MANY; i++) shmc_pub_close(&pub[i]);
    assert_int_equal(failures_logged, 0);
}

static void
losses_are_counted_of_each_and_of_all(void **state)
{
    const shmc_topic_desc desc = { .depth = 16, .max_bytes = 8 };
    const shmc_sub_desc told = { .report_loss = true };
    shmc_pub a, b;
    shmc_sub sub, quiet;
    uint64_t n = 0, got = 0;
    int joined;

    (void)state;
    publish(&a, "loss/a", &desc);
    publish(&b, "loss/b", &desc);
    under_open(&sub, "loss/", &told);
    under_open(&quiet, "loss/", NULL);
    for (; n < 100; n++) assert_int_equal(shmc_pub_send(&a, &n, 8, 0), SHMC_OK);
    for (uint64_t k = 0; k < 40; k++)
        assert_int_equal(shmc_pub_send(&b, &k, 8, 0), SHMC_OK);
    uint64_t gaps = 0, messages = 0;
    for (int r; (r = shmc_sub_recv(&sub, &got, 8, 0)) != SHMC_EAGAIN; ) {
        assert_true(r == 8 || r == SHMC_ELAPPED);
        if (r == 8) messages++;
        else gaps += shmc_sub_gap(&sub);
    }
    assert_int_equal(gaps + messages, 140);
    assert_int_equal(shmc_sub_lost(&sub), gaps);
    const shmc_sub_topic of_a = known(&sub, "loss/a", &joined);
    const shmc_sub_topic of_b = known(&sub, "loss/b", &joined);
    assert_int_equal(of_a.lost + of_a.received, 100);
    assert_int_equal(of_b.lost + of_b.received, 40);
    assert_int_equal(of_a.lost + of_b.lost, gaps);
    messages = 0;
    while (shmc_sub_recv(&quiet, &got, 8, 0) == 8) messages++;
    assert_int_equal(shmc_sub_lost(&quiet) + messages, 140);
    shmc_sub_close(&quiet);
    shmc_sub_close(&sub);
    shmc_pub_close(&a);
    shmc_pub_close(&b);
}

static void
messages_can_be_borrowed_and_too_long_ones_stay(void **state)
{
    shmc_pub a, b;
    shmc_sub sub;
    const void *view;
    char buf[64];

    (void)state;
    publish(&a, "view/a", &(shmc_topic_desc){ .meta = SHMC_META });
    publish(&b, "view/b", NULL);
    under_open(&sub, "view/", NULL);
    assert_int_equal(shmc_sub_release(&sub), SHMC_EINVAL);
    say(&a, "a view");
    assert_int_equal(shmc_sub_borrow(&sub, &view, SHMC_FOREVER), 7);
    assert_string_equal(view, "a view");
    say(&b, "longer");
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), SHMC_EBUSY);
    assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
    assert_int_equal(shmc_sub_recv(&sub, buf, 3, 0), SHMC_EMSGSIZE);
    say(&a, "x");
    assert_int_equal(shmc_sub_recv(&sub, buf, 3, 0), SHMC_EMSGSIZE);
    hear_from(&sub, "view/b", "longer");
    hear_from(&sub, "view/a", "x");
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
    shmc_pub_close(&a);
    shmc_pub_close(&b);
    assert_int_equal(failures_logged, 1);
}

static void
options_apply_to_each_topic(void **state)
{
    const shmc_sub_desc newest = { .conflate = true };
    const shmc_sub_desc typed = { .type_name = "pose" };
    const shmc_sub_desc told = { .report_restart = true };
    shmc_pub a, b;
    shmc_sub sub, poses, restarts;
    char buf[64];

    (void)state;
    publish(&a, "opt/a", &(shmc_topic_desc){ .type_name = "pose" });
    publish(&b, "opt/b", &(shmc_topic_desc){ .type_name = "twist" });
    under_open(&sub, "opt/", &newest);
    under_open(&poses, "opt/", &typed);
    under_open(&restarts, "opt/", &told);
    say(&a, "old");
    say(&a, "new");
    hear_from(&sub, "opt/a", "new");
    say(&b, "turn");
    hear_from(&sub, "opt/b", "turn");
    assert_int_equal(shmc_sub_skipped(&sub), 1);
    assert_int_equal(shmc_sub_recv(&poses, buf, sizeof buf, 0), SHMC_ETYPE);
    assert_non_null(strstr(shmc_last_error(), "twist"));
    hear_from(&poses, "opt/a", "old");
    hear_from(&poses, "opt/a", "new");
    hear_nothing(&poses);
    shmc_pub_close(&a);
    publish(&a, "opt/a", &(shmc_topic_desc){ .type_name = "pose" });
    say(&a, "again");
    int told_at = 0;
    for (int i = 1; i <= 5; i++) {
        const int r = shmc_sub_recv(&restarts, buf, sizeof buf, 0);
        assert_true(r > 0 || (r == SHMC_RESTARTED && told_at == 0));
        if (r == SHMC_RESTARTED) told_at = i;
    }
    assert_true(told_at >= 3);
    assert_int_equal(shmc_sub_recv(&restarts, buf, sizeof buf, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_sub_restarts(&restarts), 1);
    shmc_sub_close(&sub);
    shmc_sub_close(&poses);
    shmc_sub_close(&restarts);
    shmc_pub_close(&a);
    shmc_pub_close(&b);
    assert_int_equal(failures_logged, 1);
}

/* ---- coming and going ---------------------------------------------------- */

static void
topics_that_are_over_are_let_go(void **state)
{
    shmc_pub pub, stays;
    shmc_sub sub;
    uint64_t n = 0, got;
    int joined;

    (void)state;
    under_open(&sub, "go/", NULL);
    publish(&stays, "go/stays", NULL);
    for (int life = 0; life < 2; life++) {
        publish(&pub, "go/goes", &(shmc_topic_desc){ .depth = 4 });
        for (int i = 0; i < 10; i++, n++)
            assert_int_equal(shmc_pub_send(&pub, &n, 8, 0), SHMC_OK);
        shmc_pub_close(&pub);
        assert_int_equal(files(), 2);
        for (got = 0; got != n - 1; )
            assert_int_equal(shmc_sub_recv(&sub, &got, 8, SHMC_FOREVER), 8);
        /* When nobody came back for a while: the file goes, too.          */
        while (files() == 2)
            assert_int_equal(shmc_sub_recv(&sub, &got, 8, 20000000),
                             SHMC_ETIMEDOUT);
        (void)known(&sub, "go/goes", &joined);
        assert_int_equal(joined, -1);
        (void)known(&sub, "go/stays", &joined);
        assert_int_equal(joined, 1);
        assert_true(shmc_sub_lost(&sub) >= (uint64_t)(life + 1) * 5);
    }
    shmc_sub_close(&sub);
    shmc_pub_close(&stays);
    assert_int_equal(failures_logged, 0);
}

static void
a_topic_that_another_holds_is_joined_where_it_was_left(void **state)
{
    shmc_pub pub;
    shmc_sub sub, holds;
    char buf[8];

    (void)state;
    under_open(&sub, "hold/", NULL);
    publish(&pub, "hold/x", NULL);
    assert_int_equal(shmc_sub_open(&holds, "hold/x", NULL), SHMC_OK);
    say(&pub, "a");
    hear_from(&sub, "hold/x", "a");
    /* As when it was let go just before somebody came.                    */
    shmi_tree *t = sub.tree;
    assert_int_equal(t->count, 1);
    shmi_tree_drop(&sub, &t->branch[0]);
    say(&pub, "b");
    t->full_ns = t->look_ns = 0;
    hear_from(&sub, "hold/x", "b");
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&holds);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

static void
a_topic_made_anew_is_followed(void **state)
{
    const shmc_segment_desc force = { .flags = SHMC_FORCE };
    shmc_pub pub, more;
    shmc_sub sub;

    (void)state;
    under_open(&sub, "anew/", NULL);
    publish(&pub, "anew/x", NULL);
    publish(&more, "anew/y", NULL);
    hear_nothing(&sub);
    say(&pub, "one");
    shmc_pub_close(&pub);
    publish(&pub, "anew/x", &(shmc_topic_desc){ .depth = 8, .meta = SHMC_META });
    say(&pub, "two");
    hear_from(&sub, "anew/x", "one");
    hear_from(&sub, "anew/x", "two");
    say(&more, "three");
    shmc_pub_close(&more);
    assert_int_equal(shmc_segment_unlink("anew/y", &force), SHMC_OK);
    publish(&more, "anew/y", NULL);
    say(&more, "four");
    hear_from(&sub, "anew/y", "three");
    hear_from(&sub, "anew/y", "four");
    assert_int_equal(shmc_sub_restarts(&sub), 2);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    shmc_pub_close(&more);
    assert_int_equal(failures_logged, 0);
}

static void
one_topic_too_many_is_told_and_has_room_later(void **state)
{
    const shmc_sub_desc two = { .max_topics = 2 };
    shmc_pub a, b, c;
    shmc_sub sub;
    char buf[64];

    (void)state;
    publish(&a, "max/a", NULL);
    publish(&b, "max/b", NULL);
    under_open(&sub, "max/", &two);
    publish(&c, "max/c", NULL);
    say(&c, "left out");
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, SHMC_FOREVER),
                     SHMC_ELIMIT);
    assert_non_null(strstr(shmc_last_error(), "max_topics 2"));
    assert_non_null(strstr(shmc_last_error(), "'max/c'"));
    say(&a, "x");
    hear_from(&sub, "max/a", "x");
    hear_nothing(&sub);
    shmc_pub_close(&a);
    /* When max/a was let go.  What came since we came counts.             */
    hear_from(&sub, "max/c", "left out");
    assert_int_equal(failures_logged, 1);
    shmc_sub_close(&sub);
    shmc_pub_close(&b);
    shmc_pub_close(&c);
}

static void
what_is_no_topic_is_left_alone(void **state)
{
    shmc_segment s;
    shmc_pub pub;
    shmc_sub sub;
    char path[128], buf[64];

    (void)state;
    assert_int_equal(shmc_segment_create(&s, "mix/state", NULL), SHMC_OK);
    snprintf(path, sizeof path, "%s/shmc.mix+junk", folder);
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0 && write(fd, path, sizeof path) == sizeof path);
    close(fd);
    under_open(&sub, "mix/", NULL);
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), SHMC_ECORRUPT);
    assert_non_null(strstr(shmc_last_error(), "mix/junk"));
    publish(&pub, "mix/topic", NULL);
    say(&pub, "x");
    hear_from(&sub, "mix/topic", "x");
    assert_int_equal(shmc_segment_shared(&s), 0);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    assert_int_equal(files(), 2);
    assert_int_equal(unlink(path), 0);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("mix/state", NULL), SHMC_OK);
    assert_int_equal(failures_logged, 1);
}

static void
a_folder_whose_time_stands_still_or_goes_back_is_read_anyway(void **state)
{
    struct timespec times[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
    shmc_pub pub[4];
    shmc_sub sub;
    char name[32];

    (void)state;
    under_open(&sub, "clock/", NULL);
    for (int i = 0; i < 4; i++) {
        /* 0: an hour back; 1 and 2: as it was; 3: without our doing.      */
        times[0].tv_sec = times[1].tv_sec = i == 0 ? 1000000000 : 1000003600;
        if (i < 3) assert_int_equal(utimensat(AT_FDCWD, folder, times, 0), 0);
        hear_nothing(&sub);
        snprintf(name, sizeof name, "clock/%d", i);
        publish(&pub[i], name, &(shmc_topic_desc){ .max_bytes = 64 });
        if (i < 3) assert_int_equal(utimensat(AT_FDCWD, folder, times, 0), 0);
        say(&pub[i], "tick");
        hear_from(&sub, name, "tick");
    }
    for (int i = 0; i < 4; i++) shmc_pub_close(&pub[i]);
    shmc_sub_close(&sub);
}

/* ---- sleeping, processes ------------------------------------------------- */

typedef struct sleeper {
    pthread_t thread;
    shmc_sub *sub;
    int result;
    char text[64];
} sleeper;

static void *
sleep_and_hear(void *arg)
{
    sleeper *s = arg;

    s->result = shmc_sub_recv(s->sub, s->text, sizeof s->text, SHMC_FOREVER);
    return NULL;
}

static void
who_sleeps_is_woken_by_any_topic(void **state)
{
    (void)state;
    for (uint32_t wake = SHMC_WAKE_FENCE; wake <= SHMC_WAKE_ASYMMETRIC; wake++) {
        const shmc_topic_desc desc = { .wake = wake, .max_bytes = 64 };
        shmc_pub pub[3];
        shmc_sub sub;
        sleeper s = { .sub = &sub };

        publish(&pub[0], "wake/0", &desc);
        publish(&pub[1], "wake/1", NULL);
        under_open(&sub, "wake/", NULL);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(pthread_create(&s.thread, NULL, sleep_and_hear, &s),
                             0);
            test_sleep_ms(10);
            if (i == 2) publish(&pub[2], "wake/2", &desc);
            say(&pub[i], "up");
            assert_int_equal(pthread_join(s.thread, NULL), 0);
            assert_int_equal(s.result, 3);
        }
        for (int i = 0; i < 3; i++) shmc_pub_close(&pub[i]);
        shmc_sub_close(&sub);
    }
}

static void
more_topics_than_one_can_sleep_at(void **state)
{
    enum { TOPICS = SHMI_WAIT_MAX + 8 };
    const shmc_topic_desc desc = { .depth = 2, .max_bytes = 8, .max_publishers = 1 };
    shmc_pub *pub = calloc(TOPICS, sizeof *pub);
    shmc_sub sub;
    uint32_t got;

    (void)state;
    assert_non_null(pub);
    for (uint32_t i = 0; i < TOPICS; i++) {
        char name[32];
        snprintf(name, sizeof name, "more/%u", i);
        publish(&pub[i], name, &desc);
    }
    under_open(&sub, "more/", NULL);
    for (uint32_t i = 0; i < TOPICS; i += 5) {
        assert_int_equal(shmc_sub_recv(&sub, &got, sizeof got, 1500000),
                         SHMC_ETIMEDOUT);
        assert_int_equal(shmc_pub_send(&pub[i], &i, sizeof i, 0), SHMC_OK);
        assert_int_equal(shmc_sub_recv(&sub, &got, sizeof got, SHMC_FOREVER), 4);
        assert_int_equal(got, i);
    }
    for (uint32_t i = 0; i < TOPICS; i++) shmc_pub_close(&pub[i]);
    shmc_sub_close(&sub);
    free(pub);
    assert_int_equal(failures_logged, 0);
}

static int
use_inherited(void *arg)
{
    shmc_sub *sub = arg;
    const void *view;

    TEST_REQUIRE(shmc_sub_recv(sub, NULL, 0, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_borrow(sub, &view, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_release(sub) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_ready(sub) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_sub_close(sub) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_close(sub) == SHMC_ECLOSED);
    return 0;
}

static void
a_forked_child_may_not_use_what_it_inherits(void **state)
{
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    publish(&pub, "fork/x", NULL);
    under_open(&sub, "fork/", NULL);
    say(&pub, "before");
    assert_int_equal(test_join(test_spawn(use_inherited, &sub)), 0);
    hear_from(&sub, "fork/x", "before");
    say(&pub, "still mine");
    hear_from(&sub, "fork/x", "still mine");
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

/* Processes come and go with topics of their own, some killed; each message
 * of those that closed in peace is heard.                                  */
enum { GUESTS = SHMI_TSAN ? 8 : 24, WORDS = 20 };

static int
be_a_guest(void *arg)
{
    const uint32_t id = *(const uint32_t *)arg;
    char name[32];
    shmc_pub pub;
    uint32_t word[2] = { id, 0 };

    shmc_log_set(NULL, NULL, 0);
    snprintf(name, sizeof name, "guest/%u", id % 7);
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 256,
                                   .max_bytes = 8u << id % 7 % 2,
                                   .max_publishers = 8 };
    const int r = shmc_pub_open(&pub, name, &desc);
    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    TEST_REQUIRE(r == SHMC_OK);
    for (; word[1] < WORDS; word[1]++)
        TEST_REQUIRE(shmc_pub_send(&pub, word, 8, SHMC_FOREVER) == SHMC_OK);
    if (id % 4 == 0) kill(getpid(), SIGKILL);
    TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    return 0;
}

static void
guests_come_and_go_with_their_topics(void **state)
{
    uint32_t heard[GUESTS] = { 0 }, ids[GUESTS], word[2];
    pid_t pids[GUESTS];
    shmc_sub sub;

    (void)state;
    under_open(&sub, "guest/", NULL);
    for (uint32_t i = 0; i < GUESTS; i++) {
        ids[i] = i;
        pids[i] = test_spawn(be_a_guest, &ids[i]);
        for (int k = 0; k < 30; k++) {
            const int r = shmc_sub_recv(&sub, word, sizeof word, 100000);
            assert_true(r == 8 || r == SHMC_ETIMEDOUT);
            if (r == 8) assert_int_equal(heard[word[0]]++, word[1]);
        }
    }
    for (uint32_t done = 0; done < GUESTS; ) {
        if (heard[done] == WORDS) {
            done++;
            continue;
        }
        const int r = shmc_sub_recv(&sub, word, sizeof word, SHMC_FOREVER);
        assert_int_equal(r, 8);
        assert_int_equal(heard[word[0]]++, word[1]);
    }
    for (uint32_t i = 0; i < GUESTS; i++)
        assert_int_equal(test_join(pids[i]), i % 4 == 0 ? 1000 + SIGKILL : 0);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
    assert_int_equal(failures_logged, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(all_topics_under_a_name_are_received),
        TOPIC_CASE(it_may_come_first_and_gets_what_was_left_to_it),
        TOPIC_CASE(history_is_of_each_topic),
        TOPIC_CASE(each_topic_has_its_turn),
        TOPIC_CASE(losses_are_counted_of_each_and_of_all),
        TOPIC_CASE(messages_can_be_borrowed_and_too_long_ones_stay),
        TOPIC_CASE(options_apply_to_each_topic),
        TOPIC_CASE(topics_that_are_over_are_let_go),
        TOPIC_CASE(a_topic_that_another_holds_is_joined_where_it_was_left),
        TOPIC_CASE(a_topic_made_anew_is_followed),
        TOPIC_CASE(one_topic_too_many_is_told_and_has_room_later),
        TOPIC_CASE(what_is_no_topic_is_left_alone),
        TOPIC_CASE(a_folder_whose_time_stands_still_or_goes_back_is_read_anyway),
        TOPIC_CASE(who_sleeps_is_woken_by_any_topic),
        TOPIC_CASE(more_topics_than_one_can_sleep_at),
        TOPIC_CASE(a_forked_child_may_not_use_what_it_inherits),
        TOPIC_CASE(guests_come_and_go_with_their_topics),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("pubsub_tree", tests, NULL, NULL);
}
