/* Fuzzes the queue of fixed slots: any sequence of calls of both sides must
 * answer as a plain model does.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_ring.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 24 };                 /* slots at a time                      */

typedef struct world {
    uint8_t *mem, *batch;           /* batch: MOST messages of the caller's */
    uint64_t bytes;
    uint32_t slot, count, stride;
    bool     waitable;
    shmc_spsc p, c, o;
    uint64_t pushed, popped;        /* the model: messages are numbered     */
    uint32_t loaned, borrowed;
} world;

static uint32_t
used(const world *w) { return (uint32_t)(w->pushed - w->popped); }

static uint32_t
least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Slots up to where the ring wraps, from an index on.                     */
static uint32_t
piece(const world *w, const shmc_spsc *q)
{
    return w->count - (uint32_t)(q->lane.mine & (w->count - 1));
}

/* What a call that moves up to `want` answers, where `can` may be moved.  */
static int
moves(uint32_t want, uint32_t can, bool holding)
{
    if (holding || want == 0) return SHMC_EINVAL;
    if (can == 0) return SHMC_EAGAIN;
    return (int)least(want, can);
}

static void
push(world *w, bool waiting)
{
    int should = moves(1, w->count - used(w), w->loaned != 0);

    if (should == 1) should = SHMC_OK;
    if (waiting && !w->waitable) should = SHMC_ENOTSUP;
    fuzz_write(w->batch, w->slot, w->pushed);
    FUZZ_EQUAL(waiting ? shmc_spsc_push_wait(&w->p, w->batch, w->slot, 0)
                       : shmc_spsc_push(&w->p, w->batch, w->slot), should);
    if (should == SHMC_OK) w->pushed++;
}

static void
pop(world *w, bool waiting)
{
    int should = moves(1, used(w), w->borrowed != 0);

    if (should == 1) should = SHMC_OK;
    if (waiting && !w->waitable) should = SHMC_ENOTSUP;
    FUZZ_EQUAL(waiting ? shmc_spsc_pop_wait(&w->c, w->batch, w->slot, 0)
                       : shmc_spsc_pop(&w->c, w->batch, w->slot), should);
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(fuzz_reads(w->batch, w->slot, w->popped));
    w->popped++;
}

static void
push_n(world *w, uint32_t want)
{
    const int should = moves(want, w->count - used(w), w->loaned != 0);

    for (uint32_t i = 0; i < want; i++)
        fuzz_write(w->batch + i * w->slot, w->slot, w->pushed + i);
    FUZZ_EQUAL(shmc_spsc_push_n(&w->p, w->batch, w->slot, want), should);
    if (should > 0) w->pushed += (uint32_t)should;
}

static void
pop_n(world *w, uint32_t want)
{
    const int should = moves(want, used(w), w->borrowed != 0);

    FUZZ_EQUAL(shmc_spsc_pop_n(&w->c, w->batch, w->slot, want), should);
    for (int i = 0; i < should; i++, w->popped++)
        FUZZ_REQUIRE(fuzz_reads(w->batch + (uint32_t)i * w->slot, w->slot,
                                w->popped));
}

static void
loan(world *w, uint32_t want)
{
    const int should = moves(want, least(piece(w, &w->p), w->count - used(w)),
                             w->loaned != 0);
    void *slots = NULL;

    FUZZ_EQUAL(shmc_spsc_loan(&w->p, &slots, want), should);
    if (should < 0) return;
    w->loaned = (uint32_t)should;
    FUZZ_REQUIRE(fuzz_inside(w->mem + 640, w->bytes - 640, slots,
                             (uint64_t)w->loaned * w->stride));
    for (uint32_t i = 0; i < w->loaned; i++)
        fuzz_write((uint8_t *)slots + i * w->stride, w->slot, w->pushed + i);
}

static void
commit(world *w, uint32_t count)
{
    const bool good = w->loaned != 0 && count <= w->loaned;

    FUZZ_EQUAL(shmc_spsc_commit(&w->p, count), good ? SHMC_OK : SHMC_EINVAL);
    if (!good) return;
    w->pushed += count;
    w->loaned = 0;
}

static void
give_up(world *w)
{
    FUZZ_EQUAL(shmc_spsc_abort(&w->p), w->loaned ? SHMC_OK : SHMC_EINVAL);
    w->loaned = 0;
}

static void
borrow(world *w, uint32_t want)
{
    const int should = moves(want, least(piece(w, &w->c), used(w)),
                             w->borrowed != 0);
    const void *slots = NULL;

    FUZZ_EQUAL(shmc_spsc_borrow(&w->c, &slots, want), should);
    if (should < 0) return;
    w->borrowed = (uint32_t)should;
    FUZZ_REQUIRE(fuzz_inside(w->mem + 640, w->bytes - 640, slots,
                             (uint64_t)w->borrowed * w->stride));
    for (uint32_t i = 0; i < w->borrowed; i++)
        FUZZ_REQUIRE(fuzz_reads((const uint8_t *)slots + i * w->stride, w->slot,
                                w->popped + i));
}

