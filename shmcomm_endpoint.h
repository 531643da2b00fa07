/* shmcomm_endpoint.h - the file on which sockets meet; private to shmcomm.
 *
 * Whoever comes first makes the file, with the sockets' object in it before
 * it has a name; later ones find it whole, and are told if it is another
 * kind's.  The last one out removes it.  What users left who all died is
 * taken over or removed, by rules of the kind.
 *
 * Manual: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_ENDPOINT_H
#define SHMCOMM_ENDPOINT_H

#include "shmcomm.h"

/* ---- constants --------------------------------------------------------- */

#ifndef SHMC_TOPIC_POLL_NS          /* how often who came too early looks   */
#define SHMC_TOPIC_POLL_NS 1000000u /* for what it waits for                */
#endif

/* How often who opens looks, a millisecond apart, whether others that came
 * across what dead users left are done with it.                           */
enum { SHMI_ENDPOINT_TRIES = 50 };

/* What a file is to a kind of socket: without any object; its own, that
 * nobody uses (all users died, or left it to who waits for it); its own, in
 * use; another kind's that nobody uses and may be removed; another's.     */
enum {
    SHMI_ENDPOINT_BARE, SHMI_ENDPOINT_LEFT, SHMI_ENDPOINT_USED,
    SHMI_ENDPOINT_OTHERS_LEFT, SHMI_ENDPOINT_OTHERS
};

/* ---- descs ------------------------------------------------------------- */

typedef struct shmi_endpoint_kind {
    const char *noun;               /* "topic"                              */
    const char *object;             /* which makes a file one of this kind  */
    bool   (*keep)(const shmc_segment *s);  /* asked by the last one out:
                                       must the file stay?  NULL: never, and
                                       it is SHMC_EPHEMERAL                 */
    bool     bare;                  /* a file without any object may become
                                       one                                  */
} shmi_endpoint_kind;

/* How to open an endpoint, creating it where it does not exist.           */
typedef struct shmi_endpoint_opening {
    const shmi_endpoint_kind *kind;
    shmc_segment_desc file;         /* of a new one                         */
    void    *head;                  /* becomes a copy of the first bytes of
                                       the object, which nobody checked; or
                                       zero                                 */
    uint64_t head_bytes;
    bool   (*adopt)(void *ctx, const shmc_segment *s);  /* use what was left?
                                       Says nothing.                        */
    bool   (*replace)(void *ctx, shmc_segment *s);  /* did it give up the
                                       name of a file in use, so that there
                                       is to look again?  NULL: no          */
    int    (*join)(void *ctx, shmc_segment *s);     /* open the object, and
                                       create it unless it is there         */
    void   (*forget)(void *ctx);    /* what join opened went with its file  */
    void    *ctx;
} shmi_endpoint_opening;

/* ---- handles ----------------------------------------------------------- */

/* Of who only attaches, and waits for a name that need not exist yet.     */
typedef struct shmi_endpoint_wait {
    shmc_segment awaited;           /* says that we wait                    */
    uint64_t look_ns;               /* when to look again                   */
    uint32_t epoch;
    bool     absent;                /* we looked, and there was none        */
    bool     firm;                  /* who fills it has to wait for us      */
    char     name[SHMC_NAME_BYTES], dir[SHMC_DIR_BYTES];
    char     prefix[SHMC_PREFIX_BYTES];
} shmi_endpoint_wait;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API ---------------------------------------------------------------- */

/* Tell what the file is to this kind (SHMI_ENDPOINT_...), and copy the first
 * `bytes` of its object to `head`, unchecked; zeroes if there are none.   */
SHMC_API int shmi_endpoint_state(const shmc_segment *s,
                                 const shmi_endpoint_kind *kind, void *head,
                                 uint64_t bytes);

/* Say that a name is in use for something else.  Returns SHMC_ETYPE.      */
SHMC_API int shmi_endpoint_refuse(const shmc_segment *s,
                                  const shmi_endpoint_kind *kind);

