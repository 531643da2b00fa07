/* Segments: create, attach, open, close, unlink, and looking at them.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

/* ---- create, attach, open ---------------------------------------------- */

static void
attacher_sees_what_the_creator_wrote(void **state)
{
    const shmc_object_desc d = core_object(64);
    shmc_segment a, b;
    shmc_object x, y;

    (void)state;
    core_create(&a, "s", 0);
    assert_int_equal(shmc_object_open(&a, "x", &d, &x), SHMC_OK);
    strcpy(x.mem, "hello");
    assert_int_equal(core_attach(&b, "s", 0), SHMC_OK);
    assert_int_equal(shmc_object_attach(&b, "x", &d, &y), SHMC_OK);
    assert_ptr_not_equal(x.mem, y.mem);
    assert_string_equal((char *)y.mem, "hello");
    assert_int_equal((uintptr_t)y.mem % SHMC_LINE, 0);
    shmc_object_close(&b, &y);
    shmc_object_close(&a, &x);
    assert_int_equal(shmc_segment_close(&a), SHMC_OK);
    assert_int_equal(shmc_segment_close(&b), SHMC_OK);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

static void
create_of_a_taken_name_is_eexist_and_attach_of_none_enoent(void **state)
{
    shmc_segment a, b;
    const shmc_segment_desc d = core_desc(0);

    (void)state;
    CORE_FAILS(core_attach(&a, "s", 0), SHMC_ENOENT, "attach to segment 's'");
    core_create(&a, "s", 0);
    CORE_FAILS(shmc_segment_create(&b, "s", &d), SHMC_EEXIST,
               "open it instead, or unlink");
    CORE_FAILS(shmc_segment_close(&b), SHMC_ECLOSED, "it is not open");
    shmc_segment_close(&a);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
    CORE_FAILS(core_unlink("s", 0), SHMC_ENOENT, "remove segment 's'");
}

static void
open_creates_and_then_attaches_without_a_sentence(void **state)
{
    const shmc_segment_desc d = core_desc(0);
    shmc_segment a, b;

    (void)state;
    shmi_fail(SHMC_ENOENT, "an old story");
    assert_int_equal(shmc_segment_open(&a, "s", &d), SHMC_OK);
    assert_int_equal(shmc_segment_open(&b, "s", &d), SHMC_OK);
    assert_int_equal(a.created_ns, b.created_ns);
    assert_int_not_equal(a.participant, b.participant);
    assert_non_null(strstr(shmc_last_error(), "an old story"));
    assert_int_equal(core_logs, 0);
    shmc_segment_close(&a);
    shmc_segment_close(&b);
    core_unlink("s", 0);
}

static void
everything_has_a_default(void **state)
{
    shmc_segment s;
    shmc_segment_info info;
    char name[64];

    (void)state;
    setenv("SHMCOMM_DIR", core_dir, 1);
    test_name(name, sizeof name, "defaults");
    assert_int_equal(shmc_segment_open(&s, name, NULL), SHMC_OK);
    assert_int_equal(shmc_segment_info_get(&s, &info), SHMC_OK);
    assert_int_equal(info.heap_bytes, 1 << 20);
    assert_int_equal(info.max_objects, 64);
    assert_int_equal(info.max_participants, 64);
    assert_int_equal(info.total_bytes, shmc_segment_size_for(NULL));
    assert_int_equal(info.creator_pid, getpid());
    assert_int_equal(info.participants, 1);
    assert_int_equal(info.objects, 0);
    assert_int_equal(info.wake, SHMC_WAKE_FENCE);
    assert_int_equal(info.layout_version, 1);
    assert_string_equal(info.name, name);
    assert_true(info.created_realtime_ns > 0);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink(name, NULL), SHMC_OK);
    unsetenv("SHMCOMM_DIR");
}

