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

#include "shmcomm_work.h"

/* ---- descs ------------------------------------------------------------- */

/* A queue of work: who pushes first gives it its shape; whoever comes later
 * and names a different one is told (SHMC_EMISMATCH).  Zero takes what
 * exists.                                                                 */
typedef struct shmc_push_desc {
    uint32_t depth;                 /* messages kept, power of two [256]; with
                                       round_robin for each worker [16]     */
    uint32_t max_bytes;             /* longest message, 1..2^30; of up to 112
                                       the next multiple of 8 [16384]       */
    uint32_t max_handles;           /* pushers and workers, 1..4000 [64]    */
    uint32_t on_worker_death;       /* what it had in hand: SHMC_REDELIVER,
                                       SHMC_DROP [SHMC_REDELIVER]           */
    uint32_t max_redeliveries;      /* then it is poison, and dropped;
                                       1..16383, or 0: no limit [0]         */
    uint32_t round_robin;           /* each pusher deals by turns to so many
                                       workers at most, 1..64; 0: who is free
                                       takes the next one [0]               */
    bool     need_worker;           /* SHMC_EPEERDEAD where this pusher would
                                       wait and no worker is there; else wait
                                       for one [false]                      */
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

/* ---- handles: their address must not change while open ----------------- */

typedef struct shmc_push {
    shmi_work work;                 /* the ring that all share, or closed   */
    shmi_shares shares;             /* or theirs, or closed                 */
    shmi_work *at;                  /* the ring of the last message or loan;
                                       NULL: closed                         */
    shmc_segment segment;
    uint64_t refused;               /* sends that found no room             */
    uint64_t look_ns;
    uint32_t turn, dealt;           /* whose the last message was; how many */
    uint32_t loan_where, loan_bytes;
    bool     need_worker;
} shmc_push;

typedef struct shmc_pull {
    shmi_work work;                 /* as a pusher's                        */
    shmi_shares shares;
    shmi_work *at;                  /* the ring of the last message; NULL:
                                       closed, or the queue is awaited      */
    shmc_segment segment;
    shmi_endpoint_wait wait;        /* for a queue that is not there yet    */
    uint32_t redeliveries;          /* of the last message                  */
    uint32_t flags, polls;
    uint32_t own, heir, taken;      /* our share; one without a worker that
                                       has messages, or our own; calls      */
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

/* The slow parts of shmc_push_send: room has to be waited for; the queue is
 * dealt by turns, or no message can be sent now.                          */
SHMC_API int shmi_push_send_wait(shmc_push *push, const void *data,
                                 uint32_t bytes, int64_t timeout_ns);
SHMC_API int shmi_push_deal(shmc_push *push, const void *data, uint32_t bytes);

/* Send without waiting; SHMC_EAGAIN is not counted.                       */
SHMC_HOT int
shmi_push_try(shmc_push *push, const void *data, uint32_t bytes)
{
    shmi_work *w = &push->work;
    uint64_t pos = 0, *cell = NULL;
    if (SHMI_UNLIKELY(w->ring.epoch != shmi_fork_epoch || !w->ring.push_gate ||
                      bytes > w->max_bytes))
        return shmi_push_deal(push, data, bytes);
    const int r = shmi_mpmc_take_tail(&w->ring, w->stride, &pos, &cell);
    if (SHMI_UNLIKELY(r < 0)) return r;
    shmi_work_put(w, pos, cell, data, bytes);
    return SHMC_OK;
}

/* Push one message of 0..max_bytes bytes, by copy; one worker gets it, at
 * some time, whether one is there now or not.  If the queue is full, wait
 * for room up to timeout_ns (0: refuse this message instead); what is
 * refused is counted.  Long messages are copied in the queue: workers do not
 * get past one that is being written.
 * Cost    lock-free, O(bytes), no system call unless somebody sleeps.
 * Crash   dying inside loses this message only.
 * Errors  SHMC_EMSGSIZE; SHMC_EAGAIN, SHMC_ETIMEDOUT no room; with
 *         need_worker SHMC_EPEERDEAD no room, and no worker is there, or the
 *         last one has died: told within 10 ms; SHMC_EBUSY there is a loan;
 *         SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT.                      */
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
 * Errors  SHMC_EAGAIN (timeout 0), SHMC_ETIMEDOUT not yet; with need_worker
 *         SHMC_EPEERDEAD nor will it be, as no worker is there; SHMC_EBUSY
 *         there is a loan; SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT.     */
SHMC_API int shmc_push_drain(shmc_push *push, int64_t timeout_ns);

/* Tell whether a live worker is there (0 or 1).  Cost  system calls.      */
SHMC_API int shmc_push_served(const shmc_push *push);

/* Count what happened in the queue so far: shmc_mpmc_stats_get, with
 * round_robin of all shares together.  `pushed` and `popped` are messages;
 * `used` is those that nobody has taken yet.                              */
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
 * message at `pos`, ours, does not fit, or is damaged; the queue is dealt by
 * turns, or a message is kept or borrowed, or none can be received now.   */
SHMC_API int shmi_pull_recv_wait(shmc_pull *pull, void *buf, uint32_t cap,
                                 int64_t timeout_ns);
SHMC_API int shmi_pull_keep(shmc_pull *pull, uint64_t pos, uint64_t note);
SHMC_API int shmi_pull_other(shmc_pull *pull, void *buf, uint32_t cap);

/* Copy the message of a cell that is ours out, and free the cell.         */
SHMC_HOT int
shmi_pull_copy(shmc_pull *pull, shmi_work *w, uint64_t pos, uint64_t *cell,
               void *buf, uint32_t cap)
{
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

/* Receive without waiting.                                                */
SHMC_HOT int
shmi_pull_try(shmc_pull *pull, void *buf, uint32_t cap)
{
    shmi_work *w = &pull->work;
    uint64_t pos = 0, *cell = NULL;
    if (SHMI_UNLIKELY(w->ring.epoch != shmi_fork_epoch || !w->ring.pop_gate))
        return shmi_pull_other(pull, buf, cap);
    const int r = shmi_mpmc_take_head(&w->ring, w->stride, &pos, &cell);
    if (SHMI_UNLIKELY(r < 0)) return r;
    return shmi_pull_copy(pull, w, pos, cell, buf, cap);
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

/* >>pushers: coming and going */

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
    ring.slot_count = d->depth ? d->depth : d->round_robin ? 16 : 256;
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
shmi_push_same(const shmc_push *push, const shmc_push_desc *d)
{
    const shmc_mpmc *q = &push->at->ring;
    const shmi_ask row[] = {
        { "depth", d->depth, q->mask + 1 },
        { "max_bytes", shmi_work_most(d->max_bytes), push->at->max_bytes },
        { "max_handles", d->max_handles, q->seat_count },
        { "on_worker_death", d->on_worker_death, q->drop },
        { "max_redeliveries", d->max_redeliveries, q->max_again },
        { "round_robin", d->round_robin, push->shares.count }
    };

    return shmi_ring_same("queue of work", row, sizeof row / sizeof row[0]);
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
    shmc_push *push = o->push;

    if (o->magic != 0 && wake != SHMC_WAKE_FENCE && wake != s->wake)
        return shmi_fail(SHMC_EMISMATCH, "push to '%s': the queue exists with "
                         "wake %u, not %u; ask for that, or for 0 (take what "
                         "exists)", s->name, s->wake, wake);
    int r = shmi_work_open(&push->work, &push->shares, s,
                           o->magic == 0 ? &ring : NULL, o->desc->round_robin,
                           SHMC_PRODUCER);
    if (r != SHMC_OK) return r;
    push->at = push->shares.shm != NULL ? push->shares.work : &push->work;
    push->turn = SHMI_SHARES_MAX - 1;       /* so that the first is next    */
    if (o->magic == 0) return SHMC_OK;
    r = shmi_push_same(push, o->desc);
    if (r == SHMC_OK) return r;
    push->at = NULL;
    shmi_work_close(&push->work, &push->shares);
    return r;
}

static void
shmi_push_forget(void *ctx)
{
    const shmi_push_opening *o = ctx;

    o->push->at = NULL;
    shmi_shares_forget(&o->push->shares);
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
    const int64_t bytes = shmi_work_size_for(&ring, d->round_robin);
    if (bytes < 0) return (int)bytes;
    push->need_worker = d->need_worker;
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
    if (push->at == NULL)
        return shmi_fail(SHMC_ECLOSED, "close pusher: it is not open");
    push->at = NULL;
    shmi_work_close(&push->work, &push->shares);
    return shmi_endpoint_close(&push->segment, &shmi_work_kind);
}

/* >>pushers: sending */

/* May a message of so many bytes be sent now?                              */
static int
shmi_push_may(const shmc_push *push, uint32_t bytes)
{
    if (push->at == NULL) return SHMC_ECLOSED;
    if (push->at->ring.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (push->at->ring.loaned) return SHMC_EBUSY;
    return bytes > push->at->max_bytes ? SHMC_EMSGSIZE : SHMC_OK;
}

/* Claim a cell: in the ring that all share, or by turns, in the next share
 * that has room.                                                           */
static int
shmi_push_claim(shmc_push *push, uint64_t *pos, uint64_t **cell)
{
    shmi_shares *s = &push->shares;

    if (s->shm == NULL)
        return shmi_mpmc_take_tail(&push->work.ring, push->work.stride, pos,
                                   cell);
    if (++push->dealt % SHMI_SHARES_PATROL == 0) (void)shmi_shares_patrol(s);
    for (uint64_t set = shmi_shares_open_to(s); set != 0;) {
        const uint32_t i = shmi_shares_next(set, push->turn);
        shmi_work *w = &s->work[i];
        const int r = shmi_mpmc_take_tail(&w->ring, w->stride, pos, cell);
        set &= ~(UINT64_C(1) << i);
        if (r == SHMC_EAGAIN) continue;
        if (r == SHMC_OK) {
            push->turn = i;
            push->at = w;
        }
        return r;
    }
    return SHMC_EAGAIN;
}

/* A message was published.  If its worker has left meanwhile, nobody may have
 * been told of it.                                                         */
static void
shmi_push_dealt(const shmc_push *push)
{
    const shmi_shares *s = &push->shares;

    if (s->shm != NULL && !shmi_share_taken(s, push->turn)) shmi_shares_ring(s);
}

SHMC_API int
shmi_push_deal(shmc_push *push, const void *data, uint32_t bytes)
{
    uint64_t pos = 0, *cell = NULL;
    int r = shmi_push_may(push, bytes);

    if (r == SHMC_OK) r = shmi_push_claim(push, &pos, &cell);
    if (r != SHMC_OK) return r;
    shmi_work_put(push->at, pos, cell, data, bytes);
    shmi_push_dealt(push);
    return SHMC_OK;
}

static int
shmi_push_try_loan(shmc_push *push, uint32_t bytes, void **room)
{
    uint64_t pos = 0, *cell = NULL;
    int r = shmi_push_may(push, bytes);

    if (r == SHMC_OK) r = shmi_push_claim(push, &pos, &cell);
    if (r != SHMC_OK) return r;
    shmc_mpmc *q = &push->at->ring;
    q->loan_pos = pos;
    q->loaned = true;
    q->push_gate = 0;
    push->loan_bytes = bytes;
    push->loan_where = bytes <= push->at->here_bytes ? SHMI_WORK_HERE
                                                     : SHMI_WORK_BESIDE;
    *room = push->loan_where == SHMI_WORK_HERE
          ? (void *)(cell + 2) : shmi_mpmc_beside(q, pos);
    return SHMC_OK;
}

typedef struct shmi_push_wish {
    shmc_push *push;
    const void *data;
    void **room;                    /* NULL: send                           */
    uint32_t bytes, tries;
    bool once;
} shmi_push_wish;

/* Is it of no use to wait, as nobody is there to wait for?                 */
static bool
shmi_push_alone(shmc_push *push)
{
    if (!push->need_worker) return false;
    const uint64_t now = shmi_now_ns();
    if (now < push->look_ns) return false;
    push->look_ns = now + SHMC_PEER_CHECK_NS;
    const bool alone = !shmi_work_present(&push->at->ring, SHMC_CONSUMER);
    if (alone) push->look_ns = 0;   /* who tries again is told again        */
    return alone;
}

/* Before a sleep, look for the dead at each try, not at each 64th.         */
static int
shmi_push_try_wish(void *ctx)
{
    shmi_push_wish *w = ctx;
    shmc_push *push = w->push;
    const bool thorough = ++w->tries > SHMC_SPIN_TRIES;

    if (thorough && push->at != NULL) {
        shmi_work_look(&push->work, &push->shares);
        if (push->shares.shm != NULL) (void)shmi_shares_patrol(&push->shares);
    }
    const int r = w->room != NULL
                ? shmi_push_try_loan(push, w->bytes, w->room)
                : shmi_push_try(push, w->data, w->bytes);
    return r == SHMC_EAGAIN && (thorough || w->once) && shmi_push_alone(push)
         ? SHMC_EPEERDEAD : r;
}

static int
shmi_push_wait(shmi_push_wish *w, int64_t timeout_ns)
{
    shmc_push *push = w->push;

    if (push->at == NULL) return SHMC_ECLOSED;
    const shmc_mpmc *q = &push->at->ring;
    w->once = timeout_ns == 0;
    const int r = shmi_bell_wait(q->writable, q->asymmetric,
                                 shmi_push_try_wish, w, timeout_ns,
                                 push->need_worker ? SHMC_PEER_CHECK_NS
                                                   : SHMC_RECHECK_NS);
    if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT || r == SHMC_EPEERDEAD)
        push->refused++;
    return r;
}

SHMC_API int
shmi_push_send_wait(shmc_push *push, const void *data, uint32_t bytes,
                    int64_t timeout_ns)
{
    shmi_push_wish w = { push, data, NULL, bytes, 0, false };

    return shmi_push_wait(&w, timeout_ns);
}

SHMC_API int
shmc_push_loan(shmc_push *push, uint32_t bytes, void **data,
               int64_t timeout_ns)
{
    shmi_push_wish w = { push, NULL, data, bytes, 0, false };

    *data = NULL;
    return shmi_push_wait(&w, timeout_ns);
}

SHMC_API int
shmc_push_commit(shmc_push *push, uint32_t bytes)
{
    if (push->at == NULL) return SHMC_ECLOSED;
    shmc_mpmc *q = &push->at->ring;
    if (q->loaned && q->epoch == shmi_fork_epoch) {
        if (bytes > push->loan_bytes) return SHMC_EMSGSIZE;
        shmi_mpmc_at(q, q->loan_pos)[1] =
            (uint64_t)push->loan_where << 32 | bytes;
    }
    const int r = shmc_mpmc_commit(q);
    if (r == SHMC_OK) shmi_push_dealt(push);
    return r;
}

SHMC_API int
shmc_push_abort(shmc_push *push)
{
    return push->at != NULL ? shmc_mpmc_abort(&push->at->ring) : SHMC_ECLOSED;
}

/* >>pushers: looking */

static int
shmi_push_try_drain(void *ctx)
{
    shmc_push *push = ctx;
    const int r = shmi_work_all_done(&push->work, &push->shares, false);

    return r == SHMC_EAGAIN && shmi_push_alone(push) ? SHMC_EPEERDEAD : r;
}

SHMC_API int
shmc_push_drain(shmc_push *push, int64_t timeout_ns)
{
    int r = shmi_push_may(push, 0);

    if (r == SHMC_OK)
        r = shmi_work_all_done(&push->work, &push->shares, true);
    if (r != SHMC_OK && r != SHMC_EAGAIN) return r;
    const shmc_mpmc *q = &push->at->ring;
    return shmi_bell_wait(q->writable, q->asymmetric, shmi_push_try_drain, push,
                          timeout_ns, push->need_worker ? SHMC_PEER_CHECK_NS
                                                        : SHMC_RECHECK_NS);
}

SHMC_API int
shmc_push_served(const shmc_push *push)
{
    if (push->at == NULL) return SHMC_ECLOSED;
    if (push->at->ring.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    return shmi_work_present(&push->at->ring, SHMC_CONSUMER);
}

/* Of all rings together; each socket has a seat in each.                   */
static int
shmi_work_stats(const shmi_work *w, uint32_t count, shmc_mpmc_stats *out)
{
    shmc_mpmc_stats one;
    int r = SHMC_OK;

    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; r == SHMC_OK && i < count; i++) {
        r = shmc_mpmc_stats_get(&w[i].ring, &one);
        if (r == SHMC_OK) shmi_work_stats_add(out, &one);
    }
    return r;
}

SHMC_API int
shmc_push_stats_get(const shmc_push *push, shmc_mpmc_stats *out)
{
    const bool dealt = push->shares.shm != NULL;

    return shmi_work_stats(dealt ? push->shares.work : &push->work,
                           dealt ? push->shares.count : 1, out);
}

static int
shmi_push_poll(void *socket, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmc_push *push = socket;
    shmi_shares *s = &push->shares;

    if (push->at == NULL) return SHMC_ECLOSED;
    if (s->shm == NULL || (events & ~(uint32_t)SHMC_POLLOUT) != 0)
        return shmi_mpmc_look(&push->at->ring, events, thorough, spot);
    if (thorough) (void)shmi_shares_patrol(s);
    int ready = shmi_mpmc_look(&push->at->ring, 0, false, spot);
    spot->bell[1] = &s->shm->room;
    if (!(events & SHMC_POLLOUT) || push->at->ring.loaned) return ready;
    for (uint64_t set = shmi_shares_open_to(s); ready == 0 && set != 0;
         set &= set - 1) {
        shmi_work *w = &s->work[shmi_shares_next(set, 63)];
        ready = shmi_mpmc_writable(&w->ring, thorough);
        ready = ready == 1 ? SHMC_POLLOUT : ready == SHMC_EAGAIN ? 0 : ready;
    }
    return ready;
}

SHMC_API shmc_pollable
shmc_push_pollable(shmc_push *push)
{
    return (shmc_pollable){ shmi_push_poll, push };
}

/* >>workers: coming and going */

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
    int r = shmi_work_open(&pull->work, &pull->shares, s, NULL, 0,
                           SHMC_CONSUMER);
    if (r != SHMC_OK) return r;
    pull->at = &pull->work;
    if (pull->shares.shm == NULL) return SHMC_OK;
    /* Last: from now on it is dealt to.                                    */
    r = shmi_share_claim(&pull->shares);
    pull->own = pull->heir = (uint32_t)r;
    pull->at = r >= 0 ? &pull->shares.work[r] : NULL;
    if (r < 0) shmi_work_close(&pull->work, &pull->shares);
    return r < 0 ? r : SHMC_OK;
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
    if (!pull->open)
        return shmi_fail(SHMC_ECLOSED, "close worker: it is not open");
    pull->open = pull->kept = false;
    shmi_endpoint_wait_end(&pull->wait);
    if (pull->at == NULL) return SHMC_OK;
    shmc_mpmc *q = &pull->at->ring;
    if (q->epoch == shmi_fork_epoch) {
        /* First: from now on nothing is dealt to it.                       */
        if (pull->shares.shm != NULL)
            shmi_seat_drop(&pull->shares.seats[pull->own]);
        /* As a death, settled by ourselves: who looks finds the message
         * among the orphans, and no live seat that covers it.              */
        if (q->borrowed) (void)shmi_mpmc_settle(q, (uint32_t)(q->seat - q->seats));
        q->borrowed = false;
    }
    pull->at = NULL;
    shmi_work_close(&pull->work, &pull->shares);
    return shmi_endpoint_close(&pull->segment, &shmi_work_kind);
}

SHMC_API int
shmc_pull_ready(shmc_pull *pull)
{
    if (!pull->open) return SHMC_ECLOSED;
    if (pull->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (pull->at != NULL) return 1;
    return shmi_endpoint_ready(&pull->wait, &pull->segment, pull->flags,
                               shmi_pull_enter, pull);
}

static int
shmi_pull_is_ready(void *pull)
{
    return shmc_pull_ready(pull);
}

/* >>workers: receiving */

/* Take from a share whose worker is gone, if there is anything in one.     */
static int
shmi_pull_inherit(shmc_pull *pull, bool look, uint64_t *pos, uint64_t **cell)
{
    const shmi_shares *s = &pull->shares;

    for (uint32_t k = 0; k < s->count; k++) {
        const uint32_t i = (pull->heir + k) % s->count;
        shmi_work *w = &s->work[i];
        if (i == pull->own || shmi_share_taken(s, i) ||
            (!look && shmc_mpmc_used(&w->ring) == 0)) continue;
        w->ring.look = look;
        const int r = shmi_mpmc_take_head(&w->ring, w->stride, pos, cell);
        if (r == SHMC_EAGAIN) continue;
        if (r == SHMC_OK) {
            pull->heir = i;
            pull->at = w;
        }
        return r;
    }
    pull->heir = pull->own;
    return SHMC_EAGAIN;
}

/* Claim a message: from the ring that all share; or from our own, by turns
 * with one whose worker is gone, if there is such a one.                   */
static int
shmi_pull_claim(shmc_pull *pull, uint64_t *pos, uint64_t **cell)
{
    shmi_shares *s = &pull->shares;
    int r = SHMC_EAGAIN;

    if (s->shm == NULL)
        return shmi_mpmc_take_head(&pull->work.ring, pull->work.stride, pos,
                                   cell);
    shmi_work *own = &s->work[pull->own];
    const bool look = own->ring.look;
    const bool due = (++pull->taken % SHMI_SHARES_PATROL == 0 || look) &&
                     shmi_shares_patrol(s);
    if (due || (pull->heir != pull->own && pull->taken % 2 == 0))
        r = shmi_pull_inherit(pull, due, pos, cell);
    if (r != SHMC_EAGAIN) return r;
    pull->at = own;
    r = shmi_mpmc_take_head(&own->ring, own->stride, pos, cell);
    return r == SHMC_EAGAIN ? shmi_pull_inherit(pull, look, pos, cell) : r;
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
    shmc_mpmc *q = &pull->at->ring;

    q->borrow_pos = pos;
    q->borrowed = true;
    q->pop_gate = 0;
    pull->redeliveries = shmc_mpmc_redeliveries(q);
}

SHMC_API int
shmi_pull_keep(shmc_pull *pull, uint64_t pos, uint64_t note)
{
    const bool good = shmi_work_message(pull->at, pos, note) != NULL;

    shmi_pull_hold(pull, pos);
    pull->kept = good;
    if (!good) (void)shmc_mpmc_release(&pull->at->ring);
    return good ? SHMC_EMSGSIZE : SHMC_ECORRUPT;
}

/* May a message be claimed?  SHMC_OK: yes; 1: one is kept; or why not.     */
static int
shmi_pull_may(const shmc_pull *pull)
{
    if (!pull->open) return SHMC_ECLOSED;
    if (pull->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (pull->at == NULL) return SHMC_EAGAIN;
    return !pull->at->ring.borrowed ? SHMC_OK : pull->kept ? 1 : SHMC_EBUSY;
}

/* The message that is kept: where it is, and its bytes, or why not.        */
static int
shmi_pull_kept(shmc_pull *pull, const uint8_t **at)
{
    const shmc_mpmc *q = &pull->at->ring;
    const uint64_t note = shmi_load_rlx_64(shmi_mpmc_at(q, q->borrow_pos) + 1);

    *at = shmi_work_message(pull->at, q->borrow_pos, note);
    if (*at != NULL) return (int)(uint32_t)note;
    pull->kept = false;
    (void)shmc_mpmc_release(&pull->at->ring);
    return SHMC_ECORRUPT;
}

SHMC_API int
shmi_pull_other(shmc_pull *pull, void *buf, uint32_t cap)
{
    uint64_t pos = 0, *cell = NULL;
    const uint8_t *at = NULL;
    int r = shmi_pull_may(pull);

    if (r < 0) return r;
    if (r == SHMC_OK) {
        r = shmi_pull_claim(pull, &pos, &cell);
        return r < 0 ? r : shmi_pull_copy(pull, pull->at, pos, cell, buf, cap);
    }
    r = shmi_pull_kept(pull, &at);
    if (r < 0) return r;
    if ((uint32_t)r > cap) return SHMC_EMSGSIZE;
    shmi_copy_out(buf, at, (uint32_t)r);
    pull->kept = false;
    (void)shmc_mpmc_release(&pull->at->ring);
    return r;
}

static int
shmi_pull_try_borrow(shmc_pull *pull, const void **view)
{
    uint64_t pos = 0, *cell = NULL;
    const uint8_t *at = NULL;
    int r = shmi_pull_may(pull);

    if (r < 0) return r;
    if (r == 1) {
        r = shmi_pull_kept(pull, &at);
        if (r >= 0) pull->kept = false;
        *view = at;
        return r;
    }
    r = shmi_pull_claim(pull, &pos, &cell);
    if (r < 0) return r;
    const uint64_t note = shmi_load_rlx_64(cell + 1);
    shmi_pull_hold(pull, pos);
    *view = shmi_work_message(pull->at, pos, note);
    if (*view != NULL) return (int)(uint32_t)note;
    (void)shmc_mpmc_release(&pull->at->ring);
    return SHMC_ECORRUPT;
}

SHMC_API int
shmc_pull_ended(shmc_pull *pull)
{
    int r = shmi_pull_may(pull);

    if (r == SHMC_ECLOSED || r == SHMC_EFORKED) return r;
    if (r != SHMC_OK) return 0;
    /* The pushers first: when all have gone, tail says all that they did.  */
    if (shmi_work_present(&pull->at->ring, SHMC_PRODUCER)) return 0;
    r = shmi_work_all_done(&pull->work, &pull->shares, true);
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

    if (thorough) shmi_work_look(&w->pull->work, &w->pull->shares);
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
    if (timeout_ns == 0 && ++pull->polls % 8 == 0)
        shmi_work_look(&pull->work, &pull->shares);
    const shmc_mpmc *q = pull->shares.shm == NULL
                       ? &pull->work.ring : &pull->shares.work[pull->own].ring;
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
    if (pull->at == NULL || pull->kept || !pull->at->ring.borrowed)
        return SHMC_EINVAL;
    return shmc_mpmc_release(&pull->at->ring);
}

SHMC_API int
shmc_pull_stats_get(const shmc_pull *pull, shmc_mpmc_stats *out)
{
    const bool dealt = pull->shares.shm != NULL;

    memset(out, 0, sizeof *out);
    if (pull->open && pull->at == NULL)
        return pull->wait.epoch == shmi_fork_epoch ? SHMC_EAGAIN : SHMC_EFORKED;
    return shmi_work_stats(dealt ? pull->shares.work : &pull->work,
                           dealt ? pull->shares.count : 1, out);
}

/* Is there a message in our share, or in one whose worker is gone?         */
static int
shmi_pull_look(shmc_pull *pull, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmi_shares *s = &pull->shares;

    if (s->shm == NULL)
        return shmi_mpmc_look(&pull->work.ring, events, thorough, spot);
    const int r = shmi_mpmc_look(&s->work[pull->own].ring, events, thorough,
                                 spot);
    spot->progress += pull->taken;
    if (r != 0 || !(events & SHMC_POLLIN) || pull->at->ring.borrowed) return r;
    if (thorough) (void)shmi_shares_patrol(s);
    for (uint32_t i = 0; i < s->count; i++) {
        if (i == pull->own || shmi_share_taken(s, i)) continue;
        const int there = shmi_mpmc_readable(&s->work[i].ring, thorough);
        if (there == 1) {
            pull->heir = i;
            s->work[pull->own].ring.look = true;
            return SHMC_POLLIN;
        }
        if (there != SHMC_EAGAIN) return there;
    }
    return 0;
}

static int
shmi_pull_poll(void *socket, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmc_pull *pull = socket;

    if (pull->at == NULL) {
        spot->slice_ns = SHMC_TOPIC_POLL_NS;
        const int r = shmc_pull_ready(pull);
        if (r <= 0) return r;
    }
    const int r = shmi_pull_look(pull, events, thorough, spot);
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
