/* Fuzzes REQ/REP sockets: clients and servers that come, go, give up, drop
 * and come back must get what a plain model says: each request to one server,
 * its answer, part by part, to who asked, or word that there is none.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 50000000
#define SHMC_TOPIC_POLL_NS 1000u
#define SHMC_PEER_CHECK_NS 20000u
#define SHMC_RECHECK_NS 20000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REPS = 2, REQS = 2, CALLS = 400, MAX_BYTES = 300, NOBODY = -1 };

/* Of a request: it waits; a server has it; the last of the answer is there,
 * perhaps unread; its server dropped it; the same, and its client may have
 * sent it once more; it is over.                                          */
enum { QUEUED, TAKEN, ANSWERED, DROPPED, AGAIN, OVER };

typedef struct call {
    int      state, number, client; /* client NOBODY: it has left           */
    uint32_t bytes, tries, sent, read;          /* sent, read: parts        */
    uint32_t part_bytes;            /* of the one that is there             */
    bool     posted, cancelled;
} call;

typedef struct server {
    shmc_rep q;
    bool     open, held, fetched, viewed, loaned;
    uint64_t id;                    /* of the request that it has           */
    uint32_t loan_bytes;
    void    *room;
} server;

typedef struct client {
    shmc_req q;
    bool     open, joined, loaned, need_server;
    uint32_t retries, loan_bytes;
    uint64_t viewed;                /* the call whose answer is borrowed    */
} client;

typedef struct world {
    uint32_t max_bytes, max_reply, each;
    server   p[REPS];
    client   s[REQS];
    call     c[CALLS];              /* by id, which is 1 and more           */
    uint64_t last_id;
    uint8_t  buffer[MAX_BYTES + 8];
} world;

/* A request, and each part of an answer, begins with the request's id; the
 * latter goes on as the part that it is.                                  */
static void
put(void *to, uint32_t bytes, uint64_t id, uint32_t part)
{
    fuzz_write(to, bytes, id * 64 + part);
    memcpy(to, &id, sizeof id);
}

static bool
reads(const void *from, uint32_t bytes, uint64_t id, uint32_t part)
{
    uint8_t should[MAX_BYTES];

    put(should, bytes, id, part);
    return bytes <= MAX_BYTES && memcmp(from, should, bytes) == 0;
}

static bool
any_server(const world *w)
{
    bool is = false;

    for (int i = 0; i < REPS; i++) is = is || w->p[i].open;
    return is;
}

static bool
exists(const world *w)
{
    bool is = any_server(w);

    for (int i = 0; i < REQS; i++) is = is || (w->s[i].open && w->s[i].joined);
    return is;
}

/* The last user has left, and all that was in the file is gone.           */
static void
gone(world *w)
{
    if (exists(w)) return;
    for (uint64_t i = 1; i <= w->last_id; i++) w->c[i].state = OVER;
}

/* ---- servers ----------------------------------------------------------- */

/* Its server is through with a request without an answer.                 */
static void
dropped(const world *w, call *c)
{
    if (c->client == NOBODY || c->cancelled || c->posted) c->state = OVER;
    else if (c->read == 0 && c->tries < w->s[c->client].retries) c->state = AGAIN;
    else c->state = DROPPED;
}

/* A request has come.                                                     */
static void
taken(world *w, server *p, const void *from, uint32_t bytes)
{
    uint64_t id;

    FUZZ_REQUIRE(bytes >= sizeof id && bytes <= w->max_bytes);
    memcpy(&id, from, sizeof id);
    FUZZ_REQUIRE(id >= 1 && id <= w->last_id);
    call *c = &w->c[id];
    FUZZ_REQUIRE(c->state == QUEUED || c->state == AGAIN);
    FUZZ_REQUIRE(c->bytes == bytes && reads(from, bytes, id, 0));
    c->tries += c->state == AGAIN;
    c->state = TAKEN;
    c->sent = c->read = 0;
    FUZZ_EQUAL(shmc_rep_retried(&p->q), c->tries != 0);
    p->id = id;
    p->held = p->fetched = true;
}

