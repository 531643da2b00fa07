/* Files without a name, their pages, and the one step that names them.    */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "platform_seccomp.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { MIB = 1 << 20, SKIPPED = 77 };

static char dir[64];
static int dirfd_;

static int
make_dir(void **state)
{
    test_watch(state);
    test_dir_make(dir);
    dirfd_ = shmi_dir_open(dir);
    assert_true(dirfd_ >= 0);
    return 0;
}

static int
remove_dir(void **state)
{
    assert_int_equal(shmi_close(dirfd_), 0);
    test_dir_remove(dir);
    return test_unwatch(state);
}

#define DIR_CASE(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

/* Make a file of that many bytes, without a name.                         */
static int
unnamed(uint64_t bytes)
{
    const int fd = shmi_file_unnamed(dir, 0600, -1);

    TEST_REQUIRE(fd >= 0);
    TEST_REQUIRE(shmi_file_reserve(fd, bytes) == 0);
    return fd;
}

static int
count_name(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return 0;
}

static int
names_in_dir(void)
{
    int n = 0;

    assert_int_equal(shmi_dir_each(dir, count_name, &n), 0);
    return n;
}

/* ---- folders ----------------------------------------------------------- */

static void
dir_open_tells_what_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(shmi_dir_open("/no/such/folder"), SHMI_OS_ENOENT);
    assert_int_equal(shmi_dir_open("/proc/self/comm"), SHMI_OS_ENOTDIR);
}

static int
stop_at_once(void *user, const char *name)
{
    assert_string_not_equal(name, ".");
    assert_string_not_equal(name, "..");
    ++*(int *)user;
    return 42;
}

static void
dir_each_meets_each_name_and_stops_when_told(void **state)
{
    const char *names[] = { "a", ".b", "c" };
    int n = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        const int fd = unnamed(1);
        assert_int_equal(shmi_file_publish(fd, dirfd_, names[i]), 0);
        shmi_close(fd);
    }
    assert_int_equal(names_in_dir(), 3);
    assert_int_equal(shmi_dir_each(dir, stop_at_once, &n), 42);
    assert_int_equal(n, 1);
    assert_int_equal(shmi_dir_each("/no/such", stop_at_once, &n), SHMI_OS_ENOENT);
}

static int
list_when_forbidden(void *arg)
{
    int n = 0;

    (void)arg;
    platform_deny(SYS_getdents64, EIO);
    TEST_REQUIRE(shmi_dir_each(dir, count_name, &n) == -EIO);
    return 0;
}

static void
dir_each_reports_a_failing_disk(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(test_spawn(list_when_forbidden, NULL)), 0);
}

/* ---- unnamed files ----------------------------------------------------- */

static void
unnamed_file_is_in_no_folder(void **state)
{
    const int fd = unnamed(100);
    shmi_file_info info;

    (void)state;
    assert_int_equal(names_in_dir(), 0);
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_int_equal(info.links, 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    shmi_close(fd);
}

static void
mode_is_exact_whatever_the_umask(void **state)
{
    const uint32_t modes[] = { 0600, 0660, 0666, 0640, 0400, 0 };
    const mode_t old = umask(077);
    shmi_file_info info;

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        const int fd = shmi_file_unnamed(dir, modes[i], -1);
        assert_true(fd >= 0);
        assert_int_equal(shmi_file_info_get(fd, &info), 0);
        assert_int_equal(info.mode, modes[i]);
        shmi_close(fd);
    }
    umask(old);
}

static void
group_is_set_when_asked_for(void **state)
{
    const int64_t gid = getuid() == 0 ? 12345 : (int64_t)getgid();
    const int fd = shmi_file_unnamed(dir, 0660, gid);
    shmi_file_info info;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_int_equal(info.gid, gid);
    assert_int_equal(info.mode, 0660);
    assert_int_equal(info.uid, getuid());
    shmi_close(fd);
}

static void
unnamed_refuses_a_bad_mode_or_group(void **state)
{
    (void)state;
    assert_int_equal(shmi_file_unnamed(dir, 010000, -1), SHMI_OS_EINVAL);
    assert_int_equal(shmi_file_unnamed(dir, 0600, -2), SHMI_OS_EINVAL);
    assert_int_equal(shmi_file_unnamed(dir, 0600, UINT32_MAX), SHMI_OS_EINVAL);
    assert_int_equal(shmi_file_unnamed("/no/such", 0600, -1), SHMI_OS_ENOENT);
    assert_true(shmi_file_unnamed("/proc", 0600, -1) < 0);  /* has none     */
}

