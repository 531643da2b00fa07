/* shmcomm_poll.h - one wait over any number of sockets, rings, words, timers.
 *
 *     shmc_poll_item items[2] = {
 *         { .of = shmc_sub_pollable(&pose), .events = SHMC_POLLIN },
 *         { .of = shmc_timer_pollable(&tick), .events = SHMC_POLLIN } };
 *     while (shmc_poll(items, 2, SHMC_FOREVER) > 0) {
 *         if (items[0].revents) shmc_sub_recv(&pose, &p, sizeof p, 0);
 *         if (items[1].revents) control(shmc_timer_read(&tick));
 *     }
 *
 * Manual: docs/shmcomm_poll.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_POLL_H
#define SHMCOMM_POLL_H

#include "shmcomm_segment.h"

/* ---- configuration: none of these changes a shared byte ---------------- */

#ifndef SHMC_POLL_SLICE_NS          /* longest sleep where the kernel cannot */
#define SHMC_POLL_SLICE_NS 1000000u /* watch all words at once              */
#endif

/* ---- items ------------------------------------------------------------- */

/* Something to wait for, in an array of the caller's.  Fill in the first
 * part, leave the rest zero, and keep the array for the next call: it
 * remembers silences.                                                     */
typedef struct shmc_poll_item {
    shmc_pollable of;               /* shmc_..._pollable(&object); its `look`
                                       NULL: the item is passed over        */
    uint32_t events;                /* SHMC_POLLIN, SHMC_POLLOUT, or both   */
    uint64_t silence_ns;            /* SHMC_POLLDEADLINE once nothing came
                                       for so long; 0: never                */
    void    *user;                  /* the caller's own                     */
    /* Answers.                                                             */
    uint32_t revents;               /* what holds: of `events`, and
                                       SHMC_POLLERR, DEAD, DEADLINE         */
    int32_t  error;                 /* with SHMC_POLLERR: the code          */
    /* Private.                                                             */
    bool     silent;                /* this silence was told                */
    uint32_t turn;                  /* of slices                            */
    uint64_t heard_ns, progress;
    shmi_poll_spot spot;
    shmi_bell_shm *marked[2];       /* bells that we said to sleep at       */
    uint32_t seq[2];                /* and their counts before              */
} shmc_poll_item;

/* ---- timers ------------------------------------------------------------ */

/* One thread's; zero is a timer that is stopped.                          */
typedef struct shmc_timer {
    uint64_t next_ns;               /* 0: stopped                           */
    uint64_t period_ns;             /* 0: one shot                          */
    uint64_t missed;                /* periods that passed unread, in all   */
} shmc_timer;

/* ---- words ------------------------------------------------------------- */

/* A word of memory, shared or not, that somebody is about to change.      */
typedef struct shmc_word {
    uint32_t *at;
    uint32_t expected;              /* what it is until then                */
} shmc_word;

/* ---- a descriptor for other event loops -------------------------------- */

enum { SHMI_POLL_FD_IDLE = 0, SHMI_POLL_FD_ARMED = 1, SHMI_POLL_FD_END = 2 };

/* What its owner and its thread tell each other.                          */
typedef struct shmi_poll_post {
    uint32_t order;                 /* W owner (R0)  R thread (A0): a count,
                                       and in its low bits what to do       */
    uint32_t done;                  /* W thread (R1)  R owner (A1): the order
                                       that it is through with              */
} shmi_poll_post;

typedef struct shmc_poll_fd {       /* private; its address must not change */
    int32_t  fd;
    uint32_t epoch, max_items;
    bool     open;
    uint32_t last;                  /* owner: the order it gave last        */
    shmi_poll_post *post;
    shmi_thread thread;
    /* W owner before R0; the thread's own from A0 to R1.                   */
    shmi_wait_word *words;
    uint32_t count;
    uint64_t until_ns;
} shmc_poll_fd;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: waiting ------------------------------------------------------ */

