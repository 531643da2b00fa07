/* Indices, positions, stamps and generations that go over the end of their
 * 32, 48, 62, 63 or 64 bits: in the middle of batches, with loans and borrows
 * out, across takeovers, and with dead peers on both sides of the end.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"

#include "bcast_support.h"

#define BITS(n) (UINT64_C(1) << (n))

static const uint64_t ends[] = { BITS(32), BITS(48), BITS(62), BITS(63), 0 };
enum { ENDS = sizeof ends / sizeof ends[0], STEPS = 400, BATCH = 5 };

static uint32_t dice_state;

static uint32_t
dice(uint32_t sides)
{
    dice_state = dice_state * 1664525u + 1013904223u;
    return (dice_state >> 8) % sides;
}

static void *
memory_for(int64_t bytes)
{
    void *mem = NULL;

    assert_true(bytes > 0);
    assert_int_equal(posix_memalign(&mem, SHMC_LINE, (size_t)bytes), 0);
    memset(mem, 0x6b, (size_t)bytes);
    return mem;
}

static void
segment_open(shmc_segment *s, const char *noun)
{
    char name[64];
    const shmc_segment_desc d = { .flags = SHMC_EPHEMERAL };

    assert_int_equal(shmc_segment_open(s, test_name(name, sizeof name, noun), &d),
                     SHMC_OK);
}

/* ---- spsc: any operation at any index ------------------------------------ */

typedef struct lane_walk {
    shmc_spsc p, c;
    void *mem;
    uint64_t bytes, pushed, popped;
    uint32_t capacity;
} lane_walk;

static void
spsc_map(lane_walk *w, shmc_spsc *q, uint32_t role)
{
    assert_int_equal(shmc_spsc_map(q, w->mem, w->bytes, role), SHMC_OK);
}

static void
spsc_step_producer(lane_walk *w)
{
    const uint32_t room = w->capacity - (uint32_t)(w->pushed - w->popped);
    uint64_t v[BATCH];
    const uint32_t want = 1 + dice(BATCH);
    void *slots;

    for (uint32_t i = 0; i < BATCH; i++) v[i] = w->pushed + i;
    switch (dice(4)) {
    case 0:
        assert_int_equal(shmc_spsc_push(&w->p, v, 8), room ? SHMC_OK : SHMC_EAGAIN);
        w->pushed += room != 0;
        break;
    case 1: {
        const int n = shmc_spsc_push_n(&w->p, v, 8, want);
        assert_int_equal(n, room == 0 ? SHMC_EAGAIN
                                      : (int)(room < want ? room : want));
        if (n > 0) w->pushed += (uint32_t)n;
        break;
    }
    case 2: {
        const int n = shmc_spsc_loan(&w->p, &slots, want);
        if (room == 0) { assert_int_equal(n, SHMC_EAGAIN); break; }
        assert_true(n >= 1 && n <= (int)want && n <= (int)room);
        const uint32_t some = dice((uint32_t)n + 1);
        memcpy(slots, v, some * sizeof v[0]);
        assert_int_equal(shmc_spsc_commit(&w->p, some), SHMC_OK);
        w->pushed += some;
        break;
    }
    default:                        /* a successor, with a loan out         */
        (void)shmc_spsc_loan(&w->p, &slots, want);
        assert_int_equal(shmc_spsc_close(&w->p), SHMC_OK);
        spsc_map(w, &w->p, SHMC_PRODUCER);
    }
}

static void
spsc_step_consumer(lane_walk *w)
{
    const uint32_t used = (uint32_t)(w->pushed - w->popped);
    uint64_t v[BATCH];
    const uint32_t want = 1 + dice(BATCH);
    const void *slots = NULL;
    int n;

    assert_int_equal(shmc_spsc_used(&w->c), used);
    switch (dice(4)) {
    case 0:
        assert_int_equal(shmc_spsc_pop(&w->c, v, 8), used ? SHMC_OK : SHMC_EAGAIN);
        n = used != 0;
        break;
    case 1:
        n = shmc_spsc_pop_n(&w->c, v, 8, want);
        assert_int_equal(n, used == 0 ? SHMC_EAGAIN
                                      : (int)(used < want ? used : want));
        break;
    case 2:
        n = shmc_spsc_borrow(&w->c, &slots, want);
        if (used == 0) { assert_int_equal(n, SHMC_EAGAIN); break; }
        assert_true(n >= 1 && n <= (int)want && n <= (int)used);
        memcpy(v, slots, (size_t)n * 8);
        spsc_step_producer(w);      /* while it is out                      */
        assert_memory_equal(v, slots, (size_t)n * 8);
        n = (int)dice((uint32_t)n + 1);
        assert_int_equal(shmc_spsc_release(&w->c, (uint32_t)n), SHMC_OK);
        break;
    default:                        /* a successor, with a borrow out       */
        (void)shmc_spsc_borrow(&w->c, &slots, want);
        assert_int_equal(shmc_spsc_close(&w->c), SHMC_OK);
        spsc_map(w, &w->c, SHMC_CONSUMER);
        n = 0;
    }
    for (int i = 0; i < n; i++) assert_int_equal(v[i], w->popped + (uint32_t)i);
    if (n > 0) w->popped += (uint32_t)n;
}

