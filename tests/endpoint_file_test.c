/* The file on which sockets meet: who makes it, who may join it, who removes
 * it, and what others may do between any two steps of that.
 *
 * A step is a call of the platform on a file's name or lock.  The header is
 * compiled with these calls replaced by ones that first do what the test
 * says that another process does just then.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 200000000
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"

static void (*step_fn)(const char *call);
static int step_now, step_at;       /* 0: at every step                     */
static bool step_on;

static void
step(const char *call)
{
    if (!step_on || (++step_now != step_at && step_at != 0)) return;
    step_on = false;
    step_fn(call);
    step_on = true;
}

#define STEP(call) (step(#call), (call))
#define shmi_file_publish(f, d, n) STEP(shmi_file_publish(f, d, n))
#define shmi_file_open(d, n, r) STEP(shmi_file_open(d, n, r))
#define shmi_name_info(d, n, o) STEP(shmi_name_info(d, n, o))
#define shmi_file_unlink(d, n) STEP(shmi_file_unlink(d, n))
#define shmi_lock_try(f, o, x) STEP(shmi_lock_try(f, o, x))
#define shmi_lock_wait(f, o, x, d) STEP(shmi_lock_wait(f, o, x, d))
#define shmi_lock_probe(f, o) STEP(shmi_lock_probe(f, o))

#include "core_support.h"
#include "shmcomm_endpoint.h"

/* ---- a socket that holds one number ------------------------------------ */

typedef struct box {
    const shmi_endpoint_kind *kind;
    shmc_segment s;
    shmc_object object;
    int joins, forgotten, fails;
    bool adopts, created;
    uint64_t head;
} box;

static uint64_t *
box_number(const box *b)
{
    return b->object.mem;
}

static bool
box_is_full(const shmc_segment *s)
{
    shmc_object_info info;

    return shmc_object_info_get(s, 0, &info) == SHMC_OK &&
           shmi_load_rlx_64((uint64_t *)(void *)(s->base + info.offset)) != 0;
}

static const shmi_endpoint_kind goes = { "parcel", "parcel", NULL, false };
static const shmi_endpoint_kind takes_bare = { "crate", "crate", NULL, true };
static const shmi_endpoint_kind stays = { "box", "box", box_is_full, false };

static int
box_join(void *ctx, shmc_segment *s)
{
    box *b = ctx;
    const shmc_object_desc d = { .bytes = 64, .kind = SHMC_KIND_RAW };

    b->joins++;
    if (b->fails) return b->fails;
    return shmc_object_open(s, b->kind->object, &d, &b->object);
}

static void
box_forget(void *ctx)
{
    box *b = ctx;

    b->forgotten++;
    memset(&b->object, 0, sizeof b->object);
}

static bool
box_adopt(void *ctx, const shmc_segment *s)
{
    (void)s;
    return ((box *)ctx)->adopts;
}

static int
box_open_as(box *b, const shmi_endpoint_kind *kind)
{
    const shmi_endpoint_opening o = {
        .kind = kind, .file = core_desc(0), .head = &b->head,
        .head_bytes = sizeof b->head, .adopt = box_adopt, .join = box_join,
        .forget = box_forget, .ctx = b
    };

    b->kind = kind;
    const int r = shmi_endpoint_open(&b->s, "e", &o);
    b->created = r == 1;
    return r < 0 ? r : SHMC_OK;
}

static void
box_close(box *b)
{
    assert_int_equal(shmc_object_close(&b->s, &b->object), SHMC_OK);
    assert_int_equal(shmi_endpoint_close(&b->s, b->kind), SHMC_OK);
}

static int
files(void)
{
    return core_count(core_dir);
}

/* ---- who comes first, who goes last ------------------------------------- */

static void
first_one_creates_it_and_last_one_removes_it(void **state)
{
    static const shmi_endpoint_kind *const kinds[] = { &goes, &takes_bare,
                                                       &stays };
    (void)state;
    for (int i = 0; i < 3; i++) {
        box one = { .adopts = false }, two = { .adopts = false };

        assert_int_equal(box_open_as(&one, kinds[i]), SHMC_OK);
        assert_true(one.created);
        *box_number(&one) = i == 2 ? 0 : 7;
        assert_int_equal(box_open_as(&two, kinds[i]), SHMC_OK);
        assert_false(two.created);
        assert_ptr_not_equal(box_number(&one), box_number(&two));
        assert_int_equal(*box_number(&two), *box_number(&one));
        box_close(&one);
        assert_int_equal(files(), 1);
        box_close(&two);
        assert_int_equal(files(), 0);
        assert_int_equal(one.forgotten + two.forgotten, 0);
    }
}

