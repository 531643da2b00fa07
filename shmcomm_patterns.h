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

#include "shmcomm_topic.h"

/* ---- descs ------------------------------------------------------------- */

typedef struct shmc_sub_desc {
    int32_t  history;               /* messages from before it came; or
                                       SHMC_BCAST_ALL [0]                   */
    bool     watch;                 /* in a reliable topic: take no seat,
                                       hold nobody up                       */
    bool     conflate;              /* each receive gets the newest; older
                                       ones are skipped, not lost.  No seat */
    bool     report_loss;           /* recv returns SHMC_ELAPPED once a gap */
    bool     report_restart;        /* recv returns SHMC_RESTARTED once for
                                       each publisher that was replaced     */
    uint32_t max_topics;            /* of a name with '/' at its end, 1..2^16
                                       [256]                                */
    const char *type_name;          /* must be the topic's; NULL, 0: not    */
    uint64_t type_hash;             /* checked                              */
    uint32_t type_bytes;
    uint32_t flags;                 /* SHMC_READ_ONLY (watches, and looks
                                       every millisecond), SHMC_PREFAULT,
                                       SHMC_MLOCK, SHMC_HUGEPAGES           */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
} shmc_sub_desc;

/* ---- handles: their address must not change while open ----------------- */

typedef struct shmc_sub {
    shmc_segment segment;
    shmi_endpoint_wait wait;        /* for a topic that is not there yet    */
    shmc_bcast ring;                /* closed while the topic is awaited    */
    shmc_sub_desc desc;
    uint64_t opened_ns;
    uint64_t seen_ns, seen_tail;    /* a topic without users that was seen:
                                       its birth, and the next message      */
    uint64_t lost_before, skipped;  /* in files before this one; by conflate */
    uint64_t restarts_before, restarts_in, restarts_told;
    uint64_t look_ns;               /* when to ask for the file's name      */
    uint64_t began, type_hash;      /* the topic's: next when we joined     */
    uint32_t polls;
    bool     open;
    bool     plain;                 /* joined, and nothing special wanted   */
    bool     meta;                  /* the topic has it                     */
    bool     moved;                 /* to another file, which is not told   */
    shmi_meta_shm head;             /* of the message received last         */
    struct shmi_tree *tree;         /* all topics under a name; or NULL     */
    char     type_name[SHMC_TYPE_NAME_BYTES];
} shmc_sub;

/* What is known of a message.  Without SHMC_META only the first three.    */
typedef struct shmc_msg_info {
    const char *topic;              /* valid till the next receive          */
    uint64_t sequence;              /* its place in the topic's order       */
    uint64_t type_hash;             /* 0: none was given                    */
    uint64_t sent_ns;               /* CLOCK_MONOTONIC                      */
    uint64_t publisher;             /* the same for one open handle, and for
                                       no other as long as the file exists  */
    int32_t  pid;
    uint32_t user_bytes;
    uint8_t  user[SHMC_USER_BYTES];
} shmc_msg_info;

typedef struct shmc_sub_topic {     /* of one topic, all since the open     */
    const char *name;               /* valid till the next receive          */
    uint64_t received;              /* counted under a name with '/' only   */
    uint64_t lost, skipped, restarts;
    bool     joined;                /* false: it is awaited                 */
} shmc_sub_topic;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: subscribers -------------------------------------------------- */

/* Subscribe to a topic, which need not exist yet: then receive waits for
 * it, and gets it from its first message on.  (It looks for the topic every
 * SHMC_TOPIC_POLL_NS; what was overwritten by then counts as lost: in a
 * reliable topic nothing, if it takes a seat and the name has no '/' at its
 * end.)
 * A name with '/' at its end, `camera/`, subscribes to all topics under it,
 * up to max_topics: those that exist, with `history` of each, and those that
 * come, from their first message on.  "/" is all topics.  A topic that nobody
 * publishes on or reads but us is let go after a while.
 * Safety  a handle belongs to one thread; any number of handles.
 * Errors  SHMC_ENAME; SHMC_EINVAL; SHMC_EACCES; SHMC_ELIMIT; SHMC_ECORRUPT;
 *         SHMC_ETYPE another type, or the name is in use for something else. */
SHMC_API int shmc_sub_open(shmc_sub *sub, const char *topic,
                           const shmc_sub_desc *desc);
SHMC_API int shmc_sub_close(shmc_sub *sub);

/* The slow parts of receive, borrow and release: nothing was there at the
 * first look, or something special is wanted.                             */
SHMC_API int shmi_sub_recv_wait(shmc_sub *sub, void *buf, uint32_t cap,
                                int64_t timeout_ns);
SHMC_API int shmi_sub_borrow_wait(shmc_sub *sub, const void **data,
                                  int64_t timeout_ns);
SHMC_API int shmi_sub_release_any(shmc_sub *sub);

/* Receive the next message by copy: spin, yield, then sleep up to
 * timeout_ns.  Returns its bytes, 0 for an empty message.  Of several topics
 * each has its turn.
 * Cost    wait-free if a message is there; else blocks.
 * Crash   a publisher's death is passed over; nobody waits for it.
 * Errors  SHMC_EAGAIN (timeout 0) or SHMC_ETIMEDOUT nothing came;
 *         SHMC_EMSGSIZE `cap` is too small, the message stays; with
 *         report_loss SHMC_ELAPPED (see shmc_sub_gap), with report_restart
 *         SHMC_RESTARTED; SHMC_ETYPE; SHMC_EFORKED; SHMC_ECLOSED;
 *         SHMC_ECORRUPT.  Of several topics also why one cannot be joined,
 *         such as SHMC_ELIMIT for one too many: told once, each is logged,
 *         and the others go on.                                           */
SHMC_INLINE int
shmc_sub_recv(shmc_sub *sub, void *buf, uint32_t cap, int64_t timeout_ns)
{
    if (SHMI_LIKELY(sub->plain)) {
        const int r = shmc_bcast_recv(&sub->ring, buf, cap);
        if (SHMI_LIKELY(r >= 0)) return r;
        if (r == SHMC_ELAPPED ? sub->desc.report_loss : r != SHMC_EAGAIN)
            return r;
    }
    return shmi_sub_recv_wait(sub, buf, cap, timeout_ns);
}

