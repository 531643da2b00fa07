/* Tests of the latest-value cell: shmcomm_latest.h.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "ring_support.h"

#include <pthread.h>

/* A cell in private memory, between two guards, with two handles.         */
typedef struct cell {
    uint8_t *block;
    void *mem;
    uint64_t bytes;
    shmc_latest_shm *shm;
    shmc_latest w, r;
} cell;

static void
cell_format(cell *t, const shmc_latest_desc *d)
{
    const int64_t bytes = shmc_latest_size_for(d);
    assert_true(bytes > 0);
    memset(t, 0, sizeof *t);
    t->bytes = (uint64_t)bytes;
    t->mem = guarded_alloc(&t->block, t->bytes);
    t->shm = (shmc_latest_shm *)t->mem;
    assert_int_equal(shmc_latest_format(t->mem, t->bytes, d), SHMC_OK);
}

static void
cell_open(cell *t, uint32_t value_bytes, uint32_t slot_count, uint64_t start)
{
    const shmc_latest_desc d = { value_bytes, slot_count, 1, NULL };
    cell_format(t, &d);
    t->shm->writer.index = start;
    assert_int_equal(shmc_latest_map(&t->w, t->mem, t->bytes, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_latest_map(&t->r, t->mem, t->bytes, SHMC_OBSERVER), 0);
}

static void
cell_close(cell *t)
{
    if (t->w.shm) assert_int_equal(shmc_latest_close(&t->w), SHMC_OK);
    if (t->r.shm) assert_int_equal(shmc_latest_close(&t->r), SHMC_OK);
    guarded_free(t->block, t->bytes);
}

static int
write_u64(shmc_latest *c, uint64_t v) { return shmc_latest_write(c, &v, 8); }

/* ---- geometry ---------------------------------------------------------- */

static void
size_is_three_lines_and_the_slots(void **state)
{
    (void)state;
    const shmc_latest_desc small = { 120, 2, 0, NULL };
    const shmc_latest_desc more = { 121, 8, 0, NULL };
    const shmc_latest_desc most = { 1u << 30, 1u << 31, 0, NULL };
    assert_int_equal(shmc_latest_size_for(NULL), 384 + 4 * 128);
    assert_int_equal(shmc_latest_size_for(&small), 384 + 2 * 128);
    assert_int_equal(shmc_latest_size_for(&more), 384 + 8 * 256);
    assert_true(shmc_latest_size_for(&most) ==
                384 + (((int64_t)1 << 30) + 128) * ((int64_t)1 << 31));
}

static void
bad_descs_are_rejected_with_a_sentence(void **state)
{
    (void)state;
    const shmc_latest_desc bytes = { (1u << 30) + 1, 0, 0, NULL };
    const shmc_latest_desc one = { 0, 1, 0, NULL };
    const shmc_latest_desc three = { 0, 3, 0, NULL };
    const shmc_latest_desc waitable = { 0, 0, 2, NULL };
    uint8_t mem[256];
    shmc_latest c;
    assert_int_equal(shmc_latest_size_for(&bytes), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "value_bytes"));
    assert_int_equal(shmc_latest_size_for(&one), SHMC_EINVAL);
    assert_int_equal(shmc_latest_size_for(&three), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "slot_count"));
    assert_int_equal(shmc_latest_size_for(&waitable), SHMC_EINVAL);
    assert_int_equal(shmc_latest_format(mem, sizeof mem, &one), SHMC_EINVAL);
    assert_int_equal(shmc_latest_open(&c, NULL, "c", &one, 1), SHMC_EINVAL);
    assert_int_equal(shmc_latest_open(&c, NULL, "c", NULL, 1), SHMC_EINVAL);
    void *volatile nothing = NULL;          /* compilers warn of a literal  */
    assert_int_equal(shmc_latest_format(nothing, 4096, NULL), SHMC_EINVAL);
}

