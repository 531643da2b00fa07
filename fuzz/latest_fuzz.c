/* Fuzzes the latest-value cell: one writer and two readers must answer as a
 * plain model does, views that are overwritten while borrowed included.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READERS = 3, SLOTS_MAX = 8 };

typedef struct world {
    uint8_t *mem, *value;           /* value: one, of the caller            */
    uint64_t bytes;
    uint32_t size, slots;
    bool     waitable, loaned;
    shmc_latest w, r[READERS];      /* the last one is an observer          */
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
    FUZZ_EQUAL(shmc_latest_write(&w->w, w->value, w->size),
               w->loaned ? SHMC_EINVAL : SHMC_OK);
    if (w->loaned) return;
    w->last++;
    *stamp(w, w->last) = w->last;
}

static void
loan(world *w)
{
    void *slot = NULL;

    FUZZ_EQUAL(shmc_latest_loan(&w->w, &slot), w->loaned ? SHMC_EINVAL
                                                         : SHMC_OK);
    if (w->loaned) return;
    FUZZ_REQUIRE(fuzz_inside(w->mem + 384, w->bytes - 384, slot, w->size));
    FUZZ_REQUIRE((uintptr_t)slot % SHMC_LINE == 0);
    fuzz_write(slot, w->size, w->last + 1);
    *stamp(w, w->last + 1) = w->last + 1;
    w->loaned = true;
}

static void
end_loan(world *w, bool keep)
{
    FUZZ_EQUAL(keep ? shmc_latest_commit(&w->w) : shmc_latest_abort(&w->w),
               w->loaned ? SHMC_OK : SHMC_EINVAL);
    if (w->loaned && keep) w->last++;
    w->loaned = false;
}

/* Read through any handle, the writer's too.                              */
static void
read_value(world *w, uint32_t i, bool waiting)
{
    shmc_latest *c = i < READERS ? &w->r[i] : &w->w;
    int should = w->last == 0 ? SHMC_EAGAIN : SHMC_OK;
    uint64_t version = 0;

    if (waiting && i == READERS) return;
    if (waiting && w->known[i] == w->last) should = SHMC_EAGAIN;
    if (waiting && !w->waitable) should = SHMC_ENOTSUP;
    FUZZ_EQUAL(waiting ? shmc_latest_read_wait(c, w->value, w->size, &version, 0)
                       : shmc_latest_read(c, w->value, w->size, &version),
               should);
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(version == w->last);
    FUZZ_REQUIRE(fuzz_reads(w->value, w->size, version));
    if (i < READERS) w->known[i] = version;
}

static void
borrow(world *w, uint32_t i)
{
    const int should = w->last == 0 ? SHMC_EAGAIN : SHMC_OK;
    uint64_t version = 0;

    FUZZ_EQUAL(shmc_latest_borrow(&w->r[i], &w->view[i], &version), should);
    if (should != SHMC_OK) return;
    FUZZ_REQUIRE(version == w->last);
    FUZZ_REQUIRE(fuzz_inside(w->mem + 384, w->bytes - 384, w->view[i], w->size));
    w->lent[i] = version;
}

/* The view is the version's if and only if release says so.               */
static void
release(world *w, uint32_t i)
{
    if (w->lent[i] == 0) return;
    const bool whole = *stamp(w, w->lent[i]) == w->lent[i];

    if (whole) FUZZ_REQUIRE(fuzz_reads(w->view[i], w->size, w->lent[i]));
    FUZZ_EQUAL(shmc_latest_release(&w->r[i], w->lent[i]),
               whole ? SHMC_OK : SHMC_ELAPPED);
    if (whole && w->lent[i] > w->known[i]) w->known[i] = w->lent[i];
}

static void
misuse(world *w, uint32_t i)
{
    FUZZ_EQUAL(shmc_latest_read(&w->r[i], w->value, w->size + 1, NULL),
               SHMC_EMSGSIZE);
    FUZZ_EQUAL(shmc_latest_write(&w->r[i], w->value, w->size), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_latest_commit(&w->r[i]), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_latest_write(&w->w, w->value, w->size + 1),
               w->loaned ? SHMC_EINVAL : SHMC_EMSGSIZE);
}