static int
make_when_forbidden(void *arg)
{
    (void)arg;
    const int next = dup(0);        /* the descriptor that comes next       */
    close(next);
    platform_deny(SYS_fchown, EPERM);
    TEST_REQUIRE(shmi_file_unnamed(dir, 0600, (int64_t)getgid()) == SHMI_OS_EPERM);
    platform_deny(SYS_fchmod, EIO);
    TEST_REQUIRE(shmi_file_unnamed(dir, 0600, -1) == -EIO);
    TEST_REQUIRE(dup(0) == next);   /* and nothing leaked                   */
    return 0;
}

static void
unnamed_leaks_nothing_when_it_fails(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(test_spawn(make_when_forbidden, NULL)), 0);
}

/* ---- reserve ----------------------------------------------------------- */

static void
reserve_takes_real_pages(void **state)
{
    const int fd = unnamed(3 * MIB + 5);
    shmi_file_info info;

    (void)state;
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_true(info.bytes == 3 * MIB + 5);
    assert_true(info.allocated_bytes >= info.bytes);
    shmi_close(fd);
}

static void
reserve_never_shrinks(void **state)
{
    const int fd = unnamed(2 * MIB);
    shmi_file_info info;

    (void)state;
    assert_int_equal(shmi_file_reserve(fd, 100), 0);
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_true(info.bytes == 2 * MIB);
    assert_int_equal(shmi_file_reserve(fd, 2 * MIB + 1), 0);
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_true(info.bytes == 2 * MIB + 1);
    shmi_close(fd);
}

static void
reserve_refuses_what_cannot_be(void **state)
{
    const int fd = unnamed(1);
    shmi_file_info info;

    (void)state;
    assert_int_equal(shmi_file_reserve(fd, 0), SHMI_OS_EINVAL);
    assert_int_equal(shmi_file_reserve(fd, UINT64_MAX), SHMI_OS_EFBIG);
    assert_int_equal(shmi_file_reserve(fd, (uint64_t)INT64_MAX + 1), SHMI_OS_EFBIG);
    assert_int_equal(shmi_file_reserve(-1, 100), SHMI_OS_EBADF);
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_true(info.bytes == 1);
    shmi_close(fd);
}

static int
reserve_over_the_limit(void *arg)
{
    const int fd = unnamed(1);
    struct rlimit old, limit;

    (void)arg;
    TEST_REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    limit = old;
    limit.rlim_cur = MIB;
    TEST_REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    TEST_REQUIRE(shmi_file_reserve(fd, MIB + 1) == SHMI_OS_EFBIG);
    TEST_REQUIRE(shmi_file_reserve(fd, MIB) == 0);
    TEST_REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
    return 0;
}

static void
file_size_limit_is_an_error_not_a_signal(void **state)
{
    (void)state;
    assert_int_equal(test_join(test_spawn(reserve_over_the_limit, NULL)), 0);
}

static bool
write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const bool done = fd >= 0 && write(fd, text, strlen(text)) > 0;

    close(fd);
    return done;
}

/* Mount an own tmpfs of 1 MiB on `dir`, which nobody else sees.  Who is not
 * root first becomes root of an own user namespace.                       */
static bool
mount_small(void)
{
    const unsigned uid = getuid(), gid = getgid();
    char text[64];

    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
        snprintf(text, sizeof text, "0 %u 1", uid);
        if (!write_text("/proc/self/uid_map", text)) return false;
        snprintf(text, sizeof text, "0 %u 1", gid);
        if (!write_text("/proc/self/setgroups", "deny") ||
            !write_text("/proc/self/gid_map", text))
            return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=777") == 0;
}

static int
reserve_on_a_small_tmpfs(void *arg)
{
    shmi_file_info info;

    (void)arg;
    if (!mount_small()) return SKIPPED;
    /* More than there is fails before it takes a page.                    */
    const int one = shmi_file_unnamed(dir, 0600, -1);
    TEST_REQUIRE(one >= 0);
    TEST_REQUIRE(shmi_file_reserve(one, 2 * MIB) == SHMI_OS_ENOSPC);
    TEST_REQUIRE(shmi_file_reserve(one, UINT64_C(1) << 50) == SHMI_OS_ENOSPC);
    TEST_REQUIRE(shmi_file_info_get(one, &info) == 0);
    TEST_REQUIRE(info.allocated_bytes == 0);
    /* All there is can be had, and again, as it is this file's already.   */
    TEST_REQUIRE(shmi_file_reserve(one, MIB) == 0);
    TEST_REQUIRE(shmi_file_reserve(one, MIB) == 0);
    const int two = shmi_file_unnamed(dir, 0600, -1);
    TEST_REQUIRE(two >= 0);
    TEST_REQUIRE(shmi_file_reserve(two, 1) == SHMI_OS_ENOSPC);
    TEST_REQUIRE(shmi_close(one) == 0);
    TEST_REQUIRE(shmi_file_reserve(two, MIB) == 0);
    return 0;
}