/* Wait until an item is ready, at most timeout_ns; 0 only looks, negative
 * waits for ever.  Returns how many items have revents, 0 when the time is
 * over.  All items are looked at each time, so that none starves another.
 * What holds goes on being reported while it holds; SHMC_POLLDEAD and
 * SHMC_POLLDEADLINE are told once for each death and each silence.
 * Safety  items and their objects are the calling thread's.
 * Cost    blocks: spins, yields, sleeps.  Nothing is allocated.  Until it
 *         sleeps it costs others nothing; each bell that it slept at without
 *         being rung costs the next one to ring one needless wake-up.
 *         More than SHMI_WAIT_MAX (128) words to sleep on, or a kernel
 *         without futex_waitv: sleeps at most SHMC_POLL_SLICE_NS at a time.
 * Crash   dying asleep leaves such marks, no more.
 * Errors  SHMC_EINVAL unknown events; nothing to wait for, for ever.  What
 *         is wrong with one item is in that item: SHMC_POLLERR.           */
SHMC_API int shmc_poll(shmc_poll_item *items, uint32_t count,
                       int64_t timeout_ns);

/* ---- API: timers ------------------------------------------------------- */

/* Expire first_ns from now, then each period_ns (0: once); SHMC_POLLIN from
 * then until it is read.  The n-th expiry is at first_ns + (n - 1) *
 * period_ns, however late the others were read: no drift.  CLOCK_MONOTONIC.
 * Errors  SHMC_EINVAL above 2^62.                                         */
SHMC_API int shmc_timer_start(shmc_timer *t, uint64_t first_ns,
                              uint64_t period_ns);
SHMC_API void shmc_timer_stop(shmc_timer *t);

/* Take the expiries since the last read.  Returns how many, at least 1; all
 * but one are added to t->missed.  Errors  SHMC_EAGAIN none yet.          */
SHMC_API int shmc_timer_read(shmc_timer *t);
SHMC_API shmc_pollable shmc_timer_pollable(shmc_timer *t);

/* ---- API: words -------------------------------------------------------- */

/* Name a word to shmc_poll: SHMC_POLLIN while it is not `expected`.  Whoever
 * changes it stores (release) and then calls shmc_word_wake.
 * Owner   w and the word stay the caller's, and stay mapped meanwhile.    */
SHMC_API shmc_pollable shmc_word_pollable(shmc_word *w);

/* Wake all that sleep on a word, in all processes.  Cost  a system call.  */
SHMC_API void shmc_word_wake(uint32_t *word);

/* ---- API: a descriptor for other event loops --------------------------- */

/* Open a descriptor for epoll, poll, libuv, io_uring and the like, for up to
 * max_items items.  Starts a thread that sleeps for it, and touches nothing
 * but words: the objects stay the caller's to use, armed or not.
 * Owner   shmc_poll_fd_close, before the objects are closed.
 * Safety  one thread at a time.  A forked child may only close it.
 * Errors  SHMC_EINVAL; SHMC_ENOMEM; SHMC_ELIMIT no descriptor or thread.  */
SHMC_API int shmc_poll_fd_open(shmc_poll_fd *p, uint32_t max_items);
SHMC_API int shmc_poll_fd_close(shmc_poll_fd *p);

/* The descriptor; wait for it to be readable, do not read it.
 * Errors  SHMC_ECLOSED; SHMC_EFORKED.                                     */
SHMC_API int shmc_poll_fd_get(const shmc_poll_fd *p);

/* Call it before the first wait, and each time the descriptor is readable:
 * looks at all items.  Returns how many are ready; the descriptor is
 * readable then, and stays so until a call that returns 0: nothing is ready,
 * and the descriptor becomes readable when that changes, or when it is time
 * to look again (see shmc_poll: SHMC_RECHECK_NS or less).  So no event is
 * lost in whatever order things happen.
 * Cost    blocks for no longer than the thread takes to wake up.
 * Errors  SHMC_EINVAL as shmc_poll, more than max_items; SHMC_ECLOSED;
 *         SHMC_EFORKED.                                                   */
SHMC_API int shmc_poll_fd_next(shmc_poll_fd *p, shmc_poll_item *items,
                               uint32_t count);