/* One that wants no answer ends with the next receive.                    */
static void
past_posted(world *w, server *p)
{
    if (!p->held || !p->fetched || !w->c[p->id].posted) return;
    w->c[p->id].state = OVER;
    p->held = p->fetched = p->loaned = false;
}

static bool
is_any(const world *w, int state)
{
    bool is = false;

    for (uint64_t i = 1; i <= w->last_id; i++) is = is || w->c[i].state == state;
    return is;
}

static void
serve(world *w, server *p, uint32_t cap, bool borrows, int64_t timeout_ns)
{
    const void *from = w->buffer;

    if (!(p->held && p->loaned)) past_posted(w, p);
    else if (w->c[p->id].posted) return;        /* a loan of nothing        */
    const int r = borrows ? shmc_rep_borrow(&p->q, &from, timeout_ns)
                          : shmc_rep_recv(&p->q, w->buffer, cap, timeout_ns);
    if (p->held && p->fetched) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
    } else if (r == SHMC_EMSGSIZE) {
        FUZZ_REQUIRE(!borrows && cap < w->max_bytes);
        if (p->held) return;
        taken(w, p, shmi_rep_request(&p->q), p->q.bytes);
        p->fetched = false;
    } else if (r >= 0 && p->held) {             /* which had no room before */
        FUZZ_REQUIRE(reads(from, (uint32_t)r, p->id, 0));
        p->fetched = true;
        p->viewed = borrows;
    } else if (r >= 0) {
        taken(w, p, from, (uint32_t)r);
        p->viewed = borrows;    /* until release, also beyond the answer    */
    } else {
        FUZZ_EQUAL(r, timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
        FUZZ_REQUIRE(!p->held && !is_any(w, QUEUED));
    }
}

