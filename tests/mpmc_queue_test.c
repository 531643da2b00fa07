/* The MPMC queue in one process: order, bounds, wrap, batches, loans, bad and
 * hostile input, options; and what the dead leave behind, step by step.    */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "test_support.h"

#include <pthread.h>
#include <sys/mman.h>

enum { BOTH = SHMC_PRODUCER | SHMC_CONSUMER, POLLS = 5000 };

/* ---- helpers ------------------------------------------------------------- */

/* Memory between two pages that nobody may touch, flush with the second.   */
typedef struct arena { uint8_t *base, *mem; uint64_t all, bytes; } arena;

static arena
arena_new(const shmc_mpmc_desc *d)
{
    arena a;
    const uint64_t page = 4096;
    const int64_t need = shmc_mpmc_size_for(d);
    assert_true(need > 0);
    a.bytes = (uint64_t)need;
    const uint64_t room = (a.bytes + page - 1) / page * page;
    a.all = room + 2 * page;
    a.base = mmap(NULL, a.all, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(a.base != MAP_FAILED);
    assert_int_equal(0, mprotect(a.base + page, room, PROT_READ | PROT_WRITE));
    a.mem = a.base + page + (room - a.bytes) / SHMC_LINE * SHMC_LINE;
    assert_int_equal(SHMC_OK, shmc_mpmc_format(a.mem, a.bytes, d));
    return a;
}

static void
arena_free(arena *a) { assert_int_equal(0, munmap(a->base, a->all)); }

/* Let a queue start at a position of our choice.                           */
static void
seed(shmc_mpmc *q, uint64_t pos)
{
    q->shm->head = q->shm->tail = pos;
    for (uint64_t i = 0; i <= q->mask; i++)
        *shmi_mpmc_cell(q, shmi_mpmc_stride(q->slot_bytes), pos + i) =
            shmi_mpmc_word(pos + i, SHMI_MPMC_FREE);
    q->patrol_pos = pos;
}

static int
push(shmc_mpmc *q, uint64_t v) { return shmc_mpmc_push(q, &v, sizeof v); }

/* The popped value, or a negative code.                                    */
static int64_t
pop(shmc_mpmc *q)
{
    int64_t v = 0;
    const int r = shmc_mpmc_pop(q, &v, sizeof v);
    return r == SHMC_OK ? v : r;
}

/* Poll as often as a recovery may take.                                    */
static int64_t
pop_soon(shmc_mpmc *q)
{
    int64_t v = SHMC_EAGAIN;
    for (int i = 0; i < POLLS && v == SHMC_EAGAIN; i++) v = pop(q);
    return v;
}

static int
push_soon(shmc_mpmc *q, uint64_t v)
{
    int r = SHMC_EAGAIN;
    for (int i = 0; i < POLLS && r == SHMC_EAGAIN; i++) r = push(q, v);
    return r;
}

static shmc_mpmc
map(arena *a, uint32_t role)
{
    shmc_mpmc q;
    assert_int_equal(SHMC_OK, shmc_mpmc_map(&q, a->mem, a->bytes, role));
    return q;
}

static uint64_t *
cell_of(shmc_mpmc *q, uint64_t pos)
{
    return shmi_mpmc_cell(q, shmi_mpmc_stride(q->slot_bytes), pos);
}

static char segment_name[64];

static int
segment_open(void **state)
{
    static shmc_segment s;
    test_name(segment_name, sizeof segment_name, "mpmc");
    if (shmc_segment_open(&s, segment_name, NULL) != SHMC_OK) return -1;
    *state = &s;
    return 0;
}

static int
segment_gone(void **state)
{
    if (shmc_segment_close(*state) != SHMC_OK) return -1;
    return shmc_segment_unlink(segment_name, NULL) == SHMC_OK ? 0 : -1;
}

/* A child with a handle of its own on "q".                                 */
typedef struct part {
    void (*work)(shmc_mpmc *q);
    const shmc_mpmc_desc *desc;
} part;

static int
play(void *arg)
{
    static shmc_segment s;
    const part *p = arg;
    shmc_mpmc q;
    TEST_REQUIRE(shmc_segment_attach(&s, segment_name, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_mpmc_open(&q, &s, "q", p->desc, BOTH) == SHMC_OK);
    p->work(&q);
    return 0;
}

static pid_t
start(void (*work)(shmc_mpmc *q), const shmc_mpmc_desc *d)
{
    part p = { work, d };
    return test_spawn(play, &p);
}

/* Run `work` in a child that dies in the middle of it, and wait for that.  */
static void
die_in(void (*work)(shmc_mpmc *q), const shmc_mpmc_desc *d)
{
    assert_int_equal(0, test_join(start(work, d)));
}

/* ---- order and bounds ---------------------------------------------------- */

static void
empty_queue_returns_eagain(void **state)
{
    (void)state;
    arena a = arena_new(NULL);
    shmc_mpmc q = map(&a, BOTH);
    for (int i = 0; i < 3000; i++) assert_int_equal(SHMC_EAGAIN, pop(&q));
    assert_int_equal(0, shmc_mpmc_used(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

static void
every_capacity_fills_and_drains_in_order(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 64; n *= 2) {
        const shmc_mpmc_desc d = { .slot_count = n };
        arena a = arena_new(&d);
        shmc_mpmc p = map(&a, SHMC_PRODUCER), c = map(&a, SHMC_CONSUMER);
        for (uint64_t lap = 0; lap < 5; lap++) {
            for (uint64_t i = 0; i < n; i++)
                assert_int_equal(SHMC_OK, push(&p, lap * 100 + i));
            assert_int_equal(SHMC_EAGAIN, push_soon(&p, 1));
            assert_int_equal(n, shmc_mpmc_used(&c));
            for (uint64_t i = 0; i < n; i++)
                assert_int_equal(lap * 100 + i, pop(&c));
            assert_int_equal(SHMC_EAGAIN, pop(&c));
        }
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&p));
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&c));
        arena_free(&a);
    }
}

static void
positions_wrap_at_32_48_and_64_bits(void **state)
{
    (void)state;
    const uint64_t at[] = { UINT64_C(1) << 32, UINT64_C(1) << 48,
                            UINT64_C(1) << 63, 0 };
    for (size_t k = 0; k < sizeof at / sizeof at[0]; k++)
        for (uint32_t n = 1; n <= 8; n *= 2) {
            const shmc_mpmc_desc d = { .slot_count = n };
            arena a = arena_new(&d);
            shmc_mpmc q = map(&a, BOTH);
            seed(&q, at[k] - 13);
            for (uint64_t i = 0; i < 20; i++) {
                uint64_t in[8], out[8] = { 0 };
                for (uint64_t j = 0; j < 8; j++) in[j] = i * 10 + j;
                assert_int_equal(n, shmc_mpmc_push_n(&q, in, 8, 8));
                assert_int_equal(SHMC_EAGAIN, push(&q, 1));
                assert_int_equal(n, shmc_mpmc_pop_n(&q, out, 8, 8));
                assert_memory_equal(in, out, n * 8);
                assert_int_equal(SHMC_EAGAIN, pop(&q));
                assert_int_equal(SHMC_OK, push(&q, i));
                assert_int_equal(i, pop(&q));
            }
            assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
            arena_free(&a);
        }
}

