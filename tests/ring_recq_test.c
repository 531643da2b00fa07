/* Tests of the record queue: shmcomm_recq.h.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_recq.h"
#include "ring_support.h"

#include <pthread.h>

enum { CAPACITY = 256, MOST = 120 };

/* A queue in private memory, between two guards, with both its handles.   */
typedef struct pair {
    uint8_t *block;
    void *mem;
    uint64_t bytes;
    shmi_lane_shm *shm;
    uint8_t *slots;
    shmc_recq p, c;
} pair;

static void
pair_format(pair *t, const shmc_recq_desc *d)
{
    const int64_t bytes = shmc_recq_size_for(d);
    assert_true(bytes > 0);
    memset(t, 0, sizeof *t);
    t->bytes = (uint64_t)bytes;
    t->mem = guarded_alloc(&t->block, t->bytes);
    t->shm = (shmi_lane_shm *)t->mem;
    t->slots = (uint8_t *)t->mem + sizeof(shmi_lane_shm);
    assert_int_equal(shmc_recq_format(t->mem, t->bytes, d), SHMC_OK);
}

static void
pair_open(pair *t, uint32_t capacity, uint64_t start)
{
    const shmc_recq_desc d = { capacity, 0, NULL };
    pair_format(t, &d);
    t->shm->head.index = t->shm->tail.index = start;
    assert_int_equal(shmc_recq_map(&t->p, t->mem, t->bytes, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_recq_map(&t->c, t->mem, t->bytes, SHMC_CONSUMER), 0);
}

static void
pair_close(pair *t)
{
    if (t->p.lane.shm) assert_int_equal(shmc_recq_close(&t->p), SHMC_OK);
    if (t->c.lane.shm) assert_int_equal(shmc_recq_close(&t->c), SHMC_OK);
    guarded_free(t->block, t->bytes);
}

static uint64_t
word(uint32_t kind, uint32_t bytes)
{
    return (uint64_t)kind << 32 | bytes;
}

/* ---- geometry ---------------------------------------------------------- */

static void
size_is_five_lines_and_the_capacity(void **state)
{
    (void)state;
    const shmc_recq_desc least = { 256, 0, NULL };
    const shmc_recq_desc most = { 1u << 31, 0, NULL };
    assert_int_equal(shmc_recq_size_for(NULL), 768 + 65536);
    assert_int_equal(shmc_recq_size_for(&least), 768 + 256);
    assert_true(shmc_recq_size_for(&most) == 768 + ((int64_t)1 << 31));
}

static void
bad_descs_are_rejected_with_a_sentence(void **state)
{
    (void)state;
    const shmc_recq_desc small = { 128, 0, NULL };
    const shmc_recq_desc odd = { 1000, 0, NULL };
    const shmc_recq_desc waitable = { 0, 7, NULL };
    uint8_t mem[256];
    shmc_recq q;
    assert_int_equal(shmc_recq_size_for(&small), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "capacity_bytes"));
    assert_int_equal(shmc_recq_size_for(&odd), SHMC_EINVAL);
    assert_int_equal(shmc_recq_size_for(&waitable), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "waitable"));
    assert_int_equal(shmc_recq_format(mem, sizeof mem, &odd), SHMC_EINVAL);
    assert_int_equal(shmc_recq_open(&q, NULL, "q", &odd, 1), SHMC_EINVAL);
    assert_int_equal(shmc_recq_open(&q, NULL, "q", NULL, 1), SHMC_EINVAL);
}

static void
first_line_that_lies_is_not_mapped(void **state)
{
    (void)state;
    const shmc_recq_desc d = { CAPACITY, 0, NULL };
    const struct { size_t at; uint32_t value; } lies[] = {
        { 8, 640 }, { 16, 4 }, { 20, 16 }, { 20, 1u << 29 }, { 24, 16 },
        { 128, 4 }, { 128, 264 },
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        pair t;
        pair_format(&t, &d);
        memcpy((uint8_t *)t.mem + lies[i].at, &lies[i].value, 4);
        assert_int_equal(shmc_recq_map(&t.p, t.mem, t.bytes, SHMC_PRODUCER),
                         SHMC_ECORRUPT);
        pair_close(&t);
    }
}