static void
environment_chooses_folder_and_prefix(void **state)
{
    shmc_segment s;
    struct stat st;
    char path[128];

    (void)state;
    setenv("SHMCOMM_DIR", core_dir, 1);
    setenv("SHMCOMM_PREFIX", "lab", 1);
    assert_int_equal(shmc_segment_create(&s, "a/b", NULL), SHMC_OK);
    snprintf(path, sizeof path, "%s/lab.a+b", core_dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal((uint64_t)st.st_blocks * 512 / 4096 * 4096, st.st_size);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("a/b", NULL), SHMC_OK);
    unsetenv("SHMCOMM_DIR");
    unsetenv("SHMCOMM_PREFIX");
}

static void
mode_and_gid_are_exact_whatever_the_umask(void **state)
{
    static const uint32_t modes[] = { 0, 0666, 0640, 0444, 0600 };
    const mode_t old = umask(0077);
    shmc_segment s;
    struct stat st;

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        shmc_segment_desc d = core_desc(geteuid() == 0 ? SHMC_SET_GID : 0);
        d.mode = modes[i];
        if (d.flags) d.gid = 12;
        assert_int_equal(shmc_segment_create(&s, "s", &d), SHMC_OK);
        assert_int_equal(stat(core_path("s"), &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i] ? modes[i] : 0600);
        if (d.flags) assert_int_equal(st.st_gid, 12);
        shmc_segment_close(&s);
        assert_int_equal(core_unlink("s", SHMC_FORCE), SHMC_OK);
    }
    umask(old);
}

static int
nobody_creates(void *arg)
{
    shmc_segment_desc d = core_desc(0);
    shmc_segment s;

    (void)arg;
    if (geteuid() == 0) TEST_REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
    d.mode = 0444;
    TEST_REQUIRE(shmc_segment_create(&s, "s", &d) == SHMC_OK);
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    CORE_REQUIRE_FAILS(core_attach(&s, "s", 0), SHMC_EACCES,
                       "check owner, mode and gid");
    TEST_REQUIRE(core_attach(&s, "s", SHMC_READ_ONLY) == SHMC_OK);
    return shmc_segment_close(&s);
}

static void
creator_may_forbid_itself_to_write_later(void **state)
{
    (void)state;
    chmod(core_dir, 0777);
    assert_int_equal(test_join(test_spawn(nobody_creates, NULL)), 0);
    core_unlink("s", SHMC_FORCE);
}

static void
attach_takes_sizes_as_minima(void **state)
{
    shmc_segment a, b;
    shmc_segment_desc d = core_desc(0);

    (void)state;
    core_create(&a, "s", 0);
    d.heap_bytes = 100;
    d.max_objects = 1;
    d.max_participants = 1;
    assert_int_equal(shmc_segment_attach(&b, "s", &d), SHMC_OK);
    shmc_segment_close(&b);
    d.heap_bytes = 20480;
    CORE_FAILS(shmc_segment_open(&b, "s", &d), SHMC_EMISMATCH,
               "a heap of 16384 bytes, 20480 were asked for");
    d.heap_bytes = 0;
    d.max_objects = 9;
    CORE_FAILS(shmc_segment_open(&b, "s", &d), SHMC_EMISMATCH,
               "room for 8 objects and 16 participants, 9 and 1");
    d.max_objects = 0;
    d.max_participants = 17;
    CORE_FAILS(shmc_segment_open(&b, "s", &d), SHMC_EMISMATCH, "0 and 17");
    d.max_participants = 0;
    d.wake = SHMC_WAKE_ASYMMETRIC;
    CORE_FAILS(shmc_segment_open(&b, "s", &d), SHMC_EMISMATCH,
               "has wake 0, 1 was asked for");
    shmc_segment_close(&a);
    core_unlink("s", 0);
}

