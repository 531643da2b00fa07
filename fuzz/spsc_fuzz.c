/* Fuzzes the queue of fixed slots: any sequence of calls of both sides must
 * answer as a plain model does, also where a side dies and another takes its
 * place.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_ring.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 24 };                 /* slots at a time                      */

typedef struct side {
    shmc_spsc q;
    shmc_segment s;                 /* where there is one                   */
    bool died, told;                /* its last holder; and the peer knows  */
} side;

typedef struct world {
    shmc_spsc_desc d;
    uint8_t *mem, *ring, *batch;    /* batch: MOST messages of the caller's */
    uint64_t bytes, ring_bytes;
    uint32_t slot, count, stride;
    bool     waitable, mortal;      /* mortal: in a segment                 */
    side     p, c, o;
    uint64_t pushed, popped;        /* the model: messages are numbered     */
    uint32_t loaned, borrowed;
} world;

static uint32_t
used(const world *w) { return (uint32_t)(w->pushed - w->popped); }

static uint32_t
least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Slots up to where the ring wraps, from an index on.                     */
static uint32_t
piece(const world *w, const side *s)
{
    return w->count - (uint32_t)(s->q.lane.mine & (w->count - 1));
}

/* What a call that moves up to `want` answers, where `can` may be moved.  */
static int
moves(uint32_t want, uint32_t can, bool holding)
{
    if (holding || want == 0) return SHMC_EINVAL;
    if (can == 0) return SHMC_EAGAIN;
    return (int)least(want, can);
}

/* Who rings must have woken whoever says that he sleeps.                  */
static void
check_bell(const world *w, const shmi_bell_shm *bell, int moved)
{
    FUZZ_REQUIRE(moved <= 0 || !w->waitable || bell->asleep == 0);
}

/* The answer of a call that waits: what a try answers, or that time is up,
 * or once that the peer died.                                             */
static void
waited(int is, int should, int64_t timeout_ns, side *peer)
{
    if (should != SHMC_EAGAIN || timeout_ns == 0) {
        FUZZ_EQUAL(is, should);
    } else if (is == SHMC_EPEERDEAD) {
        FUZZ_REQUIRE(peer->died && !peer->told);
        peer->told = true;
    } else {
        FUZZ_EQUAL(is, SHMC_ETIMEDOUT);
    }
}

static void
push(world *w, int64_t timeout_ns)
{
    int should = moves(1, w->count - used(w), w->loaned != 0);

    if (should == 1) should = SHMC_OK;
    fuzz_write(w->batch, w->slot, w->pushed);
    if (timeout_ns < 0) {
        FUZZ_EQUAL(shmc_spsc_push(&w->p.q, w->batch, w->slot), should);
    } else {
        if (!w->waitable) should = SHMC_ENOTSUP;
        waited(shmc_spsc_push_wait(&w->p.q, w->batch, w->slot, timeout_ns),
               should, timeout_ns, &w->c);
    }
    if (should != SHMC_OK) return;
    w->pushed++;
    check_bell(w, &w->p.q.lane.shm->readable, 1);
}

static void
pop(world *w, int64_t timeout_ns)
{
    int should = moves(1, used(w), w->borrowed != 0);

    if (should == 1) should = SHMC_OK;
    if (timeout_ns < 0) {
        FUZZ_EQUAL(shmc_spsc_pop(&w->c.q, w->batch, w->slot), should);
    } else {
        if (!w->waitable) should = SHMC_ENOTSUP;
        waited(shmc_spsc_pop_wait(&w->c.q, w->batch, w->slot, timeout_ns),
               should, timeout_ns, &w->p);
    }
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(fuzz_reads(w->batch, w->slot, w->popped));
    w->popped++;
    check_bell(w, &w->c.q.lane.shm->writable, 1);
}