/* Disarm: the descriptor is not readable, and no word is slept on any more;
 * to be called before an object of an armed set is closed or an item goes. */
SHMC_API int shmc_poll_fd_stop(shmc_poll_fd *p);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_POLL_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_POLL_IMPLEMENTED)
#define SHMCOMM_POLL_IMPLEMENTED

#include <string.h>

/* >>looking */

/* Has the item been silent for too long?  `now` is read at most once.      */
static void
shmi_poll_silence(shmc_poll_item *item, uint64_t *now)
{
    if (*now == 0) *now = shmi_now_ns();
    if (item->heard_ns == 0 || item->progress != item->spot.progress ||
        (item->revents & SHMC_POLLIN) != 0) {
        item->heard_ns = *now;
        item->progress = item->spot.progress;
        item->silent = false;
    }
    if (item->silent || *now - item->heard_ns < item->silence_ns) return;
    item->silent = true;
    item->revents |= SHMC_POLLDEADLINE;
}

/* Look at every item; returns how many are ready.                         */
static int
shmi_poll_look(shmc_poll_item *items, uint32_t count, bool thorough)
{
    uint64_t now = 0;
    int ready = 0;

    for (uint32_t i = 0; i < count; i++) {
        shmc_poll_item *item = &items[i];
        item->revents = 0;
        item->error = SHMC_OK;
        if (item->of.look == NULL) continue;
        item->spot = (shmi_poll_spot){ .slice_ns = SHMC_RECHECK_NS,
                                       .due_ns = SHMI_FOREVER };
        const int r = item->of.look(item->of.object, item->events, thorough,
                                    &item->spot);
        if (r < 0) item->error = r;
        item->revents = r < 0 ? (uint32_t)SHMC_POLLERR
                      : (uint32_t)r & (item->events | SHMC_POLLDEAD);
        if (item->silence_ns != 0) shmi_poll_silence(item, &now);
        ready += item->revents != 0;
    }
    return ready;
}

static int
shmi_poll_check(const shmc_poll_item *items, uint32_t count, int64_t timeout_ns)
{
    bool any = false;

    if (count > INT32_MAX || (count != 0 && items == NULL))
        return shmi_fail(SHMC_EINVAL, "poll %u items at %p: give an array",
                         count, (const void *)items);
    for (uint32_t i = 0; i < count; i++) {
        any = any || items[i].of.look != NULL;
        if ((items[i].events & ~(uint32_t)(SHMC_POLLIN | SHMC_POLLOUT)) != 0)
            return shmi_fail(SHMC_EINVAL, "poll: item %u asks for events 0x%x; "
                             "give SHMC_POLLIN, SHMC_POLLOUT or both (the "
                             "others come unasked)", i, items[i].events);
    }
    if (!any && timeout_ns < 0)
        return shmi_fail(SHMC_EINVAL, "poll: none of %u items has an object, and "
                         "the wait is for ever", count);
    return SHMC_OK;
}

/* >>sleeping */

/* Say at each bell that we are about to sleep, then look once more.
 * Returns how many items are ready.                                       */
static int
shmi_poll_mark(shmc_poll_item *items, uint32_t count)
{
    bool asymmetric = false;

    for (uint32_t i = 0; i < count; i++) {
        shmc_poll_item *item = &items[i];
        asymmetric = asymmetric || item->spot.asymmetric;
        for (int b = 0; b < 2; b++) {
            shmi_bell_shm *bell = item->spot.bell[b];
            item->marked[b] = bell;
            if (bell == NULL) continue;
            /* A0 <- R0 in shmi_bell_wake: our mark is not cleared by who
             * raised the count to this.                                   */
            item->seq[b] = shmi_load_acq_32(&bell->seq);
            shmi_store_rlx_32(&bell->asleep, 1);
        }
    }
    /* F1: every mark is visible before any of the looks below; one fence for
     * all bells.  See shmi_bell_ring.                                     */
    if (!asymmetric || shmi_membarrier() < 0) shmi_fence_sc();
    return shmi_poll_look(items, count, true);
}

