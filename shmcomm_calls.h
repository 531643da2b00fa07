/* shmcomm_calls.h - the table of calls behind REQ/REP sockets; private to
 * shmcomm.
 *
 * Each client's seat has a few calls, each a line for the request, one for
 * the reply, and a word that says whose it is.  A queue of their ids brings
 * them to the servers.  Whoever meets what a dead one left settles it.
 *
 * Manual: docs/algorithms.md, bytes: docs/layout.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_CALLS_H
#define SHMCOMM_CALLS_H

#include "shmcomm_endpoint.h"
#include "shmcomm_mpmc.h"

/* ---- constants --------------------------------------------------------- */

enum {
    SHMI_CALLS_VERSION = 1,
    SHMI_CALLS_MAX_CLIENTS = 1024,
    SHMI_CALLS_MAX_SERVERS = 1024,
    SHMI_CALLS_MAX_EACH = 64,       /* calls of one client: bits of a word  */
    SHMI_CALL_REQUEST_INLINE = 104, /* so many bytes travel in the line     */
    SHMI_CALL_REPLY_INLINE = 112,
    SHMI_CALL_POLLS = 64            /* tries between two looks at the clock */
};
#define SHMI_CALLS_MAGIC 0x4c4c4143u            /* "CALL" in memory         */

/* ---- descs ------------------------------------------------------------- */

typedef struct shmi_calls_desc {    /* zero selects the default             */
    uint32_t max_request, max_reply;
    uint32_t clients, each, servers;
} shmi_calls_desc;

/* ---- shared layout, version 1 ------------------------------------------
 * shmi_calls_shm | seats of servers | seats of clients | bells of servers |
 * bells of clients | calls | areas of requests | areas of replies.  Client c
 * has the calls c*K .. c*K+K-1, K its share; call i has area i of each kind.
 * Beside it lies a shmc_mpmc of calls' ids, which clients push and servers
 * pop.  A word is  generation (40 bits) | number (16) | kind (8).
 *
 * I1: a call's state is of generation g or g - 1, where g is the last that
 *     its client issued.  g - 1: nobody has taken g; its id is in the queue,
 *     or not yet, or in the hands of a server that is about to take it.
 * I2: state goes  any(g-1) -> TAKEN(g,s) by server s, who has popped id g;
 *     any(g-1) -> OVER(g) by the client (or whoever settles a dead client's
 *     seat): g is withdrawn, its id, wherever it is, means nothing any more;
 *     TAKEN(g,x) -> OVER(g) or TAKEN(g,s) only where x is dead, the latter
 *     by who was given id g once more, as x died before it let go of the
 *     queue's cell, so before its call of receive returned.  All by CAS.
 * I3: while state is TAKEN(g,s), reply.word is not final for g and s lives,
 *     the call is s's: nobody writes the request's bytes, s alone writes the
 *     reply.  s ends that by a final reply.word, or by dying.
 * I4: only the client's seat holder writes the request, and only where state
 *     is OVER(g), or TAKEN(g,.) with a final reply.word of g.  Then it may
 *     issue g + 1.
 * I5: a part in reply.word is replaced only after request.ack names it.
 *
 * Why no late server writes into a later call: to issue g + 1 its client has
 * to have seen I4.  OVER(g) means that no server took g, or that the one who
 * did is dead; a final reply was s's last store.  A stopped server is alive,
 * so that its call waits for it, while the client uses its others.
 * Why no two servers have a call: id g is popped once, and again only if who
 * popped it died; each has to win the CAS of state, from g - 1 or from a dead
 * one's TAKEN(g,x).
 * Edges (what is stored before R happens before what is loaded after A):
 * R1 -> A1  the request, then its id in the queue; the id, then the request
 * R2 -> A2  the reply, and reads of the request, then reply.word
 * R3 -> A3  reads of a part, then ack
 * R4 -> A4  a server's seat, then TAKEN; its end, then OVER; the state, then
 *           the seat's owner, or the request's bytes anew
 * R5 -> A5  a client's seat, then what it issues; this, then the owner
 * R6 -> A6  all that it did, then its seat is left (shmi_seat_drop); the
 *           seat's owner, then the call
 * W = only writer, R = reader, (..) = ordering edge named in the code.     */
