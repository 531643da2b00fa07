/* Fuzzes the broadcast ring: several publishers and subscribers, lossy and
 * reliable, some of whom die, publishers also inside a send.  What a subscriber receives, misses and counts
 * as lost must be what the ring could still give it; a publisher of a
 * reliable ring overwrites nothing that a seated subscriber waits for, and
 * is refused only while one does.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PUBS = 2, SUBS = 3, MESSAGES = 4096, MAX_BYTES = 400, PATIENCE = 40 };

typedef struct message {
    uint64_t id, at;                /* at: where in its publisher's arena   */
    uint32_t bytes, seat;
    bool     empty;                 /* its publisher died there             */
} message;

typedef struct pub {
    shmc_bcast q;
    shmc_segment s;
    bool     open, loaned;
    void    *slot;                  /* of the loan                          */
    uint32_t loan_bytes, refused;
    uint64_t loan_id;
} pub;

typedef struct sub {
    shmc_bcast q;
    shmc_segment s;
    bool     open, borrowed;
    uint32_t role;
    uint64_t next, lost;            /* position from 0 on                   */
    const void *view;
} sub;

typedef struct world {
    uint8_t *mem, *buffer;
    uint64_t bytes, start, tail, next_id;
    shmc_bcast_desc d;
    shmi_bcast_shm *shm;
    bool     mortal, deaths;
    pub      p[PUBS];
    sub      s[SUBS];
    shmc_bcast o;                   /* an observer, of no segment's         */
    message  m[MESSAGES];           /* by position                          */
} world;

/* ---- the model --------------------------------------------------------- */

static uint64_t
joined(const world *w, const sub *s) { return s->q.joined - w->start; }

static uint64_t
arena_low(const world *w, uint32_t seat)
{
    return w->p[0].open ? w->p[0].q.arena_lines[seat].low
         : w->s[0].q.arena_lines[seat].low;
}

static bool
is_large(const world *w, uint64_t position)
{
    return w->m[position].bytes > SHMC_BCAST_INLINE_BYTES;
}

/* Is the arena record of a large message still whole?                     */
static bool
is_kept(const world *w, uint64_t position)
{
    const message *m = &w->m[position];
    return arena_low(w, m->seat) <= m->at;
}

/* Is it where it was put?  Who died in its cell later wrote nothing there.  */
static bool
is_there(const world *w, uint64_t position)
{
    if (position >= w->tail || w->m[position].empty) return false;
    for (uint64_t p = position + w->d.slot_count; p < w->tail;
         p += w->d.slot_count)
        if (!w->m[p].empty) return false;
    return !is_large(w, position) || is_kept(w, position);
}

static bool
seated(const sub *s) { return s->open && s->q.seated; }

/* Does a seated subscriber wait for this position?                        */
static bool
is_awaited(const world *w, uint64_t position)
{
    for (int i = 0; i < SUBS; i++) {
        const sub *s = &w->s[i];
        if (seated(s) && position >= s->next && position >= joined(w, s))
            return true;
    }
    return false;
}

/* Has a seated subscriber anything left to read (or too much, for a ring)? */
static bool
is_behind(const world *w, uint64_t by)
{
    for (int i = 0; i < SUBS; i++)
        if (seated(&w->s[i]) && w->tail - w->s[i].next >= by) return true;
    return false;
}

/* Nothing that is awaited was overwritten, by the last message or in order
 * to have room for it.                                                    */
static void
check_kept(const world *w)
{
    const uint64_t n = w->d.slot_count;
    const uint64_t from = w->tail < 2 * n ? 0 : w->tail - 2 * n;

    FUZZ_REQUIRE(w->shm->tail == w->start + w->tail);
    for (uint64_t p = from; p < w->tail; p++)
        FUZZ_REQUIRE(w->m[p].empty || is_there(w, p) || !is_awaited(w, p));
}

/* ---- publishing -------------------------------------------------------- */

/* A refusal needs somebody who is behind, or dead and not yet given up.   */
static void
refused(world *w, pub *p, uint32_t bytes)
{
    const uint64_t by = bytes > SHMC_BCAST_INLINE_BYTES ? 1 : w->d.slot_count;

    FUZZ_REQUIRE(w->d.mode == SHMC_RELIABLE);
    if (is_behind(w, by)) return;
    FUZZ_REQUIRE(w->deaths && ++p->refused < PATIENCE);
}

