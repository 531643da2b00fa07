/* Guests: subscribers that nobody waits for show where they are and what they
 * lost, as far as there are places for them, and cost the others nothing.   */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "topic_support.h"

/* What one who looks on sees in a place.                                  */
static uint64_t
shown(const shmc_bcast *h, uint32_t place, uint32_t word)
{
    return shmi_load_acq_64(&h->guests[place].word[word]);
}

static uint32_t
guests(const shmc_bcast *h)
{
    shmc_bcast_stats stats;

    assert_int_equal(shmc_bcast_stats_get(h, &stats), SHMC_OK);
    return stats.guests;
}

static void
send_many(shmc_bcast *pub, uint32_t count)
{
    for (uint64_t n = 0; n < count; n++)
        assert_int_equal(shmc_bcast_send(pub, &n, 8), SHMC_OK);
}

static void
recv_many(shmc_bcast *sub, uint32_t count)
{
    uint64_t n;

    for (; count > 0; count--)
        assert_int_equal(shmc_bcast_recv(sub, &n, 8), 8);
}

static void
a_guest_shows_where_it_is_and_what_it_lost(void **state)
{
    (void)state;
    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        const shmc_bcast_desc desc = { .slot_count = 1024, .max_bytes = 8,
                                       .mode = mode };
        bcast_ring ring = bcast_ring_make(&desc);
        shmc_bcast pub, sub, look;
        uint64_t n;

        bcast_at(&ring, &look, SHMC_OBSERVER);
        bcast_at(&ring, &pub, SHMC_PRODUCER);
        send_many(&pub, 5);
        assert_int_equal(guests(&look), 0);
        bcast_at(&ring, &sub, SHMC_WATCHER);
        assert_int_equal(guests(&look), 1);
        assert_int_equal(shown(&look, 0, SHMI_SUB_CURSOR), 5);
        send_many(&pub, 400);
        for (uint32_t i = 1; i <= 200; i++) {
            recv_many(&sub, 1);
            const uint64_t behind = 5 + i - shown(&look, 0, SHMI_SUB_CURSOR);
            assert_true(behind < SHMI_BCAST_NOTE);
        }
        recv_many(&sub, 200);
        assert_int_equal(shmc_bcast_recv(&sub, &n, 8), SHMC_EAGAIN);
        assert_int_equal(shown(&look, 0, SHMI_SUB_CURSOR), 405);
        assert_int_equal(shown(&look, 0, SHMI_SUB_LOST), 0);
        send_many(&pub, 2000);      /* and nobody waits for it              */
        assert_int_equal(shmc_bcast_recv(&sub, &n, 8), SHMC_ELAPPED);
        assert_int_equal(shown(&look, 0, SHMI_SUB_LOST), shmc_bcast_lost(&sub));
        assert_int_equal(shown(&look, 0, SHMI_SUB_CURSOR),
                         405 + shmc_bcast_lost(&sub));
        shmc_bcast_close(&sub);
        assert_int_equal(guests(&look), 0);
        /* Who comes next begins anew.                                     */
        bcast_at(&ring, &sub, SHMC_WATCHER);
        assert_int_equal(shown(&look, 0, SHMI_SUB_CURSOR), 2405);
        assert_int_equal(shown(&look, 0, SHMI_SUB_LOST), 0);
        shmc_bcast_close(&sub);
        shmc_bcast_close(&pub);
        shmc_bcast_close(&look);
        bcast_ring_free(&ring);
    }
}

static void
a_borrow_counts_as_a_receive_does(void **state)
{
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 200 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, sub;
    const void *view;

    (void)state;
    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(bcast_send(&pub, i, i % 2 ? 200 : 8), SHMC_OK);
    /* Of so small a ring, after each one.                                 */
    for (uint32_t i = 0; i < 6; i++) {
        assert_true(shmc_bcast_borrow(&sub, &view) > 0);
        assert_int_equal(shown(&pub, 0, SHMI_SUB_CURSOR), i);
        assert_int_equal(shmc_bcast_release(&sub), SHMC_OK);
    }
    assert_int_equal(shown(&pub, 0, SHMI_SUB_CURSOR), 6);
    shmc_bcast_close(&sub);
    shmc_bcast_close(&pub);
    bcast_ring_free(&ring);
}

