/* link_sockets.h - links of shmcomm's PUSH/PULL and REQ/REP sockets.
 *
 *   pushpull, pushpull_place   shmc_push_send, shmc_pull_recv: by copy; loan
 *                              and commit, borrow and release
 *   reqrep                     a round trip is a request and its reply
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
#if __has_include("shmcomm_reqrep.h")
#define LINK_HAS_REQREP 1
#include "shmcomm_reqrep.h"
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
        .max_handles = 4, .wake = ours_wake(way), .dir = way->dir
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

/* ---- REQ/REP ----------------------------------------------------------- */

#if LINK_HAS_REQREP
static void
reqrep_name(char *name, size_t bytes, const link_way *way)
{
    snprintf(name, bytes, "bench/calls.%llu", (unsigned long long)way->number);
}

/* Ask, and get the sum of the reply.                                      */
static inline uint64_t
reqrep_call(shmc_req *req, const link_way *way, uint64_t number)
{
    link_got got;
    int r;

    link_fill(link_out, way->bytes, number);
    if (way->sleep) {
        r = shmc_req_call(req, link_out, way->bytes, link_in, way->bytes,
                          SHMC_FOREVER);
    } else {
        const int call = shmc_req_send(req, link_out, way->bytes, SHMC_FOREVER);
        (void)pubsub_went(call);
        do {
            r = shmc_req_recv(req, call, link_in, way->bytes, 0);
        } while (r == SHMC_EAGAIN);
    }
    (void)pubsub_went(r);
    link_look(&got, link_in, way->bytes);
    return got.sum;
}

static void
reqrep_here(const link_way *way)
{
    static shmc_req req;
    const shmc_req_desc desc = { .dir = way->dir };
    uint64_t sum = 0;
    char name[64];

    reqrep_name(name, sizeof name, way);
    if (shmc_req_open(&req, name, &desc) < 0) link_die("%s", shmc_last_error());
    (void)reqrep_call(&req, way, LINK_HELLO);
    link_start();
    for (uint64_t i = 0; i < way->messages; i++) {
        const uint64_t start = bench_ticks();
        sum += reqrep_call(&req, way, i);
        link_sample(i, way->messages, bench_ticks() - start);
    }
    link_stop();
    link_check(way, sum);
}

/* Answer one; the sum of the request.                                     */
static inline uint64_t
reqrep_serve(shmc_rep *rep, const link_way *way, uint64_t number)
{
    const int64_t timeout_ns = way->sleep ? SHMC_FOREVER : 0;
    link_got got;

    while (!pubsub_went(shmc_rep_recv(rep, link_in, way->bytes, timeout_ns)))
        continue;
    link_look(&got, link_in, way->bytes);
    link_fill(link_out, way->bytes, number);
    (void)pubsub_went(shmc_rep_send(rep, link_out, way->bytes, SHMC_FOREVER));
    return got.sum;
}

static void
reqrep_there(const link_way *way)
{
    static shmc_rep rep;
    const shmc_rep_desc desc = {
        .max_bytes = way->bytes, .max_clients = 1, .max_outstanding = 1,
        .max_servers = 1, .wake = ours_wake(way), .dir = way->dir
    };
    uint64_t sum = 0;
    char name[64];

    reqrep_name(name, sizeof name, way);
    if (shmc_rep_open(&rep, name, &desc) < 0) link_die("%s", shmc_last_error());
    (void)reqrep_serve(&rep, way, LINK_HELLO);
    link_start();
    for (uint64_t i = 0; i < way->messages; i++)
        sum += reqrep_serve(&rep, way, i);
    link_stop();
    link_check(way, sum);
}
#endif

#endif /* SHMCOMM_BENCH_LINK_SOCKETS_H */
