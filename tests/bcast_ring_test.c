/* What one broadcast ring does for its publishers and subscribers, while
 * nobody dies: sizes, losses, history, reliability, loans and borrows, bad
 * calls.  Deaths are in bcast_recovery_test.c.                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"

#include "bcast_support.h"

enum { SIZES = 8 };

/* A segment of one test's own, which goes away with it.                   */
static void
segment_make(shmc_segment *s, const char *noun)
{
    char name[64];
    const shmc_segment_desc desc = { .flags = SHMC_EPHEMERAL,
                                     .heap_bytes = 4u << 20 };

    assert_int_equal(shmc_segment_open(s, test_name(name, sizeof name, noun),
                                       &desc), SHMC_OK);
}

/* ---- sizes ------------------------------------------------------------- */

static void
an_empty_ring_has_nothing_to_read(void **state)
{
    (void)state;
    bcast_ring ring = bcast_ring_make(NULL);
    shmc_bcast sub, pub;
    uint8_t buf[8];
    const void *view;

    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(shmc_bcast_recv(&sub, buf, sizeof buf), SHMC_EAGAIN);
    assert_int_equal(shmc_bcast_borrow(&sub, &view), SHMC_EAGAIN);
    assert_int_equal(shmc_bcast_next_bytes(&sub), SHMC_EAGAIN);
    bcast_at(&ring, &pub, SHMC_PRODUCER);
    assert_int_equal(bcast_send(&pub, 1, 5), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 1, 5), SHMC_OK);
    assert_int_equal(shmc_bcast_recv(&sub, buf, sizeof buf), SHMC_EAGAIN);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    bcast_ring_free(&ring);
}

static void
sizes_come_out_as_they_went_in(uint32_t publishers, uint32_t mode)
{
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 3000,
                                   .max_publishers = publishers,
                                   .arena_bytes = 8192, .mode = mode };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast sub, pub;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (uint32_t bytes = 0; bytes <= 3000; bytes += bytes < 300 ? 1 : 37) {
        assert_int_equal(bcast_send(&pub, bytes, bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_next_bytes(&sub), bytes);
        assert_int_equal(bcast_recv(&sub, bytes, bytes), SHMC_OK);
    }
    assert_int_equal(bcast_send(&pub, 9, 3000), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 9, 3000), SHMC_OK);
    assert_int_equal(bcast_send(&pub, 9, 3001), SHMC_EMSGSIZE);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    assert_int_equal(shmc_bcast_close(&pub), SHMC_OK);
    assert_int_equal(shmc_bcast_close(&sub), SHMC_OK);
    bcast_ring_free(&ring);
}

static void
every_size_comes_out_as_it_went_in(void **state)
{
    (void)state;
    sizes_come_out_as_they_went_in(1, SHMC_LOSSY);
    sizes_come_out_as_they_went_in(4, SHMC_LOSSY);
    sizes_come_out_as_they_went_in(1, SHMC_RELIABLE);
    sizes_come_out_as_they_went_in(4, SHMC_RELIABLE);
}

static void
an_empty_message_needs_no_buffer(void **state)
{
    (void)state;
    bcast_ring ring = bcast_ring_make(NULL);
    shmc_bcast sub, pub;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    assert_int_equal(shmc_bcast_send(&pub, NULL, 0), SHMC_OK);
    assert_int_equal(shmc_bcast_recv(&sub, NULL, 0), 0);
    assert_int_equal(shmc_bcast_recv(&sub, NULL, 0), SHMC_EAGAIN);
    bcast_ring_free(&ring);
}

static void
a_message_too_long_for_the_buffer_stays(void **state)
{
    (void)state;
    bcast_ring ring = bcast_ring_make(NULL);
    shmc_bcast sub, pub;
    uint8_t buf[300];

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t bytes = i == 0 ? 50 : 250;
        assert_int_equal(bcast_send(&pub, i, bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_recv(&sub, buf, bytes - 1), SHMC_EMSGSIZE);
        assert_int_equal(shmc_bcast_recv(&sub, buf, 0), SHMC_EMSGSIZE);
        assert_int_equal(shmc_bcast_next_bytes(&sub), bytes);
        assert_int_equal(shmc_bcast_recv(&sub, buf, bytes), bytes);
        assert_true(bcast_is(buf, i, bytes));
    }
    bcast_ring_free(&ring);
}

static void
a_ring_of_small_messages_refuses_a_larger_one(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .max_bytes = 40, .max_publishers = 1 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub;
    void *room;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    assert_int_equal(bcast_send(&pub, 0, 40), SHMC_OK);
    assert_int_equal(bcast_send(&pub, 0, 41), SHMC_EMSGSIZE);
    assert_int_equal(shmc_bcast_loan(&pub, 41, &room), SHMC_EMSGSIZE);
    bcast_ring_free(&ring);
}

/* ---- losses ------------------------------------------------------------ */

/* Read all there is.  Numbers are positions: what came and what is counted
 * as lost must be all of them.                                            */
static void
drain_counted(shmc_bcast *sub, uint64_t *next, uint32_t bytes)
{
    uint8_t buf[4096];

    for (;;) {
        const int r = shmc_bcast_recv(sub, buf, sizeof buf);
        if (r == SHMC_EAGAIN) return;
        if (r == SHMC_ELAPPED) {
            assert_true(shmc_bcast_gap(sub) > 0);
            *next += shmc_bcast_gap(sub);
            continue;
        }
        assert_int_equal(r, bytes);
        assert_true(bcast_is(buf, *next, bytes));
        ++*next;
    }
}