static void
spsc_does_anything_across_the_end(void **state)
{
    (void)state;
    for (uint32_t e = 0; e < ENDS; e++)
        for (uint32_t count = 1; count <= 8; count *= 2) {
            const shmc_spsc_desc d = { 8, count, 0, NULL };
            lane_walk w = { .capacity = count };
            w.bytes = (uint64_t)shmc_spsc_size_for(&d);
            w.mem = memory_for((int64_t)w.bytes);
            assert_int_equal(shmc_spsc_format(w.mem, w.bytes, &d), SHMC_OK);
            shmi_lane_shm *shm = w.mem;
            shm->head.index = shm->tail.index = ends[e] - 60;
            spsc_map(&w, &w.p, SHMC_PRODUCER);
            spsc_map(&w, &w.c, SHMC_CONSUMER);
            dice_state = e * 100 + count;
            for (int i = 0; i < STEPS || w.popped < 80; i++) {
                if (dice(2)) spsc_step_producer(&w);
                else spsc_step_consumer(&w);
            }
            assert_int_equal(shm->tail.index, ends[e] - 60 + w.pushed);
            free(w.mem);
        }
}

/* ---- recq ----------------------------------------------------------------- */

static uint32_t
record_bytes(uint64_t number, uint32_t most)
{
    return (uint32_t)(number * 7 % (most + 1));
}

static void
record_check(const uint8_t *data, int bytes, uint64_t number, uint32_t most)
{
    assert_int_equal(bytes, record_bytes(number, most));
    assert_true(bcast_is(data, number, (uint32_t)bytes));
}

/* Returns how many records it pushed: 0 or 1.                              */
static uint32_t
recq_step_producer(shmc_recq *p, uint64_t number)
{
    const uint32_t most = shmc_recq_max_bytes(p), bytes = record_bytes(number, most);
    uint8_t buf[256];
    void *to;
    int r;

    if (dice(2)) {
        bcast_fill(buf, number, bytes);
        r = shmc_recq_push(p, buf, bytes);
        assert_true(r == SHMC_OK || r == SHMC_EAGAIN);
        return r == SHMC_OK;
    }
    r = shmc_recq_loan(p, most, &to);
    assert_true(r == SHMC_OK || r == SHMC_EAGAIN);
    if (r != SHMC_OK) return 0;
    bcast_fill(to, number, bytes);
    const bool commit = dice(4) != 0;
    r = commit ? shmc_recq_commit(p, bytes) : shmc_recq_abort(p);
    assert_int_equal(r, SHMC_OK);
    return commit;
}

/* Returns how many records it took for good.  *successor: the handle was
 * closed with a borrow out.                                                */
static uint32_t
recq_step_consumer(shmc_recq *c, uint64_t number, bool *successor)
{
    const uint32_t most = shmc_recq_max_bytes(c);
    uint8_t buf[256];
    const void *from;
    int r;

    *successor = false;
    if (dice(2)) {
        r = shmc_recq_pop(c, buf, sizeof buf);
        assert_true(r >= 0 || r == SHMC_EAGAIN);
        if (r >= 0) record_check(buf, r, number, most);
        return r >= 0;
    }
    r = shmc_recq_borrow(c, &from);
    assert_true(r >= 0 || r == SHMC_EAGAIN);
    if (r < 0) return 0;
    record_check(from, r, number, most);
    *successor = dice(4) == 0;
    r = *successor ? shmc_recq_close(c) : shmc_recq_release(c);
    assert_int_equal(r, SHMC_OK);
    return !*successor;
}

