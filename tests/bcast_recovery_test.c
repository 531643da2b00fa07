/* What one broadcast ring does when publishers or subscribers died or are
 * stopped in the middle of something, when bytes are damaged, and while it is
 * waited for.  A peer's last state is written by hand, so that each case is
 * met for certain.                                                         */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"

#include "bcast_support.h"

#include <pthread.h>

enum { SLOTS = 8, MAX_BYTES = 1000, LARGE = 900 };

typedef struct ring {
    shmc_segment segment;
    shmc_bcast_desc desc;
} ring;

static void
ring_make(ring *r, const shmc_bcast_desc *desc, uint32_t wake)
{
    static int made;
    char name[64], noun[32];
    const shmc_segment_desc s = { .flags = SHMC_EPHEMERAL, .wake = wake };

    snprintf(noun, sizeof noun, "recovery%d", made++);
    assert_int_equal(shmc_segment_open(&r->segment,
                                       test_name(name, sizeof name, noun), &s),
                     SHMC_OK);
    r->desc = *desc;
    if (r->desc.slot_count == 0) r->desc.slot_count = SLOTS;
    if (r->desc.max_bytes == 0) r->desc.max_bytes = MAX_BYTES;
    if (r->desc.arena_bytes == 0) r->desc.arena_bytes = 4096;
    if (r->desc.max_publishers == 0) r->desc.max_publishers = 4;
}

static void
ring_open(ring *r, shmc_bcast *h, uint32_t role)
{
    assert_int_equal(shmc_bcast_open(h, &r->segment, "r", &r->desc, role),
                     SHMC_OK);
}

static void
ring_end(ring *r)
{
    assert_int_equal(shmc_segment_close(&r->segment), SHMC_OK);
}

/* Receive as a program does that looks again and again.                   */
static int
soon(shmc_bcast *h, uint64_t number, uint32_t bytes)
{
    int r = SHMC_EAGAIN;

    while (r == SHMC_EAGAIN) r = bcast_recv(h, number, bytes);
    return r;
}

static void
nothing(shmc_bcast *h)
{
    for (int i = 0; i < 3000; i++)
        assert_int_equal(bcast_recv(h, 0, 0), SHMC_EAGAIN);
}

/* ---- the only publisher dies ------------------------------------------- */

static void
a_lone_publisher_that_died_before_tail_moved_is_continued(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .max_publishers = 1 };
    ring r;
    shmc_bcast dead, next, sub;
    uint8_t buf[40];

    ring_make(&r, &desc, 0);
    ring_open(&r, &dead, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    assert_int_equal(bcast_send(&dead, 0, 40), SHMC_OK);
    bcast_fill(buf, 1, 40);
    shmi_bcast_fill(&dead, dead.next, buf, 40, 0);
    bcast_kill_publisher(&dead);
    assert_int_equal(bcast_recv(&sub, 0, 40), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 1, 40), SHMC_OK);
    nothing(&sub);                  /* although it is ahead of tail         */
    ring_open(&r, &next, SHMC_PRODUCER);
    assert_int_equal(bcast_send(&next, 2, 40), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 2, 40), SHMC_OK);
    assert_int_equal(shmc_bcast_lost(&sub) + sub.passed, 0);
    ring_end(&r);
}

static void
a_lone_publisher_that_died_while_writing_loses_only_that(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .max_publishers = 1 };
    ring r;
    shmc_bcast dead, next, sub;

    ring_make(&r, &desc, 0);
    ring_open(&r, &dead, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(bcast_send(&dead, i, 40), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, i, 40), SHMC_OK);
    }
    dead.cells[dead.next & dead.mask].stamp = shmi_stamp(dead.next, SHMI_BUSY);
    memset(dead.cells[dead.next & dead.mask].data, 0xee, 20);
    bcast_kill_publisher(&dead);
    nothing(&sub);
    ring_open(&r, &next, SHMC_PRODUCER);
    for (uint64_t i = 20; i < 40; i++) {
        assert_int_equal(bcast_send(&next, i, 40), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, i, 40), SHMC_OK);
    }
    assert_int_equal(shmc_bcast_lost(&sub) + sub.passed, 0);
    ring_end(&r);
}

