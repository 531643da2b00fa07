/* The directory of a segment: objects by name, made once, removed, damaged.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 300000000
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

#include <pthread.h>

static shmc_segment seg;            /* the segment of the running test      */

static int
dir_setup(void **state)
{
    core_setup(state);
    core_create(&seg, "s", 0);
    return 0;
}

static int
dir_teardown(void **state)
{
    shmc_segment_close(&seg);
    core_unlink("s", 0);
    return core_teardown(state);
}

#define DIR_CASE(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

static int
open_object(const char *name, uint64_t bytes, shmc_object *out)
{
    const shmc_object_desc d = core_object(bytes);

    return shmc_object_open(&seg, name, &d, out);
}

/* ---- create or attach -------------------------------------------------- */

static int
fills(void *mem, uint64_t bytes, const void *user)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (((uint8_t *)mem)[i] != 0) return SHMC_ECORRUPT;
    memset(mem, *(const int *)user, bytes);
    return 0;
}

static void
first_open_creates_zeroed_memory_and_runs_init(void **state)
{
    const int seven = 7, eight = 8;
    shmc_object_desc d = core_object(100);
    shmc_object a, b;
    shmc_object_info info;

    (void)state;
    d.init = fills;
    d.user = &seven;
    d.type_name = "thing";
    d.kind = SHMC_KIND_LATEST;
    d.version = 3;
    d.elem_bytes = 4;
    d.type_hash = shmc_type_hash("thing");
    assert_int_equal(shmc_object_open(&seg, "x", &d, &a), SHMC_OK);
    assert_true(a.created);
    assert_int_equal(a.bytes, 100);
    d.user = &eight;
    assert_int_equal(shmc_object_open(&seg, "x", &d, &b), SHMC_OK);
    assert_false(b.created);
    assert_ptr_equal(a.mem, b.mem);
    assert_int_equal(((uint8_t *)b.mem)[99], 7);
    assert_int_equal(shmc_object_info_get(&seg, a.index, &info), SHMC_OK);
    assert_string_equal(info.name, "x");
    assert_string_equal(info.type_name, "thing");
    assert_int_equal(info.bytes, 100);
    assert_int_equal(info.kind, SHMC_KIND_LATEST);
    assert_int_equal(info.version, 3);
    assert_int_equal(info.elem_bytes, 4);
    assert_true(info.type_hash == d.type_hash);
    assert_int_equal(info.index, a.index);
    assert_true(info.created_realtime_ns > 0);
    assert_int_equal(shmc_object_info_get(&seg, 1, &info), SHMC_ENOENT);
    CORE_FAILS(shmc_object_info_get(&seg, 8, &info), SHMC_EINVAL,
               "has 8 entries");
    shmc_object_close(&seg, &a);
    shmc_object_close(&seg, &b);
}

static void
attach_finds_or_says_enoent(void **state)
{
    shmc_segment r;
    shmc_object a, b;

    (void)state;
    CORE_FAILS(shmc_object_attach(&seg, "x", NULL, &a), SHMC_ENOENT,
               "object 'x' is not in segment 's'");
    assert_null(a.mem);
    assert_int_equal(open_object("x", 8, &a), SHMC_OK);
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &b), SHMC_OK);
    shmc_object_close(&seg, &b);
    for (uint32_t flags = SHMC_READ_ONLY; flags <= SHMC_INSPECT; flags *= 2) {
        assert_int_equal(core_attach(&r, "s", flags), SHMC_OK);
        assert_int_equal(shmc_object_attach(&r, "x", NULL, &b), SHMC_OK);
        assert_int_equal(b.bytes, 8);
        CORE_FAILS(shmc_object_attach(&r, "y", NULL, &b), SHMC_ENOENT, "'y'");
        shmc_segment_close(&r);
    }
    shmc_object_close(&seg, &a);
}

