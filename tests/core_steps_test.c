/* What else may happen between any two steps of opening, closing, removing:
 * death, another process's whole operation, or the failure of the step.
 *
 * A step is a call of the platform, or a store that others may see.  The
 * headers under test are compiled with these calls replaced by ones that
 * count, and at one step do what the test says.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 300000000
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"

#include <signal.h>
#include <unistd.h>

static enum { STEP_KILL, STEP_CALL, STEP_FAIL } step_how;
static void (*step_fn)(void);
static int step_now, step_at, step_error = -EIO;
static bool step_on;

static bool step_free(void);

static const char *step_call = ""; /* the last call of the platform        */

static int
step(void)
{
    if (!step_on || ++step_now != step_at) return 0;
    if (step_how == STEP_KILL) kill(getpid(), SIGKILL);
    if (step_how == STEP_CALL && !step_free()) {
        step_at++;                  /* another would wait: so, after it     */
    } else if (step_how == STEP_CALL) {
        step_on = false;
        step_fn();
        step_on = true;
    }
    return step_how == STEP_FAIL;
}

#define STEP_OS(call) (step_call = #call, step() ? step_error : (call))
#define shmi_dir_open(d) STEP_OS(shmi_dir_open(d))
#define shmi_file_unnamed(d, m, g) STEP_OS(shmi_file_unnamed(d, m, g))
#define shmi_file_reserve(f, b) STEP_OS(shmi_file_reserve(f, b))
#define shmi_file_again(f, r) STEP_OS(shmi_file_again(f, r))
#define shmi_file_mode(f, m) STEP_OS(shmi_file_mode(f, m))
#define shmi_file_publish(f, d, n) STEP_OS(shmi_file_publish(f, d, n))
#define shmi_file_open(d, n, r) STEP_OS(shmi_file_open(d, n, r))
#define shmi_file_info_get(f, o) STEP_OS(shmi_file_info_get(f, o))
#define shmi_name_info(d, n, o) STEP_OS(shmi_name_info(d, n, o))
#define shmi_file_unlink(d, n) STEP_OS(shmi_file_unlink(d, n))
#define shmi_map(f, b, r, w, o) STEP_OS(shmi_map(f, b, r, w, o))
#define shmi_map_advise(p, b, r, w) STEP_OS(shmi_map_advise(p, b, r, w))
#define shmi_lock_try(f, o, x) STEP_OS(shmi_lock_try(f, o, x))
#define shmi_lock_wait(f, o, x, d) STEP_OS(shmi_lock_wait(f, o, x, d))
#define shmi_dir_each(d, f, u) STEP_OS(shmi_dir_each(d, f, u))
#define shmi_mutex_lock(m) ((void)step(), shmi_mutex_lock(m))
#define shmi_alloc(n) (step() ? NULL : shmi_alloc(n))
#define shmi_lock_release(f, o) ((void)step(), shmi_lock_release(f, o))
#define shmi_close(f) ((void)step(), shmi_close(f))
#define shmi_store_rlx_32(p, v) ((void)step(), shmi_store_rlx_32(p, v))
#define shmi_store_rlx_64(p, v) ((void)step(), shmi_store_rlx_64(p, v))
#define shmi_store_rel_32(p, v) ((void)step(), shmi_store_rel_32(p, v))
#define shmi_store_rel_64(p, v) ((void)step(), shmi_store_rel_64(p, v))

#include "core_support.h"

static bool
step_free(void)
{
    return shmi_open_list.mutex.word == 0;
}

/* The step at which `fn` happens while `what` runs; false when `what` had
 * ended before that step, so that all steps are done.                     */
static bool
step_runs(int at, void (*fn)(void), void (*what)(void))
{
    step_how = STEP_CALL;
    step_fn = fn;
    step_at = at;
    step_now = 0;
    step_on = true;
    what();
    step_on = false;
    return step_now >= at;
}

static int
dies_at_step(void *arg)
{
    void (*what)(void) = *(void (**)(void))arg;

    step_how = STEP_KILL;
    step_now = 0;
    step_on = true;
    what();
    step_on = false;
    return 0;
}

/* Run `what` in a child that is killed at step `at`.                      */
static bool
step_kills(int at, void (*what)(void))
{
    step_at = at;
    const int r = test_join(test_spawn(dies_at_step, &what));
    assert_true(r == 0 || r == 1000 + SIGKILL);
    return r != 0;
}

/* Run `what` with step `at` failing.                                      */
static bool
step_fails(int at, void (*what)(void))
{
    step_how = STEP_FAIL;
    step_at = at;
    step_now = 0;
    step_on = true;
    what();
    step_on = false;
    return step_now >= at;
}

