/* shmcomm_patterns.h - sockets with a familiar feel, over shared memory.
 *
 *     shmc_pub pub;                                     // one process
 *     shmc_pub_open(&pub, "robot/pose", NULL);
 *     shmc_pub_send(&pub, "hello", 6, SHMC_FOREVER);
 *     shmc_sub sub;                                     // others
 *     shmc_sub_open(&sub, "robot/pose", NULL);
 *     int bytes = shmc_sub_recv(&sub, text, sizeof text, SHMC_FOREVER);
 *
 * Manual: docs/shmcomm_patterns.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_PATTERNS_H
#define SHMCOMM_PATTERNS_H

#include "shmcomm_broadcast.h"
#include "shmcomm_endpoint.h"
#include "shmcomm_names.h"

/* ---- descs ------------------------------------------------------------- */

/* A topic: who publishes first gives it its shape; whoever comes later and
 * names a different one is told (SHMC_EMISMATCH).  Zero takes what exists. */
typedef struct shmc_topic_desc {
    uint32_t depth;                 /* messages kept, power of two [1024]   */
    uint32_t max_bytes;             /* longest message, 1..2^30 [65536]     */
    uint32_t max_publishers;        /* 1..1024; 1 is fastest [16]           */
    uint32_t max_subscribers;       /* 1..3000 [256]                        */
    uint64_t arena_bytes;           /* a publisher's room for messages over
                                       96 bytes [4 longest, >= 256 KiB]     */
    uint32_t mode;                  /* SHMC_LOSSY, SHMC_RELIABLE [lossy]    */
    uint32_t wake;                  /* SHMC_WAKE_... [SHMC_WAKE_FENCE]      */
    uint32_t access;                /* permission bits of the file [0600]   */
    uint32_t gid;                   /* with SHMC_SET_GID                    */
    uint32_t flags;                 /* SHMC_PREFAULT, MLOCK, HUGEPAGES,
                                       SET_GID                              */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
    const char *attributes;         /* what it is for: lines "key=value", see
                                       shmcomm_names.h [none, or any]       */
} shmc_topic_desc;

typedef struct shmc_sub_desc {
    int32_t  history;               /* messages from before it came; or
                                       SHMC_BCAST_ALL [0]                   */
    bool     watch;                 /* in a reliable topic: take no seat,
                                       hold nobody up                       */
    bool     report_loss;           /* recv returns SHMC_ELAPPED once a gap */
    uint32_t flags;                 /* SHMC_READ_ONLY (watches, and looks
                                       every millisecond), SHMC_PREFAULT,
                                       SHMC_MLOCK, SHMC_HUGEPAGES           */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
} shmc_sub_desc;

/* ---- handles: their address must not change while open ----------------- */

typedef struct shmc_pub {
    shmc_segment segment;
    shmc_bcast ring;
    uint64_t refused;               /* sends that found no room             */
} shmc_pub;

typedef struct shmc_sub {
    shmc_segment segment;
    shmi_endpoint_wait wait;        /* for a topic that is not there yet    */
    shmc_bcast ring;                /* closed while the topic is awaited    */
    shmc_sub_desc desc;
    uint64_t opened_ns;
    uint64_t seen_ns, seen_tail;    /* a topic without users that was seen:
                                       its birth, and the next message      */
    uint32_t polls;
    bool     open;
} shmc_sub;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: publishers --------------------------------------------------- */

/* Join a topic as publisher, creating it where it does not exist.  The last
 * one to leave a topic, publisher or subscriber, removes it, or leaves it to
 * a subscriber that waits for it.
 * Safety  a handle belongs to one thread; any number of handles.
 * Crash   what is left of a topic whose users all died is removed: its
 *         shape binds nobody, its messages are gone.
 * Errors  SHMC_EMISMATCH another shape is in use; SHMC_ELIMIT no seat;
 *         SHMC_ETYPE the name is in use for something else; SHMC_ENAME;
 *         SHMC_ENOSPC; SHMC_EACCES; SHMC_EINVAL.                          */