typedef struct shmi_request_shm {
    uint64_t word;                  /* W client (R1, R5)  R server (A1), who
                                       settles (A5)                         */
    uint64_t ack;                   /* W client (R3)  R server (A3)         */
    uint32_t bytes;                 /* W client (R1)  R server (A1)         */
    uint32_t pad;
    uint8_t  data[SHMI_CALL_REQUEST_INLINE];    /* W client (R1)            */
} shmi_request_shm;
SHMC_LAYOUT_AT(shmi_request_shm, ack, 8);
SHMC_LAYOUT_AT(shmi_request_shm, bytes, 16);
SHMC_LAYOUT_AT(shmi_request_shm, data, 24);
SHMC_LAYOUT_SIZE(shmi_request_shm, SHMC_LINE);

typedef struct shmi_reply_shm {
    uint64_t word;                  /* W server (R2)  R client (A2)         */
    uint32_t bytes;                 /* W server (R2)  R client (A2)         */
    uint32_t pad;
    uint8_t  data[SHMI_CALL_REPLY_INLINE];      /* W server (R2)            */
} shmi_reply_shm;
SHMC_LAYOUT_AT(shmi_reply_shm, bytes, 8);
SHMC_LAYOUT_AT(shmi_reply_shm, data, 16);
SHMC_LAYOUT_SIZE(shmi_reply_shm, SHMC_LINE);

typedef struct shmi_call_shm {
    shmi_request_shm request;       /* W client                             */
    shmi_reply_shm   reply;         /* W the server that has it             */
    uint64_t state;                 /* W by CAS, see I2 (R4)  R (A4)        */
    uint8_t  pad[SHMC_LINE - 8];
} shmi_call_shm;
SHMC_LAYOUT_AT(shmi_call_shm, reply, 1 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_call_shm, state, 2 * SHMC_LINE);
SHMC_LAYOUT_SIZE(shmi_call_shm, 3 * SHMC_LINE);

typedef struct shmi_calls_shm {
    shmi_ring_head_shm head;        /* W creator; constant                  */
    shmi_bell_shm arrivals;         /* W servers ring  R clients sleep      */
} shmi_calls_shm;                   /* seats and the rest follow            */
SHMC_LAYOUT_AT(shmi_calls_shm, arrivals, SHMC_LINE);
SHMC_LAYOUT_SIZE(shmi_calls_shm, 2 * SHMC_LINE);

/* Kinds.  In request.word flags, in its place of number and kind.          */
enum {
    SHMI_CALL_OVER = 0, SHMI_CALL_TAKEN = 1,                /* state        */
    SHMI_CALL_LAST = 1, SHMI_CALL_PART = 2,                 /* reply.word   */
    SHMI_CALL_DROPPED = 3, SHMI_CALL_KIND = 3,
    SHMI_CALL_ACK = 1, SHMI_CALL_CANCEL = 2,                /* request.ack  */
    SHMI_CALL_ONE_WAY = 8, SHMI_CALL_PUSHED = 16, SHMI_CALL_AGAIN = 32,
    SHMI_CALL_AREA = 4              /* in both: the bytes are in the area   */
};
#define SHMI_CALL_GENERATION ((UINT64_C(1) << 40) - 1)
#define SHMI_CALL_INDEX      0xffffffu

/* ---- handles ----------------------------------------------------------- */

/* A service as this process sees it.  Private.                            */
typedef struct shmi_calls {
    shmi_calls_shm *shm;            /* NULL = closed                        */
    shmi_seat_shm *servers, *clients;
    shmi_bell_shm *server_bells, *client_bells;
    shmi_call_shm *calls;
    uint8_t *requests, *replies;
    uint64_t request_stride, reply_stride;
    uint32_t max_request, max_reply, client_count, server_count, each, count;
    uint32_t epoch, seat;           /* the index of ours                    */
    shmi_seat_shm *seated;          /* NULL: none                           */
    bool     asymmetric;
    shmc_mpmc queue;
    shmc_segment *segment;
    shmc_object object;
} shmi_calls;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API ---------------------------------------------------------------- */

/* Tell how many bytes of a segment's heap the table and its queue take.
 * Errors  SHMC_EINVAL.                                                    */
SHMC_API int64_t shmi_calls_size_for(const shmi_calls_desc *desc);

