/* hostile.h - every call on every kind of ring, and on a segment, whose bytes
 * somebody scribbles on: whatever a call returns then, it reads and writes
 * nothing outside the memory, comes back, and lends nothing that is not in
 * there.  How it is scribbled on is the business of who includes this.
 * SPDX-License-Identifier: MIT                                            */
#ifndef HOSTILE_H
#define HOSTILE_H

#define SHMC_LOCK_TIMEOUT_NS 200000 /* who scribbles on a lock has time     */
#define SHMC_SPIN_TRIES 8u          /* and waits soon sleep                 */
#define SHMC_YIELD_TRIES 2u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEGMENTS = 2, HANDLES = 4, KINDS = 6 };

enum { SPSC, RECQ, MPMC, LATEST, BCAST, COUNTER };  /* kinds of handles     */

typedef struct handle {
    int kind;
    shmc_segment *s;                /* NULL: the memory is the ring         */
    union {
        shmc_spsc spsc;
        shmc_recq recq;
        shmc_mpmc mpmc;
        shmc_latest latest;
        shmc_bcast bcast;
        shmc_counter counter;
    } u;
} handle;

typedef struct world {
    uint8_t *mem;
    uint64_t bytes;
    int      kind;                  /* of the ring; KINDS: a segment        */
    uint8_t  shape;
    shmc_segment s[SEGMENTS];
    handle   h[HANDLES];
} world;

/* ---- memory ------------------------------------------------------------ */

/* Exactly so many bytes of the caller's; free them.                       */
static uint8_t *
bytes_of(uint64_t n, int value)
{
    uint8_t *p = malloc(n != 0 ? (size_t)n : 1);

    FUZZ_REQUIRE(p != NULL);
    memset(p, value, (size_t)n);
    return p;
}

/* Read what was lent: it must lie in the memory.                          */
static void
look_at(const world *w, const void *p, uint64_t n)
{
    static volatile uint8_t sink;
    const uint8_t *at = p;

    FUZZ_REQUIRE(fuzz_inside(w->mem, w->bytes, p, n));
    for (uint64_t i = 0; i < n; i++) sink = (uint8_t)(sink + at[i]);
}

static void
write_at(const world *w, void *p, uint64_t n, int value)
{
    FUZZ_REQUIRE(fuzz_inside(w->mem, w->bytes, p, n));
    memset(p, value, (size_t)n);
}

/* ---- calls on each kind ------------------------------------------------ */

static void
use_spsc(const world *w, shmc_spsc *q, uint8_t op, uint8_t arg)
{
    const uint32_t slot = q->lane.slot_bytes, n = arg & 7;
    uint8_t *b = bytes_of((uint64_t)slot * (n + 1), arg);
    const void *view = NULL;
    void *room = NULL;
    shmc_spsc_stats stats;
    int r;

    switch (op % 11) {
    case 0: (void)shmc_spsc_push(q, b, slot); break;
    case 1: (void)shmc_spsc_pop(q, b, slot); break;
    case 2: (void)shmc_spsc_push_n(q, b, slot, n); break;
    case 3: (void)shmc_spsc_pop_n(q, b, slot, n); break;
    case 4:
        r = shmc_spsc_loan(q, &room, n);
        if (r > 0) write_at(w, room, (uint64_t)(r - 1) * q->lane.stride_bytes +
                                     slot, arg);
        break;
    case 5: (void)shmc_spsc_commit(q, n); break;
    case 6:
        r = shmc_spsc_borrow(q, &view, n);
        if (r > 0) look_at(w, view, (uint64_t)(r - 1) * q->lane.stride_bytes +
                                    slot);
        break;
    case 7: (void)shmc_spsc_release(q, n); break;
    case 8: (void)shmc_spsc_stats_get(q, &stats); break;
    case 9:
        FUZZ_REQUIRE(shmc_spsc_used(q) <= q->lane.limit);
        FUZZ_REQUIRE(shmc_spsc_free(q) <= q->lane.limit);
        (void)shmc_spsc_abort(q);
        break;
    default:
        (void)shmc_spsc_push_wait(q, b, slot, 1 + arg % 2 * 3000);
        (void)shmc_spsc_pop_wait(q, b, slot, 1 + arg % 2 * 3000);
    }
    free(b);
}