/* Attach to the endpoint, or create it, and join.  Returns 1 if it was
 * created, else 0.
 * Crash   what dead users left is taken over if `adopt` says so; else it is
 *         removed as soon as nobody looks at it, or joined after 50 looks.
 * Errors  SHMC_ETYPE the name is in use for something else; SHMC_ETIMEDOUT
 *         others create and remove it all the time; those of join, and of
 *         shmc_segment_attach and _create.                                */
SHMC_API int shmi_endpoint_open(shmc_segment *s, const char *name,
                                const shmi_endpoint_opening *o);

/* Leave, and remove the file if nobody else has it, nor waits for it (or, of
 * a kind that keeps, if keep does not say no).                            */
SHMC_API int shmi_endpoint_close(shmc_segment *s,
                                 const shmi_endpoint_kind *kind);

/* Begin to wait for a name; NULL dir and prefix are the defaults.
 * Errors  SHMC_ENAME.                                                     */
SHMC_API int shmi_endpoint_wait_begin(shmi_endpoint_wait *w, const char *name,
                                      const char *dir, const char *prefix);

/* Say, so that others see it, that we wait; look does that, too.          */
SHMC_API int shmi_endpoint_wait_say(shmi_endpoint_wait *w);

/* Attach if the name is there by now, and `enter`: until that returns
 * anything but SHMC_EAGAIN, not yet, the wait goes on.                    */
SHMC_API int shmi_endpoint_look(shmi_endpoint_wait *w, shmc_segment *s,
                                uint32_t flags, int (*enter)(void *ctx),
                                void *ctx);
SHMC_API void shmi_endpoint_wait_end(shmi_endpoint_wait *w);

/* The same, at most every SHMC_TOPIC_POLL_NS.  Returns 1 entered, 0 not yet,
 * or why it cannot be entered.                                            */
SHMC_API int shmi_endpoint_ready(shmi_endpoint_wait *w, shmc_segment *s,
                                 uint32_t flags, int (*enter)(void *ctx),
                                 void *ctx);

/* Ask `ready` until it says anything but 0, or SHMC_ETIMEDOUT.            */
SHMC_API int shmi_endpoint_await(int (*ready)(void *ctx), void *ctx,
                                 uint64_t deadline_ns);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_ENDPOINT_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_ENDPOINT_IMPLEMENTED)
#define SHMCOMM_ENDPOINT_IMPLEMENTED

#include <stdio.h>
#include <string.h>

/* >>endpoints */

/* Who only looks holds the file for a moment, but never the object.       */
SHMC_API int
shmi_endpoint_state(const shmc_segment *s, const shmi_endpoint_kind *kind,
                    void *head, uint64_t bytes)
{
    shmc_object_info info;
    int state = kind->bare ? SHMI_ENDPOINT_BARE : SHMI_ENDPOINT_OTHERS_LEFT;

    if (head != NULL) memset(head, 0, bytes);
    /* What is not as this kind makes it is somebody else's to remove.     */
    if (!s->ephemeral && kind->keep == NULL) return SHMI_ENDPOINT_OTHERS;
    for (uint32_t i = 0; i < s->max_objects; i++) {
        if (shmc_object_info_get(s, i, &info) != SHMC_OK) continue;
        const bool used = shmi_lock_probe(s->fd, SHMI_LOCK_OBJECTS + i) != 0;
        if (strcmp(info.name, kind->object) == 0 &&
            s->ephemeral == (kind->keep == NULL)) {
            if (head != NULL && info.bytes >= bytes)
                shmi_copy_out(head, s->base + info.offset, bytes);
            return used ? SHMI_ENDPOINT_USED : SHMI_ENDPOINT_LEFT;
        }
        if (used) state = SHMI_ENDPOINT_OTHERS;
        else if (state == SHMI_ENDPOINT_BARE) state = SHMI_ENDPOINT_OTHERS_LEFT;
    }
    return s->ephemeral ? state : SHMI_ENDPOINT_OTHERS;
}