enum { PLACES = 256 };

static void
one_too_many_is_not_shown_and_misses_nothing(void **state)
{
    static shmc_bcast sub[PLACES + 2];
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 8,
                                   .max_subscribers = PLACES };
    const shmc_segment_desc file = { .heap_bytes = 1 << 17 };
    shmc_segment s;
    shmc_bcast pub;
    uint64_t n;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "crowd", &file), SHMC_OK);
    assert_int_equal(shmc_bcast_open(&pub, &s, "r", &desc, SHMC_PRODUCER), SHMC_OK);
    for (uint32_t i = 0; i < PLACES + 2; i++)
        assert_int_equal(shmc_bcast_open(&sub[i], &s, "r", NULL, SHMC_CONSUMER),
                         SHMC_OK);
    assert_int_equal(guests(&pub), PLACES);
    for (uint64_t round = 0; round < 3; round++) {
        assert_int_equal(shmc_bcast_send(&pub, &round, 8), SHMC_OK);
        for (uint32_t i = 0; i < PLACES + 2; i++) {
            assert_int_equal(shmc_bcast_recv(&sub[i], &n, 8), 8);
            assert_int_equal(n, round);
        }
    }
    /* One died: its place is the next one's.                              */
    shmi_store_rel_64(&pub.guests[7].owner, BCAST_DEAD);
    shmc_bcast_close(&sub[PLACES]);
    assert_int_equal(shmc_bcast_open(&sub[PLACES], &s, "r", NULL, SHMC_CONSUMER),
                     SHMC_OK);
    assert_int_equal(shown(&pub, 7, SHMI_SUB_CURSOR), 3);
    assert_int_equal(sub[PLACES].seat, 7);
    sub[7].guest = false;           /* it is dead                           */
    for (uint32_t i = 0; i < PLACES + 2; i++) shmc_bcast_close(&sub[i]);
    assert_int_equal(guests(&pub), 0);
    shmc_bcast_close(&pub);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("crowd", NULL), SHMC_OK);
    assert_int_equal(failures_logged, 0);
}

static void
what_conflation_passes_over_is_not_shown_as_lost(void **state)
{
    const shmc_sub_desc newest = { .conflate = true };
    const shmc_sub_desc unseen = { .flags = SHMC_READ_ONLY };
    shmc_pub pub;
    shmc_sub sub, reader;

    (void)state;
    pub_open(&pub, &(shmc_topic_desc){ .depth = 8, .max_bytes = 8 });
    sub_open(&reader, &unseen);
    assert_int_equal(guests(&pub.ring), 0);
    sub_open(&sub, &newest);
    assert_int_equal(guests(&pub.ring), 1);
    for (int i = 0; i < 50; i++) say(&pub, i == 49 ? "new" : "old");
    hear(&sub, "new");
    assert_int_equal(shmc_sub_skipped(&sub), 49);
    assert_int_equal(shown(&pub.ring, 0, SHMI_SUB_CURSOR), 50);
    assert_int_equal(shown(&pub.ring, 0, SHMI_SUB_LOST), 0);
    shmc_sub_close(&sub);
    shmc_sub_close(&reader);
    shmc_pub_close(&pub);
}

static void
a_poller_that_finds_nothing_shows_where_it_is(void **state)
{
    shmi_poll_spot spot = { .due_ns = SHMI_FOREVER };
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    pub_open(&pub, NULL);
    sub_open(&sub, NULL);
    for (int i = 0; i < 10; i++) say(&pub, "x");
    for (int i = 0; i < 10; i++) hear(&sub, "x");
    const shmc_pollable p = shmc_sub_pollable(&sub);
    assert_int_equal(p.look(p.object, SHMC_POLLIN, true, &spot), 0);
    assert_int_equal(shown(&pub.ring, 0, SHMI_SUB_CURSOR), 10);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(a_guest_shows_where_it_is_and_what_it_lost),
        TOPIC_CASE(a_borrow_counts_as_a_receive_does),
        TOPIC_CASE(one_too_many_is_not_shown_and_misses_nothing),
        TOPIC_CASE(what_conflation_passes_over_is_not_shown_as_lost),
        TOPIC_CASE(a_poller_that_finds_nothing_shows_where_it_is),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("bcast_guest", tests, NULL, NULL);
}