static void
a_lapped_subscriber_learns_the_exact_loss(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
        for (uint32_t slots = 2; slots <= 64; slots *= 4) {
            const shmc_bcast_desc desc = { .slot_count = slots, .max_bytes = 60,
                                           .max_publishers = publishers };
            bcast_ring ring = bcast_ring_make(&desc);
            shmc_bcast sub, pub;
            uint64_t sent = 0, next = 0;

            bcast_at(&ring, &pub, SHMC_PRODUCER);
            bcast_at(&ring, &sub, SHMC_CONSUMER);
            for (uint32_t burst = 1; burst < 5 * slots; burst += 3) {
                const uint64_t lost = shmc_bcast_lost(&sub);
                for (uint32_t i = 0; i < burst; i++)
                    assert_int_equal(bcast_send(&pub, sent++, 60), SHMC_OK);
                drain_counted(&sub, &next, 60);
                assert_int_equal(next, sent);
                if (burst <= slots) assert_int_equal(shmc_bcast_lost(&sub), lost);
                else assert_true(shmc_bcast_lost(&sub) > lost);
            }
            assert_int_equal(sub.passed, 0);
            bcast_ring_free(&ring);
        }
    }
}

static void
an_overrun_arena_is_counted_as_loss(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 64, .max_bytes = 1000,
                                   .max_publishers = 2, .arena_bytes = 2304 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast sub, pub;
    uint64_t next = 0;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(bcast_send(&pub, i, 1000), SHMC_OK);
    drain_counted(&sub, &next, 1000);
    assert_int_equal(next, 10);
    assert_int_equal(shmc_bcast_lost(&sub), 8);
    assert_int_equal(shmc_bcast_gap(&sub), 1);
    bcast_ring_free(&ring);
}

static void
messages_of_all_sizes_in_a_small_arena_are_whole_or_counted(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 16, .max_bytes = 1000,
                                   .max_publishers = 3, .arena_bytes = 2304 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast sub, pub[3];
    uint64_t got = 0, sent = 0;
    uint32_t random = 1;
    uint8_t buf[1000];

    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (int i = 0; i < 3; i++) bcast_at(&ring, &pub[i], SHMC_PRODUCER);
    while (sent < 20000) {
        random = random * 1664525u + 1013904223u;
        const uint32_t bytes = (random >> 12) % 1001;
        assert_int_equal(bcast_send(&pub[random >> 8 & 1 ? 2 : random >> 9 & 1],
                                    sent++, bytes), SHMC_OK);
        if ((random >> 24) % 3 != 0) continue;
        const int r = shmc_bcast_recv(&sub, buf, sizeof buf);
        if (r < 0) continue;
        const uint64_t number = sub.next - 1;
        assert_true(bcast_is(buf, number, (uint32_t)r));
        got++;
    }
    for (int r = 0; r != SHMC_EAGAIN; ) {
        r = shmc_bcast_recv(&sub, buf, sizeof buf);
        if (r >= 0) got++;
    }
    assert_int_equal(got + shmc_bcast_lost(&sub), sent);
    bcast_ring_free(&ring);
}

/* ---- history ----------------------------------------------------------- */

static void
history_is_as_long_as_asked_and_as_there_is(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 16, .max_bytes = 40 };
    bcast_ring ring = bcast_ring_make(&desc);
    static const struct { uint32_t sent; int32_t asked; uint64_t first; } row[] = {
        { 0, 5, 0 },   { 0, SHMC_BCAST_ALL, 0 }, { 3, 0, 3 },  { 3, 2, 1 },
        { 3, 99, 0 },  { 3, SHMC_BCAST_ALL, 0 }, { 40, 1, 39 },
        { 40, 16, 24 }, { 40, SHMC_BCAST_ALL, 24 }, { 40, INT32_MAX, 24 },
    };
    shmc_bcast pub, sub;
    uint64_t sent = 0;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        while (sent < row[i].sent)
            assert_int_equal(bcast_send(&pub, sent++, 40), SHMC_OK);
        assert_int_equal(shmc_bcast_map(&sub, ring.mem, ring.bytes,
                                        SHMC_CONSUMER, row[i].asked), SHMC_OK);
        for (uint64_t n = row[i].first; n < sent; n++)
            assert_int_equal(bcast_recv(&sub, n, 40), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, 0, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_bcast_lost(&sub), 0);
        shmc_bcast_close(&sub);
    }
    assert_int_equal(shmc_bcast_map(&sub, ring.mem, ring.bytes, SHMC_CONSUMER, -3),
                     SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "history -3"));
    bcast_ring_free(&ring);
}

