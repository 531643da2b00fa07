/* Bad input: each is refused by its own code and a sentence that says why.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 300000000
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* The sanitizers' own mlock does nothing.                                 */
#if defined(__SANITIZE_ADDRESS__) || SHMI_TSAN
#define MLOCK_DOES_NOTHING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MLOCK_DOES_NOTHING 1
#endif
#endif
#ifndef MLOCK_DOES_NOTHING
#define MLOCK_DOES_NOTHING 0
#endif

/* ---- descs ------------------------------------------------------------- */

static void
bad_descs_are_refused_before_anything_is_touched(void **state)
{
    static const struct { shmc_segment_desc d; const char *part; } bad[] = {
        { { .flags = 0x1000 }, "unknown bits 0x1000" },
        { { .wake = 2 }, "give SHMC_WAKE_FENCE or SHMC_WAKE_ASYMMETRIC" },
        { { .mode = 01777 }, "segment mode 01777: give permission bits" },
        { { .max_participants = 4097 }, "max_participants 4097: at most 4096" },
        { { .max_objects = UINT32_MAX }, "max_objects 4294967295: at most" },
        { { .heap_bytes = UINT64_MAX }, "18446744073709551615: at most 2^46" },
        { { .heap_bytes = (UINT64_C(1) << 46) + 1 }, "at most 2^46" },
        { { .gid = 5 }, "segment gid 5: set SHMC_SET_GID in flags" },
        { { .flags = SHMC_SET_GID, .gid = UINT32_MAX }, "a group's number" },
        { { .label = "0123456789abcdef0123456789abcdef" }, "at most 31 bytes" },
    };
    shmc_segment s;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        shmc_segment_desc d = bad[i].d;
        d.dir = core_dir;
        CORE_FAILS((int)shmc_segment_size_for(&d), SHMC_EINVAL, bad[i].part);
        memset(&s, 0xa5, sizeof s);
        CORE_FAILS(shmc_segment_create(&s, "s", &d), SHMC_EINVAL, bad[i].part);
        CORE_FAILS(shmc_segment_close(&s), SHMC_ECLOSED, "not open");
        CORE_FAILS(shmc_segment_attach(&s, "s", &d), SHMC_EINVAL, bad[i].part);
        CORE_FAILS(shmc_segment_open(&s, "s", &d), SHMC_EINVAL, bad[i].part);
        CORE_FAILS(shmc_segment_unlink("s", &d), SHMC_EINVAL, bad[i].part);
    }
    CORE_FAILS(core_attach(&s, "a b", 0), SHMC_ENAME, "byte 0x20");
    CORE_FAILS(core_attach(&s, NULL, 0), SHMC_ENAME, "empty");
    CORE_FAILS(core_unlink("../x", 0), SHMC_ENAME, "'.' or '..' part");
}

static void
smallest_and_largest_sizes_add_up(void **state)
{
    shmc_segment_desc d = core_any(0);
    shmc_segment s;

    (void)state;
    d.heap_bytes = 1;
    d.max_objects = 1;
    d.max_participants = 1;
    assert_int_equal(shmc_segment_size_for(&d), 8192);
    d.max_objects = SHMC_MAX_OBJECTS;
    d.max_participants = SHMC_MAX_PARTICIPANTS;
    d.heap_bytes = UINT64_C(1) << 46;
    const int64_t bytes = shmc_segment_size_for(&d);
    assert_true(bytes > INT64_C(1) << 46 && bytes % 4096 == 0);
    /* No machine has that; it is found out before anything is taken.      */
    CORE_FAILS(shmc_segment_create(&s, "s", &d), SHMC_ENOSPC,
               "reserve the pages of segment 's'");
}