static void
push_n(world *w, uint32_t want)
{
    const int should = moves(want, w->count - used(w), w->loaned != 0);

    for (uint32_t i = 0; i < want; i++)
        fuzz_write(w->batch + i * w->slot, w->slot, w->pushed + i);
    FUZZ_EQUAL(shmc_spsc_push_n(&w->p.q, w->batch, w->slot, want), should);
    if (should > 0) w->pushed += (uint32_t)should;
    check_bell(w, &w->p.q.lane.shm->readable, should);
}

static void
pop_n(world *w, uint32_t want)
{
    const int should = moves(want, used(w), w->borrowed != 0);

    FUZZ_EQUAL(shmc_spsc_pop_n(&w->c.q, w->batch, w->slot, want), should);
    for (int i = 0; i < should; i++, w->popped++)
        FUZZ_REQUIRE(fuzz_reads(w->batch + (uint32_t)i * w->slot, w->slot,
                                w->popped));
    check_bell(w, &w->c.q.lane.shm->writable, should);
}

static void
loan(world *w, uint32_t want)
{
    const int should = moves(want, least(piece(w, &w->p), w->count - used(w)),
                             w->loaned != 0);
    void *slots = NULL;

    FUZZ_EQUAL(shmc_spsc_loan(&w->p.q, &slots, want), should);
    if (should < 0) return;
    w->loaned = (uint32_t)should;
    FUZZ_REQUIRE(fuzz_inside(w->ring + 640, w->ring_bytes - 640, slots,
                             (uint64_t)w->loaned * w->stride));
    for (uint32_t i = 0; i < w->loaned; i++)
        fuzz_write((uint8_t *)slots + i * w->stride, w->slot, w->pushed + i);
}

static void
commit(world *w, uint32_t count)
{
    const bool good = w->loaned != 0 && count <= w->loaned;

    FUZZ_EQUAL(shmc_spsc_commit(&w->p.q, count), good ? SHMC_OK : SHMC_EINVAL);
    if (!good) return;
    w->pushed += count;
    w->loaned = 0;
    check_bell(w, &w->p.q.lane.shm->readable, (int)count);
}

static void
give_up(world *w)
{
    FUZZ_EQUAL(shmc_spsc_abort(&w->p.q), w->loaned ? SHMC_OK : SHMC_EINVAL);
    w->loaned = 0;
}

static void
borrow(world *w, uint32_t want)
{
    const int should = moves(want, least(piece(w, &w->c), used(w)),
                             w->borrowed != 0);
    const void *slots = NULL;

    FUZZ_EQUAL(shmc_spsc_borrow(&w->c.q, &slots, want), should);
    if (should < 0) return;
    w->borrowed = (uint32_t)should;
    FUZZ_REQUIRE(fuzz_inside(w->ring + 640, w->ring_bytes - 640, slots,
                             (uint64_t)w->borrowed * w->stride));
    for (uint32_t i = 0; i < w->borrowed; i++)
        FUZZ_REQUIRE(fuzz_reads((const uint8_t *)slots + i * w->stride, w->slot,
                                w->popped + i));
}

static void
release(world *w, uint32_t count)
{
    const bool good = w->borrowed != 0 && count <= w->borrowed;

    FUZZ_EQUAL(shmc_spsc_release(&w->c.q, count), good ? SHMC_OK : SHMC_EINVAL);
    if (!good) return;
    w->popped += count;
    w->borrowed = 0;
    check_bell(w, &w->c.q.lane.shm->writable, (int)count);
}

