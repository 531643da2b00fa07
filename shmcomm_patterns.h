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

/* ---- constants --------------------------------------------------------- */

#ifndef SHMC_TOPIC_POLL_NS          /* how often a subscriber that came too */
#define SHMC_TOPIC_POLL_NS 1000000u /* early looks for its topic            */
#endif

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
    shmc_segment awaited;           /* says that we wait for the topic      */
    shmc_bcast ring;                /* closed while the topic is awaited    */
    shmc_sub_desc desc;
    uint64_t opened_ns, look_ns;
    uint64_t seen_ns, seen_tail;    /* a topic without users that was seen:
                                       its birth, and the next message      */
    uint32_t epoch, polls;
    bool     open;
    char     name[SHMC_NAME_BYTES], dir[SHMC_DIR_BYTES];
    char     prefix[SHMC_PREFIX_BYTES];
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

#include <stdio.h>
#include <string.h>

#define SHMI_TOPIC_OBJECT "topic"

/* >>topics */

/* How often a publisher looks, a millisecond apart, whether others that came
 * across a dead topic, or are about to create one, are done with it.      */
enum { SHMI_TOPIC_TRIES = 50 };

/* A segment by the topic's name: without its ring (its creator is at it, or
 * died), with one that nobody uses (all its users died, or left it to who
 * waits for it), or a living one.  `ring` becomes a copy of its first lines,
 * which nobody has checked.  Who only looks holds the segment for a moment,
 * but never the ring.                                                     */
enum { SHMI_TOPIC_BARE, SHMI_TOPIC_LEFT, SHMI_TOPIC_USED };

static int
shmi_topic_state(const shmc_segment *s, shmi_bcast_shm *ring)
{
    shmc_object_info info;

    memset(ring, 0, sizeof *ring);
    for (uint32_t i = 0; i < s->max_objects; i++) {
        if (shmc_object_info_get(s, i, &info) != SHMC_OK ||
            strcmp(info.name, SHMI_TOPIC_OBJECT) != 0) continue;
        if (info.bytes >= sizeof *ring)
            shmi_copy_out(ring, s->base + info.offset, sizeof *ring);
        return shmi_lock_probe(s->fd, SHMI_LOCK_OBJECTS + i) == 0
             ? SHMI_TOPIC_LEFT : SHMI_TOPIC_USED;
    }
    return SHMI_TOPIC_BARE;
}

static int
shmi_topic_check(const shmc_segment *s)
{
    if (s->ephemeral) return SHMC_OK;
    return shmi_fail(SHMC_ETYPE, "topic '%s': the segment of this name is no "
                     "topic's; use another name or prefix", s->name);
}

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

/* Attach to the topic's file, or make one of the right size.  Returns its
 * state (one just made is BARE), or an error.                             */
static int
shmi_topic_open(shmc_segment *s, const char *topic, const shmc_topic_desc *d,
                bool *created, shmi_bcast_shm *is)
{
    shmc_bcast_desc ring = shmi_topic_ring(d);
    shmc_segment_desc desc;

    if (ring.max_subscribers == 0) ring.max_subscribers = 256;
    const int64_t bytes = shmc_bcast_size_for(&ring);
    if (bytes < 0) return (int)bytes;
    for (;;) {
        memset(&desc, 0, sizeof desc);
        desc.dir = d->dir;
        desc.prefix = d->prefix;
        desc.flags = d->flags;
        *created = false;
        int r = shmc_segment_attach(s, topic, &desc);
        if (r == SHMC_OK) {
            r = shmi_topic_check(s);
            if (r == SHMC_OK) return shmi_topic_state(s, is);
            shmc_segment_close(s);
        }
        if (r != SHMC_ENOENT) return r;
        desc.flags |= SHMC_EPHEMERAL;
        desc.heap_bytes = (uint64_t)bytes;
        desc.max_objects = 8;
        /* Some more, for who attaches only to look.                       */
        desc.max_participants = 32 + ring.max_subscribers +
                                (d->max_publishers ? d->max_publishers : 16);
        desc.mode = d->access;
        desc.gid = d->gid;
        desc.wake = d->wake;
        r = shmc_segment_create(s, topic, &desc);
        *created = r == SHMC_OK;
        /* Somebody else was faster: take a look.                          */
        if (r != SHMC_EEXIST) return r == SHMC_OK ? SHMI_TOPIC_BARE : r;
    }
}