static void
release(world *w, uint32_t count)
{
    const bool good = w->borrowed != 0 && count <= w->borrowed;

    FUZZ_EQUAL(shmc_spsc_release(&w->c, count), good ? SHMC_OK : SHMC_EINVAL);
    if (!good) return;
    w->popped += count;
    w->borrowed = 0;
}

/* Calls that must be refused.                                             */
static void
misuse(world *w, uint32_t bytes)
{
    if (bytes == w->slot) bytes++;
    FUZZ_EQUAL(shmc_spsc_push(&w->p, w->batch, bytes),
               w->loaned ? SHMC_EINVAL : SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_spsc_pop(&w->c, w->batch, bytes),
               w->borrowed ? SHMC_EINVAL : SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_spsc_push(&w->c, w->batch, w->slot), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_spsc_pop(&w->p, w->batch, w->slot), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_spsc_pop(&w->o, w->batch, w->slot), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_spsc_commit(&w->c, 0), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_spsc_release(&w->p, 0), SHMC_EINVAL);
}

static void
reopen(world *w, bool producer)
{
    shmc_spsc *q = producer ? &w->p : &w->c;

    FUZZ_EQUAL(shmc_spsc_close(q), SHMC_OK);
    FUZZ_EQUAL(shmc_spsc_close(q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_spsc_push(q, w->batch, w->slot), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_spsc_map(q, w->mem, w->bytes, producer ? SHMC_PRODUCER
                                                           : SHMC_CONSUMER),
               SHMC_OK);
    if (producer) w->loaned = 0;
    else w->borrowed = 0;
}

static void
look(const world *w)
{
    shmc_spsc_stats s;

    FUZZ_EQUAL(shmc_spsc_used(&w->o), used(w));
    FUZZ_EQUAL(shmc_spsc_free(&w->p), w->count - used(w));
    FUZZ_EQUAL(shmc_spsc_stats_get(&w->o, &s), SHMC_OK);
    FUZZ_EQUAL(s.pushed - s.popped, used(w));
    FUZZ_EQUAL(s.slot_count, w->count);
    FUZZ_EQUAL(s.slot_bytes, w->slot);
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t op = fuzz_u8(in);
    const uint32_t n = (op >> 4) + (uint32_t)(op & 8);      /* up to 23     */

    switch (op & 15) {
    case 0:  push(w, false); break;
    case 1:  pop(w, false); break;
    case 2: case 10: push_n(w, n); break;
    case 3: case 11: pop_n(w, n); break;
    case 4:  loan(w, n); break;
    case 5:  commit(w, n); break;
    case 6:  borrow(w, n); break;
    case 7:  release(w, n); break;
    case 8:  push(w, true); break;
    case 9:  pop(w, true); break;
    case 12: give_up(w); break;
    case 13: look(w); break;
    case 14: reopen(w, n & 1); break;
    default: misuse(w, n); break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    shmc_spsc_desc d = { 0 };
    world w = { 0 };

    shmc_log_set(NULL, NULL, 0);
    d.slot_bytes = w.slot = 1 + fuzz_u8(&in) % 41u;
    const uint8_t shape = fuzz_u8(&in);
    d.slot_count = w.count = 1u << (shape & 3) << (shape >> 2 & 1);
    d.waitable = w.waitable = (shape & 8) != 0;
    w.stride = (w.slot + 7) & ~7u;
    w.bytes = (uint64_t)shmc_spsc_size_for(&d);
    w.mem = fuzz_memory(w.bytes);
    w.batch = fuzz_memory(MOST * w.slot);
    FUZZ_EQUAL(shmc_spsc_format(w.mem, w.bytes, &d), SHMC_OK);
    shmi_lane_shm *shm = (shmi_lane_shm *)(void *)w.mem;
    shm->tail.index = shm->head.index = fuzz_start(&in);
    FUZZ_EQUAL(shmc_spsc_map(&w.p, w.mem, w.bytes, SHMC_PRODUCER), SHMC_OK);
    FUZZ_EQUAL(shmc_spsc_map(&w.c, w.mem, w.bytes, SHMC_CONSUMER), SHMC_OK);
    FUZZ_EQUAL(shmc_spsc_map(&w.o, w.mem, w.bytes, SHMC_OBSERVER), SHMC_OK);
    while (fuzz_more(&in)) step(&w, &in);
    look(&w);
    if (w.borrowed) release(&w, 0);
    while (used(&w) != 0) pop(&w, false);
    pop(&w, false);
    free(w.batch);
    free(w.mem);
    return 0;
}