/* Every call of the wrong side, or of no side at all, with the same answer. */
static void
refused(const world *w, shmc_spsc *q, bool push_too, bool pop_too, int code)
{
    void *slots = w->batch;
    const void *view = w->batch;

    if (push_too) {
        FUZZ_EQUAL(shmc_spsc_push(q, w->batch, w->slot), code);
        FUZZ_EQUAL(shmc_spsc_push_n(q, w->batch, w->slot, 1), code);
        FUZZ_EQUAL(shmc_spsc_push_wait(q, w->batch, w->slot, -1), code);
        FUZZ_EQUAL(shmc_spsc_loan(q, &slots, 1), code);
        FUZZ_REQUIRE(slots == NULL);
        FUZZ_EQUAL(shmc_spsc_commit(q, 0), code);
        FUZZ_EQUAL(shmc_spsc_abort(q), code);
    }
    if (pop_too) {
        FUZZ_EQUAL(shmc_spsc_pop(q, w->batch, w->slot), code);
        FUZZ_EQUAL(shmc_spsc_pop_n(q, w->batch, w->slot, 1), code);
        FUZZ_EQUAL(shmc_spsc_pop_wait(q, w->batch, w->slot, -1), code);
        FUZZ_EQUAL(shmc_spsc_borrow(q, &view, 1), code);
        FUZZ_REQUIRE(view == NULL);
        FUZZ_EQUAL(shmc_spsc_release(q, 0), code);
    }
}

/* Calls that must be refused.                                             */
static void
misuse(world *w, uint32_t bytes)
{
    shmc_spsc_stats s;

    if (bytes == w->slot) bytes++;
    FUZZ_EQUAL(shmc_spsc_push(&w->p.q, w->batch, bytes),
               w->loaned ? SHMC_EINVAL : SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_spsc_pop(&w->c.q, w->batch, bytes),
               w->borrowed ? SHMC_EINVAL : SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_spsc_push_n(&w->p.q, w->batch, bytes, 1),
               w->loaned ? SHMC_EINVAL : SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_spsc_pop_n(&w->c.q, w->batch, bytes, 1),
               w->borrowed ? SHMC_EINVAL : SHMC_EMSGSIZE);
    refused(w, &w->c.q, true, false, SHMC_EINVAL);
    refused(w, &w->p.q, false, true, SHMC_EINVAL);
    refused(w, &w->o.q, true, true, SHMC_EINVAL);
    shmi_fork_epoch++;              /* as the handles look to a child       */
    refused(w, &w->p.q, true, true, SHMC_EFORKED);
    refused(w, &w->c.q, true, true, SHMC_EFORKED);
    FUZZ_EQUAL(shmc_spsc_stats_get(&w->o.q, &s), SHMC_EFORKED);
    shmi_fork_epoch--;
}

static void
open_side(world *w, side *s, uint32_t role)
{
    memset(s, 0, sizeof *s);
    if (w->mortal) {
        FUZZ_EQUAL(shmc_segment_map(&s->s, w->mem, w->bytes), SHMC_OK);
        FUZZ_EQUAL(shmc_spsc_open(&s->q, &s->s, "q", &w->d, role), SHMC_OK);
    } else {
        FUZZ_EQUAL(shmc_spsc_map(&s->q, w->mem, w->bytes, role), SHMC_OK);
    }
}

static void
close_side(world *w, side *s)
{
    shmc_spsc_stats stats;

    FUZZ_EQUAL(shmc_spsc_close(&s->q), SHMC_OK);
    FUZZ_EQUAL(shmc_spsc_close(&s->q), SHMC_ECLOSED);
    refused(w, &s->q, true, true, SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_spsc_stats_get(&s->q, &stats), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_spsc_used(&s->q), 0);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_close(&s->s), SHMC_OK);
}

/* Another takes the side: after its holder has left, or in a segment died,
 * before the other side looks or after.                                   */
static void
reopen(world *w, bool producer, uint32_t how)
{
    side *s = producer ? &w->p : &w->c;
    const uint32_t role = producer ? SHMC_PRODUCER : SHMC_CONSUMER;
    shmc_spsc q;

    if (w->mortal)
        FUZZ_EQUAL(shmc_spsc_open(&q, &w->o.s, "q", &w->d, role), SHMC_EBUSY);
    if (w->mortal && (how & 1)) {
        FUZZ_EQUAL(shmc_segment_close(&s->s), SHMC_OK);
        s->died = true;
        if (how & 2 && producer) pop(w, 1);
        else if (how & 2) push(w, 1);
    } else {
        close_side(w, s);
    }
    if (producer) w->loaned = 0;
    else w->borrowed = 0;
    open_side(w, s, role);
}

