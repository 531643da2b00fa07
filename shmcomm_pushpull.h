/* shmcomm_pushpull.h - PUSH/PULL sockets: each message to one worker.
 *
 *     shmc_push push;                                   // one process
 *     shmc_push_open(&push, "robot/jobs", NULL);
 *     shmc_push_send(&push, "weld", 5, SHMC_FOREVER);
 *     shmc_pull pull;                                   // others
 *     shmc_pull_open(&pull, "robot/jobs", NULL);
 *     int bytes = shmc_pull_recv(&pull, text, sizeof text, SHMC_FOREVER);
 *
 * Manual: docs/shmcomm_pushpull.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_PUSHPULL_H
#define SHMCOMM_PUSHPULL_H

#include "shmcomm_endpoint.h"
#include "shmcomm_mpmc.h"

/* ---- descs ------------------------------------------------------------- */

/* A queue of work: who pushes first gives it its shape; whoever comes later
 * and names a different one is told (SHMC_EMISMATCH).  Zero takes what
 * exists.                                                                 */
typedef struct shmc_push_desc {
    uint32_t depth;                 /* messages kept, power of two [256]    */
    uint32_t max_bytes;             /* longest message, 1..2^30; of up to 112
                                       the next multiple of 8 [16384]       */
    uint32_t max_handles;           /* pushers and workers, 1..4000 [64]    */
    uint32_t on_worker_death;       /* what it had in hand: SHMC_REDELIVER,
                                       SHMC_DROP [SHMC_REDELIVER]           */
    uint32_t max_redeliveries;      /* then it is poison, and dropped;
                                       1..16383, or 0: no limit [0]         */
    uint32_t wake;                  /* SHMC_WAKE_... [SHMC_WAKE_FENCE]      */
    uint32_t access;                /* permission bits of the file [0600]   */
    uint32_t gid;                   /* with SHMC_SET_GID                    */
    uint32_t flags;                 /* SHMC_PREFAULT, MLOCK, HUGEPAGES,
                                       SET_GID                              */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
} shmc_push_desc;

typedef struct shmc_pull_desc {
    bool     until_end;             /* recv and borrow return SHMC_EEND when
                                       all pushers have gone and nothing is
                                       left, in the queue or in a hand      */
    uint32_t flags;                 /* SHMC_PREFAULT, MLOCK, HUGEPAGES      */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
} shmc_pull_desc;

/* ---- shared layout, version 1 ------------------------------------------
 * The queue is a shmc_mpmc, "work", whose slots begin with this word:
 * where the message is (SHMI_WORK_...) << 32 | its bytes.  W pusher before
 * its R3, R worker after its A3.                                          */
enum {
    SHMI_WORK_HERE = 0,             /* behind the word                      */
    SHMI_WORK_BESIDE = 1,           /* in the room beside the slot          */
    SHMI_WORK_INLINE_BYTES = 112    /* at most behind the word: 128 in all  */
};

/* In a seat, word[1]: the role of its owner.  W owner, R who asks whether
 * anybody of that role is there.                                          */
enum { SHMI_WORK_ROLE = 1 };

/* ---- handles: their address must not change while open ----------------- */

/* A queue from either side.  Private.                                     */
typedef struct shmi_work {
    shmc_mpmc ring;                 /* closed while the queue is awaited    */
    uint64_t stride;                /* of its cells                         */
    uint32_t here_bytes;            /* what fits behind a cell's first word */
    uint32_t max_bytes;
} shmi_work;

typedef struct shmc_push {
    shmi_work work;
    shmc_segment segment;
    uint64_t refused;               /* sends that found no room             */
    uint64_t drained;               /* all before it is done with           */
    uint32_t loan_where, loan_bytes;
} shmc_push;

typedef struct shmc_pull {
    shmi_work work;
    shmc_segment segment;
    shmi_endpoint_wait wait;        /* for a queue that is not there yet    */
    uint64_t ended;                 /* all before it is done with           */
    uint32_t redeliveries;          /* of the last message                  */
    uint32_t flags, polls;
    bool     until_end, open;
    bool     kept;                  /* claimed, but recv had no room for it */
} shmc_pull;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: pushers ------------------------------------------------------ */

/* Join a queue as pusher, creating it where it does not exist.
 * Safety  a handle belongs to one thread; any number of handles.
 * Crash   a queue whose users all died is taken over with its messages, or
 *         removed if it has none.
 * Errors  SHMC_EMISMATCH another shape is in use; SHMC_ELIMIT no seat;
 *         SHMC_ETYPE the name is in use for something else; SHMC_ENAME;
 *         SHMC_ENOSPC; SHMC_EACCES; SHMC_EINVAL.                          */
SHMC_API int shmc_push_open(shmc_push *push, const char *queue,
                            const shmc_push_desc *desc);

/* Leave.  Does not wait, and loses nothing: what nobody has taken stays.
 * The last one out removes the file, unless there are messages in it.  A
 * loan is given up.  In a forked child it forgets the handle.
 * Errors  SHMC_ECLOSED.                                                   */
SHMC_API int shmc_push_close(shmc_push *push);

/* The slow parts of shmc_push_send: room has to be waited for; no message
 * can be sent now.                                                        */
SHMC_API int shmi_push_send_wait(shmc_push *push, const void *data,
                                 uint32_t bytes, int64_t timeout_ns);
SHMC_API int shmi_push_refuse(const shmc_push *push, uint32_t bytes);