static void
what_must_be_kept_stays_until_it_need_not(void **state)
{
    box one = { .adopts = true }, two = { .adopts = true };

    (void)state;
    assert_int_equal(box_open_as(&one, &stays), SHMC_OK);
    *box_number(&one) = 7;
    box_close(&one);
    assert_int_equal(files(), 1);
    assert_int_equal(box_open_as(&two, &stays), SHMC_OK);
    assert_false(two.created);
    assert_int_equal(two.head, 7);
    assert_int_equal(*box_number(&two), 7);
    *box_number(&two) = 0;
    box_close(&two);
    assert_int_equal(files(), 0);
}

static int
open_and_die(void *arg)
{
    const shmi_endpoint_kind *kind = arg;
    box b = { .adopts = false };

    TEST_REQUIRE(box_open_as(&b, kind) == SHMC_OK);
    *box_number(&b) = kind == &stays ? 0 : 7;
    kill(getpid(), SIGKILL);
    return 0;
}

static void
left_by_the_dead(const shmi_endpoint_kind *kind)
{
    assert_int_equal(test_join(test_spawn(open_and_die,
                     (void *)(uintptr_t)kind)), 1000 + SIGKILL);
    assert_int_equal(files(), 1);
}

static void
what_the_dead_left_is_removed_or_taken_over(void **state)
{
    static const shmi_endpoint_kind *const kinds[] = { &goes, &stays };

    (void)state;
    for (int i = 0; i < 4; i++) {
        box b = { .adopts = i % 2 };

        left_by_the_dead(kinds[i / 2]);
        assert_int_equal(box_open_as(&b, kinds[i / 2]), SHMC_OK);
        assert_int_equal(b.created, !b.adopts);
        assert_int_equal(*box_number(&b), b.adopts && i / 2 == 0 ? 7 : 0);
        *box_number(&b) = 0;
        box_close(&b);
        assert_int_equal(files(), 0);
    }
}

static void
what_somebody_looks_at_is_joined_in_the_end(void **state)
{
    box b = { .adopts = false };
    shmc_segment looker;

    (void)state;
    left_by_the_dead(&goes);
    assert_int_equal(core_attach(&looker, "e", 0), SHMC_OK);
    assert_int_equal(box_open_as(&b, &goes), SHMC_OK);
    assert_false(b.created);
    assert_int_equal(*box_number(&b), 7);
    shmc_segment_close(&looker);
    box_close(&b);
}

/* ---- other kinds -------------------------------------------------------- */

static void
another_kind_in_use_is_etype(void **state)
{
    static const shmi_endpoint_kind *const kinds[] = { &goes, &takes_bare,
                                                       &stays };
    (void)state;
    for (int i = 0; i < 9; i++) {
        const shmi_endpoint_kind *is = kinds[i / 3], *want = kinds[i % 3];
        box one = { .adopts = false }, two = { .adopts = true };
        char text[128];

        if (is == want) continue;
        assert_int_equal(box_open_as(&one, is), SHMC_OK);
        assert_int_equal(box_open_as(&two, want), SHMC_ETYPE);
        snprintf(text, sizeof text, "%s 'e': the segment of this name holds a "
                 "'%s' and is no %s;", want->noun, is->noun, want->noun);
        assert_non_null(strstr(shmc_last_error(), text));
        assert_int_equal(two.joins, 0);
        assert_int_equal(files(), 1);
        box_close(&one);
        assert_int_equal(files(), 0);
    }
}

static void
what_another_kind_left_is_removed_unless_it_is_kept(void **state)
{
    box b = { .adopts = true };

    (void)state;
    left_by_the_dead(&goes);
    assert_int_equal(box_open_as(&b, &stays), SHMC_OK);
    assert_true(b.created);
    *box_number(&b) = 7;
    box_close(&b);
    assert_int_equal(files(), 1);
    assert_int_equal(box_open_as(&b, &goes), SHMC_ETYPE);
    assert_int_equal(files(), 1);
    assert_int_equal(core_unlink("e", 0), SHMC_OK);
}

static void
a_segment_of_the_users_own_is_etype_and_stays(void **state)
{
    static const uint32_t flags[] = { 0, SHMC_EPHEMERAL };
    static const shmi_endpoint_kind *const kinds[] = { &goes, &stays };

    (void)state;
    for (int i = 0; i < 4; i++) {
        box b = { .adopts = true };
        shmc_segment s;

        core_create(&s, "e", flags[i / 2]);
        assert_int_equal(box_open_as(&b, kinds[i % 2]), SHMC_ETYPE);
        assert_non_null(strstr(shmc_last_error(), "of this name is no "));
        assert_int_equal(files(), 1);
        shmc_segment_close(&s);
        (void)core_unlink("e", 0);
    }
}