/* Did the last look find other places to sleep at than those marked?      */
static bool
shmi_poll_moved(const shmc_poll_item *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (int b = 0; b < 2; b++)
            if (items[i].of.look != NULL && items[i].spot.bell[b] != NULL &&
                items[i].spot.bell[b] != items[i].marked[b]) return true;
    return false;
}

/* Collect words to sleep on: the first `room` of them from the `skip`-th on,
 * going round.  Returns how many there are in all.                        */
static uint32_t
shmi_poll_words(const shmc_poll_item *items, uint32_t count,
                shmi_wait_word *words, uint32_t room, uint32_t skip)
{
    uint32_t all = 0;

    for (uint32_t i = 0; i < count; i++) {
        const shmi_poll_spot *spot = &items[i].spot;
        if (items[i].of.look == NULL) continue;
        for (int b = 0; b < 3; b++) {
            uint32_t *word = b == 2 ? spot->word
                           : spot->bell[b] ? &spot->bell[b]->seq : NULL;
            if (word == NULL) continue;
            if (all >= skip && all - skip < room)
                words[all - skip] = (shmi_wait_word){
                    word, b == 2 ? spot->expected : items[i].seq[b] };
            all++;
        }
    }
    return all;
}

/* When to look again, come what may.                                      */
static uint64_t
shmi_poll_until(const shmc_poll_item *items, uint32_t count,
                uint64_t deadline_ns)
{
    const uint64_t now = shmi_now_ns();
    uint64_t until = deadline_ns;

    for (uint32_t i = 0; i < count; i++) {
        const shmc_poll_item *item = &items[i];
        if (item->of.look == NULL) continue;
        const uint64_t slice = item->spot.slice_ns < SHMI_FOREVER - now
                             ? now + item->spot.slice_ns : SHMI_FOREVER;
        if (slice < until) until = slice;
        if (item->spot.due_ns < until) until = item->spot.due_ns;
        if (item->silence_ns == 0 || item->silent) continue;
        const uint64_t silent = item->silence_ns < SHMI_FOREVER - item->heard_ns
                              ? item->heard_ns + item->silence_ns : SHMI_FOREVER;
        if (silent < until) until = silent;
    }
    return until;
}

/* Sleep until a word changes or the time comes.                           */
static void
shmi_poll_wait(shmc_poll_item *items, uint32_t count, uint64_t until_ns)
{
    shmi_wait_word words[SHMI_WAIT_MAX];
    const uint32_t turn = items[0].turn;
    uint32_t all = shmi_poll_words(items, count, words, SHMI_WAIT_MAX, 0);

    if (all == 0) {
        shmi_sleep_until(until_ns);
        return;
    }
    if (all == 1) {
        (void)shmi_wait_32(words[0].word, words[0].expected, until_ns);
        return;
    }
    if (all <= SHMI_WAIT_MAX && shmi_wait_many(words, all, until_ns) >= 0) return;
    /* Not all at once: a part of them at a time, another one each time, and
     * a look at all of them after each slice.                             */
    const uint64_t slice = shmi_now_ns() + SHMC_POLL_SLICE_NS;
    if (slice < until_ns) until_ns = slice;
    const uint32_t parts = (all + SHMI_WAIT_MAX - 1) / SHMI_WAIT_MAX;
    const uint32_t from = turn % parts * SHMI_WAIT_MAX;
    (void)shmi_poll_words(items, count, words, SHMI_WAIT_MAX, from);
    const uint32_t n = all - from < SHMI_WAIT_MAX ? all - from : SHMI_WAIT_MAX;
    const uint32_t one = turn / parts % n;
    items[0].turn = turn + 1;
    if (parts == 1 || shmi_wait_many(words, n, until_ns) < 0)
        (void)shmi_wait_32(words[one].word, words[one].expected, until_ns);
}

/* Sleep once, unless the last look succeeds.  Returns how many are ready. */
static int
shmi_poll_sleep(shmc_poll_item *items, uint32_t count, uint64_t deadline_ns)
{
    const int ready = shmi_poll_mark(items, count);

    if (ready != 0 || shmi_poll_moved(items, count)) return ready;
    shmi_poll_wait(items, count, shmi_poll_until(items, count, deadline_ns));
    return shmi_poll_look(items, count, true);
}

