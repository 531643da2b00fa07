/* Mappings: what is shared, what is refused, and what the flags do.       */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "platform_seccomp.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { PAGES = 64 };

static uint64_t bytes;              /* of the file: PAGES pages             */
static int fd_;

static int
make_file(void **state)
{
    test_watch(state);
    bytes = PAGES * shmi_page_bytes();
    fd_ = shmi_file_unnamed("/dev/shm", 0600, -1);
    assert_true(fd_ >= 0);
    assert_int_equal(shmi_file_reserve(fd_, bytes), 0);
    return 0;
}

static int
close_file(void **state)
{
    shmi_close(fd_);
    return test_unwatch(state);
}

#define MAP_CASE(f) cmocka_unit_test_setup_teardown(f, make_file, close_file)

/* The number behind a key of /proc/self/status, in its unit.              */
static long
status_of(const char *key)
{
    char line[256];
    long n = -1;
    FILE *f = fopen("/proc/self/status", "r");

    TEST_REQUIRE(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            n = strtol(line + strlen(key), NULL, 10);
    fclose(f);
    return n;
}

/* How many bytes of the mapping at p are mapped to pages by now.          */
static uint64_t
resident(const void *p)
{
    char line[512];
    uintptr_t from = 0;
    long kib = -1;
    FILE *f = fopen("/proc/self/smaps", "r");

    TEST_REQUIRE(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        char *end;
        const uintptr_t n = (uintptr_t)strtoull(line, &end, 16);
        if (*end == '-') from = n;
        if (from == (uintptr_t)p && strncmp(line, "Rss:", 4) == 0)
            kib = strtol(line + 4, NULL, 10);
    }
    fclose(f);
    TEST_REQUIRE(kib >= 0);
    return (uint64_t)kib * 1024;
}

static void
page_is_a_power_of_two(void **state)
{
    const uint64_t n = shmi_page_bytes();

    (void)state;
    assert_true(n >= 4096 && (n & (n - 1)) == 0);
}

static void
two_mappings_show_the_same_bytes(void **state)
{
    void *a, *b;

    (void)state;
    assert_int_equal(shmi_map(fd_, bytes, false, 0, &a), 0);
    assert_int_equal(shmi_map(fd_, bytes, true, 0, &b), 0);
    assert_ptr_not_equal(a, b);
    memcpy(a, "hello", 6);
    assert_string_equal(b, "hello");
    assert_int_equal(shmi_unmap(a, bytes), 0);
    assert_int_equal(shmi_unmap(b, bytes), 0);
}

static int
write_where_it_is_forbidden(void *arg)
{
    void *p;

    (void)arg;
    signal(SIGSEGV, SIG_DFL);
    TEST_REQUIRE(shmi_map(fd_, bytes, true, 0, &p) == 0);
    *(volatile char *)p = 1;
    return 0;
}

static void
read_only_mapping_cannot_be_written(void **state)
{
    const int r = test_join(test_spawn(write_where_it_is_forbidden, NULL));

    (void)state;
    assert_int_not_equal(r, 0);     /* SIGSEGV, or a sanitizer's exit       */
}

static void
map_refuses_more_than_the_file_has(void **state)
{
    void *p = &p;

    (void)state;
    assert_int_equal(shmi_map(fd_, bytes + 1, false, 0, &p), SHMI_OS_EINVAL);
    assert_null(p);
    assert_int_equal(shmi_map(fd_, UINT64_MAX, true, 0, &p), SHMI_OS_EINVAL);
    assert_int_equal(shmi_map(fd_, 0, false, 0, &p), SHMI_OS_EINVAL);
    assert_int_equal(shmi_map(-1, bytes, false, 0, &p), SHMI_OS_EBADF);
    assert_null(p);
}

static void
map_for_writing_needs_a_writable_descriptor(void **state)
{
    char path[64];
    void *p;

    (void)state;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd_);
    const int reader = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(shmi_map(reader, bytes, false, 0, &p), SHMI_OS_EACCES);
    assert_null(p);
    assert_int_equal(shmi_map(reader, bytes, true, 0, &p), 0);
    assert_int_equal(shmi_unmap(p, bytes), 0);
    shmi_close(reader);
}

/* Does the advice that maps pages do so?  Some emulators only say yes.     */
static bool
advice_is_heard(void)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    const bool heard = madvise(p, bytes, MADV_POPULATE_WRITE) != 0 ||
                       resident(p) == bytes;

    munmap(p, bytes);
    return heard;
}

static void
prefault_maps_every_page_now(void **state)
{
    void *p;

    (void)state;
    TEST_EMULATOR_LACKS(advice_is_heard(), "advice to map pages (madvise)");
    for (int ro = 0; ro < 2; ro++) {
        assert_int_equal(shmi_map(fd_, bytes, ro == 1, SHMI_MAP_PREFAULT, &p), 0);
        assert_true(resident(p) == bytes);
        assert_int_equal(shmi_unmap(p, bytes), 0);
        assert_int_equal(shmi_map(fd_, bytes, ro == 1, 0, &p), 0);
        assert_true(resident(p) == 0);
        assert_int_equal(shmi_unmap(p, bytes), 0);
    }
}