static void
what_differs_is_told_with_both_sides_values(void **state)
{
    shmc_object_desc d = core_object(64), e;
    shmc_object a, b;

    (void)state;
    d.type_name = "pose";
    d.type_hash = 0x1234;
    d.version = 2;
    d.elem_bytes = 16;
    assert_int_equal(shmc_object_open(&seg, "x", &d, &a), SHMC_OK);
    e = d;
    e.kind = SHMC_KIND_SPSC;
    e.type_name = "queue";
    CORE_FAILS(shmc_object_open(&seg, "x", &e, &b), SHMC_ETYPE,
               "is of kind 0 (pose), kind 2 (queue) was asked for");
    e = d;
    e.version = 5;
    CORE_FAILS(shmc_object_open(&seg, "x", &e, &b), SHMC_EVERSION,
               "has version 2, this program 5");
    e = d;
    e.type_hash = 0xabcd;
    e.type_name = NULL;
    CORE_FAILS(shmc_object_attach(&seg, "x", &e, &b), SHMC_ETYPE,
               "holds pose (hash 0000000000001234), ? (hash 000000000000abcd)");
    e = d;
    e.elem_bytes = 24;
    CORE_FAILS(shmc_object_open(&seg, "x", &e, &b), SHMC_ETYPE,
               "elements of 16 bytes, 24 were asked for");
    e = d;
    e.bytes = 65;
    CORE_FAILS(shmc_object_open(&seg, "x", &e, &b), SHMC_EMISMATCH,
               "has 64 bytes, 65 were asked for");
    assert_null(b.mem);
    e.bytes = 10;
    e.type_hash = 0;
    e.elem_bytes = 0;
    assert_int_equal(shmc_object_open(&seg, "x", &e, &b), SHMC_OK);
    assert_int_equal(b.bytes, 64);
    shmc_object_close(&seg, &b);
    shmc_object_close(&seg, &a);
}

static void
bad_arguments_are_refused(void **state)
{
    shmc_object_desc d = core_object(64);
    char longest[65];
    shmc_object a;

    (void)state;
    CORE_FAILS(shmc_object_open(&seg, "x", NULL, &a), SHMC_EINVAL,
               "bytes is 0");
    CORE_FAILS(open_object("", 8, &a), SHMC_ENAME, "empty");
    CORE_FAILS(open_object("a//b", 8, &a), SHMC_ENAME, "part at 2");
    CORE_FAILS(shmc_object_attach(&seg, NULL, NULL, &a), SHMC_ENAME, "empty");
    CORE_FAILS(shmc_object_remove(&seg, ".."), SHMC_ENAME, "part at 0");
    memset(longest, 't', sizeof longest);
    longest[64] = '\0';
    d.type_name = longest;
    CORE_FAILS(shmc_object_open(&seg, "x", &d, &a), SHMC_EINVAL,
               "more than 63 bytes");
    longest[63] = '\0';
    assert_int_equal(shmc_object_open(&seg, "x", &d, &a), SHMC_OK);
    shmc_object_close(&seg, &a);
}

static void
new_object_is_zeroed_although_its_space_was_used(void **state)
{
    const int seven = 7;
    shmc_object_desc d = core_object(100);
    shmc_object a;

    (void)state;
    assert_int_equal(open_object("junk", 100, &a), SHMC_OK);
    memset(a.mem, 0xff, 100);
    shmc_object_close(&seg, &a);
    assert_int_equal(shmc_object_remove(&seg, "junk"), SHMC_OK);
    d.init = fills;                 /* refuses if the memory is not zero    */
    d.user = &seven;
    assert_int_equal(shmc_object_open(&seg, "x", &d, &a), SHMC_OK);
    assert_int_equal(((uint8_t *)a.mem)[0], 7);
    shmc_object_close(&seg, &a);
}

static int
refuses(void *mem, uint64_t bytes, const void *user)
{
    memset(mem, 0xee, bytes);
    return *(const int *)user;
}

static void
refusing_init_is_the_answer_and_the_next_one_may_create(void **state)
{
    const int no = SHMC_EMSGSIZE;
    shmc_object_desc d = core_object(16384);
    shmc_object a;

    (void)state;
    d.init = refuses;
    d.user = &no;
    assert_int_equal(shmc_object_open(&seg, "x", &d, &a), SHMC_EMSGSIZE);
    assert_null(a.mem);
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &a), SHMC_ENOENT);
    assert_int_equal(open_object("x", 16384, &a), SHMC_OK);
    assert_true(a.created);
    assert_int_equal(((uint8_t *)a.mem)[16383], 0);
    shmc_object_close(&seg, &a);
    assert_int_equal(core_logs, 0);
}

/* ---- races ------------------------------------------------------------- */