/* What a server's send, loan or commit answers; true: it went well.        */
static bool
may_answer(world *w, server *p, int r, uint32_t bytes, int64_t timeout_ns)
{
    call *c = &w->c[p->id];

    if (!p->held || !p->fetched) FUZZ_EQUAL(r, SHMC_EINVAL);
    else if (p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (bytes > w->max_reply) FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    else if (c->posted) FUZZ_EQUAL(r, SHMC_OK);
    else if (c->cancelled || c->client == NOBODY) {
        FUZZ_EQUAL(r, SHMC_EPEERDEAD);
        c->state = OVER;
        p->held = p->fetched = false;
    } else if (c->sent != c->read) {
        FUZZ_EQUAL(r, timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
    } else {
        FUZZ_EQUAL(r, SHMC_OK);
    }
    return r == SHMC_OK;
}

static void
answered(world *w, server *p, uint32_t bytes, bool more)
{
    call *c = &w->c[p->id];

    p->loaned = false;
    if (!c->posted) {
        c->sent++;
        c->part_bytes = bytes;
    }
    if (more && !c->posted) return;
    c->state = c->posted || c->cancelled || c->client == NOBODY ? OVER : ANSWERED;
    p->held = p->fetched = false;
}

static void
answer(world *w, server *p, uint32_t bytes, bool more, int64_t timeout_ns)
{
    put(w->buffer, bytes, p->id, p->held ? w->c[p->id].sent + 1 : 0);
    const int r = more ? shmc_rep_send_more(&p->q, w->buffer, bytes, timeout_ns)
                       : shmc_rep_send(&p->q, w->buffer, bytes, timeout_ns);
    if (may_answer(w, p, r, bytes, timeout_ns)) answered(w, p, bytes, more);
}

static void
lend(world *w, server *p, uint32_t bytes, int64_t timeout_ns)
{
    void *room = NULL;
    const int r = shmc_rep_loan(&p->q, bytes, &room, timeout_ns);

    FUZZ_REQUIRE((room != NULL) == (r == SHMC_OK));
    if (!may_answer(w, p, r, bytes, timeout_ns)) return;
    FUZZ_REQUIRE(fuzz_inside(p->q.segment.base, p->q.segment.bytes, room, bytes));
    p->loaned = true;
    p->loan_bytes = bytes;
    put(room, bytes, p->id, w->c[p->id].sent + 1);
}

static void
commit_answer(world *w, server *p, bool more)
{
    const bool late = p->held && p->loaned && !w->c[p->id].posted &&
                      (w->c[p->id].cancelled || w->c[p->id].client == NOBODY);
    const int r = more ? shmc_rep_commit_more(&p->q, p->loan_bytes)
                       : shmc_rep_commit(&p->q, p->loan_bytes);

    if (!p->loaned) {
        FUZZ_EQUAL(r, SHMC_EINVAL);
        return;
    }
    /* A client that has left since is told of now and then.               */
    FUZZ_REQUIRE(r == SHMC_OK || (late && r == SHMC_EPEERDEAD));
    answered(w, p, p->loan_bytes, more && r == SHMC_OK);
}

static void
drop(world *w, server *p)
{
    FUZZ_EQUAL(shmc_rep_drop(&p->q), p->held ? SHMC_OK : SHMC_EINVAL);
    if (p->held) dropped(w, &w->c[p->id]);
    p->held = p->fetched = p->loaned = false;
}

/* Is there a request?  Nobody has it for that.                            */
static void
ask_ready(world *w, server *p)
{
    const bool done = !p->held || (p->fetched && w->c[p->id].posted);

    if (p->loaned) return;
    const int r = shmc_rep_ready(&p->q);
    if (p->held && p->fetched && !done) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
    } else if (done) {
        FUZZ_REQUIRE(r == 0 || r == 1);
        FUZZ_REQUIRE(r == 0 ? !is_any(w, QUEUED)
                            : is_any(w, QUEUED) || is_any(w, AGAIN));
    }
}

static void
look(world *w, server *p, bool release)
{
    const call *c = &w->c[p->id];

    if (release) {
        const bool was = p->viewed, posted = p->held && p->fetched && c->posted;
        FUZZ_EQUAL(shmc_rep_release(&p->q), was ? SHMC_OK : SHMC_EINVAL);
        p->viewed = false;
        if (was && posted) past_posted(w, p);
        return;
    }
    const int r = shmc_rep_wanted(&p->q);
    if (!p->held) FUZZ_EQUAL(r, SHMC_EINVAL);
    else FUZZ_EQUAL(r, !c->posted && !c->cancelled && c->client != NOBODY);
}

/* ---- clients ----------------------------------------------------------- */

static void
join(client *s)
{
    s->joined = s->open && s->q.calls.shm != NULL;
}

/* How many calls a client waits for; busy: and those that it gave up, or
 * posted, and that are not over.                                          */
static uint32_t
count(const world *w, int whose, bool busy)
{
    uint32_t n = 0;

    for (uint64_t i = 1; i <= w->last_id; i++) {
        const call *c = &w->c[i];
        if (c->client != whose || c->state == OVER) continue;
        n += busy || !(c->posted || c->cancelled);
    }
    return n;
}

/* Calls of those who sat in a seat before may be in the way, too.          */
static uint32_t
left_behind(const world *w)
{
    uint32_t n = 0;

    for (uint64_t i = 1; i <= w->last_id; i++)
        n += w->c[i].client == NOBODY && w->c[i].state != OVER;
    return n;
}

/* What a client's send or loan answers; true: it is out.                  */
static bool
may_ask(world *w, client *s, int r, uint32_t bytes, int64_t timeout_ns)
{
    const int me = (int)(s - w->s), later = timeout_ns == 0 ? SHMC_EAGAIN
                                                            : SHMC_ETIMEDOUT;
    join(s);
    if (s->loaned) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
    } else if (r == SHMC_ENOENT) {
        FUZZ_REQUIRE(s->need_server && !any_server(w));
    } else if (!s->joined || (r == later && !any_server(w))) {
        FUZZ_EQUAL(r, later);
        FUZZ_REQUIRE(!any_server(w));
    } else if (bytes > w->max_bytes) {
        FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    } else if (count(w, me, false) == w->each) {
        FUZZ_EQUAL(r, SHMC_ELIMIT);
    } else if (r < 0) {             /* those that nobody waits for          */
        FUZZ_EQUAL(r, later);
        FUZZ_REQUIRE(count(w, me, true) + left_behind(w) >= w->each);
    }
    return r >= 0;
}

