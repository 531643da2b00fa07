/* Fuzzes the latest-value cell: one writer and its readers must answer as a
 * plain model does, views that are overwritten while borrowed included, and
 * where a writer dies and another takes its place.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READERS = 3, WRITER = READERS, SLOTS_MAX = 8 };

typedef struct world {
    shmc_latest_desc d;
    uint8_t *mem, *cell, *value;    /* value: one, of the caller            */
    uint64_t bytes, cell_bytes;
    uint32_t size, slots;
    bool     waitable, mortal, loaned;          /* mortal: in a segment     */
    bool     died;                  /* the last writer                      */
    uint64_t told;                  /* readers that know it, a bit each     */
    shmc_latest q[READERS + 1];     /* the writer, last; an observer before */
    shmc_segment s[READERS + 1];
    uint64_t last;                  /* the model: the newest version        */
    uint64_t stamp[SLOTS_MAX];      /* what each slot holds or will hold    */
    uint64_t known[READERS];        /* the newest that each has returned    */
    uint64_t lent[READERS];         /* version borrowed, 0 = none           */
    const void *view[READERS];
} world;

static uint64_t *
stamp(world *w, uint64_t version) { return &w->stamp[version % w->slots]; }

static void
write_value(world *w)
{
    fuzz_write(w->value, w->size, w->last + 1);
    FUZZ_EQUAL(shmc_latest_write(&w->q[WRITER], w->value, w->size),
               w->loaned ? SHMC_EINVAL : SHMC_OK);
    if (w->loaned) return;
    w->last++;
    *stamp(w, w->last) = w->last;
    FUZZ_REQUIRE(!w->waitable || w->q[WRITER].shm->readable.asleep == 0);
}

static void
loan(world *w)
{
    void *slot = NULL;

    FUZZ_EQUAL(shmc_latest_loan(&w->q[WRITER], &slot), w->loaned ? SHMC_EINVAL
                                                         : SHMC_OK);
    if (w->loaned) return;
    FUZZ_REQUIRE(fuzz_inside(w->cell + 384, w->cell_bytes - 384, slot, w->size));
    FUZZ_REQUIRE((uintptr_t)slot % SHMC_LINE == 0);
    fuzz_write(slot, w->size, w->last + 1);
    *stamp(w, w->last + 1) = w->last + 1;
    w->loaned = true;
}

static void
end_loan(world *w, bool keep)
{
    FUZZ_EQUAL(keep ? shmc_latest_commit(&w->q[WRITER]) : shmc_latest_abort(&w->q[WRITER]),
               w->loaned ? SHMC_OK : SHMC_EINVAL);
    if (w->loaned && keep) w->last++;
    w->loaned = false;
}

/* Read through any handle, the writer's too.                              */
static void
read_value(world *w, uint32_t i)
{
    const int should = w->last == 0 ? SHMC_EAGAIN : SHMC_OK;
    uint64_t version = 0;

    FUZZ_EQUAL(shmc_latest_read(&w->q[i], w->value, w->size, &version), should);
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(version == w->last);
    FUZZ_REQUIRE(fuzz_reads(w->value, w->size, version));
    if (i != WRITER) w->known[i] = version;
}

