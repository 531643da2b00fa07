/* shmcomm_topic.h - a topic, and who publishes on it.
 *
 *     shmc_pub pub;
 *     shmc_pub_open(&pub, "robot/pose", NULL);
 *     shmc_pub_send(&pub, "hello", 6, SHMC_FOREVER);
 *
 * Who subscribes includes shmcomm_patterns.h, which has this as well.
 * Manual: docs/shmcomm_patterns.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_TOPIC_H
#define SHMCOMM_TOPIC_H

#include "shmcomm_broadcast.h"
#include "shmcomm_endpoint.h"
#include "shmcomm_names.h"

/* ---- constants --------------------------------------------------------- */

enum {                              /* a publisher of a full reliable topic */
    SHMC_FULL_WAIT = 0,             /* waits for its slowest subscriber     */
    SHMC_FULL_DROP_NEW = 1,         /* refuses the new message, at once     */
    SHMC_FULL_DROP_OLDEST = 2       /* overwrites what some have not read   */
};

enum {
    SHMC_META = 1,                  /* messages say when, by whom and what  */
    SHMC_META_BYTES = 64,           /* which takes so many of each          */
    SHMC_USER_BYTES = 32            /* of them the application's own        */
};

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
    uint32_t meta;                  /* SHMC_META, see shmc_sub_info [none]  */
    uint32_t when_full;             /* this publisher: SHMC_FULL_...
                                       [SHMC_FULL_WAIT]                     */
    const char *type_name;          /* of the messages, at most 63 bytes    */
    uint64_t type_hash;             /* such as shmc_type_hash(declaration)
                                       [that of type_name]                  */
    uint32_t type_bytes;            /* such as sizeof(type)                 */
    uint32_t access;                /* permission bits of the file [0600]   */
    uint32_t gid;                   /* with SHMC_SET_GID                    */
    uint32_t flags;                 /* SHMC_PREFAULT, MLOCK, HUGEPAGES,
                                       SET_GID                              */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
    const char *attributes;         /* what it is for: lines "key=value", see
                                       shmcomm_names.h [none, or any]       */
} shmc_topic_desc;

/* ---- shared layout, version 1 ------------------------------------------ */

/* What stands before the payload of each message of a topic with SHMC_META.
 * W = only writer, R = reader.                                            */
typedef struct shmi_meta_shm {
    uint64_t sent_ns;               /* W publisher; CLOCK_MONOTONIC         */
    uint64_t publisher;             /* W publisher; its word as a participant */
    uint64_t type_hash;             /* W publisher                          */
    uint32_t pid;                   /* W publisher                          */
    uint32_t user_bytes;            /* W publisher; of `user`               */
    uint8_t  user[SHMC_USER_BYTES]; /* W publisher                          */
} shmi_meta_shm;
SHMC_LAYOUT_AT(shmi_meta_shm, publisher, 8);
SHMC_LAYOUT_AT(shmi_meta_shm, type_hash, 16);
SHMC_LAYOUT_AT(shmi_meta_shm, pid, 24);
SHMC_LAYOUT_AT(shmi_meta_shm, user_bytes, 28);
SHMC_LAYOUT_AT(shmi_meta_shm, user, 32);
SHMC_LAYOUT_SIZE(shmi_meta_shm, SHMC_META_BYTES);

/* Words of a topic's ring that are not the ring's own.  I1: a publisher that
 * sits down looks at the heir after that, and leaves if there is one; who
 * becomes the heir looks at the publishers' seats after that, and gives the
 * file up only if nobody lives there (F1 <> F2).                          */
enum {
    SHMI_TOPIC_RESTARTS = 0,        /* W publishers that follow another, by
                                       RMW (R3)  R subscribers (A3)         */
    SHMI_TOPIC_RESTART_AT = 1,      /* W the same before R3; next position  */
    SHMI_TOPIC_HEIR = 2,            /* W by CAS: who replaces the file      */
    SHMI_TOPIC_SETTLED = 3          /* W who has waited for the subscribers of
                                       the file before; R who replaces this */
};

/* ---- handles: their address must not change while open ----------------- */

typedef struct shmc_pub {
    shmc_segment segment;
    shmc_bcast ring;
    uint64_t refused;               /* sends that found no room             */
    uint32_t when_full;
    bool     plain;                 /* open, and without metadata           */
    bool     meta;
    uint8_t *lent;                  /* where a loan's metadata goes         */
    shmi_meta_shm head;             /* of the next message                  */
} shmc_pub;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: publishers --------------------------------------------------- */

