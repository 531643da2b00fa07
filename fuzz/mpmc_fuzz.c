/* Fuzzes the MPMC queue: as long as nobody dies, any sequence of calls of
 * several handles must answer as a plain model does.  Where a handle's
 * participant dies with a loan or a borrowed message, every message must
 * still come out once, and the queue be usable afterwards.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HANDLES = 5, SLOTS_MAX = 16, MOST = 24, MESSAGES = 8192,
       PATIENCE = 2200,             /* calls until a death must be settled, */
       PATIENCE_LOOKING = 24 };     /* and of those that look each time     */

enum { CELL_FREE, CELL_LOANED, CELL_FULL, CELL_TOMB, CELL_HELD };
enum { MSG_NONE, MSG_QUEUED, MSG_HELD, MSG_MAYBE, MSG_DONE };

typedef struct handle {
    shmc_mpmc q;
    shmc_segment s;
    bool     open, loaned, borrowed;
    uint32_t role;
    uint64_t loan_at, borrow_at;    /* positions from 0 on                  */
    uint64_t loan_id, borrow_id;
} handle;

typedef struct world {
    uint8_t *mem, *batch;
    uint64_t bytes;
    shmc_mpmc_desc d;
    bool     mortal, dead;          /* in a segment; somebody has died      */
    bool     slow;                  /* let deaths be noticed by themselves  */
    handle   h[HANDLES];
    uint64_t tail, head, tombs, skipped;        /* the model, while !dead   */
    struct { int kind; uint64_t id; } cell[SLOTS_MAX];
    uint8_t  message[MESSAGES];
    uint64_t next_id;
} world;

static void
put_message(const world *w, void *to, uint64_t id)
{
    fuzz_write(to, w->d.slot_bytes, id);
    memcpy(to, &id, sizeof id);
}

/* Which message is it?  All of its bytes must agree.                      */
static uint64_t
message_id(const world *w, const void *from)
{
    uint64_t id;
    uint8_t should[64];

    memcpy(&id, from, sizeof id);
    put_message(w, should, id);
    FUZZ_REQUIRE(id < MESSAGES && memcmp(from, should, w->d.slot_bytes) == 0);
    return id;
}

/* ---- the model of a queue in which nobody died ------------------------- */

static uint32_t
room(const world *w, uint32_t want)
{
    uint32_t n = 0;
    while (n < want && n < w->d.slot_count &&
           w->cell[(w->tail + n) % w->d.slot_count].kind == CELL_FREE) n++;
    return n;
}

/* Messages that can be popped now, the tombs before them being passed.    */
static uint32_t
ready(world *w, uint32_t want)
{
    uint32_t n = 0;
    while (w->head != w->tail &&
           w->cell[w->head % w->d.slot_count].kind == CELL_TOMB) {
        w->cell[w->head++ % w->d.slot_count].kind = CELL_FREE;
        w->skipped++;
    }
    while (n < want && w->head + n != w->tail &&
           w->cell[(w->head + n) % w->d.slot_count].kind == CELL_FULL) n++;
    return n;
}

static uint64_t
model_push(world *w, int kind, uint64_t id)
{
    w->cell[w->tail % w->d.slot_count].kind = kind;
    w->cell[w->tail % w->d.slot_count].id = id;
    return w->tail++;
}

static uint64_t
model_pop(world *w, int kind, uint64_t id)
{
    FUZZ_REQUIRE(w->cell[w->head % w->d.slot_count].id == id);
    w->cell[w->head % w->d.slot_count].kind = kind;
    return w->head++;
}

/* ---- calls ------------------------------------------------------------- */

/* What a call that moves 1..want answers; after a death anything up to that. */
static void
answered(const world *w, bool may, uint32_t want, uint32_t can, int is,
         bool count)
{
    int should = (int)(want < can ? want : can);

    if (!may || want == 0) should = SHMC_EINVAL;
    else if (w->dead && is == SHMC_EAGAIN) return;
    else if (w->dead) should = is > 0 && is <= (int)want ? is : !count ? 0 : 1;
    else if (should == 0) should = SHMC_EAGAIN;
    else if (!count) should = SHMC_OK;
    FUZZ_EQUAL(is, should);
}