SHMC_API int shmc_pub_open(shmc_pub *pub, const char *topic,
                           const shmc_topic_desc *desc);
SHMC_API int shmc_pub_close(shmc_pub *pub);

/* The slow part of shmc_pub_send: room has to be waited for.              */
SHMC_API int shmi_pub_send_wait(shmc_pub *pub, const void *data,
                                uint32_t bytes, int64_t timeout_ns);

/* Publish one message of 0..max_bytes bytes, by copy.  A lossy topic never
 * makes a publisher wait; a reliable one waits for its slowest subscriber
 * up to timeout_ns (0: refuse this message instead; it is counted).  A dead
 * subscriber is given up within SHMC_PEER_CHECK_NS; a stopped one is alive,
 * so that a publisher without a timeout waits until it goes on or dies.
 * Cost    lossy: lock-free, O(bytes), no system call unless somebody sleeps.
 * Crash   dying inside loses this message only.
 * Errors  SHMC_EMSGSIZE; SHMC_EAGAIN, SHMC_ETIMEDOUT no room (reliable);
 *         SHMC_EBUSY there is a loan; SHMC_EFORKED; SHMC_ECLOSED;
 *         SHMC_ECORRUPT.                                                  */
SHMC_INLINE int
shmc_pub_send(shmc_pub *pub, const void *data, uint32_t bytes,
              int64_t timeout_ns)
{
    if (SHMI_UNLIKELY(pub->ring.shm == NULL)) return SHMC_ECLOSED;
    const int r = shmc_bcast_send(&pub->ring, data, bytes);
    if (SHMI_LIKELY(r != SHMC_EAGAIN)) return r;
    return shmi_pub_send_wait(pub, data, bytes, timeout_ns);
}

/* Lend room for a message of up to `bytes` in shared memory, to be written
 * in place and committed; no send meanwhile.  After SHMC_EAGAIN or
 * SHMC_ETIMEDOUT from commit the loan stays: commit again, or abort.
 * Errors  as send; SHMC_EBUSY one loan at a time.                         */
SHMC_API int shmc_pub_loan(shmc_pub *pub, uint32_t bytes, void **data,
                           int64_t timeout_ns);
SHMC_API int shmc_pub_commit(shmc_pub *pub, uint32_t bytes,
                             int64_t timeout_ns);
SHMC_API int shmc_pub_abort(shmc_pub *pub);

/* Name the publisher to shmc_poll: SHMC_POLLOUT when any message would find
 * room (in a lossy topic: always).  Errors  as send.                      */
SHMC_API shmc_pollable shmc_pub_pollable(shmc_pub *pub);

/* ---- API: subscribers -------------------------------------------------- */

/* Subscribe to a topic, which need not exist yet: then receive waits for
 * it, and gets it from its first message on.  (It looks for the topic every
 * SHMC_TOPIC_POLL_NS; what was overwritten by then counts as lost.)
 * Safety  a handle belongs to one thread; any number of handles.
 * Errors  SHMC_ENAME; SHMC_EINVAL; SHMC_EACCES; SHMC_ELIMIT; SHMC_ECORRUPT;
 *         SHMC_ETYPE the name is in use for something else.               */
SHMC_API int shmc_sub_open(shmc_sub *sub, const char *topic,
                           const shmc_sub_desc *desc);
SHMC_API int shmc_sub_close(shmc_sub *sub);

/* The slow part of shmc_sub_recv: nothing was there at the first look.    */
SHMC_API int shmi_sub_recv_wait(shmc_sub *sub, void *buf, uint32_t cap,
                                int64_t timeout_ns);

/* Receive the next message by copy: spin, yield, then sleep up to
 * timeout_ns.  Returns its bytes, 0 for an empty message.
 * Cost    wait-free if a message is there; else blocks.
 * Crash   a publisher's death is passed over; nobody waits for it.
 * Errors  SHMC_EAGAIN (timeout 0) or SHMC_ETIMEDOUT nothing came;
 *         SHMC_EMSGSIZE `cap` is too small, the message stays; with
 *         report_loss SHMC_ELAPPED (see shmc_sub_gap); SHMC_EFORKED;
 *         SHMC_ECLOSED; SHMC_ECORRUPT.                                    */