/* Look at the next message where it lies.  Believe nothing in it, nor how long
 * it is, before shmc_sub_release says SHMC_OK; SHMC_ELAPPED: it was
 * overwritten while it was looked at (in a reliable topic only what was there
 * before it joined, or by a publisher that drops the oldest).             */
SHMC_INLINE int
shmc_sub_borrow(shmc_sub *sub, const void **data, int64_t timeout_ns)
{
    if (SHMI_LIKELY(sub->plain)) {
        const int r = shmc_bcast_borrow(&sub->ring, data);
        if (SHMI_LIKELY(r >= 0)) return r;
        if (r == SHMC_ELAPPED ? sub->desc.report_loss : r != SHMC_EAGAIN)
            return r;
    }
    return shmi_sub_borrow_wait(sub, data, timeout_ns);
}

SHMC_INLINE int
shmc_sub_release(shmc_sub *sub)
{
    return SHMI_LIKELY(sub->plain) ? shmc_bcast_release(&sub->ring)
                                   : shmi_sub_release_any(sub);
}

/* Messages lost, because this subscriber was too slow: in all, and at the
 * last gap; as shmc_bcast_lost.  A reliable topic's seated subscribers lose
 * none from the moment they opened, or (of several topics) found it, unless a
 * publisher drops the oldest.
 * Of several topics: of all, and of the one that was received from last.  */
SHMC_API uint64_t shmc_sub_lost(const shmc_sub *sub);
SHMC_API uint64_t shmc_sub_gap(const shmc_sub *sub);

/* Messages that `conflate` passed over; publishers that were replaced.    */
SHMC_API uint64_t shmc_sub_skipped(const shmc_sub *sub);
SHMC_API uint64_t shmc_sub_restarts(const shmc_sub *sub);

/* Describe the message received last, or borrowed now: called right behind
 * the receive.  Of a borrowed one believe nothing before its release.
 * Errors  SHMC_ECLOSED; SHMC_ENOENT there was none yet.                   */
SHMC_API int shmc_sub_info(const shmc_sub *sub, shmc_msg_info *out);

/* Describe the i-th topic, in no order that lasts; a plain name has one.
 * Errors  SHMC_ENOENT there are fewer; SHMC_ECLOSED.                      */
SHMC_API int shmc_sub_topic_get(const shmc_sub *sub, uint32_t i,
                                shmc_sub_topic *out);

/* Tell whether the topic exists for this subscriber (0 or 1), looking for
 * it if it does not yet; or why it cannot be joined.                      */
SHMC_API int shmc_sub_ready(shmc_sub *sub);

/* Name the subscriber to shmc_poll: SHMC_POLLIN when a message is there (or
 * with report_loss a gap, with report_restart a restart).  While it waits
 * for its topic, and under a name with '/' at its end, the poller looks every
 * SHMC_TOPIC_POLL_NS.  Errors  those of receive and open.                 */
SHMC_API shmc_pollable shmc_sub_pollable(shmc_sub *sub);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_PATTERNS_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_PATTERNS_IMPLEMENTED)
#define SHMCOMM_PATTERNS_IMPLEMENTED

#include <stdio.h>
#include <string.h>

typedef struct shmi_sub_call {
    shmc_sub *sub;
    void *buf;
    uint32_t cap;
    const void **view;              /* not NULL: borrow                     */
} shmi_sub_call;

/* >>all topics under a name */

/* How long the time of a folder may stay the same while names come; how
 * often it is read in any case, and topics that are quiet are looked at.  */
enum { SHMI_TREE_TICK_NS = 20000000, SHMI_TREE_SCAN_NS = 1000000000 };

/* Receives between two looks at the clock while messages are there.       */
enum { SHMI_TREE_BUSY = 64 };

typedef struct shmi_branch {        /* one name                             */
    shmc_sub *sub;                  /* NULL: refused, or let go             */
    uint64_t hash;                  /* of the name                          */
    uint64_t seen_ns, seen_next;    /* let go: its birth, the next message  */
    uint64_t received;
    uint32_t met;                   /* the scan that met it last            */
    bool     quiet;                 /* nobody published at the last one     */
    bool     let_go, limited, foreign;      /* why there is no sub          */
} shmi_branch;

typedef struct shmi_tree {
    shmi_branch *branch;
    uint32_t count, room;           /* of branches                          */
    uint32_t topics;                /* of these, with a sub                 */
    uint32_t turn;                  /* whose is the next message            */
    uint32_t scans, calls;
    shmc_sub *current;              /* of the message received last         */
    bool     full;                  /* the scan looks at all of them        */
    int      error;                 /* for the next receive to tell         */
    int64_t  mtime_ns;              /* of the folder when it was looked at  */
    uint64_t look_ns, again_ns, full_ns;    /* when to look, to scan        */
    const char *under;              /* the name up to its '/'               */
    size_t   under_bytes;
    shmc_segment awaited;           /* says that we wait for such names     */
} shmi_tree;

static int shmi_tree_open(shmc_sub *sub, const char *name,
                          const shmc_sub_desc *d);
static int shmi_tree_close(shmc_sub *sub);
static int shmi_tree_ready(shmc_sub *sub);
static int shmi_tree_wait(shmi_sub_call *c, int64_t timeout_ns);

/* >>subscribers: joining */

static uint64_t
shmi_sub_restarts_now(const shmc_sub *sub)
{
    /* A3 <- R3: with the position, where that is looked at.               */
    return shmi_load_acq_64(&sub->ring.shm->user[SHMI_TOPIC_RESTARTS]);
}