/* ---- one of several publishers dies ------------------------------------ */

enum { CLAIMED, BUSY, INTENDED };

/* A message from `other`, then `dead` dies at a position, then one more from
 * `other`; the subscriber must get both, and pass what is empty.          */
static void
die_between(ring *r, int where, bool seat_taken_again)
{
    shmc_bcast dead, other, heir, sub;

    ring_open(r, &dead, SHMC_PRODUCER);
    ring_open(r, &other, SHMC_PRODUCER);
    ring_open(r, &sub, SHMC_CONSUMER);
    for (uint64_t i = 0; i < 30; i++) {
        assert_int_equal(bcast_send(&other, i, 40), SHMC_OK);
        if (i == 10 && where == CLAIMED) (void)bcast_stop_claimed(&dead);
        if (i == 10 && where == BUSY) (void)bcast_stop_busy(&dead);
        if (i == 10 && where == INTENDED)
            dead.pubs[dead.seat].intent = dead.shm->tail << 1 | 1;
        if (i == 10) bcast_kill_publisher(&dead);
        if (i == 10 && seat_taken_again) {
            ring_open(r, &heir, SHMC_PRODUCER);
            assert_int_equal(heir.seat, dead.seat);
        }
        assert_int_equal(soon(&sub, i, 40), SHMC_OK);
    }
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    assert_int_equal(sub.passed, where == INTENDED ? 0 : 1);
    assert_int_equal(sub.next, sub.shm->tail);
    if (seat_taken_again) {
        assert_int_equal(bcast_send(&heir, 30, LARGE), SHMC_OK);
        assert_int_equal(soon(&sub, 30, LARGE), SHMC_OK);
        shmc_bcast_close(&heir);
    }
    shmc_bcast_close(&other);
    shmc_bcast_close(&sub);
}

static void
the_position_of_a_dead_publisher_is_passed(void **state)
{
    (void)state;
    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        const shmc_bcast_desc desc = { .mode = mode };
        for (int where = CLAIMED; where <= INTENDED; where++) {
            ring r;
            ring_make(&r, &desc, 0);
            die_between(&r, where, false);
            die_between(&r, where, true);
            ring_end(&r);
        }
    }
}

static void
a_dead_publisher_with_nobody_behind_it_holds_up_nobody(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .mode = SHMC_RELIABLE };
    ring r;
    shmc_bcast dead, other, sub;

    ring_make(&r, &desc, 0);
    ring_open(&r, &dead, SHMC_PRODUCER);
    ring_open(&r, &other, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    (void)bcast_stop_busy(&dead);
    bcast_kill_publisher(&dead);
    nothing(&sub);
    for (uint64_t i = 0; i < SLOTS - 1; i++)
        assert_int_equal(bcast_send(&other, i, 40), SHMC_OK);
    for (uint64_t i = 0; i < SLOTS - 1; i++)
        assert_int_equal(soon(&sub, i, 40), SHMC_OK);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    ring_end(&r);
}

static void
many_empty_positions_in_a_row_are_passed(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .max_publishers = 8 };
    ring r;
    shmc_bcast dead[6], other, sub;

    ring_make(&r, &desc, 0);
    ring_open(&r, &other, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    for (int i = 0; i < 6; i++) ring_open(&r, &dead[i], SHMC_PRODUCER);
    for (int i = 0; i < 6; i++) {
        (void)bcast_stop_claimed(&dead[i]);
        bcast_kill_publisher(&dead[i]);
    }
    assert_int_equal(bcast_send(&other, 1, 40), SHMC_OK);
    assert_int_equal(soon(&sub, 1, 40), SHMC_OK);
    assert_int_equal(sub.passed, 6);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    ring_end(&r);
}

/* ---- arenas of the dead ------------------------------------------------ */

