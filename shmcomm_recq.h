/* shmcomm_recq.h - a queue of records of any size in shared memory, from one
 * producer to one consumer; no locks, no daemon, nothing to lose.
 *
 *     shmc_recq q;
 *     shmc_recq_open(&q, &segment, "log", NULL, SHMC_PRODUCER);
 *     shmc_recq_push(&q, line, line_bytes);
 *                                               // the other process:
 *     shmc_recq_open(&q, &segment, "log", NULL, SHMC_CONSUMER);
 *     int bytes = shmc_recq_pop(&q, buffer, sizeof buffer);
 *
 * Manual: docs/shmcomm_ring.md, bytes: docs/layout.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_RECQ_H
#define SHMCOMM_RECQ_H

#include "shmcomm_ring.h"

/* ---- constants --------------------------------------------------------- */

enum { SHMI_RECQ_MAGIC = 0x51434552, SHMI_RECQ_VERSION = 2 };    /* "RECQ" */

enum { SHMI_RECQ_MIN_BYTES = 256, SHMI_RECQ_WORD_BYTES = 8 };

enum { SHMI_RECQ_DATA = 1, SHMI_RECQ_PAD = 2 };     /* kinds of records */

/* ---- descs: zero selects the default, or what exists ------------------- */

typedef struct shmc_recq_desc {
    uint32_t capacity_bytes;        /* power of two, 256..2^31 [65536]      */
    uint32_t waitable;              /* 1: _wait works, publishing rings [0] */
    const char *type_name;          /* of the records, checked; NULL: not   */
} shmc_recq_desc;

typedef struct shmc_recq_item {     /* one of many records to push          */
    const void *data;
    uint32_t    bytes;
} shmc_recq_item;

typedef struct shmc_recq_buffer {   /* one of many places to pop into       */
    void    *data;
    uint32_t capacity_bytes;
    uint32_t bytes;                 /* out: what was popped                 */
} shmc_recq_buffer;

/* ---- shared layout, version 1 ------------------------------------------
 * A lane (shmcomm_ring.h) whose indices count bytes, and these records:
 * I5: [head, tail) is a row of whole records.  A record is a 64-bit word
 *     `bytes | kind << 32` and its bytes, up to a multiple of 8; none wraps:
 *     a PAD record fills the rest of the slots, a DATA record follows it.  */

/* ---- handles: private memory, no thread but its own may use one -------- */

typedef struct shmc_recq { shmi_lane lane; } shmc_recq;

typedef struct shmc_recq_stats {
    uint64_t pushed_bytes, popped_bytes;        /* with headers and padding */
    uint32_t used_bytes, capacity_bytes, max_bytes;
    int32_t  producer_pid, consumer_pid;
    bool     producer_alive, consumer_alive, waitable;
} shmc_recq_stats;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- recq: records of any size, one producer, one consumer ------------- */

/* The same as for spsc; a record takes 8 bytes and its bytes, up to a
 * multiple of 8; the largest has capacity_bytes / 2 - 8.                  */
SHMC_API int64_t shmc_recq_size_for(const shmc_recq_desc *desc);
SHMC_API int shmc_recq_format(void *mem, uint64_t bytes,
                              const shmc_recq_desc *desc);
SHMC_API int shmc_recq_map(shmc_recq *q, void *mem, uint64_t bytes,
                           uint32_t role);
SHMC_API int shmc_recq_open(shmc_recq *q, shmc_segment *s, const char *name,
                            const shmc_recq_desc *desc, uint32_t role);
SHMC_API int shmc_recq_close(shmc_recq *q);
SHMC_API int shmc_recq_stats_get(const shmc_recq *q, shmc_recq_stats *out);
SHMC_API int shmc_recq_push_wait(shmc_recq *q, const void *msg,
                                 uint32_t bytes, int64_t timeout_ns);
SHMC_API int shmc_recq_pop_wait(shmc_recq *q, void *buf, uint32_t capacity,
                                int64_t timeout_ns);

/* As shmc_spsc_pollable; SHMC_POLLOUT means room for the longest record.  */
SHMC_API shmc_pollable shmc_recq_pollable(shmc_recq *q);

/* ---- private: for headers that carve rings out of their own objects ---- */