/* Join the ring, creating it if there is none.                            */
static int
shmi_pub_join(shmc_pub *pub, const shmc_topic_desc *d, bool bare)
{
    shmc_bcast_desc ring = shmi_topic_ring(d);

    if (d->wake != SHMC_WAKE_FENCE && d->wake != pub->segment.wake)
        return shmi_fail(SHMC_EMISMATCH, "publish on '%s': the topic exists with "
                         "wake %u, not %u; ask for that, or for 0 (take what "
                         "exists)", pub->segment.name, pub->segment.wake,
                         d->wake);
    if (bare && ring.max_subscribers == 0) ring.max_subscribers = 256;
    return shmc_bcast_open(&pub->ring, &pub->segment, SHMI_TOPIC_OBJECT, &ring,
                           SHMC_PRODUCER);
}

/* Would a publisher with this desc suit the ring?  Says nothing.          */
static bool
shmi_topic_fits(const shmc_segment *s, const shmi_bcast_shm *is,
                const shmc_topic_desc *d)
{
    const shmc_bcast_desc ring = shmi_topic_ring(d);
    shmi_bcast_geometry g;
    uint64_t asked, exists;

    if (is->head.magic != SHMI_BCAST_MAGIC ||
        is->head.version != SHMI_BCAST_VERSION ||
        (d->wake != SHMC_WAKE_FENCE && d->wake != s->wake)) return false;
    shmi_bcast_geometry_in(&is->head, &g);
    return shmi_bcast_differs(&g, &ring, &asked, &exists) == NULL;
}

/* Who waits in a receive for a reliable topic gets a moment to take its
 * seat, so that not even a first burst that laps the ring passes it by.   */
