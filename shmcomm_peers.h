/* shmcomm_peers.h - who joined, left or died: the participants of a topic or
 * segment, watched from outside.
 *
 *     shmc_peers w;
 *     shmc_peer_event e;
 *     shmc_peers_open(&w, "robot/pose", NULL);  // then poll for SHMC_POLLIN
 *     while (shmc_peers_next(&w, &e) == SHMC_OK)
 *         printf("%d %s\n", e.pid, shmc_peer_what(e.what));
 *
 * Manual: docs/shmcomm_names.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_PEERS_H
#define SHMCOMM_PEERS_H

#include "shmcomm_patterns.h"

/* ---- constants --------------------------------------------------------- */

enum {                              /* what became of a participant         */
    SHMC_PEER_JOINED = 1,
    SHMC_PEER_LEFT = 2,             /* by a close of its own                */
    SHMC_PEER_DIED = 3,             /* killed, crashed, or ended without    */
    SHMC_PEER_GONE = 4,             /* left or died: another one had its
                                       slot before we looked                */
    SHMC_PEER_ROLES = 5             /* began or stopped to do something     */
};

enum {                              /* what it does, in a topic; bits       */
    SHMC_PEER_PUBLISHES = 1,
    SHMC_PEER_SUBSCRIBES = 2        /* with a seat: in a reliable topic     */
};

/* ---- events ------------------------------------------------------------ */

typedef struct shmc_peer_event {
    uint32_t what;                  /* SHMC_PEER_...                        */
    uint32_t participant;           /* its slot ...                         */
    uint64_t generation;            /* ... and which user of that slot      */
    int32_t  pid;                   /* in its own pid namespace             */
    uint32_t roles;                 /* now, or when last seen alive         */
    char     label[32];
} shmc_peer_event;

/* ---- handles ----------------------------------------------------------- */

typedef struct shmi_peer_known {
    uint64_t generation;
    int32_t  pid;
    uint32_t roles, roles_now;
    bool     alive;
    char     label[32];
} shmi_peer_known;

/* A handle belongs to one thread; its address must not change.  Private.  */
typedef struct shmc_peers {
    shmc_segment segment;           /* ours alone, unseen by everybody      */
    shmi_peer_known *known;         /* one for each slot; NULL = closed     */
    uint32_t at;                    /* slot to look at next                 */
    bool     again;                 /* there may be more at the last slot   */
    bool     pending, observed, blind;  /* blind: its ring is damaged       */
    uint64_t look_ns;               /* when to go round again               */
    uint64_t missed;                /* came and went unseen                 */
    shmc_peer_event event;          /* if pending                           */
    shmc_bcast ring;                /* if observed                          */
} shmc_peers;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API ---------------------------------------------------------------- */

/* Watch a topic or segment, which must exist (see shmc_wait_for), without
 * taking part.  Of `desc` only dir and prefix count; NULL: the defaults.
 * Who takes part already comes as SHMC_PEER_JOINED; our own process's other
 * handles do, too.
 * Errors  SHMC_ENOENT; SHMC_ENOMEM; those of shmc_segment_attach.         */
SHMC_API int shmc_peers_open(shmc_peers *w, const char *name,
                             const shmc_segment_desc *desc);
SHMC_API int shmc_peers_close(shmc_peers *w);

/* Take the next event.  Of each participant: first JOINED, then maybe ROLES,
 * then one of LEFT, DIED and GONE.  Truth is the segment's table and its
 * locks, looked at every SHMC_PEER_CHECK_NS (5 ms): a stopped process is
 * alive, and who came and went between two looks is only counted.
 * Cost    at most every SHMC_PEER_CHECK_NS a system call for each live one.
 * Errors  SHMC_EAGAIN none now; SHMC_ENOENT no more to come: the segment has
 *         lost its name, and nobody is left; SHMC_ECLOSED; SHMC_EFORKED.  */
SHMC_API int shmc_peers_next(shmc_peers *w, shmc_peer_event *out);

/* How many came and went unseen.                                          */
SHMC_API uint64_t shmc_peers_missed(const shmc_peers *w);

/* Name it to shmc_poll: SHMC_POLLIN when there is an event.               */
SHMC_API shmc_pollable shmc_peers_pollable(shmc_peers *w);

/* "joined", "left", "died" ...  Never NULL.                               */
SHMC_API const char *shmc_peer_what(uint32_t what);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_PEERS_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_PEERS_IMPLEMENTED)
#define SHMCOMM_PEERS_IMPLEMENTED

