/* Fuzzes topics: publishers and subscribers that come, go and come back, with
 * one another's shape or another, must send, receive, miss and count what a
 * plain model says.  In a loose run nobody sees to it that a subscriber finds
 * its topic in time, and in a hostile one the input scribbles on the topic's
 * file: then every call still comes back, and no message is torn or twice.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 50000000   /* scribbled locks: be brief      */
#define SHMC_TOPIC_POLL_NS 1000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PUBS = 2, SUBS = 3, MESSAGES = 2048, MAX_BYTES = 300, DEPTH = 4,
       ARENA = 1024 };

typedef struct pub {
    shmc_pub q;
    bool     open, loaned;
    uint32_t loan_bytes;
    uint64_t loan_id, refused;
    void    *room;
} pub;

typedef struct sub {
    shmc_sub q;
    bool     open, joined, borrowed, watches, reports;
    int32_t  history;
    uint64_t next, from, lost;      /* from: where its losses begin to count */
    const void *view;
} sub;

typedef struct world {
    bool     loose, hostile;
    uint32_t depth, max_bytes, mode;            /* of the topic that is     */
    pub      p[PUBS];
    sub      s[SUBS];
    struct { uint64_t id; uint32_t bytes; } m[MESSAGES];    /* by position  */
    uint64_t tail, next_id;
    uint8_t  buffer[MAX_BYTES + 8];
} world;

/* Is the answer for the model to judge?                                   */
static bool
strict(const world *w) { return !w->loose && !w->hostile; }

static uint32_t
users(const world *w)
{
    uint32_t n = 0;
    for (int i = 0; i < PUBS; i++) n += w->p[i].open;
    for (int i = 0; i < SUBS; i++) n += w->s[i].open && w->s[i].joined;
    return n;
}

/* ---- publishing -------------------------------------------------------- */

/* Does a seated subscriber hold the next message up?                      */
static bool
is_behind(const world *w, uint32_t bytes)
{
    const uint64_t by = bytes > SHMC_BCAST_INLINE_BYTES ? 1 : w->depth;

    for (int i = 0; i < SUBS; i++) {
        const sub *s = &w->s[i];
        if (s->open && s->joined && !s->watches && w->tail - s->next >= by)
            return true;
    }
    return false;
}

static void
sent(world *w, uint32_t bytes, uint64_t id)
{
    w->m[w->tail].id = id;
    w->m[w->tail++].bytes = bytes;
}