static uint32_t create_flags;

static void
creates(void)
{
    const shmc_segment_desc d = core_desc(create_flags);
    shmc_segment s;

    if (shmc_segment_create(&s, "s", &d) == SHMC_OK) shmc_segment_close(&s);
}

static void
opens(void)
{
    const shmc_segment_desc d = core_desc(create_flags);
    shmc_segment s;

    if (shmc_segment_open(&s, "s", &d) == SHMC_OK) shmc_segment_close(&s);
}

static void
attaches(void)
{
    shmc_segment s;

    if (core_attach(&s, "s", SHMC_PREFAULT) == SHMC_OK) shmc_segment_close(&s);
}

static void
attaches_read_only(void)
{
    shmc_segment s;

    if (core_attach(&s, "s", SHMC_READ_ONLY) == SHMC_OK) shmc_segment_close(&s);
}

static void
unlinks(void)
{
    (void)core_unlink("s", 0);
}

static int
fills(void *mem, uint64_t bytes, const void *user)
{
    (void)user;
    (void)step();
    memset(mem, 1, bytes / 2);
    (void)step();
    memset((uint8_t *)mem + bytes / 2, 1, bytes - bytes / 2);
    (void)step();
    return 0;
}

static shmc_object_desc
filled(void)
{
    shmc_object_desc d = core_object(16384);

    d.init = fills;
    return d;
}

static void
opens_object(void)
{
    const shmc_object_desc d = filled();
    shmc_segment s;
    shmc_object x;

    if (core_attach(&s, "s", 0) != SHMC_OK) return;
    if (shmc_object_open(&s, "x", &d, &x) == SHMC_OK) shmc_object_close(&s, &x);
    shmc_segment_close(&s);
}

static void
removes_object(void)
{
    shmc_segment s;

    if (core_attach(&s, "s", 0) != SHMC_OK) return;
    (void)shmc_object_remove(&s, "x");
    shmc_segment_close(&s);
}

/* ---- death at every step ----------------------------------------------- */