/* Send without waiting; SHMC_EAGAIN is not counted.                       */
SHMC_HOT int
shmi_push_try(shmc_push *push, const void *data, uint32_t bytes)
{
    shmi_work *w = &push->work;
    uint64_t pos = 0, *cell = NULL;
    if (SHMI_UNLIKELY(w->ring.epoch != shmi_fork_epoch || !w->ring.push_gate ||
                      bytes > w->max_bytes))
        return shmi_push_refuse(push, bytes);
    const int r = shmi_mpmc_take_tail(&w->ring, w->stride, &pos, &cell);
    if (SHMI_UNLIKELY(r < 0)) return r;
    /* The cell, and the room beside it, are ours until R3.                */
    if (SHMI_LIKELY(bytes <= w->here_bytes)) {
        shmi_store_rlx_64(cell + 1, bytes);
        shmi_copy_in(cell + 2, data, bytes);
    } else {
        shmi_store_rlx_64(cell + 1, (uint64_t)SHMI_WORK_BESIDE << 32 | bytes);
        shmi_copy_in(shmi_mpmc_beside(&w->ring, pos), data, bytes);
    }
    /* R3 -> A3: the message happens before a worker reads it.             */
    shmi_store_rel_64(cell, shmi_mpmc_word(pos, SHMI_MPMC_FULL));
    shmi_mpmc_pushed(&w->ring);
    return SHMC_OK;
}

/* Push one message of 0..max_bytes bytes, by copy; one worker gets it, at
 * some time, whether one is there now or not.  If the queue is full, wait
 * for room up to timeout_ns (0: refuse this message instead); what is
 * refused is counted.  Long messages are copied in the queue: workers do not
 * get past one that is being written.
 * Cost    lock-free, O(bytes), no system call unless somebody sleeps.
 * Crash   dying inside loses this message only.
 * Errors  SHMC_EMSGSIZE; SHMC_EAGAIN, SHMC_ETIMEDOUT no room; SHMC_EBUSY
 *         there is a loan; SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT.     */
SHMC_INLINE int
shmc_push_send(shmc_push *push, const void *data, uint32_t bytes,
               int64_t timeout_ns)
{
    const int r = shmi_push_try(push, data, bytes);
    if (SHMI_LIKELY(r != SHMC_EAGAIN)) return r;
    return shmi_push_send_wait(push, data, bytes, timeout_ns);
}

/* Lend room for a message of up to `bytes` in shared memory, to be written
 * in place and committed (with as many bytes or fewer) or aborted; no send
 * meanwhile, and workers do not get past it.  8-byte aligned, and of over
 * 112 bytes 128-byte aligned.
 * Errors  as send; SHMC_EBUSY one loan at a time.                         */
SHMC_API int shmc_push_loan(shmc_push *push, uint32_t bytes, void **data,
                            int64_t timeout_ns);
SHMC_API int shmc_push_commit(shmc_push *push, uint32_t bytes);
SHMC_API int shmc_push_abort(shmc_push *push);

/* Wait until all that was pushed so far, by anybody, is done with: taken by
 * workers and released, or dropped by the queue's rules.
 * Cost    O(depth) once for each lap; blocks up to timeout_ns.
 * Crash   what a dead worker held counts when another one is done with it.
 * Errors  SHMC_EAGAIN (timeout 0), SHMC_ETIMEDOUT not yet; SHMC_EBUSY there
 *         is a loan; SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT.           */
SHMC_API int shmc_push_drain(shmc_push *push, int64_t timeout_ns);

/* Count what happened in the queue so far: shmc_mpmc_stats_get.  `pushed`
 * and `popped` are messages; `used` is those that nobody has taken yet.   */
SHMC_API int shmc_push_stats_get(const shmc_push *push, shmc_mpmc_stats *out);

/* Name the pusher to shmc_poll: SHMC_POLLOUT when there is room.
 * Errors  as send.                                                        */
SHMC_API shmc_pollable shmc_push_pollable(shmc_push *push);

/* ---- API: workers ------------------------------------------------------ */

/* Join a queue as worker.  It need not exist yet: then receive waits for it
 * (looking every SHMC_TOPIC_POLL_NS).
 * Safety  a handle belongs to one thread; any number of handles.
 * Errors  SHMC_ENAME; SHMC_EINVAL; SHMC_EACCES; SHMC_ELIMIT; SHMC_ECORRUPT;
 *         SHMC_ETYPE the name is in use for something else.               */
SHMC_API int shmc_pull_open(shmc_pull *pull, const char *queue,
                            const shmc_pull_desc *desc);

/* Leave.  What is borrowed and not released goes to another worker, or is
 * dropped, as if this one had died.  In a forked child it forgets the handle.
 * Errors  SHMC_ECLOSED.                                                   */
SHMC_API int shmc_pull_close(shmc_pull *pull);

/* The slow parts of shmc_pull_recv: nothing was there at the first look; the
 * message at `pos`, ours, does not fit, or is damaged.                    */
SHMC_API int shmi_pull_recv_wait(shmc_pull *pull, void *buf, uint32_t cap,
                                 int64_t timeout_ns);
SHMC_API int shmi_pull_keep(shmc_pull *pull, uint64_t pos, uint64_t note);
SHMC_API int shmi_pull_refuse(shmc_pull *pull, void *buf, uint32_t cap);

/* Where the message in the room beside our cell is, by its note, which was
 * loaded once; or NULL: damaged.                                          */
SHMC_INLINE uint8_t *
shmi_work_beside(const shmi_work *w, uint64_t pos, uint64_t note)
{
    return note >> 32 == SHMI_WORK_BESIDE &&
           (uint32_t)note <= w->ring.beside_bytes
         ? shmi_mpmc_beside(&w->ring, pos) : NULL;
}