/* As shmc_recq_map, with the segment whose participants are the peers.    */
SHMC_API int shmi_recq_bind(shmc_recq *q, shmc_segment *s, void *mem,
                            uint64_t bytes, uint32_t role);

/* ---- inline: recq ------------------------------------------------------- */

SHMC_INLINE uint64_t
shmi_recq_span(uint32_t bytes)
{
    return SHMI_RECQ_WORD_BYTES + shmi_round_up(bytes, 8);
}

/* A record's first word is one atomic word, so that it is loaded once and
 * what was checked is what is used; relaxed, as R1 -> A1 orders it.       */
SHMC_INLINE void
shmi_recq_set(shmi_lane *l, uint64_t at, uint32_t kind, uint32_t bytes)
{
    shmi_store_rlx_64((uint64_t *)(void *)(l->slots + (at & l->mask)),
                      (uint64_t)kind << 32 | bytes);
}

SHMC_INLINE uint64_t
shmi_recq_get(const shmi_lane *l, uint64_t at)
{
    return shmi_load_rlx_64(
        (const uint64_t *)(const void *)(l->slots + (at & l->mask)));
}

/* Find room for a record at *at (>= mine), moved past a PAD if the record
 * would wrap.  Writes the PAD, not the record; publishes nothing.         */
SHMC_INLINE int
shmi_recq_place(shmi_lane *l, uint64_t *at, uint32_t bytes)
{
    const uint64_t span = shmi_recq_span(bytes);
    const uint64_t piece = l->limit - (*at & l->mask);
    const uint64_t skip = span > piece ? piece : 0;
    /* No overflow: at - seen <= limit (I2), the rest is less than 2^33.   */
    if (SHMI_UNLIKELY(*at - l->seen + skip + span > l->limit)) {
        if (shmi_lane_see_head(l) != SHMC_OK) return SHMC_ECORRUPT;
        if (*at - l->seen + skip + span > l->limit) return SHMC_EAGAIN;
    }
    if (skip != 0) {
        shmi_recq_set(l, *at, SHMI_RECQ_PAD,
                        (uint32_t)skip - SHMI_RECQ_WORD_BYTES);
        *at += skip;
    }
    return SHMC_OK;
}

/* Find the record at *at (>= mine), moved past a PAD.  Returns its bytes.
 * Whatever a hostile or torn word says, a positive answer lies inside the
 * slots and inside [mine, seen); else SHMC_ECORRUPT (I5).                 */
SHMC_INLINE int
shmi_recq_find(shmi_lane *l, uint64_t *at)
{
    if (l->seen == *at) {
        if (shmi_lane_see_tail(l) != SHMC_OK) return SHMC_ECORRUPT;
        if (l->seen == *at) return SHMC_EAGAIN;
    }
    uint64_t filled = l->seen - *at;
    uint64_t piece = l->limit - (*at & l->mask);
    if (filled > l->limit || filled < SHMI_RECQ_WORD_BYTES) return SHMC_ECORRUPT;
    uint64_t word = shmi_recq_get(l, *at);
    if (SHMI_UNLIKELY(word >> 32 == SHMI_RECQ_PAD)) {
        if ((uint32_t)word + (uint64_t)SHMI_RECQ_WORD_BYTES != piece ||
            filled < piece + SHMI_RECQ_WORD_BYTES) return SHMC_ECORRUPT;
        *at += piece;
        filled -= piece;
        piece = l->limit;
        word = shmi_recq_get(l, *at);
    }
    const uint32_t bytes = (uint32_t)word;
    if (SHMI_UNLIKELY(word >> 32 != SHMI_RECQ_DATA || bytes > l->max_bytes))
        return SHMC_ECORRUPT;
    const uint64_t span = shmi_recq_span(bytes);
    if (SHMI_UNLIKELY(span > filled || span > piece)) return SHMC_ECORRUPT;
    return (int)bytes;
}

SHMC_INLINE uint8_t *
shmi_recq_data(const shmi_lane *l, uint64_t at)
{
    return l->slots + (at & l->mask) + SHMI_RECQ_WORD_BYTES;
}

