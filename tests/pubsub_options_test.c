/* The options of topics and their users: what a full topic does, conflation,
 * metadata, types; and what each answers where it does not fit.            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "topic_support.h"

typedef struct pose { double x, y, z; } pose;

/* ---- a full topic -------------------------------------------------------- */

static void
number_send(shmc_pub *pub, uint64_t n, int wanted)
{
    assert_int_equal(shmc_pub_send(pub, &n, sizeof n, SHMC_FOREVER), wanted);
}

static void
a_publisher_may_drop_the_new_message(void **state)
{
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 4,
                                   .max_bytes = 1000, .arena_bytes = 4096,
                                   .when_full = SHMC_FULL_DROP_NEW };
    shmc_pub pub;
    shmc_sub sub;
    uint64_t n = 0;
    void *room;

    (void)state;
    pub_open(&pub, &desc);
    sub_open(&sub, NULL);
    for (; n < 4; n++) number_send(&pub, n, SHMC_OK);
    /* Not even SHMC_FOREVER waits.                                        */
    for (; n < 10; n++) number_send(&pub, n, SHMC_EAGAIN);
    assert_int_equal(shmc_pub_loan(&pub, 200, &room, SHMC_FOREVER), SHMC_OK);
    assert_int_equal(shmc_pub_commit(&pub, 200, SHMC_FOREVER), SHMC_EAGAIN);
    assert_int_equal(shmc_pub_abort(&pub), SHMC_OK);
    assert_int_equal(pub.refused, 7);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(shmc_sub_recv(&sub, &n, sizeof n, 0), sizeof n);
        assert_int_equal(n, i);
    }
    hear_nothing(&sub);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    assert_int_equal(failures_logged, 0);
}

/* What a subscriber of numbers 0, 1, ... got and lost is all there was.   */
static void
account(shmc_sub *sub, uint64_t sent, uint32_t bytes)
{
    uint64_t words[128], got = 0, next = 0;
    int r;

    while ((r = shmc_sub_recv(sub, words, sizeof words, 0)) != SHMC_EAGAIN) {
        assert_int_equal(r, bytes);
        assert_true(words[0] >= next && bcast_sealed(words, bytes));
        got++;
        next = words[0] + 1;
    }
    assert_int_equal(got + shmc_sub_lost(sub), sent);
    assert_int_equal(next, sent);
}

static void
a_publisher_may_drop_the_oldest_which_the_slow_count(void **state)
{
    (void)state;
    for (uint32_t bytes = 8; bytes <= 808; bytes += 400) {
        for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
            const shmc_topic_desc desc = {
                .mode = SHMC_RELIABLE, .depth = 16, .max_bytes = 808,
                .arena_bytes = 8192, .max_publishers = publishers,
                .when_full = SHMC_FULL_DROP_OLDEST };
            shmc_pub pub;
            shmc_sub slow, quick;
            uint64_t *words = test_shared(1024), n = 0;

            pub_open(&pub, &desc);
            sub_open(&slow, NULL);
            sub_open(&quick, NULL);
            for (; n < 1000; n++) {
                bcast_seal(words, 0, n, bytes);
                assert_int_equal(shmc_pub_send(&pub, words, bytes, 0), SHMC_OK);
                assert_int_equal(shmc_sub_recv(&quick, words, 1024, 0), bytes);
                assert_int_equal(words[0], n);
            }
            assert_int_equal(shmc_sub_lost(&quick), 0);
            account(&slow, n, bytes);
            assert_true(shmc_sub_lost(&slow) >= n - 16);
            /* As one that keeps up, it loses nothing.                     */
            const uint64_t lost = shmc_sub_lost(&slow);
            for (uint64_t i = 0; i < 100; i++, n++) {
                bcast_seal(words, 0, n, bytes);
                assert_int_equal(shmc_pub_send(&pub, words, bytes, 0), SHMC_OK);
                assert_int_equal(shmc_sub_recv(&slow, words, 1024, 0), bytes);
                assert_int_equal(words[0], n);
            }
            assert_int_equal(shmc_sub_lost(&slow), lost);
            shmi_unmap(words, 1024);
            shmc_sub_close(&slow);
            shmc_sub_close(&quick);
            shmc_pub_close(&pub);
        }
    }
    assert_int_equal(failures_logged, 0);
}