/* Several records at once, each in memory of its own.                     */
static void
use_recq_many(shmc_recq *q, uint32_t bytes, bool push)
{
    uint8_t *one = bytes_of(bytes, 'r'), *two = bytes_of(bytes / 2, 's');
    const shmc_recq_item items[] = { { one, bytes }, { two, bytes / 2 } };
    shmc_recq_buffer buffers[] = { { one, bytes, 0 }, { two, bytes / 2, 0 } };

    if (push) (void)shmc_recq_push_n(q, items, 2);
    else (void)shmc_recq_pop_n(q, buffers, 2);
    free(one);
    free(two);
}

static void
use_recq(const world *w, shmc_recq *q, uint8_t op, uint8_t arg)
{
    uint8_t *b = bytes_of(arg, arg);
    const void *view = NULL;
    void *room = NULL;
    shmc_recq_stats stats;
    int r;

    switch (op % 11) {
    case 0: (void)shmc_recq_push(q, b, arg); break;
    case 1:
        r = shmc_recq_pop(q, b, arg);
        FUZZ_REQUIRE(r <= arg);
        break;
    case 2: use_recq_many(q, arg, true); break;
    case 3: use_recq_many(q, arg, false); break;
    case 4:
        if (shmc_recq_loan(q, arg, &room) == SHMC_OK)
            write_at(w, room, arg, arg);
        break;
    case 5: (void)shmc_recq_commit(q, arg); break;
    case 6:
        r = shmc_recq_borrow(q, &view);
        if (r >= 0) look_at(w, view, (uint32_t)r);
        break;
    case 7: (void)shmc_recq_release(q); break;
    case 8: (void)shmc_recq_stats_get(q, &stats); break;
    case 9:
        FUZZ_REQUIRE(shmc_recq_used_bytes(q) <= q->lane.limit);
        FUZZ_REQUIRE(shmc_recq_next_bytes(q) <= (int)shmc_recq_max_bytes(q));
        (void)shmc_recq_abort(q);
        break;
    default:
        (void)shmc_recq_push_wait(q, b, arg, 1 + arg % 2 * 3000);
        (void)shmc_recq_pop_wait(q, b, arg, 1 + arg % 2 * 3000);
    }
    free(b);
}

static void
use_mpmc(const world *w, shmc_mpmc *q, uint8_t op, uint8_t arg)
{
    const uint32_t slot = q->slot_bytes, n = arg & 7;
    uint8_t *b = bytes_of((uint64_t)slot * (n + 1), arg);
    const void *view = NULL;
    void *room = NULL;
    shmc_mpmc_stats stats;

    switch (op % 12) {
    case 0: (void)shmc_mpmc_push(q, b, slot); break;
    case 1: (void)shmc_mpmc_pop(q, b, slot); break;
    case 2: (void)shmc_mpmc_push_n(q, b, slot, n); break;
    case 3: (void)shmc_mpmc_pop_n(q, b, slot, n); break;
    case 4:
        if (shmc_mpmc_loan(q, &room) == SHMC_OK) write_at(w, room, slot, arg);
        break;
    case 5: (void)shmc_mpmc_commit(q); break;
    case 6: (void)shmc_mpmc_abort(q); break;
    case 7:
        if (shmc_mpmc_borrow(q, &view) == SHMC_OK) look_at(w, view, slot);
        break;
    case 8: (void)shmc_mpmc_release(q); break;
    case 9: (void)shmc_mpmc_stats_get(q, &stats); break;
    case 10:                        /* long enough to look for the dead     */
        for (int i = 0; i < 8; i++) {
            q->look = true;
            (void)shmc_mpmc_pop(q, b, slot);
            q->look = true;
            (void)shmc_mpmc_push(q, b, slot);
        }
        break;
    default:
        FUZZ_REQUIRE(shmc_mpmc_used(q) <= q->mask + 1);
        (void)shmc_mpmc_push_wait(q, b, slot, 1 + arg % 2 * 3000);
        (void)shmc_mpmc_pop_wait(q, b, slot, 1 + arg % 2 * 3000);
    }
    free(b);
}

