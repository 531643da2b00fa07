/* shmcomm_req.h - REQ sockets: clients that ask servers.
 *
 *     shmc_req req;
 *     shmc_req_open(&req, "robot/plan", NULL);
 *     bytes = shmc_req_call(&req, goal, 24, path, sizeof path, SHMC_FOREVER);
 *
 * Manual: docs/shmcomm_reqrep.md, proof: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_REQ_H
#define SHMCOMM_REQ_H

#include "shmcomm_calls.h"

/* ---- constants --------------------------------------------------------- */

#ifndef SHMC_SERVER_CHECK_NS        /* how often a client that waits for an  */
#define SHMC_SERVER_CHECK_NS 2000000u   /* answer asks the kernel for its
                                           server                           */
#endif

enum { SHMC_ANY_CALL = 0 };         /* in place of a call's number          */
enum { SHMI_CALL_NUMBERS = 0x1ffffff };     /* times 64 is below 2^31       */

/* ---- descs: zero selects the default ----------------------------------- */

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

/* ---- API ---------------------------------------------------------------- */

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
 *         SHMC_EPEERDEAD its server died (who waits asks for that every
 *         SHMC_SERVER_CHECK_NS), or dropped it: the call is over;
 *         SHMC_EMSGSIZE `cap` is too small, the answer stays; SHMC_EINVAL no
 *         such call; SHMC_EBUSY an answer is borrowed; SHMC_EFORKED;
 *         SHMC_ECLOSED; SHMC_ECORRUPT.                                    */
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

#endif /* SHMCOMM_REQ_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_REQ_IMPLEMENTED)
#define SHMCOMM_REQ_IMPLEMENTED

#include <string.h>

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
    /* Relaxed both: R1 publishes them, and the word has its R5 from when we
     * took our seat.                                                       */
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
    /* Relaxed: nobody but us has touched it.                               */
    if (!shmi_cas_rlx_64(&shmi_req_shared(req, i)->state, &state, over))
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
    uint64_t state = shmi_load_acq_64(word);                /* A4 <- R4     */
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
        if (!shmi_cas_rlx_64(word, &state,
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
        uint64_t state = shmi_load_acq_64(&shared->state);  /* A4 <- R4     */
        if (shmi_call_gen(state) != gen) return false;      /* in the queue */
        if (shmi_call_kind(state) == SHMI_CALL_TAKEN &&
            (shmi_server_alive(&req->calls, shmi_call_number(state)) ||
             !shmi_cas_rlx_64(&shared->state, &state,
                              shmi_call_word(gen, 0, SHMI_CALL_OVER))))
            return false;
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
    /* Relaxed, as what it is swapped for: see shmi_req_queued.             */
    uint64_t state = shmi_load_rlx_64(&shared->state);

    if (req->view == (int32_t)i) req->view = -1;
    req->sent &= ~shmi_req_bit(i);
    req->gone |= shmi_req_bit(i);
    if (call->stuck || call->lost ||
        (shmi_call_gen(state) == shmi_call_before(call->gen) &&
         shmi_cas_rlx_64(&shared->state, &state,
                         shmi_call_word(call->gen, 0, SHMI_CALL_OVER)))) {
        shmi_req_over(req, i);
        return 1;
    }
    /* To who waits for us to read a part, this is the answer.  Relaxed: he
     * writes nothing there any more.                                       */
    shmi_store_rlx_64(&shared->request.ack,
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
    /* R5 -> A5: our seat happens before what we issue (shmi_req_issue).    */
    shmi_fence_rel();
    for (uint32_t i = 0; i < req->calls.each; i++) {
        shmi_call_shm *shared = shmi_req_shared(req, i);
        /* Relaxed: what the last one did came with its seat.               */
        const uint64_t request = shmi_load_rlx_64(&shared->request.word);
        uint64_t state = shmi_load_rlx_64(&shared->state);
        const uint64_t gen = shmi_call_gen(request);
        const bool queued = gen != 0 && shmi_call_gen(state) ==
                                        shmi_call_before(gen);
        memset(&req->call[i], 0, sizeof req->call[i]);
        req->call[i].gen = queued ? gen : shmi_call_gen(state);
        req->gone |= shmi_req_bit(i);
        if (queued && shmi_call_posted(request)) continue;
        if (queued && shmi_cas_rlx_64(&shared->state, &state,
                                      shmi_call_word(gen, 0, SHMI_CALL_OVER))) {
            shmi_req_over(req, i);
            continue;
        }
        req->call[i].gen = shmi_call_gen(state);
        if (!shmi_req_reclaim(req, i, true) && !shmi_call_posted(request))
            shmi_store_rlx_64(&shared->request.ack,
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
    /* What was left to us a moment ago, nobody else would remove.          */
    if (c->shm == NULL && req->wait.epoch == shmi_fork_epoch)
        (void)shmi_endpoint_look(&req->wait, &req->segment, req->desc.flags,
                                 shmi_req_join, req);
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
    if (!shmi_calls_due(&req->look_ns, SHMC_SERVER_CHECK_NS)) return SHMC_EAGAIN;
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
                       shmi_req_try, &w, timeout_ns, SHMC_SERVER_CHECK_NS);
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

/* >>clients: polling */

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
    spot->slice_ns = SHMC_SERVER_CHECK_NS;
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