/* Wait for a newer one: none came, or once that the writer died.          */
static void
wait_value(world *w, uint32_t i, int64_t timeout_ns)
{
    const bool none = w->known[i] == w->last;
    uint64_t version = 0;
    const int r = shmc_latest_read_wait(&w->q[i], w->value, w->size,
                                        i & 1 ? &version : NULL, timeout_ns);

    if (!w->waitable) {
        FUZZ_EQUAL(r, SHMC_ENOTSUP);
    } else if (none && r == SHMC_EPEERDEAD) {
        FUZZ_REQUIRE(timeout_ns != 0 && w->died && !(w->told >> i & 1));
        w->told |= UINT64_C(1) << i;
    } else if (none) {
        FUZZ_EQUAL(r, timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
    } else {
        FUZZ_EQUAL(r, SHMC_OK);
        FUZZ_REQUIRE(!(i & 1) || version == w->last);
        FUZZ_REQUIRE(fuzz_reads(w->value, w->size, w->last));
        w->known[i] = w->last;
    }
}

static void
borrow(world *w, uint32_t i)
{
    const int should = w->last == 0 ? SHMC_EAGAIN : SHMC_OK;
    uint64_t version = 0;

    FUZZ_EQUAL(shmc_latest_borrow(&w->q[i], &w->view[i], &version), should);
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(version == w->last);
    FUZZ_REQUIRE(fuzz_inside(w->cell + 384, w->cell_bytes - 384, w->view[i], w->size));
    w->lent[i] = version;
}

/* The view is the version's if and only if release says so.               */
static void
release(world *w, uint32_t i)
{
    if (w->lent[i] == 0) return;
    const bool whole = *stamp(w, w->lent[i]) == w->lent[i];

    if (whole) FUZZ_REQUIRE(fuzz_reads(w->view[i], w->size, w->lent[i]));
    FUZZ_EQUAL(shmc_latest_release(&w->q[i], w->lent[i]),
               whole ? SHMC_OK : SHMC_ELAPPED);
    if (whole && w->lent[i] > w->known[i]) w->known[i] = w->lent[i];
}

/* Every call, with the same answer.                                       */
static void
refused(const world *w, shmc_latest *c, bool write_too, bool read_too, int code)
{
    void *slot = w->value;
    const void *view = w->value;
    uint64_t version = 0;

    if (write_too) {
        FUZZ_EQUAL(shmc_latest_write(c, w->value, w->size), code);
        FUZZ_EQUAL(shmc_latest_loan(c, &slot), code);
        FUZZ_REQUIRE(slot == NULL);
        FUZZ_EQUAL(shmc_latest_commit(c), code);
        FUZZ_EQUAL(shmc_latest_abort(c), code);
    }
    if (read_too) {
        FUZZ_EQUAL(shmc_latest_read(c, w->value, w->size, NULL), code);
        FUZZ_EQUAL(shmc_latest_read_wait(c, w->value, w->size, NULL, -1), code);
        FUZZ_EQUAL(shmc_latest_borrow(c, &view, &version), code);
        FUZZ_REQUIRE(view == NULL);
        FUZZ_EQUAL(shmc_latest_release(c, 1), code);
    }
}

static void
misuse(world *w, uint32_t i)
{
    shmc_latest_stats s;

    FUZZ_EQUAL(shmc_latest_read(&w->q[i], w->value, w->size + 1, NULL),
               SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_latest_read_wait(&w->q[i], w->value, w->size + 1, NULL, -1),
               SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_latest_write(&w->q[WRITER], w->value, w->size + 1),
               w->loaned ? SHMC_EINVAL : SHMC_EMSGSIZE);
    refused(w, &w->q[i], true, false, SHMC_EINVAL);
    shmi_fork_epoch++;              /* as the handles look to a child       */
    refused(w, &w->q[i], true, true, SHMC_EFORKED);
    refused(w, &w->q[WRITER], true, true, SHMC_EFORKED);
    FUZZ_EQUAL(shmc_latest_stats_get(&w->q[i], &s), SHMC_EFORKED);
    shmi_fork_epoch--;
}

static void
open_handle(world *w, uint32_t i)
{
    const uint32_t role = i == WRITER ? SHMC_PRODUCER
                        : i == READERS - 1 ? SHMC_OBSERVER : SHMC_CONSUMER;

    if (w->mortal) {
        FUZZ_EQUAL(shmc_segment_map(&w->s[i], w->mem, w->bytes), SHMC_OK);
        FUZZ_EQUAL(shmc_latest_open(&w->q[i], &w->s[i], "c", &w->d, role),
                   SHMC_OK);
    } else {
        FUZZ_EQUAL(shmc_latest_map(&w->q[i], w->mem, w->bytes, role), SHMC_OK);
    }
    w->told &= ~(UINT64_C(1) << i);
    if (i == WRITER) w->told = 0;
    if (i == WRITER) w->died = w->loaned = false;
    else w->known[i] = w->lent[i] = 0;
}

static void
close_handle(world *w, uint32_t i)
{
    shmc_latest_stats s;

    FUZZ_EQUAL(shmc_latest_close(&w->q[i]), SHMC_OK);
    FUZZ_EQUAL(shmc_latest_close(&w->q[i]), SHMC_ECLOSED);
    refused(w, &w->q[i], true, true, SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_latest_stats_get(&w->q[i], &s), SHMC_ECLOSED);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_close(&w->s[i]), SHMC_OK);
}