/* how: 0 one, 1 `want` of them, 2 one, waiting for `want` ns (0 or 1)      */
static void
push(world *w, handle *h, uint32_t want, int how)
{
    const bool may = (h->role & SHMC_PRODUCER) && !h->loaned;
    const uint32_t can = room(w, how == 1 ? want : 1);
    int r;

    if (w->next_id + want >= MESSAGES) return;
    for (uint32_t i = 0; i == 0 || i < want; i++)
        put_message(w, w->batch + i * w->d.slot_bytes, w->next_id + i);
    if (how == 2 && !w->d.waitable) {
        FUZZ_EQUAL(shmc_mpmc_push_wait(&h->q, w->batch, w->d.slot_bytes, 0),
                   SHMC_ENOTSUP);
        return;
    }
    if (how == 2) {
        r = shmc_mpmc_push_wait(&h->q, w->batch, w->d.slot_bytes, want & 1);
        if (r == SHMC_ETIMEDOUT && (want & 1)) r = SHMC_EAGAIN;
        want = 1;
        how = 0;
    } else if (how == 0) r = shmc_mpmc_push(&h->q, w->batch, w->d.slot_bytes);
    else r = shmc_mpmc_push_n(&h->q, w->batch, w->d.slot_bytes, want);
    answered(w, may, how == 0 ? 1 : want, can, r, how != 0);
    if (how == 0 && r == SHMC_OK) r = 1;
    for (int i = 0; i < r; i++, w->next_id++) {
        w->message[w->next_id] = MSG_QUEUED;
        if (!w->dead) (void)model_push(w, CELL_FULL, w->next_id);
    }
}

/* A message has come: it was due, and by the model it is the next one.    */
static void
came(world *w, uint64_t id, int now)
{
    FUZZ_REQUIRE(w->message[id] == MSG_QUEUED || w->message[id] == MSG_MAYBE);
    w->message[id] = (uint8_t)now;
}

static void
pop(world *w, handle *h, uint32_t want, int how)
{
    const bool may = (h->role & SHMC_CONSUMER) && !h->borrowed;
    int r;

    if (how == 2 && !w->d.waitable) {
        FUZZ_EQUAL(shmc_mpmc_pop_wait(&h->q, w->batch, w->d.slot_bytes, 0),
                   SHMC_ENOTSUP);
        return;
    }
    const uint32_t can = may && (how != 1 || want != 0)
                       ? ready(w, how == 1 ? want : 1) : 0;
    if (how == 2) {
        r = shmc_mpmc_pop_wait(&h->q, w->batch, w->d.slot_bytes, want & 1);
        if (r == SHMC_ETIMEDOUT && (want & 1)) r = SHMC_EAGAIN;
        want = 1;
        how = 0;
    } else if (how == 0) r = shmc_mpmc_pop(&h->q, w->batch, w->d.slot_bytes);
    else r = shmc_mpmc_pop_n(&h->q, w->batch, w->d.slot_bytes, want);
    answered(w, may, how == 0 ? 1 : want, can, r, how != 0);
    if (how == 0 && r == SHMC_OK) r = 1;
    for (int i = 0; i < r; i++) {
        const uint64_t id = message_id(w, w->batch +
                                          (uint32_t)i * w->d.slot_bytes);
        came(w, id, MSG_DONE);
        if (!w->dead) (void)model_pop(w, CELL_FREE, id);
    }
}

static void
loan(world *w, handle *h)
{
    const bool may = (h->role & SHMC_PRODUCER) && !h->loaned;
    const uint32_t can = room(w, 1);
    void *slot = NULL;

    if (w->next_id == MESSAGES) return;
    const int r = shmc_mpmc_loan(&h->q, &slot);
    answered(w, may, 1, can, r, false);
    FUZZ_REQUIRE((slot != NULL) == (r == SHMC_OK));
    if (r != SHMC_OK) return;
    FUZZ_REQUIRE(fuzz_inside(w->mem, w->bytes, slot, w->d.slot_bytes));
    h->loaned = true;
    h->loan_id = w->next_id++;
    put_message(w, slot, h->loan_id);
    if (!w->dead) h->loan_at = model_push(w, CELL_LOANED, h->loan_id);
}