/* Join a topic as publisher, creating it where it does not exist.  The last
 * one to leave a topic, publisher or subscriber, removes it, or leaves it to
 * a subscriber that waits for it.  Its shape binds as long as a publisher
 * lives: without one, who wants another shape makes the topic anew, and the
 * subscribers move over when they have read the rest.
 * Safety  a handle belongs to one thread; any number of handles.
 * Crash   what is left of a topic whose users all died is removed: its
 *         shape binds nobody, its messages are gone.
 * Errors  SHMC_EMISMATCH another shape is in use; SHMC_ELIMIT no seat;
 *         SHMC_ETYPE another type, or the name is in use for something else;
 *         SHMC_EBUSY who makes the topic anew does not go on; SHMC_ENAME;
 *         SHMC_ENOSPC; SHMC_EACCES; SHMC_EINVAL.                          */
SHMC_API int shmc_pub_open(shmc_pub *pub, const char *topic,
                           const shmc_topic_desc *desc);
SHMC_API int shmc_pub_close(shmc_pub *pub);

/* The slow parts of send, loan and commit: room has to be waited for, or
 * metadata goes with it.                                                  */
SHMC_API int shmi_pub_send_wait(shmc_pub *pub, const void *data,
                                uint32_t bytes, int64_t timeout_ns);
SHMC_API int shmi_pub_loan_wait(shmc_pub *pub, uint32_t bytes, void **data,
                                int64_t timeout_ns);
SHMC_API int shmi_pub_commit_wait(shmc_pub *pub, uint32_t bytes,
                                  int64_t timeout_ns);

/* Publish one message of 0..max_bytes bytes, by copy.  A lossy topic never
 * makes a publisher wait; a reliable one waits for its slowest subscriber
 * (or one that waited for the topic before it was there, and is elsewhere)
 * up to timeout_ns (0: refuse this message instead; it is counted), or does
 * at once what when_full says.  A dead subscriber is given up within
 * SHMC_PEER_CHECK_NS; a stopped one is alive, so that a publisher without a
 * timeout waits until it goes on or dies.
 * Cost    lossy: lock-free, O(bytes), no system call unless somebody sleeps.
 * Crash   dying inside loses this message only.
 * Errors  SHMC_EMSGSIZE; SHMC_EAGAIN, SHMC_ETIMEDOUT no room (reliable);
 *         SHMC_EBUSY there is a loan; SHMC_EFORKED; SHMC_ECLOSED;
 *         SHMC_ECORRUPT.                                                  */
SHMC_INLINE int
shmc_pub_send(shmc_pub *pub, const void *data, uint32_t bytes,
              int64_t timeout_ns)
{
    if (SHMI_LIKELY(pub->plain)) {
        const int r = shmc_bcast_send(&pub->ring, data, bytes);
        if (SHMI_LIKELY(r != SHMC_EAGAIN)) return r;
    }
    return shmi_pub_send_wait(pub, data, bytes, timeout_ns);
}

/* Lend room for a message of up to `bytes` in shared memory, to be written
 * in place and committed; no send meanwhile.  After SHMC_EAGAIN or
 * SHMC_ETIMEDOUT from commit the loan stays: commit again, or abort.
 * Errors  as send; SHMC_EBUSY one loan at a time.                         */
SHMC_INLINE int
shmc_pub_loan(shmc_pub *pub, uint32_t bytes, void **data, int64_t timeout_ns)
{
    if (SHMI_LIKELY(pub->plain)) {
        const int r = shmc_bcast_loan(&pub->ring, bytes, data);
        if (SHMI_LIKELY(r != SHMC_EAGAIN)) return r;
    }
    return shmi_pub_loan_wait(pub, bytes, data, timeout_ns);
}

SHMC_INLINE int
shmc_pub_commit(shmc_pub *pub, uint32_t bytes, int64_t timeout_ns)
{
    if (SHMI_LIKELY(pub->plain)) {
        const int r = shmc_bcast_commit(&pub->ring, bytes);
        if (SHMI_LIKELY(r != SHMC_EAGAIN)) return r;
    }
    return shmi_pub_commit_wait(pub, bytes, timeout_ns);
}

SHMC_API int shmc_pub_abort(shmc_pub *pub);

/* Say what goes with each message from now on, in a topic with SHMC_META: up
 * to SHMC_USER_BYTES of the application's, and a type (0: the topic's).
 * Errors  SHMC_ENOTSUP no metadata; SHMC_EMSGSIZE; SHMC_ECLOSED.          */