static void
who_waits_is_held_up_where_another_drops_the_oldest(void **state)
{
    const shmc_topic_desc drops = { .mode = SHMC_RELIABLE, .depth = 16,
                                    .max_bytes = 64,
                                    .when_full = SHMC_FULL_DROP_OLDEST };
    const shmc_sub_desc told = { .report_loss = true };
    shmc_pub pub, other;
    shmc_sub sub;
    uint64_t n = 0;

    (void)state;
    pub_open(&pub, &drops);
    pub_open(&other, NULL);
    sub_open(&sub, &told);
    for (; n < 100; n++) number_send(&pub, n, SHMC_OK);
    assert_int_equal(shmc_pub_send(&other, &n, 8, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_sub_recv(&sub, &n, 8, 0), SHMC_ELAPPED);
    const uint64_t gap = shmc_sub_gap(&sub);
    assert_true(gap >= 84 && gap < 100);
    assert_int_equal(shmc_sub_recv(&sub, &n, 8, 0), 8);
    assert_int_equal(n, gap);
    assert_int_equal(shmc_pub_send(&other, &n, 8, 0), SHMC_OK);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    shmc_pub_close(&other);
}

static void
a_view_that_the_oldest_was_dropped_of_is_told_at_its_release(void **state)
{
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 4,
                                   .max_bytes = 500, .arena_bytes = 2048,
                                   .when_full = SHMC_FULL_DROP_OLDEST };
    shmc_pub pub;
    shmc_sub sub;
    const void *view;
    void *room;

    (void)state;
    pub_open(&pub, &desc);
    sub_open(&sub, NULL);
    for (uint32_t bytes = 8; bytes < 500; bytes += 400) {
        const uint64_t lost = shmc_sub_lost(&sub);
        for (int i = 0; i < 12; i++) {
            assert_int_equal(shmc_pub_loan(&pub, bytes, &room, 0), SHMC_OK);
            memset(room, 7, bytes);
            assert_int_equal(shmc_pub_commit(&pub, bytes, 0), SHMC_OK);
            if (i == 0)
                assert_int_equal(shmc_sub_borrow(&sub, &view, 0), bytes);
        }
        assert_int_equal(shmc_sub_release(&sub), SHMC_ELAPPED);
        int got = 0;
        while (shmc_sub_borrow(&sub, &view, 0) == (int)bytes) {
            assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
            got++;
        }
        assert_int_equal(got + (int)(shmc_sub_lost(&sub) - lost), 12);
    }
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

/* ---- the newest only ----------------------------------------------------- */

static void
a_conflating_subscriber_gets_the_newest(void **state)
{
    const shmc_sub_desc newest = { .conflate = true, .report_loss = true };
    (void)state;
    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        const shmc_topic_desc desc = { .mode = mode, .depth = 16,
                                       .max_bytes = 64 };
        shmc_pub pub;
        shmc_sub sub;
        uint64_t n = 0, got;
        const void *view;

        pub_open(&pub, &desc);
        sub_open(&sub, &newest);
        /* It has no seat: a reliable publisher does not wait for it.      */
        for (uint64_t i = 0; i < 3; i++) {
            for (int k = 0; k < 5 + 100 * (i == 1); k++)
                number_send(&pub, n++, SHMC_OK);
            assert_int_equal(shmc_sub_recv(&sub, &got, 8, 0), 8);
            assert_int_equal(got, n - 1);
            assert_int_equal(shmc_sub_recv(&sub, &got, 8, 0), SHMC_EAGAIN);
            assert_int_equal(shmc_sub_skipped(&sub), n - i - 1);
        }
        number_send(&pub, n++, SHMC_OK);
        number_send(&pub, n++, SHMC_OK);
        assert_int_equal(shmc_sub_borrow(&sub, &view, 0), 8);
        assert_int_equal(*(const uint64_t *)view, n - 1);
        assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
        /* A view that goes while it is looked at counts as skipped, too.  */
        number_send(&pub, n++, SHMC_OK);
        assert_int_equal(shmc_sub_borrow(&sub, &view, 0), 8);
        for (int k = 0; k < 40; k++) number_send(&pub, n++, SHMC_OK);
        assert_int_equal(shmc_sub_release(&sub), SHMC_ELAPPED);
        assert_int_equal(shmc_sub_recv(&sub, &got, 8, 0), 8);
        assert_int_equal(got, n - 1);
        assert_int_equal(shmc_sub_lost(&sub), 0);
        assert_int_equal(shmc_sub_skipped(&sub) + 5, n);
        shmc_sub_close(&sub);
        shmc_pub_close(&pub);
    }
    assert_int_equal(failures_logged, 0);
}