typedef struct racing {
    uint32_t round, inits, created, done;
    shmc_segment *segment;          /* of a thread, else NULL               */
} racing;

static int
counts_inits(void *mem, uint64_t bytes, const void *user)
{
    racing *r = *(racing *const *)user;

    shmi_faa_32(&r->inits, 1);
    shmi_yield();
    memset(mem, 0x5a, bytes);
    return 0;
}

static void
race_one_round(shmc_segment *s, racing *r, uint32_t round)
{
    shmc_object_desc d = core_object(256);
    shmc_object x;

    d.init = counts_inits;
    d.user = &r;
    while (shmi_load_acq_32(&r->round) < round) shmi_yield();
    TEST_REQUIRE(shmc_object_open(s, "x", &d, &x) == SHMC_OK);
    for (int i = 0; i < 256; i++)
        TEST_REQUIRE(((uint8_t *)x.mem)[i] == 0x5a);
    if (x.created) shmi_faa_32(&r->created, 1);
    TEST_REQUIRE(shmc_object_close(s, &x) == SHMC_OK);
    shmi_faa_32(&r->done, 1);
}

enum { RACERS = 6, RACES = 100 };

static int
race_process(void *arg)
{
    racing *r = arg;
    shmc_segment s;

    TEST_REQUIRE(core_attach(&s, "s", 0) == SHMC_OK);
    for (uint32_t i = 1; i <= RACES; i++) race_one_round(&s, r, i);
    return shmc_segment_close(&s);
}

static void *
race_thread(void *arg)
{
    racing *r = arg;

    for (uint32_t i = 1; i <= RACES; i++) race_one_round(r->segment, r, i);
    return NULL;
}

static void
race_referee(racing *r)
{
    for (uint32_t i = 1; i <= RACES; i++) {
        shmi_store_rel_32(&r->round, i);
        while (shmi_load_acq_32(&r->done) < RACERS * i) test_sleep_ms(0);
        assert_int_equal(shmi_load_acq_32(&r->inits), i);
        assert_int_equal(shmi_load_acq_32(&r->created), i);
        assert_int_equal(shmc_object_remove(&seg, "x"), SHMC_OK);
    }
}

static void
init_runs_once_among_racing_processes(void **state)
{
    racing *r = test_shared(sizeof *r);
    pid_t pid[RACERS];

    (void)state;
    for (int i = 0; i < RACERS; i++) pid[i] = test_spawn(race_process, r);
    race_referee(r);
    for (int i = 0; i < RACERS; i++) assert_int_equal(test_join(pid[i]), 0);
}

static void
race_threads(racing *r)
{
    pthread_t t[RACERS];

    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, race_thread, r), 0);
    race_referee(r);
    for (int i = 0; i < RACERS; i++) pthread_join(t[i], NULL);
}

static void
init_runs_once_among_threads_of_one_handle(void **state)
{
    racing r = { 0, 0, 0, 0, &seg };

    (void)state;
    race_threads(&r);
}

static void *
race_memory_thread(void *arg)
{
    racing *r = arg;
    shmc_segment s;

    TEST_REQUIRE(shmc_segment_map(&s, r->segment->base, r->segment->bytes) ==
                 SHMC_OK);
    for (uint32_t i = 1; i <= RACES; i++) race_one_round(&s, r, i);
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    return NULL;
}

static void
init_runs_once_among_threads_of_a_memory_segment(void **state)
{
    shmc_segment_desc sd = core_desc(0);
    const uint64_t bytes = (uint64_t)shmc_segment_size_for(&sd);
    void *mem = aligned_alloc(SHMC_LINE, bytes);
    pthread_t t[RACERS];
    shmc_segment m;
    racing r = { 0, 0, 0, 0, &m };

    (void)state;
    assert_int_equal(shmc_segment_format(mem, bytes, &sd), SHMC_OK);
    assert_int_equal(shmc_segment_map(&m, mem, bytes), SHMC_OK);
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, race_memory_thread, &r), 0);
    for (uint32_t i = 1; i <= RACES; i++) {
        shmi_store_rel_32(&r.round, i);
        while (shmi_load_acq_32(&r.done) < RACERS * i) test_sleep_ms(0);
        assert_int_equal(shmi_load_acq_32(&r.inits), i);
        assert_int_equal(shmi_load_acq_32(&r.created), i);
        assert_int_equal(shmc_object_remove(&m, "x"), SHMC_OK);
    }
    for (int i = 0; i < RACERS; i++) pthread_join(t[i], NULL);
    shmc_segment_close(&m);
    free(mem);
}