static void
messages_of_odd_sizes_arrive_whole(void **state)
{
    (void)state;
    for (uint32_t bytes = 1; bytes < 300; bytes += 7) {
        const shmc_mpmc_desc d = { .slot_bytes = bytes, .slot_count = 4 };
        arena a = arena_new(&d);
        shmc_mpmc q = map(&a, BOTH);
        uint8_t in[300], out[301];
        for (uint32_t i = 0; i < bytes; i++) in[i] = (uint8_t)(i * 3 + bytes);
        memset(out, 0x5a, sizeof out);
        for (int i = 0; i < 9; i++) {
            assert_int_equal(SHMC_OK, shmc_mpmc_push(&q, in, bytes));
            assert_int_equal(SHMC_OK, shmc_mpmc_pop(&q, out, bytes));
            assert_memory_equal(in, out, bytes);
            assert_int_equal(0x5a, out[bytes]);
        }
        assert_int_equal(SHMC_EMSGSIZE, shmc_mpmc_push(&q, in, bytes + 1));
        assert_int_equal(SHMC_EMSGSIZE, shmc_mpmc_push(&q, in, bytes - 1));
        assert_int_equal(SHMC_EMSGSIZE, shmc_mpmc_pop(&q, out, bytes + 1));
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
        arena_free(&a);
    }
}

static void
batches_take_what_there_is(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 8192 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    static uint64_t in[8192], out[8192];
    for (uint64_t i = 0; i < 8192; i++) in[i] = i;
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_push_n(&q, in, 8, 0));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_pop_n(&q, out, 8, 0));
    assert_int_equal(SHMC_EMSGSIZE, shmc_mpmc_push_n(&q, in, 4, 1));
    assert_int_equal(SHMC_EMSGSIZE, shmc_mpmc_pop_n(&q, out, 4, 1));
    assert_int_equal(SHMC_EAGAIN, shmc_mpmc_pop_n(&q, out, 8, 5));
    assert_int_equal(4096, shmc_mpmc_push_n(&q, in, 8, 8192));
    assert_int_equal(4096, shmc_mpmc_push_n(&q, in + 4096, 8, UINT32_MAX));
    assert_int_equal(SHMC_EAGAIN, shmc_mpmc_push_n(&q, in, 8, 1));
    assert_int_equal(8192, shmc_mpmc_used(&q));
    assert_int_equal(3, shmc_mpmc_pop_n(&q, out, 8, 3));
    assert_int_equal(4096, shmc_mpmc_pop_n(&q, out + 3, 8, UINT32_MAX));
    assert_int_equal(4093, shmc_mpmc_pop_n(&q, out + 4099, 8, 8192));
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

/* ---- loans and borrows --------------------------------------------------- */

static void
loaned_slot_is_pushed_by_commit(void **state)
{
    (void)state;
    arena a = arena_new(NULL);
    shmc_mpmc q = map(&a, BOTH);
    void *slot, *no_slot = &q;
    const void *msg, *no_msg = &q;
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_commit(&q));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_release(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_loan(&q, &slot));
    assert_int_equal(0, (uintptr_t)slot % 8);
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_loan(&q, &no_slot));
    assert_null(no_slot);
    assert_int_equal(SHMC_EINVAL, push(&q, 1));
    assert_int_equal(SHMC_EAGAIN, pop(&q));
    memcpy(slot, &(uint64_t){ 77 }, 8);
    assert_int_equal(SHMC_OK, shmc_mpmc_commit(&q));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_commit(&q));
    assert_int_equal(SHMC_OK, push(&q, 78));
    assert_int_equal(SHMC_OK, shmc_mpmc_borrow(&q, &msg));
    assert_int_equal(77, *(const uint64_t *)msg);
    assert_int_equal(SHMC_EINVAL, pop(&q));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_borrow(&q, &no_msg));
    assert_null(no_msg);
    assert_int_equal(SHMC_OK, push(&q, 79));
    assert_int_equal(SHMC_OK, shmc_mpmc_release(&q));
    assert_int_equal(78, pop(&q));
    assert_int_equal(79, pop(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

static void
aborted_loan_is_skipped(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 2 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    shmc_mpmc_stats st;
    void *slot;
    for (uint64_t i = 0; i < 9; i++) {
        assert_int_equal(SHMC_OK, shmc_mpmc_loan(&q, &slot));
        assert_int_equal(SHMC_OK, shmc_mpmc_abort(&q));
        assert_int_equal(SHMC_OK, push(&q, i));
        assert_int_equal(SHMC_EAGAIN, push(&q, i));
        assert_int_equal(i, pop(&q));
    }
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_abort(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_loan(&q, &slot));
    assert_int_equal(SHMC_OK, shmc_mpmc_abort(&q));
    assert_int_equal(SHMC_EAGAIN, pop(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_stats_get(&q, &st));
    assert_int_equal(9, st.pushed);
    assert_int_equal(9, st.popped);
    assert_int_equal(10, st.tombs);
    assert_int_equal(0, st.used);
    assert_int_equal(2, st.slot_count);
    assert_int_equal(1, st.handles);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

static void
more_tombs_than_one_call_skips_are_skipped_by_the_next(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 8192 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    void *slot;
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(SHMC_OK, shmc_mpmc_loan(&q, &slot));
        assert_int_equal(SHMC_OK, shmc_mpmc_abort(&q));
    }
    assert_int_equal(SHMC_OK, push(&q, 5));
    assert_int_equal(SHMC_EAGAIN, pop(&q));
    assert_int_equal(5, pop(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

static void
tomb_that_a_dead_consumer_passed_is_freed_by_whoever_meets_it(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 1 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    void *slot;
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(SHMC_OK, shmc_mpmc_loan(&q, &slot));
        assert_int_equal(SHMC_OK, shmc_mpmc_abort(&q));
        q.shm->head++;              /* as if killed between CAS and freeing */
        if (i == 0) assert_int_equal(SHMC_EAGAIN, pop(&q));
        assert_int_equal(SHMC_OK, push(&q, i));
        assert_int_equal(i, pop(&q));
    }
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

static void
borrowed_message_keeps_its_cell(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 2 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH), p = map(&a, SHMC_PRODUCER);
    const void *msg;
    assert_int_equal(SHMC_OK, push(&p, 1));
    assert_int_equal(SHMC_OK, push(&p, 2));
    assert_int_equal(SHMC_OK, shmc_mpmc_borrow(&q, &msg));
    assert_int_equal(SHMC_EAGAIN, push_soon(&p, 3));
    assert_int_equal(1, *(const uint64_t *)msg);
    assert_int_equal(SHMC_OK, shmc_mpmc_release(&q));
    assert_int_equal(SHMC_OK, push(&p, 3));
    assert_int_equal(2, pop(&q));
    assert_int_equal(3, pop(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&p));
    arena_free(&a);
}

static void
close_aborts_a_loan_and_releases_a_borrow(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 2, .max_handles = 1 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    const void *msg;
    void *slot;
    assert_int_equal(SHMC_OK, push(&q, 1));
    assert_int_equal(SHMC_OK, shmc_mpmc_borrow(&q, &msg));
    assert_int_equal(SHMC_OK, shmc_mpmc_loan(&q, &slot));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    assert_int_equal(SHMC_ECLOSED, shmc_mpmc_close(&q));
    q = map(&a, BOTH);
    assert_int_equal(SHMC_EAGAIN, pop(&q));
    assert_int_equal(SHMC_OK, push(&q, 2));
    assert_int_equal(SHMC_OK, push(&q, 3));
    assert_int_equal(2, pop(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

/* ---- roles, options, bad input ------------------------------------------- */

static void
roles_are_kept_apart(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .max_handles = 2 };
    arena a = arena_new(&d);
    shmc_mpmc p = map(&a, SHMC_PRODUCER), c = map(&a, SHMC_CONSUMER), x;
    shmc_mpmc o = map(&a, SHMC_OBSERVER);
    shmc_mpmc_stats st;
    const void *msg;
    void *slot;
    assert_int_equal(SHMC_ELIMIT, shmc_mpmc_map(&x, a.mem, a.bytes, BOTH));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_map(&x, a.mem, a.bytes, 4));
    assert_int_equal(SHMC_EINVAL, pop(&p));
    assert_int_equal(SHMC_EINVAL, push(&c, 1));
    assert_int_equal(SHMC_EINVAL, pop(&o));
    assert_int_equal(SHMC_EINVAL, push(&o, 1));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_loan(&c, &slot));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_borrow(&p, &msg));
    assert_int_equal(SHMC_OK, push(&p, 1));
    assert_int_equal(1, shmc_mpmc_used(&o));
    assert_int_equal(SHMC_OK, shmc_mpmc_stats_get(&o, &st));
    assert_int_equal(2, st.handles);
    assert_int_equal(2, st.max_handles);
    assert_int_equal(1, st.pushed);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&o));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&p));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&c));
    assert_int_equal(SHMC_ECLOSED, push(&p, 1));
    assert_int_equal(SHMC_ECLOSED, pop(&c));
    assert_int_equal(SHMC_ECLOSED, shmc_mpmc_commit(&p));
    assert_int_equal(SHMC_ECLOSED, shmc_mpmc_release(&c));
    assert_int_equal(SHMC_ECLOSED, shmc_mpmc_stats_get(&c, &st));
    assert_int_equal(SHMC_ECLOSED, shmc_mpmc_push_wait(&p, &st, 8, 0));
    arena_free(&a);
}