/* Open the table and its queue in a segment, creating them unless they are
 * there; `desc` NULL: only if they are.  What is not 0 in `desc` must be so
 * in what exists.  role: SHMC_PRODUCER asks, SHMC_CONSUMER answers; takes a
 * seat, whose index goes to calls->seat.
 * Errors  SHMC_EMISMATCH; SHMC_ELIMIT no seat; SHMC_ECORRUPT; those of
 *         shmc_object_open and shmc_mpmc_open.                            */
SHMC_API int shmi_calls_open(shmi_calls *c, shmc_segment *s,
                             const shmi_calls_desc *desc, uint32_t role);
SHMC_API void shmi_calls_close(shmi_calls *c);

/* Open the table only to look at it: no seat, no queue.  Errors  as above. */
SHMC_API int shmi_calls_look(shmi_calls *c, shmc_segment *s);

/* What the table tells of all calls so far.  It does not hold how a call
 * that is over went: it was answered, dropped by its server, or given up.  */
typedef struct shmi_calls_stats {
    uint64_t requests;              /* issued, and those issued once more   */
    uint64_t done;                  /* of these, over                       */
    uint64_t waiting;               /* no server has taken them             */
    uint64_t working;               /* a server has them                    */
    uint64_t mean_bytes;            /* of each call's newest request        */
    uint32_t servers, clients;      /* alive                                */
} shmi_calls_stats;

/* Cost  O(calls), a system call for each seat in use.                     */
SHMC_API void shmi_calls_stats_get(const shmi_calls *c, shmi_calls_stats *out);

/* Serve under a name: open its file, or create it, with table and queue, and
 * take a server's seat.  `file` has what is asked of a new one but its sizes.
 * Errors  those of shmi_endpoint_open and shmi_calls_open; SHMC_EMISMATCH
 *         file->wake is another.                                          */
SHMC_API int shmi_service_open(shmi_calls *c, shmc_segment *s,
                               const char *name, const shmi_calls_desc *shape,
                               const shmc_segment_desc *file);

/* A service's file goes with its last user.                               */
extern const shmi_endpoint_kind shmi_service_kind;

/* SHMC_OK, or why the handle cannot be used.                              */
SHMC_API int shmi_calls_usable(const shmi_calls *c);

/* May generation `gen` of a call be taken, by the state that was loaded?
 * Once it may not, it never may again (I2).                               */
SHMC_API bool shmi_call_open(const shmi_calls *c, uint64_t state, uint64_t gen);

/* Take generation `gen` of a call (I2); false if it means nothing any more. */
SHMC_API bool shmi_call_claim(const shmi_calls *c, uint32_t index,
                              uint64_t gen);

/* Does somebody alive sit on this seat for servers, or on any?            */
SHMC_API bool shmi_server_alive(const shmi_calls *c, uint32_t seat);
SHMC_API bool shmi_server_any(const shmi_calls *c);

/* Is it time for system calls?  Then the next is every_ns from now.       */
SHMC_API bool shmi_calls_due(uint64_t *look_ns, uint64_t every_ns);

/* ---- inline: words ----------------------------------------------------- */

SHMC_INLINE uint64_t
shmi_call_word(uint64_t gen, uint32_t number, uint32_t kind)
{
    return (gen & SHMI_CALL_GENERATION) << 24 | (uint64_t)(number & 0xffff) << 8 |
           kind;
}

SHMC_INLINE uint64_t shmi_call_gen(uint64_t word) { return word >> 24; }

SHMC_INLINE uint32_t
shmi_call_number(uint64_t word) { return (uint32_t)(word >> 8) & 0xffff; }

SHMC_INLINE uint32_t shmi_call_kind(uint64_t word) { return (uint32_t)word & 0xff; }

SHMC_INLINE uint64_t
shmi_call_before(uint64_t gen) { return (gen - 1) & SHMI_CALL_GENERATION; }

/* Does nobody work on it any more, as far as the reply tells?              */
SHMC_INLINE bool
shmi_call_final(uint64_t reply, uint64_t gen)
{
    const uint32_t kind = shmi_call_kind(reply) & SHMI_CALL_KIND;

    return shmi_call_gen(reply) == gen &&
           (kind == SHMI_CALL_LAST || kind == SHMI_CALL_DROPPED);
}