/* An object that is open keeps its bytes, however often others of the same
 * handle close it and another process tries to remove it.                 */
typedef struct keeping {
    uint32_t stop;
} keeping;

static int
keeps_removing(void *arg)
{
    keeping *k = arg;
    shmc_segment s;

    TEST_REQUIRE(core_attach(&s, "s", 0) == SHMC_OK);
    while (shmi_load_acq_32(&k->stop) == 0) {
        const int r = shmc_object_remove(&s, "x");
        TEST_REQUIRE(r == SHMC_OK || r == SHMC_EBUSY || r == SHMC_ENOENT);
    }
    return shmc_segment_close(&s);
}

static void *
keeps_opening(void *arg)
{
    uint64_t *slot = arg;           /* this thread's word in the object     */
    const uint64_t mine = *slot;

    for (int i = 0; i < 1500; i++) {
        shmc_object x;
        TEST_REQUIRE(open_object("x", 64, &x) == SHMC_OK);
        uint64_t *word = (uint64_t *)x.mem + mine;
        shmi_store_rel_64(word, mine + 100);
        shmi_yield();
        TEST_REQUIRE(shmi_load_acq_64(word) == mine + 100);
        TEST_REQUIRE(shmc_object_close(&seg, &x) == SHMC_OK);
    }
    return NULL;
}