static void
use_latest(const world *w, shmc_latest *c, uint8_t op, uint8_t arg)
{
    const uint32_t size = c->value_bytes;
    uint8_t *b = bytes_of(size, arg);
    const void *view = NULL;
    void *room = NULL;
    uint64_t version = 0;
    shmc_latest_stats stats;

    switch (op % 8) {
    case 0: (void)shmc_latest_write(c, b, size); break;
    case 1: (void)shmc_latest_read(c, b, size, &version); break;
    case 2:
        if (shmc_latest_loan(c, &room) == SHMC_OK) write_at(w, room, size, arg);
        break;
    case 3: (void)shmc_latest_commit(c); break;
    case 4: (void)shmc_latest_abort(c); break;
    case 5:
        if (shmc_latest_borrow(c, &view, &version) == SHMC_OK)
            look_at(w, view, size);
        (void)shmc_latest_release(c, version);
        break;
    case 6: (void)shmc_latest_stats_get(c, &stats); break;
    default: (void)shmc_latest_read_wait(c, b, size, &version, 1 + arg % 2 * 3000); break;
    }
    free(b);
}

static void
use_bcast(const world *w, shmc_bcast *q, uint8_t op, uint8_t arg)
{
    const uint32_t n = op & 128 ? arg : arg / 4u;
    uint8_t *b = bytes_of(n, arg);
    const void *view = NULL;
    void *room = NULL;
    shmc_bcast_stats stats;
    int r;

    switch (op % 14) {
    case 0: case 1: (void)shmc_bcast_send(q, b, n); break;
    case 2: case 3:
        r = shmc_bcast_recv(q, b, n);
        FUZZ_REQUIRE(r <= (int)n);
        break;
    case 4:
        r = shmc_bcast_loan(q, n, &room);
        if (r == SHMC_OK && room == q->stage) memset(room, arg, n);
        else if (r == SHMC_OK) write_at(w, room, n, arg);
        break;
    case 5: (void)shmc_bcast_commit(q, n); break;
    case 6: (void)shmc_bcast_abort(q); break;
    case 7:
        r = shmc_bcast_borrow(q, &view);
        if (r >= 0) look_at(w, view, (uint32_t)r);
        break;
    case 8: (void)shmc_bcast_release(q); break;
    case 9: (void)shmc_bcast_stats_get(q, &stats); break;
    case 10:
        for (int i = 0; i < 18; i++) (void)shmc_bcast_send(q, b, n);
        (void)shmc_bcast_next_bytes(q);
        break;
    case 11:                        /* as after many fruitless looks        */
        q->idle |= SHMI_BCAST_IDLE - 1;
        q->trust_ns = 0;
        (void)shmc_bcast_recv(q, b, n);
        break;
    case 12:
        r = shmc_bcast_borrow_wait(q, &view, 1 + arg % 2 * 3000);
        if (r >= 0) look_at(w, view, (uint32_t)r);
        break;
    default:
        (void)shmc_bcast_send_wait(q, b, n, 1 + arg % 2 * 3000);
        (void)shmc_bcast_recv_wait(q, b, n, 1 + arg % 2 * 3000);
    }
    free(b);
}

static void
use(const world *w, handle *h, uint8_t op, uint8_t arg)
{
    switch (h->kind) {
    case SPSC:   use_spsc(w, &h->u.spsc, op, arg); break;
    case RECQ:   use_recq(w, &h->u.recq, op, arg); break;
    case MPMC:   use_mpmc(w, &h->u.mpmc, op, arg); break;
    case LATEST: use_latest(w, &h->u.latest, op, arg); break;
    case BCAST:  use_bcast(w, &h->u.bcast, op, arg); break;
    default:
        (void)shmc_counter_add(&h->u.counter, arg);
        (void)shmc_counter_get(&h->u.counter);
    }
}

/* ---- opening and closing ----------------------------------------------- */

static shmc_spsc_desc
spsc_desc(uint8_t shape)
{
    const shmc_spsc_desc d = { 20, 4, shape & 1, NULL };
    return d;
}

static shmc_recq_desc
recq_desc(uint8_t shape)
{
    const shmc_recq_desc d = { 256, shape & 1, NULL };
    return d;
}