/* Receive without waiting.                                                */
SHMC_HOT int
shmi_pull_try(shmc_pull *pull, void *buf, uint32_t cap)
{
    shmi_work *w = &pull->work;
    uint64_t pos = 0, *cell = NULL;
    if (SHMI_UNLIKELY(w->ring.epoch != shmi_fork_epoch || !w->ring.pop_gate))
        return shmi_pull_refuse(pull, buf, cap);
    const int r = shmi_mpmc_take_head(&w->ring, w->stride, &pos, &cell);
    if (SHMI_UNLIKELY(r < 0)) return r;
    /* Untrusted: loaded once, checked, used.  Relaxed: see A3.            */
    const uint64_t note = shmi_load_rlx_64(cell + 1);
    const uint32_t bytes = (uint32_t)note;
    const void *at = cell + 2;
    if (SHMI_UNLIKELY(note > w->here_bytes)) at = shmi_work_beside(w, pos, note);
    if (SHMI_UNLIKELY(at == NULL || bytes > cap))
        return shmi_pull_keep(pull, pos, note);
    shmi_copy_out(shmi_opaque(buf), at, bytes);
    pull->redeliveries = shmi_mpmc_again(cell);
    /* R4 -> A4: our reads happen before the next lap's pusher writes.     */
    shmi_store_rel_64(cell, shmi_mpmc_word(pos + w->ring.mask + 1,
                                           SHMI_MPMC_FREE));
    shmi_mpmc_popped(&w->ring);
    return (int)bytes;
}

/* Receive the oldest message that nobody has taken, by copy: spin, yield,
 * then sleep up to timeout_ns.  Returns its bytes, 0 for an empty one.
 * Cost    lock-free if a message is there; else blocks.
 * Crash   dying before it returns: somebody else gets the message, or it is
 *         dropped, by the queue's on_worker_death.
 * Errors  SHMC_EAGAIN (timeout 0) or SHMC_ETIMEDOUT nothing came;
 *         SHMC_EMSGSIZE `cap` is too small, this worker keeps the message
 *         for its next call; with until_end SHMC_EEND; SHMC_EBUSY a message
 *         is borrowed; SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT a damaged
 *         message, which is gone.                                         */
SHMC_INLINE int
shmc_pull_recv(shmc_pull *pull, void *buf, uint32_t cap, int64_t timeout_ns)
{
    const int r = shmi_pull_try(pull, buf, cap);
    if (SHMI_LIKELY(r != SHMC_EAGAIN)) return r;
    return shmi_pull_recv_wait(pull, buf, cap, timeout_ns);
}

/* Take the oldest message and work on it where it lies: nobody writes there
 * until release.  It counts as done when it is released; what a worker holds
 * when it dies, another one gets.  Aligned as a loan.
 * Errors  as recv.                                                        */
SHMC_API int shmc_pull_borrow(shmc_pull *pull, const void **data,
                              int64_t timeout_ns);

/* Have done with it.  Errors  SHMC_EINVAL nothing is borrowed; SHMC_EFORKED;
 * SHMC_ECLOSED.                                                           */
SHMC_API int shmc_pull_release(shmc_pull *pull);

/* How many workers died with the message that was received or borrowed last
 * in hand, or left with it; 0: this one is its first.                     */
SHMC_INLINE uint32_t
shmc_pull_redeliveries(const shmc_pull *pull) { return pull->redeliveries; }

/* Tell whether no more will come (1), or more may (0): all pushers have
 * gone, and nothing is left in the queue or in a worker's hand, this one's
 * included.  A pusher that comes later may still bring more.
 * Cost    O(handles), a system call for each pusher until a live one.
 * Errors  SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT.                      */
SHMC_API int shmc_pull_ended(shmc_pull *pull);

/* Tell whether the queue exists for this worker (0 or 1), looking for it if
 * it does not yet; or why it cannot be joined.                            */
SHMC_API int shmc_pull_ready(shmc_pull *pull);

/* As shmc_push_stats_get.  SHMC_EAGAIN while the queue does not exist.    */
SHMC_API int shmc_pull_stats_get(const shmc_pull *pull, shmc_mpmc_stats *out);

/* Name the worker to shmc_poll: SHMC_POLLIN when there is a message, or with
 * until_end the end.  Another worker may be faster than the receive that
 * follows.  While it waits for its queue the poller looks for that every
 * SHMC_TOPIC_POLL_NS.  Errors  those of receive and open.                 */
SHMC_API shmc_pollable shmc_pull_pollable(shmc_pull *pull);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_PUSHPULL_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_PUSHPULL_IMPLEMENTED)
#define SHMCOMM_PUSHPULL_IMPLEMENTED

#include <string.h>

#define SHMI_WORK_OBJECT "work"
#define SHMI_WORK_TYPE "shmcomm PUSH/PULL"

/* >>work: the file --------------------------------------------------------- */

/* Is there a message in the ring that somebody should get?  Asked when nobody
 * uses it; the geometry is checked.                                        */
static bool
shmi_work_left(const shmc_mpmc *q)
{
    /* Relaxed: who was here last let go of the file's lock before.         */
    const uint64_t tail = shmi_load_rlx_64(&q->shm->tail);
    const uint64_t head = shmi_load_rlx_64(&q->shm->head);

    for (uint64_t pos = tail - q->mask - 1; pos != tail; pos++) {
        const uint64_t word = shmi_load_rlx_64(shmi_mpmc_at(q, pos));
        if (shmi_mpmc_full(word, pos) &&
            !((int64_t)(head - pos) > 0 &&
              (q->drop || shmi_mpmc_is_poison(q, word)))) return true;
    }
    return false;
}

/* Keep a file with messages; and one that is not what we think it is.      */
static bool
shmi_work_keep(const shmc_segment *s)
{
    shmc_object_info info;
    shmc_mpmc_desc is;
    shmc_mpmc q;

    for (uint32_t i = 0; i < s->max_objects; i++) {
        if (shmc_object_info_get(s, i, &info) != SHMC_OK ||
            strcmp(info.name, SHMI_WORK_OBJECT) != 0) continue;
        memset(&q, 0, sizeof q);
        return info.kind != SHMC_KIND_MPMC ||
               info.type_hash != shmc_type_hash(SHMI_WORK_TYPE) ||
               shmi_mpmc_point(&q, s->base + info.offset, info.bytes,
                               &is) != SHMC_OK || shmi_work_left(&q);
    }
    return true;
}