static void
a_successor_goes_on_in_the_arena(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
        const shmc_bcast_desc desc = { .max_publishers = publishers };
        ring r;
        shmc_bcast pub, sub;
        uint64_t n = 0;

        ring_make(&r, &desc, 0);
        ring_open(&r, &sub, SHMC_CONSUMER);
        /* 4 messages of 900 bytes fit: those of the dead stay readable.   */
        for (int life = 0; life < 20; life++) {
            ring_open(&r, &pub, SHMC_PRODUCER);
            assert_int_equal(pub.seat, 0);
            for (int i = 0; i < 3; i++)
                assert_int_equal(bcast_send(&pub, n++, LARGE), SHMC_OK);
            bcast_kill_publisher(&pub);
            for (uint64_t i = n - 3; i < n; i++)
                assert_int_equal(bcast_recv(&sub, i, LARGE), SHMC_OK);
        }
        assert_int_equal(shmc_bcast_lost(&sub), 0);
        ring_end(&r);
    }
}

static void
a_loan_of_the_dead_is_written_over(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { 0 };
    ring r;
    shmc_bcast dead, heir, sub;
    void *room, *again;

    ring_make(&r, &desc, 0);
    ring_open(&r, &sub, SHMC_CONSUMER);
    ring_open(&r, &dead, SHMC_PRODUCER);
    assert_int_equal(bcast_send(&dead, 0, LARGE), SHMC_OK);
    assert_int_equal(shmc_bcast_loan(&dead, LARGE, &room), SHMC_OK);
    memset(room, 0xee, 100);
    bcast_kill_publisher(&dead);
    ring_open(&r, &heir, SHMC_PRODUCER);
    assert_int_equal(shmc_bcast_loan(&heir, LARGE, &again), SHMC_OK);
    assert_ptr_equal(again, room);
    bcast_fill(again, 1, LARGE);
    assert_int_equal(shmc_bcast_commit(&heir, LARGE), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 0, LARGE), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 1, LARGE), SHMC_OK);
    ring_end(&r);
}

static void
a_record_that_was_never_published_does_not_block_its_arena(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 2; publishers++) {
        const shmc_bcast_desc desc = { .max_publishers = publishers,
                                       .arena_bytes = 2304,
                                       .mode = SHMC_RELIABLE };
        ring r;
        shmc_bcast dead, heir, sub;
        uint64_t n = 0;

        ring_make(&r, &desc, 0);
        ring_open(&r, &sub, SHMC_CONSUMER);
        ring_open(&r, &dead, SHMC_PRODUCER);
        /* A short one first, so that the next lies in the middle.         */
        assert_int_equal(bcast_send(&dead, n, 200), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, n++, 200), SHMC_OK);
        /* Died before the claim: head moved, the record names tail.       */
        assert_int_equal(shmi_bcast_reserve(&dead, 64 + 1024), SHMC_OK);
        shmi_bcast_record_shm *record = shmi_bcast_record(&dead, dead.offset);
        record->span = 64 + 1024;
        record->position = dead.shm->tail;
        *dead.head_shm = dead.head + 64 + 1024;
        bcast_kill_publisher(&dead);
        ring_open(&r, &heir, SHMC_PRODUCER);
        for (; n < 20; n++) {
            assert_int_equal(bcast_send(&heir, n, 1000), SHMC_OK);
            assert_int_equal(bcast_recv(&sub, n, 1000), SHMC_OK);
        }
        ring_end(&r);
    }
}

/* ---- subscribers die --------------------------------------------------- */