static void
open_object_is_not_removed_under_a_thread(void **state)
{
    keeping *k = test_shared(sizeof *k);
    uint64_t slot[2] = { 0, 1 };
    pthread_t t[2];

    (void)state;
    const pid_t pid = test_spawn(keeps_removing, k);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, keeps_opening, &slot[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    shmi_store_rel_32(&k->stop, 1);
    assert_int_equal(test_join(pid), 0);
    (void)shmc_object_remove(&seg, "x");
}

/* ---- remove ------------------------------------------------------------ */

static void
removed_space_is_used_again(void **state)
{
    shmc_object a, b, c;
    uint32_t generation;
    shmc_object_info info;

    (void)state;
    assert_int_equal(open_object("a", 8192, &a), SHMC_OK);
    assert_int_equal(open_object("b", 8192, &b), SHMC_OK);
    CORE_FAILS(open_object("c", 1, &c), SHMC_ENOSPC, "has no such gap");
    CORE_FAILS(shmc_object_remove(&seg, "a"), SHMC_EBUSY,
               "remove object 'a' from segment 's': a live process has it");
    void *const at = a.mem;
    memset(a.mem, 0xff, 8192);
    assert_int_equal(shmi_entry_read(&seg, a.index, &info, &generation), 0);
    const uint32_t before = generation;
    shmc_object_close(&seg, &a);
    assert_int_equal(shmc_object_remove(&seg, "a"), SHMC_OK);
    CORE_FAILS(shmc_object_remove(&seg, "a"), SHMC_ENOENT, "not in segment 's'");
    assert_int_equal(open_object("c", 8192, &c), SHMC_OK);
    assert_ptr_equal(c.mem, at);
    assert_int_equal(*(uint64_t *)c.mem, 0);
    assert_int_equal(shmi_entry_read(&seg, c.index, &info, &generation), 0);
    assert_int_equal(generation, before + 1);
    shmc_object_close(&seg, &b);
    shmc_object_close(&seg, &c);
}

/* Objects of random sizes come and go; none overlap, and once all are gone
 * the whole heap is one gap.                                              */
static void
heap_never_overlaps_and_comes_back_whole(void **state)
{
    shmc_object o[8];
    uint64_t seed = 42;

    (void)state;
    memset(o, 0, sizeof o);
    for (int step = 0; step < 2000; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const uint32_t i = (uint32_t)(seed >> 33) % 8;
        char name[2] = { (char)('a' + i), '\0' };
        if (o[i].mem != NULL) {
            for (uint64_t k = 0; k < o[i].bytes; k++)
                assert_int_equal(((uint8_t *)o[i].mem)[k], i + 1);
            shmc_object_close(&seg, &o[i]);
            assert_int_equal(shmc_object_remove(&seg, name), SHMC_OK);
            continue;
        }
        const uint64_t bytes = 1 + (seed >> 40) % 5000;
        const int r = open_object(name, bytes, &o[i]);
        assert_true(r == SHMC_OK || r == SHMC_ENOSPC);
        if (r == SHMC_OK) memset(o[i].mem, (int)i + 1, bytes);
    }
    for (uint32_t i = 0; i < 8; i++) {
        char name[2] = { (char)('a' + i), '\0' };
        if (o[i].mem == NULL) continue;
        shmc_object_close(&seg, &o[i]);
        assert_int_equal(shmc_object_remove(&seg, name), SHMC_OK);
    }
    assert_int_equal(open_object("all", 16384, &o[0]), SHMC_OK);
    shmc_object_close(&seg, &o[0]);
}

static void
full_directory_is_elimit_and_full_heap_enospc(void **state)
{
    shmc_object o[8], x;

    (void)state;
    for (int i = 0; i < 8; i++) {
        char name[2] = { (char)('a' + i), '\0' };
        assert_int_equal(open_object(name, 8, &o[i]), SHMC_OK);
    }
    CORE_FAILS(open_object("x", 8, &x), SHMC_ELIMIT, "has room for 8");
    shmc_object_close(&seg, &o[3]);
    assert_int_equal(shmc_object_remove(&seg, "d"), SHMC_OK);
    CORE_FAILS(open_object("x", 16385, &x), SHMC_ENOSPC, "of 16385 bytes");
    CORE_FAILS(open_object("x", UINT64_MAX, &x), SHMC_ENOSPC,
               "18446744073709551615 bytes");
    CORE_FAILS(open_object("x", 16384, &x), SHMC_ENOSPC, "larger heap_bytes");
    CORE_FAILS(open_object("x", 16384 - 7 * 128 + 1, &x), SHMC_ENOSPC, "gap");
    for (int i = 0; i < 8; i++)
        if (o[i].mem != NULL) shmc_object_close(&seg, &o[i]);
    assert_int_equal(shmc_object_remove(&seg, "h"), SHMC_OK);
    assert_int_equal(open_object("x", 16384 - 7 * 128, &x), SHMC_OK);
    shmc_object_close(&seg, &x);
}

static void
closing_twice_is_told_and_harmless(void **state)
{
    shmc_object a, copy;

    (void)state;
    assert_int_equal(open_object("a", 8, &a), SHMC_OK);
    copy = a;
    assert_int_equal(shmc_object_close(&seg, &a), SHMC_OK);
    CORE_FAILS(shmc_object_close(&seg, &a), SHMC_ECLOSED, "it is not open");
    CORE_FAILS(shmc_object_close(&seg, &copy), SHMC_EINVAL, "it is not open");
    copy.mem = seg.base;
    copy.index = 8;
    CORE_FAILS(shmc_object_close(&seg, &copy), SHMC_EINVAL, "object 8");
    assert_int_equal(open_object("a", 8, &a), SHMC_OK);
    seg.opened[a.index] = UINT32_MAX;
    CORE_FAILS(open_object("a", 8, &copy), SHMC_ELIMIT, "2^32 times");
    seg.opened[a.index] = 1;
    shmc_object_close(&seg, &a);
    assert_int_equal(shmc_object_remove(&seg, "a"), SHMC_OK);
}

/* ---- death and standstill ---------------------------------------------- */

typedef struct creating {
    uint32_t reached;
} creating;

static int
never_ends(void *mem, uint64_t bytes, const void *user)
{
    creating *c = *(creating *const *)user;

    memset(mem, 0xdd, bytes);
    core_reach(&c->reached, 1);
    return core_stay();
}

static int
creates_for_ever(void *arg)
{
    creating *c = arg;
    shmc_object_desc d = core_object(16384);
    shmc_segment s;
    shmc_object x;

    TEST_REQUIRE(core_attach(&s, "s", 0) == SHMC_OK);
    d.init = never_ends;
    d.user = &c;
    return shmc_object_open(&s, "x", &d, &x);
}

static void
creator_killed_inside_init_leaves_nothing(void **state)
{
    creating *c = test_shared(sizeof *c);
    const int seven = 7;
    shmc_object_desc d = core_object(16384);
    shmc_segment_info info;
    shmc_object x;

    (void)state;
    d.init = fills;                 /* insists on zeroed memory             */
    d.user = &seven;
    const pid_t pid = test_spawn(creates_for_ever, c);
    core_await(&c->reached, 1);
    assert_int_equal(seg.entries[0].state, SHMI_BUILDING);
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &x), SHMC_ENOENT);
    assert_int_equal(shmc_segment_info_get(&seg, &info), SHMC_OK);
    assert_int_equal(info.objects, 0);
    test_kill(pid);
    assert_int_equal(shmc_object_open(&seg, "x", &d, &x), SHMC_OK);
    assert_true(x.created);
    assert_int_equal(x.index, 0);
    assert_int_equal(((uint8_t *)x.mem)[0], 7);
    assert_int_equal(core_logs, 1);
    assert_int_equal(core_log_level, SHMC_LOG_WARN);
    assert_non_null(strstr(core_log_text, "freed entry 0, left half-done"));
    shmc_object_close(&seg, &x);
}