static void
a_bare_file_becomes_one_if_the_kind_says_so(void **state)
{
    box b = { .adopts = false };
    shmc_segment s;

    (void)state;
    core_create(&s, "e", SHMC_EPHEMERAL);
    assert_int_equal(box_open_as(&b, &takes_bare), SHMC_OK);
    assert_false(b.created);
    shmc_segment_close(&s);
    box_close(&b);
}

/* ---- between two steps --------------------------------------------------- */

static box other;
static int others_state, others_looks;

static void
other_looks(const char *call)
{
    shmc_segment s;

    (void)call;
    if (shmi_open_list.mutex.word != 0) return;     /* we would wait for it */
    if (core_attach(&s, "e", SHMC_INSPECT) != SHMC_OK) return;
    others_looks++;
    if (shmi_endpoint_state(&s, &goes, NULL, 0) != SHMI_ENDPOINT_USED &&
        shmi_endpoint_state(&s, &goes, NULL, 0) != SHMI_ENDPOINT_LEFT)
        others_state = -1;
    shmc_segment_close(&s);
}

static void
nobody_ever_sees_it_without_its_object(void **state)
{
    (void)state;
    others_state = others_looks = 0;
    step_fn = other_looks;
    step_at = 0;
    step_on = true;
    for (int i = 0; i < 3; i++) {
        box b = { .adopts = false };

        assert_int_equal(box_open_as(&b, &goes), SHMC_OK);
        box_close(&b);
    }
    step_on = false;
    assert_int_equal(others_state, 0);
    assert_true(others_looks > 0);
}

/* Another process's whole visit, with a message left behind.  Where we hold
 * what it would wait for, it comes later.                                  */
static void
other_leaves_a_number(const char *call)
{
    shmc_segment probe;

    (void)call;
    if (shmi_open_list.mutex.word != 0 || other.joins > 1) {
        step_at++;
        return;
    }
    memset(&other, 0, sizeof other);
    other.adopts = true;
    /* Somebody holds the file alone: who attaches would wait for it.      */
    if (core_attach(&probe, "e", SHMC_INSPECT) == SHMC_OK) {
        const int held = shmi_lock_probe(probe.fd, SHMI_LOCK_PRESENCE);
        const bool alone = held > 0 &&
            shmi_lock_try(probe.fd, SHMI_LOCK_PRESENCE, false) < 0;
        shmc_segment_close(&probe);
        if (alone) {
            step_at++;
            return;
        }
    }
    assert_int_equal(box_open_as(&other, &stays), SHMC_OK);
    *box_number(&other) = 7;
    box_close(&other);
}

static void
what_comes_while_the_last_one_leaves_is_kept(void **state)
{
    bool more = true;

    (void)state;
    for (int at = 1; more; at++) {
        box b = { .adopts = true };

        assert_int_equal(box_open_as(&b, &stays), SHMC_OK);
        memset(&other, 0, sizeof other);
        step_fn = other_leaves_a_number;
        step_at = at;
        step_now = 0;
        step_on = true;
        box_close(&b);
        step_on = false;
        more = other.joins != 0;
        assert_int_equal(files(), more);
        if (!more) break;
        box again = { .adopts = true };
        assert_int_equal(box_open_as(&again, &stays), SHMC_OK);
        assert_int_equal(*box_number(&again), 7);
        *box_number(&again) = 0;
        box_close(&again);
        assert_int_equal(files(), 0);
    }
}

/* A peer that is always first: the name is taken whenever we are about to
 * take it, and gone whenever we are about to attach.                       */
static void
other_is_always_first(const char *call)
{
    shmc_segment s;

    if (strncmp(call, "shmi_file_publish", 17) == 0) {
        core_create(&s, "e", 0);
        shmc_segment_close(&s);
    } else if (strncmp(call, "shmi_file_open", 14) == 0) {
        (void)unlink(core_path("e"));
    }
}

static void
name_that_never_rests_is_etimedout_not_a_hang(void **state)
{
    static const shmi_endpoint_kind *const kinds[] = { &goes, &stays };

    (void)state;
    for (int i = 0; i < 2; i++) {
        box b = { .adopts = true };

        step_fn = other_is_always_first;
        step_at = 0;
        step_on = true;
        assert_int_equal(box_open_as(&b, kinds[i]), SHMC_ETIMEDOUT);
        step_on = false;
        assert_non_null(strstr(shmc_last_error(), "others keep creating and"));
        assert_true(b.forgotten > 1);
        assert_int_equal(b.joins, b.forgotten);
        assert_null(b.object.mem);
        (void)core_unlink("e", SHMC_FORCE);
    }
}