/* Was the request posted, and is it in the queue for certain?              */
SHMC_INLINE bool
shmi_call_posted(uint64_t request)
{
    const uint64_t both = SHMI_CALL_ONE_WAY | SHMI_CALL_PUSHED;

    return (request & both) == both;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_CALLS_H */
#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_CALLS_IMPLEMENTED)
#define SHMCOMM_CALLS_IMPLEMENTED

#include <stdio.h>
#include <string.h>

#define SHMI_CALLS_OBJECT "calls"
#define SHMI_CALLS_QUEUE  "requests"

/* >>calls: setup */

typedef struct shmi_calls_geometry {
    uint32_t max_request, max_reply, clients, each, servers, flags;
    uint64_t clients_at, server_bells_at, client_bells_at, calls_at;
    uint64_t requests_at, replies_at, total;
    uint64_t request_stride, reply_stride;
} shmi_calls_geometry;

/* Where everything lies, from the counts and sizes, which were checked.    */
static void
shmi_calls_place(shmi_calls_geometry *g)
{
    const uint64_t calls = (uint64_t)g->clients * g->each;

    g->request_stride = g->max_request <= SHMI_CALL_REQUEST_INLINE ? 0
                      : shmi_round_up(g->max_request, SHMC_LINE);
    g->reply_stride = g->max_reply <= SHMI_CALL_REPLY_INLINE ? 0
                    : shmi_round_up(g->max_reply, SHMC_LINE);
    g->clients_at = sizeof(shmi_calls_shm) +
                    (uint64_t)g->servers * sizeof(shmi_seat_shm);
    g->server_bells_at = g->clients_at +
                         (uint64_t)g->clients * sizeof(shmi_seat_shm);
    g->client_bells_at = g->server_bells_at +
                         (uint64_t)g->servers * sizeof(shmi_bell_shm);
    g->calls_at = g->client_bells_at +
                  (uint64_t)g->clients * sizeof(shmi_bell_shm);
    g->requests_at = g->calls_at + calls * sizeof(shmi_call_shm);
    g->replies_at = g->requests_at + calls * g->request_stride;
    g->total = g->replies_at + calls * g->reply_stride;
}

static int
shmi_calls_field(const char *field, uint32_t value, uint32_t limit)
{
    if (value <= limit) return SHMC_OK;
    return shmi_fail(SHMC_EINVAL, "service: %s %u, at most %u", field, value,
                     limit);
}

static int
shmi_calls_check(const shmi_calls_geometry *g)
{
    int r = shmi_calls_field("max_bytes", g->max_request, SHMI_RING_MAX_BYTES);

    if (r == SHMC_OK)
        r = shmi_calls_field("max_reply_bytes", g->max_reply,
                             SHMI_RING_MAX_BYTES);
    if (r == SHMC_OK)
        r = shmi_calls_field("max_clients", g->clients,
                             SHMI_CALLS_MAX_CLIENTS);
    if (r == SHMC_OK)
        r = shmi_calls_field("max_outstanding", g->each, SHMI_CALLS_MAX_EACH);
    if (r == SHMC_OK)
        r = shmi_calls_field("max_servers", g->servers,
                             SHMI_CALLS_MAX_SERVERS);
    return r;
}

static int
shmi_calls_geometry_of(const shmi_calls_desc *d, shmi_calls_geometry *g)
{
    memset(g, 0, sizeof *g);
    g->max_request = d->max_request ? d->max_request : 4096;
    g->max_reply = d->max_reply ? d->max_reply : g->max_request;
    g->clients = d->clients ? d->clients : 64;
    g->each = d->each ? d->each : 16;
    g->servers = d->servers ? d->servers : 16;
    const int r = shmi_calls_check(g);
    if (r == SHMC_OK) shmi_calls_place(g);
    return r;
}

/* Twice as many cells as calls can be: withdrawn ones leave their ids.     */
static shmc_mpmc_desc
shmi_calls_queue(const shmi_calls_geometry *g)
{
    shmc_mpmc_desc q;

    memset(&q, 0, sizeof q);
    q.slot_bytes = 8;
    q.slot_count = 64;
    while (q.slot_count < 2 * g->clients * g->each) q.slot_count *= 2;
    q.max_handles = g->clients + g->servers;
    q.on_consumer_death = SHMC_REDELIVER;
    q.waitable = 1;
    return q;
}

static int
shmi_calls_init(void *mem, uint64_t bytes, const void *user)
{
    const shmi_calls_geometry *g = user;
    shmi_ring_head_shm head;

    (void)bytes;                    /* it is zeroed: every call is OVER(0)  */
    memset(&head, 0, sizeof head);
    head.magic = SHMI_CALLS_MAGIC;
    head.version = SHMI_CALLS_VERSION;
    head.total_bytes = g->total;
    head.slot_bytes = head.stride_bytes = sizeof(shmi_call_shm);
    head.slot_count = 1;
    head.flags = g->flags;
    head.seats = g->servers;
    head.aux[0] = g->max_request;
    head.aux[1] = g->max_reply;
    head.aux[2] = g->clients;
    head.aux[3] = g->each;
    shmi_ring_publish(mem, &head);
    return SHMC_OK;
}

/* What a checked or unchecked first line says.                             */
static void
shmi_calls_geometry_in(const shmi_ring_head_shm *h, shmi_calls_geometry *g)
{
    memset(g, 0, sizeof *g);
    g->max_request = (uint32_t)h->aux[0];
    g->max_reply = (uint32_t)h->aux[1];
    g->clients = (uint32_t)h->aux[2];
    g->each = (uint32_t)h->aux[3];
    g->servers = h->seats;
    g->flags = h->flags;
}

/* Check the first line, which is untrusted, and point the handle's parts.  */
static int
shmi_calls_point(shmi_calls *c, uint8_t *mem, uint64_t bytes,
                 shmi_calls_geometry *g)
{
    shmi_ring_head_shm h;
    const int r = shmi_ring_check(mem, bytes, SHMI_CALLS_MAGIC,
                                  SHMI_CALLS_VERSION, "service", &h);

    if (r != SHMC_OK) return r;
    shmi_calls_geometry_in(&h, g);
    const bool whole = g->max_request != 0 && g->max_reply != 0 &&
                       g->clients != 0 && g->each != 0 && g->servers != 0 &&
                       shmi_calls_check(g) == SHMC_OK;
    if (whole) shmi_calls_place(g);
    if (!whole || g->total != h.total_bytes || h.aux[0] != g->max_request ||
        h.aux[1] != g->max_reply || h.aux[2] != g->clients ||
        h.aux[3] != g->each)
        return shmi_fail(SHMC_ECORRUPT, "service: its first line has sizes that "
                         "contradict each other: damaged");
    c->shm = (void *)mem;
    c->servers = (void *)(mem + sizeof *c->shm);
    c->clients = (void *)(mem + g->clients_at);
    c->server_bells = (void *)(mem + g->server_bells_at);
    c->client_bells = (void *)(mem + g->client_bells_at);
    c->calls = (void *)(mem + g->calls_at);
    c->requests = mem + g->requests_at;
    c->replies = mem + g->replies_at;
    c->request_stride = g->request_stride;
    c->reply_stride = g->reply_stride;
    c->max_request = g->max_request;
    c->max_reply = g->max_reply;
    c->client_count = g->clients;
    c->server_count = g->servers;
    c->each = g->each;
    c->count = g->clients * g->each;
    c->asymmetric = (h.flags & SHMI_RING_ASYMMETRIC) != 0;
    c->epoch = shmi_fork_epoch;
    return SHMC_OK;
}

/* SHMC_EMISMATCH if something that is asked for differs from what exists.  */
static int
shmi_calls_same(const char *service, const shmi_calls_geometry *is,
                const shmi_calls_desc *d)
{
    const shmi_ask all[] = {
        { "max_bytes", d->max_request, is->max_request },
        { "max_reply_bytes", d->max_reply, is->max_reply },
        { "max_clients", d->clients, is->clients },
        { "max_outstanding", d->each, is->each },
        { "max_servers", d->servers, is->servers }
    };
    const shmi_ask *row = shmi_ask_differs(all, sizeof all / sizeof all[0]);

    if (row == NULL) return SHMC_OK;
    return shmi_fail(SHMC_EMISMATCH, "service '%s': it exists with %s %llu, not "
                     "%llu; ask for that, or for 0 (take what exists)", service,
                     row->field, (unsigned long long)row->exists,
                     (unsigned long long)row->asked);
}

/* >>calls: liveness */

SHMC_API bool
shmi_server_alive(const shmi_calls *c, uint32_t seat)
{
    /* A6 <- R6: of one who left, and of whose end the kernel does not tell
     * us, we see the last words all the same.                              */
    return seat < c->server_count &&
           shmi_owner_alive(c->segment,
                            shmi_load_acq_64(&c->servers[seat].owner));
}

SHMC_API bool
shmi_server_any(const shmi_calls *c)
{
    for (uint32_t i = 0; i < c->server_count; i++)
        if (shmi_server_alive(c, i)) return true;
    return false;
}

SHMC_API int
shmi_calls_usable(const shmi_calls *c)
{
    if (c->shm == NULL) return SHMC_ECLOSED;
    return c->epoch == shmi_fork_epoch ? SHMC_OK : SHMC_EFORKED;
}

SHMC_API bool
shmi_calls_due(uint64_t *look_ns, uint64_t every_ns)
{
    const uint64_t now = shmi_now_ns();

    if (now < *look_ns) return false;
    *look_ns = now + every_ns;
    return true;
}

SHMC_API bool
shmi_call_open(const shmi_calls *c, uint64_t state, uint64_t gen)
{
    return shmi_call_gen(state) == shmi_call_before(gen) ||
           (shmi_call_gen(state) == gen &&
            shmi_call_kind(state) == SHMI_CALL_TAKEN &&
            !shmi_server_alive(c, shmi_call_number(state)));
}

SHMC_API bool
shmi_call_claim(const shmi_calls *c, uint32_t index, uint64_t gen)
{
    uint64_t *state = &c->calls[index].state;
    /* Relaxed: with the id came what its client did before (A1), and who took
     * it before us is dead, or we would not have been given it.            */
    uint64_t was = shmi_load_rlx_64(state);

    /* Each round that fails was lost to its client, or to a settler; a few
     * are enough.                                                          */
    for (int i = 0; i < 4; i++) {
        if (!shmi_call_open(c, was, gen)) return false;
        /* R4 -> A4: who sees that we have it sees us in our seat.          */
        if (shmi_cas_rel_64(state, &was,
                            shmi_call_word(gen, c->seat, SHMI_CALL_TAKEN)))
            return true;
    }
    return false;
}

/* >>calls: settling what the dead left */

/* A dead server's seat is about to be taken: each call that it had is over
 * (I2), unless it had answered it.  Who was stopped here, and goes on when
 * somebody else sits there, changes nothing: it judges the owner after it
 * loaded the state, and the state of a call that was taken since differs.  */
static int
shmi_calls_settle_server(void *ctx, uint32_t seat)
{
    shmi_calls *c = ctx;

    for (uint32_t i = 0; i < c->count; i++) {
        shmi_call_shm *call = &c->calls[i];
        uint64_t was = shmi_load_acq_64(&call->state);      /* A4 <- R4     */
        const uint64_t gen = shmi_call_gen(was);
        /* The reply's word relaxed: behind the kernel's word that it died. */
        if (shmi_call_kind(was) != SHMI_CALL_TAKEN ||
            shmi_call_number(was) != seat || shmi_server_alive(c, seat) ||
            shmi_call_final(shmi_load_rlx_64(&call->reply.word), gen))
            continue;
        /* R4 -> A4: what the dead one did, of which we know by now, happens
         * before its client uses the call again.                           */
        if (shmi_cas_rel_64(&call->state, &was,
                            shmi_call_word(gen, 0, SHMI_CALL_OVER)))
            shmi_bell_ring(&c->client_bells[i / c->each], c->asymmetric);
    }
    return SHMC_OK;
}

/* A dead client's seat is about to be taken: what no server has taken is
 * withdrawn (I2), but for what it had posted.  As above for who is late.   */
static int
shmi_calls_settle_client(void *ctx, uint32_t seat)
{
    shmi_calls *c = ctx;

    for (uint32_t i = seat * c->each; i < (seat + 1) * c->each; i++) {
        shmi_call_shm *call = &c->calls[i];
        uint64_t was = shmi_load_rlx_64(&call->state);      /* for the CAS  */
        /* A5 <- R5: who sits there now is who issued this, or came later. */
        const uint64_t request = shmi_load_acq_64(&call->request.word);
        const uint64_t gen = shmi_call_gen(request);
        if (shmi_call_gen(was) != shmi_call_before(gen) ||
            shmi_call_posted(request) ||
            shmi_owner_alive(c->segment,
                             shmi_load_acq_64(&c->clients[seat].owner)))
            continue;
        /* What it wrote before it died, or left (A6 <- R6), is there by now:
         * was the request posted after all?                                */
        if (shmi_load_rlx_64(&call->request.word) != request) continue;
        (void)shmi_cas_rlx_64(&call->state, &was,
                              shmi_call_word(gen, 0, SHMI_CALL_OVER));
    }
    return SHMC_OK;
}

/* >>calls: open and close */

SHMC_API int64_t
shmi_calls_size_for(const shmi_calls_desc *desc)
{
    shmi_calls_geometry g;
    const int r = shmi_calls_geometry_of(desc, &g);

    if (r != SHMC_OK) return r;
    const shmc_mpmc_desc q = shmi_calls_queue(&g);
    return (int64_t)shmi_round_up(g.total, SHMC_LINE) + shmc_mpmc_size_for(&q);
}

/* Attach to the table, or create it, and check it.                         */
static int
shmi_calls_map(shmi_calls *c, shmc_segment *s, const shmi_calls_desc *desc,
               shmi_calls_geometry *g)
{
    shmc_object_desc od;

    memset(&od, 0, sizeof od);
    od.kind = SHMC_KIND_CALLS;
    od.version = SHMI_CALLS_VERSION;
    if (desc != NULL) {
        const int r = shmi_calls_geometry_of(desc, g);
        if (r != SHMC_OK) return r;
        g->flags = shmi_ring_flags(s, 1);
        od.bytes = g->total;
        od.init = shmi_calls_init;
        od.user = g;
    }
    int r = shmi_ring_object(s, SHMI_CALLS_OBJECT, &od, desc == NULL,
                             &c->object);
    if (r != SHMC_OK) return r;
    c->segment = s;
    r = shmi_calls_point(c, c->object.mem, c->object.bytes, g);
    if (r == SHMC_OK && desc != NULL) r = shmi_calls_same(s->name, g, desc);
    if (r != SHMC_OK) (void)shmc_object_close(s, &c->object);
    return r;
}

SHMC_API int
shmi_calls_open(shmi_calls *c, shmc_segment *s, const shmi_calls_desc *desc,
                uint32_t role)
{
    const bool serves = role == SHMC_CONSUMER;
    shmi_calls_geometry g;

    memset(c, 0, sizeof *c);
    int r = shmi_calls_map(c, s, desc, &g);
    if (r == SHMC_OK) {
        const shmc_mpmc_desc q = shmi_calls_queue(&g);
        r = shmc_mpmc_open(&c->queue, s, SHMI_CALLS_QUEUE, &q, role);
        if (r != SHMC_OK) (void)shmc_object_close(s, &c->object);
    }
    if (r == SHMC_OK) {
        r = serves ? shmi_seat_claim(s, c->servers, c->server_count,
                                     shmi_calls_settle_server, c)
                   : shmi_seat_claim(s, c->clients, c->client_count,
                                     shmi_calls_settle_client, c);
        c->seat = (uint32_t)r;
        c->seated = r >= 0 ? serves ? &c->servers[r] : &c->clients[r] : NULL;
        if (r < 0) shmi_calls_close(c);
    }
    if (r < 0) {
        memset(c, 0, sizeof *c);
        return r;
    }
    /* Nobody waits for room in the queue by its bell: see shmi_req_ask.    */
    if (serves) c->queue.waitable = false;
    if (serves) shmi_bell_ring(&c->shm->arrivals, c->asymmetric);
    return SHMC_OK;
}

SHMC_API int
shmi_calls_look(shmi_calls *c, shmc_segment *s)
{
    shmi_calls_geometry g;

    memset(c, 0, sizeof *c);
    const int r = shmi_calls_map(c, s, NULL, &g);
    if (r != SHMC_OK) memset(c, 0, sizeof *c);
    return r;
}

static uint32_t
shmi_calls_alive(const shmi_calls *c, const shmi_seat_shm *seats, uint32_t count)
{
    uint32_t alive = 0;

    /* Relaxed: the word alone is judged, and the kernel knows who lives.   */
    for (uint32_t i = 0; i < count; i++)
        alive += shmi_owner_alive(c->segment, shmi_load_rlx_64(&seats[i].owner));
    return alive;
}

SHMC_API void
shmi_calls_stats_get(const shmi_calls *c, shmi_calls_stats *out)
{
    uint64_t bytes = 0, used = 0;

    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < c->count; i++) {
        const shmi_call_shm *call = &c->calls[i];
        /* The request first: who issues the next one meanwhile makes this
         * one done.  Relaxed all: these are figures.                       */
        const uint64_t gen = shmi_call_gen(shmi_load_rlx_64(&call->request.word));
        const uint64_t state = shmi_load_rlx_64(&call->state);
        const uint64_t reply = shmi_load_rlx_64(&call->reply.word);
        const uint32_t size = shmi_load_rlx_32(&call->request.bytes);
        if (gen == 0) continue;
        out->requests += gen;
        if (shmi_call_gen(state) == shmi_call_before(gen)) out->waiting++;
        else if (shmi_call_gen(state) == gen && !shmi_call_final(reply, gen) &&
                 shmi_call_kind(state) == SHMI_CALL_TAKEN) out->working++;
        if (size > c->max_request) continue;
        bytes += size;
        used++;
    }
    out->done = out->requests - out->waiting - out->working;
    out->mean_bytes = used != 0 ? bytes / used : 0;
    out->servers = shmi_calls_alive(c, c->servers, c->server_count);
    out->clients = shmi_calls_alive(c, c->clients, c->client_count);
}