static void
recq_does_anything_across_the_end(void **state)
{
    (void)state;
    for (uint32_t e = 0; e < ENDS; e++)
        for (uint32_t capacity = SHMI_RECQ_MIN_BYTES; capacity <= 256; capacity *= 2) {
            const shmc_recq_desc d = { .capacity_bytes = capacity };
            const int64_t bytes = shmc_recq_size_for(&d);
            shmi_lane_shm *shm = memory_for(bytes);
            uint64_t pushed = 0, popped = 0;
            shmc_recq p, c;
            bool successor;
            assert_int_equal(shmc_recq_format(shm, (uint64_t)bytes, &d), SHMC_OK);
            shm->head.index = shm->tail.index = ends[e] - 1000;
            assert_int_equal(shmc_recq_map(&p, shm, (uint64_t)bytes, SHMC_PRODUCER), 0);
            assert_int_equal(shmc_recq_map(&c, shm, (uint64_t)bytes, SHMC_CONSUMER), 0);
            dice_state = e * 1000 + capacity;
            while (c.lane.mine - (ends[e] - 1000) < 2000) {
                pushed += recq_step_producer(&p, pushed);
                popped += recq_step_consumer(&c, popped, &successor);
                if (successor)
                    assert_int_equal(shmc_recq_map(&c, shm, (uint64_t)bytes,
                                                   SHMC_CONSUMER), SHMC_OK);
                assert_true(pushed - popped <= capacity / 8);
            }
            free(shm);
        }
}

/* ---- mpmc ------------------------------------------------------------------ */

/* Let the next position be `pos`, in a queue that nobody uses yet.         */
static void
mpmc_seed(shmc_mpmc *q, uint64_t pos)
{
    q->shm->head = q->shm->tail = pos;
    q->patrol_pos = pos;
    for (uint64_t i = 0; i <= q->mask; i++)
        *shmi_mpmc_cell(q, shmi_mpmc_stride(q->slot_bytes), pos + i) =
            shmi_mpmc_word(pos + i, SHMI_MPMC_FREE);
}

static uint32_t
mpmc_step_producer(shmc_mpmc *q, uint64_t number, uint64_t *tombs)
{
    uint64_t v[BATCH];
    void *slot;
    int r;

    for (uint32_t i = 0; i < BATCH; i++) v[i] = number + i;
    switch (dice(3)) {
    case 0:
        r = shmc_mpmc_push(q, v, 8);
        r = r == SHMC_OK ? 1 : r;
        break;
    case 1:
        r = shmc_mpmc_push_n(q, v, 8, 1 + dice(BATCH));
        break;
    default:
        r = shmc_mpmc_loan(q, &slot);
        if (r != SHMC_OK) break;
        memcpy(slot, v, 8);
        r = dice(3) != 0;
        assert_int_equal(r ? shmc_mpmc_commit(q) : shmc_mpmc_abort(q), SHMC_OK);
        *tombs += r == 0;
    }
    assert_true(r >= 0 || r == SHMC_EAGAIN);
    return r > 0 ? (uint32_t)r : 0;
}

static uint32_t
mpmc_step_consumer(shmc_mpmc *q, uint64_t number)
{
    uint64_t v[BATCH];
    const void *slot;
    int r;

    switch (dice(3)) {
    case 0:
        r = shmc_mpmc_pop(q, v, 8);
        r = r == SHMC_OK ? 1 : r;
        break;
    case 1:
        r = shmc_mpmc_pop_n(q, v, 8, 1 + dice(BATCH));
        break;
    default:
        r = shmc_mpmc_borrow(q, &slot);
        if (r != SHMC_OK) break;
        memcpy(v, slot, 8);
        assert_int_equal(shmc_mpmc_release(q), SHMC_OK);
        r = 1;
    }
    assert_true(r >= 0 || r == SHMC_EAGAIN);
    for (int i = 0; i < r; i++) assert_int_equal(v[i], number + (uint32_t)i);
    return r > 0 ? (uint32_t)r : 0;
}

static void
mpmc_does_anything_across_the_end(void **state)
{
    (void)state;
    for (uint32_t e = 0; e < ENDS; e++)
        for (uint32_t count = 1; count <= 8; count *= 2) {
            const shmc_mpmc_desc d = { .slot_count = count };
            const int64_t bytes = shmc_mpmc_size_for(&d);
            uint64_t pushed = 0, popped = 0, tombs = 0;
            shmc_mpmc p, c;
            shmc_mpmc_stats stats;
            void *mem = memory_for(bytes);
            assert_int_equal(shmc_mpmc_format(mem, (uint64_t)bytes, &d), SHMC_OK);
            assert_int_equal(shmc_mpmc_map(&p, mem, (uint64_t)bytes, SHMC_PRODUCER), 0);
            mpmc_seed(&p, ends[e] - 60);
            assert_int_equal(shmc_mpmc_map(&c, mem, (uint64_t)bytes, SHMC_CONSUMER), 0);
            dice_state = e * 100 + count;
            while (popped < 150) {
                if (dice(2)) pushed += mpmc_step_producer(&p, pushed, &tombs);
                else popped += mpmc_step_consumer(&c, popped);
                assert_true(pushed - popped <= count);
            }
            assert_int_equal(shmc_mpmc_stats_get(&c, &stats), SHMC_OK);
            assert_int_equal(stats.tombs, tombs);
            assert_int_equal(stats.pushed, pushed + ends[e] - 60);
            free(mem);
        }
}