SHMC_INLINE int
shmc_sub_recv(shmc_sub *sub, void *buf, uint32_t cap, int64_t timeout_ns)
{
    if (SHMI_LIKELY(sub->ring.shm != NULL)) {
        const int r = shmc_bcast_recv(&sub->ring, buf, cap);
        if (SHMI_LIKELY(r >= 0)) return r;
        if (r == SHMC_ELAPPED ? sub->desc.report_loss : r != SHMC_EAGAIN)
            return r;
    }
    return shmi_sub_recv_wait(sub, buf, cap, timeout_ns);
}

/* Look at the next message where it lies.  Believe nothing in it before
 * shmc_sub_release says SHMC_OK; SHMC_ELAPPED: it was overwritten while it
 * was looked at (never in a reliable topic).                              */
SHMC_API int shmc_sub_borrow(shmc_sub *sub, const void **data,
                             int64_t timeout_ns);
SHMC_API int shmc_sub_release(shmc_sub *sub);

/* Messages lost, because this subscriber was too slow: in all, and at the
 * last gap; as shmc_bcast_lost.  A reliable topic's seated subscribers lose
 * none from the moment they found it.                                     */
SHMC_INLINE uint64_t
shmc_sub_lost(const shmc_sub *sub) { return shmc_bcast_lost(&sub->ring); }
SHMC_INLINE uint64_t
shmc_sub_gap(const shmc_sub *sub) { return shmc_bcast_gap(&sub->ring); }

/* Tell whether the topic exists for this subscriber (0 or 1), looking for
 * it if it does not yet; or why it cannot be joined.                      */
SHMC_API int shmc_sub_ready(shmc_sub *sub);

/* Name the subscriber to shmc_poll: SHMC_POLLIN when a message is there (or
 * with report_loss a gap).  While it waits for its topic the poller looks
 * for that every SHMC_TOPIC_POLL_NS.  Errors  those of receive and open.   */
SHMC_API shmc_pollable shmc_sub_pollable(shmc_sub *sub);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_PATTERNS_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_PATTERNS_IMPLEMENTED)
#define SHMCOMM_PATTERNS_IMPLEMENTED

#include <string.h>

#define SHMI_TOPIC_OBJECT "topic"

/* The topic's file goes with its last user.  A bare one is taken over: its
 * creator died, or is another program's.                                  */
static const shmi_endpoint_kind shmi_topic_kind = {
    "topic", SHMI_TOPIC_OBJECT, NULL, true
};

/* >>publishers */

static shmc_bcast_desc
shmi_topic_ring(const shmc_topic_desc *d)
{
    shmc_bcast_desc ring;

    memset(&ring, 0, sizeof ring);
    ring.slot_count = d->depth;
    ring.max_bytes = d->max_bytes;
    ring.max_publishers = d->max_publishers;
    ring.max_subscribers = d->max_subscribers;
    ring.arena_bytes = d->arena_bytes;
    ring.mode = d->mode;
    ring.waitable = 1;
    return ring;
}

/* The file of a new topic, which takes that many bytes.                   */
static shmc_segment_desc
shmi_topic_file(const shmc_topic_desc *d, const shmc_bcast_desc *ring,
                int64_t bytes)
{
    shmc_segment_desc file;

    memset(&file, 0, sizeof file);
    file.heap_bytes = (uint64_t)bytes +
                      (d->attributes != NULL ? SHMC_ATTRIBUTES_BYTES : 0);
    file.max_objects = 8;
    /* Some more, for who attaches only to look.                           */
    file.max_participants = 32 + ring->max_subscribers +
                            (d->max_publishers ? d->max_publishers : 16);
    file.mode = d->access;
    file.gid = d->gid;
    file.flags = d->flags;
    file.wake = d->wake;
    file.dir = d->dir;
    file.prefix = d->prefix;
    return file;
}