static shmc_mpmc_desc
mpmc_desc(uint8_t shape)
{
    const shmc_mpmc_desc d = { 12, 4, 3, shape >> 1 & 1, shape & 1, NULL,
                               shape >> 2 & 1, shape >> 2 & 1 ? 100 : 0 };
    return d;
}

static shmc_latest_desc
latest_desc(uint8_t shape)
{
    const shmc_latest_desc d = { 20, 2, shape & 1, NULL };
    return d;
}

static shmc_bcast_desc
bcast_desc(uint8_t shape)
{
    shmc_bcast_desc d;

    memset(&d, 0, sizeof d);
    d.slot_count = 4;
    d.max_bytes = 130;
    d.max_publishers = shape & 2 ? 1 : 2;
    d.arena_bytes = shape & 4 ? 640 : 512;
    d.mode = shape & 8 ? SHMC_RELIABLE : SHMC_LOSSY;
    d.max_subscribers = 2;
    d.waitable = shape & 1;
    return d;
}

static void
close_handle(handle *h)
{
    switch (h->kind) {
    case SPSC:   (void)shmc_spsc_close(&h->u.spsc); break;
    case RECQ:   (void)shmc_recq_close(&h->u.recq); break;
    case MPMC:   (void)shmc_mpmc_close(&h->u.mpmc); break;
    case LATEST: (void)shmc_latest_close(&h->u.latest); break;
    case BCAST:  (void)shmc_bcast_close(&h->u.bcast); break;
    default:     (void)shmc_counter_close(&h->u.counter); break;
    }
    memset(h, 0, sizeof *h);
}

/* Open a ring that is the memory itself.                                  */
static void
map_handle(const world *w, handle *h, uint32_t role)
{
    switch (h->kind = w->kind) {
    case SPSC:   (void)shmc_spsc_map(&h->u.spsc, w->mem, w->bytes, role); break;
    case RECQ:   (void)shmc_recq_map(&h->u.recq, w->mem, w->bytes, role); break;
    case MPMC:   (void)shmc_mpmc_map(&h->u.mpmc, w->mem, w->bytes, role); break;
    case LATEST:
        (void)shmc_latest_map(&h->u.latest, w->mem, w->bytes, role);
        break;
    default:
        (void)shmc_bcast_map(&h->u.bcast, w->mem, w->bytes, role,
                             w->shape & 16 ? SHMC_BCAST_ALL : 0);
    }
}

/* Open something in a segment.                                            */
static void
open_handle(const world *w, handle *h, shmc_segment *s, int kind, uint32_t role)
{
    const shmc_spsc_desc spsc = spsc_desc(w->shape);
    const shmc_recq_desc recq = recq_desc(w->shape);
    const shmc_mpmc_desc mpmc = mpmc_desc(w->shape);
    const shmc_latest_desc latest = latest_desc(w->shape);
    const shmc_bcast_desc bcast = bcast_desc(w->shape);

    if (s->base == NULL) return;
    h->s = s;
    switch (h->kind = kind) {
    case SPSC:   (void)shmc_spsc_open(&h->u.spsc, s, "s", &spsc, role); break;
    case RECQ:   (void)shmc_recq_open(&h->u.recq, s, "r", &recq, role); break;
    case MPMC:   (void)shmc_mpmc_open(&h->u.mpmc, s, "m", &mpmc, role); break;
    case LATEST:
        (void)shmc_latest_open(&h->u.latest, s, "l", &latest, role);
        break;
    case BCAST:  (void)shmc_bcast_open(&h->u.bcast, s, "b", &bcast, role); break;
    default:
        (void)shmc_counter_open(&h->u.counter, s, "c", role == SHMC_PRODUCER);
    }
}

/* Close a segment's handle; its rings' handles are closed before, or the
 * participant is dead with them.                                          */
static void
leave(world *w, shmc_segment *s, bool dies)
{
    if (s->base == NULL) return;
    for (int i = 0; i < HANDLES; i++) {
        if (w->h[i].s != s) continue;
        if (dies) memset(&w->h[i], 0, sizeof w->h[i]);
        else close_handle(&w->h[i]);
    }
    (void)shmc_segment_close(s);
}