SHMC_API int shmc_pub_header_set(shmc_pub *pub, const void *user,
                                 uint32_t bytes, uint64_t type_hash);

/* Name the publisher to shmc_poll: SHMC_POLLOUT when any message would find
 * room (in a lossy topic, or with SHMC_FULL_DROP_OLDEST: always).
 * Errors  as send.                                                        */
SHMC_API shmc_pollable shmc_pub_pollable(shmc_pub *pub);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_TOPIC_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_TOPIC_IMPLEMENTED)
#define SHMCOMM_TOPIC_IMPLEMENTED

#include <string.h>

#define SHMI_TOPIC_OBJECT "topic"

/* The topic's file goes with its last user.  A bare one is taken over: its
 * creator died, or is another program's.                                  */
static const shmi_endpoint_kind shmi_topic_kind = {
    "topic", SHMI_TOPIC_OBJECT, NULL, true
};

/* >>topics */

/* The topic's ring in the directory, if it has one; `is` becomes a copy of
 * its first lines, which nobody has checked.                              */
static bool
shmi_topic_find(const shmc_segment *s, shmc_object_info *info, shmi_bcast_shm *is)
{
    for (uint32_t i = 0; i < s->max_objects; i++) {
        if (shmc_object_info_get(s, i, info) != SHMC_OK ||
            strcmp(info->name, SHMI_TOPIC_OBJECT) != 0 ||
            info->bytes < sizeof *is) continue;
        shmi_copy_out(is, s->base + info->offset, sizeof *is);
        return true;
    }
    return false;
}

/* Does any publisher live?                                                */
static bool
shmi_topic_published(const shmc_bcast *h)
{
    for (uint32_t i = 0; i < h->max_publishers; i++) {
        const uint64_t owner = shmi_load_acq_64(&h->pubs[i].owner);
        if (owner != 0 && shmi_owner_alive(h->segment, owner)) return true;
    }
    return false;
}

static int
shmi_type_check(const char *topic, const char *type_name)
{
    if (type_name == NULL ||
        strnlen(type_name, SHMC_TYPE_NAME_BYTES) < SHMC_TYPE_NAME_BYTES)
        return SHMC_OK;
    return shmi_fail(SHMC_EINVAL, "topic '%s': type_name '%.32s...' is longer "
                     "than %d bytes; give the rest as type_hash",
                     topic ? topic : "", type_name, SHMC_TYPE_NAME_BYTES - 1);
}

/* A ring that is marked as no version of ours does cannot be used.        */
static int
shmi_topic_mark_check(const shmc_segment *s, shmc_bcast *h)
{
    if (h->mark <= SHMC_META) return SHMC_OK;
    const uint32_t mark = h->mark;
    shmc_bcast_close(h);
    return shmi_fail(SHMC_EVERSION, "topic '%s': its messages are marked %u, "
                     "which this library does not know: rebuild the older side",
                     s->name, mark);
}

/* >>publishers */

/* The ring that is asked for; `meta`: of a topic whose messages have it.  */
static shmc_bcast_desc
shmi_topic_ring(const shmc_topic_desc *d, bool meta)
{
    shmc_bcast_desc ring;

    memset(&ring, 0, sizeof ring);
    ring.slot_count = d->depth;
    ring.max_bytes = d->max_bytes;
    if (meta && d->max_bytes != 0) ring.max_bytes += SHMC_META_BYTES;
    ring.max_publishers = d->max_publishers;
    ring.max_subscribers = d->max_subscribers;
    ring.arena_bytes = d->arena_bytes;
    ring.mode = d->mode;
    ring.waitable = 1;
    ring.mark = d->meta;
    ring.type_name = d->type_name;
    ring.type_hash = d->type_hash;
    ring.type_bytes = d->type_bytes;
    return ring;
}