static void
look(world *w, bool asleep)
{
    shmc_spsc_stats s;

    FUZZ_EQUAL(shmc_spsc_used(&w->o.q), used(w));
    FUZZ_EQUAL(shmc_spsc_free(&w->o.q), w->count - used(w));
    FUZZ_EQUAL(shmc_spsc_stats_get(&w->o.q, &s), SHMC_OK);
    FUZZ_EQUAL(s.pushed - s.popped, used(w));
    FUZZ_REQUIRE(s.slot_count == w->count && s.slot_bytes == w->slot);
    FUZZ_REQUIRE(s.waitable == w->waitable && s.used == used(w));
    FUZZ_REQUIRE(s.producer_alive && s.consumer_alive);
    FUZZ_REQUIRE(s.producer_pid == s.consumer_pid && s.producer_pid != 0);
    if (!asleep) return;
    w->p.q.lane.shm->readable.asleep = w->p.q.lane.shm->writable.asleep = 1;
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t op = fuzz_u8(in);
    const uint32_t n = op >> 4 | (op & 1 ? 16 : 0);

    switch (op & 15) {
    case 0:  push(w, -1); break;
    case 1:  pop(w, -1); break;
    case 2: case 10: push_n(w, n % MOST); break;
    case 3: case 11: pop_n(w, n % MOST); break;
    case 4:  loan(w, n); break;
    case 5:  commit(w, n & 15); break;
    case 6:  borrow(w, n); break;
    case 7:  release(w, n & 15); break;
    case 8:  push(w, n >> 3 & 1); break;
    case 9:  pop(w, n >> 3 & 1); break;
    case 12: give_up(w); break;
    case 13: look(w, n & 2); break;
    case 14: reopen(w, n & 1, n >> 1); break;
    default: misuse(w, n); break;
    }
}

/* Make the queue, in memory of its own or in a segment, beginning at an
 * index other than 0.                                                     */
static void
create(world *w, fuzz_input *in)
{
    const shmc_segment_desc sd = { .heap_bytes = 4096, .max_objects = 1,
                                   .max_participants = 4 };

    w->bytes = (uint64_t)(w->mortal ? shmc_segment_size_for(&sd)
                                    : shmc_spsc_size_for(&w->d));
    w->mem = fuzz_room(w->bytes, in->size & 1);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_format(w->mem, w->bytes, &sd), 0);
    else FUZZ_EQUAL(shmc_spsc_format(w->mem, w->bytes, &w->d), SHMC_OK);
    open_side(w, &w->p, SHMC_PRODUCER);
    shmi_lane_shm *shm = w->p.q.lane.shm;
    w->ring = (uint8_t *)shm;
    w->ring_bytes = w->mortal ? w->p.q.lane.object.bytes : w->bytes;
    shm->tail.index = shm->head.index = fuzz_start(in);
    close_side(w, &w->p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    world w = { 0 };

    shmc_log_set(NULL, NULL, 0);
    w.d.slot_bytes = w.slot = 1 + fuzz_u8(&in) % 41u;
    const uint8_t shape = fuzz_u8(&in);
    w.d.slot_count = w.count = 1u << (shape & 3) << (shape >> 2 & 1);
    w.d.waitable = w.waitable = (shape & 8) != 0;
    w.mortal = (shape & 16) != 0;
    w.stride = (w.slot + 7) & ~7u;
    w.batch = fuzz_memory(MOST * w.slot);
    create(&w, &in);
    open_side(&w, &w.p, SHMC_PRODUCER);
    open_side(&w, &w.c, SHMC_CONSUMER);
    open_side(&w, &w.o, SHMC_OBSERVER);
    while (fuzz_more(&in)) step(&w, &in);
    look(&w, false);
    if (w.borrowed) release(&w, 0);
    while (used(&w) != 0) pop(&w, -1);
    pop(&w, -1);
    close_side(&w, &w.p);
    close_side(&w, &w.c);
    close_side(&w, &w.o);
    free(w.batch);
    return 0;
}