static void
a_conflating_subscriber_passes_what_a_stopped_publisher_is_at(void **state)
{
    const shmc_sub_desc newest = { .conflate = true };
    shmc_pub pub, other;
    shmc_sub sub;
    uint64_t got;

    (void)state;
    pub_open(&pub, NULL);
    pub_open(&other, NULL);
    sub_open(&sub, &newest);
    number_send(&pub, 1, SHMC_OK);
    number_send(&pub, 2, SHMC_OK);
    const uint64_t at = bcast_stop_busy(&other.ring);
    assert_int_equal(shmc_sub_recv(&sub, &got, 8, 0), 8);
    assert_int_equal(got, 2);
    number_send(&pub, 3, SHMC_OK);
    assert_int_equal(shmc_sub_recv(&sub, &got, 8, 0), 8);
    assert_int_equal(got, 3);
    bcast_continue(&other.ring, at, 9, 40);
    hear_nothing(&sub);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    shmc_pub_close(&other);
}

typedef struct race { uint32_t stop, ready; uint64_t sent; } race;

static int
send_numbers(void *arg)
{
    race *c = arg;
    uint64_t words[64], n = 0;
    shmc_pub pub;

    TEST_REQUIRE(shmc_pub_open(&pub, "robot/pose", &(shmc_topic_desc){
                 .depth = 64, .max_bytes = 512, .max_publishers = 1 }) == SHMC_OK);
    while (shmi_load_acq_32(&c->stop) == 0) {
        const uint32_t bytes = n % 2 ? 512 : 64;
        bcast_seal(words, 0, ++n, bytes);
        TEST_REQUIRE(shmc_pub_send(&pub, words, bytes, 0) == SHMC_OK);
        shmi_store_rel_64(&c->sent, n);
        if (n % 16 == 0) shmi_yield();
    }
    while (shmi_load_acq_32(&c->ready) == 0) test_sleep_ms(1);
    TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    return 0;
}

static void
the_newest_is_never_older_than_what_was_sent_before(void **state)
{
    const shmc_sub_desc newest = { .conflate = true };
    race *c = test_shared(sizeof *c);
    const uint64_t rounds = SHMI_TSAN ? 300 : 3000;
    uint64_t words[64] = { 0 }, last = 0, got = 0;
    shmc_sub sub;

    (void)state;
    sub_open(&sub, &newest);
    const pid_t pid = test_spawn(send_numbers, c);
    while (got < rounds) {
        const uint64_t before = shmi_load_acq_64(&c->sent);
        const int r = shmc_sub_recv(&sub, words, sizeof words, 100000000);
        if (r == SHMC_ETIMEDOUT) continue;
        assert_true(r == 64 || r == 512);
        assert_true(bcast_sealed(words, (uint32_t)r));
        assert_true(words[0] >= before && words[0] > last);
        last = words[0];
        got++;
    }
    shmi_store_rel_32(&c->stop, 1);
    test_sleep_ms(20);
    if (shmc_sub_recv(&sub, words, sizeof words, 0) > 0) {
        last = words[0];
        got++;
    }
    assert_int_equal(last, shmi_load_acq_64(&c->sent));
    assert_int_equal(got + shmc_sub_skipped(&sub), last);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmi_store_rel_32(&c->ready, 1);
    assert_int_equal(test_join(pid), 0);
    shmc_sub_close(&sub);
    shmi_unmap(c, sizeof *c);
}

