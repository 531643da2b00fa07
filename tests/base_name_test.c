/* Names of segments and objects, prefixes, directories, type hashes.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

static void
good_names_pass(void **state)
{
    static const char *const good[] = {
        "a", "robot/pose", "A-Z_0.9", ".hidden", "...", "a..b", "x/.y/z.",
        "-", "_", "0/1/2/3/4/5/6/7"
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(shmc_name_check(good[i]), SHMC_OK);
}

static void
bad_names_are_refused_with_the_reason(void **state)
{
    static const struct { const char *name, *part; } bad[] = {
        { NULL, "empty" },              { "", "empty" },
        { "/a", "'.' or '..' part at 0" }, { "a/", "'.' or '..' part at 2" },
        { "a//b", "'.' or '..' part at 2" },
        { ".", "'.' or '..' part at 0" }, { "..", "'.' or '..' part at 0" },
        { "a/../b", "'.' or '..' part at 2" }, { "a/.", "part at 2" },
        { "/", "part at 0" },
        { "a b", "byte 0x20 at 1" },    { "a+b", "byte 0x2b at 1" },
        { "a\nb", "byte 0x0a at 1" },   { "caf\xc3\xa9", "byte 0xc3 at 3" },
        { "a\\b", "byte 0x5c" },        { "a:b", "byte 0x3a" },
        { "~", "byte 0x7e at 0" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CORE_FAILS(shmc_name_check(bad[i].name), SHMC_ENAME, bad[i].part);
}

static void
name_of_127_bytes_passes_and_of_128_does_not(void **state)
{
    char name[130], file[256];

    (void)state;
    memset(name, 'n', sizeof name);
    name[127] = '\0';
    assert_int_equal(shmc_name_check(name), SHMC_OK);
    assert_int_equal(shmc_name_to_file("0123456789abcdef0123456789abcdef", name,
                                       file, sizeof file), SHMC_OK);
    assert_int_equal(strlen(file), 160);
    name[127] = 'n';
    name[128] = '\0';
    CORE_FAILS(shmc_name_check(name), SHMC_ENAME, "longer than 127 bytes");
    CORE_FAILS(shmc_name_to_file(NULL, name, file, sizeof file), SHMC_ENAME,
               "longer than 127 bytes");
}

static void
file_is_prefix_dot_name_with_plus_for_slash(void **state)
{
    char file[64];

    (void)state;
    unsetenv("SHMCOMM_PREFIX");
    assert_int_equal(shmc_name_to_file(NULL, "robot/arm/pose", file, 64), 0);
    assert_string_equal(file, "shmc.robot+arm+pose");
    assert_int_equal(shmc_name_to_file("lab_2", "a", file, 64), 0);
    assert_string_equal(file, "lab_2.a");
    assert_int_equal(shmc_name_to_file("p", "abcd", file, 7), 0);
    CORE_FAILS(shmc_name_to_file("p", "abcd", file, 6), SHMC_EMSGSIZE,
               "needs 7 bytes, the buffer has 6");
    CORE_FAILS(shmc_name_to_file("p", "abcd", NULL, 0), SHMC_EMSGSIZE, "has 0");
}

/* Every string of up to 5 of these characters: the file tells the name.   */
static void
two_names_never_share_a_file(void **state)
{
    static const char alphabet[] = "a./-+";
    int good = 0;

    (void)state;
    shmc_log_set(NULL, NULL, 0);
    for (unsigned n = 1, count = 5; n <= 5; n++, count *= 5) {
        for (unsigned k = 0; k < count; k++) {
            char name[8] = "", file[32];
            for (unsigned i = 0, rest = k; i < n; i++, rest /= 5)
                name[i] = alphabet[rest % 5];
            if (shmc_name_to_file("p", name, file, sizeof file) != 0) continue;
            good++;
            for (char *c = file; *c != '\0'; c++) if (*c == '+') *c = '/';
            assert_string_equal(file + 2, name);
        }
    }
    assert_true(good > 300);
}

static void
environment_gives_the_prefix_and_is_checked(void **state)
{
    char file[64];

    (void)state;
    setenv("SHMCOMM_PREFIX", "team", 1);
    assert_int_equal(shmc_name_to_file(NULL, "a", file, sizeof file), 0);
    assert_string_equal(file, "team.a");
    assert_int_equal(shmc_name_to_file("mine", "a", file, sizeof file), 0);
    assert_string_equal(file, "mine.a");
    setenv("SHMCOMM_PREFIX", "a/b", 1);
    CORE_FAILS(shmc_name_to_file(NULL, "a", file, sizeof file), SHMC_ENAME,
               "see SHMCOMM_PREFIX");
    unsetenv("SHMCOMM_PREFIX");
}

static void
bad_prefixes_are_refused(void **state)
{
    static const char *const bad[] = {
        "", "a.b", "a/b", "a b", "0123456789abcdef0123456789abcdef0"
    };
    char file[64];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CORE_FAILS(shmc_name_to_file(bad[i], "a", file, sizeof file),
                   SHMC_ENAME, "is not 1 to 32 bytes");
}

static void
directory_is_absolute_and_fits(void **state)
{
    char longest[300];
    const char *out = NULL;

    (void)state;
    unsetenv("SHMCOMM_DIR");
    assert_int_equal(shmi_directory(NULL, &out), SHMC_OK);
    assert_string_equal(out, "/dev/shm");
    setenv("SHMCOMM_DIR", "/run/x", 1);
    assert_int_equal(shmi_directory(NULL, &out), SHMC_OK);
    assert_string_equal(out, "/run/x");
    assert_int_equal(shmi_directory("/y", &out), SHMC_OK);
    assert_string_equal(out, "/y");
    setenv("SHMCOMM_DIR", "relative", 1);
    CORE_FAILS(shmi_directory(NULL, &out), SHMC_ENAME, "not an absolute path");
    unsetenv("SHMCOMM_DIR");
    CORE_FAILS(shmi_directory("", &out), SHMC_ENAME, "not an absolute path");
    memset(longest, '/', sizeof longest);
    longest[256] = '\0';
    CORE_FAILS(shmi_directory(longest, &out), SHMC_ENAME, "at most 255 bytes");
    longest[255] = '\0';
    assert_int_equal(shmi_directory(longest, &out), SHMC_OK);
}

static void
type_hash_is_fnv_1a(void **state)
{
    (void)state;
    assert_true(shmc_type_hash("") == 0xcbf29ce484222325u);
    assert_true(shmc_type_hash("a") == 0xaf63dc4c8601ec8cu);
    assert_true(shmc_type_hash("foobar") == 0x85944171f73967e8u);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(good_names_pass),
        CORE_CASE(bad_names_are_refused_with_the_reason),
        CORE_CASE(name_of_127_bytes_passes_and_of_128_does_not),
        CORE_CASE(file_is_prefix_dot_name_with_plus_for_slash),
        CORE_CASE(two_names_never_share_a_file),
        CORE_CASE(environment_gives_the_prefix_and_is_checked),
        CORE_CASE(bad_prefixes_are_refused),
        CORE_CASE(directory_is_absolute_and_fits),
        CORE_CASE(type_hash_is_fnv_1a),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
