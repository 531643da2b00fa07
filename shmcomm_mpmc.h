/* shmcomm_mpmc.h - bounded queue: many producers, many consumers, any of
 * whom may be killed at any instruction.
 *
 *     shmc_mpmc q;
 *     shmc_mpmc_desc d = { .slot_bytes = sizeof(job), .waitable = 1 };
 *     shmc_mpmc_open(&q, &segment, "jobs", &d, SHMC_PRODUCER | SHMC_CONSUMER);
 *     shmc_mpmc_push(&q, &j, sizeof j);
 *     shmc_mpmc_pop_wait(&q, &j, sizeof j, -1);
 *     shmc_mpmc_close(&q);
 *
 * Manual: docs/shmcomm_mpmc.md, proof: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_MPMC_H
#define SHMCOMM_MPMC_H

#include "shmcomm_cells.h"

/* ---- constants --------------------------------------------------------- */

enum {                              /* what becomes of a dead consumer's    */
    SHMC_REDELIVER = 0,             /* message: somebody else gets it       */
    SHMC_DROP = 1                   /* it is dropped, and counted           */
};

/* ---- descs ------------------------------------------------------------- */

typedef struct shmc_mpmc_desc {     /* zero selects the default             */
    uint32_t slot_bytes;            /* of each message [8]                  */
    uint32_t slot_count;            /* power of two, 1..2^31 [1024]         */
    uint32_t max_handles;           /* producers and consumers, 1..4096 [64]*/
    uint32_t on_consumer_death;     /* SHMC_... [SHMC_REDELIVER]            */
    uint32_t waitable;              /* 1: push_wait, pop_wait may sleep [0] */
    const char *type_name;          /* checked where both sides give one    */
    uint32_t max_redeliveries;      /* then it is poison, and dropped:
                                       1..16383, or 0: no limit [0]         */
    uint32_t beside_bytes;          /* room beside each slot, for sockets:
                                       0..2^30 [0]                          */
} shmc_mpmc_desc;

typedef struct shmc_mpmc_stats {
    uint64_t pushed, popped;        /* messages                             */
    uint64_t tombs;                 /* positions given up, by abort or death*/
    uint64_t redelivered, dropped;  /* messages of consumers that died      */
    uint64_t poisoned;              /* dropped, as too many died of them    */
    uint32_t used, slot_count;      /* cells                                */
    uint32_t handles, max_handles;
} shmc_mpmc_stats;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- setup ------------------------------------------------------------- */

/* Tell how many bytes a queue takes.  Errors  SHMC_EINVAL bad desc.       */
SHMC_API int64_t shmc_mpmc_size_for(const shmc_mpmc_desc *desc);

/* Lay a queue out in the caller's memory, 128-byte aligned.
 * Safety  nobody else may use the memory meanwhile.
 * Errors  SHMC_EINVAL; SHMC_ENOSPC `bytes` is too small.                  */
SHMC_API int shmc_mpmc_format(void *mem, uint64_t bytes,
                              const shmc_mpmc_desc *desc);

/* Open a handle on a formatted queue: SHMC_PRODUCER, SHMC_CONSUMER, both,
 * or SHMC_OBSERVER.
 * Owner   the memory stays the caller's, and outlives the handle.
 * Safety  one thread at a time uses a handle; open one for each thread.
 * Crash   no liveness here: nobody is taken for dead, what a dead process
 *         was in the middle of stays so.  In a segment it is recovered.
 * Errors  SHMC_EINVAL; SHMC_ETYPE; SHMC_EVERSION; SHMC_EBYTEORDER;
 *         SHMC_ECORRUPT; SHMC_ELIMIT max_handles are open.                */
SHMC_API int shmc_mpmc_map(shmc_mpmc *q, void *mem, uint64_t bytes,
                           uint32_t role);

/* Open a queue in a segment, creating it unless it exists.  What is not 0
 * in `desc` must be so in the queue that exists.  Observers, and read-only
 * segments, only attach.
 * Safety  as shmc_mpmc_map; any number of processes and threads may race.
 * Crash   dying inside leaves a seat that the next one to open takes over.
 * Errors  as shmc_mpmc_map; SHMC_EMISMATCH; SHMC_EROFS a producer or
 *         consumer on a read-only segment; those of shmc_object_open.     */
SHMC_API int shmc_mpmc_open(shmc_mpmc *q, shmc_segment *s, const char *name,
                            const shmc_mpmc_desc *desc, uint32_t role);

/* Close a handle.  A loan is aborted, a borrowed message counts as released.
 * Safety  in a forked child it forgets the handle and touches nothing.
 * Errors  SHMC_ECLOSED.                                                   */
SHMC_API int shmc_mpmc_close(shmc_mpmc *q);

/* Count what happened so far.  Exact when nobody is in the middle of a call;
 * a process killed in a recovery may leave its one event uncounted.       */
SHMC_API int shmc_mpmc_stats_get(const shmc_mpmc *q, shmc_mpmc_stats *out);

/* ---- waiting ----------------------------------------------------------- */

/* Push, waiting for room.
 * Cost    blocks up to timeout_ns: 0 = try, negative = for ever.
 * Crash   of whoever should make room or ring: looks again every
 *         SHMC_RECHECK_NS.
 * Errors  as shmc_mpmc_push; SHMC_ETIMEDOUT; SHMC_ENOTSUP not waitable.   */
SHMC_API int shmc_mpmc_push_wait(shmc_mpmc *q, const void *msg,
                                 uint32_t bytes, int64_t timeout_ns);