/* ---- metadata ------------------------------------------------------------ */

static void
messages_say_when_and_by_whom_they_were_sent(void **state)
{
    const shmc_topic_desc desc = { .meta = SHMC_META, .type_name = "pose",
                                   .type_bytes = sizeof(pose) };
    uint8_t buf[70000];
    shmc_msg_info a, b;
    shmc_pub pub, other;
    shmc_sub sub;
    uint64_t n = 0;

    (void)state;
    pub_open(&pub, &desc);
    pub_open(&other, NULL);         /* takes what exists                    */
    sub_open(&sub, NULL);
    assert_int_equal(shmc_sub_info(&sub, &a), SHMC_ENOENT);
    assert_int_equal(shmc_pub_header_set(&other, "camera 7", 9, 77), SHMC_OK);
    for (uint32_t bytes = 0; bytes <= 65536; bytes = bytes * 2 + (bytes < 2)) {
        const uint64_t before = shmi_now_ns();
        bcast_fill(buf, bytes, bytes);
        assert_int_equal(shmc_pub_send(&pub, buf, bytes, 0), SHMC_OK);
        assert_int_equal(shmc_pub_send(&other, buf, bytes, 0), SHMC_OK);
        memset(buf, 0, sizeof buf);
        assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), bytes);
        assert_true(bcast_is(buf, bytes, bytes));
        assert_int_equal(shmc_sub_info(&sub, &a), SHMC_OK);
        assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), bytes);
        assert_int_equal(shmc_sub_info(&sub, &b), SHMC_OK);
        assert_string_equal(a.topic, "robot/pose");
        assert_int_equal(a.sequence, n++);
        assert_int_equal(b.sequence, n++);
        assert_true(a.sent_ns >= before && a.sent_ns <= b.sent_ns &&
                    b.sent_ns <= shmi_now_ns());
        assert_true(a.publisher != 0 && a.publisher != b.publisher);
        assert_int_equal(a.pid, getpid());
        assert_int_equal(b.pid, getpid());
        assert_int_equal(a.type_hash, shmc_type_hash("pose"));
        assert_int_equal(b.type_hash, 77);
        assert_int_equal(a.user_bytes, 0);
        assert_int_equal(b.user_bytes, 9);
        assert_string_equal((const char *)b.user, "camera 7");
    }
    assert_int_equal(shmc_pub_send(&pub, buf, 65537, 0), SHMC_EMSGSIZE);
    assert_int_equal(shmc_pub_send(&pub, buf, UINT32_MAX - 3, 0), SHMC_EMSGSIZE);
    say(&pub, "longer than that");
    assert_int_equal(shmc_sub_recv(&sub, buf, 4, 0), SHMC_EMSGSIZE);
    hear(&sub, "longer than that");
    assert_int_equal(shmc_pub_header_set(&other, NULL, 0, 0), SHMC_OK);
    say(&other, "plain again");
    hear(&sub, "plain again");
    assert_int_equal(shmc_sub_info(&sub, &b), SHMC_OK);
    assert_int_equal(b.user_bytes, 0);
    assert_int_equal(b.type_hash, shmc_type_hash("pose"));
    assert_int_equal(shmc_sub_lost(&sub), 0);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    shmc_pub_close(&other);
    assert_int_equal(failures_logged, 0);
}