SHMC_INLINE int
shmi_recq_gate(const shmi_lane *l, uint32_t role)
{
    if (SHMI_UNLIKELY(l->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(l->gate != shmi_gate(role, 0)))
        return shmi_lane_refuse(l, role);
    return SHMC_OK;
}

/* Copy in one record of 0..capacity_bytes / 2 - 8 bytes.
 * Safety  one producer thread, one consumer thread, in any processes.
 * Cost    wait-free, O(bytes); reads the consumer's line only if the queue
 *         looks too full.
 * Crash   dying before R1 loses this record only.
 * Errors  SHMC_EAGAIN no room now; SHMC_EMSGSIZE it never fits; the others
 *         as shmc_spsc_push.
 * Source  Lamport 1983; records that do not wrap as in Aeron's buffers.   */
SHMC_INLINE int
shmc_recq_push(shmc_recq *q, const void *msg, uint32_t bytes)
{
    shmi_lane *l = &q->lane;
    int rc = shmi_recq_gate(l, SHMC_PRODUCER);
    if (rc != SHMC_OK) return rc;
    if (SHMI_UNLIKELY(bytes > l->max_bytes)) return SHMC_EMSGSIZE;
    uint64_t at = l->mine;
    rc = shmi_recq_place(l, &at, bytes);
    if (rc != SHMC_OK) return rc;
    shmi_recq_set(l, at, SHMI_RECQ_DATA, bytes);
    /* A plain copy: by I3 and A2 nobody else touches the bytes till R1.   */
    if (bytes != 0) memcpy(shmi_recq_data(l, at), msg, bytes);
    shmi_lane_publish_tail(l, at + shmi_recq_span(bytes));
    return SHMC_OK;
}

/* Copy out the oldest record.  Returns its bytes, 0 included.
 * Safety, Cost  as shmc_recq_push.  Crash  the successor sees it again.
 * Errors  SHMC_EAGAIN empty; SHMC_EMSGSIZE more than `capacity`, the record
 *         stays (see shmc_recq_next_bytes); SHMC_ECORRUPT peer broke I2 or
 *         I5; the others as shmc_recq_push.                               */
SHMC_INLINE int
shmc_recq_pop(shmc_recq *q, void *buf, uint32_t capacity)
{
    shmi_lane *l = &q->lane;
    const int rc = shmi_recq_gate(l, SHMC_CONSUMER);
    if (rc != SHMC_OK) return rc;
    uint64_t at = l->mine;
    const int n = shmi_recq_find(l, &at);
    if (n < 0) return n;
    if (SHMI_UNLIKELY((uint32_t)n > capacity)) return SHMC_EMSGSIZE;
    if (n != 0) memcpy(buf, shmi_recq_data(l, at), (uint32_t)n);
    shmi_lane_publish_head(l, at + shmi_recq_span((uint32_t)n));
    return n;
}

/* Tell how large the oldest record is, without taking it.
 * Cost  wait-free.  Errors  as shmc_recq_pop, but for SHMC_EMSGSIZE.      */
SHMC_INLINE int
shmc_recq_next_bytes(shmc_recq *q)
{
    const int rc = shmi_recq_gate(&q->lane, SHMC_CONSUMER);
    if (rc != SHMC_OK) return rc;
    uint64_t at = q->lane.mine;
    return shmi_recq_find(&q->lane, &at);
}

/* Copy in the first of `count` records that fit; they are published
 * together.  Returns how many, at least 1.
 * Crash   all of them or none.
 * Errors  as shmc_recq_push; SHMC_EMSGSIZE if one of them never fits (none
 *         is pushed); count 0 or more than 2^30.                          */
SHMC_INLINE int
shmc_recq_push_n(shmc_recq *q, const shmc_recq_item *items, uint32_t count)
{
    shmi_lane *l = &q->lane;
    int rc = shmi_recq_gate(l, SHMC_PRODUCER);
    if (rc != SHMC_OK) return rc;
    if (count == 0 || count > SHMI_RING_MAX_BYTES) return SHMC_EINVAL;
    for (uint32_t i = 0; i < count; i++)
        if (items[i].bytes > l->max_bytes) return SHMC_EMSGSIZE;
    uint64_t end = l->mine;
    uint32_t n = 0;
    for (; n < count; n++) {
        const uint32_t bytes = items[n].bytes;
        uint64_t at = end;
        rc = shmi_recq_place(l, &at, bytes);
        if (rc != SHMC_OK) break;
        shmi_recq_set(l, at, SHMI_RECQ_DATA, bytes);
        if (bytes != 0) memcpy(shmi_recq_data(l, at), items[n].data, bytes);
        end = at + shmi_recq_span(bytes);
    }
    if (n == 0) return rc;
    shmi_lane_publish_tail(l, end);
    return (int)n;
}

/* Copy out up to `count` records, each into its own buffer, and set their
 * `bytes`; stop before one that does not fit its buffer.  Returns how many,
 * at least 1.  Crash  all are seen again.  Errors  as shmc_recq_pop, about
 * the first record; count 0 or more than 2^30.                            */
SHMC_INLINE int
shmc_recq_pop_n(shmc_recq *q, shmc_recq_buffer *buffers, uint32_t count)
{
    shmi_lane *l = &q->lane;
    int rc = shmi_recq_gate(l, SHMC_CONSUMER);
    if (rc != SHMC_OK) return rc;
    if (count == 0 || count > SHMI_RING_MAX_BYTES) return SHMC_EINVAL;
    uint64_t end = l->mine;
    uint32_t n = 0;
    for (; n < count; n++) {
        uint64_t at = end;
        rc = shmi_recq_find(l, &at);
        if (rc < 0) break;
        const uint32_t bytes = (uint32_t)rc;
        if (bytes > buffers[n].capacity_bytes) { rc = SHMC_EMSGSIZE; break; }
        if (bytes != 0)
            memcpy(buffers[n].data, shmi_recq_data(l, at), bytes);
        buffers[n].bytes = bytes;
        end = at + shmi_recq_span(bytes);
    }
    if (n == 0) return rc;
    shmi_lane_publish_head(l, end);
    return (int)n;
}

/* Borrow room for one record of up to `bytes` bytes, 8-byte aligned, to be
 * written in place.  Owner  the caller's until commit or abort; push
 * refuses.  Cost  wait-free, O(1).  Crash  as if the loan had never been.
 * Errors  as shmc_recq_push.                                              */
SHMC_INLINE int
shmc_recq_loan(shmc_recq *q, uint32_t bytes, void **data)
{
    shmi_lane *l = &q->lane;
    *data = NULL;
    int rc = shmi_recq_gate(l, SHMC_PRODUCER);
    if (rc != SHMC_OK) return rc;
    if (SHMI_UNLIKELY(bytes > l->max_bytes)) return SHMC_EMSGSIZE;
    uint64_t at = l->mine;
    rc = shmi_recq_place(l, &at, bytes);
    if (rc != SHMC_OK) return rc;
    *data = shmi_recq_data(l, at);
    l->hold_at = at;
    shmi_lane_hold(l, SHMC_PRODUCER, bytes);
    return SHMC_OK;
}

/* Publish the loaned record with its first `bytes` bytes.
 * Errors  SHMC_EINVAL no loan, or more than was loaned (the loan stays).  */
SHMC_INLINE int
shmc_recq_commit(shmc_recq *q, uint32_t bytes)
{
    shmi_lane *l = &q->lane;
    const int rc = shmi_lane_may_unhold(l, SHMC_PRODUCER);
    if (rc != SHMC_OK) return rc;
    if (SHMI_UNLIKELY(bytes > (uint32_t)l->hold)) return SHMC_EINVAL;
    shmi_recq_set(l, l->hold_at, SHMI_RECQ_DATA, bytes);
    shmi_lane_unhold(l);
    shmi_lane_publish_tail(l, l->hold_at + shmi_recq_span(bytes));
    return SHMC_OK;
}

/* Give a loan back unpublished.  Errors  SHMC_EINVAL no loan.             */
SHMC_INLINE int
shmc_recq_abort(shmc_recq *q)
{
    const int rc = shmi_lane_may_unhold(&q->lane, SHMC_PRODUCER);
    if (rc == SHMC_OK) shmi_lane_unhold(&q->lane);
    return rc;
}

/* Borrow the oldest record where it lies.  Returns its bytes.
 * Owner   the caller's until release; the producer does not overwrite it.
 * Cost    wait-free, O(1).  Crash  the successor sees it again.
 * Errors  as shmc_recq_pop, but for SHMC_EMSGSIZE.                        */
SHMC_INLINE int
shmc_recq_borrow(shmc_recq *q, const void **data)
{
    shmi_lane *l = &q->lane;
    *data = NULL;
    const int rc = shmi_recq_gate(l, SHMC_CONSUMER);
    if (rc != SHMC_OK) return rc;
    uint64_t at = l->mine;
    const int n = shmi_recq_find(l, &at);
    if (n < 0) return n;
    *data = shmi_recq_data(l, at);
    l->hold_at = at;
    shmi_lane_hold(l, SHMC_CONSUMER, (uint32_t)n);
    return n;
}

/* Give the borrowed record's room back.  Errors  SHMC_EINVAL none is.     */
SHMC_INLINE int
shmc_recq_release(shmc_recq *q)
{
    shmi_lane *l = &q->lane;
    const int rc = shmi_lane_may_unhold(l, SHMC_CONSUMER);
    if (rc != SHMC_OK) return rc;
    const uint64_t end = l->hold_at + shmi_recq_span((uint32_t)l->hold);
    shmi_lane_unhold(l);
    shmi_lane_publish_head(l, end);
    return SHMC_OK;
}

/* Count the bytes in use, headers and padding included, about now; and tell
 * the largest record.  Safety  any role.  Cost  wait-free.                */
SHMC_INLINE uint32_t
shmc_recq_used_bytes(const shmc_recq *q) { return shmi_lane_used(&q->lane); }

SHMC_INLINE uint32_t
shmc_recq_max_bytes(const shmc_recq *q) { return q->lane.max_bytes; }

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_RECQ_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_RECQ_IMPLEMENTED)
#define SHMCOMM_RECQ_IMPLEMENTED