static const shmi_endpoint_kind shmi_work_kind = {
    "queue", SHMI_WORK_OBJECT, shmi_work_keep, false
};

/* Open the ring, creating it as `desc` says unless it is there.            */
static int
shmi_work_open(shmi_work *w, shmc_segment *s, const shmc_mpmc_desc *desc,
               uint32_t role)
{
    const int r = shmc_mpmc_open(&w->ring, s, SHMI_WORK_OBJECT, desc, role);

    if (r != SHMC_OK) return r;
    w->stride = shmi_mpmc_stride(w->ring.slot_bytes);
    w->here_bytes = w->ring.slot_bytes - 8;
    w->max_bytes = w->ring.beside_bytes ? w->ring.beside_bytes : w->here_bytes;
    if (w->ring.slot_bytes < 16 || w->max_bytes < w->here_bytes ||
        !w->ring.waitable) {
        (void)shmc_mpmc_close(&w->ring);
        return shmi_fail(SHMC_ECORRUPT, "queue '%s': slots of %u bytes with %u "
                         "beside: damaged", s->name, w->here_bytes + 8,
                         w->max_bytes);
    }
    /* Relaxed: until our open returns, either answer is right.             */
    shmi_store_rlx_64(&w->ring.seat->word[SHMI_WORK_ROLE], role);
    return SHMC_OK;
}

/* The same, of a ring that is there, whatever its shape.                   */
static int
shmi_work_attach(shmi_work *w, shmc_segment *s, uint32_t role)
{
    shmc_mpmc_desc any;

    memset(&any, 0, sizeof any);
    any.type_name = SHMI_WORK_TYPE;
    return shmi_work_open(w, s, &any, role);
}

/* Is anybody alive in this role?  Cost  a system call for each seat that was
 * taken in it, until one is.                                               */
static bool
shmi_work_present(const shmc_mpmc *q, uint32_t role)
{
    for (uint32_t i = 0; i < q->seat_count; i++) {
        /* Acquire: the kernel says who is alive; of who left in order, or of
         * who died before somebody else sat there, all that it pushed is
         * seen with the seat (shmi_seat_drop, shmi_seat_claim).  The role
         * relaxed: a newcomer in whose seat the last one's is still found has
         * not returned from its open.                                      */
        const uint64_t owner = shmi_load_acq_64(&q->seats[i].owner);
        const uint64_t is = shmi_load_rlx_64(&q->seats[i].word[SHMI_WORK_ROLE]);
        if (owner != 0 && (is & role) && shmi_owner_alive(q->segment, owner))
            return true;
    }
    return false;
}

/* Look for a position from *from up to `end`, which is claimed, that is not
 * free again: SHMC_OK there is none; SHMC_EAGAIN *from is; SHMC_ECORRUPT tail
 * went back.  What dead workers held is dropped on the way, where that is its
 * lot.
 * Cost    O(positions), and of the seats at each that is dropped.          */
static int
shmi_work_done(shmc_mpmc *q, uint64_t *from, uint64_t end)
{
    const uint64_t lap = q->mask + 1;
    uint64_t pos = *from;

    /* What lies more than a lap behind was free before its cell was used
     * again.                                                               */
    if ((int64_t)(end - lap - pos) > 0) pos = end - lap;
    if (end - pos > lap) return SHMC_ECORRUPT;      /* tail went back       */
    for (; pos != end; pos++) {
        *from = pos;
        /* A4 <- R4: what its worker did happens before we say so.          */
        const uint64_t word = shmi_load_acq_64(shmi_mpmc_at(q, pos));
        const uint64_t ahead = ((word >> 16) - pos) & SHMI_MPMC_POSITION;
        if (ahead != 0 && ahead <= SHMI_MPMC_POSITION >> 1) continue;
        /* A2 <- R2: the claimer's intent happens before our look at the
         * seats.                                                           */
        if ((int64_t)(shmi_load_acq_64(&q->shm->head) - pos) <= 0)
            return SHMC_EAGAIN;
        if (word == shmi_mpmc_word(pos, SHMI_MPMC_TOMB))
            shmi_mpmc_untomb(q, pos);
        else if (!(q->drop || shmi_mpmc_is_poison(q, word)) ||
                 shmi_mpmc_adopt(q, pos) != SHMI_MPMC_DROPPED)
            return SHMC_EAGAIN;
    }
    *from = end;
    return SHMC_OK;
}

/* >>work: pushers ---------------------------------------------------------- */

/* Bytes behind a cell's first word, and the longest message, for what was
 * asked for.                                                               */
static uint32_t
shmi_work_here(uint32_t max_bytes)
{
    return max_bytes < SHMI_WORK_INLINE_BYTES ? (max_bytes + 7) / 8 * 8
                                              : SHMI_WORK_INLINE_BYTES;
}

static uint32_t
shmi_work_most(uint32_t max_bytes)
{
    return max_bytes <= SHMI_WORK_INLINE_BYTES ? shmi_work_here(max_bytes)
                                               : max_bytes;
}