static void
full_file_system_is_an_error_at_reserve(void **state)
{
    const int r = test_join(test_spawn(reserve_on_a_small_tmpfs, NULL));

    (void)state;
    if (r == SKIPPED) {
        print_message("skipped: mounting a small tmpfs is not allowed here\n");
        skip();
    }
    assert_int_equal(r, 0);
}

static int
reserve_when_others_took_the_room(void *arg)
{
    const int fd = unnamed(1);

    (void)arg;
    platform_deny(SYS_fallocate, ENOSPC);
    TEST_REQUIRE(shmi_file_reserve(fd, MIB) == SHMI_OS_ENOSPC);
    return 0;
}

static void
room_lost_to_others_meanwhile_is_an_error_too(void **state)
{
    const pid_t pid = test_spawn(reserve_when_others_took_the_room, NULL);

    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(pid), 0);
}

static int
reserve_when_stat_fails(void *arg)
{
    const int fd = unnamed(1);

    (void)arg;
    platform_deny(SYS_fstatfs, ENOSYS);
    TEST_REQUIRE(shmi_file_reserve(fd, MIB) == SHMI_OS_ENOSYS);
    return 0;
}

static void
unknown_room_is_an_error(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(test_spawn(reserve_when_stat_fails, NULL)), 0);
}

static uint32_t ticks;

static void
count_tick(int number)
{
    (void)number;
    (void)shmi_faa_32(&ticks, 1);
}

/* With a timer so fast that no long step gets through between two ticks.  */
static int
reserve_under_a_storm(void *arg)
{
    struct sigaction act;
    struct itimerspec fast;
    shmi_file_info info;
    timer_t timer;
    const int fd = unnamed(1);

    (void)arg;
    memset(&act, 0, sizeof act);
    act.sa_handler = count_tick;
    TEST_REQUIRE(sigaction(SIGUSR1, &act, NULL) == 0);
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
                              .sigev_signo = SIGUSR1 };
    TEST_REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    memset(&fast, 0, sizeof fast);
    fast.it_interval.tv_nsec = fast.it_value.tv_nsec = 500000;
    TEST_REQUIRE(timer_settime(timer, 0, &fast, NULL) == 0);
    TEST_REQUIRE(shmi_file_reserve(fd, 64 * MIB) == 0);
    memset(&fast, 0, sizeof fast);
    TEST_REQUIRE(timer_settime(timer, 0, &fast, NULL) == 0);
    TEST_REQUIRE(shmi_load_acq_32(&ticks) > 0);
    TEST_REQUIRE(shmi_file_info_get(fd, &info) == 0);
    TEST_REQUIRE(info.allocated_bytes >= 64 * MIB);
    return 0;
}

static void
reserve_gets_on_under_a_storm_of_signals(void **state)
{
    (void)state;
    assert_int_equal(test_join(test_spawn(reserve_under_a_storm, NULL)), 0);
}

/* As a kernel before 6.11 does, where signals come during all long steps. */
static int
reserve_when_long_steps_are_interrupted(void *arg)
{
    const int fd = unnamed(1);
    shmi_file_info info;

    (void)arg;
    for (uint32_t step = 16 * MIB; step > 64 * 1024; step /= 2)
        platform_deny_if(SYS_fallocate, 3, step, EINTR);
    TEST_REQUIRE(shmi_file_reserve(fd, 32 * MIB) == 0);
    TEST_REQUIRE(shmi_file_info_get(fd, &info) == 0);
    TEST_REQUIRE(info.bytes == 32 * MIB && info.allocated_bytes >= 32 * MIB);
    return 0;
}

static void
reserve_takes_shorter_steps_when_it_is_interrupted(void **state)
{
    const pid_t pid = test_spawn(reserve_when_long_steps_are_interrupted, NULL);

    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(pid), 0);
}

/* ---- publish ----------------------------------------------------------- */