static void
a_join_that_fails_leaves_no_file(void **state)
{
    box b = { .fails = SHMC_ENOSPC };

    (void)state;
    assert_int_equal(box_open_as(&b, &goes), SHMC_ENOSPC);
    assert_int_equal(box_open_as(&b, &stays), SHMC_ENOSPC);
    assert_int_equal(b.joins, 2);
    assert_int_equal(files(), 0);
    b.fails = 0;
    assert_int_equal(box_open_as(&b, &goes), SHMC_OK);
    box late = { .fails = SHMC_ELIMIT };
    assert_int_equal(box_open_as(&late, &goes), SHMC_ELIMIT);
    assert_int_equal(files(), 1);
    box_close(&b);
}

/* ---- waiting for a name -------------------------------------------------- */

typedef struct guest {
    shmi_endpoint_wait wait;
    shmc_segment s;
    int entered, answer;
} guest;

static int
guest_enters(void *ctx)
{
    guest *g = ctx;

    g->entered++;
    return g->answer;
}

static int
guest_is_ready(void *ctx)
{
    guest *g = ctx;

    return shmi_endpoint_ready(&g->wait, &g->s, 0, guest_enters, g);
}

static int
use_inherited(void *arg)
{
    TEST_REQUIRE(guest_is_ready(arg) == SHMC_EFORKED);
    return 0;
}

static void
a_guest_waits_for_the_name_and_for_its_own_say(void **state)
{
    guest g = { .answer = SHMC_EAGAIN };
    box b = { .adopts = false };

    (void)state;
    assert_int_equal(shmi_endpoint_wait_begin(&g.wait, "a//b", core_dir, NULL),
                     SHMC_ENAME);
    assert_int_equal(shmi_endpoint_wait_begin(&g.wait, "e", "x", NULL),
                     SHMC_ENAME);
    assert_int_equal(shmi_endpoint_wait_begin(&g.wait, "e", core_dir, NULL),
                     SHMC_OK);
    assert_int_equal(shmi_endpoint_await(guest_is_ready, &g,
                     shmi_now_ns() + 5000000), SHMC_ETIMEDOUT);
    assert_int_equal(g.entered, 0);
    assert_true(g.wait.absent);
    assert_int_equal(test_join(test_spawn(use_inherited, &g)), 0);
    assert_int_equal(box_open_as(&b, &goes), SHMC_OK);
    assert_true(shmi_name_awaited(&b.s));
    assert_int_equal(shmi_endpoint_await(guest_is_ready, &g,
                     shmi_now_ns() + 5000000), SHMC_ETIMEDOUT);
    assert_true(g.entered > 0);
    g.answer = SHMC_OK;
    assert_int_equal(shmi_endpoint_await(guest_is_ready, &g, UINT64_MAX),
                     SHMC_OK);
    assert_false(shmi_name_awaited(&b.s));
    shmc_segment_close(&g.s);
    g.answer = SHMC_ETYPE;
    g.wait.look_ns = 0;
    assert_int_equal(guest_is_ready(&g), SHMC_ETYPE);
    shmi_endpoint_wait_end(&g.wait);
    box_close(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(first_one_creates_it_and_last_one_removes_it),
        CORE_CASE(what_must_be_kept_stays_until_it_need_not),
        CORE_CASE(what_the_dead_left_is_removed_or_taken_over),
        CORE_CASE(what_somebody_looks_at_is_joined_in_the_end),
        CORE_CASE(another_kind_in_use_is_etype),
        CORE_CASE(what_another_kind_left_is_removed_unless_it_is_kept),
        CORE_CASE(a_segment_of_the_users_own_is_etype_and_stays),
        CORE_CASE(a_bare_file_becomes_one_if_the_kind_says_so),
        CORE_CASE(nobody_ever_sees_it_without_its_object),
        CORE_CASE(what_comes_while_the_last_one_leaves_is_kept),
        CORE_CASE(name_that_never_rests_is_etimedout_not_a_hang),
        CORE_CASE(a_join_that_fails_leaves_no_file),
        CORE_CASE(a_guest_waits_for_the_name_and_for_its_own_say),
    };

    return cmocka_run_group_tests_name("endpoint_file", tests, NULL, NULL);
}
