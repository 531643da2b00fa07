/* shmcomm_bell.h - sleep until another process publishes; private to shmcomm.
 *
 * A wake-up costs nothing until somebody sleeps: whoever publishes rings, and
 * ringing is one load (and a fence, unless the segment chose the asymmetric
 * way).  Whoever waits spins, then yields, then sleeps on a word.
 *
 * Manual: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BELL_H
#define SHMCOMM_BELL_H

#include "shmcomm_base.h"

/* ---- configuration: none of these changes a shared byte ---------------- */

#ifndef SHMC_SPIN_TRIES             /* tries with a pause before yielding   */
#define SHMC_SPIN_TRIES 2000u
#endif
#ifndef SHMC_YIELD_TRIES            /* tries with sched_yield before sleep  */
#define SHMC_YIELD_TRIES 16u
#endif
#ifndef SHMC_RECHECK_NS             /* longest sleep between two looks      */
#define SHMC_RECHECK_NS 100000000u
#endif
#ifndef SHMC_PEER_CHECK_NS          /* the same, when one peer is awaited   */
#define SHMC_PEER_CHECK_NS 5000000u
#endif

/* ---- constants --------------------------------------------------------- */

#define SHMC_FOREVER (-1)           /* a timeout_ns that never elapses      */
#define SHMI_DEAF_NS 1000000u       /* nobody can ring for us: look so often */

/* How a sender and a sleeper order "publish" and "is anybody asleep?".    */
enum {
    SHMC_WAKE_FENCE = 0,            /* a full fence in each waking send     */
    SHMC_WAKE_ASYMMETRIC = 1        /* plain load there, membarrier here    */
};

/* ---- shared layout, version 1 ------------------------------------------ */

/* A bell: sleepers set `asleep`, whoever rings sees it and wakes them.    */
typedef struct shmi_bell_shm {
    uint32_t seq;                   /* W ringers by RMW    R sleepers       */
    uint32_t asleep;                /* W sleepers 1, ringers 0              */
    uint8_t  pad[SHMC_LINE - 8];
} shmi_bell_shm;
SHMC_LAYOUT_SIZE(shmi_bell_shm, SHMC_LINE);

/* ---- what a poller asks (shmcomm_poll.h) -------------------------------
 * An object that can be polled has a function shmc_<noun>_pollable, which
 * returns { its look function, itself }; the poller knows no more of it.
 *
 * look(object, events, thorough, spot) returns the bits of `events` that
 * hold now, perhaps SHMC_POLLDEAD, 0 for none, or a negative code, which
 * becomes SHMC_POLLERR.  It takes nothing: what it promises, the call that
 * follows finds.  It is called by the object's own thread.
 * `thorough` is false while the poller spins: then it may look at no more
 * than its own lines.  When true, it is the last look before a sleep, after
 * the mark in each bell and the fence: it must see all that was published by
 * somebody who did not see the mark, and look for the dead.
 * It says in *spot where the poller has to sleep for `events`; the poller
 * cleared it before, and set slice_ns and due_ns as below.                 */

enum {
    SHMC_POLLIN = 1,                /* a receive would find something       */
    SHMC_POLLOUT = 2,               /* a send would find room               */
    SHMC_POLLERR = 4,               /* the item's `error` says why          */
    SHMC_POLLDEAD = 8,              /* a peer died; told once               */
    SHMC_POLLDEADLINE = 16          /* nothing came for too long; told once */
};

typedef struct shmi_poll_spot {
    shmi_bell_shm *bell[2];         /* whoever makes it ready rings one of
                                       these; NULL: none                    */
    uint32_t *word;                 /* or changes this from `expected` and
                                       wakes who sleeps on it; NULL: none   */
    uint32_t expected;
    bool     asymmetric;            /* of the bells' segment                */
    uint64_t slice_ns;              /* look again after so long in any case:
                                       SHMC_PEER_CHECK_NS where one peer is
                                       awaited [SHMC_RECHECK_NS]            */
    uint64_t due_ns;                /* ready by itself then [SHMI_FOREVER]  */
    uint64_t progress;              /* differs whenever something was taken */
} shmi_poll_spot;

typedef int (*shmi_look_fn)(void *object, uint32_t events, bool thorough,
                            shmi_poll_spot *spot);

typedef struct shmc_pollable {      /* private; lives as long as the object */
    shmi_look_fn look;
    void *object;
} shmc_pollable;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API ---------------------------------------------------------------- */

