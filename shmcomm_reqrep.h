/* shmcomm_reqrep.h - REQ/REP sockets: many clients ask, many servers answer.
 *
 *     shmc_rep rep;                                     // a server
 *     shmc_rep_open(&rep, "robot/plan", NULL);
 *     int bytes = shmc_rep_recv(&rep, goal, sizeof goal, SHMC_FOREVER);
 *     shmc_rep_send(&rep, path, path_bytes, SHMC_FOREVER);
 *     shmc_req req;                                     // a client
 *     shmc_req_open(&req, "robot/plan", NULL);
 *     bytes = shmc_req_call(&req, goal, 24, path, sizeof path, SHMC_FOREVER);
 *
 * Manual: docs/shmcomm_reqrep.md, proof: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_REQREP_H
#define SHMCOMM_REQREP_H

#include "shmcomm_calls.h"

/* ---- constants --------------------------------------------------------- */

#ifndef SHMC_REPLY_CHECK_NS         /* how often a server that answers asks  */
#define SHMC_REPLY_CHECK_NS 1000000u    /* the kernel for its client         */
#endif

enum { SHMC_ANY_CALL = 0 };         /* in place of a call's number          */

enum {
    SHMI_CALL_REPLY_NEAR = 48,      /* bytes of a reply in its word's 64    */
    SHMI_CALL_NUMBERS = 0x1ffffff,  /* times 64 is below 2^31               */
    SHMI_CALL_POLLS = 64            /* tries between two looks at the clock */
};

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

typedef struct shmc_req_desc {
    uint32_t retries;               /* so often, when its server dies, a
                                       request goes to another one [0]      */
    bool     need_server;           /* SHMC_ENOENT at once where no server
                                       is, and SHMC_EPEERDEAD when the last
                                       goes; else wait for one [false]      */
    uint32_t flags;                 /* SHMC_PREFAULT, MLOCK, HUGEPAGES      */
    const char *dir, *prefix;       /* as in shmc_segment_desc              */
} shmc_req_desc;

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

/* What a client knows of one of its calls.                                */
typedef struct shmi_req_call {
    uint64_t gen;
    int32_t  number;                /* as the caller knows it               */
    uint32_t tries, bytes;
    uint16_t part;                  /* expected next                        */
    uint8_t  flags;
    bool     stuck;                 /* to be sent again: the queue was full */
    bool     lost;                  /* which the next receive says          */
} shmi_req_call;

typedef struct shmc_req {
    shmc_segment segment;
    shmi_endpoint_wait wait;        /* for a service that is not there yet  */
    shmi_calls calls;               /* closed until then                    */
    uint64_t free, sent, gone;      /* calls by state: ours to use; a reply
                                       is awaited; nobody awaits one, but a
                                       server has them still                */
    shmi_req_call call[SHMI_CALLS_MAX_EACH];
    shmc_req_desc desc;
    uint64_t look_ns, received;     /* received: parts, and deaths told     */
    uint32_t first;                 /* our first call in the table          */
    uint32_t numbers, polls, loan_bytes;
    int32_t  from;                  /* the call that the last reply was of  */
    int32_t  loan, view;            /* index, or -1                         */
    bool     open, more, absent;    /* absent: no server, when last looked  */
} shmc_req;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: servers ------------------------------------------------------ */

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

/* ---- API: clients ------------------------------------------------------ */

/* Use a service, which need not exist yet.
 * Safety  a handle belongs to one thread; any number of handles.
 * Errors  SHMC_ENAME; SHMC_EINVAL; SHMC_EACCES; SHMC_ECORRUPT; SHMC_ELIMIT
 *         max_clients are there; SHMC_ETYPE the name is in use for something
 *         else.                                                           */
SHMC_API int shmc_req_open(shmc_req *req, const char *service,
                           const shmc_req_desc *desc);

/* Give up what was asked and not answered, and close; what was posted is
 * still done, as long as a server is there.                               */
SHMC_API int shmc_req_close(shmc_req *req);

/* Ask, and wait for the answer: its bytes.  timeout_ns bounds both.  After
 * an error the call is given up.  Where shmc_req_more says so, the rest of
 * the answer comes by shmc_req_recv(req, shmc_req_from(req), ...).
 * Errors  as shmc_req_send and shmc_req_recv.                             */
SHMC_API int shmc_req_call(shmc_req *req, const void *data, uint32_t bytes,
                           void *buf, uint32_t cap, int64_t timeout_ns);

/* Send a request of 0..max_bytes bytes.  Returns the call's number, > 0, to
 * receive the answer by; max_outstanding of them at a time.
 * Cost    lock-free, O(bytes), no system call unless a server sleeps; waits
 *         up to timeout_ns for a server, if there is none, for room in the
 *         queue, and for calls that were posted or given up.
 * Crash   dying inside, or before the answer, costs nobody but the client:
 *         the server's answer is refused.
 * Errors  SHMC_ENOENT no server (need_server); SHMC_EAGAIN, SHMC_ETIMEDOUT;
 *         SHMC_ELIMIT max_outstanding calls wait to be received;
 *         SHMC_EMSGSIZE; SHMC_EBUSY there is a loan; SHMC_EFORKED;
 *         SHMC_ECLOSED; SHMC_ECORRUPT.                                    */
