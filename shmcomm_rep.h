/* shmcomm_rep.h - REP sockets: servers that answer requests.
 *
 *     shmc_rep rep;
 *     shmc_rep_open(&rep, "robot/plan", NULL);
 *     int bytes = shmc_rep_recv(&rep, goal, sizeof goal, SHMC_FOREVER);
 *     shmc_rep_send(&rep, path, path_bytes, SHMC_FOREVER);
 *
 * Manual: docs/shmcomm_reqrep.md, proof: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_REP_H
#define SHMCOMM_REP_H

#include "shmcomm_calls.h"

/* ---- constants --------------------------------------------------------- */

#ifndef SHMC_REPLY_CHECK_NS         /* how often a server that answers asks  */
#define SHMC_REPLY_CHECK_NS 1000000u    /* the kernel for its client         */
#endif

enum { SHMI_CALL_REPLY_NEAR = 48 }; /* bytes of a reply in its word's 64    */

/* ---- descs: zero selects the default ----------------------------------- */

/* A service: the server that comes first gives it its shape; who comes later
 * and names a different one is told (SHMC_EMISMATCH), zero takes what exists.
 * Memory: clients * outstanding * (both sizes, unless small, and 384 bytes). */
typedef struct shmc_rep_desc {
    uint32_t max_bytes;             /* longest request, 1..2^30 [4096]      */
    uint32_t max_reply_bytes;       /* longest reply, or part [max_bytes]   */
    uint32_t max_clients;           /* 1..1024 [64]                         */
    uint32_t max_outstanding;       /* calls of a client at once 1..64 [16] */
    uint32_t max_servers;           /* 1..1024 [16]                         */
    uint32_t wake;                  /* SHMC_WAKE_... [SHMC_WAKE_FENCE]      */
    uint32_t access;                /* permission bits of the file [0600]   */
    uint32_t gid;                   /* with SHMC_SET_GID                    */
    uint32_t flags;                 /* SHMC_PREFAULT, MLOCK, HUGEPAGES,
                                       SET_GID                              */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
} shmc_rep_desc;

/* ---- handles: their address must not change while open ----------------- */

typedef struct shmc_rep {
    shmc_segment segment;
    shmi_calls calls;
    uint64_t gen, client;           /* of the request that we have; who sat
                                       there when we took it                */
    uint64_t look_ns;
    uint32_t index, bytes, flags;   /* of that request                      */
    uint32_t parts;                 /* sent so far                          */
    uint32_t loan_bytes, tries;
    bool     held, fetched, viewed, loaned, loan_area;
    uint64_t received;              /* requests that the caller got         */
    uint64_t served, passed;        /* answered; withdrawn, so passed over  */
} shmc_rep;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API ---------------------------------------------------------------- */

/* Serve under a name, creating the service where it does not exist.  Any
 * number of servers share the requests: whoever is ready first gets the
 * next.  The last one to leave, server or client, removes the service.
 * Safety  a handle belongs to one thread; any number of handles.
 * Crash   what is left of a service whose users all died is removed.
 * Errors  SHMC_EMISMATCH another shape is in use; SHMC_ELIMIT no seat;
 *         SHMC_ETYPE the name is in use for something else; SHMC_ENAME;
 *         SHMC_ENOSPC; SHMC_EACCES; SHMC_EINVAL.                          */
SHMC_API int shmc_rep_open(shmc_rep *rep, const char *service,
                           const shmc_rep_desc *desc);

/* Stop serving.  A request that was not answered counts as dropped.       */
SHMC_API int shmc_rep_close(shmc_rep *rep);

/* Receive the next request by copy: spin, yield, then sleep up to
 * timeout_ns.  Returns its bytes, 0 for an empty one.  It has to be answered
 * (shmc_rep_send) or dropped before the next is received; but one that wants
 * no answer (shmc_req_post) needs none.
 * Cost    lock-free, one compare-and-swap more than shmc_mpmc_pop.
 * Crash   before it returns another server gets the request; after that its
 *         client is told, or sends it to another by its own option.
 * Errors  SHMC_EAGAIN (timeout 0), SHMC_ETIMEDOUT no request; SHMC_EMSGSIZE
 *         `cap` is too small, the request stays; SHMC_EBUSY answer the last
 *         one first; SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT.           */
SHMC_API int shmc_rep_recv(shmc_rep *rep, void *buf, uint32_t cap,
                           int64_t timeout_ns);