/* What an opening publisher wants, and what it finds.                     */
typedef struct shmi_pub_opening {
    shmc_pub *pub;
    const shmc_topic_desc *desc;
    shmi_bcast_shm is;              /* unchecked, if users left a topic     */
} shmi_pub_opening;

/* A new topic gets its attributes before its ring, and so before its name;
 * of one that is there they have to be the same.                          */
static int
shmi_topic_attributes(shmc_segment *s, const char *wanted, bool is_new)
{
    char is[SHMC_ATTRIBUTES_BYTES];

    if (wanted == NULL) return SHMC_OK;
    if (is_new) return shmc_attributes_set(s, wanted);
    if (shmc_attributes_get(s, is, sizeof is) == SHMC_OK &&
        strcmp(is, wanted) == 0) return SHMC_OK;
    return shmi_fail(SHMC_EMISMATCH, "publish on '%s': the topic exists with "
                     "other attributes; ask for those, or for NULL (take what "
                     "exists)", s->name);
}

/* Join the ring, creating it if there is none.                            */
static int
shmi_pub_join(void *ctx, shmc_segment *s)
{
    const shmi_pub_opening *o = ctx;
    const shmc_topic_desc *d = o->desc;
    shmc_bcast_desc ring = shmi_topic_ring(d);

    if (d->wake != SHMC_WAKE_FENCE && d->wake != s->wake)
        return shmi_fail(SHMC_EMISMATCH, "publish on '%s': the topic exists with "
                         "wake %u, not %u; ask for that, or for 0 (take what "
                         "exists)", s->name, s->wake, d->wake);
    const int r = shmi_topic_attributes(s, d->attributes,
                                        o->is.head.magic == 0);
    if (r != SHMC_OK) return r;
    if (o->is.head.magic == 0 && ring.max_subscribers == 0)
        ring.max_subscribers = 256; /* there is none                        */
    return shmc_bcast_open(&o->pub->ring, s, SHMI_TOPIC_OBJECT, &ring,
                           SHMC_PRODUCER);
}

static void
shmi_pub_forget(void *ctx)
{
    const shmi_pub_opening *o = ctx;

    memset(&o->pub->ring, 0, sizeof o->pub->ring);
}

/* Take what was left for the subscriber that waits for it, unless it has
 * another shape.                                                          */
static bool
shmi_pub_adopt(void *ctx, const shmc_segment *s)
{
    const shmi_pub_opening *o = ctx;
    const shmc_topic_desc *d = o->desc;
    const shmc_bcast_desc ring = shmi_topic_ring(d);
    shmi_bcast_geometry g;
    uint64_t asked, exists;

    if (o->is.head.magic != SHMI_BCAST_MAGIC ||
        o->is.head.version != SHMI_BCAST_VERSION ||
        (d->wake != SHMC_WAKE_FENCE && d->wake != s->wake) ||
        d->attributes != NULL || !shmi_name_awaited(s)) return false;
    shmi_bcast_geometry_in(&o->is.head, &g);
    return shmi_bcast_differs(&g, &ring, &asked, &exists) == NULL;
}

/* Who waits in a receive for a reliable topic gets a moment to take its
 * seat, so that not even a first burst that laps the ring passes it by.   */
static void
shmi_pub_welcome(const shmc_pub *pub)
{
    for (int tries = 0; tries < SHMI_ENDPOINT_TRIES; tries++) {
        if (!shmi_name_awaited(&pub->segment)) return;
        shmi_sleep_until(shmi_now_ns() + SHMC_TOPIC_POLL_NS);
    }
}

static int
shmi_topic_desc_check(const char *topic, const shmc_topic_desc *d)
{
    const uint32_t known = SHMC_PREFAULT | SHMC_MLOCK | SHMC_HUGEPAGES |
                           SHMC_SET_GID;

    if (d->max_subscribers > 3000)
        return shmi_fail(SHMC_EINVAL, "topic '%s': max_subscribers %u, at most "
                         "3000", topic ? topic : "", d->max_subscribers);
    if ((d->flags & ~known) != 0)
        return shmi_fail(SHMC_EINVAL, "topic '%s': flags 0x%x; give "
                         "SHMC_PREFAULT, SHMC_MLOCK, SHMC_HUGEPAGES or "
                         "SHMC_SET_GID", topic ? topic : "", d->flags);
    return SHMC_OK;
}