/* What a send answers; true: the message is out.                          */
static bool
check_send(world *w, pub *p, int r, uint32_t bytes, int64_t timeout_ns)
{
    FUZZ_REQUIRE(r <= 0);
    const bool full = r == (timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
    p->refused += full && p->open;
    if (strict(w) && full)
        FUZZ_REQUIRE(w->mode == SHMC_RELIABLE && is_behind(w, bytes));
    else if (strict(w))
        FUZZ_EQUAL(r, SHMC_OK);
    if (strict(w)) FUZZ_EQUAL(p->q.refused, p->refused);
    return r == SHMC_OK;
}

static void
send_one(world *w, pub *p, uint32_t bytes, int64_t timeout_ns)
{
    const uint64_t id = ++w->next_id;

    fuzz_put(w->buffer, bytes, id);
    const int r = shmc_pub_send(&p->q, w->buffer, bytes, timeout_ns);
    if (strict(w) && p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (strict(w) && bytes > w->max_bytes) FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    else if (check_send(w, p, r, bytes, timeout_ns)) sent(w, bytes, id);
}

static void
loan(world *w, pub *p, uint32_t bytes, int64_t timeout_ns)
{
    void *room = NULL;
    const int r = shmc_pub_loan(&p->q, bytes, &room, timeout_ns);

    if (strict(w) && bytes > w->max_bytes) FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    else if (strict(w) && p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (check_send(w, p, r, bytes, timeout_ns)) {
        FUZZ_REQUIRE(fuzz_inside(p->q.segment.base, p->q.segment.bytes, room,
                                 bytes) || room == p->q.ring.stage);
        p->loaned = true;
        p->loan_bytes = bytes;
        p->loan_id = ++w->next_id;
        p->room = room;
        fuzz_put(room, bytes, p->loan_id);
    }
}

static void
commit(world *w, pub *p, int64_t timeout_ns)
{
    const uint32_t bytes = p->loan_bytes;
    const int r = shmc_pub_commit(&p->q, bytes, timeout_ns);

    if (!p->loaned) {
        FUZZ_REQUIRE(r == SHMC_EINVAL || !strict(w));
        return;
    }
    if (!check_send(w, p, r, bytes, timeout_ns)) {
        p->loaned = r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT;
        return;
    }
    sent(w, bytes, p->loan_id);
    p->loaned = false;
}

static void
give_up(world *w, pub *p)
{
    const int r = shmc_pub_abort(&p->q);

    FUZZ_REQUIRE(r == (p->loaned ? SHMC_OK : SHMC_EINVAL) || !strict(w));
    p->loaned = false;
}

/* ---- receiving --------------------------------------------------------- */

/* Note that the subscriber has found its topic.                           */
static void
join(const world *w, sub *s)
{
    if (s->joined || s->q.ring.shm == NULL) return;
    s->joined = true;
    s->watches = s->watches || w->mode == SHMC_LOSSY;
}

/* A message has come: which one, and how many are missing before it?  What
 * is borrowed may be torn, and is looked at when it is released.          */
static void
check_message(world *w, sub *s, const void *from, uint32_t bytes, bool borrowed)
{
    const uint64_t lost = shmc_sub_lost(&s->q) - s->lost;
    const uint64_t first = s->next > s->from ? s->next : s->from;
    uint64_t id, p = borrowed ? s->q.ring.next : s->next;

    FUZZ_REQUIRE(bytes >= sizeof id && p >= s->next);
    memcpy(&id, from, sizeof id);
    while (!borrowed && p < w->tail && w->m[p].id != id) p++;
    FUZZ_REQUIRE(p < w->tail && w->m[p].bytes == bytes);
    FUZZ_REQUIRE(borrowed || fuzz_says(from, bytes, id));
    FUZZ_EQUAL(lost, p > first ? p - first : 0);
    FUZZ_REQUIRE(lost == 0 || s->watches || s->from == 0);
    s->lost += lost;
    s->next = p;
}

static void
receive(world *w, sub *s, uint32_t cap, bool borrows, int64_t timeout_ns)
{
    const void *from = w->buffer;
    const int r = borrows ? shmc_sub_borrow(&s->q, &from, timeout_ns)
                          : shmc_sub_recv(&s->q, w->buffer, cap, timeout_ns);

    join(w, s);
    if (borrows && r >= 0) {
        s->borrowed = true;
        s->view = from;
        FUZZ_REQUIRE(fuzz_inside(s->q.segment.base, s->q.segment.bytes, from,
                                 (uint32_t)r));
    }
    if (!strict(w)) return;
    if (s->borrowed && !borrows) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
    } else if (r >= 0) {
        check_message(w, s, from, (uint32_t)r, borrows);
        if (!borrows) s->next++;
    } else if (r == SHMC_EMSGSIZE) {
        FUZZ_REQUIRE(!borrows && cap < MAX_BYTES);
    } else if (r == SHMC_ELAPPED) {
        FUZZ_REQUIRE(s->reports && shmc_sub_gap(&s->q) != 0);
        FUZZ_REQUIRE(shmc_sub_lost(&s->q) >= s->lost + shmc_sub_gap(&s->q));
    } else if (!(borrows && r == SHMC_EBUSY)) {
        FUZZ_EQUAL(r, timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
        if (!s->joined) return;
        /* Gone with what was there before it came: not told, not counted. */
        FUZZ_REQUIRE(s->next == w->tail || s->from == w->tail);
        s->next = w->tail;
    }
}

static void
release(world *w, sub *s)
{
    const int r = shmc_sub_release(&s->q);

    if (!strict(w)) {
        s->borrowed = false;
        return;
    }
    if (!s->borrowed) {
        FUZZ_EQUAL(r, s->joined ? SHMC_EINVAL : SHMC_ECLOSED);
        return;
    }
    s->borrowed = false;
    FUZZ_REQUIRE(r == SHMC_OK || r == SHMC_ELAPPED);
    if (r == SHMC_OK)
        FUZZ_REQUIRE(fuzz_says(s->view, w->m[s->next].bytes, w->m[s->next].id));
    else
        s->lost += s->next >= s->from;
    FUZZ_REQUIRE(r == SHMC_OK || s->watches || s->from > s->next);
    s->next++;
    FUZZ_REQUIRE(shmc_sub_lost(&s->q) == s->lost);
}

/* ---- coming and going -------------------------------------------------- */

static void
open_pub(world *w, pub *p, uint8_t shape)
{
    const shmc_topic_desc d = {
        .depth = shape & 1 ? DEPTH : 2 * DEPTH, .arena_bytes = ARENA,
        .max_bytes = shape & 2 ? 64 : MAX_BYTES, .max_publishers = PUBS + 1,
        .max_subscribers = shape & 4 ? SUBS : 0,
        .mode = shape & 4 ? SHMC_RELIABLE : SHMC_LOSSY,
        .dir = fuzz_folder() };
    const bool first = users(w) == 0;
    const bool same = w->depth == d.depth && w->max_bytes == d.max_bytes &&
                      w->mode == d.mode;

    memset(p, 0, sizeof *p);
    /* Subscribers alone do not keep a shape: they would move over, in a file
     * that the model does not have.                                       */
    bool published = false;
    for (int i = 0; i < PUBS; i++) published = published || w->p[i].open;
    if (strict(w) && !first && !same && !published) return;
    const int r = shmc_pub_open(&p->q, "top/ic", &d);
    p->open = r == SHMC_OK;
    if (!strict(w)) return;
    FUZZ_EQUAL(r, first || same ? SHMC_OK : SHMC_EMISMATCH);
    if (!first) return;
    w->depth = d.depth;
    w->max_bytes = d.max_bytes;
    w->mode = d.mode;
    w->tail = 0;
    for (int i = 0; i < SUBS; i++) w->s[i].next = w->s[i].from = 0;
}

static void
open_sub(world *w, sub *s, uint8_t how)
{
    const shmc_sub_desc d = {
        .history = how & 1 ? SHMC_BCAST_ALL : how >> 1 & 7,
        .watch = how >> 4 & 1, .report_loss = how >> 5 & 1,
        .flags = how >> 6 & 1 ? SHMC_READ_ONLY : 0,
        .dir = fuzz_folder() };

    memset(s, 0, sizeof *s);
    const bool there = users(w) != 0;
    const int r = shmc_sub_open(&s->q, "top/ic", &d);
    s->open = r == SHMC_OK;
    if (!s->open) FUZZ_REQUIRE(!strict(w));
    s->watches = d.watch || (d.flags & SHMC_READ_ONLY) != 0;
    s->reports = d.report_loss;
    join(w, s);
    if (!strict(w) || !there) return;
    FUZZ_REQUIRE(s->joined);
    uint64_t back = d.history < 0 ? w->depth : (uint64_t)d.history;
    if (back > w->depth) back = w->depth;
    if (back > w->tail) back = w->tail;
    s->from = w->tail;
    s->next = w->tail - back;
}

/* Have every subscriber find the topic while it is there.                 */
static void
gather(world *w)
{
    for (int i = 0; i < SUBS; i++) {
        sub *s = &w->s[i];
        if (!s->open || s->joined || users(w) == 0) continue;
        s->q.wait.look_ns = 0;
        FUZZ_EQUAL(shmc_sub_ready(&s->q), 1);
        join(w, s);
        FUZZ_REQUIRE(s->joined);
    }
}

static void
close_pub(world *w, pub *p)
{
    if (strict(w)) gather(w);
    FUZZ_EQUAL(shmc_pub_close(&p->q), SHMC_OK);
    p->open = false;
    FUZZ_EQUAL(shmc_pub_close(&p->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pub_send(&p->q, w->buffer, 8, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pub_loan(&p->q, 8, &p->room, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pub_commit(&p->q, 8, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_pub_abort(&p->q), SHMC_ECLOSED);
}

static void
close_sub(world *w, sub *s)
{
    const void *view = NULL;

    if (strict(w)) gather(w);
    FUZZ_EQUAL(shmc_sub_close(&s->q), SHMC_OK);
    s->open = false;
    FUZZ_EQUAL(shmc_sub_close(&s->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_sub_recv(&s->q, w->buffer, MAX_BYTES, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_sub_borrow(&s->q, &view, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_sub_release(&s->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_sub_ready(&s->q), SHMC_ECLOSED);
}

/* Descs, names and handles that must be refused.                          */
static void
misuse(world *w, pub *p, sub *s)
{
    const shmc_topic_desc t = { .max_subscribers = 3001 };
    const shmc_topic_desc f = { .flags = SHMC_READ_ONLY };
    const shmc_sub_desc g = { .flags = SHMC_EPHEMERAL };
    const void *view = NULL;
    shmc_pub a;
    shmc_sub b;

    FUZZ_EQUAL(shmc_pub_open(&a, "x", &t), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_pub_open(&a, "x", &f), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_pub_open(&a, "/x", NULL), SHMC_ENAME);
    FUZZ_EQUAL(shmc_sub_open(&b, "x", &g), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_sub_open(&b, "x//y", NULL), SHMC_ENAME);
    shmi_fork_epoch++;              /* as the handles look to a child       */
    if (p->open) FUZZ_EQUAL(shmc_pub_send(&p->q, w->buffer, 8, 0), SHMC_EFORKED);
    if (p->open) FUZZ_EQUAL(shmc_pub_abort(&p->q), SHMC_EFORKED);
    if (s->open) {
        FUZZ_EQUAL(shmc_sub_ready(&s->q), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_sub_recv(&s->q, w->buffer, 8, 0), SHMC_EFORKED);
        FUZZ_EQUAL(shmc_sub_borrow(&s->q, &view, 0), SHMC_EFORKED);
    }
    shmi_fork_epoch--;
}

/* ---- steps ------------------------------------------------------------- */

/* Change a number in the file, most often in the ring's first lines.      */
static void
scribble(const world *w, fuzz_input *in)
{
    const uint8_t how = fuzz_u8(in);
    const uint64_t value = how & 1 ? fuzz_u64(in) : fuzz_u8(in);

    for (int i = 0; i < PUBS; i++) {
        const shmc_pub *q = &w->p[i].q;
        if (!w->p[i].open) continue;
        const uint64_t at = fuzz_u16(in) * 8u;
        uint8_t *mem = how & 2 ? q->segment.base : (uint8_t *)q->ring.shm;
        const uint64_t left = q->segment.bytes - (uint64_t)(mem -
                                                            q->segment.base);
        memcpy(mem + at % left / 8 * 8, &value, how & 4 ? 8 : 4);
        return;
    }
}

static void
step_pub(world *w, pub *p, uint8_t op, fuzz_input *in)
{
    const uint32_t large = op & 64 ? fuzz_u16(in) % (MAX_BYTES - 8) : 4;
    const int64_t timeout_ns = op >> 7;

    if (!p->open) {
        open_pub(w, p, op >> 5);
        return;
    }
    switch (op >> 2 & 7) {
    case 0: case 1: case 2: send_one(w, p, 8 + large, timeout_ns); break;
    case 3: loan(w, p, 8 + large, timeout_ns); break;
    case 4: case 5: commit(w, p, timeout_ns); break;
    case 6: give_up(w, p); break;
    default: close_pub(w, p); break;
    }
}

static void
step_sub(world *w, sub *s, uint8_t op, fuzz_input *in)
{
    const uint8_t arg = fuzz_u8(in);

    if (!s->open) {
        open_sub(w, s, arg);
        return;
    }
    s->q.wait.look_ns = 0;               /* as when a while has gone by          */
    switch (op >> 2 & 7) {
    case 0: case 1: case 2: receive(w, s, MAX_BYTES, false, arg & 1); break;
    case 3: receive(w, s, arg, false, 0); break;
    case 4: receive(w, s, 0, true, arg & 1); break;
    case 5: release(w, s); break;
    case 6:
        FUZZ_REQUIRE(shmc_sub_ready(&s->q) == (s->joined || users(w) != 0) ||
                     !strict(w));
        join(w, s);
        break;
    default: close_sub(w, s); break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const shmc_segment_desc gone = { .flags = SHMC_FORCE };
    static world w;
    fuzz_input in = { data, size };

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    shmc_segment_desc d = gone;
    d.dir = fuzz_folder();
    const uint8_t shape = fuzz_u8(&in);
    w.loose = (shape & 3) == 1;
    w.hostile = (shape & 3) == 2;
    open_pub(&w, &w.p[0], shape >> 2);
    while (fuzz_more(&in) && w.tail + 4 < MESSAGES) {
        const uint8_t op = fuzz_u8(&in);
        const uint32_t which = op & 3;
        if (w.hostile && op % 5 == 0) scribble(&w, &in);
        if (op == 255) misuse(&w, &w.p[0], &w.s[0]);
        else if (which == 3) step_pub(&w, &w.p[fuzz_u8(&in) % PUBS], op, &in);
        else step_sub(&w, &w.s[which], op, &in);
    }
    for (int i = 0; i < PUBS; i++) if (w.p[i].open) close_pub(&w, &w.p[i]);
    for (int i = 0; i < SUBS; i++) if (w.s[i].open) close_sub(&w, &w.s[i]);
    const int r = shmc_segment_unlink("top/ic", &d);
    if (!w.hostile) FUZZ_EQUAL(r, SHMC_ENOENT);
    return 0;
}