/* Wake every sleeper.  Cost  a locked instruction and a system call.      */
SHMC_API void shmi_bell_wake(shmi_bell_shm *bell);

/* Try until `try_fn` returns anything but SHMC_EAGAIN: spin, yield, sleep.
 * `bell` NULL: nobody will ring (read-only), look every millisecond.
 * timeout_ns 0 returns SHMC_EAGAIN, an elapsed one SHMC_ETIMEDOUT.        */
typedef int (*shmi_try_fn)(void *ctx);
SHMC_API int shmi_bell_wait(shmi_bell_shm *bell, bool asymmetric,
                            shmi_try_fn try_fn, void *ctx,
                            int64_t timeout_ns, uint64_t slice_ns);

/* Wake whoever sleeps; call it after the store that publishes.
 * Without `asymmetric`, F0: the fence orders that store before the load of
 * `asleep`; the sleeper's fence F1 orders its store of `asleep` before its
 * last look.  In every order of F0 and F1 one side sees the other.  With
 * it, the sleeper's membarrier puts F0 into this thread when needed.      */
SHMC_INLINE void
shmi_bell_ring(shmi_bell_shm *bell, bool asymmetric)
{
    if (asymmetric) shmi_fence_compiler();
    else shmi_fence_sc();
    if (SHMI_UNLIKELY(shmi_load_rlx_32(&bell->asleep))) shmi_bell_wake(bell);
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_BELL_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_BELL_IMPLEMENTED)
#define SHMCOMM_BELL_IMPLEMENTED

SHMC_API void
shmi_bell_wake(shmi_bell_shm *bell)
{
    /* Clearing first: who falls asleep from here on sets it again.  A dead
     * sleeper's mark costs one needless wake and is gone.  Relaxed: R0.   */
    shmi_store_rlx_32(&bell->asleep, 0);
    /* R0 -> A0: who reads this count marks itself after the clearing; whom
     * the clearing hit read an older one, and is woken or does not sleep.  */
    shmi_fence_rel();
    (void)shmi_faa_rlx_32(&bell->seq, 1);
    shmi_wake_32(&bell->seq, INT32_MAX);
}

/* Sleep once, for at most slice_ns, unless the last look succeeds.        */
static int
shmi_bell_sleep(shmi_bell_shm *bell, bool asymmetric, shmi_try_fn try_fn,
                void *ctx, uint64_t deadline_ns, uint64_t slice_ns)
{
    const uint64_t now = shmi_now_ns();
    const uint64_t until = deadline_ns - now > slice_ns && deadline_ns > now
                         ? now + slice_ns : deadline_ns;

    if (bell == NULL) {
        shmi_sleep_until(until);
        return try_fn(ctx);
    }
    /* A0 <- R0: our mark is not cleared by who raised the count to this.   */
    const uint32_t seq = shmi_load_acq_32(&bell->seq);
    shmi_store_rlx_32(&bell->asleep, 1);
    /* F1: `asleep` is visible before the last look below; see bell_ring.  */
    if (!asymmetric || shmi_membarrier() < 0) shmi_fence_sc();
    const int r = try_fn(ctx);
    if (r != SHMC_EAGAIN) return r;
    shmi_wait_32(&bell->seq, seq, until);
    return try_fn(ctx);
}

SHMC_API int
shmi_bell_wait(shmi_bell_shm *bell, bool asymmetric, shmi_try_fn try_fn,
               void *ctx, int64_t timeout_ns, uint64_t slice_ns)
{
    int r = try_fn(ctx);

    if (r != SHMC_EAGAIN || timeout_ns == 0) return r;
    const uint64_t deadline = shmi_deadline(timeout_ns);
    if (bell == NULL && slice_ns > SHMI_DEAF_NS) slice_ns = SHMI_DEAF_NS;
    const uint32_t spins = SHMC_SPIN_TRIES, tries = spins + SHMC_YIELD_TRIES;
    for (uint32_t i = 0; i < tries; i++) {
        if (i < spins) shmi_relax();
        else shmi_yield();
        r = try_fn(ctx);
        if (r != SHMC_EAGAIN) return r;
        if (i % 64 == 63 && shmi_now_ns() >= deadline) return SHMC_ETIMEDOUT;
    }
    for (;;) {
        r = shmi_bell_sleep(bell, asymmetric, try_fn, ctx, deadline, slice_ns);
        if (r != SHMC_EAGAIN) return r;
        if (shmi_now_ns() >= deadline) return SHMC_ETIMEDOUT;
    }
}

#endif /* SHMCOMM_IMPLEMENTATION */
