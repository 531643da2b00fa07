/* A process is killed after each instruction of creating, attaching to and
 * leaving a segment, and of inserting an object into its directory and
 * removing it.  A name is there whole or not at all, nothing else is left in
 * the folder, and what the dead one held is free again at once.            */
/* A process that is stepped is slow, but others need not wait as long.     */
static long long lock_timeout_ns = 10000000000;
#define SHMC_LOCK_TIMEOUT_NS lock_timeout_ns
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm.h"
#include "crash_harness.h"

enum { HEAP = 8192, OBJECT = 256, OTHERS = 2, SHORT_NS = 3000000 };

static volatile uint32_t *acked;    /* shared: the call returned            */
static shmc_segment seg;            /* the test's, or the child's own       */
static shmc_segment newcomer;
static shmc_object object;
static uint32_t flags;              /* of the segment                       */

static shmc_segment_desc
small(void)
{
    shmc_segment_desc d = crash_segment(HEAP);

    d.max_participants = 1 + OTHERS;
    d.flags = flags;
    return d;
}

static void
acknowledge(int returned)
{
    TEST_REQUIRE(returned == SHMC_OK);
    shmi_fence_compiler();
    *acked = 1;
}

static void
after(void)
{
    shmc_segment_desc d = small();

    d.flags = SHMC_FORCE;
    if (newcomer.base != NULL) (void)shmc_segment_close(&newcomer);
    if (seg.base != NULL) (void)shmc_segment_close(&seg);
    (void)shmc_segment_unlink("s", &d);
}

static void
forget(void)
{
    if (acked == NULL) acked = test_shared(4096);
    *acked = 0;
}

/* ---- what is in the folder --------------------------------------------- */

static int
count_one(void *user, const char *name)
{
    int *counts = user;

    counts[strcmp(name, "shmc.s") != 0]++;
    return 0;
}

/* How many files are called as the segment; there is no other.            */
static int
named(void)
{
    int counts[2] = { 0, 0 };

    CRASH_EQUAL(shmi_dir_each(crash.dir, count_one, counts), 0);
    CRASH_EQUAL(counts[1], 0);
    return counts[0];
}

static int
init(void *mem, uint64_t bytes, const void *user)
{
    uint64_t *words = mem;

    (void)user;
    for (uint64_t i = 0; i < bytes / 8; i++) words[i] = i + 1;
    return 0;
}

static int
open_object(shmc_segment *s, const char *name, uint64_t bytes)
{
    shmc_object_desc d;

    memset(&d, 0, sizeof d);
    d.bytes = bytes;
    d.init = init;
    d.type_name = "words";
    return shmc_object_open(s, name, &d, &object);
}

static void
object_is_whole(uint64_t bytes)
{
    const uint64_t *words = object.mem;

    CRASH_CHECK(words != NULL && object.bytes == bytes);
    for (uint64_t i = 0; i < bytes / 8; i++) CRASH_EQUAL(words[i], i + 1);
}

/* Every place is free again: for processes, and in the heap.              */
static void
segment_is_as_good_as_new(shmc_segment *s)
{
    const shmc_segment_desc d = small();
    shmc_segment more[OTHERS];

    for (int i = 0; i < OTHERS; i++)
        CRASH_EQUAL(shmc_segment_attach(&more[i], "s", &d), SHMC_OK);
    for (int i = 0; i < OTHERS; i++)
        CRASH_EQUAL(shmc_segment_close(&more[i]), SHMC_OK);
    CRASH_EQUAL(open_object(s, "all", HEAP), SHMC_OK);
    CRASH_CHECK(object.created);
    object_is_whole(HEAP);
    CRASH_EQUAL(shmc_object_close(s, &object), SHMC_OK);
    CRASH_EQUAL(shmc_object_remove(s, "all"), SHMC_OK);
}

/* ---- segment creation -------------------------------------------------- */

static void
nothing(void)
{
}

static void
no_segment(void)
{
    forget();
    crash_watch(NULL, 0);
}

static void
create_act(void)
{
    const shmc_segment_desc d = small();

    acknowledge(shmc_segment_create(&seg, "s", &d));
}

/* The file is not there, or it is a whole segment.  An open in its place
 * succeeds at once; of an ephemeral one, nothing is left afterwards.      */
static void
create_check(void)
{
    const shmc_segment_desc d = small();
    const int there = named();

    if (*acked) CRASH_EQUAL(there, 1);
    const int r = shmc_segment_attach(&seg, "s", &d);
    CRASH_EQUAL(r, there ? SHMC_OK : SHMC_ENOENT);
    if (!there) CRASH_EQUAL(shmc_segment_open(&seg, "s", &d), SHMC_OK);
    CRASH_EQUAL(named(), 1);
    CRASH_EQUAL(seg.heap_bytes, HEAP);
    segment_is_as_good_as_new(&seg);
    CRASH_EQUAL(shmc_segment_close(&seg), SHMC_OK);
    CRASH_EQUAL(named(), flags == 0);
}

