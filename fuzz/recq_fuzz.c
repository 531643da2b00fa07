/* Fuzzes the queue of records: any sequence of calls of both sides must
 * answer as a plain model does, also where a side dies and another takes its
 * place.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_recq.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 16, RECORDS = 256, BUFFER = 1024 };

typedef struct record {
    uint64_t start, end;            /* indices, with the padding before it  */
    uint64_t id;
    uint32_t bytes;
} record;

typedef struct side {
    shmc_recq q;
    shmc_segment s;                 /* where there is one                   */
    bool died, told;                /* its last holder; and the peer knows  */
} side;

typedef struct world {
    shmc_recq_desc d;
    uint8_t *mem, *ring, *buffer;
    uint64_t bytes, ring_bytes;
    uint32_t limit, most;
    bool     waitable, mortal;      /* mortal: in a segment                 */
    side     p, c, o;
    record   at[RECORDS];           /* the model: record i is at[i % RECORDS] */
    uint64_t pushed, popped;        /* how many                             */
    uint64_t tail, head;            /* indices                              */
    bool     loaned, borrowed;
    uint32_t loan_bytes;
    uint64_t loan_at;
} world;

static uint32_t
left(const world *w) { return (uint32_t)(w->pushed - w->popped); }

static record *
oldest(world *w) { return &w->at[w->popped % RECORDS]; }

/* Where a record would begin, and whether there is room.                  */
static int
place(const world *w, uint64_t tail, uint32_t bytes, uint64_t *at)
{
    const uint64_t span = 8 + ((uint64_t)bytes + 7) / 8 * 8;
    const uint64_t piece = w->limit - tail % w->limit;

    *at = tail + (span > piece ? piece : 0);
    return *at + span - w->head <= w->limit ? SHMC_OK : SHMC_EAGAIN;
}

static void
add(world *w, uint64_t at, uint32_t bytes)
{
    record *r = &w->at[w->pushed % RECORDS];

    r->start = w->tail;
    r->end = at + 8 + (bytes + 7) / 8 * 8;
    r->bytes = bytes;
    r->id = w->pushed++;
    w->tail = r->end;
}

static void
take(world *w)
{
    w->head = oldest(w)->end;
    w->popped++;
}

/* Who rings must have woken whoever says that he sleeps.                  */
static void
check_bell(const world *w, const shmi_bell_shm *bell, int moved)
{
    FUZZ_REQUIRE(moved <= 0 || !w->waitable || bell->asleep == 0);
}

/* The answer of a call that waits: what a try answers, or that time is up,
 * or once that the peer died.                                             */
static void
waited(int is, int should, int64_t timeout_ns, side *peer)
{
    if (should != SHMC_EAGAIN || timeout_ns == 0) {
        FUZZ_EQUAL(is, should);
    } else if (is == SHMC_EPEERDEAD) {
        FUZZ_REQUIRE(peer->died && !peer->told);
        peer->told = true;
    } else {
        FUZZ_EQUAL(is, SHMC_ETIMEDOUT);
    }
}

static void
push(world *w, uint32_t bytes, int64_t timeout_ns)
{
    uint64_t at = 0;
    int should = w->loaned ? SHMC_EINVAL : bytes > w->most ? SHMC_EMSGSIZE
                                         : place(w, w->tail, bytes, &at);

    fuzz_write(w->buffer, bytes, w->pushed);
    const void *from = bytes != 0 ? w->buffer : NULL;
    if (timeout_ns < 0) {
        FUZZ_EQUAL(shmc_recq_push(&w->p.q, from, bytes), should);
    } else {
        if (!w->waitable) should = SHMC_ENOTSUP;
        waited(shmc_recq_push_wait(&w->p.q, from, bytes, timeout_ns), should,
               timeout_ns, &w->c);
    }
    if (should != SHMC_OK) return;
    add(w, at, bytes);
    check_bell(w, &w->p.q.lane.shm->readable, 1);
}

/* What a call answers that reads the oldest record into `room` bytes.     */
static int
reads(world *w, uint32_t room)
{
    if (w->borrowed) return SHMC_EINVAL;
    if (left(w) == 0) return SHMC_EAGAIN;
    return oldest(w)->bytes > room ? SHMC_EMSGSIZE : (int)oldest(w)->bytes;
}