static void
bad_folders_are_refused(void **state)
{
    shmc_segment_desc d = core_any(0);
    shmc_segment s;

    (void)state;
    d.dir = "not/absolute";
    CORE_FAILS(shmc_segment_open(&s, "s", &d), SHMC_ENAME, "absolute path");
    d.dir = "/dev/shm/there/is/no/such";
    CORE_FAILS(shmc_segment_open(&s, "s", &d), SHMC_ENOENT,
               "open the folder of segment 's' (/dev/shm/there/is/no/such/)");
    CORE_FAILS(shmc_segment_unlink("s", &d), SHMC_ENOENT, "open the folder");
    d.dir = "/dev/null";
    CORE_FAILS(shmc_segment_open(&s, "s", &d), SHMC_ENAME,
               "set SHMCOMM_DIR to a folder");
    d.dir = "/proc";
    d.flags = 0;
    assert_true(shmc_segment_create(&s, "s", &d) < 0);  /* no files there   */
    assert_non_null(strstr(shmc_last_error(), "create segment 's' (/proc/"));
}

/* ---- files that are no segments ---------------------------------------- */

static void
put_file(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(core_path(name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void
refuse_everywhere(const char *part)
{
    const shmc_segment_desc d = core_desc(0);
    shmc_segment s;

    CORE_FAILS(core_attach(&s, "s", 0), SHMC_ECORRUPT, part);
    CORE_FAILS(core_attach(&s, "s", SHMC_READ_ONLY), SHMC_ECORRUPT, part);
    CORE_FAILS(core_attach(&s, "s", SHMC_INSPECT), SHMC_ECORRUPT, part);
    CORE_FAILS(shmc_segment_open(&s, "s", &d), SHMC_ECORRUPT, part);
    CORE_FAILS(shmc_segment_create(&s, "s", &d), SHMC_EEXIST, "name segment");
}

static void
garbage_empty_and_short_files_are_left_alone(void **state)
{
    static uint8_t junk[65536];

    (void)state;
    put_file("s", "", 0);
    refuse_everywhere("segment 's' has 0 bytes, a header has 512");
    CORE_FAILS(core_unlink("s", 0), SHMC_ECORRUPT, "is not a segment; left");
    put_file("s", "SHMCOMM", 8);
    refuse_everywhere("has 8 bytes");
    CORE_FAILS(core_unlink("s", 0), SHMC_ECORRUPT, "is not a segment; left");
    memset(junk, 'j', sizeof junk);
    put_file("s", junk, sizeof junk);
    refuse_everywhere("does not begin with SHMCOMM: another program's file?");
    CORE_FAILS(core_unlink("s", 0), SHMC_ECORRUPT, "left alone without");
    assert_int_equal(core_unlink("s", SHMC_FORCE), SHMC_OK);
}

static void
folder_fifo_and_link_are_no_segments(void **state)
{
    static const char *const part = "the file is not a segment";

    (void)state;
    assert_int_equal(mkdir(core_path("s"), 0700), 0);
    refuse_everywhere(part);
    CORE_FAILS(core_unlink("s", 0), SHMC_ECORRUPT, part);
    CORE_FAILS(core_unlink("s", SHMC_FORCE), SHMC_ENOTSUP, "Is a directory");
    rmdir(core_path("s"));
    assert_int_equal(mkfifo(core_path("s"), 0600), 0);
    refuse_everywhere(part);
    CORE_FAILS(core_unlink("s", 0), SHMC_ECORRUPT, part);
    assert_int_equal(core_unlink("s", SHMC_FORCE), SHMC_OK);
    /* Not even a link to a real segment.                                  */
    shmc_segment s;
    core_create(&s, "real", SHMC_EPHEMERAL);
    char target[512];
    snprintf(target, sizeof target, "%s", core_path("real"));
    assert_int_equal(symlink(target, core_path("s")), 0);
    refuse_everywhere(part);
    CORE_FAILS(core_unlink("s", 0), SHMC_ECORRUPT, part);
    assert_int_equal(core_unlink("s", SHMC_FORCE), SHMC_OK);
    assert_int_equal(shmc_segment_linked(&s), 1);
    shmc_segment_close(&s);
}

/* ---- headers ----------------------------------------------------------- */

static shmc_segment_shm *
header_map(uint64_t *bytes)
{
    const int fd = open(core_path("s"), O_RDWR | O_CLOEXEC);
    shmi_file_info info;
    void *mem = NULL;

    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_int_equal(shmi_map(fd, info.bytes, false, 0, &mem), 0);
    close(fd);
    *bytes = info.bytes;
    return mem;
}

static void
header_of_another_layout_or_byte_order_is_told_apart(void **state)
{
    uint64_t bytes;
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    shmc_segment_close(&s);
    shmc_segment_shm *h = header_map(&bytes);
    h->version = 2;
    CORE_FAILS(core_attach(&s, "s", 0), SHMC_EVERSION,
               "has layout 2 with lines of 128, this library has 1 with 128: "
               "rebuild the older side");
    h->version = 1;
    h->line_bytes = 64;
    CORE_FAILS(core_attach(&s, "s", 0), SHMC_EVERSION, "lines of 64");
    h->line_bytes = 128;
    h->byte_order = 0x04030201;
    CORE_FAILS(core_attach(&s, "s", SHMC_READ_ONLY), SHMC_EBYTEORDER,
               "byte order mark 0x04030201, this machine has 0x01020304");
    h->byte_order = SHMI_BYTE_ORDER;
    assert_int_equal(core_attach(&s, "s", 0), SHMC_OK);
    shmc_segment_close(&s);
    shmi_unmap(h, bytes);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

#define BAD_HEADER(field, value)                                              \
    do {                                                                      \
        const shmc_segment_shm was = *h;                                      \
        h->field = (value);                                                   \
        CORE_FAILS(core_attach(&s, "s", SHMC_READ_ONLY), SHMC_ECORRUPT,       \
                   "contradict each other");                                  \
        *h = was;                                                             \
    } while (0)

static void
header_whose_sizes_contradict_is_refused(void **state)
{
    uint64_t bytes;
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    shmc_segment_close(&s);
    shmc_segment_shm *h = header_map(&bytes);
    BAD_HEADER(max_participants, 0);
    BAD_HEADER(max_participants, 17);
    BAD_HEADER(max_participants, UINT32_MAX);
    BAD_HEADER(max_objects, 0);
    BAD_HEADER(max_objects, 4097);
    BAD_HEADER(max_objects, UINT32_MAX);
    BAD_HEADER(wake, 2);
    BAD_HEADER(participants_at, 0);
    BAD_HEADER(participants_at, UINT64_MAX);
    BAD_HEADER(directory_at, h->directory_at + 128);
    BAD_HEADER(heap_at, h->heap_at + 1);
    BAD_HEADER(heap_at, h->heap_at + 128);
    BAD_HEADER(heap_at, 0);
    BAD_HEADER(heap_at, UINT64_MAX - 127);
    BAD_HEADER(heap_bytes, h->heap_bytes + 1);
    BAD_HEADER(heap_bytes, UINT64_MAX);
    BAD_HEADER(total_bytes, 0);
    BAD_HEADER(total_bytes, h->total_bytes - 4096);
    h->total_bytes++;
    CORE_FAILS(core_attach(&s, "s", 0), SHMC_ECORRUPT, "is truncated");
    h->total_bytes--;
    h->flags = UINT32_MAX;          /* unknown ones are left to the future  */
    memset(h->name, 'n', sizeof h->name);
    assert_int_equal(core_attach(&s, "s", SHMC_INSPECT), SHMC_OK);
    shmc_segment_info info;
    assert_int_equal(shmc_segment_info_get(&s, &info), SHMC_OK);
    assert_int_equal(strlen(info.name), 127);
    shmc_segment_close(&s);
    shmi_unmap(h, bytes);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

static void
truncated_file_is_refused_at_every_length(void **state)
{
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    const uint64_t bytes = s.bytes;
    shmc_segment_close(&s);
    for (uint64_t n = bytes - 1; n >= 512; n -= n > 4096 ? 1000 : 100) {
        assert_int_equal(truncate(core_path("s"), (off_t)n), 0);
        CORE_FAILS(core_attach(&s, "s", 0), SHMC_ECORRUPT, "is truncated: ");
    }
    assert_int_equal(truncate(core_path("s"), 511), 0);
    CORE_FAILS(core_attach(&s, "s", 0), SHMC_ECORRUPT, "has 511 bytes");
    assert_int_equal(core_unlink("s", SHMC_FORCE), SHMC_OK);
}

static void
longer_file_than_its_header_says_is_fine(void **state)
{
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    const uint64_t bytes = s.bytes;
    shmc_segment_close(&s);
    assert_int_equal(truncate(core_path("s"), (off_t)bytes + 5000), 0);
    assert_int_equal(core_attach(&s, "s", 0), SHMC_OK);
    shmc_segment_close(&s);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

/* Random bytes over header, participants and directory: whatever attach
 * says, nothing crashes.                                                  */
static void
random_headers_never_crash(void **state)
{
    static uint8_t whole[8192];
    uint64_t bytes, seed = 7;
    shmc_segment_info info;
    shmc_participant_info p;
    shmc_segment s;
    int attached = 0;

    (void)state;
    core_create(&s, "s", 0);
    shmc_segment_close(&s);
    uint8_t *file = (uint8_t *)header_map(&bytes);
    memcpy(whole, file, sizeof whole);
    shmc_log_set(NULL, NULL, 0);
    for (int round = 0; round < 3000; round++) {
        for (int k = 0; k < 4; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const uint64_t at = (seed >> 20) % (k == 0 ? 120 : sizeof whole);
            file[at] = (uint8_t)(seed >> 56);
        }
        const int r = core_attach(&s, "s", round % 2 ? SHMC_READ_ONLY : 0);
        if (r == SHMC_OK) {
            attached++;
            assert_int_equal(shmc_segment_info_get(&s, &info), SHMC_OK);
            for (uint32_t i = 0; i < info.max_participants; i++)
                (void)shmc_participant_info_get(&s, i, &p);
            assert_int_equal(shmc_segment_close(&s), SHMC_OK);
        }
        if (access(core_path("s"), F_OK) != 0) break;   /* became ephemeral */
        if (round % 3 == 2) memcpy(file, whole, sizeof whole);
    }
    assert_true(attached > 10);
    shmi_unmap(file, bytes);
    core_unlink("s", SHMC_FORCE);
}

/* ---- what the system refuses ------------------------------------------- */

static void
become_nobody(void)
{
    if (geteuid() != 0) return;
    TEST_REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
}

static int
nobody_tries(void *arg)
{
    shmc_segment_desc d = core_desc(0);
    shmc_segment s;

    (void)arg;
    const bool foreign = geteuid() == 0;    /* the segment is another's    */
    become_nobody();
    CORE_REQUIRE_FAILS(shmc_segment_create(&s, "new", &d), SHMC_EACCES,
                       "check owner, mode and gid of the file and folder");
    if (foreign) {
        CORE_REQUIRE_FAILS(core_attach(&s, "s", 0), SHMC_EACCES,
                           "attach to segment 's'");
        CORE_REQUIRE_FAILS(core_attach(&s, "s", SHMC_READ_ONLY), SHMC_EACCES,
                           "Permission denied");
        CORE_REQUIRE_FAILS(core_unlink("s", 0), SHMC_EACCES, "remove segment");
        CORE_REQUIRE_FAILS(core_unlink("s", SHMC_FORCE), SHMC_EACCES, "remove");
        d.flags = SHMC_SET_GID;
        d.gid = 0;
        d.dir = "/dev/shm";
        CORE_REQUIRE_FAILS(shmc_segment_create(&s, "new", &d), SHMC_EACCES,
                           "EPERM");
    }
    return 0;
}

static void
read_only_folder_and_foreign_segment_are_eacces(void **state)
{
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    chmod(core_dir, 0555);
    assert_int_equal(test_join(test_spawn(nobody_tries, NULL)), 0);
    chmod(core_dir, 0700);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

static int
mounts_a_small_folder(void *arg)
{
    shmc_segment_desc d = core_desc(0);
    shmc_segment s, t;

    (void)arg;
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", core_dir, "tmpfs", 0, "size=64k") != 0) {
        fprintf(stderr, "no tmpfs to fill: %s; a limit instead\n",
                strerror(errno));
        const struct rlimit limit = { 65536, 65536 };
        TEST_REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    }
    d.heap_bytes = 65536;
    CORE_REQUIRE_FAILS(shmc_segment_create(&s, "s", &d), SHMC_ENOSPC,
                       "free space there (shmcomm gc) or ask for less");
    TEST_REQUIRE(core_count(core_dir) == 0);
    d.heap_bytes = 32768;
    TEST_REQUIRE(shmc_segment_create(&s, "s", &d) == SHMC_OK);
    /* All its pages are real: the folder is nearly full, and no access to
     * the heap is SIGBUS.                                                 */
    (void)shmc_segment_create(&t, "t", &d);
    memset(s.base + s.heap_at, 1, s.heap_bytes);
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    TEST_REQUIRE(core_unlink("s", 0) == SHMC_OK);
    (void)core_unlink("t", SHMC_FORCE);
    return 0;
}

static void
full_folder_is_enospc_at_create_and_never_sigbus(void **state)
{
    (void)state;
    assert_int_equal(test_join(test_spawn(mounts_a_small_folder, NULL)), 0);
}

static int
mounts_read_only(void *arg)
{
    shmc_segment s;
    const shmc_segment_desc d = core_desc(0);

    (void)arg;
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(core_dir, core_dir, NULL, MS_BIND, NULL) != 0 ||
        mount(NULL, core_dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) !=
        0) return 77;
    CORE_REQUIRE_FAILS(shmc_segment_create(&s, "new", &d), SHMC_EACCES,
                       "Read-only file system");
    CORE_REQUIRE_FAILS(core_attach(&s, "s", 0), SHMC_EACCES, "EROFS");
    TEST_REQUIRE(core_attach(&s, "s", SHMC_READ_ONLY) == SHMC_OK);
    return shmc_segment_close(&s);
}

static void
read_only_mount_can_be_read(void **state)
{
    shmc_segment s;

    (void)state;
    core_create(&s, "s", SHMC_EPHEMERAL);
    const int r = test_join(test_spawn(mounts_read_only, NULL));
    assert_int_equal(shmc_segment_linked(&s), 1);
    shmc_segment_close(&s);
    if (r == 77) skip();            /* not permitted here                   */
    assert_int_equal(r, 0);
}

static int
runs_out_of_limits(void *arg)
{
    const struct rlimit none = { 0, 0 };
    struct rlimit files = { 0, 0 };
    shmc_segment s;

    (void)arg;
    become_nobody();
    TEST_REQUIRE(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    if (!MLOCK_DOES_NOTHING)
        CORE_REQUIRE_FAILS(core_attach(&s, "s", SHMC_MLOCK), SHMC_ENOMEM,
                           "raise the limit (ulimit -l)");
    for (files.rlim_cur = 3; ; files.rlim_cur++) {
        files.rlim_max = 64;
        TEST_REQUIRE(setrlimit(RLIMIT_NOFILE, &files) == 0);
        const int r = core_attach(&s, "s", 0);
        if (r == SHMC_OK) break;
        CORE_REQUIRE_FAILS(r, SHMC_ELIMIT, "ulimit -n");
    }
    return shmc_segment_close(&s);
}

static void
limits_of_memory_and_files_are_told(void **state)
{
    shmc_segment_desc d = core_desc(0);
    shmc_segment s;

    (void)state;
    d.mode = 0666;
    chmod(core_dir, 0755);
    assert_int_equal(shmc_segment_create(&s, "s", &d), SHMC_OK);
    assert_int_equal(test_join(test_spawn(runs_out_of_limits, NULL)), 0);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

static int
attaches_without_membarrier(void *arg)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  /* the system call's number */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, code };
    shmc_segment_desc d = core_desc(0);
    shmc_segment s;

    (void)arg;
    TEST_REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 77;
    CORE_REQUIRE_FAILS(core_attach(&s, "s", 0), SHMC_ENOTSUP,
                       "may not call (seccomp?); create it with "
                       "SHMC_WAKE_FENCE");
    d.wake = SHMC_WAKE_ASYMMETRIC;
    CORE_REQUIRE_FAILS(shmc_segment_create(&s, "new", &d), SHMC_ENOTSUP,
                       "segment 'new' wakes by membarrier");
    TEST_REQUIRE(core_count(core_dir) == 1);
    /* Who never publishes may come in all the same.                       */
    TEST_REQUIRE(core_attach(&s, "s", SHMC_READ_ONLY) == SHMC_OK);
    return shmc_segment_close(&s);
}

static void
asymmetric_segment_without_membarrier_is_enotsup(void **state)
{
    shmc_segment_desc d = core_desc(0);
    shmc_segment s;

    (void)state;
    d.wake = SHMC_WAKE_ASYMMETRIC;
    if (!shmi_membarrier_supported()) skip();
    assert_int_equal(shmc_segment_create(&s, "s", &d), SHMC_OK);
    const int r = test_join(test_spawn(attaches_without_membarrier, NULL));
    shmc_segment_close(&s);
    core_unlink("s", 0);
    if (r == 77) skip();            /* no seccomp here                      */
    assert_int_equal(r, 0);
}

/* ---- locks that others hold -------------------------------------------- */

static void
whoever_holds_presence_for_ever_is_waited_for_only_so_long(void **state)
{
    shmc_segment s, b;

    (void)state;
    core_create(&s, "s", 0);
    /* As one does that is stopped between its last look and unlink.       */
    const int fd = open(core_path("s"), O_RDWR | O_CLOEXEC);
    shmi_lock_release(s.fd, SHMI_LOCK_PRESENCE);
    assert_int_equal(shmi_lock_try(fd, SHMI_LOCK_PRESENCE, true), 0);
    CORE_FAILS(core_attach(&b, "s", 0), SHMC_ETIMEDOUT,
               "be present in segment 's'");
    close(fd);
    assert_int_equal(core_attach(&b, "s", 0), SHMC_OK);
    shmc_segment_close(&b);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(bad_descs_are_refused_before_anything_is_touched),
        CORE_CASE(smallest_and_largest_sizes_add_up),
        CORE_CASE(bad_folders_are_refused),
        CORE_CASE(garbage_empty_and_short_files_are_left_alone),
        CORE_CASE(folder_fifo_and_link_are_no_segments),
        CORE_CASE(header_of_another_layout_or_byte_order_is_told_apart),
        CORE_CASE(header_whose_sizes_contradict_is_refused),
        CORE_CASE(truncated_file_is_refused_at_every_length),
        CORE_CASE(longer_file_than_its_header_says_is_fine),
        CORE_CASE(random_headers_never_crash),
        CORE_CASE(read_only_folder_and_foreign_segment_are_eacces),
        CORE_CASE(full_folder_is_enospc_at_create_and_never_sigbus),
        CORE_CASE(read_only_mount_can_be_read),
        CORE_CASE(limits_of_memory_and_files_are_told),
        CORE_CASE(asymmetric_segment_without_membarrier_is_enotsup),
        CORE_CASE(whoever_holds_presence_for_ever_is_waited_for_only_so_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