/* Pop, waiting for a message.  Cost, Crash, Errors as shmc_mpmc_push_wait.
 * A message of a consumer that died comes within SHMC_RECHECK_NS, too.    */
SHMC_API int shmc_mpmc_pop_wait(shmc_mpmc *q, void *msg, uint32_t bytes,
                                int64_t timeout_ns);

/* Name the queue to shmc_poll: SHMC_POLLIN when there is a message, also one
 * that a dead consumer left; SHMC_POLLOUT when there is room.  Another
 * consumer or producer may be faster than the call that follows.
 * Errors  SHMC_ENOTSUP not waitable; SHMC_EINVAL not this handle's role;
 *         SHMC_ECORRUPT; SHMC_EFORKED; SHMC_ECLOSED.                      */
SHMC_API shmc_pollable shmc_mpmc_pollable(shmc_mpmc *q);

/* ---- pushing and popping ----------------------------------------------- */

/* Copy in one message of slot_bytes bytes (pass a constant: it inlines).
 * Safety  one thread a handle; any number of handles in any processes.
 * Cost    lock-free but for a stopped peer, one locked instruction; gives
 *         up (SHMC_EAGAIN) after 4096 lost races.
 * Crash   before R3 the message is lost and its cell becomes a tomb, which
 *         consumers skip; from R3 on it is pushed.
 * Errors  SHMC_EAGAIN full; SHMC_EMSGSIZE; SHMC_EINVAL no producer,
 *         or a loan is out; SHMC_ECLOSED; SHMC_EFORKED;
 *         SHMC_ECORRUPT somebody broke I1 or I2.
 * Source  Vyukov's bounded MPMC queue; intents are our own.               */
SHMC_HOT int
shmc_mpmc_push(shmc_mpmc *q, const void *msg, uint32_t bytes)
{
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(q->push_gate != shmi_gate(SHMC_PRODUCER, bytes)))
        return shmi_mpmc_refuse(q, SHMC_PRODUCER);
    uint64_t pos = 0, *cell = NULL;
    const int r = shmi_mpmc_take_tail(q, shmi_mpmc_stride(bytes), &pos, &cell);
    if (SHMI_UNLIKELY(r < 0)) return r;
    memcpy(cell + 1, msg, bytes);
    /* R3 -> A3: the payload happens before a consumer reads it.           */
    shmi_store_rel_64(cell, shmi_mpmc_word(pos, SHMI_MPMC_FULL));
    shmi_mpmc_pushed(q);
    return SHMC_OK;
}

/* Copy out the oldest message.  One that was taken over from a dead consumer
 * comes out of turn.
 * Safety, Cost  as shmc_mpmc_push.
 * Crash   before R4 nobody got the message: it is delivered to somebody
 *         else, or dropped, by the queue's on_consumer_death.  After R4 it
 *         is lost with whom it was delivered to.
 * Errors  SHMC_EAGAIN empty; SHMC_EMSGSIZE; SHMC_EINVAL no consumer, or a
 *         message is borrowed; the rest as shmc_mpmc_push.                */
SHMC_HOT int
shmc_mpmc_pop(shmc_mpmc *q, void *msg, uint32_t bytes)
{
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(q->pop_gate != shmi_gate(SHMC_CONSUMER, bytes)))
        return shmi_mpmc_refuse(q, SHMC_CONSUMER);
    const uint64_t lap = q->mask + 1;
    uint64_t pos = 0, *cell = NULL;
    const int r = shmi_mpmc_take_head(q, shmi_mpmc_stride(bytes), &pos, &cell);
    if (SHMI_UNLIKELY(r < 0)) return r;
    memcpy(msg, cell + 1, bytes);
    /* R4 -> A4: our reads happen before the next lap's producer writes.   */
    shmi_store_rel_64(cell, shmi_mpmc_word(pos + lap, SHMI_MPMC_FREE));
    shmi_mpmc_popped(q);
    return SHMC_OK;
}

/* Push up to `count` messages, one behind the other, with one locked
 * instruction; at most 4096 in one call.  Returns how many, at least 1.
 * Crash   those not yet published are lost.  Rest as shmc_mpmc_push.      */
SHMC_INLINE int
shmc_mpmc_push_n(shmc_mpmc *q, const void *msgs, uint32_t bytes, uint32_t count)
{
    const uint8_t *from = (const uint8_t *)msgs;
    uint64_t pos = 0;
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(q->push_gate != shmi_gate(SHMC_PRODUCER, bytes)))
        return shmi_mpmc_refuse(q, SHMC_PRODUCER);
    if (SHMI_UNLIKELY(count == 0)) return SHMC_EINVAL;
    if (count > SHMI_MPMC_MAX_BATCH) count = SHMI_MPMC_MAX_BATCH;
    const uint64_t stride = shmi_mpmc_stride(bytes);
    const int r = shmi_mpmc_claim_tail(q, stride, count, &pos);
    for (int i = 0; i < r; i++, pos++, from += bytes) {
        uint64_t *cell = shmi_mpmc_cell(q, stride, pos);
        memcpy(cell + 1, from, bytes);
        /* R3 -> A3, as in shmc_mpmc_push.                                 */
        shmi_store_rel_64(cell, shmi_mpmc_word(pos, SHMI_MPMC_FULL));
    }
    if (SHMI_LIKELY(r > 0)) shmi_mpmc_pushed(q);
    return r;
}