SHMC_API void
shmi_calls_close(shmi_calls *c)
{
    if (c->shm == NULL) return;
    if (c->epoch == shmi_fork_epoch && c->seated != NULL)
        shmi_seat_drop(c->seated);
    if (c->queue.shm != NULL) (void)shmc_mpmc_close(&c->queue);
    if (c->epoch == shmi_fork_epoch)
        (void)shmc_object_close(c->segment, &c->object);
    memset(c, 0, sizeof *c);
}

/* >>calls: their file */

const shmi_endpoint_kind shmi_service_kind = {
    "service", SHMI_CALLS_OBJECT, NULL, true
};

typedef struct shmi_service_opening {
    shmi_calls *calls;
    const shmi_calls_desc *shape;
    uint32_t wake;
} shmi_service_opening;

static int
shmi_service_join(void *ctx, shmc_segment *s)
{
    const shmi_service_opening *o = ctx;

    if (o->wake != SHMC_WAKE_FENCE && o->wake != s->wake)
        return shmi_fail(SHMC_EMISMATCH, "serve '%s': the service exists with "
                         "wake %u, not %u; ask for that, or for 0 (take what "
                         "exists)", s->name, s->wake, o->wake);
    return shmi_calls_open(o->calls, s, o->shape, SHMC_CONSUMER);
}