/* Look at the next request where it lies.  It stays there until the answer;
 * release says that the caller looks no longer, and ends one that wants no
 * answer.  Rest as shmc_rep_recv.                                         */
SHMC_API int shmc_rep_borrow(shmc_rep *rep, const void **data,
                             int64_t timeout_ns);
SHMC_API int shmc_rep_release(shmc_rep *rep);

/* Tell whether a request is there (0 or 1), without waiting and without
 * taking it: another server may be faster than the receive that follows.  */
SHMC_API int shmc_rep_ready(shmc_rep *rep);

/* Answer the request.  Waits, up to timeout_ns, only if a part of the answer
 * that went before has not been read yet.
 * Cost    wait-free for a single reply.
 * Crash   before R2 the client learns of our death; from R2 on it has it.
 * Errors  SHMC_EPEERDEAD nobody waits for it: the client died, or gave up;
 *         the request is done with; SHMC_EMSGSIZE; SHMC_EAGAIN,
 *         SHMC_ETIMEDOUT the last part is unread: try again, or drop;
 *         SHMC_EINVAL there is no request; SHMC_EBUSY there is a loan.    */
SHMC_API int shmc_rep_send(shmc_rep *rep, const void *data, uint32_t bytes,
                           int64_t timeout_ns);

/* Send a part of the answer; more follow.  The client takes part by part:
 * the next one waits until this one was read.  Errors  as shmc_rep_send.  */
SHMC_API int shmc_rep_send_more(shmc_rep *rep, const void *data,
                                uint32_t bytes, int64_t timeout_ns);

/* Lend room for an answer of up to `bytes`, to be written in place and
 * committed as the last (or only) part, or as one that more follow.
 * Errors  as shmc_rep_send; SHMC_EINVAL commit without a loan.            */
SHMC_API int shmc_rep_loan(shmc_rep *rep, uint32_t bytes, void **data,
                           int64_t timeout_ns);
SHMC_API int shmc_rep_commit(shmc_rep *rep, uint32_t bytes);
SHMC_API int shmc_rep_commit_more(shmc_rep *rep, uint32_t bytes);
SHMC_API int shmc_rep_abort(shmc_rep *rep);

/* Give the request up without an answer: to its client this server has died.
 * Errors  SHMC_EINVAL there is no request.                                */
SHMC_API int shmc_rep_drop(shmc_rep *rep);

/* Tell whether somebody waits for the answer (0 or 1): not if its client
 * died or gave up, or wants none.  Cost  a system call.                   */
SHMC_API int shmc_rep_wanted(shmc_rep *rep);

/* Name the server to shmc_poll: SHMC_POLLIN when a request is there and the
 * last one is answered.  As shmc_rep_ready, it takes none.                */
SHMC_API shmc_pollable shmc_rep_pollable(shmc_rep *rep);

/* Tell whether the request has been in the hands of a server that died.   */
SHMC_INLINE bool
shmc_rep_retried(const shmc_rep *rep)
{
    return rep->held && (rep->flags & SHMI_CALL_AGAIN) != 0;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_REP_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_REP_IMPLEMENTED)
#define SHMCOMM_REP_IMPLEMENTED

#include <string.h>

/* >>servers: coming and going */

SHMC_API int
shmc_rep_open(shmc_rep *rep, const char *service, const shmc_rep_desc *desc)
{
    static const shmc_rep_desc defaults;
    const shmc_rep_desc *d = desc != NULL ? desc : &defaults;
    const uint32_t known = SHMC_PREFAULT | SHMC_MLOCK | SHMC_HUGEPAGES |
                           SHMC_SET_GID;
    const shmi_calls_desc shape = { d->max_bytes, d->max_reply_bytes,
                                    d->max_clients, d->max_outstanding,
                                    d->max_servers };
    shmc_segment_desc file;

    memset(rep, 0, sizeof *rep);
    if ((d->flags & ~known) != 0)
        return shmi_fail(SHMC_EINVAL, "serve '%s': flags 0x%x; give "
                         "SHMC_PREFAULT, SHMC_MLOCK, SHMC_HUGEPAGES or "
                         "SHMC_SET_GID", service ? service : "", d->flags);
    memset(&file, 0, sizeof file);
    file.mode = d->access;
    file.gid = d->gid;
    file.flags = d->flags;
    file.wake = d->wake;
    file.dir = d->dir;
    file.prefix = d->prefix;
    return shmi_service_open(&rep->calls, &rep->segment, service, &shape, &file);
}