/* ---- the segment ------------------------------------------------------- */

static const char *const names[] = { "s", "r", "m", "l", "b", "c", "x", "y" };

static void
use_object(const world *w, shmc_segment *s, uint8_t op, uint8_t arg)
{
    const shmc_object_desc d = { .bytes = arg * 16u, .kind = arg >> 6,
                                 .type_name = "object" };
    shmc_object o;
    const int r = op & 1 ? shmc_object_open(s, names[op >> 1 & 7], &d, &o)
                         : shmc_object_attach(s, names[op >> 1 & 7], NULL, &o);

    if (r != SHMC_OK) return;
    FUZZ_REQUIRE((uintptr_t)o.mem % SHMC_LINE == 0);
    look_at(w, o.mem, o.bytes);
    write_at(w, o.mem, o.bytes < 64 ? o.bytes : 64, arg);
    if (op & 16) (void)shmc_object_close(s, &o);    /* or leave it open     */
}

static void
use_segment(world *w, shmc_segment *s, uint8_t op, uint8_t arg)
{
    shmc_segment_info info;
    shmc_object_info object;
    shmc_participant_info participant;

    if (s->base == NULL) {
        if (shmc_segment_map(s, w->mem, w->bytes) != SHMC_OK) s->base = NULL;
        return;
    }
    switch (op & 7) {
    case 0: case 1: use_object(w, s, arg, op); break;
    case 2: (void)shmc_object_remove(s, names[arg & 7]); break;
    case 3: (void)shmc_segment_info_get(s, &info); break;
    case 4: (void)shmc_object_info_get(s, arg & 7, &object); break;
    case 5: (void)shmc_participant_info_get(s, arg & 7, &participant); break;
    case 6: leave(w, s, false); break;
    default: leave(w, s, true); break;
    }
}

/* Lay out the ring or the segment that is scribbled on.                   */
static void
create(world *w)
{
    const shmc_spsc_desc spsc = spsc_desc(w->shape);
    const shmc_recq_desc recq = recq_desc(w->shape);
    const shmc_mpmc_desc mpmc = mpmc_desc(w->shape);
    const shmc_latest_desc latest = latest_desc(w->shape);
    const shmc_bcast_desc bcast = bcast_desc(w->shape);
    const shmc_segment_desc segment = { .heap_bytes = 8192, .max_objects = 6,
                                        .max_participants = 3,
                                        .wake = w->shape >> 7 };
    const int64_t sizes[] = {
        shmc_spsc_size_for(&spsc), shmc_recq_size_for(&recq),
        shmc_mpmc_size_for(&mpmc), shmc_latest_size_for(&latest),
        shmc_bcast_size_for(&bcast), 0, shmc_segment_size_for(&segment)
    };

    w->bytes = (uint64_t)sizes[w->kind];
    w->mem = fuzz_room(w->bytes, w->shape >> 5 & 1);
    switch (w->kind) {
    case SPSC:   (void)shmc_spsc_format(w->mem, w->bytes, &spsc); break;
    case RECQ:   (void)shmc_recq_format(w->mem, w->bytes, &recq); break;
    case MPMC:   (void)shmc_mpmc_format(w->mem, w->bytes, &mpmc); break;
    case LATEST: (void)shmc_latest_format(w->mem, w->bytes, &latest); break;
    case BCAST:  (void)shmc_bcast_format(w->mem, w->bytes, &bcast); break;
    default:
        FUZZ_EQUAL(shmc_segment_format(w->mem, w->bytes, &segment), SHMC_OK);
    }
}

static void
step_handle(world *w, handle *h, uint8_t op, uint8_t arg)
{
    close_handle(h);
    if (w->kind != KINDS) map_handle(w, h, arg & 7);
    else open_handle(w, h, &w->s[op & 1], (op >> 1) % KINDS, arg & 7);
}

/* Close all that is open.                                                 */
static void
end(world *w)
{
    for (int i = 0; i < SEGMENTS; i++) leave(w, &w->s[i], false);
    for (int i = 0; i < HANDLES; i++) close_handle(&w->h[i]);
}

#endif /* HOSTILE_H */
