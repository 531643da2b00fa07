/* shmcomm_base.h - the error codes, sentences, log sink and names of shmcomm.
 *
 *     if (shmc_segment_open(&s, "robot/pose", NULL) < 0)
 *         puts(shmc_last_error());     // what, to which object, what to try
 *
 * Manual: docs/shmcomm.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BASE_H
#define SHMCOMM_BASE_H

#include "shmcomm_platform.h"

/* ---- constants --------------------------------------------------------- */

enum {
    SHMC_NAME_BYTES = 128,          /* a name with its terminating zero     */
    SHMC_DIR_BYTES = 256,
    SHMC_PREFIX_BYTES = 33
};

enum { SHMC_LOG_ERROR = 1, SHMC_LOG_WARN = 2, SHMC_LOG_INFO = 3 };

/* Codes are never renumbered.                                             */
#define SHMC_ERRORS(X)                                                        \
    X(OK,          0, "success")                                              \
    X(EINVAL,     -1, "bad argument")                                         \
    X(ENOMEM,     -2, "out of memory")                                        \
    X(ENOSPC,     -3, "no room left in shared memory")                        \
    X(EEXIST,     -4, "already exists")                                       \
    X(ENOENT,     -5, "no such name")                                         \
    X(EACCES,     -6, "permission denied")                                    \
    X(EAGAIN,     -7, "nothing to read or no room now; try again")            \
    X(ETIMEDOUT,  -8, "timed out")                                            \
    X(EMSGSIZE,   -9, "message does not fit")                                 \
    X(ECORRUPT,  -10, "shared bytes broke an invariant")                      \
    X(EVERSION,  -11, "layout version differs")                               \
    X(EBYTEORDER,-12, "written with another byte order")                      \
    X(ETYPE,     -13, "type differs")                                         \
    X(EMISMATCH, -14, "options differ from what exists")                      \
    X(ENAME,     -15, "bad name")                                             \
    X(EBUSY,     -16, "held by a live process")                               \
    X(EPEERDEAD, -17, "peer died")                                            \
    X(EFORKED,   -18, "handle was inherited through fork; open it again")     \
    X(ELAPPED,   -19, "overwritten before it was read")                       \
    X(ENOTSUP,   -20, "not supported here")                                   \
    X(ELIMIT,    -21, "a fixed table is full")                                \
    X(EROFS,     -22, "handle is read-only")                                  \
    X(ECLOSED,   -23, "closed")                                               \
    X(EOS,       -24, "operating system error")                               \
    X(EEND,      -25, "no more will come")                                    \
    X(RESTARTED, -26, "a publisher was replaced by a new one")

enum shmc_error {
#define SHMI_ERROR_ENUM(name, number, text) SHMC_##name = (number),
    SHMC_ERRORS(SHMI_ERROR_ENUM)
#undef SHMI_ERROR_ENUM
    SHMI_ERROR_END = -1000
};

#if defined(__GNUC__)
#define SHMI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define SHMI_PRINTF(f, a)
#endif

typedef void (*shmc_log_fn)(void *user, int level, const char *text);

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors and log ---------------------------------------------------- */

/* Name a code: "SHMC_ENOSPC".  Cost wait-free.  Never NULL.               */
SHMC_API const char *shmc_error_name(int code);

/* Say what a code means.  Cost wait-free.  Never NULL.                    */
SHMC_API const char *shmc_strerror(int code);

/* Say what this thread's last failed call was doing, to what, and what to
 * try.  Empty before the first failure; calls on the hot path (push, pop,
 * send, recv) return bare codes and leave it alone.
 * Owner  the library; valid until this thread's next failure.             */
SHMC_API const char *shmc_last_error(void);

/* Send failures and notices to `fn`, up to `level`.  NULL silences; until
 * the first call failures (and nothing else) go to stderr, one line each.
 * SHMC_ENOENT, SHMC_EEXIST, SHMC_EAGAIN, SHMC_ETIMEDOUT and SHMC_EBUSY are
 * answers, not failures: they set shmc_last_error and are not logged.
 * Safety  call it before other threads use the library.  `fn` runs in the
 *         thread that failed, perhaps inside a lock: it calls no shmcomm. */