SHMC_API int
shmc_rep_close(shmc_rep *rep)
{
    shmi_calls *c = &rep->calls;

    if (c->shm == NULL)
        return shmi_fail(SHMC_ECLOSED, "close server: it is not open");
    if (rep->held) (void)shmc_rep_drop(rep);
    shmi_calls_close(c);
    rep->held = false;
    return shmi_endpoint_close(&rep->segment, &shmi_service_kind);
}

/* >>servers: taking requests */

/* The request is ours: look at its first line, untrusted, each word once.  */
static bool
shmi_rep_admit(shmc_rep *rep, uint32_t index, uint64_t gen)
{
    const shmi_calls *c = &rep->calls;
    const shmi_request_shm *request = &c->calls[index].request;
    /* Relaxed: A1, the queue's, came before.                               */
    const uint64_t word = shmi_load_rlx_64(&request->word);
    const uint32_t bytes = shmi_load_rlx_32(&request->bytes);

    rep->index = index;
    rep->gen = gen;
    rep->bytes = bytes;
    rep->flags = (uint32_t)word & 0xff;
    rep->parts = 0;
    rep->client = shmi_load_rlx_64(&c->clients[index / c->each].owner);
    rep->held = true;
    rep->fetched = false;
    return shmi_call_gen(word) == gen &&
           (rep->flags & SHMI_CALL_AREA
            ? bytes <= c->max_request && c->request_stride != 0
            : bytes <= SHMI_CALL_REQUEST_INLINE && bytes <= c->max_request);
}

/* Publish a part, or the end of the call: nothing of it may be touched after
 * the latter.                                                              */
static void
shmi_rep_publish(shmc_rep *rep, uint32_t kind)
{
    const shmi_calls *c = &rep->calls;
    shmi_reply_shm *reply = &c->calls[rep->index].reply;

    /* R2 -> A2: the reply's bytes happen before its client reads them; and
     * our reads of the request before its client writes the next one.      */
    shmi_store_rel_64(&reply->word, shmi_call_word(rep->gen, rep->parts, kind));
    if ((kind & SHMI_CALL_KIND) == SHMI_CALL_PART) rep->parts++;
    else rep->held = false;
    rep->loaned = false;
    shmi_bell_ring(&c->client_bells[rep->index / c->each], c->asymmetric);
}

/* Take a request, if there is one: SHMC_OK, or SHMC_EAGAIN ...             */
static int
shmi_rep_take(shmc_rep *rep)
{
    shmi_calls *c = &rep->calls;
    const void *cell;

    if (rep->held) return SHMC_OK;
    /* Withdrawn ones are passed over: all that the queue can hold.         */
    for (uint64_t i = 0; i <= c->queue.mask; i++) {
        const int r = shmc_mpmc_borrow(&c->queue, &cell);
        if (r < 0) return r;
        /* Once: a peer may write there.                                    */
        const uint64_t id = shmi_load_rlx_64((const uint64_t *)cell);
        const uint32_t index = (uint32_t)id & SHMI_CALL_INDEX;
        if (index < c->count) {     /* both CPU lines of a small request    */
            shmi_prefetch_r(&c->calls[index].request);
            shmi_prefetch_r(&c->calls[index].request.data[40]);
            shmi_prefetch_w(&c->calls[index].reply.data[SHMI_CALL_REPLY_NEAR]);
        }
        const bool ours = index < c->count &&
                          shmi_call_claim(c, index, shmi_call_gen(id));
        /* After the claim: who dies in between leaves the cell to another,
         * who finds the call taken by a dead one (I2).                     */
        (void)shmc_mpmc_release(&c->queue);
        if (ours && shmi_rep_admit(rep, index, shmi_call_gen(id)))
            return SHMC_OK;
        /* It contradicts itself: to its client, we have dropped it.        */
        if (ours) shmi_rep_publish(rep, SHMI_CALL_DROPPED);
        rep->passed++;
    }
    return SHMC_EAGAIN;
}

static int
shmi_rep_try(void *ctx)
{
    shmc_rep *rep = ctx;

    /* Before a sleep, look for what the dead left at each try.             */
    if (++rep->tries > SHMC_SPIN_TRIES) rep->calls.queue.look = true;
    return shmi_rep_take(rep);
}