static void
what_was_overwritten_before_a_subscriber_came_is_no_loss(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 16, .max_bytes = 900,
                                   .arena_bytes = 2048, .max_publishers = 1 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, inline_sub, arena_sub;
    uint64_t n = 0;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    for (; n < 10; n++) assert_int_equal(bcast_send(&pub, n, 900), SHMC_OK);
    /* Its history is partly gone from the arena already.                  */
    assert_int_equal(shmc_bcast_map(&arena_sub, ring.mem, ring.bytes,
                                    SHMC_CONSUMER, 5), SHMC_OK);
    assert_int_equal(bcast_recv(&arena_sub, 8, 900), SHMC_OK);
    assert_int_equal(bcast_recv(&arena_sub, 9, 900), SHMC_OK);
    assert_int_equal(shmc_bcast_lost(&arena_sub), 0);
    /* Its history is overwritten before it reads; then two of its own.    */
    assert_int_equal(shmc_bcast_map(&inline_sub, ring.mem, ring.bytes,
                                    SHMC_CONSUMER, 10), SHMC_OK);
    for (; n < 26; n++) assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
    for (uint64_t i = 10; i < 26; i++)
        if (i >= 12) assert_int_equal(bcast_recv(&inline_sub, i, 40), SHMC_OK);
        else if (i == 11) assert_int_equal(bcast_recv(&inline_sub, 0, 0),
                                           SHMC_ELAPPED);
    assert_int_equal(shmc_bcast_lost(&inline_sub), 2);
    bcast_ring_free(&ring);
}

static void
who_was_there_before_the_ring_counts_what_is_gone(void **state)
{
    (void)state;
    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        const shmc_bcast_desc desc = { .slot_count = 16, .max_bytes = 40,
                                       .mode = mode };
        bcast_ring ring = bcast_ring_make(&desc);
        shmc_bcast pub, sub;
        uint64_t n = 0;

        bcast_at(&ring, &pub, SHMC_PRODUCER);
        for (; n < 40; n++) assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
        assert_int_equal(shmc_bcast_map(&sub, ring.mem, ring.bytes, SHMC_CONSUMER,
                                        SHMI_BCAST_BEGIN), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, 0, 0), SHMC_ELAPPED);
        assert_int_equal(shmc_bcast_gap(&sub), 24);
        for (uint64_t i = 24; i < 40; i++)
            assert_int_equal(bcast_recv(&sub, i, 40), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, 0, 0), SHMC_EAGAIN);
        bcast_ring_free(&ring);
    }
}

/* ---- reliable ---------------------------------------------------------- */

static void
a_full_reliable_ring_refuses_until_there_is_room(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
        const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 40,
                                       .max_publishers = publishers,
                                       .mode = SHMC_RELIABLE };
        bcast_ring ring = bcast_ring_make(&desc);
        shmc_bcast pub, fast, slow, watcher;
        uint64_t n = 0, read = 0;

        bcast_at(&ring, &pub, SHMC_PRODUCER);
        bcast_at(&ring, &fast, SHMC_CONSUMER);
        bcast_at(&ring, &slow, SHMC_CONSUMER);
        bcast_at(&ring, &watcher, SHMC_WATCHER);
        for (; n < 8; n++) assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
        for (int i = 0; i < 100; i++)
            assert_int_equal(bcast_send(&pub, n, 40), SHMC_EAGAIN);
        for (uint64_t i = 0; i < 8; i++)
            assert_int_equal(bcast_recv(&fast, i, 40), SHMC_OK);
        assert_int_equal(bcast_send(&pub, n, 40), SHMC_EAGAIN);
        for (; read < 100; read++, n++) {
            assert_int_equal(bcast_recv(&slow, read, 40), SHMC_OK);
            assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
            assert_int_equal(bcast_send(&pub, n, 40), SHMC_EAGAIN);
            assert_int_equal(bcast_recv(&fast, n, 40), SHMC_OK);
        }
        assert_int_equal(shmc_bcast_lost(&slow) + shmc_bcast_lost(&fast), 0);
        /* The watcher held nobody up, and was overtaken.                  */
        assert_int_equal(bcast_recv(&watcher, 0, 0), SHMC_ELAPPED);
        assert_true(shmc_bcast_lost(&watcher) >= 100);
        assert_int_equal(shmc_bcast_close(&slow), SHMC_OK);
        assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
        bcast_ring_free(&ring);
    }
}

static void
a_full_arena_refuses_until_its_messages_are_read(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 64, .max_bytes = 1000,
                                   .max_publishers = 2, .arena_bytes = 2304,
                                   .mode = SHMC_RELIABLE };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, sub;
    uint64_t n = 0;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (; n < 2; n++) assert_int_equal(bcast_send(&pub, n, 1000), SHMC_OK);
    assert_int_equal(bcast_send(&pub, n, 1000), SHMC_EAGAIN);
    assert_int_equal(bcast_send(&pub, n++, 90), SHMC_OK);   /* not in arena */
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(bcast_recv(&sub, i, i % 3 == 2 ? 90 : 1000), SHMC_OK);
        if (n % 3 == 2) assert_int_equal(bcast_send(&pub, n++, 90), SHMC_OK);
        else if (bcast_send(&pub, n, 1000) == SHMC_OK) n++;
    }
    assert_true(n >= 200);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    bcast_ring_free(&ring);
}

static void
a_late_subscriber_loses_nothing_from_then_on(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 40,
                                   .mode = SHMC_RELIABLE };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, sub;
    uint64_t n = 0;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    for (; n < 21; n++) assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
    assert_int_equal(shmc_bcast_map(&sub, ring.mem, ring.bytes, SHMC_CONSUMER, 3),
                     SHMC_OK);
    /* The publisher's gate is from before; it may overwrite the history,
     * but nothing from 21 on.                                             */
    while (bcast_send(&pub, n, 40) == SHMC_OK) n++;
    assert_true(n <= 29);
    uint64_t first = 18;
    while (bcast_recv(&sub, first, 40) < 0) first++;
    for (uint64_t i = first + 1; i < n; i++)
        assert_int_equal(bcast_recv(&sub, i, 40), SHMC_OK);
    assert_true(first <= 21);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    bcast_ring_free(&ring);
}