/* ---- push and pop ------------------------------------------------------ */

static void
records_of_any_size_come_out_whole_and_in_order(void **state)
{
    (void)state;
    const uint64_t starts[] = { 0, 248, (uint64_t)UINT32_MAX - 127,
                                UINT64_MAX - 127 };
    for (int s = 0; s < 4; s++) {
        pair t;
        uint8_t in[MOST], out[MOST];
        uint32_t x = 1, pushed = 0, popped = 0, sizes[4096];
        pair_open(&t, CAPACITY, starts[s]);
        assert_int_equal(shmc_recq_max_bytes(&t.p), MOST);
        while (pushed < 4000) {
            x = x * 1664525u + 1013904223u;
            const uint32_t bytes = (x >> 16) % (MOST + 1);
            memset(in, (int)(pushed & 255), sizeof in);
            const int rc = shmc_recq_push(&t.p, in, bytes);
            if (rc == SHMC_OK) {
                sizes[pushed++] = bytes;
                if (x & 0x80) continue;
            } else {
                assert_int_equal(rc, SHMC_EAGAIN);
            }
            if (popped == pushed) continue;
            const int next = shmc_recq_next_bytes(&t.c);
            assert_int_equal(next, sizes[popped]);
            if (next > 0)
                assert_int_equal(shmc_recq_pop(&t.c, out, (uint32_t)next - 1),
                                 SHMC_EMSGSIZE);
            assert_int_equal(shmc_recq_pop(&t.c, out, sizeof out), next);
            memset(in, (int)(popped++ & 255), sizeof in);
            assert_memory_equal(in, out, (size_t)next);
        }
        while (popped < pushed)
            assert_int_equal(shmc_recq_pop(&t.c, out, sizeof out),
                             sizes[popped++]);
        assert_int_equal(shmc_recq_pop(&t.c, out, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_recq_next_bytes(&t.c), SHMC_EAGAIN);
        assert_int_equal(shmc_recq_used_bytes(&t.c), 0);
        pair_close(&t);
    }
}

static void
largest_record_fits_an_empty_queue_wherever_it_stands(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < CAPACITY; at += 8) {
        pair t;
        uint8_t in[MOST + 1], out[MOST];
        memset(in, (int)at, sizeof in);
        pair_open(&t, CAPACITY, at);
        volatile uint32_t more = MOST + 1;  /* compilers warn of a literal  */
        assert_int_equal(shmc_recq_push(&t.p, in, more), SHMC_EMSGSIZE);
        more = UINT32_MAX;
        assert_int_equal(shmc_recq_push(&t.p, in, more), SHMC_EMSGSIZE);
        assert_int_equal(shmc_recq_push(&t.p, in, MOST), SHMC_OK);
        assert_int_equal(shmc_recq_pop(&t.c, out, MOST), MOST);
        assert_memory_equal(in, out, MOST);
        assert_int_equal(shmc_recq_push(&t.p, in, 0), SHMC_OK);
        assert_int_equal(shmc_recq_next_bytes(&t.c), 0);
        assert_int_equal(shmc_recq_pop(&t.c, out, 0), 0);
        pair_close(&t);
    }
}