/* Must the last request be answered before there is anything to receive?   */
static bool
shmi_rep_busy(const shmc_rep *rep)
{
    return rep->held && rep->fetched && (rep->flags & SHMI_CALL_ONE_WAY) == 0;
}

static int
shmi_rep_wait(shmc_rep *rep, int64_t timeout_ns)
{
    int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if (shmi_rep_busy(rep)) return SHMC_EBUSY;
    if (rep->held && rep->fetched) shmi_rep_publish(rep, SHMI_CALL_LAST);
    /* Try at once, without the rest.                                       */
    r = shmi_rep_take(rep);
    if (r != SHMC_EAGAIN || timeout_ns == 0) return r;
    rep->tries = 0;
    return shmi_bell_wait(&rep->calls.queue.shm->readable,
                          rep->calls.asymmetric, shmi_rep_try, rep, timeout_ns,
                          SHMC_RECHECK_NS);
}

static const uint8_t *
shmi_rep_request(const shmc_rep *rep)
{
    const shmi_calls *c = &rep->calls;

    return rep->flags & SHMI_CALL_AREA
         ? c->requests + rep->index * c->request_stride
         : c->calls[rep->index].request.data;
}

SHMC_API int
shmc_rep_recv(shmc_rep *rep, void *buf, uint32_t cap, int64_t timeout_ns)
{
    const int r = shmi_rep_wait(rep, timeout_ns);

    if (r != SHMC_OK) return r;
    if (rep->bytes > cap) return SHMC_EMSGSIZE;
    shmi_copy_out(buf, shmi_rep_request(rep), rep->bytes);
    rep->fetched = true;
    rep->viewed = false;
    rep->received++;
    return (int)rep->bytes;
}

SHMC_API int
shmc_rep_borrow(shmc_rep *rep, const void **data, int64_t timeout_ns)
{
    *data = NULL;
    const int r = shmi_rep_wait(rep, timeout_ns);
    if (r != SHMC_OK) return r;
    *data = shmi_rep_request(rep);
    rep->fetched = true;
    rep->viewed = true;
    rep->received++;
    return (int)rep->bytes;
}

SHMC_API int
shmc_rep_release(shmc_rep *rep)
{
    const int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if (!rep->viewed) return SHMC_EINVAL;
    rep->viewed = false;
    /* That one, not the next, which a receive has taken meanwhile.         */
    if (rep->held && rep->fetched && (rep->flags & SHMI_CALL_ONE_WAY))
        shmi_rep_publish(rep, SHMI_CALL_LAST);
    return SHMC_OK;
}

/* Is a request there that a receive would get?  1, or SHMC_EAGAIN ...  Takes
 * none.  Withdrawn ones that come first it throws away.                    */
static int
shmi_rep_look(shmc_rep *rep, bool thorough)
{
    shmi_calls *c = &rep->calls;
    uint64_t pos;

    if (rep->held && !rep->fetched) return 1;
    for (uint64_t i = 0; i <= c->queue.mask; i++) {
        const int r = shmi_mpmc_readable(&c->queue, thorough);
        const uint64_t *cell = r > 0 ? shmi_mpmc_peek(&c->queue, &pos) : NULL;
        if (cell == NULL) return r;
        /* Once, and by the time that it is judged perhaps another's: then
         * its place is taken, and nothing is thrown away.                  */
        const uint64_t id = shmi_load_rlx_64(cell + 1);
        const uint32_t index = (uint32_t)id & SHMI_CALL_INDEX;
        if (index < c->count &&
            shmi_call_open(c, shmi_load_rlx_64(&c->calls[index].state),
                           shmi_call_gen(id))) return 1;
        rep->passed += shmi_mpmc_discard(&c->queue, pos);
    }
    return SHMC_EAGAIN;
}

SHMC_API int
shmc_rep_ready(shmc_rep *rep)
{
    int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if (shmi_rep_busy(rep)) return SHMC_EBUSY;
    /* Who asks may do so at leisure: now and then, look for the dead.      */
    r = shmi_rep_look(rep, ++rep->tries % SHMI_CALL_POLLS == 0);
    return r == SHMC_EAGAIN ? 0 : r;
}

/* >>servers: answering */