static void
first_line_that_lies_is_not_mapped(void **state)
{
    (void)state;
    const shmc_latest_desc d = { 64, 4, 0, NULL };
    const struct { size_t at; uint32_t value; int code; } lies[] = {
        { 0, 1, SHMC_ETYPE }, { 4, 9, SHMC_EVERSION },
        { 8, 640, SHMC_ECORRUPT }, { 16, 121, SHMC_ECORRUPT },
        { 20, 1, SHMC_ECORRUPT }, { 20, 8, SHMC_ECORRUPT },
        { 24, 64, SHMC_ECORRUPT },
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        cell t;
        cell_format(&t, &d);
        memcpy((uint8_t *)t.mem + lies[i].at, &lies[i].value, 4);
        assert_int_equal(shmc_latest_map(&t.w, t.mem, t.bytes, SHMC_PRODUCER),
                         lies[i].code);
        cell_close(&t);
    }
    cell t;
    cell_format(&t, &d);
    assert_int_equal(shmc_latest_map(&t.r, t.mem, t.bytes, 3), SHMC_EINVAL);
    cell_close(&t);
}

/* ---- write and read ---------------------------------------------------- */

static void
readers_get_the_newest_value_and_its_version(void **state)
{
    (void)state;
    const uint64_t starts[] = { 0, UINT32_MAX - 3 };
    for (int s = 0; s < 2; s++)
        for (uint32_t slots = 2; slots <= 8; slots *= 2) {
            cell t;
            uint64_t v = 0, version = 0;
            cell_open(&t, 8, slots, starts[s]);
            for (uint64_t i = 1; i <= 30; i++) {
                assert_int_equal(write_u64(&t.w, i * 3), SHMC_OK);
                if (i % 5 == 0) assert_int_equal(write_u64(&t.w, i), SHMC_OK);
                assert_int_equal(shmc_latest_read(&t.r, &v, 8, &version), 0);
                assert_int_equal(v, i % 5 == 0 ? i : i * 3);
                assert_int_equal(version, starts[s] + i + i / 5);
                assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), 0);
                assert_int_equal(shmc_latest_read(&t.w, &v, 8, &version), 0);
            }
            cell_close(&t);
        }
}

static void
values_of_any_size_come_out_whole(void **state)
{
    (void)state;
    for (uint32_t bytes = 1; bytes < 400; bytes += 17) {
        cell t;
        uint8_t in[400], out[400];
        cell_open(&t, bytes, 4, 0);
        for (int i = 0; i < 12; i++) {
            memset(in, i, bytes);
            assert_int_equal(shmc_latest_write(&t.w, in, bytes), SHMC_OK);
            assert_int_equal(shmc_latest_read(&t.r, out, bytes, NULL), SHMC_OK);
            assert_memory_equal(in, out, bytes);
        }
        cell_close(&t);
    }
}

static void
wrong_calls_are_refused_and_change_nothing(void **state)
{
    (void)state;
    cell t;
    uint64_t v = 7, version = 5;
    void *slot;
    const void *view;
    shmc_latest none;
    shmc_latest_stats st;
    memset(&none, 0, sizeof none);
    cell_open(&t, 8, 4, 0);
    assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_EAGAIN);
    assert_int_equal(shmc_latest_borrow(&t.r, &view, &version), SHMC_EAGAIN);
    assert_true(view == NULL && version == 0);
    assert_int_equal(shmc_latest_write(&t.w, &v, 4), SHMC_EMSGSIZE);
    assert_int_equal(shmc_latest_read(&t.r, &v, 4, NULL), SHMC_EMSGSIZE);
    assert_int_equal(shmc_latest_read_wait(&t.r, &v, 4, NULL, 0),
                     SHMC_EMSGSIZE);
    assert_int_equal(write_u64(&t.r, 1), SHMC_EINVAL);
    assert_int_equal(shmc_latest_loan(&t.r, &slot), SHMC_EINVAL);
    assert_int_equal(shmc_latest_commit(&t.r), SHMC_EINVAL);
    assert_int_equal(shmc_latest_commit(&t.w), SHMC_EINVAL);
    assert_int_equal(shmc_latest_abort(&t.w), SHMC_EINVAL);
    assert_int_equal(write_u64(&none, 1), SHMC_ECLOSED);
    assert_int_equal(shmc_latest_loan(&none, &slot), SHMC_ECLOSED);
    assert_int_equal(shmc_latest_commit(&none), SHMC_ECLOSED);
    assert_int_equal(shmc_latest_read(&none, &v, 8, NULL), SHMC_ECLOSED);
    version = 5;
    assert_int_equal(shmc_latest_borrow(&none, &view, &version), SHMC_ECLOSED);
    assert_true(view == NULL && version == 0);
    assert_int_equal(shmc_latest_release(&none, 0), SHMC_ECLOSED);
    assert_int_equal(shmc_latest_read_wait(&none, &v, 8, NULL, 0),
                     SHMC_ECLOSED);
    assert_int_equal(shmc_latest_stats_get(&none, &st), SHMC_ECLOSED);
    assert_int_equal(shmc_latest_close(&none), SHMC_ECLOSED);
    assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_EAGAIN);
    cell_close(&t);
}