SHMC_API int
shmi_endpoint_refuse(const shmc_segment *s, const shmi_endpoint_kind *kind)
{
    shmc_object_info info;
    uint32_t i = 0;

    while (i < s->max_objects && shmc_object_info_get(s, i, &info) != SHMC_OK)
        i++;
    if (i == s->max_objects)
        return shmi_fail(SHMC_ETYPE, "%s '%s': the segment of this name is no "
                         "%s; use another name or prefix", kind->noun, s->name,
                         kind->noun);
    return shmi_fail(SHMC_ETYPE, "%s '%s': the segment of this name holds a '%s' "
                     "and is no %s; use another name or prefix", kind->noun,
                     s->name, info.name, kind->noun);
}

/* Attach to the file, or create it, with its object.  Returns its state, or
 * an error.                                                               */
static int
shmi_endpoint_reach(shmc_segment *s, const char *name,
                    const shmi_endpoint_opening *o, bool *created)
{
    const uint64_t deadline_ns = shmi_deadline(SHMC_LOCK_TIMEOUT_NS);
    shmc_segment_desc attach, create = o->file;
    uint32_t tries = 0;

    memset(&attach, 0, sizeof attach);
    attach.dir = o->file.dir;
    attach.prefix = o->file.prefix;
    attach.flags = o->file.flags;
    if (o->kind->keep == NULL) create.flags |= SHMC_EPHEMERAL;
    do {
        int r = shmc_segment_attach(s, name, &attach);
        if (r == SHMC_OK)
            return shmi_endpoint_state(s, o->kind, o->head, o->head_bytes);
        if (r != SHMC_ENOENT) return r;
        if (o->head != NULL) memset(o->head, 0, o->head_bytes);
        r = shmi_segment_create_filled(s, name, &create, o->join, o->ctx);
        *created = r == SHMC_OK;
        if (*created) return SHMI_ENDPOINT_USED;
        o->forget(o->ctx);
        /* Somebody else was faster: take a look.                          */
        if (r != SHMC_EEXIST) return r;
    } while (shmi_try_again(&tries, deadline_ns));
    return shmi_fail(SHMC_ETIMEDOUT, "open %s '%s': others keep creating and "
                     "removing it", o->kind->noun, name);
}

SHMC_API int
shmi_endpoint_open(shmc_segment *s, const char *name,
                   const shmi_endpoint_opening *o)
{
    const shmi_endpoint_kind *kind = o->kind;
    bool created = false;

    for (int tries = 0; ; tries++) {
        const int state = shmi_endpoint_reach(s, name, o, &created);
        if (state < 0) return state;
        if (state != SHMI_ENDPOINT_OTHERS_LEFT) s->keep = kind->keep;
        if (created) return 1;
        if (state == SHMI_ENDPOINT_OTHERS ||
            (state == SHMI_ENDPOINT_OTHERS_LEFT &&
             tries == SHMI_ENDPOINT_TRIES)) {
            const int r = shmi_endpoint_refuse(s, kind);
            shmc_segment_close(s);
            return r;
        }
        if (state == SHMI_ENDPOINT_USED && o->replace != NULL &&
            tries < SHMI_ENDPOINT_TRIES && o->replace(o->ctx, s)) {
            shmc_segment_close(s);
            continue;
        }
        if (state == SHMI_ENDPOINT_USED || tries == SHMI_ENDPOINT_TRIES ||
            (state == SHMI_ENDPOINT_LEFT && o->adopt(o->ctx, s))) break;
        /* Others may be looking at it as well; the last of us removes it. */
        if (shmi_segment_close_and_remove(s) == 1)
            shmi_event(SHMC_LOG_INFO, "%s '%s': removed what its dead users "
                       "left", kind->noun, name);
        else
            shmi_sleep_until(shmi_now_ns() + 1000000u);
    }
    const int r = o->join(o->ctx, s);
    if (r != SHMC_OK) shmc_segment_close(s);
    return r;
}