/* Has the client given up, or left, as far as memory tells?                */
static bool
shmi_rep_refused(const shmc_rep *rep)
{
    const shmi_calls *c = &rep->calls;
    const shmi_request_shm *request = &c->calls[rep->index].request;

    /* Relaxed: a word and an owner are judged by themselves.               */
    return shmi_load_rlx_64(&request->ack) ==
               shmi_call_word(rep->gen, 0, SHMI_CALL_CANCEL) ||
           shmi_load_rlx_64(&c->clients[rep->index / c->each].owner) !=
               rep->client;
}

static bool
shmi_rep_client_dead(const shmc_rep *rep)
{
    return shmi_rep_refused(rep) ||
           !shmi_owner_alive(rep->calls.segment, rep->client);
}

/* Has the last part been read?  SHMC_EAGAIN: not yet.                      */
static int
shmi_rep_try_ack(void *ctx)
{
    shmc_rep *rep = ctx;
    const shmi_request_shm *request = &rep->calls.calls[rep->index].request;

    if (rep->parts == 0) return SHMC_OK;
    /* A3 <- R3: the client's reads of the part happen before the next one. */
    if (shmi_load_acq_64(&request->ack) ==
        shmi_call_word(rep->gen, rep->parts - 1, SHMI_CALL_ACK)) return SHMC_OK;
    if (shmi_rep_refused(rep)) return SHMC_EPEERDEAD;
    if (++rep->tries % SHMI_CALL_POLLS != 0 && rep->tries <= SHMC_SPIN_TRIES)
        return SHMC_EAGAIN;
    if (!shmi_calls_due(&rep->look_ns, SHMC_PEER_CHECK_NS)) return SHMC_EAGAIN;
    return shmi_rep_client_dead(rep) ? SHMC_EPEERDEAD : SHMC_EAGAIN;
}

/* May an answer of so many bytes be written now?                           */
static int
shmi_rep_may(shmc_rep *rep, uint32_t bytes, int64_t timeout_ns)
{
    shmi_calls *c = &rep->calls;
    int r = shmi_calls_usable(c);

    if (r != SHMC_OK) return r;
    if (!rep->held || !rep->fetched) return SHMC_EINVAL;
    if (rep->loaned) return SHMC_EBUSY;
    if (bytes > c->max_reply) return SHMC_EMSGSIZE;
    if (rep->flags & SHMI_CALL_ONE_WAY) return SHMC_OK;
    if (rep->parts == 0) {
        r = shmi_rep_refused(rep) ? SHMC_EPEERDEAD : SHMC_OK;
    } else {
        /* Who tries without waiting tells by each 64th try.                */
        if (timeout_ns != 0) rep->tries = 0;
        r = shmi_bell_wait(&c->server_bells[c->seat], c->asymmetric,
                           shmi_rep_try_ack, rep, timeout_ns,
                           SHMC_PEER_CHECK_NS);
    }
    if (r == SHMC_EPEERDEAD) shmi_rep_publish(rep, SHMI_CALL_LAST);
    return r;
}

static uint8_t *
shmi_rep_room(const shmc_rep *rep, bool area)
{
    const shmi_calls *c = &rep->calls;

    return area ? c->replies + rep->index * c->reply_stride
                : c->calls[rep->index].reply.data;
}

/* Publish what was written, and say whether anybody is there to read it: not
 * before, so that nobody waits for our system call, and not at each answer
 * of a server that gives thousands in a millisecond.                       */
static int
shmi_rep_answer(shmc_rep *rep, uint32_t bytes, bool area, bool more)
{
    const bool wanted = (rep->flags & SHMI_CALL_ONE_WAY) == 0;

    /* Relaxed: R2 publishes it.                                            */
    shmi_store_rlx_32(&rep->calls.calls[rep->index].reply.bytes, bytes);
    shmi_rep_publish(rep, (more && wanted ? SHMI_CALL_PART : SHMI_CALL_LAST) |
                          (area ? SHMI_CALL_AREA : 0u));
    rep->served += !rep->held;
    if (!wanted || !shmi_calls_due(&rep->look_ns, SHMC_REPLY_CHECK_NS) ||
        shmi_owner_alive(rep->calls.segment, rep->client))
        return SHMC_OK;
    if (rep->held) shmi_rep_publish(rep, SHMI_CALL_LAST);
    return SHMC_EPEERDEAD;
}

/* Copy a reply into its line: what the client does not look at first.  It
 * looks at the word all the time, and would take the CPU's line away between
 * the stores to it and to the next one.                                    */