static void
loan_ended(world *w, handle *h, bool keep)
{
    h->loaned = false;
    if (keep) w->message[h->loan_id] = MSG_QUEUED;
    if (w->dead) return;
    w->cell[h->loan_at % w->d.slot_count].kind = keep ? CELL_FULL : CELL_TOMB;
    w->tombs += !keep;
}

static void
end_loan(world *w, handle *h, bool keep)
{
    FUZZ_EQUAL(keep ? shmc_mpmc_commit(&h->q) : shmc_mpmc_abort(&h->q),
               h->loaned ? SHMC_OK : SHMC_EINVAL);
    if (h->loaned) loan_ended(w, h, keep);
}

static void
borrow(world *w, handle *h)
{
    const bool may = (h->role & SHMC_CONSUMER) && !h->borrowed;
    const uint32_t can = may ? ready(w, 1) : 0;
    const void *slot = NULL;
    const int r = shmc_mpmc_borrow(&h->q, &slot);

    answered(w, may, 1, can, r, false);
    FUZZ_REQUIRE((slot != NULL) == (r == SHMC_OK));
    if (r != SHMC_OK) return;
    FUZZ_REQUIRE(fuzz_inside(w->mem, w->bytes, slot, w->d.slot_bytes));
    h->borrowed = true;
    h->borrow_id = message_id(w, slot);
    came(w, h->borrow_id, MSG_HELD);
    if (!w->dead) h->borrow_at = model_pop(w, CELL_HELD, h->borrow_id);
}

static void
borrow_ended(world *w, handle *h)
{
    h->borrowed = false;
    w->message[h->borrow_id] = MSG_DONE;
    if (!w->dead) w->cell[h->borrow_at % w->d.slot_count].kind = CELL_FREE;
}

static void
release(world *w, handle *h)
{
    FUZZ_EQUAL(shmc_mpmc_release(&h->q), h->borrowed ? SHMC_OK : SHMC_EINVAL);
    if (h->borrowed) borrow_ended(w, h);
}

/* Every call, with the same answer.                                       */
static void
refused(const world *w, shmc_mpmc *q, bool push_too, bool pop_too, int code)
{
    const uint32_t bytes = w->d.slot_bytes;
    void *slot = w->batch;
    const void *view = w->batch;

    if (push_too) {
        FUZZ_EQUAL(shmc_mpmc_push(q, w->batch, bytes), code);
        FUZZ_EQUAL(shmc_mpmc_push_n(q, w->batch, bytes, 1), code);
        FUZZ_EQUAL(shmc_mpmc_loan(q, &slot), code);
        FUZZ_REQUIRE(slot == NULL);
        FUZZ_EQUAL(shmc_mpmc_commit(q), code);
        FUZZ_EQUAL(shmc_mpmc_abort(q), code);
        if (w->d.waitable || code == SHMC_ECLOSED)
            FUZZ_EQUAL(shmc_mpmc_push_wait(q, w->batch, bytes, -1), code);
    }
    if (pop_too) {
        FUZZ_EQUAL(shmc_mpmc_pop(q, w->batch, bytes), code);
        FUZZ_EQUAL(shmc_mpmc_pop_n(q, w->batch, bytes, 1), code);
        FUZZ_EQUAL(shmc_mpmc_borrow(q, &view), code);
        FUZZ_REQUIRE(view == NULL);
        FUZZ_EQUAL(shmc_mpmc_release(q), code);
        if (w->d.waitable || code == SHMC_ECLOSED)
            FUZZ_EQUAL(shmc_mpmc_pop_wait(q, w->batch, bytes, -1), code);
    }
}