/* Pop up to `count` messages with one locked instruction; at most 4096 in
 * one call.  Returns how many, at least 1.
 * Crash   none is freed before all are copied; dying while freeing loses
 *         those freed, the others as shmc_mpmc_pop.  Rest likewise.       */
SHMC_INLINE int
shmc_mpmc_pop_n(shmc_mpmc *q, void *msgs, uint32_t bytes, uint32_t count)
{
    uint8_t *to = (uint8_t *)msgs;
    uint64_t pos = 0;
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(q->pop_gate != shmi_gate(SHMC_CONSUMER, bytes)))
        return shmi_mpmc_refuse(q, SHMC_CONSUMER);
    if (SHMI_UNLIKELY(count == 0)) return SHMC_EINVAL;
    if (count > SHMI_MPMC_MAX_BATCH) count = SHMI_MPMC_MAX_BATCH;
    const uint64_t stride = shmi_mpmc_stride(bytes);
    const int r = shmi_mpmc_claim_head(q, stride, count, &pos);
    if (SHMI_UNLIKELY(r < 0)) return r;
    const uint64_t n = (uint64_t)r;
    for (uint64_t i = 0; i < n; i++, to += bytes)
        memcpy(to, shmi_mpmc_cell(q, stride, pos + i) + 1, bytes);
    for (uint64_t i = 0; i < n; i++)
        /* R4 -> A4, as in shmc_mpmc_pop.                                  */
        shmi_store_rel_64(shmi_mpmc_cell(q, stride, pos + i),
                          shmi_mpmc_word(pos + i + q->mask + 1,
                                         SHMI_MPMC_FREE));
    shmi_mpmc_popped(q);
    return r;
}

/* Lend one slot to write a message into, 8-byte aligned, slot_bytes long.
 * End it with commit or abort; until then this handle cannot push, and no
 * consumer gets past the slot: be quick.  *slot is NULL where it fails.
 * Crash   as shmc_mpmc_push: lost, a tomb.  Errors likewise.              */
SHMC_INLINE int
shmc_mpmc_loan(shmc_mpmc *q, void **slot)
{
    *slot = NULL;
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!q->push_gate)) return shmi_mpmc_refuse(q, SHMC_PRODUCER);
    const uint64_t stride = shmi_mpmc_stride(q->slot_bytes);
    const int r = shmi_mpmc_claim_tail(q, stride, 1, &q->loan_pos);
    if (SHMI_UNLIKELY(r < 0)) return r;
    *slot = shmi_mpmc_cell(q, stride, q->loan_pos) + 1;
    q->loaned = true;
    q->push_gate = 0;
    return SHMC_OK;
}

SHMC_INLINE int
shmi_mpmc_loan_end(shmc_mpmc *q, unsigned state)
{
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!q->loaned)) return q->shm ? SHMC_EINVAL : SHMC_ECLOSED;
    q->loaned = false;
    q->push_gate = shmi_gate(SHMC_PRODUCER, q->slot_bytes);
    /* R3 -> A3: the payload happens before a consumer reads it.           */
    shmi_store_rel_64(shmi_mpmc_cell(q, shmi_mpmc_stride(q->slot_bytes),
                                     q->loan_pos),
                      shmi_mpmc_word(q->loan_pos, state));
    if (state == SHMI_MPMC_TOMB) (void)shmi_faa_rlx_64(&q->shm->tombs, 1);
    shmi_mpmc_pushed(q);
    return SHMC_OK;
}

/* Push the loaned slot.  Cost  wait-free.  Errors  SHMC_EINVAL no loan.   */
SHMC_INLINE int
shmc_mpmc_commit(shmc_mpmc *q) { return shmi_mpmc_loan_end(q, SHMI_MPMC_FULL); }

/* Give the loaned slot up: a tomb, which consumers skip.                  */
SHMC_INLINE int
shmc_mpmc_abort(shmc_mpmc *q) { return shmi_mpmc_loan_end(q, SHMI_MPMC_TOMB); }

/* Read the oldest message in place, 8-byte aligned.  End it with release;
 * until then this handle cannot pop, and one lap later producers wait.
 * Crash   before release it is delivered again (at-least-once) or dropped,
 *         by the queue's on_consumer_death.  Errors as shmc_mpmc_pop.     */
SHMC_INLINE int
shmc_mpmc_borrow(shmc_mpmc *q, const void **msg)
{
    *msg = NULL;
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!q->pop_gate)) return shmi_mpmc_refuse(q, SHMC_CONSUMER);
    const uint64_t stride = shmi_mpmc_stride(q->slot_bytes);
    const int r = shmi_mpmc_claim_head(q, stride, 1, &q->borrow_pos);
    if (SHMI_UNLIKELY(r < 0)) return r;
    *msg = shmi_mpmc_cell(q, stride, q->borrow_pos) + 1;
    q->borrowed = true;
    q->pop_gate = 0;
    return SHMC_OK;
}

/* How often the borrowed message was taken over from a consumer that died
 * (by SHMC_REDELIVER); 0: you are the first to get it.                    */
SHMC_INLINE uint32_t
shmc_mpmc_redeliveries(const shmc_mpmc *q)
{
    return SHMI_LIKELY(q->borrowed)
         ? shmi_mpmc_again(shmi_mpmc_cell(q, shmi_mpmc_stride(q->slot_bytes),
                                          q->borrow_pos)) : 0;
}