static void
loans_are_seen_only_after_commit(void **state)
{
    (void)state;
    cell t;
    void *slot = NULL;
    uint64_t v = 0, version = 0;
    cell_open(&t, 8, 2, 0);
    for (uint64_t i = 1; i < 9; i++) {
        assert_int_equal(shmc_latest_loan(&t.w, &slot), SHMC_OK);
        assert_int_equal((uintptr_t)slot % 128, 0);
        *(uint64_t *)slot = 666;
        assert_int_equal(write_u64(&t.w, 5), SHMC_EINVAL);
        assert_int_equal(shmc_latest_loan(&t.w, &slot), SHMC_EINVAL);
        assert_int_equal(shmc_latest_read(&t.r, &v, 8, &version),
                         i == 1 ? SHMC_EAGAIN : SHMC_OK);
        assert_int_equal(version, i - 1);
        assert_int_equal(v, i - 1);
        assert_int_equal(shmc_latest_abort(&t.w), SHMC_OK);
        assert_int_equal(shmc_latest_loan(&t.w, &slot), SHMC_OK);
        *(uint64_t *)slot = i;
        assert_int_equal(shmc_latest_commit(&t.w), SHMC_OK);
        assert_int_equal(shmc_latest_read(&t.r, &v, 8, &version), SHMC_OK);
        assert_int_equal(version, i);
        assert_int_equal(v, i);
    }
    cell_close(&t);
}

static void
borrowed_view_is_good_until_its_slot_is_written(void **state)
{
    (void)state;
    for (uint32_t slots = 2; slots <= 8; slots *= 2) {
        cell t;
        const void *view = NULL;
        uint64_t version = 0, later = 0;
        cell_open(&t, 8, slots, 0);
        assert_int_equal(write_u64(&t.w, 42), SHMC_OK);
        assert_int_equal(shmc_latest_borrow(&t.r, &view, &version), SHMC_OK);
        assert_int_equal((uintptr_t)view % 128, 0);
        for (uint32_t i = 1; i < slots; i++) {
            assert_int_equal(*(const uint64_t *)view, 42);
            assert_int_equal(shmc_latest_release(&t.r, version), SHMC_OK);
            assert_int_equal(write_u64(&t.w, i), SHMC_OK);
        }
        assert_int_equal(shmc_latest_release(&t.r, version), SHMC_OK);
        assert_int_equal(shmc_latest_borrow(&t.r, &view, &later), SHMC_OK);
        assert_int_equal(shmc_latest_release(&t.r, later), SHMC_OK);
        assert_int_equal(write_u64(&t.w, 43), SHMC_OK);
        assert_int_equal(shmc_latest_release(&t.r, version), SHMC_ELAPPED);
        assert_int_equal(shmc_latest_release(&t.r, later), SHMC_OK);
        assert_int_equal(shmc_latest_release(&t.r, 1000), SHMC_ELAPPED);
        cell_close(&t);
    }
}