static void
asymmetric_segment_is_joined_by_default_descs(void **state)
{
    shmc_segment_desc d = core_desc(0);
    shmc_segment a, b;

    (void)state;
    d.wake = SHMC_WAKE_ASYMMETRIC;
    const int r = shmc_segment_create(&a, "s", &d);
    if (r == SHMC_ENOTSUP) skip();  /* no membarrier here                   */
    assert_int_equal(r, SHMC_OK);
    assert_int_equal(core_attach(&b, "s", 0), SHMC_OK);
    assert_int_equal(b.wake, SHMC_WAKE_ASYMMETRIC);
    shmc_segment_close(&a);
    shmc_segment_close(&b);
    core_unlink("s", 0);
}

static void
pages_are_touched_or_locked_when_asked(void **state)
{
    static const uint32_t flags[] = { SHMC_PREFAULT, SHMC_MLOCK,
                                      SHMC_PREFAULT | SHMC_MLOCK };
    shmc_segment a, b;

    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        core_create(&a, "s", flags[i]);
        assert_int_equal(core_attach(&b, "s", SHMC_READ_ONLY | flags[i]),
                         SHMC_OK);
        shmc_segment_close(&b);
        shmc_segment_close(&a);
        assert_int_equal(core_unlink("s", 0), SHMC_OK);
    }
    const shmc_segment_desc d = core_desc(SHMC_HUGEPAGES);
    const int r = shmc_segment_open(&a, "s", &d);
    if (r == SHMC_ENOTSUP) CORE_FAILS(r, r, "without SHMC_HUGEPAGES");
    else assert_int_equal(r, SHMC_OK);
    if (r == SHMC_OK) shmc_segment_close(&a);
    core_unlink("s", 0);
}

/* ---- read-only --------------------------------------------------------- */