static void
misuse(world *w, handle *h)
{
    const uint32_t bytes = w->d.slot_bytes + 1;
    const bool may_push = (h->role & SHMC_PRODUCER) && !h->loaned;
    const bool may_pop = (h->role & SHMC_CONSUMER) && !h->borrowed;
    shmc_mpmc_stats s;

    FUZZ_EQUAL(shmc_mpmc_push(&h->q, w->batch, bytes),
               may_push ? SHMC_EMSGSIZE : SHMC_EINVAL);
    FUZZ_EQUAL(shmc_mpmc_push_n(&h->q, w->batch, bytes, 1),
               may_push ? SHMC_EMSGSIZE : SHMC_EINVAL);
    FUZZ_EQUAL(shmc_mpmc_pop(&h->q, w->batch, bytes),
               may_pop ? SHMC_EMSGSIZE : SHMC_EINVAL);
    FUZZ_EQUAL(shmc_mpmc_pop_n(&h->q, w->batch, bytes, 1),
               may_pop ? SHMC_EMSGSIZE : SHMC_EINVAL);
    if (!w->d.waitable)
        FUZZ_EQUAL(shmc_mpmc_pop_wait(&h->q, w->batch, bytes, 0), SHMC_ENOTSUP);
    refused(w, &h->q, !(h->role & SHMC_PRODUCER), !(h->role & SHMC_CONSUMER),
            SHMC_EINVAL);
    shmi_fork_epoch++;              /* as the handle looks to a child       */
    refused(w, &h->q, true, true, SHMC_EFORKED);
    FUZZ_EQUAL(shmc_mpmc_stats_get(&h->q, &s), SHMC_EFORKED);
    shmi_fork_epoch--;
}

static void
look(const world *w, const handle *h, bool asleep)
{
    shmc_mpmc_stats s;

    FUZZ_EQUAL(shmc_mpmc_stats_get(&h->q, &s), SHMC_OK);
    FUZZ_REQUIRE(s.slot_count == w->d.slot_count && s.used <= s.slot_count &&
                 s.handles <= s.max_handles && s.max_handles == HANDLES);
    if (asleep) h->q.shm->readable.asleep = h->q.shm->writable.asleep = 1;
    if (w->dead) return;
    FUZZ_EQUAL(shmc_mpmc_used(&h->q), w->tail - w->head);
    FUZZ_REQUIRE(s.used == w->tail - w->head && s.tombs == w->tombs &&
                 s.redelivered == 0 && s.dropped == 0);
}

/* ---- lives ------------------------------------------------------------- */

static void
open_handle(world *w, handle *h, uint32_t role)
{
    memset(h, 0, sizeof *h);
    if (w->mortal) {
        FUZZ_EQUAL(shmc_segment_map(&h->s, w->mem, w->bytes), SHMC_OK);
        FUZZ_EQUAL(shmc_mpmc_open(&h->q, &h->s, "q", &w->d, role), SHMC_OK);
    } else {
        FUZZ_EQUAL(shmc_mpmc_map(&h->q, w->mem, w->bytes, role), SHMC_OK);
    }
    h->open = true;
    h->role = role;
}

/* Close by the rules: a loan is aborted, a borrowed message released.     */
static void
close_handle(world *w, handle *h)
{
    shmc_mpmc_stats s;

    /* Half of the time close sees to it itself.                           */
    if (h->loaned && (h->loan_id & 1)) end_loan(w, h, false);
    if (h->borrowed && (h->borrow_id & 1)) release(w, h);
    FUZZ_EQUAL(shmc_mpmc_close(&h->q), SHMC_OK);
    if (h->loaned) loan_ended(w, h, false);
    if (h->borrowed) borrow_ended(w, h);
    FUZZ_EQUAL(shmc_mpmc_close(&h->q), SHMC_ECLOSED);
    refused(w, &h->q, true, true, SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_mpmc_stats_get(&h->q, &s), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_mpmc_used(&h->q), 0);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_close(&h->s), SHMC_OK);
    h->open = false;
}

