/* Fuzzes the queue of records: any sequence of calls of both sides must
 * answer as a plain model does.
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

typedef struct world {
    uint8_t *mem, *buffer;
    uint64_t bytes;
    uint32_t limit, most;
    bool     waitable;
    shmc_recq p, c, o;
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

static void
push(world *w, uint32_t bytes, bool waiting)
{
    uint64_t at = 0;
    int should = w->loaned ? SHMC_EINVAL : bytes > w->most ? SHMC_EMSGSIZE
                                         : place(w, w->tail, bytes, &at);

    if (waiting && !w->waitable) should = SHMC_ENOTSUP;
    fuzz_write(w->buffer, bytes, w->pushed);
    const void *from = bytes != 0 ? w->buffer : NULL;
    FUZZ_EQUAL(waiting ? shmc_recq_push_wait(&w->p, from, bytes, 0)
                       : shmc_recq_push(&w->p, from, bytes), should);
    if (should == SHMC_OK) add(w, at, bytes);
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
pop(world *w, uint32_t room, bool waiting)
{
    const int next = reads(w, UINT32_MAX);
    int should = reads(w, room);

    FUZZ_EQUAL(shmc_recq_next_bytes(&w->c), next);
    if (waiting && !w->waitable) should = SHMC_ENOTSUP;
    FUZZ_EQUAL(waiting ? shmc_recq_pop_wait(&w->c, w->buffer, room, 0)
                       : shmc_recq_pop(&w->c, w->buffer, room), should);
    if (should < 0) return;
    FUZZ_REQUIRE(fuzz_reads(w->buffer, (uint32_t)should, oldest(w)->id));
    take(w);
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
    const int is = shmc_recq_push_n(&w->p, items, count);
    for (uint32_t i = 0; should == SHMC_OK && i < count; i++) {
        uint64_t at;
        should = place(w, w->tail, items[i].bytes, &at);
        if (should != SHMC_OK) break;
        add(w, at, items[i].bytes);
        done++;
    }
    FUZZ_EQUAL(is, done != 0 ? done : should);
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
    const int is = shmc_recq_pop_n(&w->c, buffers, count);
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
}

static void
loan(world *w, uint32_t bytes)
{
    uint64_t at = 0;
    const int should = w->loaned ? SHMC_EINVAL : bytes > w->most
                     ? SHMC_EMSGSIZE : place(w, w->tail, bytes, &at);
    void *data = NULL;

    FUZZ_EQUAL(shmc_recq_loan(&w->p, bytes, &data), should);
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(fuzz_inside(w->mem + 640, w->bytes - 640, data, bytes));
    fuzz_write(data, bytes, w->pushed);
    w->loaned = true;
    w->loan_bytes = bytes;
    w->loan_at = at;
}

static void
commit(world *w, uint32_t bytes)
{
    const bool good = w->loaned && bytes <= w->loan_bytes;

    FUZZ_EQUAL(shmc_recq_commit(&w->p, bytes), good ? SHMC_OK : SHMC_EINVAL);
    if (!good) return;
    add(w, w->loan_at, bytes);
    w->loaned = false;
}

static void
give_up(world *w)
{
    FUZZ_EQUAL(shmc_recq_abort(&w->p), w->loaned ? SHMC_OK : SHMC_EINVAL);
    w->loaned = false;
}

static void
borrow(world *w)
{
    const int should = reads(w, UINT32_MAX);
    const void *data = NULL;

    FUZZ_EQUAL(shmc_recq_borrow(&w->c, &data), should);
    if (should < 0) return;
    FUZZ_REQUIRE(fuzz_inside(w->mem + 640, w->bytes - 640, data,
                             (uint32_t)should));
    FUZZ_REQUIRE(fuzz_reads(data, (uint32_t)should, oldest(w)->id));
    w->borrowed = true;
}

static void
release(world *w)
{
    FUZZ_EQUAL(shmc_recq_release(&w->c), w->borrowed ? SHMC_OK : SHMC_EINVAL);
    if (w->borrowed) take(w);
    w->borrowed = false;
}

static void
reopen(world *w, bool producer)
{
    shmc_recq *q = producer ? &w->p : &w->c;

    FUZZ_EQUAL(shmc_recq_close(q), SHMC_OK);
    FUZZ_EQUAL(shmc_recq_push(q, w->buffer, 1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_recq_pop(q, w->buffer, 1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_recq_map(q, w->mem, w->bytes, producer ? SHMC_PRODUCER
                                                           : SHMC_CONSUMER),
               SHMC_OK);
    if (producer) w->loaned = false;
    else w->borrowed = false;
}

static void
look(world *w)
{
    shmc_recq_stats s;

    FUZZ_EQUAL(shmc_recq_used_bytes(&w->o), w->tail - w->head);
    FUZZ_EQUAL(shmc_recq_max_bytes(&w->c), w->most);
    FUZZ_EQUAL(shmc_recq_stats_get(&w->o, &s), SHMC_OK);
    FUZZ_REQUIRE(s.pushed_bytes == w->tail && s.popped_bytes == w->head);
    FUZZ_EQUAL(s.capacity_bytes, w->limit);
    FUZZ_EQUAL(shmc_recq_push(&w->c, w->buffer, 1), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_recq_next_bytes(&w->p), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_recq_pop(&w->o, w->buffer, 1), SHMC_EINVAL);
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t op = fuzz_u8(in);
    const uint32_t few = op >> 4;

    switch (op & 15) {
    case 0:  push(w, fuzz_u8(in), false); break;
    case 1:  pop(w, fuzz_u8(in), false); break;
    case 2:  push(w, few, false); break;
    case 3:  pop(w, 255, false); break;
    case 4:  loan(w, fuzz_u8(in)); break;
    case 5:  commit(w, few * 16); break;
    case 6:  borrow(w); break;
    case 7:  release(w); break;
    case 8:  push_n(w, in, few); break;
    case 9:  pop_n(w, in, few); break;
    case 10: push(w, fuzz_u16(in) % BUFFER, true); break;
    case 11: pop(w, few * 16, true); break;
    case 12: give_up(w); break;
    case 13: look(w); break;
    case 14: reopen(w, few & 1); break;
    default: commit(w, fuzz_u8(in)); break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    shmc_recq_desc d = { 0 };
    world w;

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    const uint8_t shape = fuzz_u8(&in);
    d.capacity_bytes = w.limit = 256u << (shape & 1);
    d.waitable = w.waitable = (shape & 2) != 0;
    w.most = w.limit / 2 - 8;
    w.bytes = (uint64_t)shmc_recq_size_for(&d);
    w.mem = fuzz_memory(w.bytes);
    w.buffer = fuzz_memory(BUFFER);
    FUZZ_EQUAL(shmc_recq_format(w.mem, w.bytes, &d), SHMC_OK);
    shmi_lane_shm *shm = (shmi_lane_shm *)(void *)w.mem;
    w.tail = w.head = fuzz_start(&in) & ~UINT64_C(7);
    shm->tail.index = shm->head.index = w.tail;
    FUZZ_EQUAL(shmc_recq_map(&w.p, w.mem, w.bytes, SHMC_PRODUCER), SHMC_OK);
    FUZZ_EQUAL(shmc_recq_map(&w.c, w.mem, w.bytes, SHMC_CONSUMER), SHMC_OK);
    FUZZ_EQUAL(shmc_recq_map(&w.o, w.mem, w.bytes, SHMC_OBSERVER), SHMC_OK);
    while (fuzz_more(&in)) step(&w, &in);
    look(&w);
    if (w.borrowed) release(&w);
    while (left(&w) != 0) pop(&w, 255, false);
    pop(&w, 255, false);
    FUZZ_EQUAL(shmc_recq_used_bytes(&w.o), 0);
    free(w.buffer);
    free(w.mem);
    return 0;
}