SHMC_API int shmc_req_send(shmc_req *req, const void *data, uint32_t bytes,
                           int64_t timeout_ns);

/* The same without an answer.  Returns SHMC_OK once it is in the queue; from
 * then on it is delivered, even if this client dies.                      */
SHMC_API int shmc_req_post(shmc_req *req, const void *data, uint32_t bytes,
                           int64_t timeout_ns);

/* Lend room for a request of up to `bytes`, to be written in place and sent
 * by commit (as shmc_req_send: the call's number) or post.  After SHMC_EAGAIN
 * or SHMC_ETIMEDOUT of those the loan stays.
 * Errors  as shmc_req_send; SHMC_EINVAL commit without a loan.            */
SHMC_API int shmc_req_loan(shmc_req *req, uint32_t bytes, void **data,
                           int64_t timeout_ns);
SHMC_API int shmc_req_commit(shmc_req *req, uint32_t bytes,
                             int64_t timeout_ns);
SHMC_API int shmc_req_commit_post(shmc_req *req, uint32_t bytes,
                                  int64_t timeout_ns);
SHMC_API int shmc_req_abort(shmc_req *req);

/* Receive the answer to a call, or (SHMC_ANY_CALL) whichever comes first, by
 * copy.  Returns its bytes.  shmc_req_from: which call it was of;
 * shmc_req_more: parts of it follow.
 * Cost    wait-free if it is there; else blocks.
 * Errors  SHMC_EAGAIN (timeout 0), SHMC_ETIMEDOUT not yet: the call goes on;
 *         SHMC_EPEERDEAD its server died, or dropped it: told within 10 ms,
 *         the call is over; SHMC_EMSGSIZE `cap` is too small, the answer
 *         stays; SHMC_EINVAL no such call; SHMC_EBUSY an answer is borrowed;
 *         SHMC_EFORKED; SHMC_ECLOSED; SHMC_ECORRUPT.                      */
SHMC_API int shmc_req_recv(shmc_req *req, int call, void *buf, uint32_t cap,
                           int64_t timeout_ns);

/* The same in place, until release.                                       */
SHMC_API int shmc_req_borrow(shmc_req *req, int call, const void **data,
                             int64_t timeout_ns);
SHMC_API int shmc_req_release(shmc_req *req);

/* Tell whether an answer, or an error in place of one, is there (0 or 1). */
SHMC_API int shmc_req_ready(shmc_req *req);

/* Give a call up.  Returns 1 if no server has touched it, and none will; 0
 * if one has; its answer is refused.  Errors  SHMC_EINVAL no such call.   */
SHMC_API int shmc_req_cancel(shmc_req *req, int call);

/* Tell whether a live server is there (0 or 1).  Cost  system calls.      */
SHMC_API int shmc_req_served(shmc_req *req);

/* Name the client to shmc_poll: SHMC_POLLIN when an answer, or an error in
 * place of one, is there; SHMC_POLLOUT when a server is there and not all of
 * max_outstanding calls are in use.                                       */
SHMC_API shmc_pollable shmc_req_pollable(shmc_req *req);