/* The ring is open.                                                       */
static void
shmi_sub_begin(shmc_sub *sub)
{
    shmc_object_info info;
    shmi_bcast_shm is;

    sub->meta = sub->ring.mark == SHMC_META;
    sub->plain = !sub->meta && !sub->desc.conflate && !sub->desc.report_restart;
    sub->restarts_in = sub->restarts_told = shmi_sub_restarts_now(sub);
    sub->began = sub->ring.next;
    if (shmi_topic_find(&sub->segment, &info, &is)) sub->type_hash = info.type_hash;
}

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
     * or all that came since we left it, or saw it without users.         */
    const bool seen = sub->segment.created_ns == sub->seen_ns;
    const bool ours = sub->wait.absent ||
                      sub->segment.created_ns >= sub->opened_ns;
    const bool news = seen ? is.tail != sub->seen_tail : ours;
    if (state == SHMI_ENDPOINT_OTHERS_LEFT) return SHMC_EAGAIN;
    if (state == SHMI_ENDPOINT_BARE || (state == SHMI_ENDPOINT_LEFT && !news)) {
        if (!seen) sub->seen_tail = is.tail;
        sub->seen_ns = sub->segment.created_ns;
        return SHMC_EAGAIN;
    }
    memset(&ring, 0, sizeof ring);
    ring.history = ours || seen ? SHMI_BCAST_BEGIN : sub->desc.history;
    ring.type_name = sub->desc.type_name;
    ring.type_hash = sub->desc.type_hash;
    ring.type_bytes = sub->desc.type_bytes;
    int r = shmc_bcast_open(&sub->ring, &sub->segment, SHMI_TOPIC_OBJECT, &ring,
                            sub->desc.watch || sub->desc.conflate ||
                            sub->segment.read_only ? SHMC_WATCHER
                                                   : SHMC_CONSUMER);
    if (r == SHMC_OK) r = shmi_topic_mark_check(&sub->segment, &sub->ring);
    if (r != SHMC_OK) return r;
    if (seen) sub->ring.joined = sub->ring.next = sub->seen_tail;
    shmi_sub_begin(sub);
    return r;
}

/* Join the topic if it exists now.  SHMC_EAGAIN: not yet.                 */
static int
shmi_sub_join(shmc_sub *sub)
{
    return shmi_endpoint_look(&sub->wait, &sub->segment, sub->desc.flags,
                              shmi_sub_enter, sub);
}

static int
shmi_sub_desc_check(const char *topic, const shmc_sub_desc *d)
{
    const char *name = topic ? topic : "";

    if ((d->flags & ~(uint32_t)(SHMC_READ_ONLY | SHMC_PREFAULT | SHMC_MLOCK |
                                SHMC_HUGEPAGES)) != 0)
        return shmi_fail(SHMC_EINVAL, "subscribe to '%s': flags 0x%x; give "
                         "SHMC_READ_ONLY, SHMC_PREFAULT, SHMC_MLOCK or "
                         "SHMC_HUGEPAGES", name, d->flags);
    if (d->max_topics > 1u << 16)
        return shmi_fail(SHMC_EINVAL, "subscribe to '%s': max_topics %u, at most "
                         "65536", name, d->max_topics);
    return shmi_type_check(topic, d->type_name);
}

/* Subscribe to one topic; what it had when we came counts from opened_ns. */
static int
shmi_sub_open_one(shmc_sub *sub, const char *topic, const shmc_sub_desc *d,
                  uint64_t opened_ns)
{
    memset(sub, 0, sizeof *sub);
    sub->desc = *d;
    int r = shmi_endpoint_wait_begin(&sub->wait, topic, d->dir, d->prefix);
    if (r != SHMC_OK) return r;
    sub->wait.firm = !d->watch && !d->conflate && !(d->flags & SHMC_READ_ONLY);
    sub->desc.dir = sub->desc.prefix = NULL;
    if (d->type_name != NULL) {
        snprintf(sub->type_name, sizeof sub->type_name, "%s", d->type_name);
        sub->desc.type_name = sub->type_name;
    }
    sub->opened_ns = opened_ns;
    sub->open = true;
    return r;
}

SHMC_API int
shmc_sub_open(shmc_sub *sub, const char *topic, const shmc_sub_desc *desc)
{
    static const shmc_sub_desc defaults;
    const shmc_sub_desc *d = desc != NULL ? desc : &defaults;

    memset(sub, 0, sizeof *sub);
    int r = shmi_sub_desc_check(topic, d);
    if (r != SHMC_OK) return r;
    if (topic != NULL && topic[0] != '\0' && topic[strlen(topic) - 1] == '/')
        return shmi_tree_open(sub, topic, d);
    r = shmi_sub_open_one(sub, topic, d, shmi_now_ns());
    if (r == SHMC_OK) r = shmi_sub_join(sub);
    if (r == SHMC_OK || r == SHMC_EAGAIN) return SHMC_OK;
    sub->open = false;
    return r;
}

/* Let go of the ring and its file.                                        */
static int
shmi_sub_leave(shmc_sub *sub)
{
    sub->plain = false;
    sub->restarts_before += shmi_sub_restarts_now(sub) - sub->restarts_in;
    sub->lost_before += sub->ring.lost;
    sub->ring.lost = 0;
    shmc_bcast_close(&sub->ring);
    return shmi_endpoint_close(&sub->segment, &shmi_topic_kind);
}

SHMC_API int
shmc_sub_close(shmc_sub *sub)
{
    if (!sub->open)
        return shmi_fail(SHMC_ECLOSED, "close subscriber: it is not open");
    sub->open = false;
    if (sub->tree != NULL) return shmi_tree_close(sub);
    /* What was left to us a moment ago, nobody else would remove.         */
    if (sub->ring.shm == NULL && sub->wait.epoch == shmi_fork_epoch)
        (void)shmi_sub_join(sub);
    shmi_endpoint_wait_end(&sub->wait);
    return sub->ring.shm == NULL ? SHMC_OK : shmi_sub_leave(sub);
}