/* What a child claims before it is killed.                                 */
typedef struct claim {
    const char *segment;
    uint32_t role, count;
    int ready[2];
} claim;

static const shmc_mpmc_desc jobs = { .slot_bytes = 8, .slot_count = 8 };

static int
claim_and_wait(void *arg)
{
    const claim *c = arg;
    const shmc_segment_desc none = { .flags = 0 };
    shmc_segment s;
    shmc_mpmc q;
    uint64_t pos = 0;

    TEST_REQUIRE(shmc_segment_attach(&s, c->segment, &none) == SHMC_OK);
    TEST_REQUIRE(shmc_mpmc_open(&q, &s, "jobs", &jobs, c->role) == SHMC_OK);
    const uint64_t stride = shmi_mpmc_stride(8);
    const int r = c->role == SHMC_PRODUCER
                ? shmi_mpmc_claim_tail(&q, stride, c->count, &pos)
                : shmi_mpmc_claim_head(&q, stride, c->count, &pos);
    TEST_REQUIRE(r == (int)c->count);
    TEST_REQUIRE(write(c->ready[1], "x", 1) == 1);
    for (;;) pause();
    return 0;
}

static void
claim_and_die(const char *segment, uint32_t role, uint32_t count)
{
    claim c = { segment, role, count, { -1, -1 } };
    char byte;

    assert_int_equal(pipe(c.ready), 0);
    const pid_t child = test_spawn(claim_and_wait, &c);
    assert_int_equal(read(c.ready[0], &byte, 1), 1);
    test_kill(child);
    close(c.ready[0]);
    close(c.ready[1]);
}

/* Pop until `count` came, each of 0 .. count - 1 once.                     */
static void
pop_each_once(shmc_mpmc *q, uint32_t count)
{
    uint64_t v = 0, seen = 0;

    for (uint32_t got = 0; got < count;) {
        const int r = shmc_mpmc_pop(q, &v, 8);
        if (r == SHMC_EAGAIN) continue;
        assert_int_equal(r, SHMC_OK);
        assert_true(v < count && !(seen >> v & 1));
        seen |= UINT64_C(1) << v;
        got++;
    }
}

/* A batch that goes over the end, of one who died with it; in the second
 * round somebody has taken the dead one's seat.                            */
static void
mpmc_recovers_a_dead_ones_batch_across_the_end(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < ENDS * 8; k++) {
        const bool consumer = k & 1, newcomer = k & 2;
        const uint64_t first = ends[k / 8] - (k & 4 ? 2 : 1);
        char name[64];
        shmc_segment s;
        shmc_mpmc q, other;
        shmc_mpmc_stats before, stats;
        segment_open(&s, "wrap");
        test_name(name, sizeof name, "wrap");
        assert_int_equal(shmc_mpmc_open(&q, &s, "jobs", &jobs, SHMC_PRODUCER |
                                        SHMC_CONSUMER), SHMC_OK);
        mpmc_seed(&q, first);
        assert_int_equal(shmc_mpmc_stats_get(&q, &before), SHMC_OK);
        if (!consumer) claim_and_die(name, SHMC_PRODUCER, 3);
        for (uint64_t i = 0; i < 4; i++)
            assert_int_equal(shmc_mpmc_push(&q, &i, 8), SHMC_OK);
        if (consumer) claim_and_die(name, SHMC_CONSUMER, 3);
        if (newcomer)
            assert_int_equal(shmc_mpmc_open(&other, &s, "jobs", &jobs,
                                            SHMC_CONSUMER), SHMC_OK);
        pop_each_once(newcomer ? &other : &q, 4);
        uint64_t v;
        assert_int_equal(shmc_mpmc_pop(&q, &v, 8), SHMC_EAGAIN);
        assert_int_equal(shmc_mpmc_stats_get(&q, &stats), SHMC_OK);
        assert_int_equal(stats.redelivered, consumer ? 3 : 0);
        assert_int_equal(stats.tombs, consumer ? 0 : 3);
        assert_int_equal(stats.popped - before.popped, 4);
        for (uint64_t i = 0; i < 8; i++)        /* a whole lap later        */
            assert_int_equal(shmc_mpmc_push(&q, &i, 8), SHMC_OK);
        pop_each_once(&q, 8);
        if (newcomer) assert_int_equal(shmc_mpmc_close(&other), SHMC_OK);
        assert_int_equal(shmc_mpmc_close(&q), SHMC_OK);
        assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    }
}