static void
a_dead_subscriber_is_given_up(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
        const shmc_bcast_desc desc = { .max_publishers = publishers,
                                       .mode = SHMC_RELIABLE };
        ring r;
        shmc_bcast pub, dead, live;
        shmc_bcast_stats stats;
        uint64_t n = 0;

        ring_make(&r, &desc, 0);
        ring_open(&r, &pub, SHMC_PRODUCER);
        ring_open(&r, &dead, SHMC_CONSUMER);
        ring_open(&r, &live, SHMC_CONSUMER);
        for (; n < SLOTS; n++) assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
        for (uint64_t i = 0; i < 4; i++)
            assert_int_equal(bcast_recv(&live, i, 40), SHMC_OK);
        bcast_kill_subscriber(&dead);
        for (uint64_t i = 0; i < 4; i++, n++)
            while (bcast_send(&pub, n, 40) == SHMC_EAGAIN) { }
        for (int i = 0; i < 100; i++)
            assert_int_equal(bcast_send(&pub, n, 40), SHMC_EAGAIN);
        assert_int_equal(shmc_bcast_stats_get(&pub, &stats), SHMC_OK);
        assert_int_equal(stats.dropped, 1);
        assert_int_equal(stats.subscribers, 1);
        for (uint64_t i = 4; i < n; i++)
            assert_int_equal(bcast_recv(&live, i, 40), SHMC_OK);
        /* His seat is free for another.                                   */
        ring_open(&r, &dead, SHMC_CONSUMER);
        assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
        assert_int_equal(bcast_recv(&dead, n, 40), SHMC_OK);
        ring_end(&r);
    }
}

static void
a_subscriber_that_died_sitting_down_holds_nobody_up(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .mode = SHMC_RELIABLE, .max_subscribers = 1 };
    ring r;
    shmc_bcast pub, sub;

    ring_make(&r, &desc, 0);
    ring_open(&r, &pub, SHMC_PRODUCER);
    pub.subs[0].owner = BCAST_DEAD;
    pub.subs[0].word[SHMI_SUB_CURSOR] = 0;
    pub.shm->seats = 1;
    for (uint64_t n = 0; n < 50; n++)
        assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
    ring_open(&r, &sub, SHMC_CONSUMER);
    assert_int_equal(bcast_send(&pub, 50, 40), SHMC_OK);
    assert_int_equal(bcast_recv(&sub, 50, 40), SHMC_OK);
    ring_end(&r);
}

/* ---- stopped publishers ------------------------------------------------ */

static void
a_stopped_publisher_is_passed_for_laps_and_then_goes_on(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        const shmc_bcast_desc desc = { 0 };
        ring r;
        shmc_bcast stopped, other, sub, late;
        shmc_bcast_stats stats;
        uint64_t n = 0;

        ring_make(&r, &desc, 0);
        ring_open(&r, &stopped, SHMC_PRODUCER);
        ring_open(&r, &other, SHMC_PRODUCER);
        ring_open(&r, &sub, SHMC_CONSUMER);
        for (; n < 10; n++) assert_int_equal(bcast_send(&other, n, 40), SHMC_OK);
        while (bcast_recv(&sub, sub.next, 40) != SHMC_EAGAIN) { }
        assert_int_equal(sub.next, 10);
        const uint64_t at = busy ? bcast_stop_busy(&stopped)
                                 : bcast_stop_claimed(&stopped);
        n++;
        assert_int_equal(at, 10);
        assert_int_equal(bcast_send(&other, n++, 40), SHMC_OK);
        nothing(&sub);              /* he may still go on                   */
        for (int i = 0; i < 3 * SLOTS; i++) {
            assert_int_equal(bcast_send(&other, other.shm->tail, 40), SHMC_OK);
            if (i % 5 == 0) shmc_bcast_next_bytes(&sub);
        }
        assert_int_equal(shmc_bcast_stats_get(&sub, &stats), SHMC_OK);
        assert_true(stats.voids >= 3);
        /* Not for ever: a lap later the subscriber goes on behind him, and
         * everybody passes his cell.                                      */
        ring_open(&r, &late, SHMC_CONSUMER);
        for (int i = 0; i < 20; i++) {
            const uint64_t number = other.shm->tail +
                (((other.shm->tail & other.mask) == (at & other.mask)) ? 1 : 0);
            assert_int_equal(bcast_send(&other, number, 40), SHMC_OK);
            assert_int_equal(soon(&late, number, 40), SHMC_OK);
        }
        assert_int_equal(shmc_bcast_lost(&late), 0);
        assert_int_equal(soon(&sub, 0, 0), SHMC_ELAPPED);
        const uint64_t gap = shmc_bcast_gap(&sub);
        assert_int_equal(10 + gap, sub.next);
        for (int r1 = 0; r1 != SHMC_EAGAIN; ) {
            uint8_t buf[40];
            r1 = shmc_bcast_recv(&sub, buf, sizeof buf);
            if (r1 >= 0) assert_true(r1 == 40 && buf[0] == bcast_byte(sub.next - 1,
                                                                      0));
        }
        /* He goes on, into a cell that everybody passed; then all is whole. */
        bcast_continue(&stopped, at, 777, 60);
        for (int i = 0; i < 3 * SLOTS; i++) {
            shmc_bcast *by = i % 2 ? &stopped : &other;
            const uint64_t number = other.shm->tail;
            assert_int_equal(bcast_send(by, number, 40), SHMC_OK);
            assert_int_equal(soon(&late, number, 40), SHMC_OK);
        }
        assert_int_equal(shmc_bcast_lost(&late), 0);
        ring_end(&r);
    }
}