static void
publish_gives_the_name_to_the_whole_file(void **state)
{
    const int fd = unnamed(4096);
    shmi_file_info mine, named;

    (void)state;
    assert_int_equal(shmi_file_publish(fd, dirfd_, "seg"), 0);
    assert_int_equal(names_in_dir(), 1);
    assert_int_equal(shmi_file_info_get(fd, &mine), 0);
    assert_int_equal(shmi_name_info(dirfd_, "seg", &named), 0);
    assert_memory_equal(&mine, &named, sizeof mine);
    assert_int_equal(mine.links, 1);
    assert_true(mine.regular && mine.bytes == 4096);
    shmi_close(fd);
}

static void
publish_never_takes_a_name_that_is_used(void **state)
{
    const int fd = unnamed(1);

    (void)state;
    assert_int_equal(symlinkat("nowhere", dirfd_, "dangling"), 0);
    assert_int_equal(shmi_file_publish(fd, dirfd_, "dangling"), SHMI_OS_EEXIST);
    assert_int_equal(shmi_file_publish(fd, dirfd_, "one"), 0);
    const int other = unnamed(1);
    assert_int_equal(shmi_file_publish(other, dirfd_, "one"), SHMI_OS_EEXIST);
    assert_int_equal(shmi_file_publish(-1, dirfd_, "two"), SHMI_OS_ENOENT);
    assert_int_equal(names_in_dir(), 2);
    shmi_close(fd);
    shmi_close(other);
}

static int
publish_without_proc(void *arg)
{
    const int fd = unnamed(1), other = unnamed(1);

    (void)arg;
    platform_deny_if(SYS_linkat, 4, AT_SYMLINK_FOLLOW, ENOENT);
    const int r = shmi_file_publish(fd, dirfd_, "seg");
    if (r == SHMI_OS_ENOENT) return SKIPPED;    /* no right to do without   */
    TEST_REQUIRE(r == 0);
    TEST_REQUIRE(shmi_file_publish(other, dirfd_, "seg") == SHMI_OS_EEXIST);
    platform_deny(SYS_linkat, EPERM);
    TEST_REQUIRE(shmi_file_publish(other, dirfd_, "new") == SHMI_OS_EPERM);
    return 0;
}

static void
publish_does_without_proc(void **state)
{
    const int r = test_join(test_spawn(publish_without_proc, NULL));

    (void)state;
    PLATFORM_NEEDS_FILTER();
    if (r == SKIPPED) {
        print_message("skipped: naming a file without /proc is not allowed here\n");
        skip();
    }
    assert_int_equal(r, 0);
}

enum { RACERS = 4, RACES = 40 };

typedef struct race {
    uint32_t ready[RACES], winners[RACES], whole[RACES];
} race;

/* Build a file full of one letter, and race the others to the name; then
 * whoever has the name must be whole.                                     */
static int
race_for_the_name(void *arg)
{
    race *r = arg;
    char name[16];
    unsigned char text[512];

    for (uint32_t i = 0; i < RACES; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        const int fd = unnamed(sizeof text);
        snprintf(name, sizeof name, "r%u", i);
        memset(text, 'a' + getpid() % 26, sizeof text);
        TEST_REQUIRE(pwrite(fd, text, sizeof text, 0) == sizeof text);
        (void)shmi_faa_32(&r->ready[i], 1);
        while (shmi_load_acq_32(&r->ready[i]) < RACERS) shmi_backoff_spin(&b);
        const int won = shmi_file_publish(fd, dirfd_, name);
        TEST_REQUIRE(won == 0 || won == SHMI_OS_EEXIST);
        if (won == 0) (void)shmi_faa_32(&r->winners[i], 1);
        const int got = shmi_file_open(dirfd_, name, true);
        TEST_REQUIRE(got >= 0);
        TEST_REQUIRE(read(got, text, sizeof text) == sizeof text);
        for (size_t k = 0; k < sizeof text; k++)
            TEST_REQUIRE(text[k] == text[0] && text[k] >= 'a');
        (void)shmi_faa_32(&r->whole[i], 1);
        shmi_close(fd);
        shmi_close(got);
    }
    return 0;
}

static void
of_racing_publishers_exactly_one_wins_and_all_see_it_whole(void **state)
{
    race *r = test_shared(sizeof *r);
    pid_t pid[RACERS];

    (void)state;
    for (int i = 0; i < RACERS; i++) pid[i] = test_spawn(race_for_the_name, r);
    for (int i = 0; i < RACERS; i++) assert_int_equal(test_join(pid[i]), 0);
    for (uint32_t i = 0; i < RACES; i++) {
        assert_int_equal(r->winners[i], 1);
        assert_int_equal(r->whole[i], RACERS);
    }
    assert_int_equal(names_in_dir(), RACES);
    shmi_unmap(r, sizeof *r);
}