static void
loans_and_views_of_a_topic_with_metadata_are_the_payload(void **state)
{
    const shmc_topic_desc desc = { .meta = SHMC_META, .max_bytes = 10000 };
    shmc_pub pub;
    shmc_sub sub;
    shmc_msg_info info;
    const void *view;
    void *room;

    (void)state;
    pub_open(&pub, &desc);
    sub_open(&sub, NULL);
    for (uint32_t bytes = 0; bytes <= 10000; bytes = bytes * 3 + 1) {
        const uint64_t before = shmi_now_ns();
        assert_int_equal(shmc_pub_loan(&pub, bytes, &room, 0), SHMC_OK);
        assert_int_equal((uintptr_t)room % (bytes > 32 ? 64 : 8), 0);
        assert_int_equal(shmc_pub_send(&pub, "", 0, 0), SHMC_EBUSY);
        bcast_fill(room, bytes, bytes);
        assert_int_equal(shmc_pub_commit(&pub, bytes + 1, 0), SHMC_EMSGSIZE);
        assert_int_equal(shmc_pub_commit(&pub, bytes, 0), SHMC_OK);
        assert_int_equal(shmc_sub_borrow(&sub, &view, 0), bytes);
        assert_int_equal((uintptr_t)view % (bytes > 32 ? 64 : 8), 0);
        assert_true(bcast_is(view, bytes, bytes));
        assert_int_equal(shmc_sub_info(&sub, &info), SHMC_OK);
        assert_true(info.sent_ns >= before);
        const uint64_t sequence = info.sequence;
        assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
        assert_int_equal(shmc_sub_info(&sub, &info), SHMC_OK);
        assert_int_equal(info.sequence, sequence);
        /* Half of it, and none.                                           */
        assert_int_equal(shmc_pub_loan(&pub, bytes, &room, 0), SHMC_OK);
        bcast_fill(room, 1, bytes / 2);
        assert_int_equal(shmc_pub_commit(&pub, bytes / 2, 0), SHMC_OK);
        assert_int_equal(shmc_sub_borrow(&sub, &view, 0), bytes / 2);
        assert_true(bcast_is(view, 1, bytes / 2));
        assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
        assert_int_equal(shmc_pub_loan(&pub, bytes, &room, 0), SHMC_OK);
        assert_int_equal(shmc_pub_abort(&pub), SHMC_OK);
    }
    assert_int_equal(shmc_pub_loan(&pub, 10001, &room, 0), SHMC_EMSGSIZE);
    assert_int_equal(shmc_pub_loan(&pub, UINT32_MAX - 3, &room, 0), SHMC_EMSGSIZE);
    assert_int_equal(shmc_pub_commit(&pub, 4, 0), SHMC_EINVAL);
    assert_int_equal(failures_logged, 1);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

static void
without_metadata_a_message_has_its_place_and_topic(void **state)
{
    const shmc_topic_desc desc = { .type_name = "pose" };
    shmc_msg_info info;
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, &desc);
    sub_open(&sub, NULL);
    say(&pub, "a");
    say(&pub, "b");
    hear(&sub, "a");
    hear(&sub, "b");
    assert_int_equal(shmc_sub_info(&sub, &info), SHMC_OK);
    assert_string_equal(info.topic, "robot/pose");
    assert_int_equal(info.sequence, 1);
    assert_int_equal(info.type_hash, shmc_type_hash("pose"));
    assert_true(info.sent_ns == 0 && info.publisher == 0 && info.pid == 0);
    assert_int_equal(shmc_pub_header_set(&pub, "x", 1, 0), SHMC_ENOTSUP);
    assert_int_equal(failures_logged, 1);
    shmc_sub_close(&sub);
    assert_int_equal(shmc_sub_info(&sub, &info), SHMC_ECLOSED);
    shmc_pub_close(&pub);
    assert_int_equal(shmc_pub_header_set(&pub, "x", 1, 0), SHMC_ECLOSED);
}

static void
metadata_is_part_of_the_shape(void **state)
{
    const shmc_topic_desc with = { .meta = SHMC_META, .max_bytes = 100 };
    const shmc_topic_desc same = { .max_bytes = 100 };
    const shmc_topic_desc more = { .max_bytes = 164 };
    char user[33] = "";
    shmc_pub pub, other;

    (void)state;
    pub_open(&pub, NULL);
    assert_int_equal(shmc_pub_open(&other, "robot/pose", &with), SHMC_EMISMATCH);
    shmc_pub_close(&pub);
    pub_open(&pub, &with);
    pub_open(&other, &same);        /* the payload's bytes are meant        */
    assert_int_equal(shmc_pub_header_set(&other, user, 33, 0), SHMC_EMSGSIZE);
    shmc_pub_close(&other);
    assert_int_equal(shmc_pub_open(&other, "robot/pose", &more), SHMC_EMISMATCH);
    shmc_pub_close(&pub);
    assert_int_equal(failures_logged, 3);
}