/* >>recq ------------------------------------------------------------------ */

static int
shmi_recq_plan(shmi_lane_plan *p, const shmc_recq_desc *desc)
{
    static const shmc_recq_desc none;
    const shmc_recq_desc *d = desc ? desc : &none;
    const uint32_t capacity = d->capacity_bytes ? d->capacity_bytes : 65536;
    memset(p, 0, sizeof *p);
    p->what = "record queue";
    p->count_field = "capacity_bytes";
    p->type_name = d->type_name;
    p->magic = SHMI_RECQ_MAGIC;
    p->version = SHMI_RECQ_VERSION;
    p->kind = SHMC_KIND_RECQ;
    p->unit = SHMI_RECQ_WORD_BYTES;
    p->min_count = SHMI_RECQ_MIN_BYTES / SHMI_RECQ_WORD_BYTES;
    p->slot_count = d->capacity_bytes / SHMI_RECQ_WORD_BYTES;
    p->waitable = d->waitable;
    if (!shmi_is_pow2(capacity) || capacity < SHMI_RECQ_MIN_BYTES)
        return shmi_fail(SHMC_EINVAL, "%s: capacity_bytes is %u, not a power"
                         " of two from %u", p->what, (unsigned)capacity,
                         (unsigned)SHMI_RECQ_MIN_BYTES);
    shmi_lane_plan_head(p, SHMI_RECQ_WORD_BYTES, capacity / SHMI_RECQ_WORD_BYTES);
    return shmi_waitable_check(p->what, d->waitable);
}