SHMC_API int
shmc_sub_ready(shmc_sub *sub)
{
    if (!sub->open) return SHMC_ECLOSED;
    if (sub->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (sub->ring.shm != NULL) return 1;
    if (sub->tree != NULL) return shmi_tree_ready(sub);
    return shmi_endpoint_ready(&sub->wait, &sub->segment, sub->desc.flags,
                               shmi_sub_enter, sub);
}

static int
shmi_sub_is_ready(void *sub)
{
    return shmc_sub_ready(sub);
}

/* >>subscribers: receiving */

/* What a try returns when the topic goes on in another file.              */
enum { SHMI_SUB_MOVED = SHMI_ERROR_END - 1 };

/* Pass over all but the newest message that is whole.                     */
static void
shmi_sub_newest(shmc_sub *sub)
{
    shmc_bcast *h = &sub->ring;
    const uint64_t tail = shmi_load_acq_64(&h->shm->tail);
    uint64_t least = h->next, to = tail - 1;

    if (h->lent || (int64_t)(tail - h->next) <= 1) return;
    if (tail - least > h->slot_count) least = tail - h->slot_count;
    /* The newest ones may still be written, or stay empty.                */
    while ((int64_t)(to - least) > 0 &&
           shmi_load_rlx_64(&h->cells[to & h->mask].stamp) !=
           shmi_stamp(to, SHMI_DONE)) to--;
    if ((int64_t)(h->joined - h->next) > 0) h->next = h->joined;
    if ((int64_t)(to - h->next) > 0) sub->skipped += to - h->next;
    h->next = to;
    h->idle = 0;
}

/* With conflate nothing is lost, but passed over.                         */
static void
shmi_sub_conflated(shmc_sub *sub)
{
    if (!sub->desc.conflate || sub->ring.lost == 0) return;
    sub->skipped += sub->ring.lost;
    sub->ring.lost = 0;
    shmi_bcast_note(&sub->ring);
}

/* Is there a restart to tell of before the next message?                  */
static bool
shmi_sub_restarted(shmc_sub *sub)
{
    const uint64_t *user = sub->ring.shm->user;
    const uint64_t n = shmi_sub_restarts_now(sub);
    const bool told = sub->moved;

    sub->moved = false;
    if (told || n == sub->restarts_told) return told;
    if ((int64_t)(sub->ring.next -
                  shmi_load_rlx_64(&user[SHMI_TOPIC_RESTART_AT])) < 0)
        return false;
    sub->restarts_told = n;
    return true;
}

/* Has the file lost its name, and is all of it read?  Then the topic goes on
 * elsewhere.  Asked by who found nothing, thoroughly.                     */
static bool
shmi_sub_outlived(shmc_sub *sub)
{
    const shmi_bcast_shm *shm = sub->ring.shm;

    if (sub->ring.ready != shmi_bcast_in()) return false;
    if (shmi_load_rlx_64(&shm->user[SHMI_TOPIC_HEIR]) == 0) {
        const uint64_t now = shmi_now_ns(); /* removed by force, perhaps    */
        if (now < sub->look_ns) return false;
        sub->look_ns = now + SHMC_RECHECK_NS;
    }
    if (shmc_segment_linked(&sub->segment) || shmi_topic_published(&sub->ring))
        return false;
    /* What they sent before they went is below tail by now: relaxed.      */
    return (int64_t)(shmi_load_rlx_64(&shm->tail) - sub->ring.next) <= 0;
}

static int
shmi_sub_try_borrow(shmc_sub *sub, const void **view)
{
    const void *data;
    const int r = shmc_bcast_borrow(&sub->ring, &data);

    if (r < 0) return r;
    *view = data;
    if (!sub->meta) return r;
    if (r >= SHMC_META_BYTES) {
        shmi_copy_out(&sub->head, data, sizeof sub->head);
        *view = (const uint8_t *)data + SHMC_META_BYTES;
        return r - SHMC_META_BYTES;
    }
    return shmc_bcast_release(&sub->ring) == SHMC_OK ? SHMC_ECORRUPT
                                                     : SHMC_ELAPPED;
}

/* One look, which takes or borrows what it finds.                         */
static int
shmi_sub_try(void *ctx, bool slow)
{
    const shmi_sub_call *c = ctx;
    shmc_sub *sub = c->sub;
    int r;

    if (sub->ring.ready == shmi_bcast_in()) {
        if (sub->desc.conflate) shmi_sub_newest(sub);
        if (sub->desc.report_restart && shmi_sub_restarted(sub))
            return SHMC_RESTARTED;
    }
    if (c->view != NULL)
        r = shmi_sub_try_borrow(sub, c->view);
    else if (sub->meta)
        r = shmi_bcast_recv_pair(&sub->ring, &sub->head, sizeof sub->head,
                                 c->buf, c->cap);
    else
        r = shmc_bcast_recv(&sub->ring, c->buf, c->cap);
    shmi_sub_conflated(sub);
    return r == SHMC_EAGAIN && slow && shmi_sub_outlived(sub) ? SHMI_SUB_MOVED
                                                              : r;
}

static void
shmi_sub_move(shmc_sub *sub)
{
    shmi_event(SHMC_LOG_INFO, "topic '%s': it was made anew, or removed; waiting "
               "for it", sub->segment.name);
    /* Before we leave, so that who made it anew sees us all the time.     */
    (void)shmi_endpoint_wait_say(&sub->wait);
    (void)shmi_sub_leave(sub);
    sub->restarts_before++;
    sub->moved = true;
}

/* Is what a try returned for the caller?  A gap is counted anyway.        */
static bool
shmi_sub_tells(const shmc_sub *sub, int r)
{
    return r != SHMC_ELAPPED || (sub->desc.report_loss && !sub->desc.conflate);
}

static int
shmi_sub_wait(shmi_sub_call *c, int64_t timeout_ns)
{
    shmc_sub *sub = c->sub;
    const uint64_t deadline = shmi_deadline(timeout_ns);
    int64_t left = timeout_ns;
    shmi_bcast_wait w = { .h = &sub->ring, .what = SHMI_BCAST_CALL,
                          .call = shmi_sub_try, .ctx = c };
    int r;

    /* Who polls may do so at leisure: after a few times, look behind what a
     * dead publisher left empty, and whether the topic is still here.     */
    if (timeout_ns == 0 && ++sub->polls % 8 == 0)
        sub->ring.idle |= SHMI_BCAST_PEEK - 1;
    for (uint32_t round = 0; ; round++) {
        r = shmi_endpoint_await(shmi_sub_is_ready, sub, deadline);
        if (r != SHMC_OK) break;
        if (timeout_ns > 0) {
            const uint64_t now = shmi_now_ns();
            left = now < deadline ? (int64_t)(deadline - now) : 0;
        }
        r = left == 0 ? shmi_sub_try(c, sub->polls % 64 == 63)
                      : shmi_bcast_wait_for(&w, left);
        if (r == SHMI_SUB_MOVED) shmi_sub_move(sub);
        else if (shmi_sub_tells(sub, r)) break;
        /* Counted; go on behind the gap.  Out of time, once round the ring
         * is enough.                                                      */
        r = SHMC_EAGAIN;
        if (left == 0 && round > sub->ring.slot_count) break;
    }
    if (r != SHMC_EAGAIN && r != SHMC_ETIMEDOUT) return r;
    return timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT;
}

static int
shmi_sub_do(shmi_sub_call *c, int64_t timeout_ns)
{
    const shmc_sub *sub = c->sub;

    if (sub->tree != NULL) return shmi_tree_wait(c, timeout_ns);
    /* Without a look at the clock, unless the inline part had this one.   */
    if (sub->ring.shm != NULL && !sub->plain) {
        const int r = shmi_sub_try(c, false);
        if (r != SHMC_EAGAIN && shmi_sub_tells(sub, r)) return r;
    }
    return shmi_sub_wait(c, timeout_ns);
}

SHMC_API int
shmi_sub_recv_wait(shmc_sub *sub, void *buf, uint32_t cap, int64_t timeout_ns)
{
    shmi_sub_call c = { sub, buf, cap, NULL };

    return shmi_sub_do(&c, timeout_ns);
}

SHMC_API int
shmi_sub_borrow_wait(shmc_sub *sub, const void **data, int64_t timeout_ns)
{
    shmi_sub_call c = { sub, NULL, 0, data };

    return shmi_sub_do(&c, timeout_ns);
}

/* Where the message received last is from; NULL: of several topics none.  */
static shmc_sub *
shmi_sub_from(const shmc_sub *sub)
{
    return sub->tree != NULL ? sub->tree->current : (shmc_sub *)(uintptr_t)sub;
}

SHMC_API int
shmi_sub_release_any(shmc_sub *sub)
{
    shmc_sub *from = sub->open ? shmi_sub_from(sub) : NULL;

    if (!sub->open) return SHMC_ECLOSED;
    if (sub->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (from == NULL || from->ring.shm == NULL)
        return sub->tree == NULL ? SHMC_ECLOSED
             : shmi_fail(SHMC_EINVAL, "release on '%s': there is no borrow",
                         sub->wait.name);
    const int r = shmc_bcast_release(&from->ring);
    shmi_sub_conflated(from);
    return r;
}

/* >>all topics under a name: joining and receiving */

static const shmc_sub *
shmi_tree_at(const shmi_tree *t, uint32_t n, uint64_t *received)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->branch[i].sub == NULL || n-- > 0) continue;
        *received = t->branch[i].received;
        return t->branch[i].sub;
    }
    return NULL;
}