SHMC_API int
shmc_pub_open(shmc_pub *pub, const char *topic, const shmc_topic_desc *desc)
{
    static const shmc_topic_desc defaults;
    shmi_pub_opening o;
    shmi_endpoint_opening e;

    memset(pub, 0, sizeof *pub);
    memset(&o, 0, sizeof o);
    o.pub = pub;
    o.desc = desc != NULL ? desc : &defaults;
    int r = shmi_topic_desc_check(topic, o.desc);
    if (r != SHMC_OK) return r;
    shmc_bcast_desc ring = shmi_topic_ring(o.desc);
    if (ring.max_subscribers == 0) ring.max_subscribers = 256;
    const int64_t bytes = shmc_bcast_size_for(&ring);
    if (bytes < 0) return (int)bytes;
    memset(&e, 0, sizeof e);
    e.kind = &shmi_topic_kind;
    e.file = shmi_topic_file(o.desc, &ring, bytes);
    e.head = &o.is;
    e.head_bytes = sizeof o.is;
    e.adopt = shmi_pub_adopt;
    e.join = shmi_pub_join;
    e.forget = shmi_pub_forget;
    e.ctx = &o;
    r = shmi_endpoint_open(&pub->segment, topic, &e);
    if (r == 1 && pub->ring.reliable) shmi_pub_welcome(pub);
    return r < 0 ? r : SHMC_OK;
}

SHMC_API int
shmc_pub_close(shmc_pub *pub)
{
    if (pub->ring.shm == NULL)
        return shmi_fail(SHMC_ECLOSED, "close publisher: it is not open");
    shmc_bcast_close(&pub->ring);
    return shmi_endpoint_close(&pub->segment, &shmi_topic_kind);
}

SHMC_API int
shmi_pub_send_wait(shmc_pub *pub, const void *data, uint32_t bytes,
                   int64_t timeout_ns)
{
    const int r = timeout_ns == 0 ? SHMC_EAGAIN
        : shmc_bcast_send_wait(&pub->ring, data, bytes, timeout_ns);

    if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) pub->refused++;
    return r;
}

typedef struct shmi_pub_try {
    shmc_pub *pub;
    void **data;
    uint32_t bytes;
    uint32_t tries;
} shmi_pub_try;

static int
shmi_pub_try_loan(void *ctx)
{
    shmi_pub_try *t = ctx;

    if (++t->tries > SHMC_SPIN_TRIES)
        t->pub->ring.idle |= SHMI_BCAST_FULL - 1;
    return t->data != NULL ? shmc_bcast_loan(&t->pub->ring, t->bytes, t->data)
                           : shmc_bcast_commit(&t->pub->ring, t->bytes);
}

/* Loan, or (data NULL) commit, waiting for room.                          */
static int
shmi_pub_wait(shmc_pub *pub, void **data, uint32_t bytes, int64_t timeout_ns)
{
    shmi_pub_try t = { pub, data, bytes, 0 };

    if (pub->ring.shm == NULL) return SHMC_ECLOSED;
    const int r = shmi_bell_wait(&pub->ring.shm->writable,
                                 pub->ring.asymmetric, shmi_pub_try_loan, &t,
                                 timeout_ns, SHMC_PEER_CHECK_NS);
    if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) pub->refused++;
    return r;
}

SHMC_API int
shmc_pub_loan(shmc_pub *pub, uint32_t bytes, void **data, int64_t timeout_ns)
{
    return shmi_pub_wait(pub, data, bytes, timeout_ns);
}

SHMC_API int
shmc_pub_commit(shmc_pub *pub, uint32_t bytes, int64_t timeout_ns)
{
    return shmi_pub_wait(pub, NULL, bytes, timeout_ns);
}