/* ---- a hostile or dead writer ------------------------------------------ */

static void
older_value_than_returned_is_corrupt(void **state)
{
    (void)state;
    cell t;
    uint64_t v = 0, version;
    const void *view;
    cell_open(&t, 8, 4, 0);
    for (uint64_t i = 1; i < 4; i++) assert_int_equal(write_u64(&t.w, i), 0);
    assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_OK);
    t.shm->writer.index = 2;
    assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_ECORRUPT);
    assert_int_equal(shmc_latest_borrow(&t.r, &view, &version), SHMC_ECORRUPT);
    assert_int_equal(shmc_latest_read_wait(&t.r, &v, 8, NULL, -1),
                     SHMC_ECORRUPT);
    t.shm->writer.index = 3;
    assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_OK);
    cell_close(&t);
}

static void
scribbled_index_or_stamp_never_hangs_a_reader(void **state)
{
    (void)state;
    const uint64_t lies[] = { 1, 5, UINT64_MAX, (uint64_t)1 << 63 };
    for (int i = 0; i < 4; i++) {
        cell t;
        uint64_t v = 0;
        cell_open(&t, 8, 4, 0);
        t.shm->writer.index = lies[i];
        assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_ECORRUPT);
        assert_int_equal(shmc_latest_read_wait(&t.r, &v, 8, NULL, -1),
                         SHMC_ECORRUPT);
        cell_close(&t);
    }
    cell t;
    uint64_t v = 0;
    cell_open(&t, 8, 4, 0);
    assert_int_equal(write_u64(&t.w, 1), SHMC_OK);
    uint64_t *stamp = shmi_latest_stamp(&t.w, 1);
    for (int i = 0; i < 64; i++) {
        *stamp ^= (uint64_t)1 << i;
        assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_ECORRUPT);
        *stamp ^= (uint64_t)1 << i;
    }
    assert_int_equal(shmc_latest_read(&t.r, &v, 8, NULL), SHMC_OK);
    cell_close(&t);
}