static void
shmi_rep_fill(uint8_t *room, const void *data, uint32_t bytes)
{
    const uint32_t near = SHMI_CALL_REPLY_NEAR;

    if (bytes > near && bytes <= SHMI_CALL_REPLY_INLINE) {
        shmi_copy_in(room + near, (const uint8_t *)data + near, bytes - near);
        bytes = near;
    }
    shmi_copy_in(room, data, bytes);
}

static int
shmi_rep_send(shmc_rep *rep, const void *data, uint32_t bytes, bool more,
              int64_t timeout_ns)
{
    const int r = shmi_rep_may(rep, bytes, timeout_ns);
    const bool area = bytes > SHMI_CALL_REPLY_INLINE;

    if (r != SHMC_OK) return r;
    if ((rep->flags & SHMI_CALL_ONE_WAY) == 0)
        shmi_rep_fill(shmi_rep_room(rep, area), data, bytes);
    return shmi_rep_answer(rep, bytes, area, more);
}

SHMC_API int
shmc_rep_send(shmc_rep *rep, const void *data, uint32_t bytes,
              int64_t timeout_ns)
{
    return shmi_rep_send(rep, data, bytes, false, timeout_ns);
}

SHMC_API int
shmc_rep_send_more(shmc_rep *rep, const void *data, uint32_t bytes,
                   int64_t timeout_ns)
{
    return shmi_rep_send(rep, data, bytes, true, timeout_ns);
}

SHMC_API int
shmc_rep_loan(shmc_rep *rep, uint32_t bytes, void **data, int64_t timeout_ns)
{
    *data = NULL;
    const int r = shmi_rep_may(rep, bytes, timeout_ns);
    if (r != SHMC_OK) return r;
    rep->loaned = true;
    rep->loan_bytes = bytes;
    rep->loan_area = bytes > SHMI_CALL_REPLY_INLINE;
    *data = shmi_rep_room(rep, rep->loan_area);
    return SHMC_OK;
}

static int
shmi_rep_commit(shmc_rep *rep, uint32_t bytes, bool more)
{
    const int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if (!rep->loaned) return SHMC_EINVAL;
    if (bytes > rep->loan_bytes) return SHMC_EMSGSIZE;
    return shmi_rep_answer(rep, bytes, rep->loan_area, more);
}

SHMC_API int
shmc_rep_commit(shmc_rep *rep, uint32_t bytes)
{
    return shmi_rep_commit(rep, bytes, false);
}

SHMC_API int
shmc_rep_commit_more(shmc_rep *rep, uint32_t bytes)
{
    return shmi_rep_commit(rep, bytes, true);
}

SHMC_API int
shmc_rep_abort(shmc_rep *rep)
{
    const int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if (!rep->loaned) return SHMC_EINVAL;
    rep->loaned = false;
    return SHMC_OK;
}

SHMC_API int
shmc_rep_drop(shmc_rep *rep)
{
    const int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if (!rep->held) return SHMC_EINVAL;
    /* A part that its client is reading stays as it is, but for the word.  */
    shmi_rep_publish(rep, SHMI_CALL_DROPPED);
    return SHMC_OK;
}

SHMC_API int
shmc_rep_wanted(shmc_rep *rep)
{
    const int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if (!rep->held) return SHMC_EINVAL;
    return (rep->flags & SHMI_CALL_ONE_WAY) == 0 && !shmi_rep_client_dead(rep);
}

/* >>servers: polling */

static int
shmi_rep_poll(void *socket, uint32_t events, bool thorough,
              shmi_poll_spot *spot)
{
    shmc_rep *rep = socket;
    int r = shmi_calls_usable(&rep->calls);

    if (r != SHMC_OK) return r;
    if ((events & ~(uint32_t)SHMC_POLLIN) != 0)
        return shmi_fail(SHMC_EINVAL, "poll a server for 0x%x: ask for "
                         "SHMC_POLLIN", events);
    spot->bell[0] = &rep->calls.queue.shm->readable;
    spot->asymmetric = rep->calls.asymmetric;
    spot->progress = rep->received;
    if (shmi_rep_busy(rep)) return 0;
    r = shmi_rep_look(rep, thorough);
    return r > 0 ? SHMC_POLLIN : r == SHMC_EAGAIN ? 0 : r;
}

SHMC_API shmc_pollable
shmc_rep_pollable(shmc_rep *rep)
{
    return (shmc_pollable){ shmi_rep_poll, rep };
}

#endif /* SHMCOMM_IMPLEMENTATION */