static const crash_case create_case = {
    no_segment, nothing, NULL, create_act, NULL, create_check, after
};

static void
segment_create_killed_anywhere_leaves_nothing_or_a_whole_segment(void **state)
{
    (void)state;
    flags = 0;
    crash_sweep("segment create", &create_case);
    flags = SHMC_EPHEMERAL;
    crash_sweep("segment create, ephemeral", &create_case);
}

static void
open_act(void)
{
    const shmc_segment_desc d = small();

    acknowledge(shmc_segment_open(&seg, "s", &d));
    TEST_REQUIRE(shmc_segment_linked(&seg) == 1);
}

/* The child is stopped in its open: ours does not wait for it.            */
static void
open_too(void)
{
    const shmc_segment_desc d = small();

    CRASH_EQUAL(shmc_segment_open(&seg, "s", &d), SHMC_OK);
    CRASH_EQUAL(named(), 1);
}

static void
open_check(void)
{
    CRASH_EQUAL(*acked, 1);
    CRASH_EQUAL(named(), 1);
    CRASH_EQUAL(shmc_segment_linked(&seg), 1);
    segment_is_as_good_as_new(&seg);
    CRASH_EQUAL(shmc_segment_close(&seg), SHMC_OK);
    CRASH_EQUAL(named(), flags == 0);
}

static const crash_case open_case = {
    no_segment, nothing, NULL, open_act, open_too, open_check, after
};

static void
segment_open_stopped_anywhere_holds_nobody_up(void **state)
{
    (void)state;
    flags = 0;
    crash_sweep("segment open", &open_case);
    flags = SHMC_EPHEMERAL;
    crash_sweep("segment open, ephemeral", &open_case);
}

/* ---- attaching and leaving --------------------------------------------- */

static void
a_segment(void)
{
    const shmc_segment_desc d = small();

    forget();
    CRASH_EQUAL(shmc_segment_create(&seg, "s", &d), SHMC_OK);
    crash_watch(seg.base, seg.bytes);
}

static void
attach_act(void)
{
    const shmc_segment_desc d = small();

    acknowledge(shmc_segment_attach(&newcomer, "s", &d));
}

static void
left_check(void)
{
    shmc_segment_info info;

    CRASH_EQUAL(shmc_segment_shared(&seg), 0);
    CRASH_EQUAL(shmc_segment_info_get(&seg, &info), SHMC_OK);
    CRASH_EQUAL(info.participants, 1);
    segment_is_as_good_as_new(&seg);
    CRASH_EQUAL(named(), 1);
}

static const crash_case attach_case = {
    a_segment, nothing, NULL, attach_act, NULL, left_check, after
};

static void
segment_attach_killed_anywhere_frees_its_slot(void **state)
{
    (void)state;
    flags = 0;
    crash_sweep("segment attach", &attach_case);
}

static void
close_enter(void)
{
    const shmc_segment_desc d = small();

    TEST_REQUIRE(shmc_segment_attach(&newcomer, "s", &d) == SHMC_OK);
}

static void
close_act(void)
{
    acknowledge(shmc_segment_close(&newcomer));
}

static const crash_case close_case = {
    a_segment, close_enter, NULL, close_act, NULL, left_check, after
};

/* The child is the only one: closing removes the name.                    */
static void
last_enter(void)
{
    const shmc_segment_desc d = small();

    TEST_REQUIRE(shmc_segment_open(&newcomer, "s", &d) == SHMC_OK);
}

static void
last_check(void)
{
    if (*acked) CRASH_EQUAL(named(), 0);
    *acked = 0;
    create_check();
}

static const crash_case last_case = {
    no_segment, last_enter, NULL, close_act, NULL, last_check, after
};

static void
segment_close_killed_anywhere_frees_its_slot_and_name(void **state)
{
    (void)state;
    flags = 0;
    crash_sweep("segment close", &close_case);
    flags = SHMC_EPHEMERAL;
    crash_sweep("segment close, the last of an ephemeral one", &last_case);
}

/* ---- directory --------------------------------------------------------- */

static void
insert_act(void)
{
    acknowledge(open_object(&newcomer, "o", OBJECT));
}

/* What is found by name is whole.  Who opens it next completes it, and the
 * heap has room for one object that fills it.                             */
static void
insert_check(void)
{
    shmc_object_desc d;

    memset(&d, 0, sizeof d);
    const int r = shmc_object_attach(&seg, "o", &d, &object);
    CRASH_CHECK(r == SHMC_OK || (r == SHMC_ENOENT && !*acked));
    if (r == SHMC_OK) {
        object_is_whole(OBJECT);
        CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
    }
    CRASH_EQUAL(open_object(&seg, "o", OBJECT), SHMC_OK);
    CRASH_EQUAL(object.created, r != SHMC_OK);
    object_is_whole(OBJECT);
    CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
    CRASH_EQUAL(shmc_object_remove(&seg, "o"), SHMC_OK);
    segment_is_as_good_as_new(&seg);
}

static const crash_case insert_case = {
    a_segment, close_enter, NULL, insert_act, NULL, insert_check, after
};