SHMC_API int64_t
shmc_recq_size_for(const shmc_recq_desc *desc)
{
    shmi_lane_plan p;
    const int rc = shmi_recq_plan(&p, desc);
    return rc == SHMC_OK ? (int64_t)p.head.total_bytes : rc;
}

SHMC_API int
shmc_recq_format(void *mem, uint64_t bytes, const shmc_recq_desc *desc)
{
    shmi_lane_plan p;
    const int rc = shmi_recq_plan(&p, desc);
    return rc == SHMC_OK ? shmi_lane_format(mem, bytes, &p) : rc;
}

SHMC_API int
shmi_recq_bind(shmc_recq *q, shmc_segment *s, void *mem, uint64_t bytes,
               uint32_t role)
{
    shmi_lane_plan p;
    const int rc = shmi_recq_plan(&p, NULL);
    return rc == SHMC_OK ? shmi_lane_bind(&q->lane, s, mem, bytes, role, &p)
                         : rc;
}

SHMC_API int
shmc_recq_map(shmc_recq *q, void *mem, uint64_t bytes, uint32_t role)
{
    return shmi_recq_bind(q, NULL, mem, bytes, role);
}

SHMC_API int
shmc_recq_open(shmc_recq *q, shmc_segment *s, const char *name,
               const shmc_recq_desc *desc, uint32_t role)
{
    shmi_lane_plan p;
    memset(q, 0, sizeof *q);
    const int rc = shmi_recq_plan(&p, desc);
    return rc == SHMC_OK ? shmi_lane_open(&q->lane, s, name, role, &p) : rc;
}

