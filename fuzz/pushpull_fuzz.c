/* Fuzzes PUSH/PULL sockets: pushers and workers that come, go and come back
 * must find, take, keep and lose what a plain model says, and each message
 * that was pushed comes to one worker; again, if that one left with it.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 50000000
#define SHMC_TOPIC_POLL_NS 1000u
#define SHMC_PEER_CHECK_NS 20000u
#define SHMC_RECHECK_NS 20000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PUSHES = 2, PULLS = 3, MESSAGES = 512, MAX_BYTES = 300 };

/* What became of a position: its message waits; is written; is in a worker's
 * hand; was in the hand of one that left; is done with; was never there.   */
enum { QUEUED, LOANED, HELD, LEFT, DONE, TOMB };

typedef struct message {
    uint64_t id;
    uint32_t bytes, again;
    int      state;
} message;

typedef struct pusher {
    shmc_push q;
    bool     open, loaned;
    uint32_t loan_bytes;
    uint64_t at, refused;           /* at: the loan's position              */
} pusher;

typedef struct worker {
    shmc_pull q;
    bool     open, joined, borrowed, kept, until_end;
    uint64_t at;                    /* of what it has in hand               */
    const void *view;
} worker;

typedef struct world {
    uint32_t depth, max_bytes, poison;
    bool     drop, loose;           /* loose: somebody left with a message  */
    pusher   p[PUSHES];
    worker   s[PULLS];
    message  m[MESSAGES];           /* by position                          */
    uint64_t head, tail, next_id;
    uint8_t  buffer[MAX_BYTES + 8];
} world;

static bool
exists(const world *w)
{
    bool is = false;

    for (int i = 0; i < PUSHES; i++) is = is || w->p[i].open;
    for (int i = 0; i < PULLS; i++) is = is || w->s[i].joined;
    for (uint64_t i = 0; i < w->tail; i++)
        is = is || w->m[i].state == QUEUED || w->m[i].state == LEFT;
    return is;
}

/* ---- pushing ----------------------------------------------------------- */

static bool
has_room(const world *w)
{
    if (w->tail < w->depth) return true;
    const uint64_t old = w->tail - w->depth;
    return w->m[old].state == DONE ||
           (w->m[old].state == TOMB && w->head > old);
}

/* What a push answers; true: it is in the queue, or lent.                 */
static bool
pushed(world *w, pusher *p, int r, uint32_t bytes, int64_t timeout_ns)
{
    const int full = timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT;

    if (!p->open || p->loaned || bytes > w->max_bytes) {
        FUZZ_EQUAL(r, !p->open ? SHMC_ECLOSED : p->loaned ? SHMC_EBUSY
                                                          : SHMC_EMSGSIZE);
        return false;
    }
    p->refused += r == full;
    FUZZ_EQUAL(p->q.refused, p->refused);
    if (!w->loose) FUZZ_EQUAL(r, has_room(w) ? SHMC_OK : full);
    else FUZZ_REQUIRE(r == SHMC_OK || r == full);
    return r == SHMC_OK;
}

static uint64_t
add(world *w, int state, uint32_t bytes)
{
    const message m = { ++w->next_id, bytes, 0, state };

    w->m[w->tail] = m;
    return w->tail++;
}

static void
send_one(world *w, pusher *p, uint32_t bytes, int64_t timeout_ns)
{
    fuzz_put(w->buffer, bytes, w->next_id + 1);
    const int r = shmc_push_send(&p->q, w->buffer, bytes, timeout_ns);
    if (pushed(w, p, r, bytes, timeout_ns)) add(w, QUEUED, bytes);
}

static void
loan(world *w, pusher *p, uint32_t bytes, int64_t timeout_ns)
{
    void *room = NULL;
    const int r = shmc_push_loan(&p->q, bytes, &room, timeout_ns);

    FUZZ_REQUIRE((room != NULL) == (r == SHMC_OK));
    if (!pushed(w, p, r, bytes, timeout_ns)) return;
    FUZZ_REQUIRE(fuzz_inside(p->q.segment.base, p->q.segment.bytes, room, bytes));
    p->loaned = true;
    p->loan_bytes = bytes;
    p->at = add(w, LOANED, bytes);
    fuzz_put(room, bytes, w->next_id);
}

static void
commit(world *w, pusher *p, uint32_t more)
{
    const int r = shmc_push_commit(&p->q, p->loan_bytes + more);

    if (p->loaned && more != 0) {
        FUZZ_EQUAL(r, SHMC_EMSGSIZE);
        return;
    }
    FUZZ_EQUAL(r, p->loaned ? SHMC_OK : SHMC_EINVAL);
    if (p->loaned) w->m[p->at].state = QUEUED;
    p->loaned = false;
}