static void
shmi_pub_welcome(const shmc_pub *pub)
{
    for (int tries = 0; tries < SHMI_TOPIC_TRIES; tries++) {
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
    const shmc_topic_desc *d = desc != NULL ? desc : &defaults;
    shmi_bcast_shm is;
    bool created;
    int state;

    memset(pub, 0, sizeof *pub);
    int r = shmi_topic_desc_check(topic, d);
    if (r != SHMC_OK) return r;
    for (int tries = 0; ; tries++) {
        state = shmi_topic_open(&pub->segment, topic, d, &created, &is);
        if (state < 0) return state;
        if (created || state == SHMI_TOPIC_USED || tries == SHMI_TOPIC_TRIES)
            break;
        /* Left to a subscriber that waits: part of it, unless it differs. */
        if (state == SHMI_TOPIC_LEFT && shmi_name_awaited(&pub->segment) &&
            shmi_topic_fits(&pub->segment, &is, d)) break;
        /* Others may be looking at it as well; the last of us removes it. */
        if (shmi_segment_close_and_remove(&pub->segment) == 1)
            shmi_event(SHMC_LOG_INFO, "topic '%s': removed what its dead users "
                       "left", topic);
        else
            shmi_sleep_until(shmi_now_ns() + 1000000u);
    }
    r = shmi_pub_join(pub, d, state == SHMI_TOPIC_BARE);
    if (r != SHMC_OK) shmc_segment_close(&pub->segment);
    else if (created && pub->ring.reliable) shmi_pub_welcome(pub);
    return r;
}

SHMC_API int
shmc_pub_close(shmc_pub *pub)
{
    if (pub->ring.shm == NULL)
        return shmi_fail(SHMC_ECLOSED, "close publisher: it is not open");
    shmc_bcast_close(&pub->ring);
    pub->segment.heirs = true;      /* its file is theirs, if there are any */
    return shmc_segment_close(&pub->segment);
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
shmi_sub_enter(shmc_sub *sub)
{
    shmi_bcast_shm is;
    shmc_bcast_desc ring;
    int r = shmi_topic_check(&sub->segment);

    if (r != SHMC_OK) return r;
    const int state = shmi_topic_state(&sub->segment, &is);
    /* Were we here before the ring?  Then everything in it is for us; or all
     * that came since we saw it without users.                            */
    const bool seen = sub->segment.created_ns == sub->seen_ns;
    const bool ours = sub->segment.created_ns >= sub->opened_ns;
    if (state == SHMI_TOPIC_BARE || (state == SHMI_TOPIC_LEFT && !ours)) {
        sub->seen_ns = sub->segment.created_ns;
        sub->seen_tail = is.tail;
        return SHMC_EAGAIN;
    }
    memset(&ring, 0, sizeof ring);
    ring.history = ours || seen ? SHMI_BCAST_BEGIN : sub->desc.history;
    r = shmc_bcast_open(&sub->ring, &sub->segment, SHMI_TOPIC_OBJECT, &ring,
                        sub->desc.watch || sub->segment.read_only
                        ? SHMC_WATCHER : SHMC_CONSUMER);
    if (r == SHMC_OK && seen && !ours)
        sub->ring.joined = sub->ring.next = sub->seen_tail;
    return r;
}

/* Join the topic if it exists now.  SHMC_EAGAIN: not yet.                 */
static int
shmi_sub_join(shmc_sub *sub)
{
    shmc_segment_desc segment;

    memset(&segment, 0, sizeof segment);
    segment.dir = sub->dir;
    segment.prefix = sub->prefix;
    segment.flags = sub->desc.flags;
    int r = SHMC_OK;
    if (sub->awaited.file[0] == '\0')
        r = shmi_name_await(&sub->awaited, sub->name, &segment);
    if (r == SHMC_OK) {
        r = shmc_segment_attach(&sub->segment, sub->name, &segment);
        if (r == SHMC_ENOENT) return SHMC_EAGAIN;
    }
    if (r == SHMC_OK) {
        r = shmi_sub_enter(sub);
        /* Closing removes what dead users left, unless somebody is at it. */
        if (r != SHMC_OK) shmc_segment_close(&sub->segment);
    }
    if (r != SHMC_EAGAIN) shmi_name_await_end(&sub->awaited);
    return r;
}

SHMC_API int
shmc_sub_open(shmc_sub *sub, const char *topic, const shmc_sub_desc *desc)
{
    const char *dir = "", *prefix = "";

    memset(sub, 0, sizeof *sub);
    if (desc != NULL) sub->desc = *desc;
    if ((sub->desc.flags & ~(uint32_t)(SHMC_READ_ONLY | SHMC_PREFAULT |
                                       SHMC_MLOCK | SHMC_HUGEPAGES)) != 0)
        return shmi_fail(SHMC_EINVAL, "subscribe to '%s': flags 0x%x; give "
                         "SHMC_READ_ONLY, SHMC_PREFAULT, SHMC_MLOCK or "
                         "SHMC_HUGEPAGES", topic ? topic : "", sub->desc.flags);
    int r = shmc_name_check(topic);
    if (r == SHMC_OK) r = shmi_directory(sub->desc.dir, &dir);
    if (r == SHMC_OK) r = shmi_prefix(sub->desc.prefix, &prefix);
    if (r != SHMC_OK) return r;
    snprintf(sub->name, sizeof sub->name, "%s", topic);
    snprintf(sub->dir, sizeof sub->dir, "%s", dir);
    snprintf(sub->prefix, sizeof sub->prefix, "%s", prefix);
    sub->desc.dir = sub->desc.prefix = NULL;
    sub->opened_ns = shmi_now_ns();
    sub->epoch = shmi_fork_epoch;
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
    if (sub->ring.shm == NULL && sub->epoch == shmi_fork_epoch)
        (void)shmi_sub_join(sub);
    shmi_name_await_end(&sub->awaited);
    if (sub->ring.shm == NULL) return SHMC_OK;
    shmc_bcast_close(&sub->ring);
    sub->segment.heirs = true;      /* its file is theirs, if there are any */
    return shmc_segment_close(&sub->segment);
}

SHMC_API int
shmc_sub_ready(shmc_sub *sub)
{
    if (!sub->open) return SHMC_ECLOSED;
    if (sub->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (sub->ring.shm != NULL) return 1;
    const uint64_t now = shmi_now_ns();
    if (now < sub->look_ns) return 0;
    sub->look_ns = now + SHMC_TOPIC_POLL_NS;
    const int r = shmi_sub_join(sub);
    return r == SHMC_EAGAIN ? 0 : r == SHMC_OK ? 1 : r;
}

/* Wait until there is a topic to receive from.                            */
static int
shmi_sub_await(shmc_sub *sub, uint64_t deadline_ns)
{
    for (;;) {
        const int r = shmc_sub_ready(sub);
        if (r != 0) return r < 0 ? r : SHMC_OK;
        const uint64_t now = shmi_now_ns();
        if (now >= deadline_ns) return SHMC_ETIMEDOUT;
        const uint64_t next = now + SHMC_TOPIC_POLL_NS;
        shmi_sleep_until(next < deadline_ns ? next : deadline_ns);
    }
}

/* Receive into buf, or (view not NULL) borrow, until the deadline.        */
static int
shmi_sub_wait(shmc_sub *sub, void *buf, uint32_t cap, const void **view,
              int64_t timeout_ns)
{
    const uint64_t deadline = shmi_deadline(timeout_ns);
    int64_t left = timeout_ns;
    int r = shmi_sub_await(sub, deadline);

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