static void
a_stopped_publisher_loses_nothing_in_a_reliable_ring(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .mode = SHMC_RELIABLE };
    ring r;
    shmc_bcast stopped, other, sub;
    uint64_t n = 1;

    ring_make(&r, &desc, 0);
    ring_open(&r, &stopped, SHMC_PRODUCER);
    ring_open(&r, &other, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    const uint64_t at = bcast_stop_claimed(&stopped);
    while (bcast_send(&other, n, 40) == SHMC_OK) n++;
    assert_int_equal(n, SLOTS);
    nothing(&sub);
    bcast_continue(&stopped, at, 0, 40);
    for (uint64_t i = 0; i < SLOTS; i++)
        assert_int_equal(soon(&sub, i, 40), SHMC_OK);
    assert_int_equal(shmc_bcast_lost(&sub) + sub.passed, 0);
    ring_end(&r);
}

static void
stopped_publishers_in_all_cells_leave_no_room(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .slot_count = 2 };
    ring r;
    shmc_bcast stopped[2], other, sub;
    uint64_t at[2];

    ring_make(&r, &desc, 0);
    ring_open(&r, &other, SHMC_PRODUCER);
    for (int i = 0; i < 2; i++) ring_open(&r, &stopped[i], SHMC_PRODUCER);
    for (int i = 0; i < 2; i++) at[i] = bcast_stop_claimed(&stopped[i]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(bcast_send(&other, 0, 40), SHMC_EAGAIN);
    ring_open(&r, &sub, SHMC_CONSUMER);
    bcast_continue(&stopped[1], at[1], 9, 9);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(bcast_send(&other, i, 40), SHMC_OK);
        assert_int_equal(soon(&sub, i, 40), SHMC_OK);
    }
    bcast_continue(&stopped[0], at[0], 9, 9);
    assert_int_equal(shmc_bcast_lost(&sub), 0);
    ring_end(&r);
}

/* ---- damage ------------------------------------------------------------ */

static void
damaged_stamps_are_replaced_within_a_lap(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
        const shmc_bcast_desc desc = { .max_publishers = publishers };
        ring r;
        shmc_bcast pub, sub;

        ring_make(&r, &desc, 0);
        ring_open(&r, &pub, SHMC_PRODUCER);
        ring_open(&r, &sub, SHMC_CONSUMER);
        for (uint64_t round = 1; round < 64; round++) {
            for (uint64_t i = 0; i < SLOTS; i++)
                pub.cells[i].stamp = round << 58 | (i * round) % 5;
            for (uint64_t i = 0; i < SLOTS; i++)
                assert_int_equal(bcast_send(&pub, pub.shm->tail, 40), SHMC_OK);
            for (int k = 0; k != SHMC_EAGAIN; )
                k = shmc_bcast_recv(&sub, &(uint8_t[40]){ 0 }, 40);
        }
        for (uint64_t i = 0; i < 2 * SLOTS; i++) {
            const uint64_t number = pub.shm->tail;
            assert_int_equal(bcast_send(&pub, number, 40), SHMC_OK);
            assert_int_equal(soon(&sub, number, 40), SHMC_OK);
        }
        ring_end(&r);
    }
}