static void
give_up(world *w, pusher *p)
{
    FUZZ_EQUAL(shmc_push_abort(&p->q), p->loaned ? SHMC_OK : SHMC_EINVAL);
    if (p->loaned) w->m[p->at].state = TOMB;
    p->loaned = false;
}

/* Is all of it done with?                                                 */
static bool
drained(const world *w)
{
    for (uint64_t i = 0; i < w->tail; i++)
        if (w->m[i].state != DONE && !(w->m[i].state == TOMB && w->head > i))
            return false;
    return true;
}

static void
drain(const world *w, pusher *p)
{
    const int r = shmc_push_drain(&p->q, 0);

    if (p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (!w->loose) FUZZ_EQUAL(r, drained(w) ? SHMC_OK : SHMC_EAGAIN);
    else FUZZ_REQUIRE(r == SHMC_OK || r == SHMC_EAGAIN);
}

static void
look(const world *w, pusher *p)
{
    shmc_mpmc_stats s;

    FUZZ_EQUAL(shmc_push_stats_get(&p->q, &s), SHMC_OK);
    FUZZ_REQUIRE(s.slot_count == w->depth && s.handles <= s.max_handles);
    if (!w->loose) FUZZ_EQUAL(s.used, w->tail - w->head);
}

/* ---- pulling ----------------------------------------------------------- */

static void
join(worker *s)
{
    s->joined = s->open && s->q.work.ring.shm != NULL;
}

/* The model passes tombs, as the call does that has just been made.        */
static bool
next_is_there(world *w)
{
    while (w->head < w->tail && w->m[w->head].state == TOMB) w->head++;
    return w->head < w->tail && w->m[w->head].state == QUEUED;
}

/* A message has come into a worker's hand.                                */
static void
came(world *w, worker *s, const void *from, uint32_t bytes)
{
    uint64_t id, at;

    FUZZ_REQUIRE(w->loose || next_is_there(w));
    FUZZ_REQUIRE(bytes >= sizeof id && bytes <= MAX_BYTES);
    memcpy(&id, from, sizeof id);
    for (at = 0; at < w->tail && w->m[at].id != id; ) at++;
    FUZZ_REQUIRE(at < w->tail && w->m[at].bytes == bytes && fuzz_says(from, bytes, id));
    FUZZ_REQUIRE(w->m[at].state == QUEUED || w->m[at].state == LEFT);
    FUZZ_REQUIRE(w->loose || at == w->head);
    if (w->m[at].state == LEFT) w->m[at].again++;
    else w->head = at + 1;
    FUZZ_EQUAL(shmc_pull_redeliveries(&s->q), w->m[at].again);
    w->m[at].state = HELD;
    s->at = at;
}

/* Nothing came.                                                           */
static void
nothing(world *w, worker *s, int r, int64_t timeout_ns)
{
    bool ended = s->joined && s->until_end;

    for (int i = 0; i < PUSHES; i++) ended = ended && !w->p[i].open;
    if (w->loose) {
        FUZZ_REQUIRE(r == (timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT) ||
                     (ended && r == SHMC_EEND));
        return;
    }
    FUZZ_REQUIRE(!s->joined || !next_is_there(w));
    ended = ended && drained(w);
    if (r == SHMC_EEND) FUZZ_REQUIRE(ended);
    else FUZZ_EQUAL(r, timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
    FUZZ_REQUIRE(!ended || timeout_ns != 0 || r == SHMC_EEND);
}

static void
receive(world *w, worker *s, uint32_t cap, bool borrows, int64_t timeout_ns)
{
    const void *from = w->buffer;
    const int r = borrows ? shmc_pull_borrow(&s->q, &from, timeout_ns)
                          : shmc_pull_recv(&s->q, w->buffer, cap, timeout_ns);

    join(s);
    if (s->borrowed && !s->kept) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
    } else if (r == SHMC_EMSGSIZE) {
        FUZZ_REQUIRE(!borrows);
        if (s->kept) {
            FUZZ_REQUIRE(cap < w->m[s->at].bytes);
            return;
        }
        /* Which one it keeps it says by its cell.                         */
        const uint64_t *cell = shmi_mpmc_at(&s->q.work.ring,
                                            s->q.work.ring.borrow_pos);
        const uint8_t *at = shmi_work_message(&s->q.work,
                                              s->q.work.ring.borrow_pos, cell[1]);
        FUZZ_REQUIRE(at != NULL);
        came(w, s, at, (uint32_t)cell[1]);
        FUZZ_REQUIRE(cap < w->m[s->at].bytes);
        s->borrowed = s->kept = true;
    } else if (r >= 0) {
        if (s->kept) {
            FUZZ_REQUIRE(fuzz_says(from, (uint32_t)r, w->m[s->at].id));
        } else {
            came(w, s, from, (uint32_t)r);
        }
        s->kept = false;
        s->borrowed = borrows;
        s->view = from;
        if (!borrows) w->m[s->at].state = DONE;
    } else {
        FUZZ_REQUIRE(!s->kept);
        nothing(w, s, r, timeout_ns);
    }
}

static void
release(world *w, worker *s)
{
    const bool may = s->borrowed && !s->kept;

    if (may) {
        FUZZ_REQUIRE(w->m[s->at].state == HELD);
        FUZZ_REQUIRE(fuzz_says(s->view, w->m[s->at].bytes, w->m[s->at].id));
    }
    FUZZ_EQUAL(shmc_pull_release(&s->q), may ? SHMC_OK : SHMC_EINVAL);
    if (may) w->m[s->at].state = DONE;
    if (may) s->borrowed = false;
}

/* ---- coming and going -------------------------------------------------- */

static void
open_push(world *w, pusher *p, uint8_t shape)
{
    const shmc_push_desc d = {
        .depth = shape & 1 ? 4 : 8, .max_bytes = shape & 2 ? 64 : MAX_BYTES,
        .max_handles = PUSHES + PULLS + 1,
        .on_worker_death = shape & 4 ? SHMC_DROP : SHMC_REDELIVER,
        .max_redeliveries = shape >> 3 & 1, .dir = fuzz_folder() };
    const bool there = exists(w);
    const bool same = w->depth == d.depth && w->max_bytes == d.max_bytes &&
                      w->drop == (d.on_worker_death == SHMC_DROP) &&
                      (w->poison == d.max_redeliveries || d.max_redeliveries == 0);

    memset(p, 0, sizeof *p);
    const int r = shmc_push_open(&p->q, "wo/rk", &d);
    p->open = r == SHMC_OK;
    if (there && (d.on_worker_death == SHMC_REDELIVER) && w->drop)
        FUZZ_REQUIRE(r == SHMC_EMISMATCH || r == SHMC_OK);  /* 0: any       */
    else
        FUZZ_EQUAL(r, !there || same ? SHMC_OK : SHMC_EMISMATCH);
    if (there) return;
    w->depth = d.depth;
    w->max_bytes = d.max_bytes;
    w->drop = d.on_worker_death == SHMC_DROP;
    w->poison = d.max_redeliveries;
    w->head = w->tail = 0;
    w->loose = false;
}

static void
close_push(world *w, pusher *p)
{
    void *room;

    FUZZ_EQUAL(shmc_push_close(&p->q), SHMC_OK);
    if (p->loaned) w->m[p->at].state = TOMB;
    p->open = p->loaned = false;
    FUZZ_EQUAL(shmc_push_close(&p->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_push_send(&p->q, w->buffer, 8, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_push_loan(&p->q, 8, &room, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_push_commit(&p->q, 8), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_push_abort(&p->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_push_drain(&p->q, -1), SHMC_ECLOSED);
}

static void
open_pull(world *w, worker *s, bool until_end)
{
    const shmc_pull_desc d = { .until_end = until_end, .dir = fuzz_folder() };
    const bool there = exists(w);

    memset(s, 0, sizeof *s);
    FUZZ_EQUAL(shmc_pull_open(&s->q, "wo/rk", &d), SHMC_OK);
    s->open = true;
    s->until_end = until_end;
    join(s);
    FUZZ_EQUAL(s->joined, there);
}

static void
close_pull(world *w, worker *s)
{
    const void *view;

    if (s->borrowed) {
        message *m = &w->m[s->at];
        const bool gone = w->drop || (w->poison != 0 && m->again >= w->poison);
        m->state = gone ? DONE : LEFT;
        w->loose = true;
    }
    FUZZ_EQUAL(shmc_pull_close(&s->q), SHMC_OK);
    s->open = s->joined = s->borrowed = s->kept = false;
    FUZZ_EQUAL(shmc_pull_close(&s->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pull_recv(&s->q, w->buffer, MAX_BYTES, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pull_borrow(&s->q, &view, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pull_release(&s->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pull_ready(&s->q), SHMC_ECLOSED);
}

/* Descs, names and handles that must be refused.                          */
static void
misuse(world *w, pusher *p, worker *s)
{
    const shmc_push_desc odd = { .depth = 3, .dir = fuzz_folder() };
    const shmc_push_desc f = { .flags = SHMC_READ_ONLY };
    const shmc_pull_desc g = { .flags = SHMC_EPHEMERAL };
    shmc_push a;
    shmc_pull b;

    FUZZ_EQUAL(shmc_push_open(&a, "x", &odd), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_push_open(&a, "x", &f), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_push_open(&a, "/x", NULL), SHMC_ENAME);
    FUZZ_EQUAL(shmc_pull_open(&b, "x", &g), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_pull_open(&b, "x//y", NULL), SHMC_ENAME);
    shmi_fork_epoch++;              /* as the handles look to a child       */
    if (p->open) {
        FUZZ_EQUAL(shmc_push_send(&p->q, w->buffer, 8, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_push_drain(&p->q, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_push_abort(&p->q), SHMC_EFORKED);
    }
    if (s->open) {
        FUZZ_EQUAL(shmc_pull_recv(&s->q, w->buffer, 8, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_pull_release(&s->q), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_pull_ended(&s->q), SHMC_EFORKED);
    }
    shmi_fork_epoch--;
}

/* ---- steps ------------------------------------------------------------- */

static void
step_push(world *w, pusher *p, uint8_t op, fuzz_input *in)
{
    const uint32_t bytes = 8 + (op & 64 ? fuzz_u16(in) % (MAX_BYTES - 8) : 4);
    const int64_t timeout_ns = op >> 7;

    if (!p->open) {
        open_push(w, p, fuzz_u8(in));
        return;
    }
    switch (op >> 3 & 7) {
    case 0: case 1: send_one(w, p, bytes, timeout_ns); break;
    case 2: loan(w, p, bytes, timeout_ns); break;
    case 3: commit(w, p, op >> 7); break;
    case 4: give_up(w, p); break;
    case 5: drain(w, p); break;
    case 6: look(w, p); break;
    default: close_push(w, p); break;
    }
}

static void
step_pull(world *w, worker *s, uint8_t op, fuzz_input *in)
{
    if (!s->open) {
        open_pull(w, s, op >> 7);
        return;
    }
    s->q.wait.look_ns = 0;          /* as when a while has gone by          */
    switch (op >> 3 & 7) {
    case 0: case 1: receive(w, s, MAX_BYTES, false, op >> 7); break;
    case 2: receive(w, s, fuzz_u8(in), false, op >> 7); break;
    case 3: case 4: receive(w, s, 0, true, op >> 7); break;
    case 5: release(w, s); break;
    case 6:
        FUZZ_EQUAL(shmc_pull_ready(&s->q), s->joined || exists(w));
        join(s);
        break;
    default: close_pull(w, s); break;
    }
}

/* All that is left comes to one last worker, and then the end.             */
static void
finish(world *w)
{
    worker *s = &w->s[0];
    int r;

    for (int i = 0; i < PULLS; i++) if (w->s[i].open) close_pull(w, &w->s[i]);
    for (int i = 0; i < PUSHES; i++) if (w->p[i].open) close_push(w, &w->p[i]);
    if (!exists(w)) return;
    open_pull(w, s, true);
    while ((r = shmc_pull_recv(&s->q, w->buffer, MAX_BYTES, 2000000000)) >= 0) {
        came(w, s, w->buffer, (uint32_t)r);
        w->m[s->at].state = DONE;
    }
    FUZZ_EQUAL(r, SHMC_EEND);
    FUZZ_EQUAL(shmc_pull_ended(&s->q), 1);
    for (uint64_t i = 0; i < w->tail; i++)
        FUZZ_REQUIRE(w->m[i].state == DONE || w->m[i].state == TOMB);
    close_pull(w, s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input in = { data, size };
    const shmc_segment_desc gone = { .flags = SHMC_FORCE, .dir = fuzz_folder() };

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    open_push(&w, &w.p[0], fuzz_u8(&in));
    while (fuzz_more(&in) && w.tail + 4 < MESSAGES) {
        const uint8_t op = fuzz_u8(&in);
        const uint32_t which = op & 7;
        if (op == 255) misuse(&w, &w.p[0], &w.s[0]);
        else if (which < 4) step_push(&w, &w.p[which % PUSHES], op, &in);
        else step_pull(&w, &w.s[(which - 4) % PULLS], op, &in);
    }
    finish(&w);
    FUZZ_EQUAL(shmc_segment_unlink("wo/rk", &gone), SHMC_ENOENT);
    return 0;
}