static int
prefault_on_an_old_kernel(void *arg)
{
    void *p;

    (void)arg;
    platform_deny_if(SYS_madvise, 2, MADV_POPULATE_READ, EINVAL);
    platform_deny_if(SYS_madvise, 2, MADV_POPULATE_WRITE, EINVAL);
    TEST_REQUIRE(shmi_map(fd_, bytes, false, SHMI_MAP_PREFAULT, &p) == 0);
    TEST_REQUIRE(resident(p) == bytes);
    platform_deny_if(SYS_madvise, 2, MADV_POPULATE_WRITE, EFAULT);
    TEST_REQUIRE(shmi_map(fd_, bytes, false, SHMI_MAP_PREFAULT, &p) == -EFAULT);
    TEST_REQUIRE(p == NULL);
    return 0;
}

static void
prefault_works_on_kernels_without_the_advice(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(test_spawn(prefault_on_an_old_kernel, NULL)), 0);
}

static int
lock_and_look(void *arg)
{
    void *p;
    const long before = status_of("VmLck:");

    (void)arg;
    TEST_REQUIRE(shmi_map(fd_, bytes, false, SHMI_MAP_LOCK, &p) == 0);
    TEST_REQUIRE(status_of("VmLck:") - before == (long)(bytes / 1024));
    TEST_REQUIRE(resident(p) == bytes);
    return 0;
}

static void
locked_mapping_stays_in_memory(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || SHMI_TSAN
    print_message("skipped: a sanitizer makes mlock do nothing\n");
    skip();
#endif
    assert_int_equal(test_join(test_spawn(lock_and_look, NULL)), 0);
}

static int
lock_over_the_limit(void *arg)
{
    const struct rlimit none = { 0, 0 };
    void *p;

    (void)arg;
    TEST_REQUIRE(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    if (getuid() == 0) TEST_REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
    const int r = shmi_map(fd_, bytes, false, SHMI_MAP_LOCK, &p);
    TEST_REQUIRE(r == SHMI_OS_EPERM || r == SHMI_OS_ENOMEM);
    TEST_REQUIRE(p == NULL);
    TEST_REQUIRE(shmi_map(fd_, bytes, false, 0, &p) == 0);
    return 0;
}

static void
lock_over_the_limit_is_an_error_and_maps_nothing(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || SHMI_TSAN
    print_message("skipped: a sanitizer makes mlock do nothing\n");
    skip();
#endif
    assert_int_equal(test_join(test_spawn(lock_over_the_limit, NULL)), 0);
}

static int
ask_for_huge_pages(void *arg)
{
    void *p;

    (void)arg;
    const int r = shmi_map(fd_, bytes, false, SHMI_MAP_HUGE, &p);
    TEST_REQUIRE(r == 0 || r == SHMI_OS_EINVAL);
    platform_deny_if(SYS_madvise, 2, MADV_HUGEPAGE, EINVAL);
    TEST_REQUIRE(shmi_map(fd_, bytes, false, SHMI_MAP_HUGE, &p) == SHMI_OS_EINVAL);
    TEST_REQUIRE(p == NULL);
    return 0;
}

static void
refused_huge_pages_are_an_error(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(test_spawn(ask_for_huge_pages, NULL)), 0);
}

static int
write_for_the_parent(void *arg)
{
    memcpy(arg, "child", 6);
    return 0;
}

static void
memory_is_zero_and_shared_with_forked_children(void **state)
{
    void *p;

    (void)state;
    assert_int_equal(shmi_memory_map(bytes, &p), 0);
    for (uint64_t i = 0; i < bytes; i++)
        assert_int_equal(((const unsigned char *)p)[i], 0);
    assert_int_equal(test_join(test_spawn(write_for_the_parent, p)), 0);
    assert_string_equal(p, "child");
    assert_int_equal(shmi_unmap(p, bytes), 0);
}

static void
memory_that_cannot_be_had_is_an_error(void **state)
{
    void *p = &p;

    (void)state;
    assert_int_equal(shmi_memory_map(UINT64_C(1) << 62, &p), SHMI_OS_ENOMEM);
    assert_null(p);
    assert_int_equal(shmi_memory_map(0, &p), SHMI_OS_EINVAL);
    assert_int_equal(shmi_unmap((void *)(uintptr_t)1, bytes), SHMI_OS_EINVAL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(page_is_a_power_of_two),
        MAP_CASE(two_mappings_show_the_same_bytes),
        MAP_CASE(read_only_mapping_cannot_be_written),
        MAP_CASE(map_refuses_more_than_the_file_has),
        MAP_CASE(map_for_writing_needs_a_writable_descriptor),
        MAP_CASE(prefault_maps_every_page_now),
        MAP_CASE(prefault_works_on_kernels_without_the_advice),
        MAP_CASE(locked_mapping_stays_in_memory),
        MAP_CASE(lock_over_the_limit_is_an_error_and_maps_nothing),
        MAP_CASE(refused_huge_pages_are_an_error),
        MAP_CASE(memory_is_zero_and_shared_with_forked_children),
        MAP_CASE(memory_that_cannot_be_had_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