static void
bad_descs_are_rejected_with_a_sentence(void **state)
{
    (void)state;
    const shmc_mpmc_desc bad[] = {
        { .slot_bytes = 0x40000001 }, { .slot_count = 3 },
        { .slot_count = 0x80000001 }, { .max_handles = 4097 },
        { .on_consumer_death = 2 },   { .waitable = 2 },
        { .max_redeliveries = 16384 }, { .beside_bytes = 0x40000001 },
    };
    const char *const says[] = { "slot_bytes", "slot_count", "slot_count",
                                 "max_handles", "on_consumer_death",
                                 "waitable", "max_redeliveries",
                                 "beside_bytes" };
    _Alignas(128) static uint8_t mem[65536];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(SHMC_EINVAL, shmc_mpmc_size_for(&bad[i]));
        assert_non_null(strstr(shmc_last_error(), says[i]));
        assert_int_equal(SHMC_EINVAL,
                         shmc_mpmc_format(mem, sizeof mem, &bad[i]));
    }
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_format(mem + 8, sizeof mem, NULL));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_format(NULL, sizeof mem, NULL));
    assert_int_equal(SHMC_ENOSPC, shmc_mpmc_format(mem, 1000, NULL));
    assert_int_equal(10 * 128 + 64 * 128 + 1024 * 16, shmc_mpmc_size_for(NULL));
}

static void
broken_first_lines_are_refused(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 4, .max_handles = 2 };
    arena a = arena_new(&d);
    shmc_mpmc q;
    shmi_ring_head_shm *h = (shmi_ring_head_shm *)(void *)a.mem;
    const shmi_ring_head_shm good = *h;
#define REFUSED(code, change)                                                 \
    do {                                                                      \
        change;                                                               \
        assert_int_equal(code, shmc_mpmc_map(&q, a.mem, a.bytes, BOTH));      \
        *h = good;                                                            \
    } while (0)
    REFUSED(SHMC_ETYPE, h->magic++);
    REFUSED(SHMC_EBYTEORDER, h->magic = 0x4d504d43);
    REFUSED(SHMC_EVERSION, h->version++);
    REFUSED(SHMC_ECORRUPT, h->total_bytes++);
    REFUSED(SHMC_ECORRUPT, h->total_bytes -= 8);
    REFUSED(SHMC_ECORRUPT, h->slot_bytes = 9);
    REFUSED(SHMC_ECORRUPT, h->slot_count = 8);
    REFUSED(SHMC_ECORRUPT, h->stride_bytes = 8);
    REFUSED(SHMC_ECORRUPT, h->stride_bytes = 24);
    REFUSED(SHMC_ECORRUPT, h->seats = 0);
    REFUSED(SHMC_ECORRUPT, h->seats = 3);
    REFUSED(SHMC_ECORRUPT, h->seats = UINT32_MAX);
    REFUSED(SHMC_ECORRUPT, h->mode = 2);
    REFUSED(SHMC_ECORRUPT, h->aux[0] = 16384);
    REFUSED(SHMC_ECORRUPT, h->aux[1] = 1);
    REFUSED(SHMC_ECORRUPT, h->aux[1] = 0x40000001);
    REFUSED(SHMC_ECORRUPT, h->aux[1] = UINT64_MAX);
#undef REFUSED
    assert_int_equal(SHMC_ECORRUPT, shmc_mpmc_map(&q, a.mem, 64, BOTH));
    assert_int_equal(SHMC_OK, shmc_mpmc_map(&q, a.mem, a.bytes, BOTH));
    arena_free(&a);
}