/* ---- open -------------------------------------------------------------- */

static void
open_accepts_only_regular_files(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const int s = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(mkfifoat(dirfd_, "pipe", 0600), 0);
    assert_int_equal(symlinkat("pipe", dirfd_, "link"), 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s/sock", dir);
    assert_int_equal(bind(s, (const struct sockaddr *)&at, sizeof at), 0);
    for (int read_only = 0; read_only < 2; read_only++) {
        const bool ro = read_only == 1;
        assert_int_equal(shmi_file_open(dirfd_, "none", ro), SHMI_OS_ENOENT);
        assert_int_equal(shmi_file_open(dirfd_, "link", ro), SHMI_OS_ELOOP);
        assert_int_equal(shmi_file_open(dirfd_, "pipe", ro), SHMI_OS_EINVAL);
        assert_int_equal(shmi_file_open(dirfd_, "sock", ro), SHMI_OS_EINVAL);
        assert_int_equal(shmi_file_open(dirfd_, ".", ro), SHMI_OS_EINVAL);
        assert_int_equal(shmi_file_open(AT_FDCWD, "/dev/null", ro), SHMI_OS_EINVAL);
    }
    close(s);
}

static void
open_for_reading_cannot_write(void **state)
{
    const int fd = unnamed(10);

    (void)state;
    assert_int_equal(shmi_file_publish(fd, dirfd_, "seg"), 0);
    const int ro = shmi_file_open(dirfd_, "seg", true);
    const int rw = shmi_file_open(dirfd_, "seg", false);
    assert_true(ro >= 0 && rw >= 0);
    assert_int_equal(write(ro, "x", 1), -1);
    assert_int_equal(write(rw, "x", 1), 1);
    assert_true((fcntl(rw, F_GETFD) & FD_CLOEXEC) != 0);
    shmi_close(ro);
    shmi_close(rw);
    shmi_close(fd);
}

/* Become somebody else; root may do anything.                             */
static bool
become_nobody(void)
{
    return getuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0);
}

static int
open_what_is_not_ours(void *arg)
{
    (void)arg;
    TEST_REQUIRE(become_nobody());
    TEST_REQUIRE(shmi_file_open(dirfd_, "seg", false) == SHMI_OS_EACCES);
    const int fd = shmi_file_open(dirfd_, "seg", true);
    TEST_REQUIRE(fd >= 0);
    /* Reading allows to be seen present, not to lock others out.          */
    TEST_REQUIRE(shmi_lock_try(fd, 0, false) == 0);
    TEST_REQUIRE(shmi_lock_try(fd, 0, true) == SHMI_OS_EBADF);
    return 0;
}

static void
open_obeys_the_mode_of_the_file(void **state)
{
    const int fd = shmi_file_unnamed(dir, 0444, -1);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fchmodat(AT_FDCWD, dir, 0755, 0), 0);
    assert_int_equal(shmi_file_publish(fd, dirfd_, "seg"), 0);
    assert_int_equal(test_join(test_spawn(open_what_is_not_ours, NULL)), 0);
    shmi_close(fd);
}

static int
open_when_stat_fails(void *arg)
{
    (void)arg;
    platform_deny(SYS_newfstatat, EIO);
#ifdef SYS_fstat
    platform_deny(SYS_fstat, EIO);
#endif
    TEST_REQUIRE(shmi_file_open(dirfd_, "seg", true) == -EIO);
    return 0;
}

static void
open_fails_when_the_kind_of_file_is_unknown(void **state)
{
    const int fd = unnamed(1);

    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(shmi_file_publish(fd, dirfd_, "seg"), 0);
    assert_int_equal(test_join(test_spawn(open_when_stat_fails, NULL)), 0);
    shmi_close(fd);
}

static void
file_opened_again_has_locks_of_its_own(void **state)
{
    const int fd = unnamed(10);
    const int again = shmi_file_again(fd, false);
    const int reader = shmi_file_again(fd, true);
    shmi_file_info one, two;

    (void)state;
    assert_true(again >= 0 && reader >= 0);
    assert_int_equal(shmi_file_info_get(fd, &one), 0);
    assert_int_equal(shmi_file_info_get(again, &two), 0);
    assert_true(one.inode == two.inode && one.device == two.device);
    assert_int_equal(shmi_lock_try(fd, 0, true), 0);
    assert_int_equal(shmi_lock_try(again, 0, true), SHMI_OS_EAGAIN);
    assert_int_equal(write(again, "x", 1), 1);
    assert_int_equal(write(reader, "x", 1), -1);
    assert_true((fcntl(again, F_GETFD) & FD_CLOEXEC) != 0);
    shmi_close(reader);
    shmi_close(again);
    assert_int_equal(shmi_lock_probe(fd, 0), 0);
    shmi_close(fd);
    assert_int_equal(shmi_file_again(-1, true), SHMI_OS_ENOENT);
}