SHMC_API int
shmc_pub_abort(shmc_pub *pub)
{
    return pub->ring.shm == NULL ? SHMC_ECLOSED : shmc_bcast_abort(&pub->ring);
}

/* >>subscribers */

/* Take part in the topic whose segment is open.                           */
static int
shmi_sub_enter(void *ctx)
{
    shmc_sub *sub = ctx;
    shmi_bcast_shm is;
    shmc_bcast_desc ring;
    const int state = shmi_endpoint_state(&sub->segment, &shmi_topic_kind, &is,
                                          sizeof is);

    if (state == SHMI_ENDPOINT_OTHERS)
        return shmi_endpoint_refuse(&sub->segment, &shmi_topic_kind);
    /* Were we here before it had its name?  Then everything in it is for us;
     * or all that came since we saw it without users.                     */
    const bool seen = sub->segment.created_ns == sub->seen_ns;
    const bool ours = sub->wait.absent ||
                      sub->segment.created_ns >= sub->opened_ns;
    if (state == SHMI_ENDPOINT_OTHERS_LEFT) return SHMC_EAGAIN;
    if (state == SHMI_ENDPOINT_BARE ||
        (state == SHMI_ENDPOINT_LEFT && !ours)) {
        sub->seen_ns = sub->segment.created_ns;
        sub->seen_tail = is.tail;
        return SHMC_EAGAIN;
    }
    memset(&ring, 0, sizeof ring);
    ring.history = ours || seen ? SHMI_BCAST_BEGIN : sub->desc.history;
    const int r = shmc_bcast_open(&sub->ring, &sub->segment, SHMI_TOPIC_OBJECT,
                                  &ring, sub->desc.watch ||
                                         sub->segment.read_only
                                  ? SHMC_WATCHER : SHMC_CONSUMER);
    if (r == SHMC_OK && seen && !ours)
        sub->ring.joined = sub->ring.next = sub->seen_tail;
    return r;
}

/* Join the topic if it exists now.  SHMC_EAGAIN: not yet.                 */
static int
shmi_sub_join(shmc_sub *sub)
{
    return shmi_endpoint_look(&sub->wait, &sub->segment, sub->desc.flags,
                              shmi_sub_enter, sub);
}

SHMC_API int
shmc_sub_open(shmc_sub *sub, const char *topic, const shmc_sub_desc *desc)
{
    memset(sub, 0, sizeof *sub);
    if (desc != NULL) sub->desc = *desc;
    if ((sub->desc.flags & ~(uint32_t)(SHMC_READ_ONLY | SHMC_PREFAULT |
                                       SHMC_MLOCK | SHMC_HUGEPAGES)) != 0)
        return shmi_fail(SHMC_EINVAL, "subscribe to '%s': flags 0x%x; give "
                         "SHMC_READ_ONLY, SHMC_PREFAULT, SHMC_MLOCK or "
                         "SHMC_HUGEPAGES", topic ? topic : "", sub->desc.flags);
    int r = shmi_endpoint_wait_begin(&sub->wait, topic, sub->desc.dir,
                                     sub->desc.prefix);
    if (r != SHMC_OK) return r;
    sub->desc.dir = sub->desc.prefix = NULL;
    sub->opened_ns = shmi_now_ns();
    sub->open = true;
    r = shmi_sub_join(sub);
    if (r == SHMC_OK || r == SHMC_EAGAIN) return SHMC_OK;
    sub->open = false;
    return r;
}

SHMC_API int
shmc_sub_close(shmc_sub *sub)
{
    if (!sub->open)
        return shmi_fail(SHMC_ECLOSED, "close subscriber: it is not open");
    sub->open = false;
    /* What was left to us a moment ago, nobody else would remove.         */
    if (sub->ring.shm == NULL && sub->wait.epoch == shmi_fork_epoch)
        (void)shmi_sub_join(sub);
    shmi_endpoint_wait_end(&sub->wait);
    if (sub->ring.shm == NULL) return SHMC_OK;
    shmc_bcast_close(&sub->ring);
    return shmi_endpoint_close(&sub->segment, &shmi_topic_kind);
}