static void
open_checks_what_exists(void **state)
{
    shmc_segment *s = *state, ro;
    const shmc_mpmc_desc d = { .slot_bytes = 16, .slot_count = 8,
                               .max_handles = 3, .on_consumer_death = SHMC_DROP,
                               .waitable = 1, .type_name = "pair" };
    const shmc_mpmc_desc other[] = {
        { .slot_bytes = 24 }, { .slot_count = 16 }, { .max_handles = 4 },
        { .max_redeliveries = 3 }, { .beside_bytes = 8 },
    };
    shmc_mpmc q, x;
    assert_int_equal(SHMC_ENOENT,
                     shmc_mpmc_open(&q, s, "o", &d, SHMC_OBSERVER));
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, s, "o", &d, BOTH));
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&x, s, "o", NULL, SHMC_CONSUMER));
    assert_int_equal(16, x.slot_bytes);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&x));
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_int_equal(SHMC_EMISMATCH,
                         shmc_mpmc_open(&x, s, "o", &other[i], BOTH));
    const shmc_mpmc_desc type = { .type_name = "triple" };
    assert_int_equal(SHMC_ETYPE, shmc_mpmc_open(&x, s, "o", &type, BOTH));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_open(&x, s, "o", NULL, 8));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_open(&x, NULL, "o", NULL, BOTH));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_open(&x, s, NULL, NULL, BOTH));
    const shmc_mpmc_desc odd = { .slot_count = 7 };
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_open(&x, s, "o", &odd, BOTH));
    shmc_spsc spsc;
    assert_int_equal(SHMC_ETYPE,
                     shmc_spsc_open(&spsc, s, "o", NULL, SHMC_PRODUCER));
    const shmc_segment_desc look = { .flags = SHMC_READ_ONLY };
    assert_int_equal(SHMC_OK, shmc_segment_attach(&ro, segment_name, &look));
    assert_int_equal(SHMC_EROFS, shmc_mpmc_open(&x, &ro, "o", NULL, BOTH));
    assert_int_equal(SHMC_OK,
                     shmc_mpmc_open(&x, &ro, "o", NULL, SHMC_OBSERVER));
    shmc_mpmc_stats st;
    assert_int_equal(SHMC_OK, shmc_mpmc_stats_get(&x, &st));
    assert_int_equal(1, st.handles);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&x));
    assert_int_equal(SHMC_OK, shmc_segment_close(&ro));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    const shmc_mpmc_desc plain = { .slot_bytes = 8 };
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, s, "r", &plain, BOTH));
    const shmc_mpmc_desc drop = { .on_consumer_death = SHMC_DROP };
    const shmc_mpmc_desc bells = { .waitable = 1 };
    assert_int_equal(SHMC_EMISMATCH, shmc_mpmc_open(&x, s, "r", &drop, BOTH));
    assert_int_equal(SHMC_EMISMATCH, shmc_mpmc_open(&x, s, "r", &bells, BOTH));
    assert_int_equal(SHMC_ENOTSUP, shmc_mpmc_pop_wait(&q, &st, 8, 1));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
}