/* The same for a new topic: some defaults are the topic's own.            */
static shmc_bcast_desc
shmi_topic_new_ring(const shmc_topic_desc *d)
{
    shmc_bcast_desc ring = shmi_topic_ring(d, d->meta != 0);

    if (ring.max_subscribers == 0) ring.max_subscribers = 256;
    if (d->meta != 0 && ring.max_bytes == 0)
        ring.max_bytes = 65536 + SHMC_META_BYTES;
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

/* Has a topic that exists what is wanted of it?                           */
static bool
shmi_topic_has_attributes(shmc_segment *s, const char *wanted)
{
    char is[SHMC_ATTRIBUTES_BYTES];

    return wanted == NULL || (shmc_attributes_get(s, is, sizeof is) == SHMC_OK &&
                              strcmp(is, wanted) == 0);
}

/* A new topic gets its attributes before its ring, and so before its name;
 * of one that is there they have to be the same.                          */
static int
shmi_topic_attributes(shmc_segment *s, const char *wanted, bool is_new)
{
    if (is_new && wanted != NULL) return shmc_attributes_set(s, wanted);
    if (shmi_topic_has_attributes(s, wanted)) return SHMC_OK;
    return shmi_fail(SHMC_EMISMATCH, "publish on '%s': the topic exists with "
                     "other attributes; ask for those, or for NULL (take what "
                     "exists)", s->name);
}

/* How often, a millisecond apart, a publisher that made a topic anew looks
 * whether its subscribers have moved over.                                */
enum { SHMI_TOPIC_MOVE_TRIES = 1000 };

/* What an opening publisher wants, and what it finds.                     */
typedef struct shmi_pub_opening {
    shmc_pub *pub;
    const shmc_topic_desc *desc;
    shmc_segment old;               /* the file that ours took the place of */
    bool unsettled;                 /* its subscribers may be under way to it */
} shmi_pub_opening;

/* Did somebody give the file up, or is he at it?  See I1 of the topic.  A
 * dead one who got no further does not count.                             */
static bool
shmi_topic_inherited(const shmc_segment *s, const shmc_bcast *h)
{
    uint64_t *heir = &h->shm->user[SHMI_TOPIC_HEIR];

    shmi_fence_sc();                /* F1: our seat, then the heir          */
    /* Relaxed here and below: the word stands for itself, and the kernel knows
     * who lives and what has a name.                                      */
    uint64_t seen = shmi_load_rlx_64(heir);
    for (int i = 0; seen != 0 && i < SHMI_ENDPOINT_TRIES; i++) {
        if (shmi_owner_alive(s, seen) || !shmi_segment_named(s, s->fd))
            return true;
        if (shmi_cas_rlx_64(heir, &seen, 0)) return false;
    }
    return seen != 0;
}

/* Note that the seat has a new owner; who had it before was replaced.     */
static void
shmi_pub_announce(const shmc_bcast *h)
{
    uint64_t *lives = &h->pubs[h->seat].word[SHMI_PUB_USER];
    uint64_t *user = h->shm->user;
    const uint64_t n = shmi_load_rlx_64(lives);

    shmi_store_rlx_64(lives, n + 1);
    if (n == 0) return;
    shmi_store_rlx_64(&user[SHMI_TOPIC_RESTART_AT],
                      shmi_load_rlx_64(&h->shm->tail));
    shmi_fence_rel();               /* R3 -> A3: from where on, before that */
    (void)shmi_faa_rlx_64(&user[SHMI_TOPIC_RESTARTS], 1);
    shmi_bell_ring(&h->shm->readable, h->asymmetric);
}

/* Join the ring, creating it if there is none.  SHMC_EAGAIN: the file is
 * another's to replace.                                                   */
static int
shmi_pub_join(void *ctx, shmc_segment *s)
{
    const shmi_pub_opening *o = ctx;
    const shmc_topic_desc *d = o->desc;
    shmc_bcast *h = &o->pub->ring;
    shmc_object_info info;
    shmi_bcast_shm is;

    if (d->wake != SHMC_WAKE_FENCE && d->wake != s->wake)
        return shmi_fail(SHMC_EMISMATCH, "publish on '%s': the topic exists with "
                         "wake %u, not %u; ask for that, or for 0 (take what "
                         "exists)", s->name, s->wake, d->wake);
    const bool exists = shmi_topic_find(s, &info, &is);
    const shmc_bcast_desc ring = exists
        ? shmi_topic_ring(d, is.head.aux[3] != 0) : shmi_topic_new_ring(d);
    int r = shmi_topic_attributes(s, d->attributes, !exists);
    if (r == SHMC_OK)
        r = shmc_bcast_open(h, s, SHMI_TOPIC_OBJECT, &ring, SHMC_PRODUCER);
    if (r == SHMC_OK) r = shmi_topic_mark_check(s, h);
    if (r != SHMC_OK) return r;
    if (shmi_topic_inherited(s, h)) {
        shmc_bcast_close(h);
        return SHMC_EAGAIN;
    }
    shmi_pub_announce(h);
    return SHMC_OK;
}

static void
shmi_pub_forget(void *ctx)
{
    const shmi_pub_opening *o = ctx;

    memset(&o->pub->ring, 0, sizeof o->pub->ring);
}

/* Does the topic that exists suit?  Says nothing.                         */
static bool
shmi_pub_fits(const shmi_pub_opening *o, shmc_segment *s)
{
    const shmc_topic_desc *d = o->desc;
    shmc_object_info info;
    shmi_bcast_shm is;
    shmi_ask row[SHMI_BCAST_ASKS];
    shmi_bcast_geometry g;

    if (!shmi_topic_find(s, &info, &is) ||
        is.head.magic != SHMI_BCAST_MAGIC ||
        is.head.version != SHMI_BCAST_VERSION ||
        (d->wake != SHMC_WAKE_FENCE && d->wake != s->wake)) return false;
    const shmc_bcast_desc ring = shmi_topic_ring(d, is.head.aux[3] != 0);
    const uint64_t type = shmi_bcast_type_hash(&ring);
    if ((type != 0 && type != info.type_hash) ||
        (d->type_bytes != 0 && d->type_bytes != info.elem_bytes)) return false;
    shmi_bcast_geometry_in(&is.head, &g);
    shmi_bcast_asks(&g, &ring, row);
    return shmi_ask_differs(row, SHMI_BCAST_ASKS) == NULL &&
           shmi_topic_has_attributes(s, d->attributes);
}

/* Take what was left for the subscriber that waits for it, unless it has
 * another shape.  Then it gets a moment to take it itself.                */
static bool
shmi_pub_adopt(void *ctx, const shmc_segment *s)
{
    if (!shmi_name_awaited(s) && !shmi_name_above_awaited(s)) return false;
    if (shmi_pub_fits(ctx, (shmc_segment *)(uintptr_t)s)) return true;
    for (int tries = 0; tries < SHMI_ENDPOINT_TRIES; tries++) {
        if (shmi_endpoint_state(s, &shmi_topic_kind, NULL, 0) !=
            SHMI_ENDPOINT_LEFT) break;
        shmi_sleep_until(shmi_now_ns() + SHMC_TOPIC_POLL_NS);
    }
    return false;
}

/* Give the name of a file up in which nobody publishes.  True: it is gone.
 * The word stays then, for who sat down and has not looked at it yet, also
 * where it was the last heir who died behind that.                        */
static bool
shmi_topic_give_up(shmi_pub_opening *o, shmc_segment *s, const shmc_bcast *h)
{
    shmc_segment_desc look;
    uint64_t *heir = &h->shm->user[SHMI_TOPIC_HEIR];
    uint64_t seen = shmi_load_rlx_64(heir);

    if (seen != 0 && shmi_owner_alive(s, seen)) return false;
    if (!shmi_cas_rlx_64(heir, &seen, shmi_owner_self(s))) return false;
    shmi_fence_sc();                /* F2: the heir, then the seats         */
    memset(&look, 0, sizeof look);
    look.dir = o->desc->dir;
    look.prefix = o->desc->prefix;
    look.flags = SHMC_INSPECT;
    if (shmi_segment_named(s, s->fd) &&
        (shmi_topic_published(h) ||
         (o->old.base == NULL &&
          shmc_segment_attach(&o->old, s->name, &look) != SHMC_OK) ||
         shmi_file_unlink(s->dirfd, s->file) < 0)) {
        shmi_store_rlx_64(heir, 0);
        return false;
    }
    /* Relaxed: who sits there, or died, has said it.                      */
    if (shmi_load_rlx_64(&h->shm->user[SHMI_TOPIC_SETTLED]) == 0)
        o->unsettled = true;
    shmi_event(SHMC_LOG_INFO, "topic '%s': made anew in another shape; its "
               "subscribers move over", s->name);
    shmi_bell_ring(&h->shm->readable, h->asymmetric);
    return true;
}

/* Subscribers alone do not keep a shape.  Returns true to look again.
 * Crash   dying before the name is gone leaves a dead heir, which counts for
 *         nothing; after that, the subscribers find that it is gone.      */
static bool
shmi_pub_replace(void *ctx, shmc_segment *s)
{
    shmi_pub_opening *o = ctx;
    shmc_object_info info;
    shmi_bcast_shm is;
    shmc_bcast h;

    if (shmi_pub_fits(o, s) || !shmi_topic_find(s, &info, &is) ||
        is.head.magic != SHMI_BCAST_MAGIC ||
        is.head.version != SHMI_BCAST_VERSION ||
        shmc_bcast_open(&h, s, SHMI_TOPIC_OBJECT, NULL, SHMC_OBSERVER) != SHMC_OK)
        return false;
    const bool gone = shmi_topic_give_up(o, s, &h);
    const bool busy = !gone && !shmi_topic_published(&h);
    shmc_bcast_close(&h);
    if (busy) shmi_sleep_until(shmi_now_ns() + 1000000u);
    return gone || busy;
}

/* Who waits in a receive for a reliable topic gets a moment to take its
 * seat, so that not even a first burst that laps the ring passes it by; so
 * does who has to move over, and the first of those that wait for all topics
 * under a name.  Were the publisher that replaces us not told whether that is
 * done, we could die and leave it a file that nobody saw.                 */
static void
shmi_pub_welcome(const shmi_pub_opening *o)
{
    const shmc_pub *pub = o->pub;
    bool comes = o->unsettled;      /* who left the old file is on his way  */

    for (int tries = 0; tries < SHMI_TOPIC_MOVE_TRIES; tries++) {
        const bool moves = o->old.base != NULL && shmc_segment_shared(&o->old);
        const bool sits = shmi_load_rlx_64(&pub->ring.shm->seats) != 0;
        comes = !sits && (comes || moves);
        if (!moves && !comes && tries >= SHMI_ENDPOINT_TRIES) break;
        if (!moves && !comes && !shmi_name_awaited(&pub->segment) &&
            (sits || !shmi_name_above_awaited(&pub->segment))) break;
        shmi_sleep_until(shmi_now_ns() + SHMC_TOPIC_POLL_NS);
    }
    shmi_store_rlx_64(&pub->ring.shm->user[SHMI_TOPIC_SETTLED], 1);
}

/* Who waits for a reliable topic to take a seat, but is elsewhere, gets all
 * that is in it all the same: we overwrite nothing until the kernel says that
 * it waits no more, seated or dead.  Whoever begins to wait after we looked
 * finds the topic, and us in it.                                          */
static void
shmi_pub_hold(shmc_pub *pub)
{
    if (pub->ring.reliable && pub->when_full != SHMC_FULL_DROP_OLDEST &&
        shmi_name_awaited_firmly(&pub->segment))
        shmi_bcast_hold(&pub->ring, true);
}

/* Look whether that is over.  The lock first, then (in the ring) the seats:
 * who let go of the one sits in the other.                                */
static bool
shmi_pub_let_go(shmc_pub *pub)
{
    if (!pub->ring.holding || pub->ring.epoch != shmi_fork_epoch ||
        shmi_name_awaited_firmly(&pub->segment)) return false;
    shmi_bcast_hold(&pub->ring, false);
    return true;
}

static int
shmi_topic_desc_check(const char *topic, const shmc_topic_desc *d)
{
    const uint32_t known = SHMC_PREFAULT | SHMC_MLOCK | SHMC_HUGEPAGES |
                           SHMC_SET_GID;
    const char *name = topic ? topic : "";

    if (d->max_subscribers > 3000)
        return shmi_fail(SHMC_EINVAL, "topic '%s': max_subscribers %u, at most "
                         "3000", name, d->max_subscribers);
    if ((d->flags & ~known) != 0)
        return shmi_fail(SHMC_EINVAL, "topic '%s': flags 0x%x; give "
                         "SHMC_PREFAULT, SHMC_MLOCK, SHMC_HUGEPAGES or "
                         "SHMC_SET_GID", name, d->flags);
    if (d->meta > SHMC_META)
        return shmi_fail(SHMC_EINVAL, "topic '%s': meta %u; give SHMC_META or 0",
                         name, d->meta);
    if (d->when_full > SHMC_FULL_DROP_OLDEST)
        return shmi_fail(SHMC_EINVAL, "topic '%s': when_full %u; give "
                         "SHMC_FULL_WAIT, SHMC_FULL_DROP_NEW or "
                         "SHMC_FULL_DROP_OLDEST", name, d->when_full);
    if (d->meta != 0 && d->max_bytes > SHMI_RING_MAX_BYTES - SHMC_META_BYTES)
        return shmi_fail(SHMC_EINVAL, "topic '%s': max_bytes %u; with SHMC_META "
                         "at most 2^30 - %d", name, d->max_bytes,
                         SHMC_META_BYTES);
    return shmi_type_check(topic, d->type_name);
}

/* The publisher is in: what it says of itself with each message.          */
static void
shmi_pub_begin(shmc_pub *pub, const shmc_topic_desc *d)
{
    shmc_object_info info;
    shmi_bcast_shm is;

    pub->when_full = d->when_full;
    pub->meta = pub->ring.mark == SHMC_META;
    pub->plain = !pub->meta;
    pub->head.publisher = shmi_owner_self(&pub->segment);
    pub->head.pid = (uint32_t)shmi_process_id();
    if (shmi_topic_find(&pub->segment, &info, &is))
        pub->head.type_hash = info.type_hash;
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
    const shmc_bcast_desc ring = shmi_topic_new_ring(o.desc);
    const int64_t bytes = shmc_bcast_size_for(&ring);
    if (bytes < 0) return (int)bytes;
    memset(&e, 0, sizeof e);
    e.kind = &shmi_topic_kind;
    e.file = shmi_topic_file(o.desc, &ring, bytes);
    e.adopt = shmi_pub_adopt;
    e.replace = shmi_pub_replace;
    e.join = shmi_pub_join;
    e.forget = shmi_pub_forget;
    e.ctx = &o;
    for (int tries = 0; tries <= SHMI_ENDPOINT_TRIES; tries++) {
        r = shmi_endpoint_open(&pub->segment, topic, &e);
        if (r != SHMC_EAGAIN) break;
        shmi_sleep_until(shmi_now_ns() + 1000000u);
    }
    if (r >= 0) shmi_pub_begin(pub, o.desc);
    if (r == 1 && pub->ring.reliable) shmi_pub_welcome(&o);
    if (r >= 0) shmi_pub_hold(pub);
    if (o.old.base != NULL) shmc_segment_close(&o.old);
    if (r == SHMC_EAGAIN)
        r = shmi_fail(SHMC_EBUSY, "publish on '%s': a publisher that makes the "
                      "topic anew does not go on (stopped?)", topic);
    return r < 0 ? r : SHMC_OK;
}

SHMC_API int
shmc_pub_close(shmc_pub *pub)
{
    if (pub->ring.shm == NULL)
        return shmi_fail(SHMC_ECLOSED, "close publisher: it is not open");
    pub->plain = false;
    shmc_bcast_close(&pub->ring);
    return shmi_endpoint_close(&pub->segment, &shmi_topic_kind);
}

/* >>publishing */

enum { SHMI_PUB_SEND, SHMI_PUB_LOAN, SHMI_PUB_COMMIT };

typedef struct shmi_pub_call {
    shmc_pub *pub;
    int what;
    uint32_t bytes, tries;
    const void *data;
    void **room;
} shmi_pub_call;

static int
shmi_pub_try_send(const shmi_pub_call *c)
{
    shmc_pub *pub = c->pub;

    if (!pub->meta) return shmc_bcast_send(&pub->ring, c->data, c->bytes);
    pub->head.sent_ns = shmi_now_ns();
    return shmi_bcast_send_pair(&pub->ring, &pub->head, sizeof pub->head, c->data,
                                c->bytes);
}

static int
shmi_pub_try_loan(const shmi_pub_call *c)
{
    shmc_pub *pub = c->pub;
    void *room;

    if (!pub->meta) return shmc_bcast_loan(&pub->ring, c->bytes, c->room);
    if (c->bytes > pub->ring.max_bytes - SHMC_META_BYTES) return SHMC_EMSGSIZE;
    const int r = shmc_bcast_loan(&pub->ring, c->bytes + SHMC_META_BYTES, &room);
    if (r != SHMC_OK) return r;
    pub->lent = room;
    *c->room = pub->lent + SHMC_META_BYTES;
    return r;
}

static int
shmi_pub_try_commit(const shmi_pub_call *c)
{
    shmc_pub *pub = c->pub;

    if (!pub->meta) return shmc_bcast_commit(&pub->ring, c->bytes);
    if (c->bytes > pub->ring.max_bytes - SHMC_META_BYTES) return SHMC_EMSGSIZE;
    if (pub->ring.lent && pub->ring.epoch == shmi_fork_epoch) {
        pub->head.sent_ns = shmi_now_ns();
        shmi_copy_in(pub->lent, &pub->head, sizeof pub->head);
    }
    return shmc_bcast_commit(&pub->ring, c->bytes + SHMC_META_BYTES);
}

static int
shmi_pub_try_once(const shmi_pub_call *c)
{
    return c->what == SHMI_PUB_SEND ? shmi_pub_try_send(c)
         : c->what == SHMI_PUB_LOAN ? shmi_pub_try_loan(c)
                                    : shmi_pub_try_commit(c);
}

static int
shmi_pub_try(void *ctx)
{
    shmi_pub_call *c = ctx;
    const bool slow = ++c->tries > SHMC_SPIN_TRIES;

    if (slow) c->pub->ring.idle |= SHMI_BCAST_FULL - 1;
    const int r = shmi_pub_try_once(c);
    return r == SHMC_EAGAIN && (slow || c->tries == 1) && shmi_pub_let_go(c->pub)
         ? shmi_pub_try_once(c) : r;
}

/* Do as when_full says where there is no room.                            */
static int
shmi_pub_call_do(shmi_pub_call *c, int64_t timeout_ns)
{
    shmc_pub *pub = c->pub;
    int r;

    if (pub->ring.shm == NULL) return SHMC_ECLOSED;
    if (pub->when_full == SHMC_FULL_DROP_OLDEST) {
        pub->ring.overrun = true;
        r = shmi_pub_try(c);
        pub->ring.overrun = false;
    } else {
        if (pub->when_full == SHMC_FULL_DROP_NEW) timeout_ns = 0;
        r = shmi_bell_wait(&pub->ring.shm->writable, pub->ring.asymmetric,
                           shmi_pub_try, c, timeout_ns, SHMC_PEER_CHECK_NS);
    }
    if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) pub->refused++;
    return r;
}