static void
published(world *w, pub *p, uint32_t bytes, uint64_t id)
{
    message *m = &w->m[w->tail++];

    m->id = id;
    m->bytes = bytes;
    m->seat = p->q.seat;
    m->empty = false;
    m->at = w->shm != NULL ? p->q.cells[(w->start + w->tail - 1) & p->q.mask].at
                           : 0;
    p->refused = 0;
    FUZZ_REQUIRE(!w->d.waitable || w->shm->readable.asleep == 0);
    check_kept(w);
}

/* timeout_ns: below 0 do not wait                                         */
static void
send_one(world *w, pub *p, uint32_t bytes, int64_t timeout_ns)
{
    const uint64_t id = w->next_id++;

    fuzz_write(w->buffer, bytes, id);
    const void *from = bytes != 0 ? w->buffer : NULL;
    int r = timeout_ns >= 0
          ? shmc_bcast_send_wait(&p->q, from, bytes, timeout_ns)
          : shmc_bcast_send(&p->q, from, bytes);
    if (timeout_ns > 0 && !p->loaned && !w->d.waitable) {
        FUZZ_EQUAL(r, SHMC_ENOTSUP);
        return;
    }
    if (timeout_ns > 0 && r == SHMC_ETIMEDOUT) r = SHMC_EAGAIN;
    if (p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (bytes > w->d.max_bytes) FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    else if (r == SHMC_EAGAIN) refused(w, p, bytes);
    else FUZZ_EQUAL(r, SHMC_OK);
    if (r == SHMC_OK) published(w, p, bytes, id);
    else check_kept(w);
}

static void
loan(world *w, pub *p, uint32_t bytes)
{
    void *slot = NULL;
    const int r = shmc_bcast_loan(&p->q, bytes, &slot);

    check_kept(w);
    if (bytes > w->d.max_bytes) FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    else if (p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (r == SHMC_EAGAIN) refused(w, p, bytes);
    else FUZZ_EQUAL(r, SHMC_OK);
    if (r != SHMC_OK) return;
    FUZZ_REQUIRE(fuzz_inside(bytes > SHMC_BCAST_INLINE_BYTES ? w->mem
                             : (void *)p->q.stage,
                             bytes > SHMC_BCAST_INLINE_BYTES ? w->bytes
                             : sizeof p->q.stage, slot, bytes));
    p->loaned = true;
    p->slot = slot;
    p->loan_bytes = bytes;
    p->loan_id = w->next_id++;
    fuzz_write(slot, bytes, p->loan_id);
}

static void
commit(world *w, pub *p, uint32_t bytes)
{
    const int r = shmc_bcast_commit(&p->q, bytes);

    if (bytes > w->d.max_bytes) FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    else if (!p->loaned) FUZZ_EQUAL(r, SHMC_EINVAL);
    else if (bytes > p->loan_bytes) FUZZ_EQUAL(r, SHMC_EMSGSIZE);
    else if (r == SHMC_EAGAIN) refused(w, p, bytes);
    else FUZZ_EQUAL(r, SHMC_OK);
    if (r != SHMC_OK) return;
    p->loaned = false;
    published(w, p, bytes, p->loan_id);
}

static void
give_up(pub *p)
{
    FUZZ_EQUAL(shmc_bcast_abort(&p->q), p->loaned ? SHMC_OK : SHMC_EINVAL);
    p->loaned = false;
}

/* ---- receiving --------------------------------------------------------- */

/* Is something gone of what lies from `from` to `to`?                      */
static bool
is_gone(const world *w, uint64_t from, uint64_t to)
{
    while (from < to && is_there(w, from)) from++;
    return from < to;
}

/* Does nothing lie from `from` to `to` but what dead publishers left?      */
static bool
is_empty(const world *w, uint64_t from, uint64_t to)
{
    while (from < to && w->m[from].empty) from++;
    return from >= to;
}

static uint64_t
later(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Follow the handle to where it is now: what lies between is empty, or was
 * there before it came, and is gone (or too close to what is, for it to be
 * tried).                                                                 */
static void
follow(const world *w, sub *s, uint64_t now)
{
    if (now == s->next) return;
    FUZZ_REQUIRE(now > s->next && now <= w->tail);
    FUZZ_REQUIRE(is_empty(w, later(s->next, joined(w, s)), now));
    FUZZ_REQUIRE(is_gone(w, s->next, now));
    s->next = now;
}

/* The handle says that it was lapped: something that it still had to read is
 * gone, if only from before it came; with it may go some that are there, so
 * that it is clear of the publishers.                                      */
static void
lapped(const world *w, sub *s)
{
    const uint64_t now = s->q.next - w->start;
    const uint64_t first = later(s->next, joined(w, s));
    const uint64_t from = now - shmc_bcast_gap(&s->q);

    FUZZ_REQUIRE(from >= first && is_empty(w, first, from));
    FUZZ_REQUIRE(!seated(s) && now > from && now <= w->tail);
    FUZZ_REQUIRE(is_gone(w, s->next, from + 1));
    s->lost += now - from;
    s->next = now;
}

enum { RECV, NEXT_BYTES, RECV_WAIT, BORROW, BORROW_WAIT };

static int
call(world *w, sub *s, uint32_t cap, int how, int64_t timeout_ns)
{
    switch (how) {
    case RECV:       return shmc_bcast_recv(&s->q, w->buffer, cap);
    case NEXT_BYTES: return shmc_bcast_next_bytes(&s->q);
    case RECV_WAIT:
        return shmc_bcast_recv_wait(&s->q, w->buffer, cap, timeout_ns);
    case BORROW:     return shmc_bcast_borrow(&s->q, &s->view);
    default:
        return shmc_bcast_borrow_wait(&s->q, &s->view, timeout_ns);
    }
}

static void
receive(world *w, sub *s, uint32_t cap, int how, int64_t timeout_ns)
{
    const bool takes = how == RECV || how == RECV_WAIT;
    const bool waits = how == RECV_WAIT || how == BORROW_WAIT;
    int r = call(w, s, cap, how, timeout_ns);

    if (waits && timeout_ns != 0 && !w->d.waitable && !s->borrowed) {
        FUZZ_EQUAL(r, SHMC_ENOTSUP);
        return;
    }
    if (waits && timeout_ns != 0 && r == SHMC_ETIMEDOUT) r = SHMC_EAGAIN;
    if (s->borrowed) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
        return;
    }
    if (r == SHMC_ELAPPED) {
        lapped(w, s);
    } else if (r == SHMC_EAGAIN) {
        follow(w, s, s->q.next - w->start);
        if (s->next != w->tail) FUZZ_REQUIRE(w->m[s->next].empty);
    } else {
        const bool took = r >= 0 && takes;
        follow(w, s, s->q.next - w->start - took);
        const message *m = &w->m[s->next];
        /* That an arena's bytes are gone is only told to who read them.    */
        FUZZ_REQUIRE(is_there(w, s->next) || (!took && is_large(w, s->next)));
        FUZZ_EQUAL(r, took || !takes || m->bytes <= cap ? (int64_t)m->bytes
                                                        : SHMC_EMSGSIZE);
        if (took) FUZZ_REQUIRE(fuzz_reads(w->buffer, m->bytes, m->id));
        if (took) s->next++;
        s->borrowed = !takes && how != NEXT_BYTES;
        if (s->borrowed) FUZZ_REQUIRE(fuzz_inside(w->mem, w->bytes, s->view,
                                                    m->bytes));
    }
    FUZZ_EQUAL(shmc_bcast_lost(&s->q), s->lost);
}

static void
release(const world *w, sub *s)
{
    const int r = shmc_bcast_release(&s->q);

    if (!s->borrowed) {
        FUZZ_EQUAL(r, SHMC_EINVAL);
        return;
    }
    const message *m = &w->m[s->next];
    const bool whole = is_large(w, s->next) ? is_kept(w, s->next)
                                            : is_there(w, s->next);
    s->borrowed = false;
    FUZZ_EQUAL(r, whole ? SHMC_OK : SHMC_ELAPPED);
    if (whole) FUZZ_REQUIRE(fuzz_reads(s->view, m->bytes, m->id));
    else s->lost += s->next >= joined(w, s);
    FUZZ_REQUIRE(whole || !seated(s) || s->next < joined(w, s));
    s->next++;
    FUZZ_EQUAL(s->q.next - w->start, s->next);
    FUZZ_EQUAL(shmc_bcast_lost(&s->q), s->lost);
}

/* ---- lives ------------------------------------------------------------- */

static void
open_ring(world *w, shmc_bcast *q, shmc_segment *s, uint32_t role,
          int32_t history)
{
    if (w->mortal) {
        shmc_bcast_desc d = w->d;
        d.history = history;
        FUZZ_EQUAL(shmc_segment_map(s, w->mem, w->bytes), SHMC_OK);
        FUZZ_EQUAL(shmc_bcast_open(q, s, "ring", &d, role), SHMC_OK);
    } else {
        FUZZ_EQUAL(shmc_bcast_map(q, w->mem, w->bytes, role, history), SHMC_OK);
    }
}

static void
open_pub(world *w, pub *p)
{
    memset(p, 0, sizeof *p);
    open_ring(w, &p->q, &p->s, SHMC_PRODUCER, 0);
    p->open = true;
    check_kept(w);
}

/* A subscriber begins with the oldest that it asked for and the ring has.  */
static void
open_sub(world *w, sub *s, uint32_t role, int32_t history)
{
    uint64_t back = history < 0 ? w->d.slot_count : (uint64_t)history;

    if (back > w->d.slot_count) back = w->d.slot_count;
    if (back > w->tail) back = w->tail;
    memset(s, 0, sizeof *s);
    open_ring(w, &s->q, &s->s, role, history);
    s->open = true;
    s->role = role;
    s->next = w->tail - back;
    FUZZ_EQUAL(s->q.next - w->start, s->next);
    FUZZ_EQUAL(s->q.seated, role == SHMC_CONSUMER &&
                            w->d.mode == SHMC_RELIABLE);
}

static void
end_ring(world *w, shmc_bcast *q, shmc_segment *s, bool dies)
{
    if (dies) w->deaths = true;
    else FUZZ_EQUAL(shmc_bcast_close(q), SHMC_OK);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_close(s), SHMC_OK);
    if (!dies) FUZZ_EQUAL(shmc_bcast_recv(q, w->buffer, 1), SHMC_ECLOSED);
    if (!dies) FUZZ_EQUAL(shmc_bcast_close(q), SHMC_ECLOSED);
}

/* Die inside a send: when the position is taken, when the message is there,
 * or (a lone publisher) when the message is there and tail does not say so. */
static void
die_sending(world *w, pub *p, uint32_t bytes, bool done)
{
    uint64_t position = w->start + w->tail;
    const uint64_t id = w->next_id++;

    if (!w->mortal || p->loaned) return;
    if (bytes > SHMC_BCAST_INLINE_BYTES) bytes = SHMC_BCAST_INLINE_BYTES;
    if (bytes > w->d.max_bytes) bytes = w->d.max_bytes;
    fuzz_write(w->buffer, bytes, id);
    if (p->q.alone && shmi_bcast_has_room(&p->q, position) != SHMC_OK) return;
    if (!p->q.alone) {
        if (shmi_bcast_claim(&p->q, NULL) != SHMC_OK) return;
        position = p->q.next;
        FUZZ_EQUAL(position - w->start, w->tail);
        FUZZ_EQUAL(w->shm->tail, position + 1);
        /* Nobody rings: nobody can be asleep for ever, as all look again. */
        w->shm->readable.asleep = 0;
    }
    if (done) shmi_bcast_fill(&p->q, position, w->buffer, bytes, 0);
    end_ring(w, &p->q, &p->s, true);
    if (p->q.alone && !done) {
        open_pub(w, p);
        return;
    }
    message *m = &w->m[w->tail++];
    m->id = id;
    m->bytes = bytes;
    m->seat = p->q.seat;
    m->empty = !done;
    open_pub(w, p);
}

/* ---- misuse ------------------------------------------------------------ */

/* Every call of the wrong kind of handle, with the same answer.           */
static void
refused_calls(const world *w, shmc_bcast *q, bool pub_too, bool sub_too,
              int code)
{
    void *data = w->buffer;
    const void *view = NULL;

    if (pub_too) {
        FUZZ_EQUAL(shmc_bcast_send(q, w->buffer, 1), code);
        FUZZ_EQUAL(shmc_bcast_send_wait(q, w->buffer, 1, 0), code);
        FUZZ_EQUAL(shmc_bcast_loan(q, 1, &data), code);
        FUZZ_EQUAL(shmc_bcast_commit(q, 1), code);
        FUZZ_EQUAL(shmc_bcast_abort(q), code);
    }
    if (sub_too) {
        FUZZ_EQUAL(shmc_bcast_recv(q, w->buffer, 1), code);
        FUZZ_EQUAL(shmc_bcast_recv_wait(q, w->buffer, 1, 0), code);
        FUZZ_EQUAL(shmc_bcast_borrow(q, &view), code);
        FUZZ_EQUAL(shmc_bcast_borrow_wait(q, &view, 0), code);
        FUZZ_EQUAL(shmc_bcast_next_bytes(q), code);
        FUZZ_EQUAL(shmc_bcast_release(q), code);
    }
}

static void
look(world *w, pub *p, sub *s, bool asleep)
{
    shmc_bcast_stats stats;

    refused_calls(w, &w->o, true, true, SHMC_EINVAL);
    if (!p->loaned) refused_calls(w, &p->q, false, true, SHMC_EINVAL);
    if (!s->borrowed) refused_calls(w, &s->q, true, false, SHMC_EINVAL);
    shmi_fork_epoch++;              /* as the handles look to a child       */
    refused_calls(w, &p->q, true, true, SHMC_EFORKED);
    refused_calls(w, &s->q, true, true, SHMC_EFORKED);
    FUZZ_EQUAL(shmc_bcast_stats_get(&w->o, &stats), SHMC_EFORKED);
    shmi_fork_epoch--;
    FUZZ_EQUAL(shmc_bcast_stats_get(&w->o, &stats), SHMC_OK);
    FUZZ_REQUIRE(stats.sent == w->start + w->tail && stats.voids == 0);
    FUZZ_REQUIRE(stats.publishers >= 1 && stats.lag <= w->d.slot_count);
    FUZZ_REQUIRE(stats.publishers <= PUBS && stats.subscribers <= SUBS);
    if (asleep) w->shm->readable.asleep = w->shm->writable.asleep = 1;
}

static void
step_pub(world *w, pub *p, uint8_t op, fuzz_input *in)
{
    const uint32_t bytes = op & 32 ? fuzz_u16(in) % MAX_BYTES : fuzz_u8(in) % 110;

    switch (op & 7) {
    case 0: case 1: send_one(w, p, bytes, -1); break;
    case 2: look(w, p, &w->s[bytes % SUBS], bytes & 1); break;
    case 3: loan(w, p, bytes); break;
    case 4: commit(w, p, bytes); break;
    case 5: if (bytes & 1) give_up(p); else commit(w, p, p->loan_bytes); break;
    case 6:
        if (op & 64) die_sending(w, p, bytes, op & 128);
        else send_one(w, p, bytes, op >> 7);
        break;
    default:
        end_ring(w, &p->q, &p->s, w->mortal && (bytes & 1));
        open_pub(w, p);
        break;
    }
}

static void
step_sub(world *w, sub *s, uint8_t op, fuzz_input *in)
{
    const uint8_t arg = fuzz_u8(in);
    const uint32_t role = arg & 2 ? SHMC_CONSUMER : SHMC_WATCHER;

    switch (op & 7) {
    case 0: receive(w, s, MAX_BYTES, RECV, 0); break;
    case 1:                         /* as after many fruitless looks        */
        s->q.idle |= SHMI_BCAST_IDLE - 1;
        if (arg & 1) s->q.trust_ns = 0;
        receive(w, s, MAX_BYTES, RECV, 0);
        break;
    case 2: receive(w, s, arg, RECV, 0); break;
    case 3: receive(w, s, arg, NEXT_BYTES, 0); break;
    case 4: receive(w, s, MAX_BYTES, op & 128 ? BORROW : BORROW_WAIT,
                    arg & 1); break;
    case 5: release(w, s); break;
    case 6: receive(w, s, arg, RECV_WAIT, op >> 7); break;
    default:
        end_ring(w, &s->q, &s->s, w->mortal && (arg & 1));
        open_sub(w, s, role, arg & 4 ? SHMC_BCAST_ALL : arg >> 3);
        break;
    }
}

/* ---- the ring ---------------------------------------------------------- */

static void
choose(world *w, fuzz_input *in)
{
    static const uint16_t longest[] = { 1, 64, 96, 97, 128, 200, 256, 399 };
    const uint8_t shape = fuzz_u8(in), more = fuzz_u8(in);

    w->d.slot_count = 2u << (shape & 3);
    w->d.mode = shape & 4 ? SHMC_RELIABLE : SHMC_LOSSY;
    w->d.max_publishers = shape & 8 ? 1 : PUBS + 1;
    w->d.waitable = shape >> 4 & 1;
    w->mortal = (shape & 32) != 0;
    w->d.max_bytes = longest[more & 7];
    w->d.max_subscribers = SUBS + 1;
    if (w->d.max_bytes > SHMC_BCAST_INLINE_BYTES)
        w->d.arena_bytes = 2 * (64 + (w->d.max_bytes + 63u) / 64 * 64) +
                           128u * (more >> 5);
}

/* Begin at a position, and a count of arena bytes, other than 0.          */
static void
seed(world *w, const shmc_bcast *q, uint64_t arena)
{
    w->shm->tail = w->start;
    for (uint64_t i = 1; i <= w->d.slot_count; i++) {
        const uint64_t p = w->start - i;
        q->cells[p & q->mask].stamp = shmi_stamp(p, SHMI_VOID);
    }
    if (w->d.arena_bytes == 0) return;
    for (uint32_t i = 0; i < w->d.max_publishers; i++)
        q->arena_lines[i].low = q->pubs[i].word[SHMI_PUB_HEAD] =
            arena >> 2 & ~63ull;
}

static void
create(world *w, fuzz_input *in)
{
    const shmc_segment_desc sd = { .heap_bytes = 12288, .max_objects = 1,
                                   .max_participants = PUBS + SUBS + 1 };
    shmc_bcast q;
    shmc_segment s;

    choose(w, in);
    w->bytes = (uint64_t)(w->mortal ? shmc_segment_size_for(&sd)
                                    : shmc_bcast_size_for(&w->d));
    w->mem = fuzz_room(w->bytes, in->size & 1);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_format(w->mem, w->bytes, &sd), SHMC_OK);
    else FUZZ_EQUAL(shmc_bcast_format(w->mem, w->bytes, &w->d), SHMC_OK);
    open_ring(w, &q, &s, SHMC_PRODUCER, 0);
    w->shm = q.shm;
    w->start = fuzz_start(in);
    seed(w, &q, fuzz_start(in));
    end_ring(w, &q, &s, false);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input in = { data, size };

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    create(&w, &in);
    w.buffer = fuzz_memory(MAX_BYTES);
    FUZZ_EQUAL(shmc_bcast_map(&w.o, w.shm, (uint64_t)shmc_bcast_size_for(&w.d),
                              SHMC_OBSERVER, 0), SHMC_OK);
    const uint32_t pubs = w.d.max_publishers == 1 ? 1 : PUBS;
    for (uint32_t i = 0; i < pubs; i++) open_pub(&w, &w.p[i]);
    for (uint32_t i = 0; i < SUBS; i++)
        open_sub(&w, &w.s[i], i == 0 ? SHMC_WATCHER : SHMC_CONSUMER, 0);
    while (fuzz_more(&in) && w.tail + 1 < MESSAGES) {
        const uint8_t op = fuzz_u8(&in);
        if (op & 8) step_pub(&w, &w.p[(op >> 4 & 1) % pubs], op, &in);
        else step_sub(&w, &w.s[(op >> 4 & 3) % SUBS], op, &in);
    }
    for (uint32_t i = 0; i < SUBS; i++) {
        if (w.s[i].borrowed) release(&w, &w.s[i]);
        for (int n = 0; w.s[i].next != w.tail; n++) {
            const uint64_t was = w.s[i].next;
            w.s[i].q.idle |= SHMI_BCAST_IDLE - 1;
            w.s[i].q.trust_ns = 0;
            receive(&w, &w.s[i], MAX_BYTES, RECV, 0);
            if (w.s[i].next != was) n = 0;
            FUZZ_REQUIRE(n < PATIENCE);
        }
        end_ring(&w, &w.s[i].q, &w.s[i].s, false);
    }
    for (uint32_t i = 0; i < pubs; i++) end_ring(&w, &w.p[i].q, &w.p[i].s, false);
    free(w.buffer);
    return 0;
}