static int
use_inherited(void *arg)
{
    shmc_mpmc *q = arg;
    shmc_mpmc_stats st;
    const void *msg;
    void *slot;
    uint64_t v = 0;
    TEST_REQUIRE(push(q, 1) == SHMC_EFORKED && pop(q) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_push_n(q, &v, 8, 1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_pop_n(q, &v, 8, 1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_loan(q, &slot) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_borrow(q, &msg) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_commit(q) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_release(q) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_stats_get(q, &st) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_mpmc_close(q) == SHMC_OK);
    return 0;
}

static void
forked_child_cannot_use_the_parents_handle(void **state)
{
    shmc_segment *s = *state;
    shmc_mpmc q;
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, s, "f", NULL, BOTH));
    assert_int_equal(0, test_join(test_spawn(use_inherited, &q)));
    assert_int_equal(SHMC_OK, push(&q, 4));
    assert_int_equal(4, pop(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
}

/* ---- hostile peers ------------------------------------------------------- */

static void
garbage_in_a_cell_is_reported(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 4 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    *cell_of(&q, 0) = UINT64_MAX;
    assert_int_equal(SHMC_ECORRUPT, push(&q, 1));
    assert_int_equal(SHMC_ECORRUPT, pop(&q));
    *cell_of(&q, 0) = shmi_mpmc_word(4, SHMI_MPMC_FREE);    /* a lap ahead  */
    assert_int_equal(SHMC_ECORRUPT, push(&q, 1));
    assert_int_equal(SHMC_ECORRUPT, pop(&q));
    *cell_of(&q, 0) = shmi_mpmc_word(0, 3);
    assert_int_equal(SHMC_ECORRUPT, pop(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

static void
garbage_in_indices_is_survived(void **state)
{
    shmc_segment *s = *state;
    const shmc_mpmc_desc d = { .slot_count = 4 };
    shmc_mpmc q;
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, s, "g", &d, BOTH));
    q.shm->tail = UINT64_MAX / 3;
    assert_int_equal(SHMC_ECORRUPT, push(&q, 1));
    int r = SHMC_EAGAIN;
    for (int i = 0; i < POLLS && r == SHMC_EAGAIN; i++) r = (int)pop(&q);
    assert_int_equal(SHMC_ECORRUPT, r);
    assert_int_equal(4, shmc_mpmc_used(&q));
    q.shm->tail = 0;
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(SHMC_OK, push(&q, i));
    q.shm->head = UINT64_MAX / 5;   /* full for the producer, head is mad   */
    assert_int_equal(SHMC_ECORRUPT, push_soon(&q, 1));
    assert_int_equal(SHMC_ECORRUPT, pop(&q));
    seed(&q, 0);
    q.shm->tail = 4;                /* all claimed, none published; and head
                                     * says that the first is popped        */
    q.shm->head = 1;
    assert_int_equal(SHMC_ECORRUPT, push_soon(&q, 1));
    seed(&q, 0);
    assert_int_equal(SHMC_OK, push(&q, 1));
    assert_int_equal(1, pop_soon(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
}

/* A peer writes random words anywhere but in the constant line; the others
 * never leave the mapping (guard pages, sanitizers) and always return.     */
static void
scribbling_peer_harms_nobodys_process(void **state)
{
    shmc_segment *s = *state;
    const shmc_mpmc_desc d = { .slot_count = 8, .max_handles = 4 };
    shmc_mpmc q;
    const void *msg;
    void *slot;
    uint64_t v[16] = { 0 }, x = 88172645463325252u;
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, s, "h", &d, BOTH));
    uint64_t *words = (uint64_t *)(void *)q.shm;
    const uint64_t n = (uint64_t)shmc_mpmc_size_for(&d) / 8;
    for (int i = 0; i < 100000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        const uint64_t at = 16 + x % (n - 16);
        const uint64_t near = words[16 + (x >> 20) % (n - 16)];
        words[at] = x & 1 ? x : near + (x >> 60);
        switch (x >> 8 & 7) {
        case 0: (void)push(&q, x); break;
        case 1: (void)pop(&q); break;
        case 2: (void)shmc_mpmc_push_n(&q, v, 8, 16); break;
        case 3: (void)shmc_mpmc_pop_n(&q, v, 8, 16); break;
        case 4: (void)shmc_mpmc_loan(&q, &slot); break;
        case 5: (void)shmc_mpmc_commit(&q); break;
        case 6: (void)shmc_mpmc_borrow(&q, &msg); break;
        default: (void)shmc_mpmc_release(&q); break;
        }
        if (x >> 11 & 1) q.look = true;
        assert_true(shmc_mpmc_used(&q) <= 8);
    }
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    assert_int_equal(SHMC_OK, shmc_object_remove(s, "h"));
}

/* ---- waiting ------------------------------------------------------------- */

static void *
push_later(void *arg)
{
    shmc_mpmc q;
    arena *a = arg;
    TEST_REQUIRE(shmc_mpmc_map(&q, a->mem, a->bytes, SHMC_PRODUCER) == SHMC_OK);
    for (uint64_t i = 0; i < 300; i++) {
        if (i % 100 == 0) test_sleep_ms(2);
        TEST_REQUIRE(shmc_mpmc_push_wait(&q, &i, 8, -1) == SHMC_OK);
    }
    shmc_mpmc_close(&q);
    return NULL;
}

static void
waiters_are_woken(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 2, .waitable = 1 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, SHMC_CONSUMER);
    pthread_t t;
    uint64_t v;
    assert_int_equal(0, pthread_create(&t, NULL, push_later, &a));
    for (uint64_t i = 0; i < 300; i++) {
        if (i % 100 == 50) test_sleep_ms(2);
        assert_int_equal(SHMC_OK, shmc_mpmc_pop_wait(&q, &v, 8, -1));
        assert_int_equal(i, v);
    }
    assert_int_equal(0, pthread_join(t, NULL));
    assert_int_equal(SHMC_EAGAIN, shmc_mpmc_pop_wait(&q, &v, 8, 0));
    assert_int_equal(SHMC_ETIMEDOUT, shmc_mpmc_pop_wait(&q, &v, 8, 2000000));
    assert_int_equal(SHMC_EMSGSIZE, shmc_mpmc_pop_wait(&q, &v, 7, -1));
    assert_int_equal(SHMC_EINVAL, shmc_mpmc_push_wait(&q, &v, 8, -1));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    q = map(&a, SHMC_PRODUCER);
    assert_int_equal(SHMC_OK, push(&q, 1));
    assert_int_equal(SHMC_OK, push(&q, 1));
    assert_int_equal(SHMC_ETIMEDOUT, shmc_mpmc_push_wait(&q, &v, 8, 2000000));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

/* ---- the dead ------------------------------------------------------------ */

static const shmc_mpmc_desc small = { .slot_count = 4, .max_handles = 4,
                                      .waitable = 1 };
static const shmc_mpmc_desc dropping = { .slot_count = 4, .max_handles = 4,
                                         .on_consumer_death = SHMC_DROP,
                                         .waitable = 1 };
static const shmc_mpmc_desc crowded = { .slot_count = 1024, .max_handles = 2 };

static void
loan_and_die(shmc_mpmc *q)
{
    void *slot;
    TEST_REQUIRE(push(q, 100) == SHMC_OK);
    TEST_REQUIRE(shmc_mpmc_loan(q, &slot) == SHMC_OK);
}

static void
borrow_and_die(shmc_mpmc *q)
{
    const void *msg;
    TEST_REQUIRE(shmc_mpmc_borrow(q, &msg) == SHMC_OK);
}

static void
claim_two_and_die(shmc_mpmc *q)
{
    uint64_t pos;
    TEST_REQUIRE(shmi_mpmc_claim_head(q, 16, 2, &pos) == 2);
}

static void
loan_four_and_die(shmc_mpmc *q)
{
    uint64_t pos;
    TEST_REQUIRE(shmi_mpmc_claim_tail(q, 16, 4, &pos) == 4);
}

static void
intend_and_die(shmc_mpmc *q)
{
    q->seat->intent = shmi_mpmc_intent(SHMI_MPMC_ENQ, q->shm->tail, 1);
    q->seat->word[0] = shmi_mpmc_intent(SHMI_MPMC_DEQ, q->shm->head, 1);
}

/* Open "q" for a test of what the dead leave; remove it at the end.        */
static shmc_mpmc
dead_open(shmc_segment *s, const shmc_mpmc_desc *d)
{
    shmc_mpmc q;
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, s, "q", d, BOTH));
    return q;
}

static void
dead_close(shmc_segment *s, shmc_mpmc *q)
{
    assert_int_equal(SHMC_OK, shmc_mpmc_close(q));
    assert_int_equal(SHMC_OK, shmc_object_remove(s, "q"));
}

static shmc_mpmc_stats
stats_of(const shmc_mpmc *q)
{
    shmc_mpmc_stats st;
    assert_int_equal(SHMC_OK, shmc_mpmc_stats_get(q, &st));
    return st;
}

static void
dead_producers_cell_becomes_a_tomb(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    die_in(loan_and_die, &small);
    assert_int_equal(SHMC_OK, push(&q, 101));
    assert_int_equal(100, pop_soon(&q));
    assert_int_equal(101, pop_soon(&q));
    assert_int_equal(1, stats_of(&q).tombs);
    assert_int_equal(2, stats_of(&q).popped);
    dead_close(*state, &q);
}

static void
dead_producers_batch_becomes_tombs(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    die_in(loan_four_and_die, &small);
    assert_int_equal(SHMC_EAGAIN, push_soon(&q, 1));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
    assert_int_equal(4, stats_of(&q).tombs);
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(SHMC_OK, push(&q, i));
    for (int i = 0; i < 4; i++) assert_int_equal(i, pop(&q));
    dead_close(*state, &q);
}

static void
dead_producers_seat_may_be_reused_before_its_cell_is_met(void **state)
{
    shmc_mpmc q = dead_open(*state, &crowded), other;
    die_in(loan_and_die, &crowded);
    assert_int_equal(SHMC_OK,
                     shmc_mpmc_open(&other, *state, "q", NULL, BOTH));
    assert_int_equal(SHMC_OK, push(&other, 101));
    assert_int_equal(100, pop_soon(&q));
    assert_int_equal(101, pop_soon(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&other));
    dead_close(*state, &q);
}

static void
loan_and_linger(shmc_mpmc *q)
{
    loan_and_die(q);
    for (;;) pause();
}

static void
living_producers_cell_is_left_alone(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    const pid_t child = start(loan_and_linger, &small);
    while (shmi_load_acq_64(&q.shm->tail) != 2) test_sleep_ms(1);
    assert_int_equal(SHMC_OK, push(&q, 101));
    assert_int_equal(100, pop(&q));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
    kill(child, SIGSTOP);           /* stopped is alive                     */
    assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
    assert_int_equal(0, stats_of(&q).tombs);
    test_kill(child);
    assert_int_equal(101, pop_soon(&q));
    dead_close(*state, &q);
}

static void
dead_ones_who_only_intended_change_nothing(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    assert_int_equal(SHMC_OK, push(&q, 1));
    die_in(intend_and_die, &small);
    assert_int_equal(SHMC_OK, push(&q, 2));
    assert_int_equal(1, pop(&q));
    assert_int_equal(2, pop(&q));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
    const shmc_mpmc_stats st = stats_of(&q);
    assert_int_equal(0, st.tombs + st.redelivered + st.dropped);
    dead_close(*state, &q);
}

static void
dead_consumers_message_is_delivered_again(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    assert_int_equal(SHMC_OK, push(&q, 1));
    assert_int_equal(SHMC_OK, push(&q, 2));
    die_in(borrow_and_die, &small);
    assert_int_equal(1, pop(&q));   /* a fresh handle looks at first        */
    assert_int_equal(2, pop(&q));
    for (int k = 0; k < 5; k++) {   /* later, when it finds nothing else    */
        assert_int_equal(SHMC_OK, push(&q, 7));
        die_in(borrow_and_die, &small);
        die_in(borrow_and_die, &small);     /* took it over, and died, too  */
        assert_int_equal(7, pop_soon(&q));
        assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
    }
    assert_int_equal(11, stats_of(&q).redelivered);
    assert_int_equal(7, stats_of(&q).popped);
    dead_close(*state, &q);
}

static void
message_taken_over_is_held_by_who_took_it(void **state)
{
    shmc_mpmc q = dead_open(*state, &small), other;
    const void *msg;
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&other, *state, "q", NULL, BOTH));
    assert_int_equal(SHMC_OK, push(&q, 7));
    die_in(borrow_and_die, &small);
    die_in(borrow_and_die, &small);
    assert_int_equal(shmi_mpmc_word(0, SHMI_MPMC_FULL) | 1 << 2,
                     *cell_of(&q, 0));
    assert_int_equal(SHMC_OK, shmc_mpmc_borrow(&q, &msg));
    assert_int_equal(7, *(const uint64_t *)msg);
    assert_int_equal(shmi_mpmc_word(0, SHMI_MPMC_FULL) | 2 << 2,
                     *cell_of(&q, 0));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&other));
    assert_int_equal(SHMC_OK, shmc_mpmc_release(&q));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&other));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&other));
    dead_close(*state, &q);
}