/* Another takes the handle's place, when it left or, in a segment, died.  */
static void
reopen(world *w, uint32_t i, bool dies)
{
    shmc_latest c;

    if (w->mortal && i == WRITER)
        FUZZ_EQUAL(shmc_latest_open(&c, &w->s[0], "c", &w->d, SHMC_PRODUCER),
                   SHMC_EBUSY);
    if (w->mortal && dies) {
        FUZZ_EQUAL(shmc_segment_close(&w->s[i]), SHMC_OK);
        if (i == WRITER) w->died = true;
        for (uint32_t k = 0; i == WRITER && k < READERS - 1; k++)
            wait_value(w, k, 1);
    } else {
        close_handle(w, i);
    }
    open_handle(w, i);
}

static void
look(const world *w, uint32_t i, bool asleep)
{
    shmc_latest_stats s;

    FUZZ_EQUAL(shmc_latest_stats_get(&w->q[i], &s), SHMC_OK);
    FUZZ_REQUIRE(s.version == w->last && s.slot_count == w->slots &&
                 s.value_bytes == w->size && s.waitable == w->waitable &&
                 s.writer_alive && s.writer_pid != 0);
    if (asleep) w->q[WRITER].shm->readable.asleep = 1;
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t op = fuzz_u8(in);
    const uint32_t more = op >> 4, i = more % READERS;

    switch (op & 15) {
    case 0:  case 1: write_value(w); break;
    case 2:  loan(w); break;
    case 3:  end_loan(w, true); break;
    case 4:  end_loan(w, false); break;
    case 5:  case 6: read_value(w, i); break;
    case 7:  read_value(w, WRITER); break;
    case 8:  wait_value(w, i, more >> 3); break;
    case 9:  borrow(w, i); break;
    case 10: release(w, i); break;
    case 11: misuse(w, i); break;
    case 12: reopen(w, more % (READERS + 1), more >> 3); break;
    case 13: look(w, i, more >> 3); break;
    default: for (uint32_t k = 0; k < more; k++) write_value(w); break;
    }
}

/* Begin at a version other than 0: as if so many had been written.        */
static void
seed(world *w, uint64_t version)
{
    shmc_latest_shm *shm = (shmc_latest_shm *)(void *)w->cell;
    const uint32_t stride = shm->ring.stride_bytes, at = (w->size + 7) & ~7u;

    /* The layout knows no version behind 2^64 - 1, and 0 is none.         */
    if (version > UINT64_MAX / 2) version /= 2;
    for (uint64_t v = version; v != 0 && version - v < w->slots; v--) {
        uint8_t *slot = w->cell + 384 + v % w->slots * stride;
        fuzz_write(slot, w->size, v);
        memcpy(slot + at, &v, sizeof v);
        *stamp(w, v) = v;
    }
    shm->writer.index = w->last = version;
}

/* Make the cell, in memory of its own or in a segment.                    */
static void
create(world *w, fuzz_input *in)
{
    const shmc_segment_desc sd = { .heap_bytes = 4096, .max_objects = 1,
                                   .max_participants = READERS + 1 };

    w->bytes = (uint64_t)(w->mortal ? shmc_segment_size_for(&sd)
                                    : shmc_latest_size_for(&w->d));
    w->mem = fuzz_room(w->bytes, in->size & 1);
    if (w->mortal) FUZZ_EQUAL(shmc_segment_format(w->mem, w->bytes, &sd), 0);
    else FUZZ_EQUAL(shmc_latest_format(w->mem, w->bytes, &w->d), SHMC_OK);
    open_handle(w, WRITER);
    w->cell = (uint8_t *)w->q[WRITER].shm;
    w->cell_bytes = w->mortal ? w->q[WRITER].object.bytes : w->bytes;
    seed(w, fuzz_start(in));
    close_handle(w, WRITER);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    static world w;

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    const uint8_t shape = fuzz_u8(&in);
    w.d.value_bytes = w.size = 1 + fuzz_u8(&in) % 150u;
    w.d.slot_count = w.slots = 2u << (shape & 3) % 3;
    w.d.waitable = w.waitable = (shape & 4) != 0;
    w.mortal = (shape & 8) != 0;
    w.value = fuzz_memory(w.size + 1);
    create(&w, &in);
    open_handle(&w, WRITER);
    for (uint32_t i = 0; i < READERS; i++) open_handle(&w, i);
    while (fuzz_more(&in)) step(&w, &in);
    for (uint32_t i = 0; i <= READERS; i++) read_value(&w, i);
    for (uint32_t i = 0; i <= READERS; i++) close_handle(&w, i);
    free(w.value);
    return 0;
}