SHMC_API int
shmc_sub_ready(shmc_sub *sub)
{
    if (!sub->open) return SHMC_ECLOSED;
    if (sub->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (sub->ring.shm != NULL) return 1;
    return shmi_endpoint_ready(&sub->wait, &sub->segment, sub->desc.flags,
                               shmi_sub_enter, sub);
}

static int
shmi_sub_is_ready(void *sub)
{
    return shmc_sub_ready(sub);
}

/* Receive into buf, or (view not NULL) borrow, until the deadline.        */
static int
shmi_sub_wait(shmc_sub *sub, void *buf, uint32_t cap, const void **view,
              int64_t timeout_ns)
{
    const uint64_t deadline = shmi_deadline(timeout_ns);
    int64_t left = timeout_ns;
    int r = shmi_endpoint_await(shmi_sub_is_ready, sub, deadline);

    if (r != SHMC_OK)
        return r == SHMC_ETIMEDOUT && timeout_ns == 0 ? SHMC_EAGAIN : r;
    /* Who polls may do so at leisure: after a few times, look behind what a
     * dead publisher left empty.                                          */
    if (timeout_ns == 0 && ++sub->polls % 8 == 0)
        sub->ring.idle |= SHMI_BCAST_PEEK - 1;
    for (uint32_t round = 0; ; round++) {
        if (timeout_ns > 0) {
            const uint64_t now = shmi_now_ns();
            left = now < deadline ? (int64_t)(deadline - now) : 0;
        }
        r = view != NULL ? shmc_bcast_borrow_wait(&sub->ring, view, left)
                         : shmc_bcast_recv_wait(&sub->ring, buf, cap, left);
        if (r != SHMC_ELAPPED || sub->desc.report_loss) break;
        /* Counted; go on behind the gap.  Out of time, once round the ring
         * is enough.                                                      */
        r = SHMC_EAGAIN;
        if (left == 0 && round > sub->ring.slot_count) break;
    }
    return r == SHMC_EAGAIN && timeout_ns != 0 ? SHMC_ETIMEDOUT : r;
}

SHMC_API int
shmi_sub_recv_wait(shmc_sub *sub, void *buf, uint32_t cap, int64_t timeout_ns)
{
    return shmi_sub_wait(sub, buf, cap, NULL, timeout_ns);
}

SHMC_API int
shmc_sub_borrow(shmc_sub *sub, const void **data, int64_t timeout_ns)
{
    return shmi_sub_wait(sub, NULL, 0, data, timeout_ns);
}

SHMC_API int
shmc_sub_release(shmc_sub *sub)
{
    return sub->ring.shm == NULL ? SHMC_ECLOSED
                                 : shmc_bcast_release(&sub->ring);
}

/* >>polling */

static int
shmi_pub_poll(void *socket, uint32_t events, bool thorough,
              shmi_poll_spot *spot)
{
    return shmi_bcast_poll(&((shmc_pub *)socket)->ring, events, thorough, spot);
}

SHMC_API shmc_pollable
shmc_pub_pollable(shmc_pub *pub)
{
    return (shmc_pollable){ shmi_pub_poll, pub };
}

static int
shmi_sub_poll(void *socket, uint32_t events, bool thorough,
              shmi_poll_spot *spot)
{
    shmc_sub *sub = socket;

    if (sub->ring.shm == NULL) {
        spot->slice_ns = SHMC_TOPIC_POLL_NS;
        const int r = shmc_sub_ready(sub);
        if (r <= 0) return r;
    }
    return shmi_bcast_poll(&sub->ring, events, thorough, spot);
}

SHMC_API shmc_pollable
shmc_sub_pollable(shmc_sub *sub)
{
    return (shmc_pollable){ shmi_sub_poll, sub };
}

#endif /* SHMCOMM_IMPLEMENTATION */