#include <string.h>

SHMC_API const char *
shmc_peer_what(uint32_t what)
{
    static const char *const text[] = { "?", "joined", "left", "died", "gone",
                                        "changed its roles" };

    return text[what < sizeof text / sizeof text[0] ? what : 0];
}

/* >>roles */

/* Note who sits on these seats, by his number among the participants.     */
static void
shmi_peers_note(shmc_peers *w, const shmi_seat_shm *seats, uint32_t count,
                uint32_t role)
{
    for (uint32_t i = 0; i < count; i++) {
        /* Relaxed: who is meant is checked by its generation.             */
        const uint64_t owner = shmi_load_rlx_64(&seats[i].owner);
        const uint32_t slot = (uint32_t)(owner & 0xffff) - 1;
        if (slot >= w->segment.max_participants) continue;
        const shmc_participant_shm *p = &w->segment.participants[slot];
        if (shmi_load_rlx_64(&p->generation) == owner >> 16)
            w->known[slot].roles_now |= role;
    }
}

static void
shmi_peers_roles(shmc_peers *w)
{
    shmc_object_info o;

    for (uint32_t i = 0; i < w->segment.max_participants; i++)
        w->known[i].roles_now = 0;
    /* The topic's ring may come after its file.                           */
    for (uint32_t i = 0; i < w->segment.max_objects; i++) {
        if (w->observed || w->blind) break;
        if (shmc_object_info_get(&w->segment, i, &o) != SHMC_OK ||
            o.kind != SHMC_KIND_BCAST ||
            strcmp(o.name, SHMI_TOPIC_OBJECT) != 0) continue;
        const int r = shmc_bcast_open(&w->ring, &w->segment, o.name, NULL,
                                      SHMC_OBSERVER);
        w->observed = r == SHMC_OK;
        w->blind = r != SHMC_OK && r != SHMC_ENOENT;
    }
    if (!w->observed) return;
    shmi_peers_note(w, w->ring.pubs, w->ring.max_publishers,
                    SHMC_PEER_PUBLISHES);
    shmi_peers_note(w, w->ring.subs, w->ring.max_subscribers,
                    SHMC_PEER_SUBSCRIBES);
}

/* >>events */

/* Make an event of what is known of a slot.                               */
static bool
shmi_peers_tell(shmc_peers *w, uint32_t i, uint32_t what)
{
    const shmi_peer_known *k = &w->known[i];
    shmc_peer_event *e = &w->event;

    e->what = what;
    e->participant = i;
    e->generation = k->generation;
    e->pid = k->pid;
    e->roles = k->roles;
    memcpy(e->label, k->label, sizeof e->label);
    w->pending = true;
    return true;
}

/* What became of the participant that we know as alive there?             */
static bool
shmi_peers_look_known(shmc_peers *w, uint32_t i)
{
    const shmc_participant_shm *slot = &w->segment.participants[i];
    shmi_peer_known *k = &w->known[i];
    const uint64_t owner = k->generation << 16 | (i + 1);

    if (shmi_load_acq_64(&slot->generation) != k->generation) { /* A2 <- R2 */
        k->alive = false;
        w->again = true;            /* and who is there now                 */
        return shmi_peers_tell(w, i, SHMC_PEER_GONE);
    }
    if (shmi_owner_alive(&w->segment, owner)) {
        if (k->roles == k->roles_now) return false;
        k->roles = k->roles_now;
        return shmi_peers_tell(w, i, SHMC_PEER_ROLES);
    }
    /* Who leaves clears its pid before it lets go of its lock.  So does who
     * takes the slot of a dead one, but it holds the lock then.           */
    const bool left = shmi_load_acq_32(&slot->pid) == 0;
    if (shmi_load_acq_64(&slot->generation) != k->generation ||
        (left && shmi_owner_alive(&w->segment, owner))) return false;
    k->alive = false;
    return shmi_peers_tell(w, i, left ? SHMC_PEER_LEFT : SHMC_PEER_DIED);
}

/* Is there a newcomer?                                                    */
static bool
shmi_peers_look_new(shmc_peers *w, uint32_t i)
{
    shmc_participant_info info;
    shmi_peer_known *k = &w->known[i];

    if (shmc_participant_info_get(&w->segment, i, &info) != SHMC_OK ||
        info.generation == k->generation) return false;
    const bool held = info.alive ||
        shmi_owner_alive(&w->segment, info.generation << 16 | (i + 1));
    if (held && !info.alive) return false;  /* not yet all there, or leaving */
    const uint64_t came = info.generation - k->generation;
    /* More than could ever have come: scribbled.                          */
    if (came < UINT64_C(1) << 32) w->missed += came - info.alive;
    k->generation = info.generation;
    if (!info.alive) return false;
    k->alive = true;
    k->pid = info.pid;
    k->roles = k->roles_now;
    memcpy(k->label, info.label, sizeof k->label);
    return shmi_peers_tell(w, i, SHMC_PEER_JOINED);
}