/* A peer of another mind sends what has no room for metadata, or says that
 * there is more of the application's than there can be.                    */
static void
metadata_that_is_damaged_is_told_and_passed(void **state)
{
    const shmc_topic_desc desc = { .meta = SHMC_META };
    shmi_meta_shm head = { .user_bytes = 1000 };
    shmc_msg_info info;
    shmc_pub pub;
    shmc_sub sub;
    const void *view;
    char buf[64];

    (void)state;
    pub_open(&pub, &desc);
    sub_open(&sub, NULL);
    assert_int_equal(shmc_bcast_send(&pub.ring, "short", 6), SHMC_OK);
    assert_int_equal(shmc_bcast_send(&pub.ring, NULL, 0), SHMC_OK);
    assert_int_equal(shmc_bcast_send(&pub.ring, &head, sizeof head), SHMC_OK);
    say(&pub, "whole");
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), SHMC_ECORRUPT);
    assert_int_equal(shmc_sub_borrow(&sub, &view, 0), SHMC_ECORRUPT);
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, 0), 0);
    assert_int_equal(shmc_sub_info(&sub, &info), SHMC_OK);
    assert_int_equal(info.user_bytes, SHMC_USER_BYTES);
    hear(&sub, "whole");
    shmc_sub_close(&sub);
    pub.ring.shm->head.aux[3] = 5;
    assert_int_equal(shmc_sub_open(&sub, "robot/pose", NULL), SHMC_EVERSION);
    assert_non_null(strstr(shmc_last_error(), "marked 5"));
    shmc_pub_close(&pub);
    assert_int_equal(failures_logged, 1);
}

static int
tell_who(void *arg)
{
    uint64_t *said = arg;
    shmc_pub pub;

    TEST_REQUIRE(shmc_pub_open(&pub, "robot/pose", NULL) == SHMC_OK);
    said[0] = (uint64_t)getpid();
    said[1] = shmi_owner_self(&pub.segment);
    TEST_REQUIRE(shmc_pub_send(&pub, "me", 3, 0) == SHMC_OK);
    TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    return 0;
}

static void
each_process_and_each_life_of_a_publisher_has_its_own_name(void **state)
{
    const shmc_topic_desc desc = { .meta = SHMC_META };
    uint64_t *said = test_shared(2 * sizeof *said), last = 0;
    shmc_msg_info info;
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, &desc);
    sub_open(&sub, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(test_join(test_spawn(tell_who, said)), 0);
        hear(&sub, "me");
        assert_int_equal(shmc_sub_info(&sub, &info), SHMC_OK);
        assert_int_equal(info.pid, said[0]);
        assert_int_equal(info.publisher, said[1]);
        assert_true(info.publisher != last);
        last = info.publisher;
    }
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    shmi_unmap(said, 2 * sizeof *said);
}

/* ---- types --------------------------------------------------------------- */

