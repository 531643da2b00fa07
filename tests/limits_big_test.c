/* Slots and messages of 64 MiB and of 1 GiB, and rings and segments beyond
 * 4 GiB, up to their last slot.  Memory is mapped without being reserved, so
 * that only the pages that are touched cost something.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"

#include "test_support.h"

#include <sys/mman.h>
#include <sys/statvfs.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

enum { MOST = 1 << 30 };            /* bytes of a slot, the limit           */

/* ThreadSanitizer keeps four bytes for each that is mapped or copied: there
 * the copies are smaller, and what maps more than 4 GiB is left out.       */
#if SHMI_TSAN
#define BIG_BYTES ((uint32_t)(4 * MIB) - 8)
#else
#define BIG_BYTES ((uint32_t)(64 * MIB) - 8)
#endif

/* ---- memory --------------------------------------------------------------- */

typedef struct sparse { void *mem; uint64_t bytes; } sparse;

static sparse
sparse_map(int64_t bytes)
{
    sparse m = { NULL, (uint64_t)bytes };

    assert_true(bytes > 0);
    m.mem = mmap(NULL, m.bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(m.mem != MAP_FAILED);
    return m;
}

static void
sparse_unmap(sparse *m) { assert_int_equal(munmap(m->mem, m->bytes), 0); }

/* ---- 64 MiB, copied ---------------------------------------------------------- */

typedef struct big {
    uint8_t *from, *to;
    uint32_t bytes;
} big;

/* A little off a round number, so that the last line is a part of one.     */
static big
big_make(void)
{
    big b = { NULL, NULL, BIG_BYTES };

    b.from = malloc(b.bytes);
    b.to = malloc(b.bytes);
    assert_non_null(b.from);
    assert_non_null(b.to);
    for (uint32_t i = 0; i < b.bytes; i++) b.from[i] = (uint8_t)(i * 31 + (i >> 13));
    return b;
}

static void
big_arrived(const big *b)
{
    assert_true(memcmp(b->from, b->to, b->bytes) == 0);
    memset(b->to, 0, b->bytes);
}

static void
big_free(big *b)
{
    free(b->from);
    free(b->to);
}

static void
spsc_copies_64_mib(void **state)
{
    big b = big_make();
    const shmc_spsc_desc d = { b.bytes, 2, 0, NULL };
    sparse m = sparse_map(shmc_spsc_size_for(&d));
    shmc_spsc p, c;

    (void)state;
    assert_int_equal(shmc_spsc_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_spsc_map(&p, m.mem, m.bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_spsc_map(&c, m.mem, m.bytes, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_spsc_push(&p, b.from, b.bytes), SHMC_OK);
    assert_int_equal(shmc_spsc_push(&p, b.from, b.bytes), SHMC_OK);
    assert_int_equal(shmc_spsc_push(&p, b.from, b.bytes), SHMC_EAGAIN);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shmc_spsc_pop(&c, b.to, b.bytes), SHMC_OK);
        big_arrived(&b);
    }
    sparse_unmap(&m);
    big_free(&b);
}

static void
mpmc_copies_64_mib(void **state)
{
    big b = big_make();
    const shmc_mpmc_desc d = { .slot_bytes = b.bytes, .slot_count = 2 };
    sparse m = sparse_map(shmc_mpmc_size_for(&d));
    shmc_mpmc q;

    (void)state;
    assert_int_equal(shmc_mpmc_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_mpmc_map(&q, m.mem, m.bytes, SHMC_PRODUCER | SHMC_CONSUMER),
                     SHMC_OK);
    assert_int_equal(shmc_mpmc_push(&q, b.from, b.bytes), SHMC_OK);
    assert_int_equal(shmc_mpmc_push(&q, b.from, b.bytes), SHMC_OK);
    assert_int_equal(shmc_mpmc_push(&q, b.from, b.bytes), SHMC_EAGAIN);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shmc_mpmc_pop(&q, b.to, b.bytes), SHMC_OK);
        big_arrived(&b);
    }
    sparse_unmap(&m);
    big_free(&b);
}