/* Go on round the table to the next event.  At most two for each slot, then
 * it rests: nobody can keep us at it.                                     */
static bool
shmi_peers_find(shmc_peers *w)
{
    if (w->pending) return true;
    if (w->at == 0 && !w->again) {
        const uint64_t now = shmi_now_ns();
        if (now < w->look_ns) return false;
        w->look_ns = now + SHMC_PEER_CHECK_NS;
        shmi_peers_roles(w);
    }
    if (w->again) {
        w->again = false;
        if (shmi_peers_look_new(w, w->at - 1)) return true;
    }
    while (w->at < w->segment.max_participants) {
        const uint32_t i = w->at++;
        if (w->known[i].alive ? shmi_peers_look_known(w, i)
                              : shmi_peers_look_new(w, i)) return true;
    }
    w->at = 0;
    return false;
}

/* Does anybody live, and has the file a name?                             */
static bool
shmi_peers_over(const shmc_peers *w)
{
    if (shmc_segment_linked(&w->segment)) return false;
    for (uint32_t i = 0; i < w->segment.max_participants; i++)
        if (w->known[i].alive) return false;
    return true;
}

static int
shmi_peers_ready(shmc_peers *w)
{
    if (w->known == NULL) return SHMC_ECLOSED;
    if (w->segment.epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (shmi_peers_find(w)) return 1;
    return shmi_peers_over(w) ? SHMC_ENOENT : 0;
}

/* >>open and close */

SHMC_API int
shmc_peers_open(shmc_peers *w, const char *name, const shmc_segment_desc *desc)
{
    shmc_segment_desc d;

    memset(w, 0, sizeof *w);
    memset(&d, 0, sizeof d);
    d.flags = SHMC_INSPECT;
    if (desc != NULL) {
        d.dir = desc->dir;
        d.prefix = desc->prefix;
    }
    const int r = shmc_segment_attach(&w->segment, name, &d);
    if (r != SHMC_OK) return r;
    const uint32_t count = w->segment.max_participants;
    w->known = shmi_alloc(count * sizeof *w->known);
    if (w->known == NULL) {
        (void)shmc_segment_close(&w->segment);
        return shmi_fail(SHMC_ENOMEM, "watch the participants of '%s': no memory "
                         "for %u", name, count);
    }
    /* Who is alive now is news; the dead are not.                         */
    for (uint32_t i = 0; i < count; i++) {
        shmc_participant_info info;
        if (shmc_participant_info_get(&w->segment, i, &info) == SHMC_OK)
            w->known[i].generation = info.generation - info.alive;
    }
    return SHMC_OK;
}

SHMC_API int
shmc_peers_close(shmc_peers *w)
{
    if (w->known == NULL)
        return shmi_fail(SHMC_ECLOSED, "close the watch of participants: it is "
                         "not open");
    if (w->observed) (void)shmc_bcast_close(&w->ring);
    shmi_free(w->known);
    w->known = NULL;
    return shmc_segment_close(&w->segment);
}

SHMC_API int
shmc_peers_next(shmc_peers *w, shmc_peer_event *out)
{
    const int r = shmi_peers_ready(w);

    if (r <= 0) return r == 0 ? SHMC_EAGAIN : r;
    *out = w->event;
    w->pending = false;
    return SHMC_OK;
}

SHMC_API uint64_t
shmc_peers_missed(const shmc_peers *w)
{
    return w->missed;
}

static int
shmi_peers_poll(void *watch, uint32_t events, bool thorough,
                shmi_poll_spot *spot)
{
    const int r = shmi_peers_ready((shmc_peers *)watch);

    (void)thorough;
    spot->slice_ns = SHMC_PEER_CHECK_NS;
    return r <= 0 ? r : (int)(events & SHMC_POLLIN);
}

SHMC_API shmc_pollable
shmc_peers_pollable(shmc_peers *w)
{
    return (shmc_pollable){ shmi_peers_poll, w };
}

#endif /* SHMCOMM_IMPLEMENTATION */