static void
a_late_subscriber_lapped_in_its_history_keeps_all_that_follows(
    void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 16, .max_bytes = 40,
                                   .mode = SHMC_RELIABLE };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, sub;
    uint64_t n = 0;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    for (; n < 17; n++) assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
    assert_int_equal(shmc_bcast_map(&sub, ring.mem, ring.bytes, SHMC_CONSUMER,
                                    SHMC_BCAST_ALL), SHMC_OK);
    /* The publisher looked at 16, when nobody was there.                  */
    for (; n < 32; n++) assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
    for (uint64_t i = 17; i < 32; i++)
        assert_int_equal(bcast_recv(&sub, i, 40), SHMC_OK);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    bcast_ring_free(&ring);
}

/* ---- loans and borrows ------------------------------------------------- */

static void
a_loan_becomes_the_message_that_is_committed(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 1000,
                                   .arena_bytes = 4096 };
    bcast_ring ring = bcast_ring_make(&desc);
    static const struct { uint32_t lent, bytes; } row[SIZES] = {
        { 0, 0 }, { 96, 96 }, { 96, 3 }, { 97, 97 }, { 97, 96 }, { 1000, 1000 },
        { 1000, 97 }, { 1000, 0 },
    };
    shmc_bcast pub, sub;
    void *room;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (uint64_t i = 0; i < 10 * SIZES; i++) {
        const uint32_t lent = row[i % SIZES].lent, bytes = row[i % SIZES].bytes;
        assert_int_equal(shmc_bcast_loan(&pub, lent, &room), SHMC_OK);
        bcast_fill(room, i, lent);
        assert_int_equal(shmc_bcast_recv(&sub, NULL, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_bcast_commit(&pub, bytes), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, i, bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_loan(&pub, lent, &room), SHMC_OK);
        assert_int_equal(shmc_bcast_abort(&pub), SHMC_OK);
    }
    assert_int_equal(shmc_bcast_recv(&sub, NULL, 0), SHMC_EAGAIN);
    bcast_ring_free(&ring);
}

static void
only_one_loan_at_a_time_and_no_send_meanwhile(void **state)
{
    (void)state;
    bcast_ring ring = bcast_ring_make(NULL);
    shmc_bcast pub, sub;
    void *room, *more;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    assert_int_equal(shmc_bcast_commit(&pub, 0), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_abort(&pub), SHMC_EINVAL);
    for (uint32_t bytes = 50; bytes < 200; bytes += 100) {
        assert_int_equal(shmc_bcast_loan(&pub, bytes, &room), SHMC_OK);
        assert_int_equal(shmc_bcast_loan(&pub, bytes, &more), SHMC_EBUSY);
        assert_int_equal(bcast_send(&pub, 0, 8), SHMC_EBUSY);
        assert_int_equal(bcast_send(&pub, 0, 180), SHMC_EBUSY);
        assert_int_equal(shmc_bcast_commit(&pub, bytes + 1), SHMC_EMSGSIZE);
        bcast_fill(room, 7, bytes);
        assert_int_equal(shmc_bcast_commit(&pub, bytes), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, 7, bytes), SHMC_OK);
    }
    assert_int_equal(shmc_bcast_loan(&sub, 1, &room), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_abort(&sub), SHMC_EINVAL);
    bcast_ring_free(&ring);
}

static void
a_loan_outlives_a_full_ring(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 2, .max_bytes = 500,
                                   .arena_bytes = 4096, .mode = SHMC_RELIABLE };
    bcast_ring ring = bcast_ring_make(&desc);

    for (uint32_t bytes = 50; bytes < 600; bytes += 400) {
        shmc_bcast pub, sub;
        void *room;
        bcast_at(&ring, &pub, SHMC_PRODUCER);
        bcast_at(&ring, &sub, SHMC_CONSUMER);
        assert_int_equal(bcast_send(&pub, 0, 8), SHMC_OK);
        assert_int_equal(bcast_send(&pub, 1, 8), SHMC_OK);
        assert_int_equal(shmc_bcast_loan(&pub, bytes, &room), SHMC_OK);
        bcast_fill(room, 2, bytes);
        for (int i = 0; i < 3; i++)
            assert_int_equal(shmc_bcast_commit(&pub, bytes), SHMC_EAGAIN);
        assert_int_equal(bcast_recv(&sub, 0, 8), SHMC_OK);
        assert_int_equal(shmc_bcast_commit(&pub, bytes), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, 1, 8), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, 2, bytes), SHMC_OK);
        shmc_bcast_close(&pub);
        shmc_bcast_close(&sub);
    }
    bcast_ring_free(&ring);
}