/* The ring of a new queue.                                                 */
static shmc_mpmc_desc
shmi_work_ring(const shmc_push_desc *d)
{
    const uint32_t most = d->max_bytes ? d->max_bytes : 16384;
    shmc_mpmc_desc ring;

    memset(&ring, 0, sizeof ring);
    ring.slot_bytes = 8 + shmi_work_here(most);
    ring.slot_count = d->depth ? d->depth : 256;
    ring.max_handles = d->max_handles;
    ring.on_consumer_death = d->on_worker_death;
    ring.max_redeliveries = d->max_redeliveries;
    ring.beside_bytes = most > SHMI_WORK_INLINE_BYTES ? most : 0;
    ring.waitable = 1;
    ring.type_name = SHMI_WORK_TYPE;
    return ring;
}

/* Is what was asked for what exists?                                       */
static int
shmi_work_same(const shmi_work *w, const shmc_push_desc *d)
{
    const struct { const char *field; uint64_t asked, is; } row[] = {
        { "depth", d->depth, w->ring.mask + 1 },
        { "max_bytes", shmi_work_most(d->max_bytes), w->max_bytes },
        { "max_handles", d->max_handles, w->ring.seat_count },
        { "on_worker_death", d->on_worker_death, w->ring.drop },
        { "max_redeliveries", d->max_redeliveries, w->ring.max_again }
    };
    int r = SHMC_OK;

    for (uint32_t i = 0; r == SHMC_OK && i < sizeof row / sizeof row[0]; i++)
        r = shmi_ring_same("queue of work", row[i].field, row[i].asked,
                           row[i].is);
    return r;
}

typedef struct shmi_push_opening {
    shmc_push *push;
    const shmc_push_desc *desc;
    uint32_t magic;                 /* of what is there; 0: nothing         */
} shmi_push_opening;

static int
shmi_push_join(void *ctx, shmc_segment *s)
{
    const shmi_push_opening *o = ctx;
    const shmc_mpmc_desc ring = shmi_work_ring(o->desc);
    const uint32_t wake = o->desc->wake;
    shmi_work *w = &o->push->work;

    if (o->magic == 0) return shmi_work_open(w, s, &ring, SHMC_PRODUCER);
    if (wake != SHMC_WAKE_FENCE && wake != s->wake)
        return shmi_fail(SHMC_EMISMATCH, "push to '%s': the queue exists with "
                         "wake %u, not %u; ask for that, or for 0 (take what "
                         "exists)", s->name, s->wake, wake);
    int r = shmi_work_attach(w, s, SHMC_PRODUCER);
    if (r != SHMC_OK) return r;
    r = shmi_work_same(w, o->desc);
    if (r != SHMC_OK) (void)shmc_mpmc_close(&w->ring);
    return r;
}

static void
shmi_push_forget(void *ctx)
{
    const shmi_push_opening *o = ctx;

    memset(&o->push->work, 0, sizeof o->push->work);
}

/* What was left with messages is taken over.                               */
static bool
shmi_push_adopt(void *ctx, const shmc_segment *s)
{
    (void)ctx;
    return shmi_work_keep(s);
}

static int
shmi_push_desc_check(const char *queue, const shmc_push_desc *d)
{
    const uint32_t known = SHMC_PREFAULT | SHMC_MLOCK | SHMC_HUGEPAGES |
                           SHMC_SET_GID;
    const char *name = queue ? queue : "";

    if (d->max_bytes > SHMI_RING_MAX_BYTES)
        return shmi_fail(SHMC_EINVAL, "queue '%s': max_bytes %u, at most %u", name,
                         d->max_bytes, SHMI_RING_MAX_BYTES);
    if (d->max_handles > 4000)
        return shmi_fail(SHMC_EINVAL, "queue '%s': max_handles %u, at most 4000",
                         name, d->max_handles);
    if ((d->flags & ~known) != 0)
        return shmi_fail(SHMC_EINVAL, "queue '%s': flags 0x%x; give "
                         "SHMC_PREFAULT, SHMC_MLOCK, SHMC_HUGEPAGES or "
                         "SHMC_SET_GID", name, d->flags);
    return SHMC_OK;
}

SHMC_API int
shmc_push_open(shmc_push *push, const char *queue, const shmc_push_desc *desc)
{
    static const shmc_push_desc defaults;
    const shmc_push_desc *d = desc != NULL ? desc : &defaults;
    shmi_push_opening o = { push, d, 0 };
    shmi_endpoint_opening e;

    memset(push, 0, sizeof *push);
    int r = shmi_push_desc_check(queue, d);
    if (r != SHMC_OK) return r;
    const shmc_mpmc_desc ring = shmi_work_ring(d);
    const int64_t bytes = shmc_mpmc_size_for(&ring);
    if (bytes < 0) return (int)bytes;
    memset(&e, 0, sizeof e);
    e.kind = &shmi_work_kind;
    e.file.heap_bytes = (uint64_t)bytes;
    e.file.max_objects = 8;
    /* Some more, for who attaches only to look.                            */
    e.file.max_participants = 32 + (d->max_handles ? d->max_handles : 64);
    e.file.mode = d->access;
    e.file.gid = d->gid;
    e.file.flags = d->flags;
    e.file.wake = d->wake;
    e.file.dir = d->dir;
    e.file.prefix = d->prefix;
    e.head = &o.magic;
    e.head_bytes = sizeof o.magic;
    e.adopt = shmi_push_adopt;
    e.join = shmi_push_join;
    e.forget = shmi_push_forget;
    e.ctx = &o;
    r = shmi_endpoint_open(&push->segment, queue, &e);
    return r < 0 ? r : SHMC_OK;
}

SHMC_API int
shmc_push_close(shmc_push *push)
{
    shmc_mpmc *q = &push->work.ring;

    if (q->shm == NULL)
        return shmi_fail(SHMC_ECLOSED, "close pusher: it is not open");
    const bool ours = q->epoch == shmi_fork_epoch, asymmetric = q->asymmetric;
    shmi_bell_shm *bell = &q->shm->readable;
    (void)shmc_mpmc_close(q);
    /* Who waits for the end may have waited for us.                        */
    if (ours) shmi_bell_ring(bell, asymmetric);
    return shmi_endpoint_close(&push->segment, &shmi_work_kind);
}