static void
issued(world *w, client *s, int r, uint32_t bytes, bool post)
{
    const call c = { .state = QUEUED, .number = r, .client = (int)(s - w->s),
                     .bytes = bytes, .posted = post };

    FUZZ_REQUIRE(post ? r == SHMC_OK : r > 0);
    w->c[++w->last_id] = c;
}

static void
ask(world *w, client *s, uint32_t bytes, bool post, int64_t timeout_ns)
{
    put(w->buffer, bytes, w->last_id + 1, 0);
    const int r = post ? shmc_req_post(&s->q, w->buffer, bytes, timeout_ns)
                       : shmc_req_send(&s->q, w->buffer, bytes, timeout_ns);
    if (may_ask(w, s, r, bytes, timeout_ns)) issued(w, s, r, bytes, post);
}

static void
loan(world *w, client *s, uint32_t bytes, int64_t timeout_ns)
{
    void *room = NULL;
    const int r = shmc_req_loan(&s->q, bytes, &room, timeout_ns);

    FUZZ_REQUIRE((room != NULL) == (r == SHMC_OK));
    if (!may_ask(w, s, r, bytes, timeout_ns)) return;
    FUZZ_REQUIRE(fuzz_inside(s->q.segment.base, s->q.segment.bytes, room, bytes));
    s->loaned = true;
    s->loan_bytes = bytes;
    fuzz_write(room, bytes, 0);
}

static void
commit(world *w, client *s, bool post)
{
    if (s->loaned) {
        uint8_t *room = shmi_req_room(&s->q, (uint32_t)s->q.loan,
                                      s->loan_bytes > SHMI_CALL_REQUEST_INLINE);
        put(room, s->loan_bytes, w->last_id + 1, 0);
    }
    const int r = post ? shmc_req_commit_post(&s->q, s->loan_bytes, 0)
                       : shmc_req_commit(&s->q, s->loan_bytes, 0);
    if (!s->loaned) {
        FUZZ_EQUAL(r, SHMC_EINVAL);
        return;
    }
    s->loaned = false;
    issued(w, s, r, s->loan_bytes, post);
}

static call *
call_of(world *w, const client *s, int number)
{
    for (uint64_t i = w->last_id; i >= 1; i--) {
        call *c = &w->c[i];
        if (c->client == (int)(s - w->s) && c->number == number && !c->posted &&
            !c->cancelled && c->state != OVER) return c;
    }
    return NULL;
}

/* Is there something to receive for this call?                            */
static bool
is_ready(const call *c)
{
    return c->state == DROPPED || (c->sent != c->read &&
           (c->state == TAKEN || c->state == ANSWERED));
}

static void
part_read(call *c)
{
    c->read++;
    if (c->state == ANSWERED && c->read == c->sent) c->state = OVER;
}

/* Nothing came, of this call or (NULL) of any.                            */
static void
nothing(world *w, const client *s, const call *only)
{
    for (uint64_t i = 1; i <= w->last_id; i++) {
        const call *c = &w->c[i];
        if (c->client != (int)(s - w->s) || c->posted || c->cancelled) continue;
        if (only == NULL || only == c) FUZZ_REQUIRE(!is_ready(c));
    }
}