/* Without a file, a participant is dead when its segment handle is closed. */
static void
kill_handle(world *w, handle *h)
{
    if (!w->mortal) return;
    if (h->borrowed)
        w->message[h->borrow_id] = w->d.on_consumer_death == SHMC_DROP
                                 ? MSG_MAYBE : MSG_QUEUED;
    FUZZ_EQUAL(shmc_segment_close(&h->s), SHMC_OK);
    h->open = false;
    w->dead = true;
}

/* Die in the middle of a push of `want`, when `done` of them are pushed.   */
static void
die_pushing(world *w, handle *h, uint32_t want, uint32_t done)
{
    const uint64_t stride = shmi_mpmc_stride(w->d.slot_bytes);
    uint64_t pos = 0;

    if (!w->mortal || !(h->role & SHMC_PRODUCER) || h->loaned || want == 0 ||
        w->next_id + want >= MESSAGES) return;
    const int n = shmi_mpmc_claim_tail(&h->q, stride, want, &pos);
    FUZZ_REQUIRE(n <= (int)want && (n > 0 || n == SHMC_EAGAIN));
    for (int i = 0; i < n && i < (int)done; i++, pos++) {
        uint64_t *cell = shmi_mpmc_cell(&h->q, stride, pos);
        put_message(w, cell + 1, w->next_id);
        w->message[w->next_id++] = MSG_QUEUED;
        shmi_store_rel_64(cell, shmi_mpmc_word(pos, SHMI_MPMC_FULL));
    }
    kill_handle(w, h);
}

/* The same with a pop: those not done go to others, or are dropped.       */
static void
die_popping(world *w, handle *h, uint32_t want, uint32_t done)
{
    const uint64_t stride = shmi_mpmc_stride(w->d.slot_bytes);
    const int left = w->d.on_consumer_death == SHMC_DROP ? MSG_MAYBE : MSG_QUEUED;
    uint64_t pos = 0;

    if (!w->mortal || !(h->role & SHMC_CONSUMER) || h->borrowed || want == 0)
        return;
    const int n = shmi_mpmc_claim_head(&h->q, stride, want, &pos);
    FUZZ_REQUIRE(n <= (int)want && (n > 0 || n == SHMC_EAGAIN));
    for (int i = 0; i < n; i++, pos++) {
        uint64_t *cell = shmi_mpmc_cell(&h->q, stride, pos);
        came(w, message_id(w, cell + 1), i < (int)done ? MSG_DONE : left);
        if (i < (int)done)
            shmi_store_rel_64(cell, shmi_mpmc_word(pos + w->d.slot_count,
                                                   SHMI_MPMC_FREE));
    }
    kill_handle(w, h);
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t op = fuzz_u8(in), arg = fuzz_u8(in);
    handle *h = &w->h[(op >> 4) % HANDLES];

    if (!h->open) {
        open_handle(w, h, arg % 3 + 1);
        return;
    }
    switch (op & 15) {
    case 0:  push(w, h, 1, 0); break;
    case 1:  push(w, h, arg & 1, 2); break;
    case 2:  pop(w, h, 1, 0); break;
    case 3:  pop(w, h, arg & 1, 2); break;
    case 4:  push(w, h, arg % MOST, 1); break;
    case 5:  pop(w, h, arg % MOST, 1); break;
    case 6:  loan(w, h); break;
    case 7:  case 8: end_loan(w, h, true); break;
    case 9:  end_loan(w, h, false); break;
    case 10: borrow(w, h); break;
    case 11: case 12: release(w, h); break;
    case 13: if (arg & 1) look(w, h, arg & 2); else misuse(w, h); break;
    case 14: close_handle(w, h); break;
    default:
        if (arg & 1) die_pushing(w, h, arg >> 4, arg >> 1 & 7);
        else if (arg & 2) die_popping(w, h, arg >> 4, arg >> 2 & 3);
        else kill_handle(w, h);
        break;
    }
}

/* Everybody lets go; then all that was pushed comes out, and as much as the
 * queue has slots goes in.                                                */