SHMC_API int
shmi_push_refuse(const shmc_push *push, uint32_t bytes)
{
    const shmc_mpmc *q = &push->work.ring;

    if (q->shm == NULL) return SHMC_ECLOSED;
    if (q->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (q->loaned) return SHMC_EBUSY;
    return bytes > push->work.max_bytes ? SHMC_EMSGSIZE : SHMC_EINVAL;
}

static int
shmi_push_try_loan(shmc_push *push, uint32_t bytes, void **room)
{
    shmc_mpmc *q = &push->work.ring;
    uint64_t *cell = NULL;

    if (q->epoch != shmi_fork_epoch || !q->push_gate ||
        bytes > push->work.max_bytes) return shmi_push_refuse(push, bytes);
    const int r = shmi_mpmc_take_tail(q, push->work.stride, &q->loan_pos, &cell);
    if (r < 0) return r;
    q->loaned = true;
    q->push_gate = 0;
    push->loan_bytes = bytes;
    push->loan_where = bytes <= push->work.here_bytes ? SHMI_WORK_HERE
                                                      : SHMI_WORK_BESIDE;
    *room = push->loan_where == SHMI_WORK_HERE
          ? (void *)(cell + 2) : shmi_mpmc_beside(q, q->loan_pos);
    return SHMC_OK;
}

typedef struct shmi_push_wish {
    shmc_push *push;
    const void *data;
    void **room;                    /* NULL: send                           */
    uint32_t bytes, tries;
} shmi_push_wish;

/* Before a sleep, look for the dead at each try, not at each 64th.         */
static int
shmi_push_try_wish(void *ctx)
{
    shmi_push_wish *w = ctx;

    if (++w->tries > SHMC_SPIN_TRIES) w->push->work.ring.look = true;
    return w->room != NULL ? shmi_push_try_loan(w->push, w->bytes, w->room)
                           : shmi_push_try(w->push, w->data, w->bytes);
}

static int
shmi_push_wait(shmi_push_wish *w, int64_t timeout_ns)
{
    const shmc_mpmc *q = &w->push->work.ring;

    if (q->shm == NULL) return SHMC_ECLOSED;
    const int r = shmi_bell_wait(&q->shm->writable, q->asymmetric,
                                 shmi_push_try_wish, w, timeout_ns,
                                 SHMC_RECHECK_NS);
    if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) w->push->refused++;
    return r;
}

SHMC_API int
shmi_push_send_wait(shmc_push *push, const void *data, uint32_t bytes,
                    int64_t timeout_ns)
{
    shmi_push_wish w = { push, data, NULL, bytes, 0 };

    return shmi_push_wait(&w, timeout_ns);
}

SHMC_API int
shmc_push_loan(shmc_push *push, uint32_t bytes, void **data,
               int64_t timeout_ns)
{
    shmi_push_wish w = { push, NULL, data, bytes, 0 };

    *data = NULL;
    return shmi_push_wait(&w, timeout_ns);
}

SHMC_API int
shmc_push_commit(shmc_push *push, uint32_t bytes)
{
    shmc_mpmc *q = &push->work.ring;

    if (q->shm != NULL && q->loaned && q->epoch == shmi_fork_epoch) {
        if (bytes > push->loan_bytes) return SHMC_EMSGSIZE;
        shmi_mpmc_at(q, q->loan_pos)[1] =
            (uint64_t)push->loan_where << 32 | bytes;
    }
    return shmc_mpmc_commit(q);
}

SHMC_API int
shmc_push_abort(shmc_push *push)
{
    return shmc_mpmc_abort(&push->work.ring);
}

typedef struct shmi_push_draining {
    shmc_push *push;
    uint64_t end;
} shmi_push_draining;

static int
shmi_push_try_drain(void *ctx)
{
    const shmi_push_draining *d = ctx;

    return shmi_work_done(&d->push->work.ring, &d->push->drained, d->end);
}

SHMC_API int
shmc_push_drain(shmc_push *push, int64_t timeout_ns)
{
    const shmc_mpmc *q = &push->work.ring;

    if (q->shm == NULL || q->epoch != shmi_fork_epoch || q->loaned)
        return shmi_push_refuse(push, 0);
    /* Relaxed: what was pushed before we were called is before tail.       */
    shmi_push_draining d = { push, shmi_load_rlx_64(&q->shm->tail) };
    return shmi_bell_wait(&q->shm->writable, q->asymmetric,
                          shmi_push_try_drain, &d, timeout_ns,
                          SHMC_RECHECK_NS);
}

SHMC_API int
shmc_push_stats_get(const shmc_push *push, shmc_mpmc_stats *out)
{
    return shmc_mpmc_stats_get(&push->work.ring, out);
}

static int
shmi_push_poll(void *socket, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmc_push *push = socket;

    return shmi_mpmc_look(&push->work.ring, events, thorough, spot);
}

SHMC_API shmc_pollable
shmc_push_pollable(shmc_push *push)
{
    return (shmc_pollable){ shmi_push_poll, push };
}

/* >>work: workers ---------------------------------------------------------- */

/* Take part in the queue whose segment is open.                            */
static int
shmi_pull_enter(void *ctx)
{
    shmc_pull *pull = ctx;
    shmc_segment *s = &pull->segment;
    const int state = shmi_endpoint_state(s, &shmi_work_kind, NULL, 0);

    if (state == SHMI_ENDPOINT_OTHERS)
        return shmi_endpoint_refuse(s, &shmi_work_kind);
    if (state == SHMI_ENDPOINT_OTHERS_LEFT) return SHMC_EAGAIN;
    s->keep = shmi_work_keep;
    /* One without users and messages binds nobody to its shape.            */
    if (state == SHMI_ENDPOINT_LEFT && !shmi_work_keep(s)) return SHMC_EAGAIN;
    return shmi_work_attach(&pull->work, s, SHMC_CONSUMER);
}