static uint64_t
shmi_tree_sum(const shmc_sub *sub, uint64_t (*of)(const shmc_sub *one))
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < sub->tree->count; i++)
        if (sub->tree->branch[i].sub != NULL) sum += of(sub->tree->branch[i].sub);
    return sum;
}

/* Close a branch's subscriber; its counts stay in the tree's.             */
static void
shmi_tree_drop(shmc_sub *sub, shmi_branch *b)
{
    shmc_sub *one = b->sub;

    if (one == NULL) return;
    b->seen_ns = one->ring.shm != NULL ? one->segment.created_ns : one->seen_ns;
    b->seen_next = one->ring.shm != NULL ? one->ring.next : one->seen_tail;
    (void)shmc_sub_close(one);
    sub->lost_before += shmc_sub_lost(one);
    sub->skipped += one->skipped;
    sub->restarts_before += one->restarts_before;
    if (sub->tree->current == one) sub->tree->current = NULL;
    shmi_free(one);
    b->sub = NULL;
    b->let_go = true;
    sub->tree->topics--;
}

/* Is there a topic by that name?  Looks without being seen.               */
static int
shmi_tree_is_topic(const char *name, const shmc_segment_desc *at)
{
    shmc_segment_desc d = *at;
    shmc_segment s;

    d.flags = SHMC_INSPECT;
    const int r = shmc_segment_attach(&s, name, &d);
    if (r != SHMC_OK) return r;
    const int state = shmi_endpoint_state(&s, &shmi_topic_kind, NULL, 0);
    shmc_segment_close(&s);
    return state == SHMI_ENDPOINT_USED || state == SHMI_ENDPOINT_LEFT;
}

/* Where a tree's topics are.                                              */
static shmc_segment_desc
shmi_tree_place(const shmc_sub *sub)
{
    shmc_segment_desc d;

    memset(&d, 0, sizeof d);
    d.dir = sub->wait.dir;
    d.prefix = sub->wait.prefix;
    return d;
}

/* Subscribe to the branch's name, if it is a topic's.  SHMC_OK: joined, or
 * it will be.                                                             */
static int
shmi_tree_join(shmc_sub *sub, shmi_branch *b, const char *name)
{
    shmi_tree *t = sub->tree;
    shmc_sub_desc d = sub->desc;
    const shmc_segment_desc at = shmi_tree_place(sub);
    int r = shmi_tree_is_topic(name, &at);

    b->foreign = r == 0;
    if (r <= 0) return r;
    /* One that was let go is as a rule joined in vain, which removes it.  */
    b->limited = t->topics >= d.max_topics && b->seen_ns == 0;
    if (b->limited)
        return shmi_fail(SHMC_ELIMIT, "subscribe to '%s/': '%s' is one topic too "
                         "many for max_topics %u; it is left out", t->under,
                         name, d.max_topics);
    shmc_sub *one = shmi_alloc(sizeof *one);
    if (one == NULL)
        return shmi_fail(SHMC_ENOMEM, "subscribe to '%s': no memory", name);
    d.dir = at.dir;
    d.prefix = at.prefix;
    r = shmi_sub_open_one(one, name, &d, sub->opened_ns);
    one->seen_ns = b->seen_ns;
    one->seen_tail = b->seen_next;
    if (r == SHMC_OK) r = shmi_sub_join(one);
    if (r != SHMC_OK && (r != SHMC_EAGAIN || b->seen_ns != 0)) {
        shmi_endpoint_wait_end(&one->wait);
        shmi_free(one);
        b->let_go = r == SHMC_EAGAIN;
        return r == SHMC_EAGAIN ? SHMC_OK : r;
    }
    b->sub = one;
    b->let_go = false;
    b->quiet = false;
    t->topics++;
    return SHMC_OK;
}