SHMC_API void shmc_log_set(shmc_log_fn fn, void *user, int level);

/* ---- names ------------------------------------------------------------- */

/* Check a name: 1..127 bytes of A-Z a-z 0-9 . _ - and '/' between parts
 * that are neither empty nor "." nor "..".
 * Errors  SHMC_ENAME with a sentence that shows the offending byte.       */
SHMC_API int shmc_name_check(const char *name);

/* Write the file name that `name` has under `prefix` (NULL: default), "/"
 * as "+".  The mapping is one to one.
 * Errors  SHMC_ENAME; SHMC_EMSGSIZE `bytes` is too small.                 */
SHMC_API int shmc_name_to_file(const char *prefix, const char *name,
                               char *file, size_t bytes);

/* Hash a type's name, or its whole declaration, to 64 bits (FNV-1a).      */
SHMC_API uint64_t shmc_type_hash(const char *text);

/* ---- private: for the other headers ------------------------------------ */

/* Round up to a multiple of a power of two; the caller keeps it in range.  */
SHMC_INLINE uint64_t
shmi_round_up(uint64_t n, uint64_t pow2)
{
    return (n + pow2 - 1) & ~(pow2 - 1);
}

/* Keep the sentence for shmc_last_error, log it, and return the code.     */
SHMC_API int  shmi_fail(int code, const char *fmt, ...) SHMI_PRINTF(2, 3);

/* Log a sentence that is no failure of this call.                         */
SHMC_API void shmi_event(int level, const char *fmt, ...) SHMI_PRINTF(2, 3);

/* Fail with a system call's error: code, sentence and advice from it.     */
SHMC_API int  shmi_fail_os(int os, const char *doing, const char *name,
                           const char *dir, const char *file);

/* The same as shmc_name_check, without a sentence; *at is where it fails.  */
SHMC_API bool shmi_name_good(const char *name, size_t *at);

/* Choose what was asked for, the environment's, or the default; checked.  */
SHMC_API int  shmi_prefix(const char *asked, const char **out);
SHMC_API int  shmi_directory(const char *asked, const char **out);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_BASE_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_BASE_IMPLEMENTED)
#define SHMCOMM_BASE_IMPLEMENTED
#ifdef __cplusplus
#error "compile SHMCOMM_IMPLEMENTATION in a C file; C++ may include the rest"
#endif

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* >>errors and log */

static struct {
    shmc_log_fn fn;
    void *user;
    int level;
    bool set;
} shmi_log;

static _Thread_local char shmi_last_text[768];

SHMC_API const char *
shmc_error_name(int code)
{
    switch (code) {
#define SHMI_ERROR_NAME(name, number, text) case (number): return "SHMC_" #name;
    SHMC_ERRORS(SHMI_ERROR_NAME)
#undef SHMI_ERROR_NAME
    default: return code > 0 ? "SHMC_OK" : "SHMC_E?";
    }
}

SHMC_API const char *
shmc_strerror(int code)
{
    switch (code) {
#define SHMI_ERROR_TEXT(name, number, text) case (number): return text;
    SHMC_ERRORS(SHMI_ERROR_TEXT)
#undef SHMI_ERROR_TEXT
    default: return code > 0 ? "success" : "unknown error code";
    }
}

SHMC_API const char *
shmc_last_error(void)
{
    return shmi_last_text;
}

SHMC_API void
shmc_log_set(shmc_log_fn fn, void *user, int level)
{
    shmi_log.fn = fn;
    shmi_log.user = user;
    shmi_log.level = level;
    shmi_log.set = true;
}

static void
shmi_log_out(int level, const char *text)
{
    if (!shmi_log.set) {
        if (level <= SHMC_LOG_ERROR) fprintf(stderr, "shmcomm: %s\n", text);
    } else if (shmi_log.fn != NULL && level <= shmi_log.level) {
        shmi_log.fn(shmi_log.user, level, text);
    }
}