static void
wrong_calls_are_refused_and_change_nothing(void **state)
{
    (void)state;
    pair t;
    uint8_t b[8];
    void *data;
    const void *view;
    shmc_recq none, o;
    shmc_recq_item item = { b, 8 };
    shmc_recq_buffer buffer = { b, 8, 0 };
    shmc_recq_stats st;
    memset(&none, 0, sizeof none);
    pair_open(&t, CAPACITY, 0);
    assert_int_equal(shmc_recq_map(&o, t.mem, t.bytes, SHMC_OBSERVER), 0);
    assert_int_equal(shmc_recq_push(&t.c, b, 8), SHMC_EINVAL);
    assert_int_equal(shmc_recq_push(&o, b, 8), SHMC_EINVAL);
    assert_int_equal(shmc_recq_push_n(&t.c, &item, 1), SHMC_EINVAL);
    assert_int_equal(shmc_recq_push_n(&t.p, &item, 0), SHMC_EINVAL);
    assert_int_equal(shmc_recq_loan(&t.c, 8, &data), SHMC_EINVAL);
    assert_int_equal(shmc_recq_loan(&t.p, MOST + 1, &data), SHMC_EMSGSIZE);
    assert_int_equal(shmc_recq_commit(&t.p, 0), SHMC_EINVAL);
    assert_int_equal(shmc_recq_abort(&t.p), SHMC_EINVAL);
    assert_int_equal(shmc_recq_pop(&t.p, b, 8), SHMC_EINVAL);
    assert_int_equal(shmc_recq_pop_n(&t.p, &buffer, 1), SHMC_EINVAL);
    assert_int_equal(shmc_recq_pop_n(&t.c, &buffer, 0), SHMC_EINVAL);
    assert_int_equal(shmc_recq_next_bytes(&t.p), SHMC_EINVAL);
    assert_int_equal(shmc_recq_borrow(&t.p, &view), SHMC_EINVAL);
    assert_int_equal(shmc_recq_release(&t.c), SHMC_EINVAL);
    assert_int_equal(shmc_recq_push(&none, b, 8), SHMC_ECLOSED);
    assert_int_equal(shmc_recq_pop(&none, b, 8), SHMC_ECLOSED);
    assert_int_equal(shmc_recq_commit(&none, 8), SHMC_ECLOSED);
    assert_int_equal(shmc_recq_release(&none), SHMC_ECLOSED);
    assert_int_equal(shmc_recq_stats_get(&none, &st), SHMC_ECLOSED);
    assert_int_equal(shmc_recq_close(&none), SHMC_ECLOSED);
    assert_int_equal(shmc_recq_used_bytes(&none), 0);
    assert_int_equal(shmc_recq_used_bytes(&t.p), 0);
    assert_int_equal(shmc_recq_push_wait(&t.p, b, 8, 0), SHMC_ENOTSUP);
    assert_int_equal(shmc_recq_pop_wait(&t.c, b, 8, 0), SHMC_ENOTSUP);
    assert_int_equal(shmc_recq_close(&o), SHMC_OK);
    pair_close(&t);
}

static void
batches_are_published_at_once(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < CAPACITY; at += 8) {
        pair t;
        uint8_t in[64], out[6][64];
        shmc_recq_item items[6];
        shmc_recq_buffer buffers[6];
        pair_open(&t, CAPACITY, at);
        for (uint32_t i = 0; i < 64; i++) in[i] = (uint8_t)(i + at);
        for (uint32_t i = 0; i < 6; i++) {
            items[i].data = in;
            items[i].bytes = 10 * i;
            buffers[i].data = out[i];
            buffers[i].capacity_bytes = i == 4 ? 39 : 64;
        }
        assert_int_equal(shmc_recq_pop_n(&t.c, buffers, 6), SHMC_EAGAIN);
        const int n = shmc_recq_push_n(&t.p, items, 6);
        assert_true(n == 5 || n == 6);              /* 6, unless it wraps   */
        assert_int_equal(shmc_recq_pop_n(&t.c, buffers, 6), 4);
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(buffers[i].bytes, 10 * i);
            assert_memory_equal(out[i], in, 10 * i);
        }
        assert_int_equal(shmc_recq_pop_n(&t.c, buffers + 4, 1), SHMC_EMSGSIZE);
        buffers[4].capacity_bytes = 40;
        assert_int_equal(shmc_recq_pop_n(&t.c, buffers + 4, 2), n - 4);
        assert_int_equal(buffers[4].bytes, 40);
        items[5].bytes = MOST + 1;
        assert_int_equal(shmc_recq_push_n(&t.p, items, 6), SHMC_EMSGSIZE);
        items[0].bytes = items[1].bytes = 64;
        while (shmc_recq_push_n(&t.p, items, 1) == 1) { }
        assert_int_equal(shmc_recq_push_n(&t.p, items, 2), SHMC_EAGAIN);
        pair_close(&t);
    }
}

