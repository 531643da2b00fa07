/* link_sockets.h - links of shmcomm's PUSH/PULL sockets.
 *
 *   pushpull, pushpull_place   shmc_push_send, shmc_pull_recv: by copy; loan
 *                              and commit, borrow and release
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_SOCKETS_H
#define SHMCOMM_BENCH_LINK_SOCKETS_H

#include "link_ours.h"

#if defined(__has_include)
#if __has_include("shmcomm_pushpull.h")
#define LINK_HAS_PUSHPULL 1
#include "shmcomm_pushpull.h"
#endif
#endif

/* ---- PUSH/PULL --------------------------------------------------------- */

#if LINK_HAS_PUSHPULL
typedef struct pushpull {
    shmc_push push;
    shmc_pull pull;
    int64_t timeout_ns;
    unsigned bytes;
} pushpull;

static void
pushpull_open(pushpull *l, const link_way *way, int back, int sender)
{
    const shmc_push_desc push = {
        .max_bytes = way->bytes, .depth = queue_slots(way->bytes, 1 << 20),
        .max_handles = 4, .dir = way->dir
    };
    const shmc_pull_desc pull = { .dir = way->dir };
    char name[64];

    snprintf(name, sizeof name, "bench/%d.%llu", back,
             (unsigned long long)way->number);
    l->bytes = way->bytes;
    l->timeout_ns = way->sleep ? SHMC_FOREVER : 0;
    if ((sender ? shmc_push_open(&l->push, name, &push)
                : shmc_pull_open(&l->pull, name, &pull)) < 0)
        link_die("%s", shmc_last_error());
}

static inline bool
pushpull_send(pushpull *l, uint64_t number)
{
    link_fill(link_out, l->bytes, number);
    return pubsub_went(shmc_push_send(&l->push, link_out, l->bytes,
                                      l->timeout_ns));
}

static inline bool
pushpull_recv(pushpull *l, link_got *got)
{
    if (!pubsub_went(shmc_pull_recv(&l->pull, link_in, l->bytes,
                                    l->timeout_ns))) return false;
    link_look(got, link_in, l->bytes);
    return true;
}

LINK_ONE(pushpull)

typedef struct pushpull_place { pushpull l; } pushpull_place;

static void
pushpull_place_open(pushpull_place *p, const link_way *way, int back, int sender)
{
    pushpull_open(&p->l, way, back, sender);
}

static inline bool
pushpull_place_send(pushpull_place *p, uint64_t number)
{
    pushpull *const l = &p->l;
    void *room;

    if (!pubsub_went(shmc_push_loan(&l->push, l->bytes, &room, l->timeout_ns)))
        return false;
    link_fill(room, l->bytes, number);
    return pubsub_went(shmc_push_commit(&l->push, l->bytes));
}

static inline bool
pushpull_place_recv(pushpull_place *p, link_got *got)
{
    pushpull *const l = &p->l;
    const void *view;

    if (!pubsub_went(shmc_pull_borrow(&l->pull, &view, l->timeout_ns)))
        return false;
    link_look(got, view, l->bytes);
    return pubsub_went(shmc_pull_release(&l->pull));
}

LINK_ONE(pushpull_place)
#endif

#endif /* SHMCOMM_BENCH_LINK_SOCKETS_H */