static void
hear(world *w, client *s, call *only, bool borrows, uint32_t cap,
     int64_t timeout_ns)
{
    const int number = only != NULL ? only->number : SHMC_ANY_CALL;
    const uint32_t open = count(w, (int)(s - w->s), false);
    const void *from = w->buffer;
    const int r = borrows ? shmc_req_borrow(&s->q, number, &from, timeout_ns)
                          : shmc_req_recv(&s->q, number, w->buffer, cap, timeout_ns);

    if (s->viewed != 0) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
        return;
    }
    if (open == 0) {
        FUZZ_EQUAL(r, SHMC_EINVAL);
        return;
    }
    if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) {
        FUZZ_EQUAL(r, timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
        nothing(w, s, only);
        return;
    }
    call *c = call_of(w, s, shmc_req_from(&s->q));
    FUZZ_REQUIRE(c != NULL && (only == NULL || c == only));
    if (r == SHMC_EPEERDEAD) {      /* or there is no server any more       */
        FUZZ_REQUIRE(c->state == DROPPED ||
                     (s->need_server && !any_server(w) &&
                      (c->state == QUEUED || c->state == AGAIN)));
        c->state = OVER;
        return;
    }
    FUZZ_REQUIRE(is_ready(c) && c->state != DROPPED);
    FUZZ_EQUAL(shmc_req_more(&s->q), c->state == TAKEN);
    if (r == SHMC_EMSGSIZE) {
        FUZZ_REQUIRE(!borrows && cap < c->part_bytes);
        return;
    }
    FUZZ_EQUAL(r, c->part_bytes);
    FUZZ_REQUIRE(reads(from, (uint32_t)r, (uint64_t)(c - w->c), c->read + 1));
    if (borrows) s->viewed = (uint64_t)(c - w->c);
    else part_read(c);
}

static void
release(world *w, client *s)
{
    FUZZ_EQUAL(shmc_req_release(&s->q), s->viewed != 0 ? SHMC_OK : SHMC_EINVAL);
    if (s->viewed == 0) return;
    call *c = &w->c[s->viewed];
    s->viewed = 0;
    if (c->state == TAKEN || c->state == ANSWERED) part_read(c);
    else if (c->state == AGAIN) c->state = DROPPED;     /* a part was read  */
}

static void
cancel(world *w, client *s, call *c)
{
    FUZZ_EQUAL(shmc_req_cancel(&s->q, SHMC_ANY_CALL), SHMC_EINVAL);
    if (c == NULL) return;
    const int r = shmc_req_cancel(&s->q, c->number);
    FUZZ_REQUIRE(r == 0 || r == 1);
    if (c->state == QUEUED) FUZZ_EQUAL(r, 1);
    if (c->state == TAKEN || c->state == ANSWERED) FUZZ_EQUAL(r, 0);
    if (s->viewed == (uint64_t)(c - w->c)) s->viewed = 0;
    c->cancelled = true;
    if (c->state != TAKEN) c->state = OVER;
}

/* ---- coming and going -------------------------------------------------- */

static void
open_rep(world *w, server *p, uint8_t shape)
{
    const shmc_rep_desc d = {
        .max_bytes = shape & 1 ? 100 : MAX_BYTES,
        .max_reply_bytes = shape & 2 ? 100 : MAX_BYTES, .max_clients = REQS,
        .max_outstanding = shape & 4 ? 1 : 3, .max_servers = REPS,
        .dir = fuzz_folder() };
    const bool there = exists(w);
    const bool same = w->max_bytes == d.max_bytes &&
                      w->max_reply == d.max_reply_bytes &&
                      w->each == d.max_outstanding;

    memset(p, 0, sizeof *p);
    const int r = shmc_rep_open(&p->q, "ser/vice", &d);
    FUZZ_EQUAL(r, !there || same ? SHMC_OK : SHMC_EMISMATCH);
    p->open = r == SHMC_OK;
    if (there) return;
    w->max_bytes = d.max_bytes;
    w->max_reply = d.max_reply_bytes;
    w->each = d.max_outstanding;
}