SHMC_API int
shmc_poll(shmc_poll_item *items, uint32_t count, int64_t timeout_ns)
{
    int ready = shmi_poll_check(items, count, timeout_ns);

    if (ready != SHMC_OK) return ready;
    ready = shmi_poll_look(items, count, timeout_ns == 0);
    if (ready != 0 || timeout_ns == 0) return ready;
    const uint64_t deadline = shmi_deadline(timeout_ns);
    if (count == 0) {
        shmi_sleep_until(deadline);
        return 0;
    }
    /* As long as one object is waited for, whatever the number of items.  */
    const uint32_t spins = SHMC_SPIN_TRIES / count;
    const uint32_t tries = spins + SHMC_YIELD_TRIES;
    const uint32_t ask = 1 + 63 / count;
    for (uint32_t i = 0; i < tries; i++) {
        if (i < spins) shmi_relax();
        else shmi_yield();
        ready = shmi_poll_look(items, count, false);
        if (ready != 0) return ready;
        if (i % ask == ask - 1 && shmi_now_ns() >= deadline) return 0;
    }
    for (;;) {
        ready = shmi_poll_sleep(items, count, deadline);
        if (ready != 0 || shmi_now_ns() >= deadline) return ready;
    }
}

/* >>timers */

SHMC_API int
shmc_timer_start(shmc_timer *t, uint64_t first_ns, uint64_t period_ns)
{
    if ((first_ns | period_ns) >> 62 != 0)
        return shmi_fail(SHMC_EINVAL, "start a timer: %llu, then each %llu ns; "
                         "give less than 2^62", (unsigned long long)first_ns,
                         (unsigned long long)period_ns);
    t->next_ns = shmi_now_ns() + first_ns;
    t->period_ns = period_ns;
    t->missed = 0;
    return SHMC_OK;
}

SHMC_API void
shmc_timer_stop(shmc_timer *t)
{
    t->next_ns = 0;
}

SHMC_API int
shmc_timer_read(shmc_timer *t)
{
    const uint64_t now = shmi_now_ns();
    uint64_t expired = 1;

    if (t->next_ns == 0 || now < t->next_ns) return SHMC_EAGAIN;
    if (t->period_ns == 0) {
        t->next_ns = 0;
        return 1;
    }
    expired += (now - t->next_ns) / t->period_ns;
    t->next_ns += expired * t->period_ns;
    t->missed += expired - 1;
    return expired < INT32_MAX ? (int)expired : INT32_MAX;
}

static int
shmi_timer_poll(void *timer, uint32_t events, bool thorough,
                shmi_poll_spot *spot)
{
    const shmc_timer *t = (const shmc_timer *)timer;

    (void)thorough;
    spot->slice_ns = SHMI_FOREVER;
    if (t->next_ns == 0) return 0;
    spot->due_ns = t->next_ns;
    spot->progress = t->next_ns;
    return shmi_now_ns() >= t->next_ns ? (int)(events & SHMC_POLLIN) : 0;
}

SHMC_API shmc_pollable
shmc_timer_pollable(shmc_timer *t)
{
    return (shmc_pollable){ shmi_timer_poll, t };
}

/* >>words */

static int
shmi_word_poll(void *word, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    const shmc_word *w = (const shmc_word *)word;

    (void)thorough;
    spot->word = w->at;
    spot->expected = w->expected;
    /* Acquire: what the other one did before it changed the word.         */
    return shmi_load_acq_32(w->at) != w->expected ? (int)(events & SHMC_POLLIN)
                                                  : 0;
}

SHMC_API shmc_pollable
shmc_word_pollable(shmc_word *w)
{
    return (shmc_pollable){ shmi_word_poll, w };
}

SHMC_API void
shmc_word_wake(uint32_t *word)
{
    shmi_wake_32(word, INT32_MAX);
}

/* >>descriptor */