SHMC_API int
shmc_pull_open(shmc_pull *pull, const char *queue, const shmc_pull_desc *desc)
{
    static const shmc_pull_desc defaults;
    const shmc_pull_desc *d = desc != NULL ? desc : &defaults;

    memset(pull, 0, sizeof *pull);
    if ((d->flags & ~(uint32_t)(SHMC_PREFAULT | SHMC_MLOCK |
                                SHMC_HUGEPAGES)) != 0)
        return shmi_fail(SHMC_EINVAL, "pull from '%s': flags 0x%x; give "
                         "SHMC_PREFAULT, SHMC_MLOCK or SHMC_HUGEPAGES",
                         queue ? queue : "", d->flags);
    int r = shmi_endpoint_wait_begin(&pull->wait, queue, d->dir, d->prefix);
    if (r != SHMC_OK) return r;
    pull->until_end = d->until_end;
    pull->flags = d->flags;
    pull->open = true;
    r = shmi_endpoint_look(&pull->wait, &pull->segment, pull->flags,
                           shmi_pull_enter, pull);
    if (r == SHMC_OK || r == SHMC_EAGAIN) return SHMC_OK;
    pull->open = false;
    return r;
}

SHMC_API int
shmc_pull_close(shmc_pull *pull)
{
    shmc_mpmc *q = &pull->work.ring;

    if (!pull->open)
        return shmi_fail(SHMC_ECLOSED, "close worker: it is not open");
    pull->open = pull->kept = false;
    shmi_endpoint_wait_end(&pull->wait);
    if (q->shm == NULL) return SHMC_OK;
    const bool ours = q->epoch == shmi_fork_epoch, asymmetric = q->asymmetric;
    shmi_bell_shm *bell = &q->shm->readable;
    if (ours && q->borrowed) {
        /* As a death, settled by ourselves: who looks finds the message
         * among the orphans, and no live seat that covers it.              */
        (void)shmi_mpmc_settle(q, (uint32_t)(q->seat - q->seats));
        q->borrowed = false;
    }
    (void)shmc_mpmc_close(q);
    if (ours) shmi_bell_ring(bell, asymmetric);
    return shmi_endpoint_close(&pull->segment, &shmi_work_kind);
}