static void
pop(world *w, uint32_t room, int64_t timeout_ns)
{
    const int next = reads(w, UINT32_MAX);
    int should = reads(w, room);

    FUZZ_EQUAL(shmc_recq_next_bytes(&w->c.q), next);
    if (timeout_ns < 0) {
        FUZZ_EQUAL(shmc_recq_pop(&w->c.q, w->buffer, room), should);
    } else {
        if (!w->waitable) should = SHMC_ENOTSUP;
        waited(shmc_recq_pop_wait(&w->c.q, w->buffer, room, timeout_ns), should,
               timeout_ns, &w->p);
    }
    if (should < 0) return;
    FUZZ_REQUIRE(fuzz_reads(w->buffer, (uint32_t)should, oldest(w)->id));
    take(w);
    check_bell(w, &w->c.q.lane.shm->writable, 1);
}

static void
push_n(world *w, fuzz_input *in, uint32_t count)
{
    shmc_recq_item items[MOST];
    uint8_t *from = w->buffer;
    int should = w->loaned || count == 0 ? SHMC_EINVAL : SHMC_OK, done = 0;

    for (uint32_t i = 0; i < count; i++) {
        items[i].data = from;
        items[i].bytes = fuzz_u8(in) & 63;
        fuzz_write(from, items[i].bytes, w->pushed + i);
        from += items[i].bytes;
        if (items[i].bytes > w->most && should == SHMC_OK) should = SHMC_EMSGSIZE;
    }
    const int is = shmc_recq_push_n(&w->p.q, items, count);
    for (uint32_t i = 0; should == SHMC_OK && i < count; i++) {
        uint64_t at;
        should = place(w, w->tail, items[i].bytes, &at);
        if (should != SHMC_OK) break;
        add(w, at, items[i].bytes);
        done++;
    }
    FUZZ_EQUAL(is, done != 0 ? done : should);
    check_bell(w, &w->p.q.lane.shm->readable, is);
}

static void
pop_n(world *w, fuzz_input *in, uint32_t count)
{
    shmc_recq_buffer buffers[MOST];
    uint8_t *to = w->buffer;
    int should = w->borrowed || count == 0 ? SHMC_EINVAL : SHMC_OK, done = 0;

    for (uint32_t i = 0; i < count; i++) {
        buffers[i].data = to;
        buffers[i].bytes = 0;
        buffers[i].capacity_bytes = fuzz_u8(in) & 63;
        to += buffers[i].capacity_bytes;
    }
    const int is = shmc_recq_pop_n(&w->c.q, buffers, count);
    for (uint32_t i = 0; should == SHMC_OK && i < count; i++) {
        should = reads(w, buffers[i].capacity_bytes);
        if (should < 0) break;
        FUZZ_EQUAL(buffers[i].bytes, should);
        FUZZ_REQUIRE(fuzz_reads(buffers[i].data, buffers[i].bytes,
                                oldest(w)->id));
        take(w);
        should = SHMC_OK;
        done++;
    }
    FUZZ_EQUAL(is, done != 0 ? done : should);
    check_bell(w, &w->c.q.lane.shm->writable, is);
}

static void
loan(world *w, uint32_t bytes)
{
    uint64_t at = 0;
    const int should = w->loaned ? SHMC_EINVAL : bytes > w->most
                     ? SHMC_EMSGSIZE : place(w, w->tail, bytes, &at);
    void *data = NULL;

    FUZZ_EQUAL(shmc_recq_loan(&w->p.q, bytes, &data), should);
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(fuzz_inside(w->ring + 640, w->ring_bytes - 640, data, bytes));
    fuzz_write(data, bytes, w->pushed);
    w->loaned = true;
    w->loan_bytes = bytes;
    w->loan_at = at;
}

static void
commit(world *w, uint32_t bytes)
{
    const bool good = w->loaned && bytes <= w->loan_bytes;

    FUZZ_EQUAL(shmc_recq_commit(&w->p.q, bytes), good ? SHMC_OK : SHMC_EINVAL);
    if (!good) return;
    add(w, w->loan_at, bytes);
    w->loaned = false;
}

static void
give_up(world *w)
{
    FUZZ_EQUAL(shmc_recq_abort(&w->p.q), w->loaned ? SHMC_OK : SHMC_EINVAL);
    w->loaned = false;
}

static void
borrow(world *w)
{
    const int should = reads(w, UINT32_MAX);
    const void *data = NULL;

    FUZZ_EQUAL(shmc_recq_borrow(&w->c.q, &data), should);
    if (should < 0) return;
    FUZZ_REQUIRE(fuzz_inside(w->ring + 640, w->ring_bytes - 640, data,
                             (uint32_t)should));
    FUZZ_REQUIRE(fuzz_reads(data, (uint32_t)should, oldest(w)->id));
    w->borrowed = true;
}