/* Words are looked at here only as numbers: has one changed?              */
static bool
shmi_poll_fd_rung(const shmc_poll_fd *p)
{
    for (uint32_t i = 1; i < p->count; i++)
        if (shmi_load_rlx_32(p->words[i].word) != p->words[i].expected)
            return true;
    return false;
}

/* Sleep until a word changes, the order is another (word 0), or it is time. */
static void
shmi_poll_fd_sleep(shmc_poll_fd *p)
{
    shmi_wait_word part[SHMI_WAIT_MAX];
    const uint32_t others = SHMI_WAIT_MAX - 1;
    uint32_t from = 1;

    part[0] = p->words[0];
    for (;;) {
        /* Relaxed: A0 comes when it is looked at as an order.             */
        if (shmi_load_rlx_32(part[0].word) != part[0].expected ||
            shmi_poll_fd_rung(p)) return;
        const uint64_t now = shmi_now_ns();
        if (now >= p->until_ns) return;
        uint64_t until = p->until_ns;
        uint32_t n = p->count - from < others ? p->count - from : others;
        memcpy(part + 1, p->words + from, n * sizeof *part);
        if (p->count > SHMI_WAIT_MAX && until - now > SHMC_POLL_SLICE_NS)
            until = now + SHMC_POLL_SLICE_NS;
        if (n == 0) {
            (void)shmi_wait_32(part[0].word, part[0].expected, until);
        } else if (shmi_wait_many(part, n + 1, until) < 0) {
            if (until - now > SHMC_POLL_SLICE_NS) until = now + SHMC_POLL_SLICE_NS;
            (void)shmi_wait_32(part[0].word, part[0].expected, until);
        }
        from = from + n < p->count ? from + n : 1;
    }
}

static void *
shmi_poll_fd_thread(void *arg)
{
    shmc_poll_fd *p = (shmc_poll_fd *)arg;
    uint32_t seen = 0;

    for (;;) {
        /* A0 <- R0: the words are as the owner left them.                 */
        const uint32_t order = shmi_load_acq_32(&p->post->order);
        if (order == seen) {
            (void)shmi_wait_32(&p->post->order, seen, SHMI_FOREVER);
            continue;
        }
        seen = order;
        if ((order & 3) == SHMI_POLL_FD_ARMED) {
            shmi_poll_fd_sleep(p);
            /* Set before it is done: who sees it done and clears the flag
             * clears this one, too.                                       */
            if (shmi_load_acq_32(&p->post->order) == order) shmi_flag_set(p->fd);
        }
        /* R1 -> A1: we touch no word from here on.                        */
        shmi_store_rel_32(&p->post->done, order);
        shmi_wake_32(&p->post->done, 1);
        if ((order & 3) == SHMI_POLL_FD_END) return NULL;
    }
}

/* Give the thread an order.  Unless armed, wait until it is done with it. */
static void
shmi_poll_fd_order(shmc_poll_fd *p, uint32_t what)
{
    const uint32_t order = p->last = (p->last & ~3u) + 4 + what;

    /* R0 -> A0                                                            */
    shmi_store_rel_32(&p->post->order, order);
    shmi_wake_32(&p->post->order, 1);
    if (what == SHMI_POLL_FD_ARMED) return;
    for (;;) {
        const uint32_t done = shmi_load_acq_32(&p->post->done);   /* A1 <- R1     */
        if (done == order) return;
        (void)shmi_wait_32(&p->post->done, done, SHMI_FOREVER);
    }
}

/* Let the thread touch no word, and the descriptor be quiet.              */
static void
shmi_poll_fd_quiet(shmc_poll_fd *p)
{
    if ((p->last & 3) == SHMI_POLL_FD_ARMED &&
        shmi_load_acq_32(&p->post->done) != p->last)              /* A1 <- R1     */
        shmi_poll_fd_order(p, SHMI_POLL_FD_IDLE);
    shmi_flag_clear(p->fd);
}

static int
shmi_poll_fd_usable(const shmc_poll_fd *p)
{
    if (!p->open) return SHMC_ECLOSED;
    return p->epoch == shmi_fork_epoch ? SHMC_OK : SHMC_EFORKED;
}