static void
close_rep(world *w, server *p)
{
    const void *view;

    FUZZ_EQUAL(shmc_rep_close(&p->q), SHMC_OK);
    if (p->held) dropped(w, &w->c[p->id]);
    memset((char *)p + sizeof p->q, 0, sizeof *p - sizeof p->q);
    gone(w);
    FUZZ_EQUAL(shmc_rep_close(&p->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_rep_recv(&p->q, w->buffer, MAX_BYTES, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_rep_borrow(&p->q, &view, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_rep_send(&p->q, w->buffer, 8, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_rep_drop(&p->q), SHMC_ECLOSED);
}

static void
open_req(world *w, client *s, uint8_t how)
{
    const shmc_req_desc d = { .retries = how >> 1 & 1, .need_server = how & 1,
                              .dir = fuzz_folder() };
    const bool there = exists(w);

    memset(s, 0, sizeof *s);
    FUZZ_EQUAL(shmc_req_open(&s->q, "ser/vice", &d), SHMC_OK);
    s->open = true;
    s->retries = d.retries;
    s->need_server = d.need_server;
    join(s);
    FUZZ_EQUAL(s->joined, there);
}

static void
close_req(world *w, client *s)
{
    const int me = (int)(s - w->s);
    const void *view;

    FUZZ_EQUAL(shmc_req_close(&s->q), SHMC_OK);
    for (uint64_t i = 1; i <= w->last_id; i++) {
        call *c = &w->c[i];
        if (c->client != me) continue;
        c->client = NOBODY;
        if (!c->posted && c->state != TAKEN) c->state = OVER;
    }
    memset((char *)s + sizeof s->q, 0, sizeof *s - sizeof s->q);
    gone(w);
    FUZZ_EQUAL(shmc_req_close(&s->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_req_send(&s->q, w->buffer, 8, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_req_recv(&s->q, 0, w->buffer, MAX_BYTES, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_req_borrow(&s->q, 0, &view, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_req_release(&s->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_req_served(&s->q), SHMC_ECLOSED);
}

/* Descs, names and handles that must be refused.                          */
static void
misuse(world *w, server *p, client *s)
{
    const shmc_rep_desc many = { .max_clients = 1025, .dir = fuzz_folder() };
    const shmc_rep_desc f = { .flags = SHMC_READ_ONLY };
    const shmc_req_desc g = { .flags = SHMC_EPHEMERAL };
    shmc_rep a;
    shmc_req b;

    FUZZ_EQUAL(shmc_rep_open(&a, "x", &many), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_rep_open(&a, "x", &f), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_rep_open(&a, "/x", NULL), SHMC_ENAME);
    FUZZ_EQUAL(shmc_req_open(&b, "x", &g), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_req_open(&b, "x//y", NULL), SHMC_ENAME);
    shmi_fork_epoch++;              /* as the handles look to a child       */
    if (p->open) {
        FUZZ_EQUAL(shmc_rep_recv(&p->q, w->buffer, 8, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_rep_send(&p->q, w->buffer, 8, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_rep_drop(&p->q), SHMC_EFORKED);
    }
    if (s->open) {
        FUZZ_EQUAL(shmc_req_send(&s->q, w->buffer, 8, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_req_recv(&s->q, 0, w->buffer, 8, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_req_release(&s->q), SHMC_EFORKED);
    }
    shmi_fork_epoch--;
}

/* ---- steps ------------------------------------------------------------- */

static void
step_rep(world *w, server *p, uint8_t op, fuzz_input *in)
{
    const uint8_t arg = fuzz_u8(in);
    const uint32_t bytes = 8 + (arg & 2 ? fuzz_u16(in) % (MAX_BYTES - 8) : 4);
    const int64_t timeout_ns = op >> 7;

    if (!p->open) {
        open_rep(w, p, arg);
        return;
    }
    switch (op >> 2 & 15) {
    case 0: case 1: case 2: serve(w, p, MAX_BYTES, false, timeout_ns); break;
    case 3: serve(w, p, arg, false, timeout_ns); break;
    case 4: case 5: serve(w, p, 0, true, timeout_ns); break;
    case 6: case 7: case 8: answer(w, p, bytes, false, timeout_ns); break;
    case 9: answer(w, p, bytes, true, timeout_ns); break;
    case 10: lend(w, p, bytes, timeout_ns); break;
    case 11: commit_answer(w, p, arg & 1); break;
    case 12:
        FUZZ_EQUAL(shmc_rep_abort(&p->q), p->loaned ? SHMC_OK : SHMC_EINVAL);
        p->loaned = false;
        break;
    case 13: drop(w, p); break;
    case 14:
        if (arg & 2) ask_ready(w, p);
        else look(w, p, arg & 1);
        break;
    default: close_rep(w, p); break;
    }
}

/* One of a client's calls, or NULL.                                       */
static call *
choose(world *w, const client *s, uint8_t n)
{
    const uint32_t all = count(w, (int)(s - w->s), false);
    uint32_t left = all != 0 ? n % all : 0;

    for (uint64_t i = 1; all != 0 && i <= w->last_id; i++) {
        call *c = &w->c[i];
        if (c->client == (int)(s - w->s) && c->state != OVER && !c->posted &&
            !c->cancelled && left-- == 0) return c;
    }
    return NULL;
}

static void
step_req(world *w, client *s, uint8_t op, fuzz_input *in)
{
    const uint8_t arg = fuzz_u8(in);
    const uint32_t bytes = 8 + (arg & 2 ? fuzz_u16(in) % (MAX_BYTES - 8) : 4);
    const int64_t timeout_ns = op >> 7;

    if (!s->open) {
        open_req(w, s, arg);
        return;
    }
    s->q.wait.look_ns = 0;          /* as when a while has gone by          */
    switch (op >> 2 & 15) {
    case 0: case 1: case 2: ask(w, s, bytes, false, timeout_ns); break;
    case 3: ask(w, s, bytes, true, timeout_ns); break;
    case 4: loan(w, s, bytes, timeout_ns); break;
    case 5: commit(w, s, arg & 1); break;
    case 6:
        FUZZ_EQUAL(shmc_req_abort(&s->q), s->loaned ? SHMC_OK : SHMC_EINVAL);
        s->loaned = false;
        break;
    case 7: case 8: hear(w, s, NULL, false, MAX_BYTES, timeout_ns); break;
    case 9: hear(w, s, choose(w, s, arg), false, MAX_BYTES, timeout_ns); break;
    case 10: hear(w, s, choose(w, s, arg), false, arg, 0); break;
    case 11: hear(w, s, NULL, true, 0, timeout_ns); break;
    case 12: release(w, s); break;
    case 13: cancel(w, s, choose(w, s, arg)); break;
    case 14:
        FUZZ_EQUAL(shmc_req_served(&s->q), any_server(w));
        join(s);
        break;
    default: close_req(w, s); break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input in = { data, size };
    const shmc_segment_desc force = { .flags = SHMC_FORCE, .dir = fuzz_folder() };

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    open_rep(&w, &w.p[0], fuzz_u8(&in));
    while (fuzz_more(&in) && w.last_id + 2 < CALLS) {
        const uint8_t op = fuzz_u8(&in);
        if (op == 255) misuse(&w, &w.p[0], &w.s[0]);
        else if (op & 1) step_rep(&w, &w.p[op >> 1 & 1], op, &in);
        else step_req(&w, &w.s[op >> 1 & 1], op, &in);
    }
    for (int i = 0; i < REPS; i++) if (w.p[i].open) close_rep(&w, &w.p[i]);
    for (int i = 0; i < REQS; i++) if (w.s[i].open) close_req(&w, &w.s[i]);
    FUZZ_EQUAL(shmc_segment_unlink("ser/vice", &force), SHMC_ENOENT);
    return 0;
}