static void
latest_copies_64_mib(void **state)
{
    big b = big_make();
    const shmc_latest_desc d = { .value_bytes = b.bytes, .slot_count = 2 };
    sparse m = sparse_map(shmc_latest_size_for(&d));
    shmc_latest w, r;
    uint64_t version;

    (void)state;
    assert_int_equal(shmc_latest_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_latest_map(&w, m.mem, m.bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_latest_map(&r, m.mem, m.bytes, SHMC_CONSUMER), SHMC_OK);
    for (uint64_t i = 1; i <= 3; i++) {
        b.from[b.bytes - 1] = (uint8_t)i;
        assert_int_equal(shmc_latest_write(&w, b.from, b.bytes), SHMC_OK);
        assert_int_equal(shmc_latest_read(&r, b.to, b.bytes, &version), SHMC_OK);
        assert_int_equal(version, i);
        big_arrived(&b);
    }
    sparse_unmap(&m);
    big_free(&b);
}

static void
recq_copies_64_mib(void **state)
{
    big b = big_make();             /* the largest record there             */
    const shmc_recq_desc d = { .capacity_bytes = 2 * (BIG_BYTES + 8) };
    sparse m = sparse_map(shmc_recq_size_for(&d));
    shmc_recq p, c;

    (void)state;
    assert_int_equal(shmc_recq_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_recq_map(&p, m.mem, m.bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_recq_map(&c, m.mem, m.bytes, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_recq_max_bytes(&p), b.bytes);
    assert_int_equal(shmc_recq_push(&p, b.from, b.bytes + 1), SHMC_EMSGSIZE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shmc_recq_push(&p, b.from, b.bytes), SHMC_OK);
        assert_int_equal(shmc_recq_pop(&c, b.to, b.bytes - 1), SHMC_EMSGSIZE);
        assert_int_equal(shmc_recq_pop(&c, b.to, b.bytes), b.bytes);
        big_arrived(&b);
    }
    sparse_unmap(&m);
    big_free(&b);
}

static void
bcast_copies_64_mib(void **state)
{
    big b = big_make();
    const shmc_bcast_desc d = { .slot_count = 4, .max_bytes = b.bytes,
                                .max_publishers = 2, .mode = SHMC_RELIABLE,
                                .arena_bytes = 2 * (BIG_BYTES + 8) + 128 };
    sparse m = sparse_map(shmc_bcast_size_for(&d));
    shmc_bcast p, s;

    (void)state;
    assert_int_equal(shmc_bcast_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_bcast_map(&p, m.mem, m.bytes, SHMC_PRODUCER, 0), SHMC_OK);
    assert_int_equal(shmc_bcast_map(&s, m.mem, m.bytes, SHMC_CONSUMER, 0), SHMC_OK);
    assert_int_equal(shmc_bcast_send(&p, b.from, b.bytes + 1), SHMC_EMSGSIZE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shmc_bcast_send(&p, b.from, b.bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_send(&p, b.from, b.bytes), SHMC_OK);
        assert_int_equal(shmc_bcast_send(&p, b.from, b.bytes), SHMC_EAGAIN);
        assert_int_equal(shmc_bcast_recv(&s, b.to, b.bytes - 1), SHMC_EMSGSIZE);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(shmc_bcast_recv(&s, b.to, b.bytes), b.bytes);
            big_arrived(&b);
        }
    }
    sparse_unmap(&m);
    big_free(&b);
}

#if !SHMI_TSAN

static uint64_t
offset_in(const sparse *m, const void *p)
{
    const uint64_t at = (uint64_t)((const uint8_t *)p - (const uint8_t *)m->mem);

    assert_true(at < m->bytes);
    return at;
}

/* The first and the last word of a block say which one it is.              */
static void
mark(void *block, uint64_t bytes, uint64_t number)
{
    memcpy(block, &number, 8);
    number = ~number;
    memcpy((uint8_t *)block + bytes - 8, &number, 8);
}

static void
check_mark(const void *block, uint64_t bytes, uint64_t number)
{
    uint64_t first, last;

    memcpy(&first, block, 8);
    memcpy(&last, (const uint8_t *)block + bytes - 8, 8);
    assert_int_equal(first, number);
    assert_int_equal(last, ~number);
}

/* ---- 1 GiB, in place, in rings of more than 4 GiB ------------------------------ */

static void
spsc_slots_of_1_gib_in_place(void **state)
{
    const shmc_spsc_desc d = { MOST, 8, 0, NULL };
    sparse m = sparse_map(shmc_spsc_size_for(&d));
    shmc_spsc p, c;
    void *slot;
    const void *view;

    (void)state;
    assert_int_equal(m.bytes, 8 * GIB + sizeof(shmi_lane_shm));
    assert_int_equal(shmc_spsc_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_spsc_map(&p, m.mem, m.bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_spsc_map(&c, m.mem, m.bytes, SHMC_CONSUMER), SHMC_OK);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(shmc_spsc_loan(&p, &slot, 1), 1);
        assert_int_equal(offset_in(&m, slot), sizeof(shmi_lane_shm) + i * GIB);
        mark(slot, MOST, i);
        assert_int_equal(shmc_spsc_commit(&p, 1), SHMC_OK);
    }
    assert_int_equal(shmc_spsc_loan(&p, &slot, 1), SHMC_EAGAIN);
    assert_int_equal(shmc_spsc_borrow(&c, &view, 8), 8);
    for (uint64_t i = 0; i < 8; i++)
        check_mark((const uint8_t *)view + i * GIB, MOST, i);
    assert_int_equal(shmc_spsc_release(&c, 8), SHMC_OK);
    sparse_unmap(&m);
}

/* 2^31 slots, of which a handful are touched.                              */
static void
spsc_counts_two_billion_slots(void **state)
{
    const shmc_spsc_desc d = { 8, 1u << 31, 0, NULL };
    sparse m = sparse_map(shmc_spsc_size_for(&d));
    const uint32_t half = 1u << 30;
    shmc_spsc p, c;
    shmc_spsc_stats stats;
    void *slots;
    const void *view;

    (void)state;
    assert_int_equal(shmc_spsc_format(m.mem, m.bytes, &d), SHMC_OK);
    shmi_lane_shm *shm = m.mem;
    shm->head.index = shm->tail.index = UINT64_MAX - 2;
    assert_int_equal(shmc_spsc_map(&p, m.mem, m.bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_spsc_map(&c, m.mem, m.bytes, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_spsc_loan(&p, &slots, UINT32_MAX), 3);
    assert_int_equal(offset_in(&m, slots), m.bytes - 24);
    mark(slots, 24, 1);             /* the last slots of the memory         */
    assert_int_equal(shmc_spsc_commit(&p, 3), SHMC_OK);
    assert_int_equal(shmc_spsc_loan(&p, &slots, UINT32_MAX), half);
    mark(slots, 8 * GIB, 2);
    assert_int_equal(shmc_spsc_commit(&p, half), SHMC_OK);
    assert_int_equal(shmc_spsc_loan(&p, &slots, UINT32_MAX), half - 3);
    mark(slots, 8 * GIB - 24, 3);
    assert_int_equal(shmc_spsc_commit(&p, half - 3), SHMC_OK);
    assert_int_equal(shmc_spsc_loan(&p, &slots, 1), SHMC_EAGAIN);
    assert_int_equal(shmc_spsc_push(&p, &stats, 8), SHMC_EAGAIN);
    assert_int_equal(shmc_spsc_used(&c), 1u << 31);
    assert_int_equal(shmc_spsc_free(&c), 0);
    assert_int_equal(shmc_spsc_stats_get(&c, &stats), SHMC_OK);
    assert_int_equal(stats.used, 1u << 31);
    assert_int_equal(stats.pushed - stats.popped, UINT64_C(1) << 31);
    assert_int_equal(shmc_spsc_borrow(&c, &view, UINT32_MAX), 3);
    check_mark(view, 24, 1);
    assert_int_equal(shmc_spsc_release(&c, 3), SHMC_OK);
    assert_int_equal(shmc_spsc_borrow(&c, &view, UINT32_MAX), half);
    check_mark(view, 8 * GIB, 2);
    assert_int_equal(shmc_spsc_release(&c, half), SHMC_OK);
    assert_int_equal(shmc_spsc_borrow(&c, &view, UINT32_MAX), half - 3);
    check_mark(view, 8 * GIB - 24, 3);
    assert_int_equal(shmc_spsc_release(&c, half - 3), SHMC_OK);
    assert_int_equal(shmc_spsc_used(&c), 0);
    sparse_unmap(&m);
}

static void
recq_of_2_gib_in_place(void **state)
{
    const shmc_recq_desc d = { .capacity_bytes = 1u << 31 };
    sparse m = sparse_map(shmc_recq_size_for(&d));
    shmc_recq p, c;
    void *data;
    const void *view;

    (void)state;
    assert_int_equal(shmc_recq_format(m.mem, m.bytes, &d), SHMC_OK);
    shmi_lane_shm *shm = m.mem;
    shm->head.index = shm->tail.index = (uint64_t)-(int64_t)(MOST - 64);
    assert_int_equal(shmc_recq_map(&p, m.mem, m.bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_recq_map(&c, m.mem, m.bytes, SHMC_CONSUMER), SHMC_OK);
    const uint32_t most = shmc_recq_max_bytes(&p);
    assert_int_equal(most, MOST - 8);
    assert_int_equal(shmc_recq_loan(&p, most + 1, &data), SHMC_EMSGSIZE);
    for (uint64_t i = 0; i < 6; i++) {
        assert_int_equal(shmc_recq_loan(&p, most, &data), SHMC_OK);
        assert_true(offset_in(&m, data) + most <= m.bytes);
        mark(data, most, i);
        assert_int_equal(shmc_recq_commit(&p, most), SHMC_OK);
        assert_int_equal(shmc_recq_borrow(&c, &view), most);
        check_mark(view, most, i);
        assert_int_equal(shmc_recq_release(&c), SHMC_OK);
    }
    assert_int_equal(shmc_recq_used_bytes(&c), 0);
    sparse_unmap(&m);
}

static void
mpmc_slots_of_1_gib_in_place(void **state)
{
    const shmc_mpmc_desc d = { .slot_bytes = MOST, .slot_count = 8 };
    sparse m = sparse_map(shmc_mpmc_size_for(&d));
    shmc_mpmc q;
    void *slot;
    const void *view;

    (void)state;
    assert_int_equal(shmc_mpmc_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_mpmc_map(&q, m.mem, m.bytes, SHMC_PRODUCER | SHMC_CONSUMER),
                     SHMC_OK);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(shmc_mpmc_loan(&q, &slot), SHMC_OK);
        assert_int_equal(offset_in(&m, slot), m.bytes - (8 - i) * (GIB + 8) + 8);
        mark(slot, MOST, i);
        assert_int_equal(shmc_mpmc_commit(&q), SHMC_OK);
    }
    assert_int_equal(shmc_mpmc_loan(&q, &slot), SHMC_EAGAIN);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(shmc_mpmc_borrow(&q, &view), SHMC_OK);
        check_mark(view, MOST, i);
        assert_int_equal(shmc_mpmc_release(&q), SHMC_OK);
    }
    sparse_unmap(&m);
}

static void
latest_values_of_1_gib_in_place(void **state)
{
    const shmc_latest_desc d = { .value_bytes = MOST, .slot_count = 8 };
    sparse m = sparse_map(shmc_latest_size_for(&d));
    shmc_latest w, r;
    void *value;
    const void *view;
    uint64_t version = 0;

    (void)state;
    assert_int_equal(shmc_latest_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_latest_map(&w, m.mem, m.bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_latest_map(&r, m.mem, m.bytes, SHMC_CONSUMER), SHMC_OK);
    for (uint64_t i = 1; i <= 9; i++) {
        assert_int_equal(shmc_latest_loan(&w, &value), SHMC_OK);
        assert_int_equal(offset_in(&m, value),
                         sizeof(shmc_latest_shm) + i % 8 * (GIB + SHMC_LINE));
        mark(value, MOST, i);
        assert_int_equal(shmc_latest_commit(&w), SHMC_OK);
        assert_int_equal(shmc_latest_borrow(&r, &view, &version), SHMC_OK);
        assert_int_equal(version, i);
        check_mark(view, MOST, i);
        assert_int_equal(shmc_latest_release(&r, version), SHMC_OK);
    }
    sparse_unmap(&m);
}

/* Arenas of 8 GiB; the second publisher's lies behind the first one's.     */
static void
bcast_messages_of_1_gib_in_place(void **state)
{
    const uint64_t span = GIB + SHMI_RECORD_BYTES;
    const shmc_bcast_desc d = { .slot_count = 32, .max_bytes = MOST,
                                .max_publishers = 2, .mode = SHMC_RELIABLE,
                                .arena_bytes = 8 * span };
    sparse m = sparse_map(shmc_bcast_size_for(&d));
    shmc_bcast p[2], s;
    void *data;
    const void *view;

    (void)state;
    assert_int_equal(shmc_bcast_format(m.mem, m.bytes, &d), SHMC_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(shmc_bcast_map(&p[i], m.mem, m.bytes, SHMC_PRODUCER, 0), 0);
    assert_int_equal(shmc_bcast_map(&s, m.mem, m.bytes, SHMC_CONSUMER, 0), SHMC_OK);
    for (uint64_t i = 0; i < 16; i++) {
        assert_int_equal(shmc_bcast_loan(&p[i / 8], MOST, &data), SHMC_OK);
        assert_int_equal(m.bytes - offset_in(&m, data), (16 - i) * span - 64);
        mark(data, MOST, i);
        assert_int_equal(shmc_bcast_commit(&p[i / 8], MOST), SHMC_OK);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(shmc_bcast_loan(&p[i], MOST, &data), SHMC_EAGAIN);
    for (uint64_t i = 0; i < 16; i++) {
        assert_int_equal(shmc_bcast_next_bytes(&s), MOST);
        assert_int_equal(shmc_bcast_borrow(&s, &view), MOST);
        check_mark(view, MOST, i);
        assert_int_equal(shmc_bcast_release(&s), SHMC_OK);
    }
    sparse_unmap(&m);
}

/* ---- segments of more than 4 GiB ------------------------------------------------ */

/* Fill the heap up to 4 GiB, then use a queue behind that.  The object is
 * made longer by hand: one that is created is cleared, and so takes pages.  */
static void
use_behind_4_gib(shmc_segment *s)
{
    const shmc_object_desc filler = { .bytes = 64, .kind = SHMC_KIND_RAW };
    shmc_object o;
    shmc_spsc p, c;
    uint64_t v;

    assert_int_equal(shmc_object_open(s, "filler", &filler, &o), SHMC_OK);
    assert_int_equal(shmc_object_close(s, &o), SHMC_OK);
    s->entries[o.index].bytes = 4 * GIB;
    assert_int_equal(shmc_object_attach(s, "filler", NULL, &o), SHMC_OK);
    assert_int_equal(o.bytes, 4 * GIB);
    mark(o.mem, o.bytes, 77);
    assert_int_equal(shmc_spsc_open(&p, s, "q", NULL, SHMC_PRODUCER), SHMC_OK);
    const shmc_spsc_desc same = { 64, 1024, 0, NULL };
    assert_int_equal(shmc_spsc_open(&c, s, "q", &same, SHMC_CONSUMER), SHMC_OK);
    assert_true((uint8_t *)p.lane.shm - (uint8_t *)s->base > (ptrdiff_t)(4 * GIB));
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t out[8], in[8] = { i };
        assert_int_equal(shmc_spsc_push(&p, in, 64), SHMC_OK);
        assert_int_equal(shmc_spsc_pop(&c, out, 64), SHMC_OK);
        v = out[0];
        assert_int_equal(v, i);
    }
    check_mark(o.mem, o.bytes, 77);
    assert_int_equal(shmc_spsc_close(&p), SHMC_OK);
    assert_int_equal(shmc_spsc_close(&c), SHMC_OK);
    assert_int_equal(shmc_object_close(s, &o), SHMC_OK);
}

static void
segment_in_memory_beyond_4_gib(void **state)
{
    const shmc_segment_desc d = { .heap_bytes = 6 * GIB };
    sparse m = sparse_map(shmc_segment_size_for(&d));
    shmc_segment s;

    (void)state;
    assert_int_equal(shmc_segment_format(m.mem, m.bytes, &d), SHMC_OK);
    assert_int_equal(shmc_segment_map(&s, m.mem, m.bytes), SHMC_OK);
    use_behind_4_gib(&s);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    sparse_unmap(&m);
}

/* Bytes that may be taken here for a moment, as far as can be told.        */
static uint64_t
bytes_to_spare(void)
{
    char line[128];
    unsigned long long kib = 0;
    struct statvfs fs;
    FILE *f = fopen("/proc/meminfo", "r");

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) break;
    fclose(f);
    assert_int_equal(statvfs("/dev/shm", &fs), 0);
    const uint64_t there = (uint64_t)fs.f_bavail * fs.f_frsize;
    return there < kib * 1024 ? there : kib * 1024;
}

/* A file has real pages: this one takes 4 GiB, if there are twice as many. */
static void
segment_in_a_file_beyond_4_gib(void **state)
{
    const shmc_segment_desc d = { .heap_bytes = 4 * GIB + MIB,
                                  .flags = SHMC_EPHEMERAL };
    const uint64_t spare = bytes_to_spare();
    char name[64];
    shmc_segment s;

    (void)state;
#if !defined(SHMI_BACKEND_CK) || !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__)
    print_message("left out: %s: once is enough, in the build by -O2 on ck_pr\n",
                  __func__);
    return;
#endif
    if (spare < 8 * GIB) {
        print_message("left out: %s: %llu MiB of memory to spare, not 8192\n",
                      __func__, (unsigned long long)(spare / MIB));
        return;
    }
    assert_int_equal(shmc_segment_open(&s, test_name(name, sizeof name, "big"), &d),
                     SHMC_OK);
    use_behind_4_gib(&s);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
}

#endif /* !SHMI_TSAN */

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(spsc_copies_64_mib),
        TEST_CASE(mpmc_copies_64_mib),
        TEST_CASE(latest_copies_64_mib),
        TEST_CASE(recq_copies_64_mib),
        TEST_CASE(bcast_copies_64_mib),
#if !SHMI_TSAN
        TEST_CASE(spsc_slots_of_1_gib_in_place),
        TEST_CASE(spsc_counts_two_billion_slots),
        TEST_CASE(recq_of_2_gib_in_place),
        TEST_CASE(mpmc_slots_of_1_gib_in_place),
        TEST_CASE(latest_values_of_1_gib_in_place),
        TEST_CASE(bcast_messages_of_1_gib_in_place),
        TEST_CASE(segment_in_memory_beyond_4_gib),
        TEST_CASE(segment_in_a_file_beyond_4_gib),
#endif
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("limits_big", tests, NULL, NULL);
}