/* ---- broadcast ------------------------------------------------------------ */

/* One of three publishers stops at each position around the end, and dies;
 * the others and all subscribers go on.                                    */
static void
bcast_passes_the_dead_around_the_end(void **state)
{
    const shmc_bcast_desc d = { .slot_count = 4, .max_bytes = 64,
                                .max_publishers = 3, .mode = SHMC_RELIABLE };

    (void)state;
    for (uint32_t k = 0; k < ENDS * 8; k++) {
        shmc_segment s;
        shmc_bcast a, dies, sub, watcher;
        segment_open(&s, "dead");
        assert_int_equal(shmc_bcast_open(&a, &s, "r", &d, SHMC_PRODUCER), SHMC_OK);
        const bcast_ring ring = { a.shm, a.object.bytes };
        assert_int_equal(shmc_bcast_close(&a), SHMC_OK);
        const uint64_t first = ends[k / 8] - k % 4;
        bcast_seed(&ring, first - 1);
        assert_int_equal(shmc_bcast_open(&a, &s, "r", &d, SHMC_PRODUCER), SHMC_OK);
        assert_int_equal(shmc_bcast_open(&dies, &s, "r", &d, SHMC_PRODUCER), 0);
        assert_int_equal(shmc_bcast_open(&sub, &s, "r", &d, SHMC_CONSUMER), 0);
        assert_int_equal(shmc_bcast_open(&watcher, &s, "r", &d, SHMC_WATCHER), 0);
        assert_int_equal(bcast_send(&a, 0, 40), SHMC_OK);
        assert_int_equal(k % 8 < 4 ? bcast_stop_claimed(&dies)
                                   : bcast_stop_busy(&dies), first);
        bcast_kill_publisher(&dies);
        uint64_t sent = 1, got = 0, seen = 0;
        for (int i = 0; got < 20 && i < 1000000; i++) {
            int r = bcast_send(&a, sent, 40);
            assert_true(r == SHMC_OK || r == SHMC_EAGAIN);
            sent += r == SHMC_OK;
            r = bcast_recv(&sub, got, 40);
            assert_true(r == SHMC_OK || r == SHMC_EAGAIN);
            got += r == SHMC_OK;
            r = bcast_recv(&watcher, seen, 40);
            if (r == SHMC_OK) seen++;
            else if (r == SHMC_ELAPPED) seen = got, watcher.next = sub.next;
            else assert_int_equal(r, SHMC_EAGAIN);
        }
        assert_int_equal(got, 20);
        assert_int_equal(shmc_bcast_lost(&sub), 0);
        (void)shmc_bcast_close(&watcher);
        (void)shmc_bcast_close(&sub);
        (void)shmc_bcast_close(&a);
        assert_int_equal(shmc_object_close(&s, &dies.object), SHMC_OK);
        assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    }
}

static void
bcast_views_across_the_end_are_whole_or_told(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < ENDS * 4; k++) {
        const shmc_bcast_desc d = { .slot_count = 2, .max_bytes = 300,
                                    .max_publishers = 1 + (k & 1),
                                    .mode = k & 2 ? SHMC_RELIABLE : SHMC_LOSSY,
                                    .arena_bytes = 1024 };
        bcast_ring ring = bcast_ring_make(&d);
        shmc_bcast pub, sub;
        const void *view;
        bcast_seed(&ring, ends[k / 4] - 1);
        bcast_at(&ring, &pub, SHMC_PRODUCER);
        bcast_at(&ring, &sub, SHMC_CONSUMER);
        for (uint64_t n = 0; n < 8; n++) {
            const uint32_t bytes = n % 2 ? 300 : 40;
            assert_int_equal(bcast_send(&pub, n, bytes), SHMC_OK);
            assert_int_equal(shmc_bcast_borrow(&sub, &view), bytes);
            assert_true(bcast_is(view, n, bytes));
            if (n == 2) {           /* filled up, or lapped, with it out    */
                uint64_t more = n + 1;
                while (more < 7 && bcast_send(&pub, more, more % 2 ? 300 : 40) == 0)
                    more++;
                assert_int_equal(more, k & 2 ? n + 2 : 7);
                const int r = shmc_bcast_release(&sub);
                assert_int_equal(r, k & 2 ? SHMC_OK : SHMC_ELAPPED);
                if (k & 2) assert_true(bcast_is(view, n, bytes));
                uint64_t next = n + 1;
                while (next < more) {
                    const int got = bcast_recv(&sub, next, next % 2 ? 300 : 40);
                    if (got == SHMC_ELAPPED) next += shmc_bcast_gap(&sub);
                    else assert_int_equal(got, SHMC_OK), next++;
                }
                n = more - 1;
            } else {
                assert_int_equal(shmc_bcast_release(&sub), SHMC_OK);
            }
        }
        assert_int_equal(shmc_bcast_close(&pub), SHMC_OK);
        assert_int_equal(shmc_bcast_close(&sub), SHMC_OK);
        bcast_ring_free(&ring);
    }
}