static void
mode_can_be_set_later(void **state)
{
    const int fd = unnamed(10);
    const mode_t old = umask(077);
    shmi_file_info info;

    (void)state;
    assert_int_equal(shmi_file_mode(fd, 0666), 0);
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_int_equal(info.mode, 0666);
    assert_int_equal(shmi_file_mode(fd, 010000), SHMI_OS_EINVAL);
    assert_int_equal(shmi_file_mode(-1, 0600), SHMI_OS_EBADF);
    umask(old);
    shmi_close(fd);
}

/* ---- info, unlink, close ----------------------------------------------- */

static void
info_tells_about_a_link_not_its_target(void **state)
{
    shmi_file_info info;

    (void)state;
    assert_int_equal(symlinkat("/", dirfd_, "link"), 0);
    assert_int_equal(shmi_name_info(dirfd_, "link", &info), 0);
    assert_false(info.regular);
    assert_true(info.mtime_ns > 0);
    assert_int_equal(shmi_name_info(dirfd_, ".", &info), 0);
    assert_false(info.regular);
    assert_int_equal(shmi_name_info(dirfd_, "none", &info), SHMI_OS_ENOENT);
    assert_int_equal(shmi_file_info_get(-1, &info), SHMI_OS_EBADF);
}

static void
unlinked_file_lives_until_it_is_closed(void **state)
{
    const int fd = unnamed(10);
    shmi_file_info info;

    (void)state;
    assert_int_equal(shmi_file_publish(fd, dirfd_, "seg"), 0);
    assert_int_equal(shmi_file_unlink(dirfd_, "seg"), 0);
    assert_int_equal(shmi_file_unlink(dirfd_, "seg"), SHMI_OS_ENOENT);
    assert_int_equal(shmi_file_info_get(fd, &info), 0);
    assert_int_equal(info.links, 0);
    assert_int_equal(shmi_close(fd), 0);
    assert_int_equal(shmi_close(fd), SHMI_OS_EBADF);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(dir_open_tells_what_is_wrong),
        DIR_CASE(dir_each_meets_each_name_and_stops_when_told),
        DIR_CASE(dir_each_reports_a_failing_disk),
        DIR_CASE(unnamed_file_is_in_no_folder),
        DIR_CASE(mode_is_exact_whatever_the_umask),
        DIR_CASE(group_is_set_when_asked_for),
        DIR_CASE(unnamed_refuses_a_bad_mode_or_group),
        DIR_CASE(unnamed_leaks_nothing_when_it_fails),
        DIR_CASE(reserve_takes_real_pages),
        DIR_CASE(reserve_never_shrinks),
        DIR_CASE(reserve_refuses_what_cannot_be),
        DIR_CASE(file_size_limit_is_an_error_not_a_signal),
        DIR_CASE(full_file_system_is_an_error_at_reserve),
        DIR_CASE(room_lost_to_others_meanwhile_is_an_error_too),
        DIR_CASE(unknown_room_is_an_error),
        DIR_CASE(reserve_gets_on_under_a_storm_of_signals),
        DIR_CASE(reserve_takes_shorter_steps_when_it_is_interrupted),
        DIR_CASE(publish_gives_the_name_to_the_whole_file),
        DIR_CASE(publish_never_takes_a_name_that_is_used),
        DIR_CASE(publish_does_without_proc),
        DIR_CASE(of_racing_publishers_exactly_one_wins_and_all_see_it_whole),
        DIR_CASE(open_accepts_only_regular_files),
        DIR_CASE(open_for_reading_cannot_write),
        DIR_CASE(open_obeys_the_mode_of_the_file),
        DIR_CASE(open_fails_when_the_kind_of_file_is_unknown),
        DIR_CASE(file_opened_again_has_locks_of_its_own),
        DIR_CASE(mode_can_be_set_later),
        DIR_CASE(info_tells_about_a_link_not_its_target),
        DIR_CASE(unlinked_file_lives_until_it_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