SHMC_API int
shmc_poll_fd_open(shmc_poll_fd *p, uint32_t max_items)
{
    memset(p, 0, sizeof *p);
    if (max_items == 0 || max_items > 1u << 20)
        return shmi_fail(SHMC_EINVAL, "open a descriptor to poll %u items: give "
                         "1 to 2^20", max_items);
    shmi_mutex_lock(&shmi_open_list.mutex);
    shmi_fork_watch();
    shmi_mutex_unlock(&shmi_open_list.mutex);
    p->epoch = shmi_fork_epoch;
    p->max_items = max_items;
    p->post = (shmi_poll_post *)shmi_alloc(sizeof *p->post +
                                           (3 * (size_t)max_items + 1) *
                                           sizeof *p->words);
    p->words = (shmi_wait_word *)(void *)(p->post + 1);
    if (p->post == NULL)
        return shmi_fail(SHMC_ENOMEM, "open a descriptor to poll: no memory for "
                         "%u items", max_items);
    int r = p->fd = shmi_flag_open();
    if (r >= 0) {
        r = shmi_thread_start(&p->thread, shmi_poll_fd_thread, p);
        if (r < 0) shmi_close(p->fd);
    }
    p->open = r >= 0;
    if (p->open) return SHMC_OK;
    shmi_free(p->post);
    return shmi_fail(SHMC_ELIMIT, "open a descriptor to poll %u items: the "
                     "system refuses a descriptor or a thread (error %d); raise "
                     "the limits (ulimit -n, -u)", max_items, -r);
}

SHMC_API int
shmc_poll_fd_close(shmc_poll_fd *p)
{
    if (!p->open)
        return shmi_fail(SHMC_ECLOSED, "close a descriptor to poll: it is not "
                         "open");
    p->open = false;
    /* In a forked child there is no thread.                               */
    if (p->epoch == shmi_fork_epoch) {
        shmi_poll_fd_order(p, SHMI_POLL_FD_END);
        shmi_thread_join(&p->thread);
    }
    shmi_close(p->fd);
    shmi_free(p->post);
    return SHMC_OK;
}

SHMC_API int
shmc_poll_fd_get(const shmc_poll_fd *p)
{
    const int r = shmi_poll_fd_usable(p);

    return r == SHMC_OK ? p->fd : r;
}

SHMC_API int
shmc_poll_fd_stop(shmc_poll_fd *p)
{
    const int r = shmi_poll_fd_usable(p);

    if (r == SHMC_OK) shmi_poll_fd_quiet(p);
    return r;
}

SHMC_API int
shmc_poll_fd_next(shmc_poll_fd *p, shmc_poll_item *items, uint32_t count)
{
    int ready = shmi_poll_fd_usable(p);

    if (ready == SHMC_OK) ready = shmi_poll_check(items, count, 0);
    if (ready != SHMC_OK) return ready;
    if (count > p->max_items)
        return shmi_fail(SHMC_EINVAL, "poll %u items by a descriptor opened for "
                         "%u", count, p->max_items);
    /* Quiet first: what comes from here on raises the flag again.         */
    shmi_poll_fd_quiet(p);
    do {
        ready = shmi_poll_look(items, count, false);
        if (ready == 0) ready = shmi_poll_mark(items, count);
    } while (ready == 0 && shmi_poll_moved(items, count));
    if (ready != 0) {
        shmi_flag_set(p->fd);
        return ready;
    }
    const uint32_t all = shmi_poll_words(items, count, p->words + 1,
                                         3 * p->max_items, 0);
    p->count = all + 1;
    p->until_ns = shmi_poll_until(items, count, SHMI_FOREVER);
    const uint32_t order = (p->last & ~3u) + 4 + SHMI_POLL_FD_ARMED;
    p->words[0] = (shmi_wait_word){ &p->post->order, order };
    shmi_poll_fd_order(p, SHMI_POLL_FD_ARMED);
    return 0;
}

#endif /* SHMCOMM_IMPLEMENTATION */