static void
a_damaged_tail_is_told_or_counted(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { 0 };
    ring r;
    shmc_bcast pub, sub;

    ring_make(&r, &desc, 0);
    ring_open(&r, &pub, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    for (uint64_t i = 0; i < 100; i++) assert_int_equal(bcast_send(&pub, i, 8), 0);
    while (bcast_recv(&sub, sub.next, 8) != SHMC_EAGAIN) { }
    pub.shm->tail += UINT64_C(1) << 40;                     /* far ahead    */
    assert_int_equal(soon(&sub, 0, 0), SHMC_ELAPPED);
    for (uint64_t i = 0; i < SLOTS; i++) assert_int_equal(bcast_send(&pub, i, 8), 0);
    while (shmc_bcast_next_bytes(&sub) < 0) { }
    assert_true(sub.next >= pub.shm->tail - SLOTS);
    pub.shm->tail = 50;                                     /* and back     */
    while (shmc_bcast_recv(&sub, &(uint8_t[8]){ 0 }, 8) == 8) { }
    int how = SHMC_EAGAIN;
    while (how == SHMC_EAGAIN) how = shmc_bcast_next_bytes(&sub);
    assert_int_equal(how, SHMC_ECORRUPT);
    for (uint64_t i = 0; i < 3 * SLOTS; i++) {
        assert_int_equal(bcast_send(&pub, i, 8), SHMC_OK);
        assert_int_equal(soon(&sub, i, 8), SHMC_OK);
    }
    ring_end(&r);
}

static void
a_damaged_cell_is_told_and_passed(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { 0 };
    ring r;
    shmc_bcast pub, sub;
    const void *view;

    ring_make(&r, &desc, 0);
    ring_open(&r, &pub, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    for (uint64_t i = 0; i < 5; i++) {
        const uint64_t before = shmc_bcast_lost(&sub);
        assert_int_equal(bcast_send(&pub, i, 200), SHMC_OK);
        shmi_bcast_cell_shm *cell = &pub.cells[(pub.shm->tail - 1) & pub.mask];
        if (i == 0) cell->bytes = MAX_BYTES + 1;
        if (i == 1) cell->bytes = UINT32_MAX;
        if (i == 2) cell->seat = 4;
        if (i == 3) cell->at = 4096 - 64;
        if (i == 4) cell->at++;
        assert_int_equal(shmc_bcast_next_bytes(&sub), SHMC_ECORRUPT);
        assert_int_equal(i % 2 ? shmc_bcast_borrow(&sub, &view)
                               : bcast_recv(&sub, 0, 0), SHMC_ECORRUPT);
        assert_int_equal(shmc_bcast_lost(&sub), before + 1);
        assert_int_equal(bcast_send(&pub, i, 200), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, i, 200), SHMC_OK);
    }
    ring_end(&r);
}

static void
a_damaged_arena_is_told(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .arena_bytes = 2304 };
    ring r;
    shmc_bcast pub;

    ring_make(&r, &desc, 0);
    ring_open(&r, &pub, SHMC_PRODUCER);
    for (uint64_t span = 0; span < 4; span++) {
        static const uint64_t bad[] = { 0, 63, 1u << 20, UINT64_MAX };
        while (pub.head - pub.low < 1100)
            assert_int_equal(bcast_send(&pub, 0, 500), SHMC_OK);
        shmi_bcast_record_shm *old =
            shmi_bcast_record(&pub, pub.low % pub.arena_bytes);
        const uint64_t good = old->span;
        old->span = bad[span];
        int how = SHMC_OK;
        while (how == SHMC_OK) how = bcast_send(&pub, 0, 500);
        assert_int_equal(how, SHMC_ECORRUPT);
        assert_int_equal(bcast_send(&pub, 0, 90), SHMC_OK);
        old->span = good;
        assert_int_equal(bcast_send(&pub, 0, 500), SHMC_OK);
    }
    ring_end(&r);
}