static void
release(world *w)
{
    FUZZ_EQUAL(shmc_recq_release(&w->c.q), w->borrowed ? SHMC_OK : SHMC_EINVAL);
    if (w->borrowed) take(w);
    w->borrowed = false;
}

/* Every call of the wrong side, or of no side at all, with the same answer. */
static void
refused(const world *w, shmc_recq *q, bool push_too, bool pop_too, int code)
{
    shmc_recq_item item = { w->buffer, 1 };
    shmc_recq_buffer buffer = { w->buffer, BUFFER, 0 };
    void *data = w->buffer;
    const void *view = w->buffer;

    if (push_too) {
        FUZZ_EQUAL(shmc_recq_push(q, w->buffer, 1), code);
        FUZZ_EQUAL(shmc_recq_push_n(q, &item, 1), code);
        FUZZ_EQUAL(shmc_recq_push_wait(q, w->buffer, 1, -1), code);
        FUZZ_EQUAL(shmc_recq_loan(q, 1, &data), code);
        FUZZ_REQUIRE(data == NULL);
        FUZZ_EQUAL(shmc_recq_commit(q, 0), code);
        FUZZ_EQUAL(shmc_recq_abort(q), code);
    }
    if (pop_too) {
        FUZZ_EQUAL(shmc_recq_pop(q, w->buffer, BUFFER), code);
        FUZZ_EQUAL(shmc_recq_next_bytes(q), code);
        FUZZ_EQUAL(shmc_recq_pop_n(q, &buffer, 1), code);
        FUZZ_EQUAL(shmc_recq_pop_wait(q, w->buffer, BUFFER, -1), code);
        FUZZ_EQUAL(shmc_recq_borrow(q, &view), code);
        FUZZ_REQUIRE(view == NULL);
        FUZZ_EQUAL(shmc_recq_release(q), code);
    }
}

/* Calls that must be refused.                                             */
static void
misuse(world *w)
{
    shmc_recq_stats s;

    refused(w, &w->c.q, true, false, SHMC_EINVAL);
    refused(w, &w->p.q, false, true, SHMC_EINVAL);
    refused(w, &w->o.q, true, true, SHMC_EINVAL);
    shmi_fork_epoch++;              /* as the handles look to a child       */
    refused(w, &w->p.q, true, true, SHMC_EFORKED);
    refused(w, &w->c.q, true, true, SHMC_EFORKED);
    FUZZ_EQUAL(shmc_recq_stats_get(&w->o.q, &s), SHMC_EFORKED);
    shmi_fork_epoch--;
}

static void
open_side(world *w, side *s, uint32_t role)
{
    memset(s, 0, sizeof *s);
    if (w->mortal) {
        FUZZ_EQUAL(shmc_segment_map(&s->s, w->mem, w->bytes), SHMC_OK);
        FUZZ_EQUAL(shmc_recq_open(&s->q, &s->s, "q", &w->d, role), SHMC_OK);
    } else {
        FUZZ_EQUAL(shmc_recq_map(&s->q, w->mem, w->bytes, role), SHMC_OK);
    }
}

static void
close_side(world *w, side *s)
{
    shmc_recq_stats stats;

    FUZZ_EQUAL(shmc_recq_close(&s->q), SHMC_OK);
    FUZZ_EQUAL(shmc_recq_close(&s->q), SHMC_ECLOSED);
    refused(w, &s->q, true, true, SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_recq_stats_get(&s->q, &stats), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_recq_used_bytes(&s->q), 0);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_close(&s->s), SHMC_OK);
}

/* Another takes the side: after its holder has left, or in a segment died,
 * before the other side looks or after.                                   */
static void
reopen(world *w, bool producer, uint32_t how)
{
    side *s = producer ? &w->p : &w->c;
    const uint32_t role = producer ? SHMC_PRODUCER : SHMC_CONSUMER;
    shmc_recq q;

    if (w->mortal)
        FUZZ_EQUAL(shmc_recq_open(&q, &w->o.s, "q", &w->d, role), SHMC_EBUSY);
    if (w->mortal && (how & 1)) {
        FUZZ_EQUAL(shmc_segment_close(&s->s), SHMC_OK);
        s->died = true;
        if (how & 2 && producer) pop(w, 255, 1);
        else if (how & 2) push(w, 9, 1);
    } else {
        close_side(w, s);
    }
    if (producer) w->loaned = false;
    else w->borrowed = false;
    open_side(w, s, role);
}