static void
loans_are_seen_after_commit_with_the_bytes_committed(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < CAPACITY; at += 8) {
        pair t;
        void *data = NULL;
        uint8_t out[MOST];
        pair_open(&t, CAPACITY, at);
        assert_int_equal(shmc_recq_loan(&t.p, MOST, &data), SHMC_OK);
        memset(data, 0x11, MOST);
        assert_int_equal(shmc_recq_abort(&t.p), SHMC_OK);
        assert_int_equal(shmc_recq_pop(&t.c, out, MOST), SHMC_EAGAIN);
        assert_int_equal(shmc_recq_loan(&t.p, 100, &data), SHMC_OK);
        assert_int_equal((uintptr_t)data % 8, 0);
        memset(data, 0x22, 100);
        assert_int_equal(shmc_recq_push(&t.p, out, 1), SHMC_EINVAL);
        assert_int_equal(shmc_recq_commit(&t.p, 101), SHMC_EINVAL);
        assert_int_equal(shmc_recq_pop(&t.c, out, MOST), SHMC_EAGAIN);
        assert_int_equal(shmc_recq_commit(&t.p, 33), SHMC_OK);
        assert_int_equal(shmc_recq_pop(&t.c, out, MOST), 33);
        assert_int_equal(out[32], 0x22);
        assert_int_equal(shmc_recq_loan(&t.p, 5, &data), SHMC_OK);
        assert_int_equal(shmc_recq_commit(&t.p, 0), SHMC_OK);
        assert_int_equal(shmc_recq_pop(&t.c, out, MOST), 0);
        while (shmc_recq_push(&t.p, out, 40) == SHMC_OK) { }
        assert_int_equal(shmc_recq_loan(&t.p, 40, &data), SHMC_EAGAIN);
        pair_close(&t);
    }
}

static void
borrowed_record_stays_owned_until_release(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < CAPACITY; at += 8) {
        pair t;
        const void *view = NULL;
        uint8_t in[MOST], out[MOST];
        memset(in, 0x33, sizeof in);
        pair_open(&t, CAPACITY, at);
        assert_int_equal(shmc_recq_borrow(&t.c, &view), SHMC_EAGAIN);
        assert_int_equal(shmc_recq_push(&t.p, in, MOST), SHMC_OK);
        memset(in, 0x44, sizeof in);
        assert_int_equal(shmc_recq_borrow(&t.c, &view), MOST);
        while (shmc_recq_push(&t.p, in, 16) == SHMC_OK) { }
        for (int i = 0; i < MOST; i++)
            assert_int_equal(((const uint8_t *)view)[i], 0x33);
        assert_int_equal(shmc_recq_pop(&t.c, out, MOST), SHMC_EINVAL);
        assert_int_equal(shmc_recq_next_bytes(&t.c), SHMC_EINVAL);
        assert_int_equal(shmc_recq_release(&t.c), SHMC_OK);
        assert_int_equal(shmc_recq_push(&t.p, in, 16), SHMC_OK);
        assert_int_equal(shmc_recq_pop(&t.c, out, MOST), 16);
        assert_int_equal(out[15], 0x44);
        pair_close(&t);
    }
}

/* ---- a hostile peer ---------------------------------------------------- */