static void
a_damaged_cursor_is_stored_again(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .mode = SHMC_RELIABLE };
    ring r;
    shmc_bcast pub, sub;

    ring_make(&r, &desc, 0);
    ring_open(&r, &pub, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(bcast_send(&pub, i, 40), SHMC_OK);
        assert_int_equal(bcast_recv(&sub, i, 40), SHMC_OK);
    }
    *sub.cursor -= 1000000;                 /* as if hopelessly behind      */
    uint64_t n = 20;
    for (; n < 40; n++) if (bcast_send(&pub, n, 40) != SHMC_OK) break;
    assert_true(n < 40);
    for (uint64_t i = 20; i < n; i++)
        assert_int_equal(bcast_recv(&sub, i, 40), SHMC_OK);
    *sub.cursor -= 1000000;
    nothing(&sub);
    assert_int_equal(bcast_send(&pub, n, 40), SHMC_OK);
    ring_end(&r);
}

/* ---- waiting ----------------------------------------------------------- */

typedef struct later {
    pthread_t thread;
    void (*what)(void *arg);
    void *arg;
} later;

static void *
later_run(void *arg)
{
    later *l = arg;

    test_sleep_ms(30);
    l->what(l->arg);
    return NULL;
}

static void
later_begin(later *l, void (*what)(void *), void *arg)
{
    l->what = what;
    l->arg = arg;
    assert_int_equal(pthread_create(&l->thread, NULL, later_run, l), 0);
}

static void
later_end(later *l)
{
    assert_int_equal(pthread_join(l->thread, NULL), 0);
}

static void
later_send(void *h)
{
    TEST_REQUIRE(shmc_bcast_send(h, "x", 1) == SHMC_OK);
}

static void
later_receive(void *h)
{
    uint8_t buf[40];

    TEST_REQUIRE(shmc_bcast_recv(h, buf, sizeof buf) == 40);
}

static void
later_close(void *h)
{
    TEST_REQUIRE(shmc_bcast_close(h) == SHMC_OK);
}

static void
later_kill_publisher(void *h)
{
    shmc_bcast *dead = h;
    shmi_store_rel_64(&dead->pubs[dead->seat].owner, BCAST_DEAD);
}

static void
later_kill_subscriber(void *h)
{
    shmc_bcast *dead = h;
    shmi_store_rel_64(&dead->subs[dead->seat].word[SHMI_SUB_ACTIVE], BCAST_DEAD);
    shmi_store_rel_64(&dead->subs[dead->seat].owner, BCAST_DEAD);
}

static void
a_sleeping_subscriber_is_woken(void **state)
{
    (void)state;
    for (uint32_t wake = SHMC_WAKE_FENCE; wake <= SHMC_WAKE_ASYMMETRIC; wake++) {
        for (uint32_t publishers = 1; publishers <= 4; publishers += 3) {
            const shmc_bcast_desc desc = { .max_publishers = publishers,
                                           .waitable = 1 };
            ring r;
            shmc_bcast pub, sub;
            later l;
            uint8_t buf[8];
            const void *view;

            ring_make(&r, &desc, wake);
            ring_open(&r, &pub, SHMC_PRODUCER);
            ring_open(&r, &sub, SHMC_CONSUMER);
            assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, 3000000),
                             SHMC_ETIMEDOUT);
            later_begin(&l, later_send, &pub);
            assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, -1), 1);
            later_end(&l);
            later_begin(&l, later_send, &pub);
            assert_int_equal(shmc_bcast_borrow_wait(&sub, &view, -1), 1);
            assert_int_equal(shmc_bcast_release(&sub), SHMC_OK);
            later_end(&l);
            ring_end(&r);
        }
    }
}

