/* Fuzzes names, prefixes, error sentences and the log: whatever the strings,
 * names are judged as by a plain reading of the rules, files map back to one
 * name, and a sentence is one printable line that reaches the log.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_segment.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT = 300 };

static char logged[1024];
static int logged_level, logged_count;

static void
log_it(void *user, int level, const char *text)
{
    FUZZ_REQUIRE(user == logged && strlen(text) < sizeof logged);
    snprintf(logged, sizeof logged, "%s", text);
    logged_level = level;
    logged_count++;
}

/* Take a text that ends at a 0 or at the end of the input.                */
static const char *
text(fuzz_input *in, char *to)
{
    size_t n = 0;

    while (n < TEXT - 1 && fuzz_more(in) && (to[n] = (char)fuzz_u8(in)) != '\0')
        n++;
    to[n] = '\0';
    return to;
}

static bool
may_stand(char c)
{
    return c != '\0' && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv"
                               "wxyz0123456789._-", c) != NULL;
}

/* The rules for names, by splitting at each '/'.                          */
static bool
is_name(const char *name)
{
    if (strlen(name) >= SHMC_NAME_BYTES) return false;
    for (const char *part = name;; part++) {
        const char *end = strchr(part, '/');
        const size_t n = end != NULL ? (size_t)(end - part) : strlen(part);
        if (n == 0 || (n == 1 && part[0] == '.') ||
            (n == 2 && part[0] == '.' && part[1] == '.')) return false;
        for (size_t i = 0; i < n; i++)
            if (!may_stand(part[i])) return false;
        if (end == NULL) return true;
        part = end;
    }
}

static bool
is_prefix(const char *prefix)
{
    const size_t n = strlen(prefix);
    bool good = n >= 1 && n < SHMC_PREFIX_BYTES;

    for (size_t i = 0; i < n; i++)
        good = good && may_stand(prefix[i]) && prefix[i] != '.';
    return good;
}

/* What failed says why, in one line, here and in the log.                 */
static void
check_failure(int code)
{
    const char *said = shmc_last_error();
    char tail[32];

    FUZZ_REQUIRE(code < 0 && said[0] != '\0');
    for (const char *c = said; *c != '\0'; c++)
        FUZZ_REQUIRE((unsigned char)*c >= ' ' && *c != 0x7f);
    snprintf(tail, sizeof tail, "[%s]", shmc_error_name(code));
    if (strlen(said) < 700)
        FUZZ_REQUIRE(strstr(said, tail) != NULL);
    const bool quiet = code == SHMC_ENOENT || code == SHMC_EEXIST ||
                       code == SHMC_EAGAIN || code == SHMC_ETIMEDOUT ||
                       code == SHMC_EBUSY;
    FUZZ_EQUAL(logged_count, !quiet);
    if (quiet) return;
    FUZZ_EQUAL(logged_level, SHMC_LOG_ERROR);
    FUZZ_REQUIRE(strcmp(logged, said) == 0);
}

static void
check_file(const char *prefix, const char *name, size_t bytes)
{
    char *file = (char *)fuzz_memory(bytes != 0 ? bytes : 1);
    const size_t needs = strlen(prefix) + 1 + strlen(name) + 1;
    const int should = !is_prefix(prefix) || !is_name(name) ? SHMC_ENAME
                     : needs > bytes ? SHMC_EMSGSIZE : SHMC_OK;

    logged_count = 0;
    const int r = shmc_name_to_file(prefix, name, file, bytes);
    FUZZ_EQUAL(r, should);
    if (r != SHMC_OK) {
        check_failure(r);
    } else {                        /* and back again                       */
        FUZZ_EQUAL(strlen(file) + 1, needs);
        FUZZ_REQUIRE(strncmp(file, prefix, strlen(prefix)) == 0);
        const char *at = file + strlen(prefix);
        FUZZ_REQUIRE(*at++ == '.' && strchr(at, '/') == NULL);
        for (size_t i = 0; name[i] != '\0'; i++)
            FUZZ_REQUIRE(name[i] == '/' ? at[i] == '+' : at[i] == name[i]);
    }
    free(file);
}

/* Attach to what cannot exist: nothing is created, and the answer is what the
 * first bad argument deserves.                                            */
static void
check_attach(const char *dir, const char *prefix, const char *name)
{
    shmc_segment_desc d = { .dir = dir, .prefix = prefix };
    shmc_segment s;

    if (dir[0] == '/' && strncmp(dir, "/no", 3) != 0) return;
    logged_count = 0;
    const int r = shmc_segment_attach(&s, name, &d);
    if (dir[0] != '/' || strlen(dir) >= SHMC_DIR_BYTES || !is_prefix(prefix) ||
        !is_name(name)) FUZZ_EQUAL(r, SHMC_ENAME);
    else FUZZ_REQUIRE(r == SHMC_ENOENT || r == SHMC_ENAME);
    check_failure(r);
    FUZZ_EQUAL(shmc_segment_close(&s), SHMC_ECLOSED);
}

/* How many codes there are; they are 0, -1, -2 and so on.                 */
#define ONE(name, number, text) + 1
enum { CODES = 0 SHMC_ERRORS(ONE) };
#undef ONE

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    char prefix[TEXT], name[TEXT], dir[TEXT];
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    shmc_log_set(log_it, logged, SHMC_LOG_INFO);
    const size_t bytes = fuzz_u8(&in);
    const int code = (int)(int16_t)fuzz_u16(&in);
    text(&in, prefix);
    text(&in, name);
    text(&in, dir);

    logged_count = 0;
    const int r = shmc_name_check(name);
    FUZZ_EQUAL(r, is_name(name) ? SHMC_OK : SHMC_ENAME);
    if (r != SHMC_OK) check_failure(r);
    check_file(prefix, name, bytes);
    check_attach(dir, prefix, name);

    for (const char *c = name; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    FUZZ_REQUIRE(shmc_type_hash(name) == hash);
    const char *called = shmc_error_name(code), *means = shmc_strerror(code);
    FUZZ_REQUIRE(strncmp(called, "SHMC_", 5) == 0 && means[0] != '\0');
    FUZZ_EQUAL(strcmp(called, "SHMC_E?") == 0, code <= -CODES);
    FUZZ_EQUAL(strcmp(called, "SHMC_OK") == 0, code >= 0);
    logged_count = 0;
    shmi_event(SHMC_LOG_INFO, "%s", name);
    FUZZ_EQUAL(logged_count, 1);
    shmc_log_set(log_it, logged, SHMC_LOG_ERROR);
    shmi_event(SHMC_LOG_WARN, "%s", name);
    FUZZ_EQUAL(logged_count, 1);
    shmc_log_set(NULL, NULL, 0);
    return 0;
}