static void
living_ones_batch_is_left_alone(void **state)
{
    shmc_mpmc q = dead_open(*state, &small), other;
    uint64_t pos = 0, v[4];
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&other, *state, "q", NULL, BOTH));
    assert_int_equal(4, shmi_mpmc_claim_tail(&q, 16, 4, &pos));
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(SHMC_EAGAIN, pop_soon(&other));
        *cell_of(&q, i) = shmi_mpmc_word(i, SHMI_MPMC_FULL);
        assert_int_equal(SHMC_OK, shmc_mpmc_pop(&other, v, 8));
    }
    shmi_mpmc_pushed(&q);
    assert_int_equal(4, shmc_mpmc_push_n(&q, v, 8, 4));
    assert_int_equal(4, shmi_mpmc_claim_head(&q, 16, 4, &pos));
    for (uint64_t i = 3; i != UINT64_MAX; i--) {
        assert_int_equal(SHMC_EAGAIN, pop_soon(&other));
        assert_int_equal(SHMC_EAGAIN, push_soon(&other, 1));
        *cell_of(&q, 4 + i) = shmi_mpmc_word(8 + i, SHMI_MPMC_FREE);
    }
    assert_int_equal(SHMC_OK, push(&other, 9));
    shmi_mpmc_popped(&q);
    assert_int_equal(0, stats_of(&q).tombs + stats_of(&q).redelivered);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&other));
    dead_close(*state, &q);
}

static void
lost_race_leaves_no_intent(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 1 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    q.seat->word[0] = shmi_mpmc_intent(SHMI_MPMC_DEQ, 0, 1);
    assert_int_equal(SHMC_EAGAIN, pop(&q));
    assert_int_equal(0, q.seat->word[0]);
    assert_int_equal(SHMC_OK, push(&q, 1));
    q.seat->intent = shmi_mpmc_intent(SHMI_MPMC_ENQ, 1, 1);
    assert_int_equal(SHMC_EAGAIN, push(&q, 1));
    assert_int_equal(0, q.seat->intent);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

/* An intent is in the seat while its claim is open, and not after.         */
static void
finished_call_leaves_no_intent(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 4 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH);
    for (uint64_t i = 0; i < 9; i++) {
        void *slot = NULL;
        const void *msg = NULL;
        assert_int_equal(SHMC_OK, push(&q, 2 * i));
        assert_int_equal(0, q.seat->intent);
        assert_int_equal(SHMC_OK, shmc_mpmc_loan(&q, &slot));
        assert_int_equal(shmi_mpmc_intent(SHMI_MPMC_ENQ, 2 * i + 1, 1),
                         q.seat->intent);
        memcpy(slot, &i, 8);
        assert_int_equal(SHMC_OK, shmc_mpmc_commit(&q));
        assert_int_equal(0, q.seat->intent);
        assert_int_equal(2 * i, pop(&q));
        assert_int_equal(0, q.seat->word[0]);
        assert_int_equal(SHMC_OK, shmc_mpmc_borrow(&q, &msg));
        assert_int_equal(shmi_mpmc_intent(SHMI_MPMC_DEQ, 2 * i + 1, 1),
                         q.seat->word[0]);
        assert_int_equal(SHMC_OK, shmc_mpmc_release(&q));
        assert_int_equal(0, q.seat->word[0]);
    }
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

/* Who looks ahead stays within the cells, whatever their size and number.  */
static void
stretch_is_two_to_thirty_two_cells_or_none(void **state)
{
    (void)state;
    static const struct { uint32_t slot_bytes, slot_count; uint64_t cells; }
        cases[] = { { 8, 256, 32 }, { 8, 128, 0 }, { 64, 128, 16 },
                    { 64, 64, 0 }, { 1016, 16, 2 }, { 1016, 8, 0 },
                    { 1024, 1024, 0 }, { 8, 1, 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const shmc_mpmc_desc d = { .slot_bytes = cases[i].slot_bytes,
                                   .slot_count = cases[i].slot_count };
        arena a = arena_new(&d);
        shmc_mpmc p = map(&a, SHMC_PRODUCER), c = map(&a, SHMC_CONSUMER);
        static uint8_t in[1024], out[1024];
        assert_int_equal(cases[i].cells - 1, p.stretch);
        for (uint32_t k = 0; k < 3 * d.slot_count; k++) {
            memset(in, (int)k & 255, d.slot_bytes);
            assert_int_equal(SHMC_OK, shmc_mpmc_push(&p, in, d.slot_bytes));
            if (k + 1 < d.slot_count) continue;
            memset(in, (int)(k + 1 - d.slot_count) & 255, d.slot_bytes);
            assert_int_equal(SHMC_OK, shmc_mpmc_pop(&c, out, d.slot_bytes));
            assert_memory_equal(in, out, d.slot_bytes);
        }
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&c));
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&p));
        arena_free(&a);
    }
}

/* Two that push and pop by turns guess wrong each time, one alone right.   */
static void
wrong_guess_of_the_next_position_does_no_harm(void **state)
{
    (void)state;
    const shmc_mpmc_desc d = { .slot_count = 256 };
    arena a = arena_new(&d);
    shmc_mpmc q = map(&a, BOTH), other = map(&a, BOTH);
    uint64_t out = 0, n = 0;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 200; i++) {
            shmc_mpmc *who = round % 2 && i % 3 == 0 ? &other : &q;
            const uint64_t in = n + (uint64_t)i;
            assert_int_equal(SHMC_OK, shmc_mpmc_push(who, &in, 8));
        }
        for (int i = 0; i < 200; i++, n++) {
            shmc_mpmc *who = round % 2 && i % 5 == 0 ? &other : &q;
            assert_int_equal(SHMC_OK, shmc_mpmc_pop(who, &out, 8));
            assert_int_equal(n, out);
        }
        assert_int_equal(round % 2 ? SHMI_MPMC_WARY : 0,
                         round % 2 ? other.push_wary : q.push_wary);
        assert_int_equal(SHMC_EAGAIN, shmc_mpmc_pop(&q, &out, 8));
    }
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&other));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    arena_free(&a);
}