static void
object_create_killed_anywhere_leaves_nothing_or_a_whole_object(void **state)
{
    (void)state;
    flags = 0;
    crash_sweep("object create", &insert_case);
}

static void
remove_before(void)
{
    a_segment();
    CRASH_EQUAL(open_object(&seg, "o", OBJECT), SHMC_OK);
    CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
}

static void
remove_act(void)
{
    acknowledge(shmc_object_remove(&newcomer, "o"));
}

static void
remove_check(void)
{
    shmc_object_desc d;

    memset(&d, 0, sizeof d);
    const int r = shmc_object_attach(&seg, "o", &d, &object);
    CRASH_CHECK(r == SHMC_ENOENT || (r == SHMC_OK && !*acked));
    if (r == SHMC_OK) {
        object_is_whole(OBJECT);
        CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
        CRASH_EQUAL(shmc_object_remove(&seg, "o"), SHMC_OK);
    }
    segment_is_as_good_as_new(&seg);
}

static const crash_case remove_case = {
    remove_before, close_enter, NULL, remove_act, NULL, remove_check, after
};

static void
object_remove_killed_anywhere_leaves_a_whole_object_or_nothing(void **state)
{
    (void)state;
    flags = 0;
    crash_sweep("object remove", &remove_case);
}

/* ---- stopped with the directory's lock --------------------------------- */

static uint32_t refusals;           /* others that got an error             */

static void
lock_before(void)
{
    remove_before();
    CRASH_EQUAL(open_object(&seg, "x", OBJECT), SHMC_OK);
    CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
}

/* What is there can be opened.  Who wants to change the directory can, or
 * waits as long as is documented, and then gets an error.                 */
static void
others_look_and_change(void)
{
    CRASH_EQUAL(open_object(&seg, "x", OBJECT), SHMC_OK);
    CRASH_CHECK(!object.created);
    object_is_whole(OBJECT);
    CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
    const uint64_t began = shmi_now_ns();
    lock_timeout_ns = SHORT_NS;
    const int r = open_object(&seg, "p", OBJECT);
    lock_timeout_ns = 10000000000;
    if (r == SHMC_OK) {
        CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
        CRASH_EQUAL(shmc_object_remove(&seg, "p"), SHMC_OK);
        return;
    }
    CRASH_EQUAL(r, SHMC_ETIMEDOUT);
    CRASH_CHECK(shmi_now_ns() - began >= SHORT_NS);
    refusals++;
}

/* It went on: what it made or removed is so, and others change it again.  */
static void
directory_is_whole(void)
{
    CRASH_EQUAL(*acked, 1);
    CRASH_EQUAL(open_object(&seg, "o", OBJECT), SHMC_OK);
    object_is_whole(OBJECT);
    CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
    CRASH_EQUAL(shmc_object_remove(&seg, "o"), SHMC_OK);
    CRASH_EQUAL(shmc_object_remove(&seg, "x"), SHMC_OK);
    segment_is_as_good_as_new(&seg);
}

static void
make_act(void)
{
    acknowledge(open_object(&newcomer, "new", OBJECT));
    TEST_REQUIRE(shmc_object_close(&newcomer, &object) == SHMC_OK);
}

static void
made_check(void)
{
    CRASH_EQUAL(open_object(&seg, "new", OBJECT), SHMC_OK);
    CRASH_CHECK(!object.created);
    object_is_whole(OBJECT);
    CRASH_EQUAL(shmc_object_close(&seg, &object), SHMC_OK);
    CRASH_EQUAL(shmc_object_remove(&seg, "new"), SHMC_OK);
    directory_is_whole();
}

static const crash_case stopped_create_case = {
    lock_before, close_enter, NULL, make_act, others_look_and_change, made_check,
    after
};
static const crash_case stopped_remove_case = {
    lock_before, close_enter, NULL, remove_act, others_look_and_change,
    directory_is_whole, after
};

static void
directory_lock_of_a_stopped_process_is_given_up_on_in_time(void **state)
{
    (void)state;
    flags = 0;
    refusals = 0;
    crash_sweep("object create, its lock", &stopped_create_case);
    crash_sweep("object remove, its lock", &stopped_remove_case);
    if (getenv("SHMC_CRASH_AT") == NULL && getenv("SHMC_CRASH_ONLY") == NULL)
        assert_true(refusals > 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(segment_create_killed_anywhere_leaves_nothing_or_a_whole_segment),
        CRASH_TEST(segment_open_stopped_anywhere_holds_nobody_up),
        CRASH_TEST(segment_attach_killed_anywhere_frees_its_slot),
        CRASH_TEST(segment_close_killed_anywhere_frees_its_slot_and_name),
        CRASH_TEST(object_create_killed_anywhere_leaves_nothing_or_a_whole_object),
        CRASH_TEST(object_remove_killed_anywhere_leaves_a_whole_object_or_nothing),
        CRASH_TEST(directory_lock_of_a_stopped_process_is_given_up_on_in_time),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