static void
another_type_is_refused_with_both(void **state)
{
    const shmc_topic_desc is = { .type_name = "pose", .type_bytes = sizeof(pose) };
    static const struct {
        const char *name;
        uint64_t hash;
        uint32_t bytes;
        const char *text;
    } row[] = {
        { "twist", 0, 0, "holds pose" },
        { "pose", 5, 0, "(hash 0000000000000005) was asked for" },
        { NULL, 0, 32, "elements of 24 bytes, 32 were asked for" },
    };
    char longer[65];
    shmc_pub pub, other;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, &is);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal(shmc_pub_open(&other, "robot/pose", &(shmc_topic_desc){
                         .type_name = row[i].name, .type_hash = row[i].hash,
                         .type_bytes = row[i].bytes }), SHMC_ETYPE);
        assert_non_null(strstr(shmc_last_error(), row[i].text));
        assert_non_null(strstr(shmc_last_error(), "robot/pose"));
        assert_int_equal(shmc_sub_open(&sub, "robot/pose", &(shmc_sub_desc){
                         .type_name = row[i].name, .type_hash = row[i].hash,
                         .type_bytes = row[i].bytes }), SHMC_ETYPE);
        assert_non_null(strstr(shmc_last_error(), row[i].text));
        assert_int_equal(shmc_sub_close(&sub), SHMC_ECLOSED);
    }
    pub_open(&other, &is);
    sub_open(&sub, &(shmc_sub_desc){ .type_name = "pose",
                                     .type_bytes = sizeof(pose) });
    say(&other, "x");
    hear(&sub, "x");
    shmc_sub_close(&sub);
    shmc_pub_close(&other);
    shmc_pub_close(&pub);
    memset(longer, 'x', 64);
    longer[64] = '\0';
    assert_int_equal(shmc_pub_open(&pub, "robot/pose", &(shmc_topic_desc){
                     .type_name = longer }), SHMC_EINVAL);
    assert_int_equal(shmc_sub_open(&sub, "robot/pose", &(shmc_sub_desc){
                     .type_name = longer }), SHMC_EINVAL);
}

static void
who_was_first_learns_of_another_type_in_its_receive(void **state)
{
    char type[] = "twist";
    const shmc_sub_desc desc = { .type_name = type };
    char buf[64];
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    sub_open(&sub, &desc);
    memset(type, 'x', 5);           /* it has its own copy                  */
    pub_open(&pub, &(shmc_topic_desc){ .type_name = "pose" });
    assert_int_equal(shmc_sub_recv(&sub, buf, sizeof buf, SHMC_FOREVER),
                     SHMC_ETYPE);
    assert_non_null(strstr(shmc_last_error(), "twist"));
    shmc_pub_close(&pub);
    pub_open(&pub, &(shmc_topic_desc){ .type_name = "twist" });
    say(&pub, "turn");
    hear(&sub, "turn");
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
    assert_int_equal(failures_logged, 1);
}

static void
bad_options_are_rejected(void **state)
{
    static const shmc_topic_desc bad[] = {
        { .meta = 2 }, { .when_full = 3 },
        { .meta = SHMC_META, .max_bytes = (1u << 30) - 63 },
    };
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(shmc_pub_open(&pub, "bad", &bad[i]), SHMC_EINVAL);
    assert_int_equal(shmc_sub_open(&sub, "bad/", &(shmc_sub_desc){
                     .max_topics = 65537 }), SHMC_EINVAL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(a_publisher_may_drop_the_new_message),
        TOPIC_CASE(a_publisher_may_drop_the_oldest_which_the_slow_count),
        TOPIC_CASE(who_waits_is_held_up_where_another_drops_the_oldest),
        TOPIC_CASE(a_view_that_the_oldest_was_dropped_of_is_told_at_its_release),
        TOPIC_CASE(a_conflating_subscriber_gets_the_newest),
        TOPIC_CASE(a_conflating_subscriber_passes_what_a_stopped_publisher_is_at),
        TOPIC_CASE(the_newest_is_never_older_than_what_was_sent_before),
        TOPIC_CASE(messages_say_when_and_by_whom_they_were_sent),
        TOPIC_CASE(loans_and_views_of_a_topic_with_metadata_are_the_payload),
        TOPIC_CASE(without_metadata_a_message_has_its_place_and_topic),
        TOPIC_CASE(metadata_is_part_of_the_shape),
        TOPIC_CASE(metadata_that_is_damaged_is_told_and_passed),
        TOPIC_CASE(each_process_and_each_life_of_a_publisher_has_its_own_name),
        TOPIC_CASE(another_type_is_refused_with_both),
        TOPIC_CASE(who_was_first_learns_of_another_type_in_its_receive),
        TOPIC_CASE(bad_options_are_rejected),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("pubsub_options", tests, NULL, NULL);
}