static void
read_only_user_reads_and_changes_nothing(void **state)
{
    shmc_object_desc d = core_object(64);
    shmc_participant_info p;
    shmc_segment a, b;
    shmc_object x, y;

    (void)state;
    core_create(&a, "s", 0);
    assert_int_equal(shmc_object_open(&a, "x", &d, &x), SHMC_OK);
    strcpy(x.mem, "seen");
    assert_int_equal(core_attach(&b, "s", SHMC_READ_ONLY), SHMC_OK);
    assert_int_equal(shmc_participant_info_get(&b, 1, &p), SHMC_ENOENT);
    assert_int_equal(shmc_participant_info_get(&b, 0, &p), SHMC_OK);
    assert_true(p.alive);
    assert_int_equal(shmc_object_open(&b, "x", &d, &y), SHMC_OK);
    assert_string_equal((char *)y.mem, "seen");
    CORE_FAILS(shmc_object_remove(&a, "x"), SHMC_EBUSY, "has it open");
    shmc_object_close(&a, &x);
    CORE_FAILS(shmc_object_remove(&a, "x"), SHMC_EBUSY, "has it open");
    CORE_FAILS(shmc_object_open(&b, "new", &d, &x), SHMC_EROFS, "read-only");
    CORE_FAILS(shmc_object_remove(&b, "x"), SHMC_EROFS, "read-only");
    CORE_FAILS(core_unlink("s", 0), SHMC_EBUSY, "a live process has it open");
    shmc_object_close(&b, &y);
    shmc_segment_close(&a);
    CORE_FAILS(core_unlink("s", 0), SHMC_EBUSY, "a live process has it open");
    shmc_segment_close(&b);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

static int
writes_read_only(void *arg)
{
    shmc_segment s;

    (void)arg;
    signal(SIGSEGV, SIG_DFL);
    TEST_REQUIRE(core_attach(&s, "s", SHMC_READ_ONLY) == SHMC_OK);
    *(volatile uint8_t *)(s.base + s.heap_at) = 1;
    return 0;
}

static void
read_only_mapping_cannot_be_written(void **state)
{
    shmc_segment a;

    (void)state;
    core_create(&a, "s", 0);
    assert_int_equal(test_join(test_spawn(writes_read_only, NULL)),
                     1000 + SIGSEGV);
    shmc_segment_close(&a);
    core_unlink("s", 0);
}

static void
read_only_never_creates(void **state)
{
    shmc_segment s;
    shmc_segment_desc d = core_desc(SHMC_READ_ONLY);

    (void)state;
    CORE_FAILS(shmc_segment_open(&s, "s", &d), SHMC_ENOENT, "attach to");
    CORE_FAILS(shmc_segment_create(&s, "s", &d), SHMC_EINVAL,
               "read-only is for attaching");
    d.flags = SHMC_INSPECT;
    CORE_FAILS(shmc_segment_create(&s, "s", &d), SHMC_EINVAL, "read-only");
}

static void
inspector_is_seen_by_nobody(void **state)
{
    const shmc_object_desc d = core_object(64);
    shmc_segment a, b;
    shmc_object x, y;
    shmc_segment_info info;

    (void)state;
    core_create(&a, "s", 0);
    assert_int_equal(shmc_object_open(&a, "x", &d, &x), SHMC_OK);
    strcpy(x.mem, "still here");
    assert_int_equal(core_attach(&b, "s", SHMC_INSPECT), SHMC_OK);
    assert_int_equal(shmc_segment_shared(&a), 0);
    assert_int_equal(shmc_segment_shared(&b), 1);
    assert_int_equal(shmc_segment_info_get(&b, &info), SHMC_OK);
    assert_int_equal(info.participants, 1);
    assert_int_equal(info.objects, 1);
    assert_int_equal(info.heap_used_bytes, 128);
    assert_int_equal(shmc_object_attach(&b, "x", &d, &y), SHMC_OK);
    shmc_object_close(&a, &x);
    assert_int_equal(shmc_object_remove(&a, "x"), SHMC_OK);
    shmc_segment_close(&a);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
    assert_int_equal(shmc_segment_linked(&b), 0);
    assert_string_equal((char *)y.mem, "still here");
    assert_int_equal(shmc_object_close(&b, &y), SHMC_OK);
    shmc_segment_close(&b);
}

/* ---- ephemeral --------------------------------------------------------- */

static void
last_closer_removes_an_ephemeral_segment(void **state)
{
    shmc_segment a, b;
    shmc_segment_info info;

    (void)state;
    core_create(&a, "s", SHMC_EPHEMERAL);
    assert_int_equal(core_attach(&b, "s", SHMC_READ_ONLY), SHMC_OK);
    assert_int_equal(shmc_segment_info_get(&b, &info), SHMC_OK);
    assert_int_equal(info.flags, SHMC_EPHEMERAL);
    shmc_segment_close(&a);
    assert_int_equal(core_count(core_dir), 1);
    assert_int_equal(shmc_segment_linked(&b), 1);
    shmc_segment_close(&b);
    assert_int_equal(core_count(core_dir), 0);
}

static void
one_who_fails_to_attach_may_be_the_last(void **state)
{
    shmc_segment_desc d = core_desc(0);
    shmc_segment s;

    (void)state;
    core_guest *g = CORE_GUEST_NEW();
    core_create(&s, "s", SHMC_EPHEMERAL);
    const pid_t guest = core_guest_start(g, "s", 0);
    shmc_segment_close(&s);
    test_kill(guest);
    assert_int_equal(core_count(core_dir), 1);
    d.max_objects = 99;
    CORE_FAILS(shmc_segment_attach(&s, "s", &d), SHMC_EMISMATCH, "99");
    assert_int_equal(core_count(core_dir), 0);
}

typedef struct closing {
    uint32_t opened, closed, round; /* how many are, in this round          */
} closing;

static int
closes_with_another(void *arg)
{
    closing *c = arg;

    for (uint32_t i = 1; i <= 300; i++) {
        const shmc_segment_desc d = core_desc(SHMC_EPHEMERAL);
        shmc_segment s;
        core_await(&c->round, i);
        TEST_REQUIRE(shmc_segment_open(&s, "s", &d) == SHMC_OK);
        shmi_faa_32(&c->opened, 1);
        /* Both are in before either leaves.                               */
        while (shmi_load_acq_32(&c->opened) < 2 * i) shmi_yield();
        TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
        shmi_faa_32(&c->closed, 1);
    }
    return 0;
}

static void
of_two_racing_closers_one_removes_it(void **state)
{
    closing *c = test_shared(sizeof *c);
    pid_t pid[2];

    (void)state;
    for (int i = 0; i < 2; i++) pid[i] = test_spawn(closes_with_another, c);
    for (uint32_t i = 1; i <= 300; i++) {
        core_reach(&c->round, i);
        while (shmi_load_acq_32(&c->closed) < 2 * i) shmi_yield();
        assert_int_equal(core_count(core_dir), 0);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(test_join(pid[i]), 0);
}

/* ---- unlink ------------------------------------------------------------ */

static void
unlink_spares_what_is_in_use_unless_forced(void **state)
{
    const shmc_object_desc d = core_object(8);
    shmc_segment a, b;
    shmc_object x;

    (void)state;
    core_create(&a, "s", SHMC_EPHEMERAL);
    assert_int_equal(shmc_object_open(&a, "x", &d, &x), SHMC_OK);
    CORE_FAILS(core_unlink("s", 0), SHMC_EBUSY, "a live process has it open");
    assert_int_equal(shmc_segment_linked(&a), 1);
    assert_int_equal(core_unlink("s", SHMC_FORCE), SHMC_OK);
    assert_int_equal(shmc_segment_linked(&a), 0);
    *(uint64_t *)x.mem = 7;         /* its users keep their memory          */
    core_create(&b, "s", 0);
    assert_int_not_equal(a.created_ns, b.created_ns);
    shmc_object_close(&a, &x);
    shmc_segment_close(&a);         /* does not remove the newcomer's name  */
    assert_int_equal(shmc_segment_linked(&b), 1);
    shmc_segment_close(&b);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

static void
killed_users_segment_can_be_unlinked(void **state)
{
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    const pid_t guest = core_guest_start(CORE_GUEST_NEW(), "s", 0);
    shmc_segment_close(&s);
    CORE_FAILS(core_unlink("s", 0), SHMC_EBUSY, "a live process");
    test_kill(guest);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

static int
creates_and_removes(void *arg)
{
    shmc_segment s;

    (void)arg;
    for (int i = 0; i < 300; i++) {
        const shmc_segment_desc d = core_desc(0);
        if (shmc_segment_create(&s, "s", &d) == SHMC_OK) {
            for (int k = 0; k < 5; k++) {
                /* Nobody may remove the name while we are in.             */
                TEST_REQUIRE(shmc_segment_linked(&s) == 1);
                shmi_yield();
            }
            shmc_segment_close(&s);
        }
        const int r = core_unlink("s", 0);
        TEST_REQUIRE(r == SHMC_OK || r == SHMC_EBUSY || r == SHMC_ENOENT);
    }
    return 0;
}

static void
unlink_never_takes_a_successors_name(void **state)
{
    pid_t pid[3];

    (void)state;
    for (int i = 0; i < 3; i++) pid[i] = test_spawn(creates_and_removes, NULL);
    for (int i = 0; i < 3; i++) assert_int_equal(test_join(pid[i]), 0);
    core_unlink("s", 0);
}

/* ---- several handles ---------------------------------------------------- */

static void
two_handles_of_one_process_are_two_users(void **state)
{
    shmc_segment a, b;

    (void)state;
    core_create(&a, "s", 0);
    assert_int_equal(shmc_segment_shared(&a), 0);
    assert_int_equal(core_attach(&b, "s", 0), SHMC_OK);
    assert_int_equal(shmc_segment_shared(&a), 1);
    assert_int_not_equal(shmi_owner_self(&a), shmi_owner_self(&b));
    assert_true(shmi_owner_alive(&a, shmi_owner_self(&b)));
    const uint64_t gone = shmi_owner_self(&b);
    shmc_segment_close(&b);
    assert_false(shmi_owner_alive(&a, gone));
    assert_int_equal(shmc_segment_shared(&a), 0);
    shmc_segment_close(&a);
    core_unlink("s", 0);
}

static void
closed_handle_says_so_everywhere(void **state)
{
    const shmc_object_desc d = core_object(8);
    shmc_participant_info p;
    shmc_segment_info info;
    shmc_object_info o;
    shmc_object x = { 0 };
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    CORE_FAILS(shmc_segment_close(&s), SHMC_ECLOSED, "it is not open");
    CORE_FAILS(shmc_segment_info_get(&s, &info), SHMC_ECLOSED, "not open");
    CORE_FAILS(shmc_participant_info_get(&s, 0, &p), SHMC_ECLOSED, "not open");
    CORE_FAILS(shmc_object_info_get(&s, 0, &o), SHMC_ECLOSED, "not open");
    CORE_FAILS(shmc_object_open(&s, "x", &d, &x), SHMC_ECLOSED, "not open");
    CORE_FAILS(shmc_object_attach(&s, "x", &d, &x), SHMC_ECLOSED, "not open");
    CORE_FAILS(shmc_object_remove(&s, "x"), SHMC_ECLOSED, "not open");
    CORE_FAILS(shmc_object_close(&s, &x), SHMC_ECLOSED, "it is not open");
    assert_int_equal(shmc_segment_linked(&s), 0);
    assert_int_equal(shmc_segment_shared(&s), 0);
    core_unlink("s", 0);
}

/* Names are unlinked and handles listed in any order.                     */
static void
handles_close_in_any_order(void **state)
{
    shmc_segment s[4];
    char name[4][16];

    (void)state;
    for (int i = 0; i < 4; i++) {
        snprintf(name[i], sizeof name[i], "s%d", i);
        core_create(&s[i], name[i], SHMC_EPHEMERAL);
    }
    static const int order[] = { 1, 3, 0, 2 };
    for (int i = 0; i < 4; i++)
        assert_int_equal(shmc_segment_close(&s[order[i]]), SHMC_OK);
    assert_null(shmi_open_list.first);
}

static void
failed_opens_release_everything(void **state)
{
    const shmc_segment_desc d = core_desc(0);
    shmc_segment_desc big = core_desc(0);
    shmc_segment a, b, c;

    (void)state;
    core_create(&a, "s", 0);
    big.max_objects = 99;
    core_create(&c, "other", 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(shmc_segment_create(&b, "s", &d), SHMC_EEXIST);
        assert_int_equal(shmc_segment_open(&b, "s", &big), SHMC_EMISMATCH);
        assert_int_equal(core_attach(&b, "none", 0), SHMC_ENOENT);
    }
    assert_ptr_equal(shmi_open_list.first, &c);
    assert_ptr_equal(c.next, &a);
    assert_ptr_equal(a.prev, &c);
    assert_null(a.next);
    shmc_segment_close(&a);
    shmc_segment_close(&c);
    core_unlink("s", 0);
    core_unlink("other", 0);
}

/* ---- each -------------------------------------------------------------- */

static int
collects(void *user, const char *name)
{
    char *all = user;

    strcat(all, name);
    strcat(all, ";");
    return 0;
}

static int
stops(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return -7;
}

static void
each_names_segments_and_nobody_elses_files(void **state)
{
    static const char *const strangers[] = {
        "shmcx.a", "shmc", "shmc.", "shmc.a b", "shmc..", "shmc.+a", "other.a"
    };
    const shmc_segment_desc d = core_any(0);
    char all[256] = "", path[400];
    int calls = 0;
    shmc_segment s;

    (void)state;
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", core_dir, strangers[i]);
        fclose(fopen(path, "w"));
    }
    snprintf(path, sizeof path, "%s/shmc.%0200d", core_dir, 0);
    fclose(fopen(path, "w"));
    core_create(&s, "a/b", 0);
    assert_int_equal(shmc_segment_each(&d, collects, all), 0);
    assert_string_equal(all, "a/b;");
    assert_int_equal(shmc_segment_each(&d, stops, &calls), -7);
    assert_int_equal(calls, 1);
    shmc_segment_close(&s);
    core_unlink("a/b", 0);
    unlink(path);
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", core_dir, strangers[i]);
        unlink(path);
    }
}

static void
each_of_a_missing_folder_or_bad_prefix_fails(void **state)
{
    shmc_segment_desc d = core_any(0);
    char all[256] = "";

    (void)state;
    d.dir = "/dev/shm/not/there";
    CORE_FAILS(shmc_segment_each(&d, collects, all), SHMC_ENOENT,
               "list the folder");
    d.dir = "rel";
    CORE_FAILS(shmc_segment_each(&d, collects, all), SHMC_ENAME, "absolute");
    d.prefix = "a.b";
    CORE_FAILS(shmc_segment_each(&d, collects, all), SHMC_ENAME, "prefix");
}

/* ---- memory ------------------------------------------------------------ */

static void
memory_segment_serves_two_handles(void **state)
{
    const shmc_object_desc d = core_object(64);
    shmc_segment_desc sd = core_desc(0);
    const uint64_t bytes = (uint64_t)shmc_segment_size_for(&sd);
    shmc_segment a, b;
    shmc_segment_info info;
    shmc_object x, y;
    void *mem = aligned_alloc(SHMC_LINE, bytes);

    (void)state;
    assert_int_equal(shmc_segment_format(mem, bytes, &sd), SHMC_OK);
    assert_int_equal(shmc_segment_map(&a, mem, bytes), SHMC_OK);
    assert_int_equal(shmc_segment_map(&b, mem, bytes), SHMC_OK);
    assert_int_equal(shmc_object_open(&a, "x", &d, &x), SHMC_OK);
    assert_true(x.created);
    assert_int_equal(shmc_object_open(&b, "x", &d, &y), SHMC_OK);
    assert_false(y.created);
    assert_ptr_equal(x.mem, y.mem);
    CORE_FAILS(shmc_object_remove(&a, "x"), SHMC_EBUSY, "has it open");
    shmc_object_close(&a, &x);
    CORE_FAILS(shmc_object_remove(&a, "x"), SHMC_EBUSY, "has it open");
    shmc_object_close(&b, &y);
    assert_int_equal(shmc_object_remove(&a, "x"), SHMC_OK);
    assert_int_equal(shmc_segment_info_get(&a, &info), SHMC_OK);
    assert_int_equal(info.participants, 2);
    assert_string_equal(info.name, "(memory)");
    const uint64_t other = shmi_owner_self(&b);
    assert_true(shmi_owner_alive(&a, other));
    assert_int_equal(shmc_segment_close(&b), SHMC_OK);
    assert_false(shmi_owner_alive(&a, other));
    assert_int_equal(shmc_segment_map(&b, mem, bytes), SHMC_OK);
    assert_false(shmi_owner_alive(&a, other));      /* the next generation  */
    assert_int_equal(shmc_segment_linked(&a), 0);
    assert_int_equal(shmc_segment_shared(&a), 0);
    assert_int_equal(shmc_segment_close(&b), SHMC_OK);
    assert_int_equal(shmc_segment_close(&a), SHMC_OK);
    CORE_FAILS(shmc_segment_close(&a), SHMC_ECLOSED, "not open");
    free(mem);
}

static void
memory_segment_is_checked_and_may_be_full(void **state)
{
    shmc_segment_desc sd = core_desc(0);
    sd.max_participants = 2;
    const uint64_t bytes = (uint64_t)shmc_segment_size_for(&sd);
    uint8_t *mem = aligned_alloc(SHMC_LINE, bytes);
    shmc_segment a, b, c;

    (void)state;
    memset(mem, 0xa5, bytes);
    CORE_FAILS(shmc_segment_map(&a, mem, bytes), SHMC_ECORRUPT, "SHMCOMM");
    CORE_FAILS(shmc_segment_map(&a, mem, 100), SHMC_ECORRUPT, "100 bytes");
    CORE_FAILS(shmc_segment_map(&a, mem + 8, bytes), SHMC_EINVAL, "aligned");
    CORE_FAILS(shmc_segment_map(&a, NULL, bytes), SHMC_EINVAL, "aligned");
    CORE_FAILS(shmc_segment_format(mem + 8, bytes, &sd), SHMC_EINVAL, "aligned");
    CORE_FAILS(shmc_segment_format(NULL, bytes, &sd), SHMC_EINVAL, "aligned");
    CORE_FAILS(shmc_segment_format(mem, bytes - 1, &sd), SHMC_ENOSPC, "it takes");
    sd.wake = 9;
    CORE_FAILS(shmc_segment_format(mem, bytes, &sd), SHMC_EINVAL, "wake 9");
    sd.wake = 0;
    assert_int_equal(shmc_segment_format(mem, bytes, &sd), SHMC_OK);
    CORE_FAILS(shmc_segment_map(&a, mem, bytes - 1), SHMC_ECORRUPT, "truncated");
    assert_int_equal(shmc_segment_map(&a, mem, bytes), SHMC_OK);
    assert_int_equal(shmc_segment_map(&b, mem, bytes), SHMC_OK);
    CORE_FAILS(shmc_segment_map(&c, mem, bytes), SHMC_ELIMIT,
               "all 2 participant slots are taken");
    CORE_FAILS(shmc_segment_close(&c), SHMC_ECLOSED, "not open");
    shmc_segment_close(&a);
    assert_int_equal(shmc_segment_map(&c, mem, bytes), SHMC_OK);
    shmc_segment_close(&b);
    shmc_segment_close(&c);
    free(mem);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(attacher_sees_what_the_creator_wrote),
        CORE_CASE(create_of_a_taken_name_is_eexist_and_attach_of_none_enoent),
        CORE_CASE(open_creates_and_then_attaches_without_a_sentence),
        CORE_CASE(everything_has_a_default),
        CORE_CASE(environment_chooses_folder_and_prefix),
        CORE_CASE(mode_and_gid_are_exact_whatever_the_umask),
        CORE_CASE(creator_may_forbid_itself_to_write_later),
        CORE_CASE(attach_takes_sizes_as_minima),
        CORE_CASE(asymmetric_segment_is_joined_by_default_descs),
        CORE_CASE(pages_are_touched_or_locked_when_asked),
        CORE_CASE(read_only_user_reads_and_changes_nothing),
        CORE_CASE(read_only_mapping_cannot_be_written),
        CORE_CASE(read_only_never_creates),
        CORE_CASE(inspector_is_seen_by_nobody),
        CORE_CASE(last_closer_removes_an_ephemeral_segment),
        CORE_CASE(one_who_fails_to_attach_may_be_the_last),
        CORE_CASE(of_two_racing_closers_one_removes_it),
        CORE_CASE(unlink_spares_what_is_in_use_unless_forced),
        CORE_CASE(killed_users_segment_can_be_unlinked),
        CORE_CASE(unlink_never_takes_a_successors_name),
        CORE_CASE(two_handles_of_one_process_are_two_users),
        CORE_CASE(closed_handle_says_so_everywhere),
        CORE_CASE(handles_close_in_any_order),
        CORE_CASE(failed_opens_release_everything),
        CORE_CASE(each_names_segments_and_nobody_elses_files),
        CORE_CASE(each_of_a_missing_folder_or_bad_prefix_fails),
        CORE_CASE(memory_segment_serves_two_handles),
        CORE_CASE(memory_segment_is_checked_and_may_be_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