/* Counts of an arena's bytes do not wrap, and begin in the lower half.  From
 * its end on nobody sits down any more; who sat there before goes on.       */
static void
arenas_count_up_to_63_bits_and_on(void **state)
{
    static const uint64_t arenas[] = { 1024, 1536 };

    (void)state;
    for (uint32_t k = 0; k < (ENDS - 1) * 4; k++) {
        const uint64_t arena = arenas[k & 1], end = ends[k / 4];
        const shmc_bcast_desc d = { .slot_count = 4, .max_bytes = 300,
                                    .max_publishers = 1 + (k >> 1 & 1),
                                    .arena_bytes = arena };
        bcast_ring ring = bcast_ring_make(&d);
        shmc_bcast pub, sub;
        bcast_at(&ring, &sub, SHMC_CONSUMER);
        sub.arena_lines[0].low = sub.pubs[0].word[SHMI_PUB_HEAD] =
            (end - 1) / arena * arena - 2 * arena;
        bcast_at(&ring, &pub, SHMC_PRODUCER);
        for (uint64_t n = 0; n < 60; n++) {
            assert_int_equal(bcast_send(&pub, n, 100 + (uint32_t)n * 3), SHMC_OK);
            assert_int_equal(bcast_recv(&sub, n, 100 + (uint32_t)n * 3), SHMC_OK);
        }
        assert_true(pub.arena_lines[0].low > end);
        assert_int_equal(shmc_bcast_close(&pub), SHMC_OK);
        assert_int_equal(shmc_bcast_map(&pub, ring.mem, ring.bytes, SHMC_PRODUCER, 0),
                         end == BITS(63) ? SHMC_ECORRUPT : SHMC_OK);
        bcast_ring_free(&ring);
    }
}

/* ---- latest --------------------------------------------------------------- */

static void
latest_counts_across_32_and_63_bits(void **state)
{
    (void)state;
    for (uint32_t e = 0; e < ENDS - 1; e++) {
        const shmc_latest_desc d = { .value_bytes = 8, .slot_count = 2 };
        const int64_t bytes = shmc_latest_size_for(&d);
        shmc_latest_shm *shm = memory_for(bytes);
        shmc_latest w, r;
        const void *view;
        uint64_t v, version = 0;
        assert_int_equal(shmc_latest_format(shm, (uint64_t)bytes, &d), SHMC_OK);
        shm->writer.index = ends[e] - 4;
        assert_int_equal(shmc_latest_map(&w, shm, (uint64_t)bytes, SHMC_PRODUCER), 0);
        for (uint64_t i = 0; i < 3; i++)        /* both slots are real now  */
            assert_int_equal(shmc_latest_write(&w, &i, 8), SHMC_OK);
        assert_int_equal(shmc_latest_map(&r, shm, (uint64_t)bytes, SHMC_CONSUMER), 0);
        assert_int_equal(shmc_latest_borrow(&r, &view, &version), SHMC_OK);
        assert_int_equal(version, ends[e] - 1);
        v = 3;
        assert_int_equal(shmc_latest_write(&w, &v, 8), SHMC_OK);
        assert_int_equal(*(const uint64_t *)view, 2);
        assert_int_equal(shmc_latest_release(&r, version), SHMC_OK);
        assert_int_equal(shmc_latest_borrow(&r, &view, &version), SHMC_OK);
        assert_int_equal(version, ends[e]);
        for (v = 4; v < 6; v++) assert_int_equal(shmc_latest_write(&w, &v, 8), 0);
        assert_int_equal(shmc_latest_release(&r, version), SHMC_ELAPPED);
        assert_int_equal(shmc_latest_close(&w), SHMC_OK);       /* takeover */
        assert_int_equal(shmc_latest_map(&w, shm, (uint64_t)bytes, SHMC_PRODUCER), 0);
        assert_int_equal(shmc_latest_read(&r, &v, 8, &version), SHMC_OK);
        assert_int_equal(v, 5);
        assert_int_equal(version, ends[e] + 2);
        free(shm);
    }
}

/* 2^64 values, a thousand million a second, take 584 years.  Whoever saw the
 * last one is told; nobody gets an older value for a newer one.            */