/* Names come from users and from shared memory: a control character becomes
 * '?', so that one sentence stays one line.                               */
static void
shmi_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
}

SHMC_API int
shmi_fail(int code, const char *fmt, ...)
{
    char text[sizeof shmi_last_text];
    va_list ap;

    va_start(ap, fmt);
    const int used = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    shmi_printable(text);
    if (used >= 0 && (size_t)used < sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, " [%s]",
                 shmc_error_name(code));
    memcpy(shmi_last_text, text, sizeof text);
    if (code != SHMC_ENOENT && code != SHMC_EAGAIN && code != SHMC_EBUSY &&
        code != SHMC_EEXIST && code != SHMC_ETIMEDOUT)
        shmi_log_out(SHMC_LOG_ERROR, text);
    return code;
}

SHMC_API void
shmi_event(int level, const char *fmt, ...)
{
    char text[sizeof shmi_last_text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    shmi_printable(text);
    shmi_log_out(level, text);
}

static int
shmi_os_code(int os)
{
    static const struct { int os, code; } map[] = {
        { SHMI_OS_EEXIST, SHMC_EEXIST },   { SHMI_OS_ENOENT, SHMC_ENOENT },
        { SHMI_OS_EACCES, SHMC_EACCES },   { SHMI_OS_EPERM,  SHMC_EACCES },
        { SHMI_OS_ENOSPC, SHMC_ENOSPC },   { SHMI_OS_EDQUOT, SHMC_ENOSPC },
        { SHMI_OS_EFBIG,  SHMC_ENOSPC },   { SHMI_OS_ENOMEM, SHMC_ENOMEM },
        { SHMI_OS_EROFS,  SHMC_EACCES },   { SHMI_OS_EMFILE, SHMC_ELIMIT },
        { SHMI_OS_ENFILE, SHMC_ELIMIT },   { SHMI_OS_EOPNOTSUPP, SHMC_ENOTSUP },
        { SHMI_OS_EISDIR, SHMC_ENOTSUP },  { SHMI_OS_ETIMEDOUT, SHMC_ETIMEDOUT },
        { SHMI_OS_ELOOP,  SHMC_ECORRUPT }, { SHMI_OS_EINVAL, SHMC_ECORRUPT },
        { SHMI_OS_ENOTDIR, SHMC_ENAME }, { SHMI_OS_ENAMETOOLONG, SHMC_ENAME },
    };
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (map[i].os == os) return map[i].code;
    return SHMC_EOS;
}

static const char *
shmi_os_advice(int code)
{
    switch (code) {
    case SHMC_ENOSPC: return "free space there (shmcomm gc) or ask for less";
    case SHMC_EACCES: return "check owner, mode and gid of the file and folder";
    case SHMC_ENOENT: return "is the other side running, same SHMCOMM_DIR and "
                             "SHMCOMM_PREFIX?";
    case SHMC_EEXIST: return "open it instead, or unlink it first";
    case SHMC_ENOTSUP: return "set SHMCOMM_DIR to a tmpfs, such as /dev/shm";
    case SHMC_ELIMIT: return "raise the limit of open files (ulimit -n)";
    case SHMC_ENOMEM: return "raise the limit of locked memory (ulimit -l) or "
                             "ask for less";
    case SHMC_ECORRUPT: return "the file is not a segment; remove it";
    case SHMC_ENAME: return "set SHMCOMM_DIR to a folder";
    case SHMC_ETIMEDOUT: return "is a process stopped (SIGSTOP, debugger)?";
    default: return "see the system's own error";
    }
}

SHMC_API int
shmi_fail_os(int os, const char *doing, const char *name, const char *dir,
             const char *file)
{
    char buf[128];
    const int code = shmi_os_code(os);

    return shmi_fail(code, "%s '%s' (%s/%s): %s; %s", doing, name, dir, file,
                     shmi_os_error(os, buf, sizeof buf), shmi_os_advice(code));
}

/* >>names */

static bool
shmi_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

SHMC_API bool
shmi_name_good(const char *name, size_t *at)
{
    size_t part = 0;

    for (*at = 0; ; ++*at) {
        const char c = name[*at];
        if (c != '/' && c != '\0') {
            if (!shmi_name_char(c)) return false;
            continue;
        }
        const size_t n = *at - part;
        if (n == 0 || (n == 1 && name[part] == '.') ||
            (n == 2 && name[part] == '.' && name[part + 1] == '.')) {
            *at = part;
            return false;
        }
        if (c == '\0') return *at < SHMC_NAME_BYTES;
        part = *at + 1;
    }
}

SHMC_API int
shmc_name_check(const char *name)
{
    size_t at;

    if (name == NULL || name[0] == '\0')
        return shmi_fail(SHMC_ENAME, "name is empty; give 1 to %d bytes",
                         SHMC_NAME_BYTES - 1);
    if (strnlen(name, SHMC_NAME_BYTES) == SHMC_NAME_BYTES)
        return shmi_fail(SHMC_ENAME, "name '%.32s...' is longer than %d bytes",
                         name, SHMC_NAME_BYTES - 1);
    if (shmi_name_good(name, &at)) return SHMC_OK;
    const char c = name[at];
    if (c != '/' && c != '\0' && !shmi_name_char(c))
        return shmi_fail(SHMC_ENAME, "name '%s' has byte 0x%02x at %zu; use "
                         "A-Z a-z 0-9 . _ - and '/' between parts", name,
                         (unsigned)(unsigned char)c, at);
    return shmi_fail(SHMC_ENAME, "name '%s' has an empty, '.' or '..' part at "
                     "%zu; write it like robot/pose", name, at);
}

SHMC_API int
shmi_prefix(const char *asked, const char **out)
{
    const char *p = asked != NULL ? asked : shmi_env("SHMCOMM_PREFIX");

    if (p == NULL) p = "shmc";
    const size_t n = strnlen(p, SHMC_PREFIX_BYTES);
    bool good = n > 0 && n < SHMC_PREFIX_BYTES;
    for (size_t i = 0; good && i < n; i++)
        good = shmi_name_char(p[i]) && p[i] != '.';
    if (!good)
        return shmi_fail(SHMC_ENAME, "prefix '%.40s' is not 1 to %d bytes of "
                         "A-Z a-z 0-9 _ -; see SHMCOMM_PREFIX", p,
                         SHMC_PREFIX_BYTES - 1);
    *out = p;
    return SHMC_OK;
}

SHMC_API int
shmi_directory(const char *asked, const char **out)
{
    const char *d = asked != NULL ? asked : shmi_env("SHMCOMM_DIR");

    if (d == NULL) d = "/dev/shm";
    if (d[0] != '/' || strnlen(d, SHMC_DIR_BYTES) == SHMC_DIR_BYTES)
        return shmi_fail(SHMC_ENAME, "directory '%.64s' is not an absolute path "
                         "of at most %d bytes; see SHMCOMM_DIR", d,
                         SHMC_DIR_BYTES - 1);
    *out = d;
    return SHMC_OK;
}

SHMC_API int
shmc_name_to_file(const char *prefix, const char *name, char *file,
                  size_t bytes)
{
    int r = shmi_prefix(prefix, &prefix);

    if (r == SHMC_OK) r = shmc_name_check(name);
    if (r != SHMC_OK) return r;
    const int n = snprintf(file, bytes, "%s.%s", prefix, name);
    if (n < 0 || (size_t)n >= bytes)
        return shmi_fail(SHMC_EMSGSIZE, "file name of '%s' needs %d bytes, the "
                         "buffer has %zu", name, n + 1, bytes);
    for (char *c = file; *c != '\0'; c++)
        if (*c == '/') *c = '+';
    return SHMC_OK;
}

SHMC_API uint64_t
shmc_type_hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    return h;
}

#endif /* SHMCOMM_IMPLEMENTATION */