static void
stopped_creator_is_waited_for_only_so_long(void **state)
{
    creating *c = test_shared(sizeof *c);
    shmc_object x;

    (void)state;
    const pid_t pid = test_spawn(creates_for_ever, c);
    core_await(&c->reached, 1);
    kill(pid, SIGSTOP);
    const uint64_t before = shmi_now_ns();
    CORE_FAILS(open_object("y", 8, &x), SHMC_ETIMEDOUT,
               "lock the directory (is its holder stopped?) of segment 's'");
    assert_true(shmi_now_ns() - before >= SHMC_LOCK_TIMEOUT_NS);
    CORE_FAILS(shmc_object_remove(&seg, "y"), SHMC_ETIMEDOUT, "directory");
    test_kill(pid);
    assert_int_equal(open_object("y", 8, &x), SHMC_OK);
    shmc_object_close(&seg, &x);
}

static void
memory_segments_lock_that_is_never_let_go_is_waited_for_only_so_long(void **state)
{
    const shmc_segment_desc d = { .heap_bytes = 4096, .max_objects = 2 };
    const shmc_object_desc od = { .bytes = 8 };
    const uint64_t bytes = (uint64_t)shmc_segment_size_for(&d);
    void *mem = test_shared(bytes);
    shmc_segment s;
    shmc_object x;

    (void)state;
    assert_int_equal(shmc_segment_format(mem, bytes, &d), SHMC_OK);
    assert_int_equal(shmc_segment_map(&s, mem, bytes), SHMC_OK);
    assert_int_equal(shmc_object_open(&s, "x", &od, &x), SHMC_OK);
    shmc_object_close(&s, &x);
    ((shmc_segment_shm *)mem)->memory_lock = 1;
    CORE_FAILS(shmc_object_open(&s, "x", &od, &x), SHMC_ETIMEDOUT, "hold");
    CORE_FAILS(shmc_object_open(&s, "y", &od, &x), SHMC_ETIMEDOUT, "lock the");
    ((shmc_segment_shm *)mem)->memory_lock = 0;
    assert_int_equal(shmc_object_open(&s, "y", &od, &x), SHMC_OK);
    shmc_object_close(&s, &x);
    shmc_segment_close(&s);
}

/* As if its maker had been killed between any two stores.                 */
static void
entries_left_half_done_are_freed_by_the_next_lock_holder(void **state)
{
    static const uint32_t states[] = { SHMI_BUILDING, SHMI_DELETING, 4, 77,
                                       UINT32_MAX };
    shmc_object x, y;

    (void)state;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        assert_int_equal(open_object("x", 16384, &x), SHMC_OK);
        const uint32_t generation = seg.entries[x.index].generation;
        shmc_object_close(&seg, &x);
        seg.entries[x.index].state = states[i];
        CORE_FAILS(shmc_object_attach(&seg, "x", NULL, &y), SHMC_ENOENT, "x");
        assert_int_equal(open_object("y", 16384, &y), SHMC_OK);
        assert_true(y.created);
        assert_int_equal(seg.entries[y.index].generation, generation + 1);
        shmc_object_close(&seg, &y);
        assert_int_equal(shmc_object_remove(&seg, "y"), SHMC_OK);
        assert_int_equal(core_logs, (int)i + 1);
    }
}