/* Tell the error by the next receive.  Names that are gone are none.      */
static void
shmi_tree_fails(shmi_tree *t, int r)
{
    if (r != SHMC_OK && r != SHMC_ENOENT && t->error == SHMC_OK) t->error = r;
}

static bool
shmi_tree_has(const shmi_tree *t, const char *name)
{
    return strncmp(name, t->under, t->under_bytes) == 0 &&
           (t->under_bytes == 0 || name[t->under_bytes] == '/');
}

static shmi_branch *
shmi_tree_find(const shmi_tree *t, uint64_t hash)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->branch[i].hash == hash) return &t->branch[i];
    return NULL;
}

/* A scan meets a name.                                                    */
static int
shmi_tree_meet(void *ctx, const char *name)
{
    shmc_sub *sub = ctx;
    shmi_tree *t = sub->tree;

    if (!shmi_tree_has(t, name)) return 0;
    const uint64_t hash = shmc_type_hash(name);
    shmi_branch *b = shmi_tree_find(t, hash);
    if (b == NULL) {
        if (t->count == t->room) {
            const uint32_t room = t->room ? 2 * t->room : 16;
            shmi_branch *more = shmi_alloc(room * sizeof *more);
            if (more == NULL)
                return shmi_fail(SHMC_ENOMEM, "subscribe to '%s': no memory",
                                 name);
            if (t->count != 0) memcpy(more, t->branch, t->count * sizeof *more);
            shmi_free(t->branch);
            t->branch = more;
            t->room = room;
        }
        b = &t->branch[t->count++];
        memset(b, 0, sizeof *b);
        b->hash = hash;
        b->let_go = true;
    }
    b->met = t->scans;
    if (b->let_go || (b->foreign && t->full) ||
        (b->limited && t->topics < sub->desc.max_topics)) {
        b->let_go = false;
        shmi_tree_fails(t, shmi_tree_join(sub, b, name));
    }
    return 0;
}

/* Has a topic only us left, twice in a row, and nothing to read?          */
static bool
shmi_tree_is_over(shmi_branch *b, bool full)
{
    shmc_bcast *h = &b->sub->ring;

    if (h->shm == NULL || h->lent || !full) return false;
    const bool was = b->quiet;
    b->quiet = !shmi_topic_published(h) &&
               !shmc_segment_shared(&b->sub->segment);
    return was && b->quiet &&
           (int64_t)(shmi_load_acq_64(&h->shm->tail) - h->next) <= 0;
}

/* Read the folder: join what came, let go of what went.                   */
static void
shmi_tree_scan(shmc_sub *sub)
{
    shmi_tree *t = sub->tree;
    const shmc_segment_desc d = shmi_tree_place(sub);

    t->scans++;
    const int r = shmc_segment_each(&d, shmi_tree_meet, sub);
    shmi_tree_fails(t, r);
    if (r != SHMC_OK) return;       /* not all names were met               */
    for (uint32_t i = 0; i < t->count; ) {
        shmi_branch *b = &t->branch[i];
        const bool met = b->met == t->scans;
        /* A topic that is awaited and has no name may as well be new.     */
        if (b->sub != NULL && ((b->sub->ring.shm == NULL && !met) ||
                               shmi_tree_is_over(b, t->full))) shmi_tree_drop(sub, b);
        if (b->sub != NULL || met) i++;
        else *b = t->branch[--t->count];
    }
    if (t->turn >= t->count) t->turn = 0;
}

/* Has the folder changed?  Its time has the grain of a clock tick: what came
 * within one looks the same, so it is read once more after that.          */
static void
shmi_tree_look(shmc_sub *sub)
{
    shmi_tree *t = sub->tree;
    const uint64_t now = shmi_now_ns();
    shmi_file_info info;

    if (now < t->look_ns) return;
    t->look_ns = now + SHMC_TOPIC_POLL_NS;
    for (uint32_t i = 0; i < t->count; i++) {
        shmc_sub *one = t->branch[i].sub;
        if (one == NULL || one->ring.shm != NULL) continue;
        const int r = shmc_sub_ready(one);
        if (r < 0) {
            shmi_tree_fails(t, r);
            shmi_tree_drop(sub, &t->branch[i]);
            t->branch[i].let_go = false;
        }
    }
    t->full = now >= t->full_ns;
    bool changed = t->full || now >= t->again_ns;
    if (changed) t->again_ns = SHMI_FOREVER;
    if (t->full) t->full_ns = now + SHMI_TREE_SCAN_NS;
    if (shmi_file_info_get(t->awaited.fd, &info) == 0 &&
        info.mtime_ns != t->mtime_ns) {
        t->mtime_ns = info.mtime_ns;
        t->again_ns = now + SHMI_TREE_TICK_NS;
        changed = true;
    }
    if (changed) shmi_tree_scan(sub);
}

static int
shmi_tree_ready(shmc_sub *sub)
{
    shmi_tree *t = sub->tree;

    shmi_tree_look(sub);
    for (uint32_t i = 0; i < t->count; i++)
        if (t->branch[i].sub != NULL && t->branch[i].sub->ring.shm != NULL)
            return 1;
    return 0;
}

/* Is there plainly nothing?  Says no where a real look could find more.   */
static bool
shmi_sub_is_quiet(const shmc_sub *one)
{
    const shmc_bcast *h = &one->ring;

    return !one->desc.conflate && !one->desc.report_restart &&
           (int64_t)(shmi_load_rlx_64(&h->cells[h->next & h->mask].stamp) -
                     shmi_stamp(h->next, SHMI_DONE)) < 0;
}