static void
a_borrowed_message_is_whole_if_release_says_so(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 1000,
                                   .arena_bytes = 2304 };
    bcast_ring ring = bcast_ring_make(&desc);

    for (uint32_t bytes = 60; bytes <= 1000; bytes += 940) {
        shmc_bcast pub, sub;
        const void *view, *more;
        uint8_t buf[8];
        bcast_at(&ring, &pub, SHMC_PRODUCER);
        bcast_at(&ring, &sub, SHMC_CONSUMER);
        assert_int_equal(shmc_bcast_release(&sub), SHMC_EINVAL);
        assert_int_equal(bcast_send(&pub, 5, bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_borrow(&sub, &view), bytes);
        assert_true(bcast_is(view, 5, bytes));
        assert_int_equal(shmc_bcast_borrow(&sub, &more), SHMC_EBUSY);
        assert_int_equal(shmc_bcast_recv(&sub, buf, 8), SHMC_EBUSY);
        assert_int_equal(shmc_bcast_next_bytes(&sub), SHMC_EBUSY);
        assert_int_equal(shmc_bcast_release(&sub), SHMC_OK);
        assert_int_equal(shmc_bcast_release(&sub), SHMC_EINVAL);
        assert_int_equal(bcast_send(&pub, 6, bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_borrow(&sub, &view), bytes);
        for (uint64_t i = 7; i < 15; i++)
            assert_int_equal(bcast_send(&pub, i, bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_release(&sub), SHMC_ELAPPED);
        assert_int_equal(shmc_bcast_lost(&sub), 1);
        shmc_bcast_close(&pub);
        shmc_bcast_close(&sub);
    }
    bcast_ring_free(&ring);
}

static void
a_seated_subscribers_view_is_not_overwritten(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 4, .max_bytes = 500,
                                   .arena_bytes = 1152, .mode = SHMC_RELIABLE };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, sub;
    const void *view;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (uint64_t n = 0; n < 50; n++) {
        assert_int_equal(bcast_send(&pub, n, 400), SHMC_OK);
        assert_int_equal(shmc_bcast_borrow(&sub, &view), 400);
        while (bcast_send(&pub, 99, 400) == SHMC_OK) { }
        while (bcast_send(&pub, 99, 4) == SHMC_OK) { }
        assert_true(bcast_is(view, n, 400));
        assert_int_equal(shmc_bcast_release(&sub), SHMC_OK);
        while (bcast_recv(&sub, 99, (uint32_t)shmc_bcast_next_bytes(&sub)) ==
               SHMC_OK) { }
    }
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    bcast_ring_free(&ring);
}

/* ---- bad calls --------------------------------------------------------- */

static void
each_role_may_do_only_its_own(void **state)
{
    (void)state;
    bcast_ring ring = bcast_ring_make(NULL);
    shmc_bcast pub, other, sub, observer, none;
    const void *view;
    uint8_t buf[100];

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &other, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    bcast_at(&ring, &observer, SHMC_OBSERVER);
    assert_int_equal(bcast_send(&pub, 0, 8), SHMC_OK);
    assert_int_equal(bcast_send(&sub, 0, 8), SHMC_EINVAL);
    assert_int_equal(bcast_send(&observer, 0, 8), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_commit(&sub, 0), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_recv(&pub, buf, sizeof buf), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_recv(&other, buf, sizeof buf), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_recv(&observer, buf, sizeof buf), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_borrow(&observer, &view), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_release(&pub), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, 1000), SHMC_ENOTSUP);
    assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, 0), 8);
    assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_bcast_map(&none, ring.mem, ring.bytes, 7, 0),
                     SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "role 7"));
    bcast_ring_free(&ring);
}

static void
a_closed_handle_says_so(void **state)
{
    (void)state;
    bcast_ring ring = bcast_ring_make(NULL);
    shmc_bcast h;
    shmc_bcast_stats stats;
    const void *view;
    void *room;

    for (int i = 0; i < 2; i++) {
        if (i == 0) {
            memset(&h, 0, sizeof h);
        } else {
            bcast_at(&ring, &h, SHMC_PRODUCER);
            assert_int_equal(shmc_bcast_close(&h), SHMC_OK);
        }
        assert_int_equal(shmc_bcast_send(&h, "", 1), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_send_wait(&h, "", 1, 5), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_recv(&h, NULL, 0), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_recv_wait(&h, NULL, 0, 5), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_borrow(&h, &view), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_release(&h), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_next_bytes(&h), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_loan(&h, 1, &room), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_commit(&h, 1), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_abort(&h), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_stats_get(&h, &stats), SHMC_ECLOSED);
        assert_int_equal(shmc_bcast_close(&h), SHMC_ECLOSED);
    }
    bcast_ring_free(&ring);
}

static void
bad_descs_are_rejected(void **state)
{
    (void)state;
    static const shmc_bcast_desc bad[] = {
        { .slot_count = 1 }, { .slot_count = 3 }, { .slot_count = 1u << 25 },
        { .max_bytes = (1u << 30) + 1 }, { .max_publishers = 1025 },
        { .mode = 3 }, { .mode = SHMC_RELIABLE, .max_subscribers = 4097 },
        { .waitable = 2 }, { .arena_bytes = 128 }, { .arena_bytes = 262145 },
        { .arena_bytes = UINT64_C(1) << 41 },
        { .max_bytes = 96, .arena_bytes = 64 },
    };
    shmc_segment s;
    shmc_bcast h;

    segment_make(&s, "bad");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(shmc_bcast_size_for(&bad[i]), SHMC_EINVAL);
        assert_int_equal(shmc_bcast_format(NULL, 0, &bad[i]), SHMC_EINVAL);
        assert_int_equal(shmc_bcast_open(&h, &s, "bad", &bad[i], SHMC_PRODUCER),
                         SHMC_EINVAL);
        assert_non_null(strstr(shmc_last_error(), "out of range"));
        assert_int_equal(shmc_bcast_send(&h, "", 1), SHMC_ECLOSED);
    }
    assert_int_equal(shmc_bcast_open(&h, &s, "none", NULL, SHMC_OBSERVER),
                     SHMC_ENOENT);
    assert_int_equal(shmc_bcast_open(&h, &s, "none", NULL, SHMC_WATCHER),
                     SHMC_ENOENT);
    shmc_segment_close(&s);
}