static void
finish(world *w)
{
    handle *last = &w->h[0];

    for (int i = 0; i < HANDLES; i++) {
        if (!w->h[i].open) continue;
        if (w->h[i].loaned) end_loan(w, &w->h[i], i & 1);
        close_handle(w, &w->h[i]);
    }
    const int patience = w->slow ? PATIENCE : PATIENCE_LOOKING;
    open_handle(w, last, SHMC_PRODUCER | SHMC_CONSUMER);
    for (int i = 0; i < patience; i++) {
        if (!w->slow) last->q.look = true;
        const int r = shmc_mpmc_pop(&last->q, w->batch, w->d.slot_bytes);
        if (r == SHMC_EAGAIN && !w->dead) break;
        if (r == SHMC_EAGAIN) continue;
        FUZZ_EQUAL(r, SHMC_OK);
        came(w, message_id(w, w->batch), MSG_DONE);
        i = 0;
    }
    for (uint64_t id = 0; id < w->next_id; id++)
        FUZZ_REQUIRE(w->message[id] != MSG_QUEUED && w->message[id] != MSG_HELD);
    put_message(w, w->batch, 0);
    for (uint32_t n = 0; n < w->d.slot_count; n++) {
        int r = SHMC_EAGAIN;
        for (int i = 0; i < patience && r == SHMC_EAGAIN; i++)
            r = shmc_mpmc_push(&last->q, w->batch, w->d.slot_bytes);
        FUZZ_EQUAL(r, SHMC_OK);
    }
    close_handle(w, last);
}

/* Begin at a position other than 0.                                       */
static void
seed(shmc_mpmc_shm *shm, uint64_t start)
{
    uint8_t *cells = (uint8_t *)(shm + 1) + shm->ring.seats * SHMC_LINE;

    shm->tail = shm->head = start;
    for (uint64_t p = start; p - start < shm->ring.slot_count; p++) {
        const uint64_t word = shmi_mpmc_word(p, SHMI_MPMC_FREE);
        memcpy(cells + (p & (shm->ring.slot_count - 1)) *
               shm->ring.stride_bytes, &word, sizeof word);
    }
}

/* Make the queue, in memory of its own or in a segment.                   */
static void
create(world *w, uint64_t start)
{
    const shmc_segment_desc sd = { .heap_bytes = 4096, .max_objects = 1,
                                   .max_participants = HANDLES + 1 };

    w->bytes = (uint64_t)shmc_mpmc_size_for(&w->d);
    if (w->mortal) w->bytes = (uint64_t)shmc_segment_size_for(&sd);
    w->mem = fuzz_room(w->bytes, start & 1);
    if (w->mortal) {
        FUZZ_EQUAL(shmc_segment_format(w->mem, w->bytes, &sd), SHMC_OK);
        open_handle(w, &w->h[0], SHMC_OBSERVER | SHMC_PRODUCER);
        seed(w->h[0].q.shm, start);
        close_handle(w, &w->h[0]);
    } else {
        FUZZ_EQUAL(shmc_mpmc_format(w->mem, w->bytes, &w->d), SHMC_OK);
        seed((shmc_mpmc_shm *)(void *)w->mem, start);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input in = { data, size };

    memset(w.message, 0, (size_t)w.next_id);    /* of the input before      */
    memset(&w, 0, offsetof(world, message));
    w.next_id = 0;
    shmc_log_set(NULL, NULL, 0);
    const uint8_t shape = fuzz_u8(&in);
    w.d.slot_bytes = 8 + fuzz_u8(&in) % 17u;
    w.d.slot_count = 1u << (shape & 7) % 5;
    w.d.max_handles = HANDLES;
    w.d.on_consumer_death = shape >> 3 & 1;
    w.d.waitable = shape >> 4 & 1;
    w.mortal = (shape & 32) != 0;
    w.slow = (shape >> 6) == 3;
    w.batch = fuzz_memory(MOST * w.d.slot_bytes);
    create(&w, fuzz_start(&in));
    while (fuzz_more(&in)) step(&w, &in);
    finish(&w);
    free(w.batch);
    return 0;
}