static void
writer_killed_anywhere_leaves_the_last_whole_value(void **state)
{
    (void)state;
    /* What a death leaves at each step of write: nothing, the stamp, the
     * stamp and some bytes, the stamp and all bytes.                      */
    for (int step = 0; step < 4; step++)
        for (uint64_t before = 0; before < 6; before++) {
            cell t;
            shmc_latest w2;
            uint64_t in[2], out[2] = { 0, 0 }, version = 0;
            cell_open(&t, sizeof in, 2, 0);
            for (uint64_t i = 1; i <= before; i++) {
                in[0] = in[1] = i;
                assert_int_equal(shmc_latest_write(&t.w, in, sizeof in), 0);
            }
            if (step >= 1) {
                uint8_t *slot = shmi_latest_begin(&t.w);
                in[0] = in[1] = 666;
                if (step >= 2) memcpy(slot, in, step == 2 ? 8 : 16);
            }
            for (int i = 0; i < 3; i++) {
                const int rc = shmc_latest_read(&t.r, out, sizeof out,
                                                &version);
                assert_int_equal(rc, before ? SHMC_OK : SHMC_EAGAIN);
                assert_int_equal(version, before);
                assert_int_equal(out[0], before);
                assert_int_equal(out[1], before);
            }
            assert_int_equal(shmc_latest_map(&w2, t.mem, t.bytes,
                                             SHMC_PRODUCER), SHMC_OK);
            in[0] = in[1] = 77;
            assert_int_equal(shmc_latest_write(&w2, in, sizeof in), SHMC_OK);
            assert_int_equal(shmc_latest_read(&t.r, out, sizeof out,
                                              &version), SHMC_OK);
            assert_int_equal(version, before + 1);
            assert_int_equal(out[1], 77);
            assert_int_equal(shmc_latest_close(&w2), SHMC_OK);
            cell_close(&t);
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
one_writer_and_many_readers_share_a_cell(void **state)
{
    (void)state;
    shmc_segment s;
    char name[64];
    shmc_latest w, w2, r[3];
    shmc_latest_stats st;
    uint64_t v = 0;
    const shmc_latest_desc d = { 8, 4, 1, "pose" };
    const shmc_latest_desc bytes = { 16, 0, 0, NULL };
    const shmc_latest_desc slots = { 0, 8, 0, NULL };
    seg_open(&s, name, sizeof name, "many");
    assert_int_equal(shmc_latest_open(&r[0], &s, "c", NULL, 0), SHMC_ENOENT);
    assert_int_equal(shmc_latest_open(&r[0], &s, "c", &d, 2), SHMC_OK);
    assert_int_equal(shmc_latest_read(&r[0], &v, 8, NULL), SHMC_EAGAIN);
    assert_int_equal(shmc_latest_open(&w, &s, "c", NULL, 1), SHMC_OK);
    assert_int_equal(shmc_latest_open(&w2, &s, "c", NULL, 1), SHMC_EBUSY);
    assert_int_equal(shmc_latest_open(&w2, &s, "c", &bytes, 2),
                     SHMC_EMISMATCH);
    assert_int_equal(shmc_latest_open(&w2, &s, "c", &slots, 2),
                     SHMC_EMISMATCH);
    assert_int_equal(shmc_latest_open(&w2, &s, "c", NULL, 3), SHMC_EINVAL);
    assert_int_equal(shmc_latest_open(&r[1], &s, "c", NULL, 0), SHMC_OK);
    assert_int_equal(shmc_latest_open(&r[2], &s, "c", NULL, 2), SHMC_OK);
    assert_int_equal(write_u64(&w, 99), SHMC_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shmc_latest_read(&r[i], &v, 8, NULL), SHMC_OK);
        assert_int_equal(v, 99);
    }
    assert_int_equal(shmc_latest_stats_get(&r[1], &st), SHMC_OK);
    assert_int_equal(st.version, 1);
    assert_int_equal(st.value_bytes, 8);
    assert_int_equal(st.slot_count, 4);
    assert_int_equal(st.writer_pid, getpid());
    assert_true(st.writer_alive && st.waitable);
    assert_int_equal(shmc_latest_close(&w), SHMC_OK);
    assert_int_equal(shmc_latest_open(&w2, &s, "c", NULL, 1), SHMC_OK);
    assert_int_equal(write_u64(&w2, 100), SHMC_OK);
    assert_int_equal(shmc_latest_read(&r[2], &v, 8, NULL), SHMC_OK);
    assert_int_equal(v, 100);
    assert_int_equal(shmc_latest_close(&w2), SHMC_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shmc_latest_close(&r[i]), SHMC_OK);
    seg_close(&s, name);
}

static void
read_only_segment_is_enough_to_read_and_wait(void **state)
{
    (void)state;
    shmc_segment s, ro;
    char name[64];
    shmc_latest w, r;
    shmc_segment_desc d;
    uint64_t v = 0;
    const shmc_latest_desc cd = { 8, 4, 1, NULL };
    seg_open(&s, name, sizeof name, "readonly");
    memset(&d, 0, sizeof d);
    d.flags = SHMC_READ_ONLY;
    assert_int_equal(shmc_segment_attach(&ro, name, &d), SHMC_OK);
    assert_int_equal(shmc_latest_open(&r, &ro, "c", &cd, 2), SHMC_ENOENT);
    assert_int_equal(shmc_latest_open(&w, &s, "c", &cd, 1), SHMC_OK);
    assert_int_equal(shmc_latest_open(&r, &ro, "c", &cd, 1), SHMC_EROFS);
    assert_int_equal(shmc_latest_open(&r, &ro, "c", &cd, 2), SHMC_OK);
    assert_int_equal(shmc_latest_read_wait(&r, &v, 8, NULL, 3000000),
                     SHMC_ETIMEDOUT);
    assert_int_equal(write_u64(&w, 5), SHMC_OK);
    assert_int_equal(shmc_latest_read_wait(&r, &v, 8, NULL, -1), SHMC_OK);
    assert_int_equal(v, 5);
    assert_int_equal(shmc_latest_close(&r), SHMC_OK);
    assert_int_equal(shmc_latest_close(&w), SHMC_OK);
    assert_int_equal(shmc_segment_close(&ro), SHMC_OK);
    seg_close(&s, name);
}

static int
forked_calls(void *arg)
{
    shmc_latest *w = (shmc_latest *)arg, *r = w + 1;
    uint64_t v = 0, version;
    void *slot;
    const void *view;
    shmc_latest_stats st;
    int bad = 0;
    bad |= write_u64(w, 1) != SHMC_EFORKED;
    bad |= shmc_latest_loan(w, &slot) != SHMC_EFORKED;
    bad |= shmc_latest_commit(w) != SHMC_EFORKED;
    bad |= shmc_latest_abort(w) != SHMC_EFORKED;
    bad |= shmc_latest_read(r, &v, 8, NULL) != SHMC_EFORKED;
    bad |= shmc_latest_read_wait(r, &v, 8, NULL, 1) != SHMC_EFORKED;
    bad |= shmc_latest_borrow(r, &view, &version) != SHMC_EFORKED;
    bad |= shmc_latest_release(r, 1) != SHMC_EFORKED;
    bad |= shmc_latest_stats_get(r, &st) != SHMC_EFORKED;
    bad |= shmc_latest_close(w) != SHMC_OK;
    return bad;
}

static void
inherited_handles_return_eforked(void **state)
{
    (void)state;
    shmc_segment s;
    char name[64];
    shmc_latest c[2];
    const shmc_latest_desc d = { 8, 4, 1, NULL };
    seg_open(&s, name, sizeof name, "fork");
    assert_int_equal(shmc_latest_open(&c[0], &s, "c", &d, 1), SHMC_OK);
    assert_int_equal(shmc_latest_open(&c[1], &s, "c", &d, 2), SHMC_OK);
    assert_int_equal(test_join(test_spawn(forked_calls, c)), 0);
    assert_int_equal(write_u64(&c[0], 1), SHMC_OK);
    assert_int_equal(shmc_latest_close(&c[0]), SHMC_OK);
    assert_int_equal(shmc_latest_close(&c[1]), SHMC_OK);
    seg_close(&s, name);
}

/* ---- children that die ------------------------------------------------- */

static void
write_one_and_loan(shmc_segment *s)
{
    shmc_latest w;
    void *slot = NULL;
    TEST_REQUIRE(shmc_latest_open(&w, s, "c", NULL, SHMC_PRODUCER) == SHMC_OK);
    TEST_REQUIRE(write_u64(&w, 11) == SHMC_OK);
    TEST_REQUIRE(shmc_latest_loan(&w, &slot) == SHMC_OK);
    memset(slot, 0xff, 8);
}

static void
killed_writers_reader_keeps_its_value_and_is_told(void **state)
{
    (void)state;
    shmc_segment s;
    char name[64];
    shmc_latest w, r;
    uint64_t v = 0;
    const shmc_latest_desc d = { 8, 2, 1, NULL };
    seg_open(&s, name, sizeof name, "killed");
    assert_int_equal(shmc_latest_open(&r, &s, "c", &d, 2), SHMC_OK);
    const pid_t child = start_child(name, write_one_and_loan);
    assert_int_equal(shmc_latest_open(&w, &s, "c", &d, 1), SHMC_EBUSY);
    test_kill(child);
    assert_int_equal(shmc_latest_read_wait(&r, &v, 8, NULL, -1), SHMC_OK);
    assert_int_equal(v, 11);
    assert_int_equal(shmc_latest_read_wait(&r, &v, 8, NULL, -1),
                     SHMC_EPEERDEAD);
    assert_int_equal(shmc_latest_read(&r, &v, 8, NULL), SHMC_OK);
    assert_int_equal(v, 11);
    assert_int_equal(shmc_latest_open(&w, &s, "c", &d, 1), SHMC_OK);
    assert_int_equal(write_u64(&w, 12), SHMC_OK);
    assert_int_equal(shmc_latest_read_wait(&r, &v, 8, NULL, -1), SHMC_OK);
    assert_int_equal(v, 12);
    assert_int_equal(shmc_latest_close(&w), SHMC_OK);
    assert_int_equal(shmc_latest_close(&r), SHMC_OK);
    seg_close(&s, name);
}

/* ---- threads ----------------------------------------------------------- */

enum { WORDS = 24, VALUES = 20000 };

static void *
write_all(void *ctx)
{
    shmc_latest *w = (shmc_latest *)ctx;
    uint64_t value[WORDS];
    for (uint64_t i = 1; i <= VALUES; i++) {
        for (int k = 0; k < WORDS; k++) value[k] = i;
        if (shmc_latest_write(w, value, sizeof value) != SHMC_OK) abort();
        if (i % 512 == 0) usleep(50);
    }
    return NULL;
}

static void
no_value_is_ever_torn_or_older(void **state)
{
    (void)state;
    cell t;
    pthread_t thread;
    uint64_t value[WORDS], version = 0, last = 0;
    cell_open(&t, sizeof value, 2, 0);
    assert_int_equal(pthread_create(&thread, NULL, write_all, &t.w), 0);
    while (last < VALUES) {
        int rc = last % 3 ? shmc_latest_read(&t.r, value, sizeof value,
                                             &version)
                          : shmc_latest_read_wait(&t.r, value, sizeof value,
                                                  &version, -1);
        if (rc == SHMC_EAGAIN) continue;
        assert_int_equal(rc, SHMC_OK);
        assert_true(version >= last);
        for (int k = 0; k < WORDS; k++) assert_int_equal(value[k], version);
        last = version;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(shmc_latest_read_wait(&t.r, value, sizeof value, NULL, 0),
                     SHMC_EAGAIN);
    cell_close(&t);
}

static void
waits_need_a_waitable_cell(void **state)
{
    (void)state;
    cell t;
    uint64_t v;
    const shmc_latest_desc d = { 8, 2, 0, NULL };
    cell_format(&t, &d);
    assert_int_equal(shmc_latest_map(&t.r, t.mem, t.bytes, 2), SHMC_OK);
    assert_int_equal(shmc_latest_read_wait(&t.r, &v, 8, NULL, 0),
                     SHMC_ENOTSUP);
    cell_close(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(size_is_three_lines_and_the_slots),
        TEST_CASE(bad_descs_are_rejected_with_a_sentence),
        TEST_CASE(first_line_that_lies_is_not_mapped),
        TEST_CASE(readers_get_the_newest_value_and_its_version),
        TEST_CASE(values_of_any_size_come_out_whole),
        TEST_CASE(wrong_calls_are_refused_and_change_nothing),
        TEST_CASE(loans_are_seen_only_after_commit),
        TEST_CASE(borrowed_view_is_good_until_its_slot_is_written),
        TEST_CASE(older_value_than_returned_is_corrupt),
        TEST_CASE(scribbled_index_or_stamp_never_hangs_a_reader),
        TEST_CASE(writer_killed_anywhere_leaves_the_last_whole_value),
        TEST_CASE(one_writer_and_many_readers_share_a_cell),
        TEST_CASE(read_only_segment_is_enough_to_read_and_wait),
        TEST_CASE(inherited_handles_return_eforked),
        TEST_CASE(killed_writers_reader_keeps_its_value_and_is_told),
        TEST_CASE(no_value_is_ever_torn_or_older),
        TEST_CASE(waits_need_a_waitable_cell),
    };
    shmc_log_set(NULL, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