static void
dead_consumers_batch_is_delivered_again(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(SHMC_OK, push(&q, i));
    die_in(claim_two_and_die, &small);
    uint64_t got = 0, v[4];
    for (int i = 0; i < POLLS && got != 0xf; i++) {
        const int n = shmc_mpmc_pop_n(&q, v, 8, 4);
        for (int k = 0; k < n; k++) {
            assert_false(got >> v[k] & 1);
            got |= UINT64_C(1) << v[k];
        }
    }
    assert_int_equal(0xf, got);
    dead_close(*state, &q);
}

static void
dead_consumers_message_in_the_way_is_delivered_first(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    assert_int_equal(SHMC_EAGAIN, pop(&q));
    assert_int_equal(SHMC_OK, push(&q, 0));
    assert_int_equal(0, pop(&q));
    q.patrol_pos = UINT64_MAX / 4;
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(SHMC_OK, push(&q, i));
    die_in(borrow_and_die, &small);
    for (int i = 1; i < 4; i++) assert_int_equal(i, pop(&q));
    /* The next position of both sides lies in the dead one's cell.         */
    assert_int_equal(SHMC_EAGAIN, push_soon(&q, 7));
    assert_int_equal(0, pop_soon(&q));
    assert_int_equal(SHMC_OK, push(&q, 8));
    assert_int_equal(8, pop(&q));
    dead_close(*state, &q);
}

static void
dead_consumers_message_comes_under_steady_load(void **state)
{
    const shmc_mpmc_desc d = { .slot_count = 16384, .max_handles = 4 };
    shmc_mpmc q = dead_open(*state, &d);
    uint64_t sum = 0;
    assert_int_equal(SHMC_OK, push(&q, 1000000));
    assert_int_equal(SHMC_OK, push(&q, 1));
    assert_int_equal(1000000, pop(&q));     /* its first look is over       */
    die_in(borrow_and_die, &d);
    for (uint64_t i = 0; i < 100; i++) assert_int_equal(SHMC_OK, push(&q, 0));
    for (int i = 0; i < 4200; i++) {
        assert_int_equal(SHMC_OK, push(&q, 0));
        sum += (uint64_t)pop(&q);
    }
    assert_int_equal(1, sum);
    dead_close(*state, &q);
}

static void
dead_consumers_message_is_dropped_where_asked(void **state)
{
    shmc_mpmc q = dead_open(*state, &dropping);
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(SHMC_OK, push(&q, i));
    die_in(claim_two_and_die, &dropping);
    assert_int_equal(SHMC_OK, push_soon(&q, 4));    /* frees both           */
    assert_int_equal(SHMC_OK, push_soon(&q, 5));
    assert_int_equal(2, stats_of(&q).dropped);
    for (int i = 2; i < 6; i++) assert_int_equal(i, pop_soon(&q));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(SHMC_OK, push(&q, i));
    die_in(borrow_and_die, &dropping);
    for (int i = 1; i < 4; i++) assert_int_equal(i, pop_soon(&q));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&q));    /* meets it a lap later */
    assert_int_equal(3, stats_of(&q).dropped);
    assert_int_equal(7, stats_of(&q).popped);
    assert_int_equal(0, stats_of(&q).redelivered);
    dead_close(*state, &q);
}

static const shmc_mpmc_desc limited = { .slot_count = 4, .max_handles = 4,
                                        .max_redeliveries = 2, .waitable = 1 };
static const shmc_mpmc_desc limited_1 = { .slot_count = 1, .max_handles = 4,
                                          .max_redeliveries = 1 };

static void
message_that_too_many_died_with_is_poison(void **state)
{
    shmc_mpmc q = dead_open(*state, &limited);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(SHMC_OK, push(&q, 7));
        for (int i = 0; i < 3; i++) die_in(borrow_and_die, &limited);
        assert_int_equal(SHMC_OK, push(&q, 8));
        assert_int_equal(8, pop_soon(&q));
        assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
        assert_int_equal(k + 1, stats_of(&q).poisoned);
        assert_int_equal(2 * k + 2, stats_of(&q).redelivered);
        assert_int_equal(k + 1, stats_of(&q).popped);
    }
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(SHMC_OK, push(&q, i));
    for (int i = 0; i < 4; i++) assert_int_equal(i, pop_soon(&q));
    dead_close(*state, &q);
}

static void
poison_in_the_way_is_dropped_by_whoever_meets_it(void **state)
{
    for (int consumer = 0; consumer < 2; consumer++) {
        shmc_mpmc q = dead_open(*state, &limited_1);
        assert_int_equal(SHMC_OK, push(&q, 7));
        for (int i = 0; i < 2; i++) die_in(borrow_and_die, &limited_1);
        if (consumer) assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
        assert_int_equal(SHMC_OK, push_soon(&q, 8));
        assert_int_equal(1, stats_of(&q).poisoned);
        assert_int_equal(8, pop_soon(&q));
        dead_close(*state, &q);
    }
}

static void
last_delivery_is_no_poison_while_somebody_alive_holds_it(void **state)
{
    shmc_mpmc q = dead_open(*state, &limited_1), other;
    const void *msg;
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&other, *state, "q", NULL, BOTH));
    assert_int_equal(SHMC_OK, push(&q, 7));
    die_in(borrow_and_die, &limited_1);
    assert_int_equal(0, shmc_mpmc_redeliveries(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_borrow(&q, &msg));
    assert_int_equal(7, *(const uint64_t *)msg);
    assert_int_equal(1, shmc_mpmc_redeliveries(&q));
    assert_int_equal(SHMC_EAGAIN, pop_soon(&other));
    assert_int_equal(SHMC_EAGAIN, push_soon(&other, 8));
    assert_int_equal(0, stats_of(&q).poisoned);
    assert_int_equal(SHMC_OK, shmc_mpmc_release(&q));
    assert_int_equal(SHMC_OK, push_soon(&other, 8));
    assert_int_equal(SHMC_OK, shmc_mpmc_borrow(&q, &msg));
    assert_int_equal(0, shmc_mpmc_redeliveries(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_release(&q));
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&other));
    dead_close(*state, &q);
}

static void
rooms_beside_the_cells_are_apart_and_inside(void **state)
{
    (void)state;
    for (uint32_t bytes = 1; bytes < 400; bytes += 127) {
        const shmc_mpmc_desc d = { .slot_bytes = 40, .slot_count = 8,
                                   .max_handles = 3, .beside_bytes = bytes };
        arena a = arena_new(&d);
        shmc_mpmc q;
        assert_int_equal(SHMC_OK, shmc_mpmc_map(&q, a.mem, a.bytes, BOTH));
        assert_int_equal(bytes, q.beside_bytes);
        const uint8_t *end = (uint8_t *)shmi_mpmc_at(&q, 7) + 48;
        for (uint64_t pos = 0; pos < 16; pos++) {
            uint8_t *room = shmi_mpmc_beside(&q, pos);
            assert_int_equal(0, (uintptr_t)room % 128);
            assert_true(room >= end);
            end = room + bytes;
            assert_true(room + bytes <= (uint8_t *)a.mem + a.bytes);
            memset(room, 0xee, bytes);
            if (pos % 8 == 7) end = (uint8_t *)shmi_mpmc_at(&q, 7) + 48;
        }
        for (uint64_t i = 0; i < 8; i++)
            assert_int_equal(shmi_mpmc_word(i, SHMI_MPMC_FREE),
                             *shmi_mpmc_at(&q, i));
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
        arena_free(&a);
    }
}