static void
a_different_shape_is_named_with_both_values(void **state)
{
    (void)state;
    const shmc_bcast_desc is = { .slot_count = 64, .max_bytes = 300,
                                 .max_publishers = 2, .max_subscribers = 3,
                                 .arena_bytes = 1024, .mode = SHMC_RELIABLE };
    static const struct { shmc_bcast_desc desc; const char *text; } row[] = {
        { { .slot_count = 32 }, "slot_count 64, not 32" },
        { { .max_bytes = 200 }, "max_bytes 300, not 200" },
        { { .max_publishers = 4 }, "max_publishers 2, not 4" },
        { { .max_subscribers = 5, .mode = SHMC_RELIABLE },
          "max_subscribers 3, not 5" },
        { { .max_bytes = 300, .arena_bytes = 2048 }, "arena_bytes 1024, not 2048" },
        { { .mode = SHMC_LOSSY }, "mode (1 lossy, 2 reliable) 2, not 1" },
        { { .waitable = 1 }, "waitable 0, not 1" },
    };
    shmc_segment s;
    shmc_bcast pub, h;

    segment_make(&s, "shape");
    assert_int_equal(shmc_bcast_open(&pub, &s, "r", &is, SHMC_PRODUCER), SHMC_OK);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal(shmc_bcast_open(&h, &s, "r", &row[i].desc, SHMC_CONSUMER),
                         SHMC_EMISMATCH);
        assert_non_null(strstr(shmc_last_error(), row[i].text));
        assert_int_equal(shmc_bcast_recv(&h, NULL, 0), SHMC_ECLOSED);
    }
    assert_int_equal(shmc_bcast_open(&h, &s, "r", &is, SHMC_CONSUMER), SHMC_OK);
    shmc_bcast_close(&h);
    assert_int_equal(shmc_bcast_open(&h, &s, "r", NULL, SHMC_CONSUMER), SHMC_OK);
    shmc_bcast_close(&h);
    shmc_bcast_close(&pub);
    shmc_segment_close(&s);
}

static void
seats_run_out_and_come_back(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 40,
                                   .max_publishers = 2, .max_subscribers = 2,
                                   .mode = SHMC_RELIABLE };
    shmc_segment s;
    shmc_bcast pub[3], sub[3], watcher;

    segment_make(&s, "seats");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shmc_bcast_open(&pub[i], &s, "r", &desc, SHMC_PRODUCER),
                         SHMC_OK);
        assert_int_equal(shmc_bcast_open(&sub[i], &s, "r", &desc, SHMC_CONSUMER),
                         SHMC_OK);
    }
    assert_int_equal(shmc_bcast_open(&pub[2], &s, "r", &desc, SHMC_PRODUCER),
                     SHMC_ELIMIT);
    assert_int_equal(shmc_bcast_open(&sub[2], &s, "r", &desc, SHMC_CONSUMER),
                     SHMC_ELIMIT);
    assert_int_equal(shmc_bcast_open(&watcher, &s, "r", &desc, SHMC_WATCHER),
                     SHMC_OK);
    shmc_bcast_close(&pub[0]);
    shmc_bcast_close(&sub[0]);
    assert_int_equal(shmc_bcast_open(&pub[2], &s, "r", &desc, SHMC_PRODUCER),
                     SHMC_OK);
    assert_int_equal(shmc_bcast_open(&sub[2], &s, "r", &desc, SHMC_CONSUMER),
                     SHMC_OK);
    for (int i = 1; i < 3; i++) {
        shmc_bcast_close(&pub[i]);
        shmc_bcast_close(&sub[i]);
    }
    shmc_bcast_close(&watcher);
    shmc_segment_close(&s);
}

typedef struct inherited {
    shmc_segment segment;
    shmc_bcast pub, sub;
} inherited;