SHMC_INLINE int shmc_req_from(const shmc_req *req) { return req->from; }
SHMC_INLINE bool shmc_req_more(const shmc_req *req) { return req->more; }

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_REQREP_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_REQREP_IMPLEMENTED)
#define SHMCOMM_REQREP_IMPLEMENTED

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
    if (rep->held && (rep->flags & SHMI_CALL_ONE_WAY))
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
            shmi_call_open(c, shmi_load_acq_64(&c->calls[index].state),
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

/* >>clients: what became of calls */

static shmi_call_shm *
shmi_req_shared(const shmc_req *req, uint32_t i)
{
    return &req->calls.calls[req->first + i];
}

static uint64_t shmi_req_bit(uint32_t i) { return UINT64_C(1) << i; }

/* The lowest of a set that is not empty.                                   */
static uint32_t
shmi_req_lowest(uint64_t set)
{
    return (uint32_t)__builtin_ctzll(set);
}

/* Ours to use again.                                                       */
static void
shmi_req_over(shmc_req *req, uint32_t i)
{
    req->sent &= ~shmi_req_bit(i);
    req->gone &= ~shmi_req_bit(i);
    req->free |= shmi_req_bit(i);
}

/* The word that says that the next part of the reply is there, or that its
 * server dropped the call; or 0.                                           */
static uint64_t
shmi_req_arrived(const shmc_req *req, uint32_t i)
{
    const shmi_req_call *call = &req->call[i];
    /* A2 <- R2: the reply was written before we read it.                   */
    const uint64_t word = shmi_load_acq_64(&shmi_req_shared(req, i)->reply.word);
    const bool next = shmi_call_number(word) == call->part ||
                      (word & SHMI_CALL_KIND) == SHMI_CALL_DROPPED;

    return shmi_call_gen(word) == call->gen && next && !call->stuck ? word : 0;
}

/* Push the id of a call; SHMC_EAGAIN where the queue is full.              */
static int
shmi_req_push(shmc_req *req, uint32_t i)
{
    const uint64_t id = req->call[i].gen << 24 | (req->first + i);

    /* R1 -> A1, the queue's: the request happens before who pops its id.   */
    return shmc_mpmc_push(&req->calls.queue, &id, sizeof id);
}

/* Stamp the request with the next generation, and push it.  If that fails,
 * it has not been issued.                                                  */
static int
shmi_req_issue(shmc_req *req, uint32_t i)
{
    shmi_req_call *call = &req->call[i];
    shmi_request_shm *request = &shmi_req_shared(req, i)->request;
    const uint64_t was = call->gen;

    call->gen = (was + 1) & SHMI_CALL_GENERATION;
    call->part = 0;
    /* Relaxed both: R1 publishes them.                                     */
    shmi_store_rlx_32(&request->bytes, call->bytes);
    shmi_store_rlx_64(&request->word, call->gen << 24 | call->flags);
    const int r = shmi_req_push(req, i);
    call->stuck = r != SHMC_OK;
    if (r != SHMC_OK) call->gen = was;
    return r;
}

/* Its server died, or dropped it: on to another one, or it is lost, which
 * the next receive says.                                                   */
static int
shmi_req_lost(shmc_req *req, uint32_t i)
{
    shmi_req_call *call = &req->call[i];

    if (call->part == 0 && call->tries < req->desc.retries) {
        call->tries++;
        call->flags |= SHMI_CALL_AGAIN;
        const int r = shmi_req_issue(req, i);
        if (r == SHMC_OK || r == SHMC_EAGAIN) return SHMC_EAGAIN;
    }
    call->lost = true;
    return SHMC_EPEERDEAD;
}

/* No server had taken it.  Is there one that can?                          */
static int
shmi_req_queued(shmc_req *req, uint32_t i, uint64_t state)
{
    shmi_calls *c = &req->calls;
    const uint64_t over = shmi_call_word(req->call[i].gen, 0, SHMI_CALL_OVER);

    if (shmi_server_any(c)) {
        /* A server that sleeps while a request is queued has only not heard
         * of it yet, or the one who did died with it in its hands.         */
        shmi_bell_ring(&c->queue.shm->readable, c->asymmetric);
        return SHMC_EAGAIN;
    }
    req->absent = true;
    if (!req->desc.need_server) return SHMC_EAGAIN;
    if (!shmi_cas_64(&shmi_req_shared(req, i)->state, &state, over))
        return SHMC_EAGAIN;         /* a server took it this moment         */
    req->call[i].lost = true;
    return SHMC_EPEERDEAD;
}

/* See what became of a call whose reply is awaited.  SHMC_EAGAIN: nothing,
 * or the reply is there.                                                   */
static int
shmi_req_judge(shmc_req *req, uint32_t i)
{
    shmi_req_call *call = &req->call[i];
    uint64_t *word = &shmi_req_shared(req, i)->state;

    if (call->stuck) {              /* sent again, to a full queue          */
        const int r = shmi_req_issue(req, i);
        return r == SHMC_OK ? SHMC_EAGAIN : r;
    }
    uint64_t state = shmi_load_acq_64(word);
    if (shmi_call_gen(state) == shmi_call_before(call->gen))
        return shmi_req_queued(req, i, state);
    if (shmi_call_gen(state) != call->gen) return SHMC_ECORRUPT;    /* I1   */
    if (shmi_call_kind(state) == SHMI_CALL_TAKEN) {
        /* The state first: who sits there now is who took it, or somebody
         * who, to sit down, had to end the call (shmi_calls_settle_server). */
        if (shmi_server_alive(&req->calls, shmi_call_number(state)))
            return SHMC_EAGAIN;
        /* What it said before its death is there by now.                   */
        if (shmi_req_arrived(req, i) != 0) return SHMC_EAGAIN;
        if (!shmi_cas_64(word, &state,
                         shmi_call_word(call->gen, 0, SHMI_CALL_OVER)))
            return SHMC_EAGAIN;     /* settled, or taken over: look again   */
    } else if (shmi_req_arrived(req, i) != 0) {
        return SHMC_EAGAIN;
    }
    return shmi_req_lost(req, i);
}

/* Is a call that nobody waits for ours again?  `look`: by system calls, too. */
static bool
shmi_req_reclaim(shmc_req *req, uint32_t i, bool look)
{
    shmi_call_shm *shared = shmi_req_shared(req, i);
    const uint64_t gen = req->call[i].gen;

    /* A2 <- R2: the server's reads happen before we write the request.     */
    if (!shmi_call_final(shmi_load_acq_64(&shared->reply.word), gen)) {
        if (!look) return false;
        uint64_t state = shmi_load_acq_64(&shared->state);
        if (shmi_call_gen(state) != gen) return false;      /* in the queue */
        if (shmi_call_kind(state) == SHMI_CALL_TAKEN &&
            (shmi_server_alive(&req->calls, shmi_call_number(state)) ||
             !shmi_cas_64(&shared->state, &state,
                          shmi_call_word(gen, 0, SHMI_CALL_OVER)))) return false;
    }
    shmi_req_over(req, i);
    return true;
}

static void
shmi_req_reclaim_all(shmc_req *req, bool look)
{
    for (uint64_t set = req->gone; set != 0; set &= set - 1)
        (void)shmi_req_reclaim(req, shmi_req_lowest(set), look);
}

/* Withdraw a call from the queue, or leave it to the server that has it.
 * Returns 1 if no server has touched it.                                   */
static int
shmi_req_give_up(shmc_req *req, uint32_t i)
{
    shmi_req_call *call = &req->call[i];
    shmi_call_shm *shared = shmi_req_shared(req, i);
    const shmi_calls *c = &req->calls;
    uint64_t state = shmi_load_acq_64(&shared->state);

    if (req->view == (int32_t)i) req->view = -1;
    req->sent &= ~shmi_req_bit(i);
    req->gone |= shmi_req_bit(i);
    if (call->stuck || call->lost ||
        (shmi_call_gen(state) == shmi_call_before(call->gen) &&
         shmi_cas_64(&shared->state, &state,
                     shmi_call_word(call->gen, 0, SHMI_CALL_OVER)))) {
        shmi_req_over(req, i);
        return 1;
    }
    /* R3 -> A3: to who waits for us to read a part, this is the answer.    */
    shmi_store_rel_64(&shared->request.ack,
                      shmi_call_word(call->gen, 0, SHMI_CALL_CANCEL));
    const uint32_t seat = shmi_call_number(state);
    if (seat < c->server_count)
        shmi_bell_ring(&c->server_bells[seat], c->asymmetric);
    (void)shmi_req_reclaim(req, i, true);
    return 0;
}

/* >>clients: coming and going */

/* What the last one in our seat left of each call.                         */
static void
shmi_req_enter(shmc_req *req)
{
    req->free = req->sent = req->gone = 0;
    for (uint32_t i = 0; i < req->calls.each; i++) {
        shmi_call_shm *shared = shmi_req_shared(req, i);
        const uint64_t request = shmi_load_acq_64(&shared->request.word);
        uint64_t state = shmi_load_acq_64(&shared->state);
        const uint64_t gen = shmi_call_gen(request);
        const bool queued = gen != 0 && shmi_call_gen(state) ==
                                        shmi_call_before(gen);
        memset(&req->call[i], 0, sizeof req->call[i]);
        req->call[i].gen = queued ? gen : shmi_call_gen(state);
        req->gone |= shmi_req_bit(i);
        if (queued && shmi_call_posted(request)) continue;
        if (queued && shmi_cas_64(&shared->state, &state,
                                  shmi_call_word(gen, 0, SHMI_CALL_OVER))) {
            shmi_req_over(req, i);
            continue;
        }
        req->call[i].gen = shmi_call_gen(state);
        if (!shmi_req_reclaim(req, i, true) && !shmi_call_posted(request))
            shmi_store_rel_64(&shared->request.ack,
                              shmi_call_word(shmi_call_gen(state), 0,
                                             SHMI_CALL_CANCEL));
    }
}

/* Take part in the service whose segment is open.  SHMC_EAGAIN: it is only
 * what dead users left, or another kind's remains.                         */
static int
shmi_req_join(void *ctx)
{
    shmc_req *req = ctx;
    const int state = shmi_endpoint_state(&req->segment, &shmi_service_kind,
                                          NULL, 0);

    if (state == SHMI_ENDPOINT_OTHERS)
        return shmi_endpoint_refuse(&req->segment, &shmi_service_kind);
    if (state != SHMI_ENDPOINT_USED) return SHMC_EAGAIN;
    const int r = shmi_calls_open(&req->calls, &req->segment, NULL,
                                  SHMC_PRODUCER);
    /* Its creator is not through with it, or just removed it.              */
    if (r == SHMC_ENOENT) return SHMC_EAGAIN;
    if (r != SHMC_OK) return r;
    req->first = req->calls.seat * req->calls.each;
    shmi_req_enter(req);
    return SHMC_OK;
}

SHMC_API int
shmc_req_open(shmc_req *req, const char *service, const shmc_req_desc *desc)
{
    const uint32_t known = SHMC_PREFAULT | SHMC_MLOCK | SHMC_HUGEPAGES;

    memset(req, 0, sizeof *req);
    if (desc != NULL) req->desc = *desc;
    if ((req->desc.flags & ~known) != 0)
        return shmi_fail(SHMC_EINVAL, "use service '%s': flags 0x%x; give "
                         "SHMC_PREFAULT, SHMC_MLOCK or SHMC_HUGEPAGES",
                         service ? service : "", req->desc.flags);
    int r = shmi_endpoint_wait_begin(&req->wait, service, req->desc.dir,
                                     req->desc.prefix);
    if (r != SHMC_OK) return r;
    req->desc.dir = req->desc.prefix = NULL;
    req->loan = req->view = -1;
    req->open = req->absent = true;
    r = shmi_endpoint_look(&req->wait, &req->segment, req->desc.flags,
                           shmi_req_join, req);
    if (r == SHMC_OK || r == SHMC_EAGAIN) return SHMC_OK;
    req->open = false;
    shmi_endpoint_wait_end(&req->wait);
    return r;
}

SHMC_API int
shmc_req_close(shmc_req *req)
{
    shmi_calls *c = &req->calls;

    if (!req->open)
        return shmi_fail(SHMC_ECLOSED, "close client: it is not open");
    req->open = false;
    shmi_endpoint_wait_end(&req->wait);
    if (c->shm == NULL) return SHMC_OK;
    while (req->sent != 0 && shmi_calls_usable(c) == SHMC_OK)
        (void)shmi_req_give_up(req, shmi_req_lowest(req->sent));
    shmi_calls_close(c);
    return shmi_endpoint_close(&req->segment, &shmi_service_kind);
}

/* Is the handle open, and ours?                                            */
static int
shmi_req_usable(const shmc_req *req)
{
    if (!req->open) return SHMC_ECLOSED;
    return req->wait.epoch == shmi_fork_epoch ? SHMC_OK : SHMC_EFORKED;
}

SHMC_API int
shmc_req_served(shmc_req *req)
{
    int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    if (req->calls.shm == NULL) {
        r = shmi_endpoint_ready(&req->wait, &req->segment, req->desc.flags,
                                shmi_req_join, req);
        if (r != 1) return r;
    }
    req->absent = !shmi_server_any(&req->calls);
    return !req->absent;
}

/* >>clients: asking */

/* What is left of a call's time.                                           */
static int64_t
shmi_req_left(int64_t timeout_ns, uint64_t deadline_ns)
{
    if (timeout_ns <= 0) return timeout_ns;
    const uint64_t now = shmi_now_ns();
    return now < deadline_ns ? (int64_t)(deadline_ns - now) : 0;
}

static int
shmi_req_try_served(void *ctx)
{
    const int r = shmc_req_served(ctx);

    return r == 1 ? SHMC_OK : r == 0 ? SHMC_EAGAIN : r;
}

/* Wait for a server: each millisecond a look whether the service exists;
 * once it does, until a server rings.                                      */
static int
shmi_req_await(shmc_req *req, int64_t timeout_ns, uint64_t deadline_ns)
{
    int r = shmc_req_served(req);

    if (r != 0) return r == 1 ? SHMC_OK : r;
    if (req->desc.need_server) return SHMC_ENOENT;
    if (timeout_ns == 0) return SHMC_EAGAIN;
    while (req->calls.shm == NULL) {
        const uint64_t next = shmi_now_ns() + SHMC_TOPIC_POLL_NS;
        shmi_sleep_until(next < deadline_ns ? next : deadline_ns);
        r = shmc_req_served(req);
        if (r != 0) return r == 1 ? SHMC_OK : r;
        if (shmi_now_ns() >= deadline_ns) return SHMC_ETIMEDOUT;
    }
    return shmi_bell_wait(&req->calls.shm->arrivals, req->calls.asymmetric,
                          shmi_req_try_served, req,
                          shmi_req_left(timeout_ns, deadline_ns),
                          SHMC_RECHECK_NS);
}

/* Is a call free, or one that nobody waits for done with?                  */
static int
shmi_req_try_free(void *ctx)
{
    shmc_req *req = ctx;

    shmi_req_reclaim_all(req, false);
    if (req->free != 0) return SHMC_OK;
    if (req->gone == 0) return SHMC_ELIMIT;
    if (++req->polls % SHMI_CALL_POLLS != 0 && req->polls <= SHMC_SPIN_TRIES)
        return SHMC_EAGAIN;
    if (!shmi_calls_due(&req->look_ns, SHMC_PEER_CHECK_NS)) return SHMC_EAGAIN;
    shmi_req_reclaim_all(req, true);
    if (req->free != 0) return SHMC_OK;
    const int served = shmc_req_served(req);
    return served == 0 && req->desc.need_server ? SHMC_ENOENT : SHMC_EAGAIN;
}

/* Find a server and a call for a request.                                  */
static int
shmi_req_begin(shmc_req *req, uint32_t bytes, int64_t timeout_ns,
               uint32_t *index)
{
    int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    if (req->loan >= 0) return SHMC_EBUSY;
    if (SHMI_UNLIKELY(req->absent)) {
        const uint64_t deadline = shmi_deadline(timeout_ns);
        r = shmi_req_await(req, timeout_ns, deadline);
        if (r != SHMC_OK) return r;
        if (timeout_ns > 0) timeout_ns = shmi_req_left(timeout_ns, deadline);
    }
    if (bytes > req->calls.max_request) return SHMC_EMSGSIZE;
    if (SHMI_UNLIKELY(req->free == 0)) {
        req->polls = 0;
        r = shmi_bell_wait(&req->calls.client_bells[req->calls.seat],
                           req->calls.asymmetric, shmi_req_try_free, req,
                           timeout_ns, SHMC_PEER_CHECK_NS);
        if (r != SHMC_OK) return r;
    }
    *index = shmi_req_lowest(req->free);
    /* The queue's cell, which a server has changed last, is under way while
     * the request is written.                                              */
    shmi_prefetch_w(shmi_mpmc_cell(&req->calls.queue, 16,
                                   req->calls.queue.push_next));
    return SHMC_OK;
}

static uint8_t *
shmi_req_room(const shmc_req *req, uint32_t i, bool area)
{
    const shmi_calls *c = &req->calls;

    return area ? c->requests + (req->first + i) * c->request_stride
                : shmi_req_shared(req, i)->request.data;
}

typedef struct shmi_req_wish {
    shmc_req *req;
    uint64_t set;                   /* which calls' replies                 */
    uint64_t word;                  /* of the one that came                 */
    uint32_t index, tries;
} shmi_req_wish;

static int
shmi_req_try_issue(void *ctx)
{
    shmi_req_wish *w = ctx;

    if (++w->tries > SHMC_SPIN_TRIES) w->req->calls.queue.look = true;
    return shmi_req_issue(w->req, w->index);
}

/* Issue a request that is written.  Returns its number, or SHMC_OK if it is
 * posted.                                                                  */
static int
shmi_req_ask(shmc_req *req, uint32_t i, uint32_t bytes, uint32_t flags,
             int64_t timeout_ns)
{
    shmi_req_call *call = &req->call[i];
    shmi_req_wish w = { req, 0, 0, i, 0 };

    call->bytes = bytes;
    call->flags = (uint8_t)flags;
    call->tries = 0;
    call->lost = false;
    int r = shmi_req_issue(req, i);
    /* Servers do not ring when they make room: it is the stopped ones, and
     * withdrawn requests, that leave none.                                 */
    if (SHMI_UNLIKELY(r == SHMC_EAGAIN && timeout_ns != 0))
        r = shmi_bell_wait(NULL, false, shmi_req_try_issue, &w, timeout_ns,
                           SHMC_RECHECK_NS);
    call->stuck = false;
    if (r != SHMC_OK) return r;
    req->free &= ~shmi_req_bit(i);
    if (flags & SHMI_CALL_ONE_WAY) {
        req->gone |= shmi_req_bit(i);
        /* Before we say so to the caller: it is in the queue, and stays
         * there if we die (shmi_call_posted).                              */
        shmi_store_rel_64(&shmi_req_shared(req, i)->request.word,
                          call->gen << 24 | flags | SHMI_CALL_PUSHED);
        return SHMC_OK;
    }
    req->sent |= shmi_req_bit(i);
    if (++req->numbers > SHMI_CALL_NUMBERS) req->numbers = 1;
    call->number = (int32_t)(req->numbers * SHMI_CALLS_MAX_EACH + i);
    return call->number;
}

/* A timeout that was used up is no try.                                    */
static int
shmi_req_timed(int r, int64_t timeout_ns)
{
    return r == SHMC_EAGAIN && timeout_ns != 0 ? SHMC_ETIMEDOUT : r;
}

static int
shmi_req_send(shmc_req *req, const void *data, uint32_t bytes, uint32_t flags,
              int64_t timeout_ns)
{
    const bool area = bytes > SHMI_CALL_REQUEST_INLINE;
    /* The clock is asked only where something is waited for.               */
    const uint64_t deadline = timeout_ns > 0 && (req->absent || req->free == 0)
                            ? shmi_deadline(timeout_ns) : 0;
    int64_t left = timeout_ns;
    uint32_t i;

    int r = shmi_req_begin(req, bytes, timeout_ns, &i);
    if (r == SHMC_OK) {
        shmi_copy_in(shmi_req_room(req, i, area), data, bytes);
        if (deadline != 0) left = shmi_req_left(timeout_ns, deadline);
        r = shmi_req_ask(req, i, bytes, flags | (area ? SHMI_CALL_AREA : 0u),
                         left);
    }
    return shmi_req_timed(r, timeout_ns);
}

SHMC_API int
shmc_req_send(shmc_req *req, const void *data, uint32_t bytes,
              int64_t timeout_ns)
{
    return shmi_req_send(req, data, bytes, 0, timeout_ns);
}

SHMC_API int
shmc_req_post(shmc_req *req, const void *data, uint32_t bytes,
              int64_t timeout_ns)
{
    return shmi_req_send(req, data, bytes, SHMI_CALL_ONE_WAY, timeout_ns);
}

SHMC_API int
shmc_req_loan(shmc_req *req, uint32_t bytes, void **data, int64_t timeout_ns)
{
    uint32_t i;

    *data = NULL;
    const int r = shmi_req_begin(req, bytes, timeout_ns, &i);
    if (r != SHMC_OK) return shmi_req_timed(r, timeout_ns);
    req->loan = (int32_t)i;
    req->loan_bytes = bytes;
    *data = shmi_req_room(req, i, bytes > SHMI_CALL_REQUEST_INLINE);
    return SHMC_OK;
}

static int
shmi_req_commit(shmc_req *req, uint32_t bytes, uint32_t flags,
                int64_t timeout_ns)
{
    int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    if (req->loan < 0) return SHMC_EINVAL;
    if (bytes > req->loan_bytes) return SHMC_EMSGSIZE;
    if (req->loan_bytes > SHMI_CALL_REQUEST_INLINE) flags |= SHMI_CALL_AREA;
    r = shmi_req_ask(req, (uint32_t)req->loan, bytes, flags, timeout_ns);
    if (r >= 0) req->loan = -1;
    return r;
}

SHMC_API int
shmc_req_commit(shmc_req *req, uint32_t bytes, int64_t timeout_ns)
{
    return shmi_req_commit(req, bytes, 0, timeout_ns);
}

SHMC_API int
shmc_req_commit_post(shmc_req *req, uint32_t bytes, int64_t timeout_ns)
{
    return shmi_req_commit(req, bytes, SHMI_CALL_ONE_WAY, timeout_ns);
}

SHMC_API int
shmc_req_abort(shmc_req *req)
{
    const int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    if (req->loan < 0) return SHMC_EINVAL;
    req->loan = -1;
    return SHMC_OK;
}

/* >>clients: receiving */

/* Look at each call of the set for a reply, and now and then for the dead. */
static int
shmi_req_try(void *ctx)
{
    shmi_req_wish *w = ctx;
    shmc_req *req = w->req;

    for (uint64_t set = w->set & req->sent; set != 0; set &= set - 1) {
        const uint32_t i = w->index = shmi_req_lowest(set);
        if (SHMI_UNLIKELY(req->call[i].lost)) return SHMC_EPEERDEAD;
        /* Once: a server that drops the call changes it once more.         */
        w->word = shmi_req_arrived(req, i);
        if (w->word == 0) continue;
        if ((w->word & SHMI_CALL_KIND) != SHMI_CALL_DROPPED) return SHMC_OK;
        const int r = shmi_req_lost(req, i);
        if (r != SHMC_EAGAIN) return r;
    }
    if (++w->tries <= SHMC_SPIN_TRIES && ++req->polls % SHMI_CALL_POLLS != 0)
        return SHMC_EAGAIN;
    if (!shmi_calls_due(&req->look_ns, SHMC_PEER_CHECK_NS)) return SHMC_EAGAIN;
    for (uint64_t set = w->set & req->sent; set != 0; set &= set - 1) {
        w->index = shmi_req_lowest(set);
        const int r = shmi_req_judge(req, w->index);
        if (r != SHMC_EAGAIN) return r;
    }
    return SHMC_EAGAIN;
}

/* The calls that a number stands for; 0: none.                             */
static uint64_t
shmi_req_named(const shmc_req *req, int number)
{
    if (number == SHMC_ANY_CALL) return req->sent;
    const uint32_t i = (uint32_t)number % SHMI_CALLS_MAX_EACH;
    return req->call[i].number == number ? shmi_req_bit(i) & req->sent : 0;
}

/* Wait for a reply.  Returns its bytes; where it is goes to *index, *data. */
static int
shmi_req_wait(shmc_req *req, int number, int64_t timeout_ns, uint32_t *index,
              const uint8_t **data)
{
    const shmi_calls *c = &req->calls;
    int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    if (req->view >= 0) return SHMC_EBUSY;
    shmi_req_wish w = { req, shmi_req_named(req, number), 0, 0, 0 };
    if (w.set == 0) return SHMC_EINVAL;
    r = shmi_bell_wait(&req->calls.client_bells[c->seat], c->asymmetric,
                       shmi_req_try, &w, timeout_ns, SHMC_PEER_CHECK_NS);
    if (r == SHMC_EPEERDEAD) {
        req->from = req->call[w.index].number;
        req->more = false;
        req->received++;
        shmi_req_over(req, w.index);
    }
    if (r != SHMC_OK) return r;
    const shmi_reply_shm *reply = &shmi_req_shared(req, w.index)->reply;
    /* Relaxed: A2 came before.  Untrusted: it is loaded once.              */
    const uint32_t bytes = shmi_load_rlx_32(&reply->bytes);
    const bool area = (w.word & SHMI_CALL_AREA) != 0;
    req->from = req->call[w.index].number;
    req->more = (w.word & SHMI_CALL_KIND) == SHMI_CALL_PART;
    if (bytes > (area ? c->max_reply : SHMI_CALL_REPLY_INLINE) ||
        (area && c->reply_stride == 0)) {
        (void)shmi_req_give_up(req, w.index);
        return SHMC_ECORRUPT;
    }
    *index = w.index;
    *data = area ? c->replies + (req->first + w.index) * c->reply_stride
                 : reply->data;
    return (int)bytes;
}

/* Have done with the part that was read.                                   */
static void
shmi_req_consume(shmc_req *req, uint32_t i)
{
    shmi_call_shm *shared = shmi_req_shared(req, i);
    shmi_req_call *call = &req->call[i];
    const shmi_calls *c = &req->calls;

    req->received++;
    if (!req->more) {
        shmi_req_over(req, i);
        return;
    }
    /* R3 -> A3: our reads of the part happen before the next is written.   */
    shmi_store_rel_64(&shared->request.ack,
                      shmi_call_word(call->gen, call->part, SHMI_CALL_ACK));
    call->part++;
    /* Relaxed: whom to wake; a wrong one looks again by itself.            */
    const uint32_t seat = shmi_call_number(shmi_load_rlx_64(&shared->state));
    if (seat < c->server_count)
        shmi_bell_ring(&c->server_bells[seat], c->asymmetric);
}

SHMC_API int
shmc_req_recv(shmc_req *req, int call, void *buf, uint32_t cap,
              int64_t timeout_ns)
{
    const uint8_t *data;
    uint32_t i;

    const int r = shmi_req_wait(req, call, timeout_ns, &i, &data);
    if (r < 0) return r;
    if ((uint32_t)r > cap) return SHMC_EMSGSIZE;
    shmi_copy_out(buf, data, (uint32_t)r);
    shmi_req_consume(req, i);
    return r;
}

SHMC_API int
shmc_req_borrow(shmc_req *req, int call, const void **data, int64_t timeout_ns)
{
    const uint8_t *view;
    uint32_t i;

    *data = NULL;
    const int r = shmi_req_wait(req, call, timeout_ns, &i, &view);
    if (r < 0) return r;
    req->view = (int32_t)i;
    *data = view;
    return r;
}

SHMC_API int
shmc_req_release(shmc_req *req)
{
    const int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    if (req->view < 0) return SHMC_EINVAL;
    shmi_req_consume(req, (uint32_t)req->view);
    req->view = -1;
    return SHMC_OK;
}

SHMC_API int
shmc_req_cancel(shmc_req *req, int call)
{
    const int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    const uint64_t set = call == SHMC_ANY_CALL ? 0 : shmi_req_named(req, call);
    return set != 0 ? shmi_req_give_up(req, shmi_req_lowest(set)) : SHMC_EINVAL;
}

SHMC_API int
shmc_req_call(shmc_req *req, const void *data, uint32_t bytes, void *buf,
              uint32_t cap, int64_t timeout_ns)
{
    const int64_t asked_ns = timeout_ns;
    int call = shmc_req_send(req, data, bytes, 0);

    if (SHMI_UNLIKELY(call == SHMC_EAGAIN && timeout_ns != 0)) {
        const uint64_t deadline = shmi_deadline(timeout_ns);
        call = shmc_req_send(req, data, bytes, timeout_ns);
        timeout_ns = shmi_req_left(timeout_ns, deadline);
    }
    if (call < 0) return call;
    const int r = shmc_req_recv(req, call, buf, cap, timeout_ns);
    if (r < 0) (void)shmc_req_cancel(req, call);
    return shmi_req_timed(r, asked_ns);
}

SHMC_API int
shmc_req_ready(shmc_req *req)
{
    shmi_req_wish w = { req, req->sent, 0, 0, 0 };
    int r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    r = req->view >= 0 ? SHMC_EBUSY : shmi_req_try(&w);
    if (r == SHMC_EAGAIN) return 0;
    return r == SHMC_OK || r == SHMC_EPEERDEAD ? 1 : r;
}

/* >>polling */

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

static int
shmi_req_poll(void *socket, uint32_t events, bool thorough,
              shmi_poll_spot *spot)
{
    shmc_req *req = socket;
    int ready = 0, r = shmi_req_usable(req);

    if (r != SHMC_OK) return r;
    if ((events & ~(uint32_t)(SHMC_POLLIN | SHMC_POLLOUT)) != 0)
        return shmi_fail(SHMC_EINVAL, "poll a client for 0x%x: ask for "
                         "SHMC_POLLIN or SHMC_POLLOUT", events);
    spot->slice_ns = SHMC_PEER_CHECK_NS;
    if (req->absent && (events & SHMC_POLLOUT) && thorough) {
        r = shmc_req_served(req);
        if (r < 0) return r;
    }
    if (req->calls.shm == NULL) {
        spot->slice_ns = SHMC_TOPIC_POLL_NS;
        return 0;
    }
    spot->bell[0] = &req->calls.client_bells[req->calls.seat];
    if (req->absent) spot->bell[1] = &req->calls.shm->arrivals;
    spot->asymmetric = req->calls.asymmetric;
    spot->progress = req->received;
    if (thorough) {                 /* for the dead, too                    */
        req->look_ns = 0;
        req->polls = SHMI_CALL_POLLS - 1;
    }
    if ((events & SHMC_POLLIN) && req->sent != 0 && req->view < 0) {
        r = shmc_req_ready(req);
        if (r < 0) return r;
        if (r > 0) ready |= SHMC_POLLIN;
    }
    if ((events & SHMC_POLLOUT) && !req->absent && req->loan < 0) {
        shmi_req_reclaim_all(req, thorough);
        if (req->free != 0) ready |= SHMC_POLLOUT;
    }
    return ready;
}

SHMC_API shmc_pollable
shmc_req_pollable(shmc_req *req)
{
    return (shmc_pollable){ shmi_req_poll, req };
}

#endif /* SHMCOMM_IMPLEMENTATION */