static void
reopen(world *w, uint32_t i)
{
    shmc_latest *c = i < READERS ? &w->r[i] : &w->w;
    const uint32_t role = i == READERS ? SHMC_PRODUCER
                        : i == READERS - 1 ? SHMC_OBSERVER : SHMC_CONSUMER;

    FUZZ_EQUAL(shmc_latest_close(c), SHMC_OK);
    FUZZ_EQUAL(shmc_latest_read(c, w->value, w->size, NULL), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_latest_write(c, w->value, w->size), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_latest_map(c, w->mem, w->bytes, role), SHMC_OK);
    if (i == READERS) w->loaned = false;
    else w->known[i] = w->lent[i] = 0;
}

static void
look(const world *w, uint32_t i)
{
    shmc_latest_stats s;

    FUZZ_EQUAL(shmc_latest_stats_get(&w->r[i], &s), SHMC_OK);
    FUZZ_REQUIRE(s.version == w->last && s.slot_count == w->slots &&
                 s.value_bytes == w->size);
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t op = fuzz_u8(in);
    const uint32_t i = (op >> 4) % READERS;

    switch (op & 15) {
    case 0:  case 1: write_value(w); break;
    case 2:  loan(w); break;
    case 3:  end_loan(w, true); break;
    case 4:  end_loan(w, false); break;
    case 5:  case 6: read_value(w, i, false); break;
    case 7:  read_value(w, READERS, false); break;
    case 8:  read_value(w, i, true); break;
    case 9:  borrow(w, i); break;
    case 10: release(w, i); break;
    case 11: misuse(w, i); break;
    case 12: reopen(w, (op >> 4) % (READERS + 1)); break;
    case 13: look(w, i); break;
    default: for (uint32_t k = 0; k < (op >> 4); k++) write_value(w); break;
    }
}

/* Begin at a version other than 0: as if so many had been written.        */
static void
seed(world *w, uint64_t version)
{
    shmc_latest_shm *shm = (shmc_latest_shm *)(void *)w->mem;
    const uint32_t stride = shm->ring.stride_bytes, at = (w->size + 7) & ~7u;

    /* The layout knows no version behind 2^64 - 1, and 0 is none.         */
    if (version > UINT64_MAX / 2) version /= 2;
    for (uint64_t v = version; v != 0 && version - v < w->slots; v--) {
        uint8_t *slot = w->mem + 384 + v % w->slots * stride;
        fuzz_write(slot, w->size, v);
        memcpy(slot + at, &v, sizeof v);
        *stamp(w, v) = v;
    }
    shm->writer.index = w->last = version;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    shmc_latest_desc d = { 0 };
    world w;

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    const uint8_t shape = fuzz_u8(&in);
    d.value_bytes = w.size = 1 + fuzz_u8(&in) % 150u;
    d.slot_count = w.slots = 2u << (shape & 3) % 3;
    d.waitable = w.waitable = (shape & 4) != 0;
    w.bytes = (uint64_t)shmc_latest_size_for(&d);
    w.mem = fuzz_memory(w.bytes);
    w.value = fuzz_memory(w.size + 1);
    FUZZ_EQUAL(shmc_latest_format(w.mem, w.bytes, &d), SHMC_OK);
    seed(&w, fuzz_start(&in));
    FUZZ_EQUAL(shmc_latest_map(&w.w, w.mem, w.bytes, SHMC_PRODUCER), SHMC_OK);
    for (uint32_t i = 0; i < READERS; i++)
        FUZZ_EQUAL(shmc_latest_map(&w.r[i], w.mem, w.bytes, i == READERS - 1
                                   ? SHMC_OBSERVER : SHMC_CONSUMER), SHMC_OK);
    while (fuzz_more(&in)) step(&w, &in);
    for (uint32_t i = 0; i <= READERS; i++) read_value(&w, i, false);
    free(w.value);
    free(w.mem);
    return 0;
}