SHMC_API int
shmc_recq_close(shmc_recq *q) { return shmi_lane_close(&q->lane); }

SHMC_API int
shmc_recq_stats_get(const shmc_recq *q, shmc_recq_stats *out)
{
    const shmi_lane *l = &q->lane;
    memset(out, 0, sizeof *out);
    if (!l->shm) return SHMC_ECLOSED;
    if (l->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    out->popped_bytes = shmi_load_rlx_64(&l->shm->head.index);
    out->pushed_bytes = shmi_load_rlx_64(&l->shm->tail.index);
    out->used_bytes = shmi_lane_used(l);
    out->capacity_bytes = l->limit;
    out->max_bytes = l->max_bytes;
    out->waitable = (l->flags & SHMI_RING_WAITABLE) != 0;
    shmi_ring_holder(l->segment, &l->shm->tail.owner, &out->producer_pid,
                     &out->producer_alive);
    shmi_ring_holder(l->segment, &l->shm->head.owner, &out->consumer_pid,
                     &out->consumer_alive);
    return SHMC_OK;
}

static int
shmi_recq_try(const shmi_lane_wait *w)
{
    shmc_recq *q = (shmc_recq *)w->queue;
    return w->lane->role == SHMC_CONSUMER
         ? shmc_recq_pop(q, w->to, w->bytes)
         : shmc_recq_push(q, w->from, w->bytes);
}

SHMC_API int
shmc_recq_push_wait(shmc_recq *q, const void *msg, uint32_t bytes,
                    int64_t timeout_ns)
{
    shmi_lane_wait w = { shmi_recq_try, &q->lane, q, msg, NULL, bytes };
    return shmi_lane_wait_for(SHMC_PRODUCER, &w, timeout_ns);
}

SHMC_API int
shmc_recq_pop_wait(shmc_recq *q, void *buf, uint32_t capacity,
                   int64_t timeout_ns)
{
    shmi_lane_wait w = { shmi_recq_try, &q->lane, q, NULL, buf, capacity };
    return shmi_lane_wait_for(SHMC_CONSUMER, &w, timeout_ns);
}

static int64_t
shmi_recq_look_filled(shmi_lane *l)
{
    uint64_t at = l->mine;
    const int r = shmi_recq_find(l, &at);

    return r >= 0 ? 1 : r;
}

/* Is there room for the longest record, behind a PAD if need be?          */
static int64_t
shmi_recq_look_room(shmi_lane *l)
{
    const uint64_t span = shmi_recq_span(l->max_bytes);
    const uint64_t piece = l->limit - (l->mine & l->mask);
    const uint64_t need = span + (span > piece ? piece : 0);

    if (l->mine - l->seen + need <= l->limit) return 1;
    if (shmi_lane_see_head(l) != SHMC_OK) return SHMC_ECORRUPT;
    return l->mine - l->seen + need <= l->limit ? 1 : SHMC_EAGAIN;
}

static int
shmi_recq_look(void *queue, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmi_lane *l = &((shmc_recq *)queue)->lane;

    return shmi_lane_poll(l, events, thorough, spot,
                          l->role == SHMC_CONSUMER ? shmi_recq_look_filled
                                                   : shmi_recq_look_room);
}

SHMC_API shmc_pollable
shmc_recq_pollable(shmc_recq *q)
{
    return (shmc_pollable){ shmi_recq_look, q };
}

#endif /* SHMCOMM_IMPLEMENTATION */