static void
seat_with_a_dead_consumers_message_may_be_taken(void **state)
{
    shmc_mpmc q = dead_open(*state, &crowded), other;
    for (uint64_t i = 0; i < 3; i++) assert_int_equal(SHMC_OK, push(&q, i));
    for (int k = 0; k < 3; k++) {
        die_in(borrow_and_die, &crowded);   /* the second takes over, ...   */
        assert_int_equal(SHMC_OK,
                         shmc_mpmc_open(&other, *state, "q", NULL,
                                        SHMC_PRODUCER));
        assert_int_equal(1, other.seat - other.seats);
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&other));
    }
    uint64_t got = 0;
    for (int i = 0; i < 3; i++) got |= UINT64_C(1) << pop_soon(&q);
    assert_int_equal(7, got);
    assert_int_equal(SHMC_EAGAIN, pop_soon(&q));
    /* Places that are done with are taken again.                           */
    for (int k = 0; k < SHMI_MPMC_ORPHANS + 2; k++) {
        assert_int_equal(SHMC_OK, push(&q, 9));
        die_in(borrow_and_die, &crowded);
        assert_int_equal(SHMC_OK,
                         shmc_mpmc_open(&other, *state, "q", NULL,
                                        SHMC_PRODUCER));
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&other));
        assert_int_equal(9, pop_soon(&q));
    }
    dead_close(*state, &q);
}

static void
borrow_next_and_die(shmc_mpmc *q)
{
    const void *msg;
    q->patrol_pos = UINT64_MAX / 4;         /* does not look for orphans    */
    TEST_REQUIRE(shmc_mpmc_borrow(q, &msg) == SHMC_OK);
}

static void
more_orphans_than_places_are_found_one_lap_later(void **state)
{
    const shmc_mpmc_desc d = { .slot_count = 128, .max_handles = 2 };
    shmc_mpmc q = dead_open(*state, &d);
    uint8_t seen[128] = { 0 };
    for (uint64_t i = 0; i < 128; i++) assert_int_equal(SHMC_OK, push(&q, i));
    for (int i = 0; i < SHMI_MPMC_ORPHANS + 6; i++)
        die_in(borrow_next_and_die, &d);
    for (int64_t v; (v = pop_soon(&q)) >= 0;) seen[v]++;
    for (int i = 0; i < 300; i++) {         /* the rest is noted nowhere    */
        (void)push(&q, 1000);
        const int64_t v = pop_soon(&q);
        if (v < 128) seen[v]++;
    }
    for (int i = 0; i < 128; i++) assert_int_equal(1, seen[i]);
    dead_close(*state, &q);
}

static void
borrow_push_and_linger(shmc_mpmc *q)
{
    borrow_and_die(q);
    TEST_REQUIRE(push(q, 6) == SHMC_OK);
    test_sleep_ms(20);
}

static void
sleeper_gets_a_dead_consumers_message(void **state)
{
    shmc_mpmc q = dead_open(*state, &small);
    uint64_t v = 0;
    assert_int_equal(SHMC_OK, push(&q, 1));
    assert_int_equal(1, pop(&q));
    for (int k = 0; k < 2; k++) {
        const uint64_t next = q.shm->tail;
        assert_int_equal(SHMC_OK, push(&q, 5));
        const pid_t child = start(borrow_push_and_linger, NULL);
        while (shmi_load_acq_64(&q.shm->tail) != next + 2)
            test_sleep_ms(1);       /* it has 5, and 6 is there             */
        assert_int_equal(SHMC_OK, shmc_mpmc_pop_wait(&q, &v, 8, -1));
        assert_int_equal(6, v);
        assert_int_equal(SHMC_OK, shmc_mpmc_pop_wait(&q, &v, 8, -1));
        assert_int_equal(5, v);
        assert_int_equal(0, test_join(child));
        assert_int_equal(SHMC_OK, push(&q, 0));
        assert_int_equal(0, pop(&q));
    }
    dead_close(*state, &q);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(empty_queue_returns_eagain),
        TEST_CASE(every_capacity_fills_and_drains_in_order),
        TEST_CASE(positions_wrap_at_32_48_and_64_bits),
        TEST_CASE(messages_of_odd_sizes_arrive_whole),
        TEST_CASE(batches_take_what_there_is),
        TEST_CASE(loaned_slot_is_pushed_by_commit),
        TEST_CASE(aborted_loan_is_skipped),
        TEST_CASE(more_tombs_than_one_call_skips_are_skipped_by_the_next),
        TEST_CASE(
            tomb_that_a_dead_consumer_passed_is_freed_by_whoever_meets_it),
        TEST_CASE(borrowed_message_keeps_its_cell),
        TEST_CASE(close_aborts_a_loan_and_releases_a_borrow),
        TEST_CASE(roles_are_kept_apart),
        TEST_CASE(rooms_beside_the_cells_are_apart_and_inside),
        TEST_CASE(bad_descs_are_rejected_with_a_sentence),
        TEST_CASE(broken_first_lines_are_refused),
        TEST_CASE(open_checks_what_exists),
        TEST_CASE(forked_child_cannot_use_the_parents_handle),
        TEST_CASE(garbage_in_a_cell_is_reported),
        TEST_CASE(garbage_in_indices_is_survived),
        TEST_CASE(scribbling_peer_harms_nobodys_process),
        TEST_CASE(waiters_are_woken),
        TEST_CASE(dead_producers_cell_becomes_a_tomb),
        TEST_CASE(dead_producers_batch_becomes_tombs),
        TEST_CASE(
            dead_producers_seat_may_be_reused_before_its_cell_is_met),
        TEST_CASE(living_producers_cell_is_left_alone),
        TEST_CASE(dead_ones_who_only_intended_change_nothing),
        TEST_CASE(dead_consumers_message_is_delivered_again),
        TEST_CASE(message_taken_over_is_held_by_who_took_it),
        TEST_CASE(living_ones_batch_is_left_alone),
        TEST_CASE(lost_race_leaves_no_intent),
        TEST_CASE(finished_call_leaves_no_intent),
        TEST_CASE(stretch_is_two_to_thirty_two_cells_or_none),
        TEST_CASE(wrong_guess_of_the_next_position_does_no_harm),
        TEST_CASE(dead_consumers_batch_is_delivered_again),
        TEST_CASE(dead_consumers_message_in_the_way_is_delivered_first),
        TEST_CASE(dead_consumers_message_comes_under_steady_load),
        TEST_CASE(dead_consumers_message_is_dropped_where_asked),
        TEST_CASE(message_that_too_many_died_with_is_poison),
        TEST_CASE(poison_in_the_way_is_dropped_by_whoever_meets_it),
        TEST_CASE(last_delivery_is_no_poison_while_somebody_alive_holds_it),
        TEST_CASE(seat_with_a_dead_consumers_message_may_be_taken),
        TEST_CASE(more_orphans_than_places_are_found_one_lap_later),
        TEST_CASE(sleeper_gets_a_dead_consumers_message),
    };
    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests(tests, segment_open, segment_gone);
}