static void
shmi_service_forget(void *ctx)
{
    const shmi_service_opening *o = ctx;

    memset(o->calls, 0, sizeof *o->calls);
}

/* What dead users left is removed: nobody waits for anything in it.        */
static bool
shmi_service_adopt(void *ctx, const shmc_segment *s)
{
    (void)ctx;
    (void)s;
    return false;
}

SHMC_API int
shmi_service_open(shmi_calls *c, shmc_segment *s, const char *name,
                  const shmi_calls_desc *shape, const shmc_segment_desc *file)
{
    shmi_service_opening o = { c, shape, file->wake };
    const int64_t bytes = shmi_calls_size_for(shape);
    shmi_endpoint_opening e;

    if (bytes < 0) return (int)bytes;
    memset(&e, 0, sizeof e);
    e.file = *file;
    e.file.heap_bytes = (uint64_t)bytes;
    e.file.max_objects = 8;
    /* Some more, for who attaches only to look.                            */
    e.file.max_participants = 32 + (shape->clients ? shape->clients : 64) +
                              (shape->servers ? shape->servers : 16);
    e.kind = &shmi_service_kind;
    e.adopt = shmi_service_adopt;
    e.join = shmi_service_join;
    e.forget = shmi_service_forget;
    e.ctx = &o;
    const int r = shmi_endpoint_open(s, name, &e);
    return r < 0 ? r : SHMC_OK;
}

#endif /* SHMCOMM_IMPLEMENTATION */