/* Have done with the borrowed message.  Cost  wait-free.
 * Errors  SHMC_EINVAL nothing is borrowed; SHMC_EFORKED.                  */
SHMC_INLINE int
shmc_mpmc_release(shmc_mpmc *q)
{
    if (SHMI_UNLIKELY(q->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!q->borrowed)) return q->shm ? SHMC_EINVAL : SHMC_ECLOSED;
    q->borrowed = false;
    q->pop_gate = shmi_gate(SHMC_CONSUMER, q->slot_bytes);
    /* R4 -> A4, as in shmc_mpmc_pop.                                      */
    shmi_store_rel_64(shmi_mpmc_cell(q, shmi_mpmc_stride(q->slot_bytes),
                                     q->borrow_pos),
                      shmi_mpmc_word(q->borrow_pos + q->mask + 1,
                                     SHMI_MPMC_FREE));
    shmi_mpmc_popped(q);
    return SHMC_OK;
}

/* Count the messages pushed and not popped, about: others go on meanwhile.
 * 0 where the handle is closed.
 * Safety  any role.  Cost  wait-free.                                     */
SHMC_INLINE uint32_t
shmc_mpmc_used(const shmc_mpmc *q)
{
    if (SHMI_UNLIKELY(!q->shm)) return 0;
    /* A2 <- R2 first: whoever moved head that far had seen tail beyond it,
     * so that tail, loaded after it and relaxed, is not behind.           */
    const uint64_t head = shmi_load_acq_64(&q->shm->head);
    const uint64_t used = shmi_load_rlx_64(&q->shm->tail) - head;
    return (uint32_t)(used <= q->mask ? used : q->mask + 1);
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_MPMC_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_MPMC_IMPLEMENTED)
#define SHMCOMM_MPMC_IMPLEMENTED

/* >>mpmc: setup ------------------------------------------------------------ */

/* Where the cells end, or the rooms beside them begin, if there are any.   */
static uint64_t
shmi_mpmc_cells_end(uint32_t seats, uint32_t slot_bytes, uint32_t slot_count,
                    uint32_t beside_bytes)
{
    const uint64_t end = sizeof(shmc_mpmc_shm) +
                         (uint64_t)seats * sizeof(shmi_seat_shm) +
                         shmi_mpmc_stride(slot_bytes) * slot_count;
    return beside_bytes ? shmi_round_up(end, SHMC_LINE) : end;
}

/* Fill in defaults and work out the size.                                  */
static int64_t
shmi_mpmc_plan(const shmc_mpmc_desc *desc, shmc_mpmc_desc *d)
{
    static const shmc_mpmc_desc defaults;
    *d = desc ? *desc : defaults;
    if (d->slot_bytes == 0) d->slot_bytes = 8;
    if (d->slot_count == 0) d->slot_count = 1024;
    if (d->max_handles == 0) d->max_handles = 64;
    if (d->slot_bytes > SHMI_RING_MAX_BYTES)
        return shmi_fail(SHMC_EINVAL, "MPMC queue: slot_bytes %u, at most %u",
                         (unsigned)d->slot_bytes, SHMI_RING_MAX_BYTES);
    if (!shmi_is_pow2(d->slot_count) || d->slot_count > SHMI_RING_MAX_COUNT)
        return shmi_fail(SHMC_EINVAL, "MPMC queue: slot_count %u is no power of"
                         " two up to 2^31", (unsigned)d->slot_count);
    if (d->max_handles > SHMI_MPMC_MAX_HANDLES)
        return shmi_fail(SHMC_EINVAL, "MPMC queue: max_handles %u, at most %d",
                         (unsigned)d->max_handles, SHMI_MPMC_MAX_HANDLES);
    if (d->on_consumer_death > SHMC_DROP)
        return shmi_fail(SHMC_EINVAL, "MPMC queue: on_consumer_death %u: give"
                         " SHMC_REDELIVER or SHMC_DROP",
                         (unsigned)d->on_consumer_death);
    if (d->max_redeliveries > SHMI_MPMC_AGAIN >> 2)
        return shmi_fail(SHMC_EINVAL, "MPMC queue: max_redeliveries %u, at most"
                         " 16383", (unsigned)d->max_redeliveries);
    if (d->beside_bytes > SHMI_RING_MAX_BYTES)
        return shmi_fail(SHMC_EINVAL, "MPMC queue: beside_bytes %u, at most %u",
                         (unsigned)d->beside_bytes, SHMI_RING_MAX_BYTES);
    if (d->waitable > 1)
        return shmi_fail(SHMC_EINVAL, "MPMC queue: waitable %u: give 0 or 1",
                         (unsigned)d->waitable);
    return (int64_t)(shmi_mpmc_cells_end(d->max_handles, d->slot_bytes,
                                         d->slot_count, d->beside_bytes) +
                     shmi_round_up(d->beside_bytes, SHMC_LINE) * d->slot_count);
}

SHMC_API int64_t
shmc_mpmc_size_for(const shmc_mpmc_desc *desc)
{
    shmc_mpmc_desc d;
    return shmi_mpmc_plan(desc, &d);
}