static int
use_inherited(void *arg)
{
    inherited *in = arg;
    const void *view;
    void *room;
    uint8_t buf[8];
    shmc_bcast_stats stats;

    TEST_REQUIRE(shmc_bcast_send(&in->pub, "x", 1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_loan(&in->pub, 1, &room) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_commit(&in->pub, 1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_abort(&in->pub) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_send_wait(&in->pub, "x", 1, 1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_recv(&in->sub, buf, 8) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_recv_wait(&in->sub, buf, 8, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_borrow(&in->sub, &view) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_borrow_wait(&in->sub, &view, -1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_release(&in->sub) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_next_bytes(&in->sub) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_stats_get(&in->sub, &stats) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_close(&in->sub) == SHMC_OK);
    TEST_REQUIRE(shmc_bcast_close(&in->pub) == SHMC_OK);
    return 0;
}

static void
a_forked_child_may_not_use_what_it_inherits(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 40,
                                   .waitable = 1, .mode = SHMC_RELIABLE };
    inherited in;

    segment_make(&in.segment, "fork");
    assert_int_equal(shmc_bcast_open(&in.pub, &in.segment, "r", &desc,
                                     SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_bcast_open(&in.sub, &in.segment, "r", &desc,
                                     SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(test_join(test_spawn(use_inherited, &in)), 0);
    /* The child's closing took nothing from us.                           */
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(bcast_send(&in.pub, i, 40), SHMC_OK);
    assert_int_equal(bcast_send(&in.pub, 8, 40), SHMC_EAGAIN);
    assert_int_equal(bcast_recv(&in.sub, 0, 40), SHMC_OK);
    shmc_bcast_close(&in.sub);
    shmc_bcast_close(&in.pub);
    shmc_segment_close(&in.segment);
}

static void
a_read_only_segment_can_be_watched(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 400,
                                   .max_publishers = 2, .waitable = 1,
                                   .mode = SHMC_RELIABLE };
    const shmc_segment_desc ro = { .flags = SHMC_READ_ONLY };
    shmc_segment s, r;
    shmc_bcast pub, watcher, no;
    char name[64];
    uint8_t buf[400];

    segment_make(&s, "ro");
    assert_int_equal(shmc_segment_attach(&r, test_name(name, sizeof name, "ro"),
                                         &ro), SHMC_OK);
    assert_int_equal(shmc_bcast_open(&no, &r, "r", &desc, SHMC_CONSUMER),
                     SHMC_ENOENT);
    assert_int_equal(shmc_bcast_open(&pub, &s, "r", &desc, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_bcast_open(&no, &r, "r", &desc, SHMC_CONSUMER),
                     SHMC_EROFS);
    assert_int_equal(shmc_bcast_open(&no, &r, "r", &desc, SHMC_PRODUCER),
                     SHMC_EROFS);
    assert_int_equal(shmc_bcast_open(&watcher, &r, "r", NULL, SHMC_WATCHER),
                     SHMC_OK);
    assert_int_equal(bcast_send(&pub, 3, 40), SHMC_OK);
    assert_int_equal(bcast_send(&pub, 4, 400), SHMC_OK);
    assert_int_equal(shmc_bcast_recv_wait(&watcher, buf, 400, -1), 40);
    assert_true(bcast_is(buf, 3, 40));
    assert_int_equal(bcast_recv(&watcher, 4, 400), SHMC_OK);
    assert_int_equal(shmc_bcast_recv_wait(&watcher, buf, 400, 3000000),
                     SHMC_ETIMEDOUT);
    shmc_bcast_close(&watcher);
    shmc_bcast_close(&pub);
    shmc_segment_close(&r);
    shmc_segment_close(&s);
}

static void
memory_of_the_caller_is_checked(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 300 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast h;
    shmi_bcast_shm *shm = ring.mem;
    const shmi_ring_head_shm good = shm->head;

    assert_int_equal(shmc_bcast_format((uint8_t *)ring.mem + 8, ring.bytes, &desc),
                     SHMC_EINVAL);
    assert_int_equal(shmc_bcast_format(ring.mem, ring.bytes - 1, &desc),
                     SHMC_ENOSPC);
    assert_int_equal(shmc_bcast_map(&h, (uint8_t *)ring.mem + 8, ring.bytes,
                                    SHMC_PRODUCER, 0), SHMC_EINVAL);
    assert_int_equal(shmc_bcast_map(&h, ring.mem, ring.bytes - 1, SHMC_PRODUCER,
                                    0), SHMC_ECORRUPT);
    for (int i = 0; i < 8; i++) {
        shm->head = good;
        if (i == 0) shm->head.seats = 0;
        if (i == 1) shm->head.mode = 9;
        if (i == 2) shm->head.aux[0] = UINT64_C(300) | UINT64_C(1) << 32;
        if (i == 3) shm->head.aux[1] += 128;
        if (i == 4) shm->head.aux[2] = 1;
        if (i == 5) shm->head.slot_count = 4;
        if (i == 6) shm->head.stride_bytes = 64;
        if (i == 7) shm->head.total_bytes -= 128;
        assert_int_equal(shmc_bcast_map(&h, ring.mem, ring.bytes, SHMC_PRODUCER,
                                        0), SHMC_ECORRUPT);
        assert_int_equal(bcast_send(&h, 0, 1), SHMC_ECLOSED);
    }
    shm->head = good;
    shm->head.magic = 0;
    assert_int_equal(shmc_bcast_map(&h, ring.mem, ring.bytes, SHMC_PRODUCER, 0),
                     SHMC_ETYPE);
    shm->head = good;
    shm->head.version++;
    assert_int_equal(shmc_bcast_map(&h, ring.mem, ring.bytes, SHMC_PRODUCER, 0),
                     SHMC_EVERSION);
    shm->head = good;
    bcast_at(&ring, &h, SHMC_PRODUCER);
    h.arena_lines[0].low = 64;
    shmc_bcast_close(&h);
    assert_int_equal(shmc_bcast_map(&h, ring.mem, ring.bytes, SHMC_PRODUCER, 0),
                     SHMC_ECORRUPT);
    assert_non_null(strstr(shmc_last_error(), "from 64 to 0"));
    bcast_ring_free(&ring);
}

static void
stats_say_what_happened(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 40,
                                   .mode = SHMC_RELIABLE };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, sub, observer;
    shmc_bcast_stats stats;

    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    bcast_at(&ring, &observer, SHMC_OBSERVER);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(bcast_send(&pub, i, 40), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 0, 40), SHMC_OK);
    assert_int_equal(shmc_bcast_stats_get(&observer, &stats), SHMC_OK);
    assert_int_equal(stats.sent, 5);
    assert_int_equal(stats.lag, 4);
    assert_int_equal(stats.publishers, 1);
    assert_int_equal(stats.subscribers, 1);
    assert_int_equal(stats.voids + stats.dropped, 0);
    bcast_ring_free(&ring);
}

/* ---- positions that wrap ----------------------------------------------- */

static void
run_from(uint64_t tail, uint32_t publishers, uint32_t mode)
{
    const shmc_bcast_desc desc = { .slot_count = 8, .max_bytes = 300,
                                   .max_publishers = publishers, .mode = mode,
                                   .arena_bytes = 2048 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast pub, other, sub, late;
    uint64_t next = 0, lost = 0;

    bcast_seed(&ring, tail);
    bcast_at(&ring, &pub, SHMC_PRODUCER);
    if (publishers > 1) bcast_at(&ring, &other, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    for (uint64_t n = 0; n < 40; n++) {
        shmc_bcast *by = publishers > 1 && n % 3 == 0 ? &other : &pub;
        const int r = bcast_send(by, n, n % 2 ? 200 : 40);
        if (mode == SHMC_RELIABLE && n - next == 8) {
            assert_int_equal(r, SHMC_EAGAIN);
            while (next < n)
                assert_int_equal(bcast_recv(&sub, next, next % 2 ? 200 : 40),
                                 SHMC_OK), next++;
            n--;
            continue;
        }
        assert_int_equal(r, SHMC_OK);
    }
    assert_int_equal(shmc_bcast_map(&late, ring.mem, ring.bytes, SHMC_CONSUMER,
                                    SHMC_BCAST_ALL), SHMC_OK);
    for (uint64_t n = 32; n < 40; n++)
        assert_int_equal(bcast_recv(&late, n, n % 2 ? 200 : 40), SHMC_OK);
    while (next < 40) {
        const int r = bcast_recv(&sub, next, next % 2 ? 200 : 40);
        if (r == SHMC_ELAPPED) {
            next += shmc_bcast_gap(&sub);
            lost += shmc_bcast_gap(&sub);
        } else {
            assert_int_equal(r, SHMC_OK);
            next++;
        }
    }
    assert_int_equal(next, 40);
    assert_int_equal(lost, shmc_bcast_lost(&sub));
    if (mode == SHMC_RELIABLE) assert_int_equal(lost, 0);
    assert_int_equal(bcast_recv(&sub, 0, 0), SHMC_EAGAIN);
    bcast_ring_free(&ring);
}

static void
positions_may_wrap(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 2; publishers++) {
        for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
            run_from((UINT64_C(1) << 32) - 20, publishers, mode);
            run_from((UINT64_C(1) << 62) - 20, publishers, mode);
            run_from((UINT64_C(1) << 63) - 20, publishers, mode);
            run_from(UINT64_MAX - 20, publishers, mode);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(an_empty_ring_has_nothing_to_read),
        TEST_CASE(every_size_comes_out_as_it_went_in),
        TEST_CASE(an_empty_message_needs_no_buffer),
        TEST_CASE(a_message_too_long_for_the_buffer_stays),
        TEST_CASE(a_ring_of_small_messages_refuses_a_larger_one),
        TEST_CASE(a_lapped_subscriber_learns_the_exact_loss),
        TEST_CASE(an_overrun_arena_is_counted_as_loss),
        TEST_CASE(messages_of_all_sizes_in_a_small_arena_are_whole_or_counted),
        TEST_CASE(history_is_as_long_as_asked_and_as_there_is),
        TEST_CASE(what_was_overwritten_before_a_subscriber_came_is_no_loss),
        TEST_CASE(who_was_there_before_the_ring_counts_what_is_gone),
        TEST_CASE(a_full_reliable_ring_refuses_until_there_is_room),
        TEST_CASE(a_full_arena_refuses_until_its_messages_are_read),
        TEST_CASE(a_late_subscriber_loses_nothing_from_then_on),
        TEST_CASE(a_late_subscriber_lapped_in_its_history_keeps_all_that_follows),
        TEST_CASE(a_loan_becomes_the_message_that_is_committed),
        TEST_CASE(only_one_loan_at_a_time_and_no_send_meanwhile),
        TEST_CASE(a_loan_outlives_a_full_ring),
        TEST_CASE(a_borrowed_message_is_whole_if_release_says_so),
        TEST_CASE(a_seated_subscribers_view_is_not_overwritten),
        TEST_CASE(each_role_may_do_only_its_own),
        TEST_CASE(a_closed_handle_says_so),
        TEST_CASE(bad_descs_are_rejected),
        TEST_CASE(a_different_shape_is_named_with_both_values),
        TEST_CASE(seats_run_out_and_come_back),
        TEST_CASE(a_forked_child_may_not_use_what_it_inherits),
        TEST_CASE(a_read_only_segment_can_be_watched),
        TEST_CASE(memory_of_the_caller_is_checked),
        TEST_CASE(stats_say_what_happened),
        TEST_CASE(positions_may_wrap),
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("bcast_ring", tests, NULL, NULL);
}