static void
hostile_record_word_gives_ecorrupt(void **state)
{
    (void)state;
    const struct { uint64_t at, first, second; uint32_t tail; } lies[] = {
        { 0, word(0, 8), 0, 16 },                   /* never written        */
        { 0, word(3, 8), 0, 16 },                   /* no such kind         */
        { 0, word(1, 9), 0, 16 },                   /* beyond what is used  */
        { 0, word(1, 121), 0, 256 },                /* beyond the largest   */
        { 0, word(1, UINT32_MAX), 0, 256 },
        { 0, word(1, 0xfffffff8u), 0, 256 },
        { 0, word(1, 8), 0, 4 },                    /* no room for a word   */
        { 0, word(2, 248), 0, 256 },                /* nothing but padding  */
        { 0, word(2, 240), 0, 256 },                /* ends before the end  */
        { 0, word(2, UINT32_MAX), 0, 256 },
        { 248, word(1, 8), 0, 16 },                 /* wraps                */
        { 248, word(2, 0), 0, 8 },                  /* nothing after it     */
        { 248, word(2, 8), 0, 32 },                 /* wraps                */
        { 248, word(2, 0), word(2, 248), 256 },     /* padding twice        */
        { 248, word(2, 0), word(0, 0), 64 },
        { 248, word(2, 0), word(1, 60), 64 },       /* beyond what is used  */
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        pair t;
        uint8_t out[512];
        const void *view;
        shmc_recq_buffer buffer = { out, sizeof out, 0 };
        pair_open(&t, CAPACITY, lies[i].at);
        memcpy(t.slots + lies[i].at, &lies[i].first, 8);
        if (lies[i].second) memcpy(t.slots, &lies[i].second, 8);
        t.shm->tail.index = lies[i].at + lies[i].tail;
        assert_int_equal(shmc_recq_pop(&t.c, out, sizeof out), SHMC_ECORRUPT);
        assert_int_equal(shmc_recq_pop_n(&t.c, &buffer, 1), SHMC_ECORRUPT);
        assert_int_equal(shmc_recq_borrow(&t.c, &view), SHMC_ECORRUPT);
        assert_int_equal(shmc_recq_next_bytes(&t.c), SHMC_ECORRUPT);
        pair_close(&t);
    }
}

static void
scribbled_indices_give_ecorrupt(void **state)
{
    (void)state;
    const uint64_t far[] = { 257, UINT64_MAX - 300, (uint64_t)1 << 40 };
    for (int i = 0; i < 3; i++) {
        pair t;
        uint8_t b[16] = { 0 };
        shmc_recq_buffer two[2] = { { b, 8, 0 }, { b + 8, 8, 0 } };
        pair_open(&t, CAPACITY, 1024);
        while (shmc_recq_push(&t.p, b, 8) == SHMC_OK) { }
        t.shm->head.index = 1024 - far[i];
        assert_int_equal(shmc_recq_push(&t.p, b, 8), SHMC_ECORRUPT);
        t.shm->tail.index = 1024 + far[i];
        assert_int_equal(shmc_recq_pop(&t.c, b, 8), SHMC_ECORRUPT);
        /* Backwards in the middle of a batch.                             */
        t.shm->tail.index = 1024 + 16;
        assert_int_equal(shmc_recq_next_bytes(&t.c), 8);
        t.shm->tail.index = 1024 + 8;
        assert_int_equal(shmc_recq_pop_n(&t.c, two, 2), 1);
        pair_close(&t);
    }
}

static void
random_scribbling_never_leaves_the_memory(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    uint8_t b[256] = { 0 };
    for (int round = 0; round < 400; round++) {
        pair t;
        shmc_recq_buffer buffers[3] = { { b, 40, 0 }, { b, 80, 0 }, { b, 256, 0 } };
        const shmc_recq_item items[3] = { { b, 1 }, { b, 50 }, { b, 7 } };
        pair_open(&t, CAPACITY, x & ~(uint64_t)7);
        for (int step = 0; step < 100; step++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            uint64_t *index = x & 64 ? &t.shm->head.index : &t.shm->tail.index;
            if ((x & 15) == 0) *index = x >> 7;
            if ((x & 15) == 1) *index += (x >> 60) * 8;
            if ((x & 7) == 2) {
                const uint64_t w = word((uint32_t)(x >> 20) & 3,
                                        (uint32_t)(x >> 30) % 300);
                memcpy(t.slots + (x >> 50) % 32 * 8, &w, 8);
            }
            if (x & 16) (void)shmc_recq_push(&t.p, b, (uint32_t)(x >> 12) & 127);
            if (x & 32) (void)shmc_recq_pop(&t.c, b, sizeof b);
            if (x & 128) (void)shmc_recq_push_n(&t.p, items, 3);
            if (x & 256) (void)shmc_recq_pop_n(&t.c, buffers, 3);
        }
        pair_close(&t);                             /* checks the guards    */
    }
}