SHMC_API int
shmi_endpoint_close(shmc_segment *s, const shmi_endpoint_kind *kind)
{
    s->keep = kind->keep;
    s->heirs = kind->keep == NULL;  /* its file is theirs, if there are any */
    const int r = shmi_segment_close_and_remove(s);
    return r < 0 ? r : SHMC_OK;
}

/* >>endpoints: waiting for a name */

SHMC_API int
shmi_endpoint_wait_begin(shmi_endpoint_wait *w, const char *name,
                         const char *dir, const char *prefix)
{
    memset(w, 0, sizeof *w);
    int r = shmc_name_check(name);
    if (r == SHMC_OK) r = shmi_directory(dir, &dir);
    if (r == SHMC_OK) r = shmi_prefix(prefix, &prefix);
    if (r != SHMC_OK) return r;
    snprintf(w->name, sizeof w->name, "%s", name);
    snprintf(w->dir, sizeof w->dir, "%s", dir);
    snprintf(w->prefix, sizeof w->prefix, "%s", prefix);
    w->epoch = shmi_fork_epoch;
    return SHMC_OK;
}

SHMC_API int
shmi_endpoint_wait_say(shmi_endpoint_wait *w)
{
    shmc_segment_desc d;

    if (w->awaited.file[0] != '\0') return SHMC_OK;
    memset(&d, 0, sizeof d);
    d.dir = w->dir;
    d.prefix = w->prefix;
    const int r = shmi_name_await(&w->awaited, w->name, &d);
    return r == SHMC_OK && w->firm ? shmi_name_await_firmly(&w->awaited) : r;
}

SHMC_API int
shmi_endpoint_look(shmi_endpoint_wait *w, shmc_segment *s, uint32_t flags,
                   int (*enter)(void *ctx), void *ctx)
{
    shmc_segment_desc d;
    int r = shmi_endpoint_wait_say(w);

    memset(&d, 0, sizeof d);
    d.dir = w->dir;
    d.prefix = w->prefix;
    d.flags = flags;
    if (r == SHMC_OK) {
        r = shmc_segment_attach(s, w->name, &d);
        if (r == SHMC_ENOENT) {
            w->absent = true;
            return SHMC_EAGAIN;
        }
    }
    if (r == SHMC_OK) {
        r = enter(ctx);
        /* What dead users left is removed, unless somebody is at it.      */
        if (r == SHMC_EAGAIN) (void)shmi_segment_close_and_remove(s);
        else if (r != SHMC_OK) shmc_segment_close(s);
    }
    if (r != SHMC_EAGAIN) shmi_name_await_end(&w->awaited);
    return r;
}

SHMC_API void
shmi_endpoint_wait_end(shmi_endpoint_wait *w)
{
    shmi_name_await_end(&w->awaited);
}

SHMC_API int
shmi_endpoint_ready(shmi_endpoint_wait *w, shmc_segment *s, uint32_t flags,
                    int (*enter)(void *ctx), void *ctx)
{
    const uint64_t now = shmi_now_ns();

    if (w->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (now < w->look_ns) return 0;
    w->look_ns = now + SHMC_TOPIC_POLL_NS;
    const int r = shmi_endpoint_look(w, s, flags, enter, ctx);
    return r == SHMC_EAGAIN ? 0 : r == SHMC_OK ? 1 : r;
}

SHMC_API int
shmi_endpoint_await(int (*ready)(void *ctx), void *ctx, uint64_t deadline_ns)
{
    for (;;) {
        const int r = ready(ctx);
        if (r != 0) return r < 0 ? r : SHMC_OK;
        const uint64_t now = shmi_now_ns();
        if (now >= deadline_ns) return SHMC_ETIMEDOUT;
        const uint64_t next = now + SHMC_TOPIC_POLL_NS;
        shmi_sleep_until(next < deadline_ns ? next : deadline_ns);
    }
}

#endif /* SHMCOMM_IMPLEMENTATION */