static int
holds_object(void *arg)
{
    creating *c = arg;
    shmc_segment s;
    shmc_object x;

    TEST_REQUIRE(core_attach(&s, "s", 0) == SHMC_OK);
    TEST_REQUIRE(shmc_object_attach(&s, "x", NULL, &x) == SHMC_OK);
    core_reach(&c->reached, 1);
    return core_stay();
}

static void
killed_users_object_can_be_removed(void **state)
{
    creating *c = test_shared(sizeof *c);
    shmc_object x;

    (void)state;
    assert_int_equal(open_object("x", 8, &x), SHMC_OK);
    shmc_object_close(&seg, &x);
    const pid_t pid = test_spawn(holds_object, c);
    core_await(&c->reached, 1);
    CORE_FAILS(shmc_object_remove(&seg, "x"), SHMC_EBUSY, "a live process");
    test_kill(pid);
    assert_int_equal(shmc_object_remove(&seg, "x"), SHMC_OK);
}

static void
remover_that_stands_still_is_waited_for_only_so_long(void **state)
{
    shmc_segment other;
    shmc_object x, y;

    (void)state;
    assert_int_equal(open_object("x", 8, &x), SHMC_OK);
    shmc_object_close(&seg, &x);
    assert_int_equal(core_attach(&other, "s", 0), SHMC_OK);
    /* As a remover does between its lock and its unlock.                  */
    assert_int_equal(shmi_lock_try(other.fd, SHMI_LOCK_OBJECTS + x.index, true),
                     0);
    CORE_FAILS(shmc_object_attach(&seg, "x", NULL, &y), SHMC_ETIMEDOUT,
               "hold an object of segment 's'");
    assert_null(y.mem);
    shmc_segment_close(&other);
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &y), SHMC_OK);
    shmc_object_close(&seg, &y);
}

/* ---- damage ------------------------------------------------------------ */

static void
damaged_extents_are_ecorrupt(void **state)
{
    static const uint64_t extents[][2] = {
        { 0, 128 }, { 128, 128 }, { UINT64_MAX - 127, 128 }, { 1, 1 },
        { UINT64_C(1) << 40, 128 }, { 0, UINT64_MAX }, { 0, 0 },
    };
    shmc_object_info info;
    shmc_object x, y;

    (void)state;
    assert_int_equal(open_object("x", 128, &x), SHMC_OK);
    shmc_object_close(&seg, &x);
    shmc_entry_shm *e = &seg.entries[x.index];
    const uint64_t offset = e->offset;
    for (size_t i = 0; i < sizeof extents / sizeof extents[0]; i++) {
        e->offset = extents[i][0];
        e->bytes = extents[i][1];
        CORE_FAILS(shmc_object_attach(&seg, "x", NULL, &y), SHMC_ECORRUPT,
                   "lies outside the heap: its entry is damaged");
        assert_int_equal(shmc_object_info_get(&seg, x.index, &info),
                         SHMC_ECORRUPT);
        CORE_FAILS(open_object("new", 128, &y), SHMC_ECORRUPT,
                   "directory of segment 's' is damaged; unlink the segment");
        CORE_FAILS(shmc_object_remove(&seg, "x"), SHMC_ECORRUPT, "damaged");
        assert_null(y.mem);
    }
    e->offset = offset;
    e->bytes = 16384 + 1;
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &y), SHMC_ECORRUPT);
    e->offset = seg.heap_at + 16384;
    e->bytes = 1;
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &y), SHMC_ECORRUPT);
    e->offset = offset + 64;        /* inside, but not aligned              */
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &y), SHMC_ECORRUPT);
    e->offset = offset;
    memset(e->name, 'x', sizeof e->name);       /* no end                   */
    memset(e->type_name, 'y', sizeof e->type_name);
    assert_int_equal(shmc_object_attach(&seg, "x", NULL, &y), SHMC_ENOENT);
    assert_int_equal(shmc_object_info_get(&seg, x.index, &info), SHMC_OK);
    assert_int_equal(strlen(info.name), 127);
    assert_int_equal(strlen(info.type_name), 63);
}

/* Random bytes over the whole directory: every call returns, and what it
 * hands out lies in the heap.                                             */