static void
latest_ends_at_64_bits_with_an_error(void **state)
{
    const shmc_latest_desc d = { .value_bytes = 8 };
    const int64_t bytes = shmc_latest_size_for(&d);
    shmc_latest_shm *shm = memory_for(bytes);
    shmc_latest w, r;
    uint64_t v = 7;

    (void)state;
    assert_int_equal(shmc_latest_format(shm, (uint64_t)bytes, &d), SHMC_OK);
    shm->writer.index = UINT64_MAX - 1;
    assert_int_equal(shmc_latest_map(&w, shm, (uint64_t)bytes, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_latest_map(&r, shm, (uint64_t)bytes, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_latest_write(&w, &v, 8), SHMC_OK);
    assert_int_equal(shmc_latest_read(&r, &v, 8, NULL), SHMC_OK);
    assert_int_equal(shmc_latest_write(&w, &v, 8), SHMC_OK);
    assert_int_equal(shmc_latest_read(&r, &v, 8, NULL), SHMC_ECORRUPT);
    assert_int_equal(shmc_latest_write(&w, &v, 8), SHMC_OK);
    assert_int_equal(shmc_latest_read(&r, &v, 8, NULL), SHMC_ECORRUPT);
    free(shm);
}

/* ---- bells ---------------------------------------------------------------- */

#define LAST_PING BITS(63)

static int
answer_pings(void *arg)
{
    shmi_lane_shm **lanes = arg;
    const shmc_spsc_desc d = { 8, 1, 1, NULL };
    const uint64_t bytes = (uint64_t)shmc_spsc_size_for(&d);
    shmc_spsc in, out;
    uint64_t v;

    TEST_REQUIRE(shmc_spsc_map(&in, lanes[0], bytes, SHMC_CONSUMER) == 0);
    TEST_REQUIRE(shmc_spsc_map(&out, lanes[1], bytes, SHMC_PRODUCER) == 0);
    for (uint64_t i = 0;; i++) {
        TEST_REQUIRE(shmc_spsc_pop_wait(&in, &v, 8, -1) == SHMC_OK);
        if (v == LAST_PING) return 0;
        TEST_REQUIRE(v == i);
        test_sleep_ms(2 + (unsigned)i);     /* the other one falls asleep   */
        TEST_REQUIRE(shmc_spsc_push_wait(&out, &v, 8, -1) == SHMC_OK);
    }
}

static void
bells_ring_across_32_bits(void **state)
{
    const shmc_spsc_desc d = { 8, 1, 1, NULL };
    const uint64_t bytes = (uint64_t)shmc_spsc_size_for(&d);
    shmi_lane_shm *lanes[2];
    shmc_spsc in, out;
    uint64_t v;

    (void)state;
    for (int i = 0; i < 2; i++) {
        lanes[i] = test_shared(bytes);
        assert_int_equal(shmc_spsc_format(lanes[i], bytes, &d), SHMC_OK);
        lanes[i]->readable.seq = lanes[i]->writable.seq = UINT32_MAX - 3;
    }
    const pid_t child = test_spawn(answer_pings, lanes);
    assert_int_equal(shmc_spsc_map(&out, lanes[0], bytes, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_spsc_map(&in, lanes[1], bytes, SHMC_CONSUMER), 0);
    for (uint64_t i = 0; lanes[1]->readable.seq > 9; i++) {
        assert_int_equal(shmc_spsc_push_wait(&out, &i, 8, -1), SHMC_OK);
        assert_int_equal(shmc_spsc_pop_wait(&in, &v, 8, -1), SHMC_OK);
        assert_int_equal(v, i);
    }
    v = LAST_PING;
    assert_int_equal(shmc_spsc_push_wait(&out, &v, 8, -1), SHMC_OK);
    assert_int_equal(test_join(child), 0);
}

/* ---- generations and fork epochs ------------------------------------------- */

static void
participants_generations_wrap_at_47_bits(void **state)
{
    char name[64];
    shmc_segment a, b;

    (void)state;
    segment_open(&a, "generation");
    test_name(name, sizeof name, "generation");
    a.participants[1].generation = BITS(47) - 3;
    uint64_t before = 0;
    static const uint64_t then[] = { BITS(47) - 2, BITS(47) - 1, 1, 2 };
    for (size_t i = 0; i < sizeof then / sizeof then[0]; i++) {
        assert_int_equal(shmc_segment_attach(&b, name, NULL), SHMC_OK);
        assert_int_equal(b.participant, 1);
        assert_int_equal(b.generation, then[i]);
        const uint64_t owner = shmi_owner_self(&b);
        assert_true(shmi_owner_alive(&a, owner));
        assert_true(shmi_owner_alive(&b, owner));
        assert_false(shmi_owner_alive(&a, before));
        assert_true(owner != SHMI_OWNER_LOCAL && owner >> 63 == 0);
        before = owner;
        assert_int_equal(shmc_segment_close(&b), SHMC_OK);
        assert_false(shmi_owner_alive(&a, owner));
    }
    assert_int_equal(shmc_segment_close(&a), SHMC_OK);
}

static void
objects_generations_wrap_at_32_bits(void **state)
{
    const shmc_object_desc d = { .bytes = 64, .kind = SHMC_KIND_RAW };
    shmc_segment s;
    shmc_object x, y;

    (void)state;
    segment_open(&s, "objects");
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(shmc_object_open(&s, "x", &d, &x), SHMC_OK);
        if (i == 0) s.entries[x.index].generation = UINT32_MAX - 1;
        assert_int_equal(s.entries[x.index].generation, UINT32_MAX - 1 + i);
        assert_int_equal(shmc_object_attach(&s, "x", &d, &y), SHMC_OK);
        assert_ptr_equal(x.mem, y.mem);
        assert_int_equal(shmc_object_close(&s, &x), SHMC_OK);
        assert_int_equal(shmc_object_close(&s, &y), SHMC_OK);
        assert_int_equal(shmc_object_remove(&s, "x"), SHMC_OK);
        assert_int_equal(shmc_object_attach(&s, "x", &d, &y), SHMC_ENOENT);
    }
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
}

typedef struct inherited { shmc_bcast open, closed; } inherited;

static int
use_what_was_inherited(void *arg)
{
    const shmc_bcast_desc d = { .slot_count = 2, .max_bytes = 64 };
    inherited *from = arg;
    bcast_ring ring;
    shmc_bcast pub, sub;
    uint64_t v = 5;

    TEST_REQUIRE(shmc_bcast_send(&from->open, &v, 8) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_recv(&from->open, &v, 8) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_bcast_send(&from->closed, &v, 8) == SHMC_ECLOSED);
    TEST_REQUIRE(shmc_bcast_recv(&from->closed, &v, 8) == SHMC_ECLOSED);
    ring = bcast_ring_make(&d);
    bcast_at(&ring, &pub, SHMC_PRODUCER);
    bcast_at(&ring, &sub, SHMC_CONSUMER);
    TEST_REQUIRE(shmc_bcast_recv(&pub, &v, 8) == SHMC_EINVAL);
    TEST_REQUIRE(shmc_bcast_send(&sub, &v, 8) == SHMC_EINVAL);
    TEST_REQUIRE(shmc_bcast_send(&pub, &v, 8) == SHMC_OK);
    TEST_REQUIRE(shmc_bcast_recv(&sub, &v, 8) == 8 && v == 5);
    return 0;
}

/* The epoch counts forks of forks.  Broadcast handles keep it with what they
 * may do in one word, in which no epoch may look like another's.           */
static void
fork_epochs_wrap(void **state)
{
    static const uint32_t at[] = { 0, 0x3ffffffe, 0x7ffffffc, 0x7ffffffd,
                                   0x7ffffffe };
    const shmc_bcast_desc d = { .slot_count = 2, .max_bytes = 64 };

    (void)state;
    const uint32_t real = shmi_fork_epoch;
    shmc_segment s;
    segment_open(&s, "epoch");      /* from here on forks are counted       */
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        bcast_ring ring = bcast_ring_make(&d);
        inherited from;
        memset(&from, 0, sizeof from);
        shmi_fork_epoch = at[i];
        bcast_at(&ring, &from.open, SHMC_PRODUCER);
        assert_int_equal(test_join(test_spawn(use_what_was_inherited, &from)), 0);
        assert_int_equal(shmc_bcast_close(&from.open), SHMC_OK);
        bcast_ring_free(&ring);
    }
    shmi_fork_epoch = real;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(spsc_does_anything_across_the_end),
        TEST_CASE(recq_does_anything_across_the_end),
        TEST_CASE(mpmc_does_anything_across_the_end),
        TEST_CASE(mpmc_recovers_a_dead_ones_batch_across_the_end),
        TEST_CASE(bcast_passes_the_dead_around_the_end),
        TEST_CASE(bcast_views_across_the_end_are_whole_or_told),
        TEST_CASE(arenas_count_up_to_63_bits_and_on),
        TEST_CASE(latest_counts_across_32_and_63_bits),
        TEST_CASE(latest_ends_at_64_bits_with_an_error),
        TEST_CASE(bells_ring_across_32_bits),
        TEST_CASE(participants_generations_wrap_at_47_bits),
        TEST_CASE(objects_generations_wrap_at_32_bits),
        TEST_CASE(fork_epochs_wrap),
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("limits_wrap", tests, NULL, NULL);
}