static void
shmi_mpmc_lay_out(void *mem, uint64_t bytes, const shmc_mpmc_desc *d,
                  uint32_t flags)
{
    shmc_mpmc_shm *shm = (shmc_mpmc_shm *)mem;
    uint8_t *at = (uint8_t *)mem + sizeof *shm;
    const uint64_t seats = (uint64_t)d->max_handles * sizeof(shmi_seat_shm);
    const uint64_t stride = shmi_mpmc_stride(d->slot_bytes);
    shmi_ring_head_shm h;
    memset(&h, 0, sizeof h);
    h.magic = SHMI_MPMC_MAGIC;
    h.version = SHMI_MPMC_VERSION;
    h.total_bytes = bytes;
    h.slot_bytes = d->slot_bytes;
    h.slot_count = d->slot_count;
    h.stride_bytes = (uint32_t)stride;
    h.flags = flags;
    h.seats = d->max_handles;
    h.mode = d->on_consumer_death;
    h.aux[SHMI_MPMC_AUX_AGAIN] = d->max_redeliveries;
    h.aux[SHMI_MPMC_AUX_BESIDE] = d->beside_bytes;
    memset((uint8_t *)mem + sizeof h, 0, sizeof *shm - sizeof h + seats);
    at += seats;
    /* Relaxed: R0 below makes all of it visible.                           */
    for (uint64_t i = 0; i < d->slot_count; i++, at += stride)
        shmi_store_rlx_64((uint64_t *)(void *)at,
                          shmi_mpmc_word(i, SHMI_MPMC_FREE));
    shmi_ring_publish(&shm->ring, &h);
}

SHMC_API int
shmc_mpmc_format(void *mem, uint64_t bytes, const shmc_mpmc_desc *desc)
{
    shmc_mpmc_desc d;
    const int64_t needed = shmi_mpmc_plan(desc, &d);
    if (needed < 0) return (int)needed;
    const int r = shmi_ring_memory(mem, bytes, (uint64_t)needed, "MPMC queue");
    if (r != SHMC_OK) return r;
    shmi_mpmc_lay_out(mem, (uint64_t)needed, &d,
                      shmi_ring_flags(NULL, d.waitable));
    return SHMC_OK;
}

/* How many cells make a stretch, less 1: a power of two less 1.  In a queue
 * of less than eight stretches, and with messages of over 1 KiB, nobody looks
 * ahead (but at position 0, where nothing comes of it but a step back).    */
static uint64_t
shmi_mpmc_stretch(uint64_t stride, uint64_t slot_count)
{
    uint64_t cells = 1;
    while (cells < SHMI_MPMC_STRETCH_CELLS &&
           2 * cells * stride <= SHMI_MPMC_STRETCH)
        cells *= 2;
    return cells > 1 && cells * 8 <= slot_count ? cells - 1 : UINT64_MAX;
}

/* Check the constant line, which is untrusted, and point the handle.       */
static int
shmi_mpmc_point(shmc_mpmc *q, void *mem, uint64_t bytes, shmc_mpmc_desc *is)
{
    shmi_ring_head_shm h;
    const int r = shmi_ring_check(mem, bytes, SHMI_MPMC_MAGIC,
                                  SHMI_MPMC_VERSION, "MPMC queue", &h);
    if (r != SHMC_OK) return r;
    const uint64_t seats = (uint64_t)h.seats * sizeof(shmi_seat_shm);
    uint64_t cells = (uint64_t)h.stride_bytes * h.slot_count;
    const uint64_t again = h.aux[SHMI_MPMC_AUX_AGAIN];
    const uint64_t beside = h.aux[SHMI_MPMC_AUX_BESIDE];
    if (again > SHMI_MPMC_AGAIN >> 2 || beside > SHMI_RING_MAX_BYTES)
        return shmi_fail(SHMC_ECORRUPT, "map a MPMC queue: %llu redeliveries and"
                         " %llu bytes beside a slot are too many",
                         (unsigned long long)again, (unsigned long long)beside);
    const uint64_t beside_stride = shmi_round_up(beside, SHMC_LINE);
    /* No more than 2^62: no overflow.                                      */
    if (beside != 0)
        cells = shmi_round_up(cells, SHMC_LINE) + beside_stride * h.slot_count;
    if (h.seats == 0 || h.seats > SHMI_MPMC_MAX_HANDLES ||
        h.mode > SHMC_DROP || h.stride_bytes != shmi_mpmc_stride(h.slot_bytes) ||
        h.total_bytes < sizeof(shmc_mpmc_shm) + seats ||
        h.total_bytes - sizeof(shmc_mpmc_shm) - seats < cells)
        return shmi_fail(SHMC_ECORRUPT, "map a MPMC queue: %u handles, mode %u"
                         " and %u slots of %u bytes every %u contradict its"
                         " %llu bytes", (unsigned)h.seats, (unsigned)h.mode,
                         (unsigned)h.slot_count, (unsigned)h.slot_bytes,
                         (unsigned)h.stride_bytes,
                         (unsigned long long)h.total_bytes);
    q->shm = (shmc_mpmc_shm *)mem;
    q->writable = &q->shm->writable;
    q->seats = (shmi_seat_shm *)(void *)((uint8_t *)mem + sizeof *q->shm);
    q->cells = (uint8_t *)mem + sizeof *q->shm + seats;
    q->mask = h.slot_count - 1;
    q->slot_bytes = h.slot_bytes;
    q->stretch = shmi_mpmc_stretch(h.stride_bytes, h.slot_count);
    q->seat_count = h.seats;
    q->drop = h.mode;
    q->max_again = (uint32_t)again;
    q->beside_bytes = (uint32_t)beside;
    q->beside_stride = beside_stride;
    q->beside = (uint8_t *)mem + shmi_mpmc_cells_end(h.seats, h.slot_bytes,
                                                     h.slot_count,
                                                     q->beside_bytes);
    q->waitable = (h.flags & SHMI_RING_WAITABLE) != 0;
    q->asymmetric = (h.flags & SHMI_RING_ASYMMETRIC) != 0;
    is->slot_bytes = h.slot_bytes;
    is->slot_count = h.slot_count;
    is->max_handles = h.seats;
    is->on_consumer_death = h.mode;
    is->waitable = q->waitable;
    is->max_redeliveries = q->max_again;
    is->beside_bytes = q->beside_bytes;
    return SHMC_OK;
}