SHMC_API int
shmi_pub_send_wait(shmc_pub *pub, const void *data, uint32_t bytes,
                   int64_t timeout_ns)
{
    shmi_pub_call c = { pub, SHMI_PUB_SEND, bytes, 0, data, NULL };

    return shmi_pub_call_do(&c, timeout_ns);
}

SHMC_API int
shmi_pub_loan_wait(shmc_pub *pub, uint32_t bytes, void **data,
                   int64_t timeout_ns)
{
    shmi_pub_call c = { pub, SHMI_PUB_LOAN, bytes, 0, NULL, data };

    return shmi_pub_call_do(&c, timeout_ns);
}

SHMC_API int
shmi_pub_commit_wait(shmc_pub *pub, uint32_t bytes, int64_t timeout_ns)
{
    shmi_pub_call c = { pub, SHMI_PUB_COMMIT, bytes, 0, NULL, NULL };

    return shmi_pub_call_do(&c, timeout_ns);
}

SHMC_API int
shmc_pub_abort(shmc_pub *pub)
{
    return pub->ring.shm == NULL ? SHMC_ECLOSED : shmc_bcast_abort(&pub->ring);
}

SHMC_API int
shmc_pub_header_set(shmc_pub *pub, const void *user, uint32_t bytes,
                    uint64_t type_hash)
{
    shmc_object_info info;
    shmi_bcast_shm is;

    if (pub->ring.shm == NULL) return SHMC_ECLOSED;
    if (!pub->meta)
        return shmi_fail(SHMC_ENOTSUP, "header of topic '%s': it was created "
                         "without SHMC_META", pub->segment.name);
    if (bytes > SHMC_USER_BYTES)
        return shmi_fail(SHMC_EMSGSIZE, "header of topic '%s': %u bytes, there is "
                         "room for %d", pub->segment.name, bytes,
                         SHMC_USER_BYTES);
    if (type_hash == 0 && shmi_topic_find(&pub->segment, &info, &is))
        type_hash = info.type_hash;
    memset(pub->head.user, 0, sizeof pub->head.user);
    if (bytes != 0) memcpy(pub->head.user, user, bytes);
    pub->head.user_bytes = bytes;
    pub->head.type_hash = type_hash;
    return SHMC_OK;
}

static int
shmi_pub_poll(void *socket, uint32_t events, bool thorough,
              shmi_poll_spot *spot)
{
    shmc_pub *pub = socket;

    if (thorough) (void)shmi_pub_let_go(pub);
    pub->ring.overrun = pub->when_full == SHMC_FULL_DROP_OLDEST;
    const int r = shmi_bcast_poll(&pub->ring, events, thorough, spot);
    pub->ring.overrun = false;
    return r;
}

SHMC_API shmc_pollable
shmc_pub_pollable(shmc_pub *pub)
{
    return (shmc_pollable){ shmi_pub_poll, pub };
}

#endif /* SHMCOMM_IMPLEMENTATION */