static void
look(world *w, bool asleep)
{
    shmc_recq_stats s;

    FUZZ_EQUAL(shmc_recq_used_bytes(&w->o.q), w->tail - w->head);
    FUZZ_EQUAL(shmc_recq_max_bytes(&w->c.q), w->most);
    FUZZ_EQUAL(shmc_recq_stats_get(&w->o.q, &s), SHMC_OK);
    FUZZ_REQUIRE(s.pushed_bytes == w->tail && s.popped_bytes == w->head);
    FUZZ_REQUIRE(s.used_bytes == w->tail - w->head && s.max_bytes == w->most);
    FUZZ_REQUIRE(s.capacity_bytes == w->limit && s.waitable == w->waitable);
    FUZZ_REQUIRE(s.producer_alive && s.consumer_alive);
    FUZZ_REQUIRE(s.producer_pid == s.consumer_pid && s.producer_pid != 0);
    if (!asleep) return;
    w->p.q.lane.shm->readable.asleep = w->p.q.lane.shm->writable.asleep = 1;
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t op = fuzz_u8(in);
    const uint32_t few = op >> 4;

    switch (op & 15) {
    case 0:  push(w, fuzz_u8(in), -1); break;
    case 1:  pop(w, fuzz_u8(in), -1); break;
    case 2:  push(w, few, -1); break;
    case 3:  pop(w, 255, -1); break;
    case 4:  loan(w, fuzz_u8(in)); break;
    case 5:  commit(w, few * 16); break;
    case 6:  borrow(w); break;
    case 7:  release(w); break;
    case 8:  push_n(w, in, few); break;
    case 9:  pop_n(w, in, few); break;
    case 10: push(w, fuzz_u16(in) % BUFFER, few & 1); break;
    case 11: pop(w, few * 16, few & 1); break;
    case 12: give_up(w); break;
    case 13: look(w, few & 1); break;
    case 14: reopen(w, few & 1, few >> 1); break;
    default: if (few & 1) misuse(w); else commit(w, fuzz_u8(in)); break;
    }
}

/* Make the queue, in memory of its own or in a segment, beginning at an
 * index other than 0.                                                     */
static void
create(world *w, fuzz_input *in)
{
    const shmc_segment_desc sd = { .heap_bytes = 4096, .max_objects = 1,
                                   .max_participants = 4 };

    w->bytes = (uint64_t)(w->mortal ? shmc_segment_size_for(&sd)
                                    : shmc_recq_size_for(&w->d));
    w->mem = fuzz_room(w->bytes, in->size & 1);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_format(w->mem, w->bytes, &sd), 0);
    else FUZZ_EQUAL(shmc_recq_format(w->mem, w->bytes, &w->d), SHMC_OK);
    open_side(w, &w->p, SHMC_PRODUCER);
    shmi_lane_shm *shm = w->p.q.lane.shm;
    w->ring = (uint8_t *)shm;
    w->ring_bytes = w->mortal ? w->p.q.lane.object.bytes : w->bytes;
    w->tail = w->head = fuzz_start(in) & ~UINT64_C(7);
    shm->tail.index = shm->head.index = w->tail;
    close_side(w, &w->p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    static world w;

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    const uint8_t shape = fuzz_u8(&in);
    w.d.capacity_bytes = w.limit = 256u << (shape & 1);
    w.d.waitable = w.waitable = (shape & 2) != 0;
    w.mortal = (shape & 4) != 0;
    w.most = w.limit / 2 - 8;
    w.buffer = fuzz_memory(BUFFER);
    create(&w, &in);
    open_side(&w, &w.p, SHMC_PRODUCER);
    open_side(&w, &w.c, SHMC_CONSUMER);
    open_side(&w, &w.o, SHMC_OBSERVER);
    while (fuzz_more(&in)) step(&w, &in);
    look(&w, false);
    if (w.borrowed) release(&w);
    while (left(&w) != 0) pop(&w, 255, -1);
    pop(&w, 255, -1);
    FUZZ_EQUAL(shmc_recq_used_bytes(&w.o.q), 0);
    close_side(&w, &w.p);
    close_side(&w, &w.c);
    close_side(&w, &w.o);
    free(w.buffer);
    return 0;
}