/* Take a seat, unless an observer.                                         */
static int
shmi_mpmc_sit(shmc_mpmc *q, uint32_t role)
{
    q->epoch = shmi_fork_epoch;
    q->role = role;
    if (role != SHMC_OBSERVER) {
        const int i = shmi_seat_claim(q->segment, q->seats, q->seat_count,
                                      shmi_mpmc_settle, q);
        if (i < 0) return i;
        q->seat = &q->seats[i];
        /* R5 -> A5: settled above, before the seat became ours.            */
        shmi_store_rel_64(&q->seat->word[0], 0);
    }
    if (role & SHMC_PRODUCER)
        q->push_gate = shmi_gate(SHMC_PRODUCER, q->slot_bytes);
    if (role & SHMC_CONSUMER)
        q->pop_gate = shmi_gate(SHMC_CONSUMER, q->slot_bytes);
    /* Relaxed: where to look for orphans first, as soon as possible.       */
    q->patrol_pos = shmi_load_rlx_64(&q->shm->head);
    q->look = true;
    q->push_wary = q->pop_wary = SHMI_MPMC_WARY;
    /* Who does both would step back from itself.                           */
    if (role == (SHMC_PRODUCER | SHMC_CONSUMER)) q->stretch = UINT64_MAX;
    return SHMC_OK;
}

static int
shmi_mpmc_role_check(uint32_t role)
{
    if ((role & ~(uint32_t)(SHMC_PRODUCER | SHMC_CONSUMER)) == 0) return SHMC_OK;
    return shmi_fail(SHMC_EINVAL, "MPMC queue: role %u: give SHMC_PRODUCER,"
                     " SHMC_CONSUMER, both, or SHMC_OBSERVER", (unsigned)role);
}

SHMC_API int
shmc_mpmc_map(shmc_mpmc *q, void *mem, uint64_t bytes, uint32_t role)
{
    shmc_mpmc_desc is;
    memset(q, 0, sizeof *q);
    int r = shmi_mpmc_role_check(role);
    if (r == SHMC_OK) r = shmi_mpmc_point(q, mem, bytes, &is);
    if (r == SHMC_OK) r = shmi_mpmc_sit(q, role);
    if (r != SHMC_OK) memset(q, 0, sizeof *q);
    return r;
}

typedef struct shmi_mpmc_birth {
    shmc_mpmc_desc desc;
    uint64_t bytes;
    uint32_t flags;
} shmi_mpmc_birth;

static int
shmi_mpmc_init(void *mem, uint64_t bytes, const void *user)
{
    const shmi_mpmc_birth *b = (const shmi_mpmc_birth *)user;
    (void)bytes;
    shmi_mpmc_lay_out(mem, b->bytes, &b->desc, b->flags);
    return SHMC_OK;
}

/* Compare what was asked for with what exists.                             */
static int
shmi_mpmc_same(const shmc_mpmc_desc *want, const shmc_mpmc_desc *is)
{
    const shmi_ask row[] = {
        { "slot_bytes", want->slot_bytes, is->slot_bytes },
        { "slot_count", want->slot_count, is->slot_count },
        { "max_handles", want->max_handles, is->max_handles },
        { "on_consumer_death", want->on_consumer_death, is->on_consumer_death },
        { "waitable", want->waitable, is->waitable },
        { "max_redeliveries", want->max_redeliveries, is->max_redeliveries },
        { "beside_bytes", want->beside_bytes, is->beside_bytes }
    };

    return shmi_ring_same("MPMC queue", row, sizeof row / sizeof row[0]);
}

SHMC_API int
shmc_mpmc_open(shmc_mpmc *q, shmc_segment *s, const char *name,
               const shmc_mpmc_desc *desc, uint32_t role)
{
    shmi_mpmc_birth birth;
    shmc_object_desc od;
    shmc_object object;
    shmc_mpmc_desc is;
    memset(q, 0, sizeof *q);
    int r = shmi_mpmc_role_check(role);
    if (r != SHMC_OK) return r;
    const int64_t bytes = shmi_mpmc_plan(desc, &birth.desc);
    if (bytes < 0) return (int)bytes;
    if (!s || !name)
        return shmi_fail(SHMC_EINVAL, "open a MPMC queue: no segment or no"
                         " name");
    if (s->read_only && role != SHMC_OBSERVER)
        return shmi_fail(SHMC_EROFS, "open MPMC queue '%s': segment '%s' is"
                         " open read-only; only SHMC_OBSERVER may", name,
                         s->name);
    birth.bytes = (uint64_t)bytes;
    birth.flags = shmi_ring_flags(s, birth.desc.waitable);
    memset(&od, 0, sizeof od);
    od.bytes = (uint64_t)bytes;
    od.kind = SHMC_KIND_MPMC;
    od.version = SHMI_MPMC_VERSION;
    od.type_name = birth.desc.type_name;
    od.type_hash = od.type_name ? shmc_type_hash(od.type_name) : 0;
    od.init = shmi_mpmc_init;
    od.user = &birth;
    r = shmi_ring_object(s, name, &od, role == SHMC_OBSERVER, &object);
    if (r != SHMC_OK) return r;
    q->segment = s;
    r = shmi_mpmc_point(q, object.mem, object.bytes, &is);
    if (r == SHMC_OK && desc) r = shmi_mpmc_same(desc, &is);
    if (r == SHMC_OK) r = shmi_mpmc_sit(q, role);
    if (r == SHMC_OK) {
        q->object = object;
        return r;
    }
    memset(q, 0, sizeof *q);
    (void)shmc_object_close(s, &object);
    return r;
}