/* One look at each topic, beginning with the one whose turn it is.        */
static int
shmi_tree_try(shmi_sub_call *c, bool slow)
{
    shmc_sub *sub = c->sub;
    shmi_tree *t = sub->tree;
    uint32_t at = t->turn;

    if (t->current != NULL && t->current->ring.lent) return SHMC_EBUSY;
    if (t->error != SHMC_OK) {
        const int r = t->error;
        t->error = SHMC_OK;
        return r;
    }
    for (uint32_t i = 0; i < t->count; i++, at = at + 1 < t->count ? at + 1 : 0) {
        shmi_branch *b = &t->branch[at];
        shmi_sub_call one = { b->sub, c->buf, c->cap, c->view };
        if (b->sub == NULL || b->sub->ring.shm == NULL) continue;
        if (!slow && shmi_sub_is_quiet(b->sub)) continue;
        if (slow) b->sub->ring.idle |= SHMI_BCAST_IDLE - 1;
        int r = shmi_sub_try(&one, slow);
        for (uint32_t n = 0; !shmi_sub_tells(b->sub, r) && n < 16; n++)
            r = shmi_sub_try(&one, slow);
        if (r == SHMI_SUB_MOVED) shmi_sub_move(b->sub);
        if (r == SHMI_SUB_MOVED || r == SHMC_EAGAIN || r == SHMC_ELAPPED) {
            if (r != SHMC_ELAPPED || !shmi_sub_tells(b->sub, r)) continue;
        }
        t->current = b->sub;
        t->turn = r == SHMC_EMSGSIZE ? at : at + 1 < t->count ? at + 1 : 0;
        b->received += r >= 0;
        return r;
    }
    return SHMC_EAGAIN;
}

/* Mark all bells, look once more, and sleep till one rings, or the next look
 * at the folder.                                                          */
static int
shmi_tree_sleep(shmi_sub_call *c, uint64_t until_ns)
{
    shmi_tree *t = c->sub->tree;
    shmi_wait_word words[SHMI_WAIT_MAX];
    uint32_t n = 0;
    bool all = true, asymmetric = false;

    for (uint32_t i = 0; i < t->count; i++) {
        shmc_sub *one = t->branch[i].sub;
        if (one == NULL || one->ring.shm == NULL) continue;
        all = all && n < SHMI_WAIT_MAX && !one->segment.read_only;
        if (!all) break;
        shmi_bell_shm *bell = &one->ring.shm->readable;
        /* A0 <- R0, and F1 below: as in shmi_bell_sleep.                  */
        words[n].word = &bell->seq;
        words[n++].expected = shmi_load_acq_32(&bell->seq);
        shmi_store_rlx_32(&bell->asleep, 1);
        asymmetric = asymmetric || one->ring.asymmetric;
    }
    if (!asymmetric || shmi_membarrier() < 0) shmi_fence_sc();
    const int r = shmi_tree_try(c, true);
    if (r != SHMC_EAGAIN) return r;
    if (!all || n == 0 || shmi_wait_many(words, n, until_ns) < 0)
        shmi_sleep_until(until_ns);
    return SHMC_EAGAIN;
}