/* ---- in a segment ------------------------------------------------------ */

static void
seg_open(shmc_segment *s, char *name, size_t bytes, const char *noun)
{
    test_name(name, bytes, noun);
    assert_int_equal(shmc_segment_create(s, name, NULL), SHMC_OK);
}

static void
seg_close(shmc_segment *s, const char *name)
{
    assert_int_equal(shmc_segment_close(s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink(name, NULL), SHMC_OK);
}

static void
queue_in_a_segment_keeps_its_roles_and_options(void **state)
{
    (void)state;
    shmc_segment s;
    char name[64];
    shmc_recq p, c, o;
    shmc_recq_stats st;
    const shmc_recq_desc d = { 512, 1, "log" };
    const shmc_recq_desc other = { 1024, 0, NULL };
    char text[16];
    seg_open(&s, name, sizeof name, "roles");
    assert_int_equal(shmc_recq_open(&p, &s, "q", &d, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_recq_open(&c, &s, "q", &d, SHMC_PRODUCER),
                     SHMC_EBUSY);
    assert_int_equal(shmc_recq_open(&c, &s, "q", &other, SHMC_CONSUMER),
                     SHMC_EMISMATCH);
    assert_non_null(strstr(shmc_last_error(), "capacity_bytes 512, not 1024"));
    assert_int_equal(shmc_recq_open(&c, &s, "q", NULL, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_recq_open(&o, &s, "q", NULL, SHMC_OBSERVER), SHMC_OK);
    assert_int_equal(shmc_recq_push(&p, "hello", 6), SHMC_OK);
    assert_int_equal(shmc_recq_push(&p, "world", 6), SHMC_OK);
    assert_int_equal(shmc_recq_pop(&c, text, sizeof text), 6);
    assert_string_equal(text, "hello");
    assert_int_equal(shmc_recq_stats_get(&o, &st), SHMC_OK);
    assert_int_equal(st.pushed_bytes, 32);
    assert_int_equal(st.popped_bytes, 16);
    assert_int_equal(st.used_bytes, 16);
    assert_int_equal(st.capacity_bytes, 512);
    assert_int_equal(st.max_bytes, 248);
    assert_int_equal(st.producer_pid, getpid());
    assert_int_equal(st.consumer_pid, getpid());
    assert_true(st.producer_alive && st.consumer_alive && st.waitable);
    assert_int_equal(shmc_recq_close(&p), SHMC_OK);
    assert_int_equal(shmc_recq_close(&c), SHMC_OK);
    assert_int_equal(shmc_recq_close(&o), SHMC_OK);
    seg_close(&s, name);
}

static int
forked_calls(void *arg)
{
    shmc_recq *p = (shmc_recq *)arg, *c = p + 1;
    uint8_t b[8] = { 0 };
    void *data;
    const void *view;
    shmc_recq_item item = { b, 8 };
    shmc_recq_buffer buffer = { b, 8, 0 };
    shmc_recq_stats st;
    int bad = 0;
    bad |= shmc_recq_push(p, b, 8) != SHMC_EFORKED;
    bad |= shmc_recq_pop(c, b, 8) != SHMC_EFORKED;
    bad |= shmc_recq_push_n(p, &item, 1) != SHMC_EFORKED;
    bad |= shmc_recq_pop_n(c, &buffer, 1) != SHMC_EFORKED;
    bad |= shmc_recq_next_bytes(c) != SHMC_EFORKED;
    bad |= shmc_recq_loan(p, 8, &data) != SHMC_EFORKED;
    bad |= shmc_recq_commit(p, 8) != SHMC_EFORKED;
    bad |= shmc_recq_abort(p) != SHMC_EFORKED;
    bad |= shmc_recq_borrow(c, &view) != SHMC_EFORKED;
    bad |= shmc_recq_release(c) != SHMC_EFORKED;
    bad |= shmc_recq_push_wait(p, b, 8, 1) != SHMC_EFORKED;
    bad |= shmc_recq_pop_wait(c, b, 8, 1) != SHMC_EFORKED;
    bad |= shmc_recq_stats_get(c, &st) != SHMC_EFORKED;
    bad |= shmc_recq_close(p) != SHMC_OK;
    return bad;
}

static void
inherited_handles_return_eforked(void **state)
{
    (void)state;
    shmc_segment s;
    char name[64];
    shmc_recq q[2];
    seg_open(&s, name, sizeof name, "fork");
    assert_int_equal(shmc_recq_open(&q[0], &s, "q", NULL, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_recq_open(&q[1], &s, "q", NULL, SHMC_CONSUMER), 0);
    assert_int_equal(test_join(test_spawn(forked_calls, q)), 0);
    assert_int_equal(shmc_recq_close(&q[0]), SHMC_OK);
    assert_int_equal(shmc_recq_close(&q[1]), SHMC_OK);
    seg_close(&s, name);
}

/* ---- children that die ------------------------------------------------- */

static void
produce_two_and_loan(shmc_segment *s)
{
    shmc_recq q;
    void *data = NULL;
    TEST_REQUIRE(shmc_recq_open(&q, s, "q", NULL, SHMC_PRODUCER) == SHMC_OK);
    TEST_REQUIRE(shmc_recq_push(&q, "one", 4) == SHMC_OK);
    TEST_REQUIRE(shmc_recq_push(&q, "two", 4) == SHMC_OK);
    TEST_REQUIRE(shmc_recq_loan(&q, 100, &data) == SHMC_OK);
    memset(data, 0xff, 100);
}

static void
consume_one_and_borrow(shmc_segment *s)
{
    shmc_recq q;
    char text[8];
    const void *view = NULL;
    TEST_REQUIRE(shmc_recq_open(&q, s, "q", NULL, SHMC_CONSUMER) == SHMC_OK);
    TEST_REQUIRE(shmc_recq_pop(&q, text, 8) == 4);
    TEST_REQUIRE(shmc_recq_borrow(&q, &view) == 4);
}

static void
successors_of_both_sides_go_on(void **state)
{
    (void)state;
    shmc_segment s;
    char name[64], text[8];
    shmc_recq p, c;
    const shmc_recq_desc d = { 256, 1, NULL };
    seg_open(&s, name, sizeof name, "dead");
    assert_int_equal(shmc_recq_open(&c, &s, "q", &d, SHMC_CONSUMER), 0);
    test_kill(start_child(name, produce_two_and_loan));
    assert_int_equal(shmc_recq_close(&c), SHMC_OK);
    test_kill(start_child(name, consume_one_and_borrow));
    assert_int_equal(shmc_recq_open(&c, &s, "q", &d, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_recq_pop_wait(&c, text, 8, -1), 4);
    assert_string_equal(text, "two");
    assert_int_equal(shmc_recq_pop_wait(&c, text, 8, -1), SHMC_EPEERDEAD);
    assert_int_equal(shmc_recq_open(&p, &s, "q", &d, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_recq_push(&p, "three", 6), SHMC_OK);
    assert_int_equal(shmc_recq_pop(&c, text, 8), 6);
    assert_string_equal(text, "three");
    assert_int_equal(shmc_recq_close(&p), SHMC_OK);
    assert_int_equal(shmc_recq_close(&c), SHMC_OK);
    seg_close(&s, name);
}

static void *
echo(void *ctx)
{
    shmc_recq *q = (shmc_recq *)ctx;                /* [0] in, [1] out      */
    uint8_t b[MOST];
    int n = 1;
    while (n > 0) {
        n = shmc_recq_pop_wait(&q[0], b, sizeof b, -1);
        if (n % 7 == 0) usleep(300);
        if (shmc_recq_push_wait(&q[1], b, (uint32_t)n, -1) != SHMC_OK) break;
    }
    return NULL;
}

static void
sleepers_are_woken_and_timeouts_are_kept(void **state)
{
    (void)state;
    shmc_segment s;
    char name[64];
    shmc_recq far[2], to, from;
    pthread_t thread;
    uint8_t in[MOST], out[MOST];
    const shmc_recq_desc d = { 256, 1, NULL };
    seg_open(&s, name, sizeof name, "sleep");
    assert_int_equal(shmc_recq_open(&to, &s, "a", &d, 1), SHMC_OK);
    assert_int_equal(shmc_recq_open(&far[0], &s, "a", &d, 2), SHMC_OK);
    assert_int_equal(shmc_recq_open(&far[1], &s, "b", &d, 1), SHMC_OK);
    assert_int_equal(shmc_recq_open(&from, &s, "b", &d, 2), SHMC_OK);
    assert_int_equal(shmc_recq_pop_wait(&from, out, 8, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_recq_pop_wait(&from, out, 8, 1000000),
                     SHMC_ETIMEDOUT);
    assert_int_equal(pthread_create(&thread, NULL, echo, far), 0);
    for (uint32_t i = 300; i-- > 0;) {
        const uint32_t bytes = i % (MOST + 1);
        if (bytes == 0 && i != 0) continue;
        if (i % 11 == 0) usleep(300);
        memset(in, (int)i & 255, sizeof in);
        assert_int_equal(shmc_recq_push_wait(&to, in, bytes, -1), SHMC_OK);
        assert_int_equal(shmc_recq_pop_wait(&from, out, MOST, -1), bytes);
        assert_memory_equal(in, out, bytes);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    while (shmc_recq_push(&to, in, 16) == SHMC_OK) { }
    assert_int_equal(shmc_recq_push_wait(&to, in, 16, 1000000), SHMC_ETIMEDOUT);
    assert_int_equal(shmc_recq_close(&to), SHMC_OK);
    assert_int_equal(shmc_recq_close(&from), SHMC_OK);
    assert_int_equal(shmc_recq_close(&far[0]), SHMC_OK);
    assert_int_equal(shmc_recq_close(&far[1]), SHMC_OK);
    seg_close(&s, name);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(size_is_five_lines_and_the_capacity),
        TEST_CASE(bad_descs_are_rejected_with_a_sentence),
        TEST_CASE(first_line_that_lies_is_not_mapped),
        TEST_CASE(records_of_any_size_come_out_whole_and_in_order),
        TEST_CASE(largest_record_fits_an_empty_queue_wherever_it_stands),
        TEST_CASE(wrong_calls_are_refused_and_change_nothing),
        TEST_CASE(batches_are_published_at_once),
        TEST_CASE(loans_are_seen_after_commit_with_the_bytes_committed),
        TEST_CASE(borrowed_record_stays_owned_until_release),
        TEST_CASE(hostile_record_word_gives_ecorrupt),
        TEST_CASE(scribbled_indices_give_ecorrupt),
        TEST_CASE(random_scribbling_never_leaves_the_memory),
        TEST_CASE(queue_in_a_segment_keeps_its_roles_and_options),
        TEST_CASE(inherited_handles_return_eforked),
        TEST_CASE(successors_of_both_sides_go_on),
        TEST_CASE(sleepers_are_woken_and_timeouts_are_kept),
    };
    shmc_log_set(NULL, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