SHMC_API int
shmc_mpmc_close(shmc_mpmc *q)
{
    int r = SHMC_OK;
    if (!q->shm) return SHMC_ECLOSED;
    if (q->epoch == shmi_fork_epoch) {
        if (q->loaned) (void)shmc_mpmc_abort(q);
        if (q->borrowed) (void)shmc_mpmc_release(q);
        if (q->seat) shmi_seat_drop(q->seat);
        if (q->object.mem) r = shmc_object_close(q->segment, &q->object);
    }
    memset(q, 0, sizeof *q);
    return r;
}

SHMC_API int
shmc_mpmc_stats_get(const shmc_mpmc *q, shmc_mpmc_stats *out)
{
    memset(out, 0, sizeof *out);
    if (!q->shm) return SHMC_ECLOSED;
    if (q->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    /* Relaxed all: each is a count for people.                             */
    out->tombs = shmi_load_rlx_64(&q->shm->tombs);
    out->redelivered = shmi_load_rlx_64(&q->shm->redelivered);
    out->dropped = shmi_load_rlx_64(&q->shm->dropped);
    out->poisoned = shmi_load_rlx_64(&q->shm->poisoned);
    const uint64_t gone = shmi_load_rlx_64(&q->shm->skipped) + out->dropped +
                          out->poisoned;
    const uint64_t head = shmi_load_rlx_64(&q->shm->head);
    const uint64_t tail = shmi_load_rlx_64(&q->shm->tail);
    out->popped = head > gone ? head - gone : 0;
    out->pushed = tail > out->tombs ? tail - out->tombs : 0;
    out->used = shmc_mpmc_used(q);
    out->slot_count = (uint32_t)(q->mask + 1);
    out->max_handles = q->seat_count;
    for (uint32_t i = 0; i < q->seat_count; i++)
        out->handles += shmi_owner_alive(
            q->segment, shmi_load_rlx_64(&q->seats[i].owner));
    return SHMC_OK;
}

/* >>mpmc: waiting ---------------------------------------------------------- */

typedef struct shmi_mpmc_wish {
    shmc_mpmc *q;
    const void *in;
    void *out;
    uint32_t bytes, tries;
} shmi_mpmc_wish;

/* Before a sleep, look for the dead at each try, not at each 64th.         */
static int
shmi_mpmc_try_push(void *ctx)
{
    shmi_mpmc_wish *w = (shmi_mpmc_wish *)ctx;
    if (++w->tries > SHMC_SPIN_TRIES) w->q->look = true;
    return shmc_mpmc_push(w->q, w->in, w->bytes);
}

static int
shmi_mpmc_try_pop(void *ctx)
{
    shmi_mpmc_wish *w = (shmi_mpmc_wish *)ctx;
    if (++w->tries > SHMC_SPIN_TRIES) w->q->look = true;
    return shmc_mpmc_pop(w->q, w->out, w->bytes);
}

static int
shmi_mpmc_wait(shmc_mpmc *q, uint32_t role, shmi_try_fn try_fn,
               shmi_mpmc_wish *wish, int64_t timeout_ns)
{
    if (!q->shm) return SHMC_ECLOSED;
    if (!q->waitable)
        return shmi_fail(SHMC_ENOTSUP, "wait on a MPMC queue that was created"
                         " without waitable = 1");
    return shmi_bell_wait(role == SHMC_PRODUCER ? q->writable
                                                : &q->shm->readable,
                          q->asymmetric, try_fn, wish, timeout_ns,
                          SHMC_RECHECK_NS);
}

SHMC_API int
shmc_mpmc_push_wait(shmc_mpmc *q, const void *msg, uint32_t bytes,
                    int64_t timeout_ns)
{
    shmi_mpmc_wish wish = { q, msg, NULL, bytes, 0 };
    return shmi_mpmc_wait(q, SHMC_PRODUCER, shmi_mpmc_try_push, &wish,
                          timeout_ns);
}

SHMC_API int
shmc_mpmc_pop_wait(shmc_mpmc *q, void *msg, uint32_t bytes, int64_t timeout_ns)
{
    shmi_mpmc_wish wish = { q, NULL, msg, bytes, 0 };
    return shmi_mpmc_wait(q, SHMC_CONSUMER, shmi_mpmc_try_pop, &wish,
                          timeout_ns);
}

/* >>mpmc: polling ---------------------------------------------------------- */

/* Is there a message that a dead consumer held, by the orphans and seats?  */
static bool
shmi_mpmc_left_behind(shmc_mpmc *q)
{
    const uint32_t all = SHMI_MPMC_ORPHANS + q->seat_count;
    uint64_t pos = 0;

    for (uint32_t k = 0; k < all; k++) {
        /* Relaxed: only to find; the pop that follows judges again.        */
        const uint64_t intent = shmi_load_rlx_64(
            k < SHMI_MPMC_ORPHANS ? &q->shm->orphans[k]
                                  : &q->seats[k - SHMI_MPMC_ORPHANS].word[0]);
        if (intent == 0) continue;
        for (uint32_t i = 0; shmi_mpmc_pending(q, intent, &i, &pos); i++) {
            if (shmi_mpmc_covered(q, false, pos)) continue;
            /* Relaxed: adopting judges again, and drops what is poison.    */
            if (!shmi_mpmc_is_poison(q, shmi_load_rlx_64(shmi_mpmc_at(q, pos))))
                return true;
            (void)shmi_mpmc_adopt(q, pos);
        }
    }
    return false;
}

/* Would a pop find a message?  Takes none; what is in the way of the dead it
 * clears.  1, SHMC_EAGAIN or SHMC_ECORRUPT.                                */
static int
shmi_mpmc_readable(shmc_mpmc *q, bool thorough)
{
    for (uint32_t tries = 0; tries < SHMI_MPMC_TRIES; tries++) {
        /* A2 <- R2: as for tail in shmi_mpmc_push_stuck.                   */
        uint64_t pos = shmi_load_acq_64(&q->shm->head);
        const uint64_t old = pos - q->mask - 1;
        /* Relaxed: a hint, and whoever acts on it below looks again.      */
        const uint64_t seen = shmi_load_rlx_64(shmi_mpmc_at(q, pos));
        if (shmi_mpmc_full(seen, pos)) return 1;
        if (!thorough) return SHMC_EAGAIN;
        int r = SHMI_MPMC_RETRY;
        if (seen == shmi_mpmc_word(pos, SHMI_MPMC_TOMB))
            r = shmi_mpmc_pop_stuck(q, pos, tries, &pos);
        else if (seen == shmi_mpmc_word(old, SHMI_MPMC_TOMB))
            shmi_mpmc_untomb(q, old);
        else if (q->segment && seen == shmi_mpmc_word(pos, SHMI_MPMC_FREE))
            r = shmi_mpmc_bury(q, pos);
        else if (q->segment && shmi_mpmc_full(seen, old) &&
                 (q->drop || shmi_mpmc_is_poison(q, seen)))
            r = shmi_mpmc_adopt(q, old) == SHMI_MPMC_DROPPED ? SHMI_MPMC_RETRY
                                                             : SHMC_EAGAIN;
        else
            r = SHMC_EAGAIN;
        if (r == SHMI_MPMC_RETRY) continue;
        if (r != SHMC_EAGAIN) return r;
        if (!q->segment || q->drop || !shmi_mpmc_left_behind(q)) return r;
        q->look = true;             /* so that the next pop finds it        */
        return 1;
    }
    return SHMC_EAGAIN;
}

/* Would a push find room?                                                  */
static int
shmi_mpmc_writable(shmc_mpmc *q, bool thorough)
{
    for (uint32_t tries = 0; tries < SHMI_MPMC_TRIES; tries++) {
        /* Relaxed: hints, and shmi_mpmc_push_stuck looks again.            */
        uint64_t pos = shmi_load_rlx_64(&q->shm->tail);
        if (shmi_load_rlx_64(shmi_mpmc_at(q, pos)) ==
            shmi_mpmc_word(pos, SHMI_MPMC_FREE)) return 1;
        if (!thorough) return SHMC_EAGAIN;
        q->look = true;
        const int r = shmi_mpmc_push_stuck(q, pos, tries, &pos);
        if (r != SHMI_MPMC_RETRY) return r;
    }
    return SHMC_EAGAIN;
}

static int
shmi_mpmc_look(void *queue, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmc_mpmc *q = (shmc_mpmc *)queue;
    uint32_t may = 0;
    int ready = 0;

    if (!q->shm) return SHMC_ECLOSED;
    if (q->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (q->role & SHMC_CONSUMER) may |= SHMC_POLLIN;
    if (q->role & SHMC_PRODUCER) may |= SHMC_POLLOUT;
    if ((events & ~may) != 0)
        return shmi_fail(SHMC_EINVAL, "poll a MPMC queue for 0x%x: consumers ask "
                         "for SHMC_POLLIN, producers for SHMC_POLLOUT", events);
    if (!q->waitable)
        return shmi_fail(SHMC_ENOTSUP, "poll a MPMC queue that was created"
                         " without waitable = 1");
    if (events & SHMC_POLLIN) spot->bell[0] = &q->shm->readable;
    if (events & SHMC_POLLOUT) spot->bell[1] = q->writable;
    spot->asymmetric = q->asymmetric;
    spot->progress = q->pop_next;
    for (uint32_t event = SHMC_POLLIN; event <= SHMC_POLLOUT; event <<= 1) {
        if (!(events & event)) continue;
        /* Refused until then; and our intent covers what we hold.          */
        if (event == SHMC_POLLIN ? q->borrowed : q->loaned) continue;
        const int r = event == SHMC_POLLIN ? shmi_mpmc_readable(q, thorough)
                                           : shmi_mpmc_writable(q, thorough);
        if (r != SHMC_EAGAIN && r < 0) return r;
        if (r > 0) ready |= (int)event;
    }
    return ready;
}

SHMC_API shmc_pollable
shmc_mpmc_pollable(shmc_mpmc *q)
{
    return (shmc_pollable){ shmi_mpmc_look, q };
}

#endif /* SHMCOMM_IMPLEMENTATION */