static void
creator_killed_at_any_step_leaves_all_or_nothing(void **state)
{
    shmc_segment s;
    int at = 1, whole = 0;

    (void)state;
    create_flags = 0;
    for (; step_kills(at, creates); at++) {
        const int r = core_attach(&s, "s", 0);
        assert_true(r == SHMC_OK || r == SHMC_ENOENT);
        assert_int_equal(core_count(core_dir), r == SHMC_OK);
        if (r != SHMC_OK) continue;
        whole++;
        assert_int_equal(shmc_segment_shared(&s), 0);
        shmc_segment_close(&s);
        assert_int_equal(core_unlink("s", 0), SHMC_OK);
    }
    assert_true(at > 15 && whole > 0);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

static void
user_killed_at_any_step_of_open_and_close_blocks_nobody(void **state)
{
    shmc_segment_info info;
    shmc_segment s;

    (void)state;
    create_flags = SHMC_EPHEMERAL;
    for (int at = 1; step_kills(at, opens); at++) {
        const shmc_segment_desc d = core_desc(create_flags);
        assert_int_equal(shmc_segment_open(&s, "s", &d), SHMC_OK);
        assert_int_equal(shmc_segment_shared(&s), 0);
        assert_int_equal(shmc_segment_info_get(&s, &info), SHMC_OK);
        assert_int_equal(info.participants, 1);
        shmc_segment_close(&s);
        assert_int_equal(core_count(core_dir), 0);
    }
    core_create(&s, "s", 0);
    for (int at = 1; step_kills(at, attaches); at++) {
        assert_int_equal(shmc_segment_shared(&s), 0);
        assert_int_equal(shmc_segment_info_get(&s, &info), SHMC_OK);
        assert_int_equal(info.participants, 1);
    }
    shmc_segment_close(&s);
    for (int at = 1; step_kills(at, unlinks); at++) {
        const shmc_segment_desc d = core_desc(0);
        assert_int_equal(shmc_segment_open(&s, "s", &d), SHMC_OK);
        shmc_segment_close(&s);
    }
}

static void
maker_of_an_object_killed_at_any_step_leaves_all_or_nothing(void **state)
{
    const shmc_object_desc d = filled();
    shmc_segment s;
    shmc_object x;
    int at = 1, made = 0, found = 0;

    (void)state;
    core_create(&s, "s", 0);
    for (; step_kills(at, opens_object); at++) {
        /* It takes the whole heap: anything left behind would be noticed. */
        assert_int_equal(shmc_object_open(&s, "x", &d, &x), SHMC_OK);
        made += x.created;
        found += !x.created;
        for (int i = 0; i < 16384; i++)
            assert_int_equal(((uint8_t *)x.mem)[i], 1);
        shmc_object_close(&s, &x);
        assert_int_equal(shmc_object_remove(&s, "x"), SHMC_OK);
    }
    assert_true(made > 20 && found > 0);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

static void
remover_of_an_object_killed_at_any_step_leaves_all_or_nothing(void **state)
{
    const shmc_object_desc d = filled();
    shmc_segment s;
    shmc_object x, y;
    int made = 0, found = 0;

    (void)state;
    core_create(&s, "s", 0);
    assert_int_equal(shmc_object_open(&s, "x", &d, &x), SHMC_OK);
    shmc_object_close(&s, &x);
    for (int at = 1; step_kills(at, removes_object); at++) {
        assert_int_equal(shmc_object_open(&s, "x", &d, &y), SHMC_OK);
        made += y.created;
        found += !y.created;
        shmc_object_close(&s, &y);
    }
    assert_true(made > 2 && found > 2);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

/* ---- somebody else's operation at every step --------------------------- */

static shmc_segment other;          /* the other process's handle           */

static void
other_replaces_the_segment(void)
{
    if (core_unlink("s", 0) == SHMC_OK) core_create(&other, "s", 0);
}

static void
unlink_spares_a_successor_made_at_any_step(void **state)
{
    bool more = true;
    int replaced = 0;

    (void)state;
    for (int at = 1; more; at++) {
        core_create(&other, "s", 0);
        shmc_segment_close(&other);
        more = step_runs(at, other_replaces_the_segment, unlinks);
        if (other.base == NULL) continue;   /* was refused, or not reached  */
        assert_int_equal(shmc_segment_linked(&other), 1);
        shmc_segment_close(&other);
        assert_int_equal(core_unlink("s", 0), SHMC_OK);
        replaced++;
    }
    assert_true(replaced >= 2);
}

static void
other_opens_the_segment(void)
{
    const shmc_segment_desc d = core_desc(SHMC_EPHEMERAL);

    /* SHMC_ETIMEDOUT: the closer holds it exclusively, and waits for us.  */
    const int r = shmc_segment_open(&other, "s", &d);
    assert_true(r == SHMC_OK || r == SHMC_ETIMEDOUT);
}

static void
closer_spares_a_segment_opened_at_any_step(void **state)
{
    bool more = true;
    int opened = 0;

    (void)state;
    create_flags = SHMC_EPHEMERAL;
    for (int at = 1; more; at++) {
        memset(&other, 0, sizeof other);
        more = step_runs(at, other_opens_the_segment, opens);
        if (other.base == NULL) continue;
        assert_int_equal(shmc_segment_linked(&other), 1);
        shmc_segment_close(&other);
        assert_int_equal(core_count(core_dir), 0);
        opened++;
    }
    assert_true(opened > 15);
    assert_null(shmi_open_list.first);
}

static shmc_segment mine;

static void
i_open(void)
{
    const shmc_segment_desc d = core_desc(0);

    assert_int_equal(shmc_segment_open(&mine, "s", &d), SHMC_OK);
}

static void
other_creates_or_removes_it(void)
{
    core_any(0);
    if (core_unlink("s", SHMC_FORCE) == SHMC_ENOENT) {
        core_create(&other, "s", 0);
        shmc_segment_close(&other);
    }
}

static void
open_succeeds_whatever_others_do_to_the_name_at_any_step(void **state)
{
    bool more = true;

    (void)state;
    for (int at = 1; more; at++) {
        for (int exists = 0; exists <= 1; exists++) {
            if (exists) core_create(&other, "s", 0);
            if (exists) shmc_segment_close(&other);
            shmi_fail(SHMC_ENOENT, "an old story");
            more = step_runs(at, other_creates_or_removes_it, i_open);
            assert_int_equal(core_logs, 0);
            assert_ptr_equal(shmi_open_list.first, &mine);
            assert_null(mine.next);
            shmc_segment_close(&mine);
            assert_null(shmi_open_list.first);
            core_unlink("s", SHMC_FORCE);
        }
    }
}

static void
other_is_always_first(void)
{
    step_at = step_now + 1;         /* come again at the next step          */
    if (strncmp(step_call, "shmi_name_info", 14) != 0) return;
    core_unlink("s", SHMC_FORCE);
    core_create(&other, "s", 0);
    shmc_segment_close(&other);
}

static void
i_unlink_in_vain(void)
{
    CORE_FAILS(core_unlink("s", 0), SHMC_EBUSY,
               "remove segment 's': others keep creating and removing it");
}

static void
i_open_in_vain(void)
{
    const shmc_segment_desc d = core_desc(0);

    CORE_FAILS(shmc_segment_open(&mine, "s", &d), SHMC_ETIMEDOUT,
               "open segment 's': others keep creating and removing it");
}

static void
name_that_never_rests_is_etimedout_not_a_hang(void **state)
{
    (void)state;
    core_create(&other, "s", 0);
    shmc_segment_close(&other);
    (void)step_runs(1, other_is_always_first, i_open_in_vain);
    (void)step_runs(1, other_is_always_first, i_unlink_in_vain);
    core_unlink("s", SHMC_FORCE);
}

static shmc_object held, gained;
static int gained_r;

/* Another thread of this process closes the last opening; then another
 * process tries to remove the object, at once or later.  Where our thread
 * holds the handle's mutex, the other one would wait for it.              */
static void
others_close_and_remove(void)
{
    if (mine.mutex.word != 0) return;
    if (held.mem != NULL) shmc_object_close(&mine, &held);
    (void)shmc_object_remove(&other, "x");
}

static void
others_close(void)
{
    if (mine.mutex.word == 0 && held.mem != NULL)
        shmc_object_close(&mine, &held);
}

static void
i_open_the_object(void)
{
    const shmc_object_desc d = core_object(64);

    gained_r = shmc_object_open(&mine, "x", &d, &gained);
}

static void
open_object_is_kept_whatever_others_do_at_any_step(void **state)
{
    static void (*const others[])(void) = { others_close,
                                            others_close_and_remove };
    const shmc_object_desc d = core_object(64);

    (void)state;
    core_create(&mine, "s", 0);
    assert_int_equal(core_attach(&other, "s", 0), SHMC_OK);
    for (int i = 0; i < 2; i++) {
        bool more = true;
        for (int at = 1; more; at++) {
            assert_int_equal(shmc_object_open(&mine, "x", &d, &held), SHMC_OK);
            more = step_runs(at, others[i], i_open_the_object);
            assert_int_equal(gained_r, SHMC_OK);
            if (held.mem != NULL) shmc_object_close(&mine, &held);
            CORE_FAILS(shmc_object_remove(&other, "x"), SHMC_EBUSY, "open");
            assert_int_equal(shmc_object_close(&mine, &gained), SHMC_OK);
            assert_int_equal(shmc_object_remove(&other, "x"), SHMC_OK);
        }
    }
    shmc_segment_close(&other);
    shmc_segment_close(&mine);
    core_unlink("s", 0);
}

static void
other_makes_it_anew(void)
{
    const shmc_object_desc d = core_object(64);

    step_at = step_now + 1;         /* come again at the next step          */
    if (strncmp(step_call, "shmi_lock_wait", 14) != 0) return;
    (void)shmc_object_remove(&other, "x");
    assert_int_equal(shmc_object_open(&other, "x", &d, &held), SHMC_OK);
    shmc_object_close(&other, &held);
}

static void
object_that_never_rests_is_etimedout_not_a_hang(void **state)
{
    (void)state;
    core_create(&mine, "s", 0);
    assert_int_equal(core_attach(&other, "s", 0), SHMC_OK);
    (void)step_runs(1, other_makes_it_anew, i_open_the_object);
    CORE_FAILS(gained_r, SHMC_ETIMEDOUT,
               "open object 'x' in segment 's': others keep creating and");
    assert_null(gained.mem);
    shmc_segment_close(&other);
    shmc_segment_close(&mine);
    core_unlink("s", 0);
}

/* ---- failure of every step --------------------------------------------- */

static void
failing_step_leaves_nothing_open_and_nothing_behind(void **state)
{
    static void (*const all[])(void) = {
        creates, opens, attaches, attaches_read_only, unlinks, opens_object,
        removes_object
    };
    shmc_segment s;

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        bool more = true;
        for (int at = 1; more; at++) {
            create_flags = at % 2 ? SHMC_PREFAULT : SHMC_EPHEMERAL;
            if (i > 1) core_create(&s, "s", 0);
            if (i > 1) shmc_segment_close(&s);
            if (all[i] == removes_object) opens_object();
            const int fds = core_count("/proc/self/fd");
            more = step_fails(at, all[i]);
            assert_int_equal(core_count("/proc/self/fd"), fds);
            assert_null(shmi_open_list.first);
            assert_int_equal(shmi_open_list.mutex.word, 0);
            /* Somebody else can still use and remove it.                  */
            const shmc_segment_desc d = core_desc(0);
            assert_int_equal(shmc_segment_open(&s, "s", &d), SHMC_OK);
            opens_object();
            removes_object();
            shmc_segment_close(&s);
            (void)core_unlink("s", 0);
            assert_int_equal(core_count(core_dir), 0);
        }
    }
}

static uint32_t advice;

static void
attaches_with_advice(void)
{
    shmc_segment s;
    static const struct { int error; uint32_t flags; int code;
                          const char *part; } all[] = {
        { -EINVAL, SHMC_HUGEPAGES, SHMC_ENOTSUP, "without SHMC_HUGEPAGES" },
        { -EPERM, SHMC_MLOCK, SHMC_ENOMEM, "raise the limit (ulimit -l)" },
        { -ENOMEM, SHMC_MLOCK, SHMC_ENOMEM, "lock segment 's' (" },
        { -EAGAIN, SHMC_PREFAULT, SHMC_ENOMEM, "ask for less" },
        { -EIO, SHMC_PREFAULT, SHMC_EOS, "prefault, lock or enlarge" },
    };

    step_error = all[advice].error;
    const int r = core_attach(&s, "s", all[advice].flags);
    if (strncmp(step_call, "shmi_map_advise", 15) != 0) {
        if (r == SHMC_OK) shmc_segment_close(&s);
        return;                     /* another step failed                  */
    }
    CORE_FAILS(r, all[advice].code, all[advice].part);
    advice++;
}

/* Step by step until the one that treats the pages has failed.            */
static void
pages_that_cannot_be_had_as_asked_are_told_why(void **state)
{
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    shmc_segment_close(&s);
    for (advice = 0; advice < 5; ) {
        const uint32_t now = advice;
        for (int at = 1; advice == now; at++) {
            step_call = "";
            assert_true(step_fails(at, attaches_with_advice));
        }
    }
    step_error = -EIO;
    core_unlink("s", 0);
}

static int
names_none(void *user, const char *name)
{
    (void)user;
    (void)name;
    return 0;
}

static void
lists(void)
{
    const shmc_segment_desc d = core_any(0);

    CORE_FAILS(shmc_segment_each(&d, names_none, NULL), SHMC_EOS,
               "list the folder of prefix 'shmc'");
}

static void
unreadable_folder_is_told_with_the_systems_error(void **state)
{
    (void)state;
    assert_true(step_fails(1, lists));
    assert_non_null(strstr(shmc_last_error(), "EIO"));
}

static void
maps_memory(void)
{
    const shmc_segment_desc d = core_desc(0);
    const uint64_t bytes = (uint64_t)shmc_segment_size_for(&d);
    void *mem = aligned_alloc(SHMC_LINE, bytes);

    assert_int_equal(shmc_segment_format(mem, bytes, &d), SHMC_OK);
    CORE_FAILS(shmc_segment_map(&mine, mem, bytes), SHMC_ENOMEM, "8 words");
    CORE_FAILS(shmc_segment_close(&mine), SHMC_ECLOSED, "not open");
    free(mem);
}

static void
out_of_memory_is_told(void **state)
{
    (void)state;
    (void)step_fails(2, maps_memory);   /* after the mutex                  */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(creator_killed_at_any_step_leaves_all_or_nothing),
        CORE_CASE(user_killed_at_any_step_of_open_and_close_blocks_nobody),
        CORE_CASE(maker_of_an_object_killed_at_any_step_leaves_all_or_nothing),
        CORE_CASE(remover_of_an_object_killed_at_any_step_leaves_all_or_nothing),
        CORE_CASE(unlink_spares_a_successor_made_at_any_step),
        CORE_CASE(closer_spares_a_segment_opened_at_any_step),
        CORE_CASE(open_succeeds_whatever_others_do_to_the_name_at_any_step),
        CORE_CASE(name_that_never_rests_is_etimedout_not_a_hang),
        CORE_CASE(open_object_is_kept_whatever_others_do_at_any_step),
        CORE_CASE(object_that_never_rests_is_etimedout_not_a_hang),
        CORE_CASE(pages_that_cannot_be_had_as_asked_are_told_why),
        CORE_CASE(failing_step_leaves_nothing_open_and_nothing_behind),
        CORE_CASE(unreadable_folder_is_told_with_the_systems_error),
        CORE_CASE(out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