static void
a_sleeping_publisher_gets_room_from_reader_leaver_or_dead(void **state)
{
    (void)state;
    static void (*const way[])(void *) = { later_receive, later_close,
                                           later_kill_subscriber };
    for (uint32_t wake = SHMC_WAKE_FENCE; wake <= SHMC_WAKE_ASYMMETRIC; wake++) {
        for (int i = 0; i < 3; i++) {
            const shmc_bcast_desc desc = { .waitable = 1, .mode = SHMC_RELIABLE };
            ring r;
            shmc_bcast pub, sub;
            later l;
            uint8_t buf[40] = { 0 };

            ring_make(&r, &desc, wake);
            ring_open(&r, &pub, SHMC_PRODUCER);
            ring_open(&r, &sub, SHMC_CONSUMER);
            for (int n = 0; n < SLOTS; n++)
                assert_int_equal(shmc_bcast_send_wait(&pub, buf, 40, -1), SHMC_OK);
            assert_int_equal(shmc_bcast_send_wait(&pub, buf, 40, 0), SHMC_EAGAIN);
            assert_int_equal(shmc_bcast_send_wait(&pub, buf, 40, 3000000),
                             SHMC_ETIMEDOUT);
            later_begin(&l, way[i], &sub);
            assert_int_equal(shmc_bcast_send_wait(&pub, buf, 40, -1), SHMC_OK);
            later_end(&l);
            ring_end(&r);
        }
    }
}

static void
a_sleeping_subscriber_notices_a_death_that_rings_no_bell(void **state)
{
    (void)state;
    const shmc_bcast_desc desc = { .waitable = 1 };
    ring r;
    shmc_bcast dead, other, sub;
    later l;
    uint8_t buf[8];

    ring_make(&r, &desc, 0);
    ring_open(&r, &dead, SHMC_PRODUCER);
    ring_open(&r, &other, SHMC_PRODUCER);
    ring_open(&r, &sub, SHMC_CONSUMER);
    for (int i = 0; i < 3; i++) {
        shmc_bcast again;
        (void)bcast_stop_claimed(i == 0 ? &dead : &again);
        assert_int_equal(shmc_bcast_send(&other, "y", 1), SHMC_OK);
        assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, 5000000),
                         SHMC_ETIMEDOUT);
        later_begin(&l, later_kill_publisher, &dead);
        assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, -1), 1);
        assert_int_equal(buf[0], 'y');
        later_end(&l);
        assert_int_equal(shmc_bcast_recv_wait(&sub, buf, 8, 3000000),
                         SHMC_ETIMEDOUT);
        ring_open(&r, &again, SHMC_PRODUCER);
        assert_int_equal(again.seat, dead.seat);
    }
    assert_int_equal(sub.passed, 3);
    ring_end(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(a_lone_publisher_that_died_before_tail_moved_is_continued),
        TEST_CASE(a_lone_publisher_that_died_while_writing_loses_only_that),
        TEST_CASE(the_position_of_a_dead_publisher_is_passed),
        TEST_CASE(a_dead_publisher_with_nobody_behind_it_holds_up_nobody),
        TEST_CASE(many_empty_positions_in_a_row_are_passed),
        TEST_CASE(a_successor_goes_on_in_the_arena),
        TEST_CASE(a_loan_of_the_dead_is_written_over),
        TEST_CASE(a_record_that_was_never_published_does_not_block_its_arena),
        TEST_CASE(a_dead_subscriber_is_given_up),
        TEST_CASE(a_subscriber_that_died_sitting_down_holds_nobody_up),
        TEST_CASE(a_stopped_publisher_is_passed_for_laps_and_then_goes_on),
        TEST_CASE(a_stopped_publisher_loses_nothing_in_a_reliable_ring),
        TEST_CASE(stopped_publishers_in_all_cells_leave_no_room),
        TEST_CASE(damaged_stamps_are_replaced_within_a_lap),
        TEST_CASE(a_damaged_tail_is_told_or_counted),
        TEST_CASE(a_damaged_cell_is_told_and_passed),
        TEST_CASE(a_damaged_arena_is_told),
        TEST_CASE(a_damaged_cursor_is_stored_again),
        TEST_CASE(a_sleeping_subscriber_is_woken),
        TEST_CASE(a_sleeping_publisher_gets_room_from_reader_leaver_or_dead),
        TEST_CASE(a_sleeping_subscriber_notices_a_death_that_rings_no_bell),
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("bcast_recovery", tests, NULL, NULL);
}