static int
shmi_tree_wait(shmi_sub_call *c, int64_t timeout_ns)
{
    shmc_sub *sub = c->sub;
    shmi_tree *t = sub->tree;
    const uint32_t spins = SHMC_SPIN_TRIES / 16, yields = SHMC_YIELD_TRIES;

    if (!sub->open) return SHMC_ECLOSED;
    if (sub->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (++t->calls % SHMI_TREE_BUSY == 0) shmi_tree_look(sub);
    int r = shmi_tree_try(c, ++sub->polls % 64 == 0);
    if (r != SHMC_EAGAIN) return r;
    const uint64_t deadline = shmi_deadline(timeout_ns);
    for (uint32_t i = 0; r == SHMC_EAGAIN; i++) {
        if (i % 64 == 0 || i >= spins) shmi_tree_look(sub);
        const uint64_t now = i % 64 == 0 || i >= spins ? shmi_now_ns() : 0;
        if (now >= deadline) {
            r = shmi_tree_try(c, timeout_ns != 0);
            if (r != SHMC_EAGAIN) break;
            return timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT;
        }
        if (i < spins) shmi_relax();
        else if (i < spins + yields) shmi_yield();
        else r = shmi_tree_sleep(c, t->look_ns < deadline ? t->look_ns : deadline);
        if (r == SHMC_EAGAIN) r = shmi_tree_try(c, i >= spins);
    }
    return r;
}

static int
shmi_tree_open(shmc_sub *sub, const char *name, const shmc_sub_desc *d)
{
    char under[SHMC_NAME_BYTES] = "all";
    const size_t n = strlen(name) - 1;

    if (n >= sizeof under) return shmc_name_check(name);
    if (n > 0) snprintf(under, sizeof under, "%.*s", (int)n, name);
    int r = shmi_sub_open_one(sub, under, d, shmi_now_ns());
    if (r != SHMC_OK) return r;
    shmi_tree *t = sub->tree = shmi_alloc(sizeof *t);
    if (t == NULL) {
        sub->open = false;
        return shmi_fail(SHMC_ENOMEM, "subscribe to '%s': no memory", name);
    }
    if (sub->desc.max_topics == 0) sub->desc.max_topics = 256;
    t->under_bytes = n;
    t->under = n > 0 ? sub->wait.name : "";
    const shmc_segment_desc at = shmi_tree_place(sub);
    r = shmi_name_await_under(&t->awaited, t->under, &at);
    if (r == SHMC_OK) shmi_tree_look(sub);
    else (void)shmc_sub_close(sub);
    return r;
}

/* What was left to us, nobody else would remove: who closes it does.      */
static int
shmi_tree_sweep(void *ctx, const char *name)
{
    const shmc_sub *sub = ctx;
    const shmc_segment_desc d = shmi_tree_place(sub);
    const shmi_branch *b = shmi_tree_find(sub->tree, shmc_type_hash(name));
    shmc_segment s;

    if (b != NULL && !b->let_go) return 0;      /* never ours               */
    if (shmi_tree_has(sub->tree, name) && shmi_tree_is_topic(name, &d) == 1 &&
        shmc_segment_attach(&s, name, &d) == SHMC_OK) shmc_segment_close(&s);
    return 0;
}

static int
shmi_tree_close(shmc_sub *sub)
{
    shmi_tree *t = sub->tree;
    const shmc_segment_desc d = shmi_tree_place(sub);

    for (uint32_t i = 0; i < t->count; i++) shmi_tree_drop(sub, &t->branch[i]);
    shmi_name_await_end(&t->awaited);
    if (sub->wait.epoch == shmi_fork_epoch)
        (void)shmc_segment_each(&d, shmi_tree_sweep, sub);
    shmi_free(t->branch);
    shmi_free(t);
    sub->tree = NULL;
    return SHMC_OK;
}

/* >>subscribers: what is known */

SHMC_API uint64_t
shmc_sub_lost(const shmc_sub *sub)
{
    return sub->lost_before + sub->ring.lost +
           (sub->tree != NULL ? shmi_tree_sum(sub, shmc_sub_lost) : 0);
}

SHMC_API uint64_t
shmc_sub_skipped(const shmc_sub *sub)
{
    return sub->skipped +
           (sub->tree != NULL ? shmi_tree_sum(sub, shmc_sub_skipped) : 0);
}

SHMC_API uint64_t
shmc_sub_restarts(const shmc_sub *sub)
{
    const uint64_t n = sub->ring.shm == NULL ? 0
                     : shmi_sub_restarts_now(sub) - sub->restarts_in;

    return sub->restarts_before + n +
           (sub->tree != NULL ? shmi_tree_sum(sub, shmc_sub_restarts) : 0);
}

SHMC_API uint64_t
shmc_sub_gap(const shmc_sub *sub)
{
    const shmc_sub *from = shmi_sub_from(sub);

    return from != NULL ? shmc_bcast_gap(&from->ring) : 0;
}

SHMC_API int
shmc_sub_info(const shmc_sub *sub, shmc_msg_info *out)
{
    const shmc_sub *from = sub->open ? shmi_sub_from(sub) : NULL;
    const shmi_meta_shm *head;

    memset(out, 0, sizeof *out);
    if (!sub->open) return SHMC_ECLOSED;
    if (from == NULL || from->ring.shm == NULL ||
        (!from->ring.lent && from->ring.next == from->began)) return SHMC_ENOENT;
    head = &from->head;
    out->topic = from->wait.name;
    out->sequence = from->ring.next - !from->ring.lent;
    out->type_hash = from->type_hash;
    if (!from->meta) return SHMC_OK;
    out->sent_ns = head->sent_ns;
    out->publisher = head->publisher;
    out->type_hash = head->type_hash;
    out->pid = (int32_t)head->pid;
    out->user_bytes = head->user_bytes < SHMC_USER_BYTES ? head->user_bytes
                                                         : SHMC_USER_BYTES;
    memcpy(out->user, head->user, out->user_bytes);
    return SHMC_OK;
}

SHMC_API int
shmc_sub_topic_get(const shmc_sub *sub, uint32_t i, shmc_sub_topic *out)
{
    uint64_t received = 0;
    const shmc_sub *one = i == 0 ? sub : NULL;

    memset(out, 0, sizeof *out);
    if (!sub->open) return SHMC_ECLOSED;
    if (sub->tree != NULL) one = shmi_tree_at(sub->tree, i, &received);
    if (one == NULL) return SHMC_ENOENT;
    out->name = one->wait.name;
    out->received = received;
    out->lost = shmc_sub_lost(one);
    out->skipped = shmc_sub_skipped(one);
    out->restarts = shmc_sub_restarts(one);
    out->joined = one->ring.shm != NULL;
    return SHMC_OK;
}

/* >>subscribers: polling */

/* Would a receive tell of a restart?                                      */
static bool
shmi_sub_would_tell(const shmc_sub *sub)
{
    return sub->desc.report_restart &&
           (sub->moved || shmi_sub_restarts_now(sub) != sub->restarts_told);
}

static int
shmi_sub_poll_one(shmc_sub *sub, uint32_t events, bool thorough,
                  shmi_poll_spot *spot)
{
    if (sub->ring.shm == NULL) {
        spot->slice_ns = SHMC_TOPIC_POLL_NS;
        const int r = shmc_sub_ready(sub);
        if (r <= 0) return r;
    }
    const int r = shmi_bcast_poll(&sub->ring, events, thorough, spot);
    if (r == 0 && (events & SHMC_POLLIN) && !sub->ring.lent &&
        shmi_sub_would_tell(sub)) return SHMC_POLLIN;
    if (r != 0 || !thorough || !shmi_sub_outlived(sub)) return r;
    shmi_sub_move(sub);
    memset(spot, 0, sizeof *spot);
    spot->slice_ns = SHMC_TOPIC_POLL_NS;
    spot->due_ns = SHMI_FOREVER;
    return 0;
}

/* The bells of many topics are too many to sleep at: look again soon, as for
 * new names in any case.                                                  */
static int
shmi_sub_poll_tree(shmc_sub *sub, uint32_t events, bool thorough,
                   shmi_poll_spot *spot)
{
    shmi_tree *t = sub->tree;
    uint64_t progress = 0;

    if (sub->wait.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    shmi_tree_look(sub);
    if (t->current != NULL && t->current->ring.lent) events = 0;
    int found = t->error != SHMC_OK ? SHMC_POLLIN : 0;
    for (uint32_t i = 0; i < t->count; i++) {
        shmi_poll_spot one = { .due_ns = SHMI_FOREVER };
        shmc_sub *sub_i = t->branch[i].sub;
        if (sub_i == NULL || sub_i->ring.shm == NULL) continue;
        const int r = shmi_sub_poll_one(sub_i, events, thorough, &one);
        if (r < 0) return r;
        found |= r;
        progress += one.progress;
    }
    spot->progress = progress;
    spot->slice_ns = SHMC_TOPIC_POLL_NS;
    return found & (int)events;
}

static int
shmi_sub_poll(void *socket, uint32_t events, bool thorough,
              shmi_poll_spot *spot)
{
    shmc_sub *sub = socket;

    if (!sub->open) return SHMC_ECLOSED;
    return sub->tree != NULL
         ? shmi_sub_poll_tree(sub, events, thorough, spot)
         : shmi_sub_poll_one(sub, events, thorough, spot);
}

SHMC_API shmc_pollable
shmc_sub_pollable(shmc_sub *sub)
{
    return (shmc_pollable){ shmi_sub_poll, sub };
}

#endif /* SHMCOMM_IMPLEMENTATION */