SHMC_API int
shmc_pull_ready(shmc_pull *pull)
{
    if (!pull->open) return SHMC_ECLOSED;
    if (pull->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (pull->work.ring.shm != NULL) return 1;
    return shmi_endpoint_ready(&pull->wait, &pull->segment, pull->flags,
                               shmi_pull_enter, pull);
}

static int
shmi_pull_is_ready(void *pull)
{
    return shmc_pull_ready(pull);
}

/* Where the message of a cell that we hold is, or NULL: damaged.  The note is
 * untrusted, and was loaded once.                                          */
static uint8_t *
shmi_work_message(const shmi_work *w, uint64_t pos, uint64_t note)
{
    return note <= w->here_bytes
         ? (uint8_t *)(shmi_mpmc_at(&w->ring, pos) + 2)
         : shmi_work_beside(w, pos, note);
}

/* Hold the message at `pos`, ours, until release.                          */
static void
shmi_pull_hold(shmc_pull *pull, uint64_t pos)
{
    shmc_mpmc *q = &pull->work.ring;

    q->borrow_pos = pos;
    q->borrowed = true;
    q->pop_gate = 0;
    pull->redeliveries = shmc_mpmc_redeliveries(q);
}

SHMC_API int
shmi_pull_keep(shmc_pull *pull, uint64_t pos, uint64_t note)
{
    const bool good = shmi_work_message(&pull->work, pos, note) != NULL;

    shmi_pull_hold(pull, pos);
    pull->kept = good;
    if (!good) (void)shmc_mpmc_release(&pull->work.ring);
    return good ? SHMC_EMSGSIZE : SHMC_ECORRUPT;
}

/* The message that is kept: where it is, and its bytes, or why not.        */
static int
shmi_pull_kept(shmc_pull *pull, const uint8_t **at)
{
    const shmc_mpmc *q = &pull->work.ring;

    if (!pull->open) return SHMC_ECLOSED;
    if (pull->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (q->shm == NULL) return SHMC_EAGAIN;
    if (!pull->kept) return SHMC_EBUSY;
    const uint64_t note = shmi_load_rlx_64(shmi_mpmc_at(q, q->borrow_pos) + 1);
    *at = shmi_work_message(&pull->work, q->borrow_pos, note);
    if (*at != NULL) return (int)(uint32_t)note;
    pull->kept = false;
    (void)shmc_mpmc_release(&pull->work.ring);
    return SHMC_ECORRUPT;
}

SHMC_API int
shmi_pull_refuse(shmc_pull *pull, void *buf, uint32_t cap)
{
    const uint8_t *at = NULL;
    const int r = shmi_pull_kept(pull, &at);

    if (r < 0) return r;
    if ((uint32_t)r > cap) return SHMC_EMSGSIZE;
    shmi_copy_out(buf, at, (uint32_t)r);
    pull->kept = false;
    (void)shmc_mpmc_release(&pull->work.ring);
    return r;
}

static int
shmi_pull_try_borrow(shmc_pull *pull, const void **view)
{
    shmi_work *w = &pull->work;
    uint64_t pos = 0, *cell = NULL;
    const uint8_t *at = NULL;

    if (w->ring.epoch != shmi_fork_epoch || !w->ring.pop_gate) {
        const int kept = shmi_pull_kept(pull, &at);
        if (kept >= 0) pull->kept = false;
        *view = at;
        return kept;
    }
    const int r = shmi_mpmc_take_head(&w->ring, w->stride, &pos, &cell);
    if (r < 0) return r;
    const uint64_t note = shmi_load_rlx_64(cell + 1);
    shmi_pull_hold(pull, pos);
    *view = shmi_work_message(w, pos, note);
    if (*view != NULL) return (int)(uint32_t)note;
    (void)shmc_mpmc_release(&w->ring);
    return SHMC_ECORRUPT;
}

SHMC_API int
shmc_pull_ended(shmc_pull *pull)
{
    shmc_mpmc *q = &pull->work.ring;

    if (!pull->open) return SHMC_ECLOSED;
    if (pull->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (q->shm == NULL || q->borrowed) return 0;
    /* The pushers first: when all have gone, tail says all that they did.
     * Relaxed: that came with their seats, or with the kernel's word.      */
    if (shmi_work_present(q, SHMC_PRODUCER)) return 0;
    const uint64_t end = shmi_load_rlx_64(&q->shm->tail);
    const int r = shmi_work_done(q, &pull->ended, end);
    return r == SHMC_EAGAIN ? 0 : r == SHMC_OK ? 1 : r;
}

typedef struct shmi_pull_wish {
    shmc_pull *pull;
    void *buf;
    const void **view;              /* NULL: receive                        */
    uint32_t cap, tries;
    bool once;
} shmi_pull_wish;

static int
shmi_pull_try_wish(void *ctx)
{
    shmi_pull_wish *w = ctx;
    const bool thorough = ++w->tries > SHMC_SPIN_TRIES;

    if (thorough) w->pull->work.ring.look = true;
    const int r = w->view != NULL ? shmi_pull_try_borrow(w->pull, w->view)
                                  : shmi_pull_try(w->pull, w->buf, w->cap);
    if (r == SHMC_EAGAIN && w->pull->until_end && (thorough || w->once) &&
        shmc_pull_ended(w->pull) == 1) return SHMC_EEND;
    return r;
}

static int
shmi_pull_wait(shmi_pull_wish *w, int64_t timeout_ns)
{
    const uint64_t deadline = shmi_deadline(timeout_ns);
    shmc_pull *pull = w->pull;
    int64_t left = timeout_ns;
    int r = shmi_endpoint_await(shmi_pull_is_ready, pull, deadline);

    if (r != SHMC_OK)
        return r == SHMC_ETIMEDOUT && timeout_ns == 0 ? SHMC_EAGAIN : r;
    if (timeout_ns > 0) {
        const uint64_t now = shmi_now_ns();
        left = now < deadline ? (int64_t)(deadline - now) : 0;
    }
    w->once = left == 0;
    /* Who polls may do so at leisure: after a few times, look for the dead. */
    if (timeout_ns == 0 && ++pull->polls % 8 == 0) pull->work.ring.look = true;
    const shmc_mpmc *q = &pull->work.ring;
    r = shmi_bell_wait(&q->shm->readable, q->asymmetric, shmi_pull_try_wish, w,
                       left, pull->until_end ? SHMC_PEER_CHECK_NS
                                             : SHMC_RECHECK_NS);
    return r == SHMC_EAGAIN && timeout_ns != 0 ? SHMC_ETIMEDOUT : r;
}

SHMC_API int
shmi_pull_recv_wait(shmc_pull *pull, void *buf, uint32_t cap,
                    int64_t timeout_ns)
{
    shmi_pull_wish w = { pull, buf, NULL, cap, 0, false };

    return shmi_pull_wait(&w, timeout_ns);
}

SHMC_API int
shmc_pull_borrow(shmc_pull *pull, const void **data, int64_t timeout_ns)
{
    shmi_pull_wish w = { pull, NULL, data, 0, 0, false };

    *data = NULL;
    const int r = shmi_pull_try_borrow(pull, data);
    return r != SHMC_EAGAIN ? r : shmi_pull_wait(&w, timeout_ns);
}

SHMC_API int
shmc_pull_release(shmc_pull *pull)
{
    if (!pull->open) return SHMC_ECLOSED;
    if (pull->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (pull->kept || !pull->work.ring.borrowed) return SHMC_EINVAL;
    return shmc_mpmc_release(&pull->work.ring);
}

SHMC_API int
shmc_pull_stats_get(const shmc_pull *pull, shmc_mpmc_stats *out)
{
    memset(out, 0, sizeof *out);
    if (pull->open && pull->work.ring.shm == NULL)
        return pull->wait.epoch == shmi_fork_epoch ? SHMC_EAGAIN : SHMC_EFORKED;
    return shmc_mpmc_stats_get(&pull->work.ring, out);
}

static int
shmi_pull_poll(void *socket, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmc_pull *pull = socket;

    if (pull->work.ring.shm == NULL) {
        spot->slice_ns = SHMC_TOPIC_POLL_NS;
        const int r = shmc_pull_ready(pull);
        if (r <= 0) return r;
    }
    const int r = shmi_mpmc_look(&pull->work.ring, events, thorough, spot);
    if (r != 0 || !(events & SHMC_POLLIN)) return r;
    if (pull->kept) return SHMC_POLLIN;
    if (!pull->until_end) return 0;
    spot->slice_ns = SHMC_PEER_CHECK_NS;
    return thorough && shmc_pull_ended(pull) == 1 ? SHMC_POLLIN : 0;
}

SHMC_API shmc_pollable
shmc_pull_pollable(shmc_pull *pull)
{
    return (shmc_pollable){ shmi_pull_poll, pull };
}

#endif /* SHMCOMM_IMPLEMENTATION */