static void
random_directories_never_crash(void **state)
{
    const uint64_t bytes = seg.max_objects * sizeof *seg.entries;
    shmc_segment_info info;
    shmc_object x;
    uint64_t seed = 1;

    (void)state;
    shmc_log_set(NULL, NULL, 0);
    for (int round = 0; round < 3000; round++) {
        for (int k = 0; k < 20; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint8_t *at = (uint8_t *)seg.entries + (seed >> 20) % bytes;
            *at = (uint8_t)(seed >> 56);
            /* Now and then a state or an extent that is nearly right.     */
            shmc_entry_shm *e = &seg.entries[seed >> 33 & 7];
            if (k == 0) e->state = SHMI_READY;
            if (k == 1) snprintf(e->name, sizeof e->name, "x");
            if (k == 2) e->offset = seg.heap_at + (seed >> 40) % 40000 * 128;
            if (k == 3) e->bytes = (seed >> 40) % 40000;
        }
        const int r = open_object("x", 1 + (seed >> 50), &x);
        if (r == SHMC_OK) {
            assert_true((uint8_t *)x.mem >= seg.base + seg.heap_at);
            assert_true(x.bytes <= seg.heap_bytes);
            assert_true((uint8_t *)x.mem + x.bytes <= seg.base + seg.bytes);
            memset(x.mem, 0, x.bytes);
            assert_int_equal(shmc_object_close(&seg, &x), SHMC_OK);
        }
        (void)shmc_object_remove(&seg, "x");
        assert_int_equal(shmc_segment_info_get(&seg, &info), SHMC_OK);
        if (round % 50 == 49) memset(seg.entries, 0, bytes);
    }
    memset(seg.entries, 0, bytes);
}

static int
keeps_flipping(void *arg)
{
    creating *c = arg;
    shmc_segment s;

    TEST_REQUIRE(core_attach(&s, "s", 0) == SHMC_OK);
    core_reach(&c->reached, 1);
    while (s.base != NULL) shmi_faa_32(&s.entries[0].generation, 1);
    return 1;
}

static void
generation_that_never_rests_does_not_hang_anybody(void **state)
{
    creating *c = test_shared(sizeof *c);
    shmc_object x;

    (void)state;
    assert_int_equal(open_object("x", 8, &x), SHMC_OK);
    shmc_object_close(&seg, &x);
    const pid_t pid = test_spawn(keeps_flipping, c);
    core_await(&c->reached, 1);
    for (int i = 0; i < 20; i++) {
        const int r = open_object("x", 8, &x);
        assert_true(r == SHMC_OK || r == SHMC_ETIMEDOUT || r == SHMC_ENOSPC ||
                    r == SHMC_ELIMIT);
        if (r == SHMC_OK) shmc_object_close(&seg, &x);
        if (r == SHMC_ETIMEDOUT) break;
    }
    test_kill(pid);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        DIR_CASE(first_open_creates_zeroed_memory_and_runs_init),
        DIR_CASE(attach_finds_or_says_enoent),
        DIR_CASE(what_differs_is_told_with_both_sides_values),
        DIR_CASE(bad_arguments_are_refused),
        DIR_CASE(new_object_is_zeroed_although_its_space_was_used),
        DIR_CASE(refusing_init_is_the_answer_and_the_next_one_may_create),
        DIR_CASE(init_runs_once_among_racing_processes),
        DIR_CASE(init_runs_once_among_threads_of_one_handle),
        DIR_CASE(init_runs_once_among_threads_of_a_memory_segment),
        DIR_CASE(open_object_is_not_removed_under_a_thread),
        DIR_CASE(removed_space_is_used_again),
        DIR_CASE(heap_never_overlaps_and_comes_back_whole),
        DIR_CASE(full_directory_is_elimit_and_full_heap_enospc),
        DIR_CASE(closing_twice_is_told_and_harmless),
        DIR_CASE(creator_killed_inside_init_leaves_nothing),
        DIR_CASE(stopped_creator_is_waited_for_only_so_long),
        DIR_CASE(memory_segments_lock_that_is_never_let_go_is_waited_for_only_so_long),
        DIR_CASE(entries_left_half_done_are_freed_by_the_next_lock_holder),
        DIR_CASE(killed_users_object_can_be_removed),
        DIR_CASE(remover_that_stands_still_is_waited_for_only_so_long),
        DIR_CASE(damaged_extents_are_ecorrupt),
        DIR_CASE(random_directories_never_crash),
        DIR_CASE(generation_that_never_rests_does_not_hang_anybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
