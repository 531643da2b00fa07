/* shmcomm_platform.h - the machine and the OS, as the other headers see them.
 *
 *     shmi_store_rel_32(&shared->ready, 1);           // R0 -> A0
 *     shmi_wake_32(&shared->ready, INT_MAX);          // in any process
 *     ...
 *     while (shmi_load_acq_32(&shared->ready) == 0)   // A0 <- R0
 *         shmi_wait_32(&shared->ready, 0, SHMI_FOREVER);
 *
 * All of this is private to shmcomm.  Include it, or any other header of
 * shmcomm, before the C library's headers, or compile with -D_GNU_SOURCE.
 * Manual: docs/platform.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_PLATFORM_H
#define SHMCOMM_PLATFORM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- config ------------------------------------------------------------ */

/* What stands before each function that is not inline; such as a visibility
 * attribute.                                                              */
#ifndef SHMC_API
#define SHMC_API
#endif

#if defined(__aarch64__)
#define SHMI_ARM64 1
#else
#define SHMI_ARM64 0
#endif

/* 1: the compiler's __atomic in place of ConcurrencyKit's ck_pr.  On arm64
 * that is better code: ldar and stlr where ck_pr has a dmb ish each.      */
#ifndef SHMC_USE_BUILTIN_ATOMICS
#define SHMC_USE_BUILTIN_ATOMICS SHMI_ARM64
#endif

/* How many turns of an empty loop a backoff makes before it yields.       */
#ifndef SHMC_BACKOFF_LIMIT
#define SHMC_BACKOFF_LIMIT 4096u
#endif

#if defined(__SANITIZE_THREAD__)
#define SHMI_TSAN 1
#elif defined(__has_feature)
#define SHMI_TSAN __has_feature(thread_sanitizer)
#else
#define SHMI_TSAN 0
#endif

/* 1: copy bytes that another process may be writing by atomic words, which
 * ThreadSanitizer understands; 0: by memcpy, which is faster.             */
#ifndef SHMC_STRICT_COPIES
#define SHMC_STRICT_COPIES SHMI_TSAN
#endif

/* SHMC_BACKEND_H, if defined, is a file to include in place of the atomics,
 * fences, copies, prefetches and shmi_relax below, such as "model.h".  When
 * that file defines SHMC_BACKEND_WAITS, the program also supplies what the
 * implementation part has under "wait and wake".                          */

/* ---- constants and helpers --------------------------------------------- */

#define SHMC_INLINE static inline
/* For what is worth it: clang calls larger ones of the others, which makes
 * constant sizes variable.                                                */
#define SHMC_HOT static inline __attribute__((always_inline))
#define SHMC_LINE 128u              /* bytes of a line in shared layouts    */
#define SHMI_FOREVER UINT64_MAX     /* a deadline that never comes          */

#define SHMI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define SHMI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SHMI_CONSTANT(x) __builtin_constant_p(x)

#ifdef __cplusplus
#define SHMC_STATIC_ASSERT(cond, msg) static_assert(cond, msg)
#else
#define SHMC_STATIC_ASSERT(cond, msg) _Static_assert(cond, msg)
#endif
#define SHMC_LAYOUT_AT(type, field, offset)                                   \
    SHMC_STATIC_ASSERT(offsetof(type, field) == (offset),                     \
                       #type "." #field " moved: the shared layout changed")
#define SHMC_LAYOUT_SIZE(type, bytes)                                         \
    SHMC_STATIC_ASSERT(sizeof(type) == (bytes),                               \
                       #type " changed its size: the shared layout changed")

SHMC_STATIC_ASSERT(sizeof(void *) == 8 && sizeof(long) == 8,
                   "shmcomm needs a 64-bit Linux");

enum { SHMI_TIMEOUT = 1 };          /* shmi_wait_32: the deadline came      */
enum { SHMI_MAP_PREFAULT = 1, SHMI_MAP_LOCK = 2, SHMI_MAP_HUGE = 4 };

/* What the functions on files, locks and processes return when they fail. */
enum {
    SHMI_OS_EPERM = -EPERM,               SHMI_OS_ENOENT = -ENOENT,
    SHMI_OS_EBADF = -EBADF,               SHMI_OS_ENOTDIR = -ENOTDIR,
    SHMI_OS_EAGAIN = -EAGAIN,             SHMI_OS_ENOMEM = -ENOMEM,
    SHMI_OS_EACCES = -EACCES,             SHMI_OS_EEXIST = -EEXIST,
    SHMI_OS_EISDIR = -EISDIR,             SHMI_OS_EINVAL = -EINVAL,
    SHMI_OS_ENFILE = -ENFILE,             SHMI_OS_EMFILE = -EMFILE,
    SHMI_OS_EFBIG = -EFBIG,               SHMI_OS_ENOSPC = -ENOSPC,
    SHMI_OS_EROFS = -EROFS,               SHMI_OS_ENAMETOOLONG = -ENAMETOOLONG,
    SHMI_OS_ENOSYS = -ENOSYS,             SHMI_OS_ELOOP = -ELOOP,
    SHMI_OS_EOPNOTSUPP = -EOPNOTSUPP,     SHMI_OS_ETIMEDOUT = -ETIMEDOUT,
    SHMI_OS_EDQUOT = -EDQUOT
};

/* ---- choice of the back end -------------------------------------------- */

/* A ck_md.h of another CPU, as when cross-compiling with the host's headers,
 * would leave fences or lock prefixes out: it counts as if there was none. */
#if defined(__has_include) && !SHMC_USE_BUILTIN_ATOMICS && !SHMI_TSAN
#if __has_include(<ck_pr.h>) && __has_include(<ck_backoff.h>) && \
    __has_include(<ck_md.h>)
#include <ck_md.h>
#if !defined(CK_MD_UMP) && (defined(__x86_64__) || defined(CK_MD_RMO))
#define SHMI_HAS_CK 1
#endif
#endif
#endif

#if defined(SHMC_BACKEND_H)
#define SHMI_BACKEND_CUSTOM 1
#include SHMC_BACKEND_H
#ifndef SHMI_BACKEND_NAME
#define SHMI_BACKEND_NAME "custom"
#endif
#elif defined(SHMI_HAS_CK)
#define SHMI_BACKEND_CK 1
#define SHMI_BACKEND_NAME "ck"
#include <ck_backoff.h>
#include <ck_pr.h>
#else
#define SHMI_BACKEND_NAME "builtin"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: time, wait and wake ------------------------------------------ */

/* Read CLOCK_MONOTONIC (no syscall where the vDSO has it), CLOCK_REALTIME. */
SHMC_API uint64_t shmi_now_ns(void);
SHMC_API uint64_t shmi_realtime_ns(void);

/* Turn a timeout into a deadline on shmi_now_ns: negative is SHMI_FOREVER,
 * which no other timeout gives; 0 is now.                                 */
SHMC_API uint64_t shmi_deadline(int64_t timeout_ns);

/* Sleep while *word is `expected`, until a wake or the deadline.
 * Looking at the word and falling asleep are one step to shmi_wake_32, so
 * "store, then wake" is never missed.  The word may be in a read-only
 * mapping, and be mapped elsewhere in other processes.
 * Returns 0 when woken, or the word differs, or for no reason (a signal):
 *         look again; SHMI_TIMEOUT; negative errno: a bad address.
 * Cost    one syscall.  Orders nothing: load the word again by acquire.   */
SHMC_API int shmi_wait_32(uint32_t *word, uint32_t expected,
                          uint64_t deadline_ns);

/* Sleep while each of 1..SHMI_WAIT_MAX words is what is expected of it, until
 * a wake of one of them or the deadline; the rest as shmi_wait_32.
 * Looking at one word and falling asleep on it are one step to who wakes;
 * the words are looked at one after the other.
 * Errors  -ENOSYS Linux before 5.16, or a seccomp filter; -EPERM the same.  */
typedef struct shmi_wait_word {
    uint32_t *word;
    uint32_t expected;
} shmi_wait_word;
enum { SHMI_WAIT_MAX = 128 };
SHMC_API int shmi_wait_many(const shmi_wait_word *words, uint32_t count,
                            uint64_t deadline_ns);

/* Wake up to `count` sleepers on the word, in all processes; INT_MAX: all.
 * Cost  one syscall, also when nobody sleeps.                             */
SHMC_API void shmi_wake_32(uint32_t *word, int count);

SHMC_API void shmi_yield(void);     /* let another ready thread run here    */

SHMC_API void shmi_sleep_until(uint64_t deadline_ns);  /* signals or not    */

/* Let other processes' shmi_membarrier reach the threads of this one.
 * Inherited by fork, lost by exec.  Errors  -ENOSYS, -EINVAL, -EPERM.     */
SHMC_API int shmi_membarrier_register(void);

/* Run a full fence in each running thread of each registered process.
 * What they stored before it is seen by the caller's loads after, and what
 * the caller stored before is seen by their loads after it; a sleeping
 * thread went through such a fence when it left its CPU.
 * Cost    an interrupt to each CPU that runs such a thread, and a wait for
 *         the answers.  Errors  -ENOSYS, -EPERM (a seccomp filter).       */
SHMC_API int shmi_membarrier(void);

/* Tell whether the kernel has both of these and lets us call them.        */
SHMC_API bool shmi_membarrier_supported(void);

/* ---- API: files -------------------------------------------------------- */

/* Each returns 0, or what it says, or a negative errno; nothing prints.
 * A descriptor is never inherited through exec.                           */

typedef struct shmi_file_info {
    uint64_t bytes, allocated_bytes, inode, device;
    uint32_t links, mode, uid, gid; /* mode: permission bits only           */
    int64_t  mtime_ns;
    bool     regular;               /* not a folder, link, device ...       */
} shmi_file_info;

/* Open a folder for the calls below that take a dirfd.
 * Returns a descriptor.  Errors  -ENOENT, -ENOTDIR, -EACCES.              */
SHMC_API int shmi_dir_open(const char *dir);

/* Open a folder whose bytes can be locked, shared, and probed; its numbers
 * mean what the callers agree on.  Errors  -ENOENT, -ENOTDIR, -EACCES.    */
SHMC_API int shmi_dir_open_locks(const char *dir);

/* Create a file that has no name and goes away with its last descriptor.
 * `mode` is exact, whatever the umask; gid -1 keeps this process's own.
 * Returns a descriptor, for reading and writing.
 * Errors  -EOPNOTSUPP or -EISDIR no such files there; -EPERM gid.         */
SHMC_API int shmi_file_unnamed(const char *dir, uint32_t mode, int64_t gid);

/* Make the file at least `bytes` long, with real pages behind all of them,
 * so that a write through a mapping never meets a full file system.  Never
 * shrinks it.  Safety  goes on where a signal stopped it, however many come.
 * Cost    O(bytes): the kernel clears each page.
 * Errors  -ENOSPC, before anything is taken where the file system knows;
 *         -EFBIG over RLIMIT_FSIZE (without SIGXFSZ); -EINVAL 0 bytes.    */
SHMC_API int shmi_file_reserve(int fd, uint64_t bytes);

/* Give an unnamed file its name, in one step.
 * Crash   dying in it leaves a whole file or none.
 * Errors  -EEXIST: the name is taken, by whatever it may be.              */
SHMC_API int shmi_file_publish(int fd, int dirfd, const char *name);

/* Open a file by name; never follows a link, never waits, never creates.
 * Returns a descriptor.
 * Errors  -ENOENT; -EACCES; -ELOOP a symbolic link; -EINVAL a folder, pipe,
 *         socket or device.                                               */
SHMC_API int shmi_file_open(int dirfd, const char *name, bool read_only);

/* Open the file of a descriptor once more: another open file description,
 * which sees the locks of the first as somebody else's.  Returns a
 * descriptor.  Errors  -EACCES by the file's mode; -ENOENT no /proc.      */
SHMC_API int shmi_file_again(int fd, bool read_only);

/* Set the permission bits exactly.  Errors  -EPERM not the owner.         */
SHMC_API int shmi_file_mode(int fd, uint32_t mode);

/* Look at an open file; at a name (a link itself, not where it leads).    */
SHMC_API int shmi_file_info_get(int fd, shmi_file_info *out);
SHMC_API int shmi_name_info(int dirfd, const char *name, shmi_file_info *out);

/* Remove a name; the file lives until its last user closes it.            */
SHMC_API int shmi_file_unlink(int dirfd, const char *name);

/* Close a descriptor, which drops its locks if it is the last one of its
 * open file description.  It is closed whatever is returned.              */
SHMC_API int shmi_close(int fd);

/* Call fn for each name in a folder but "." and "..", in no order, until it
 * returns other than 0, and return that.  Names that come or go meanwhile
 * may or may not be met.                                                  */
SHMC_API int shmi_dir_each(const char *dir,
                           int (*fn)(void *user, const char *name),
                           void *user);

/* Map the first `bytes` of a file, shared, and do as the flags say.
 * Owner   shmi_unmap.  *out is NULL on failure.
 * Errors  -EINVAL 0 bytes or more than the file has (touching those would
 *         be SIGBUS); -EACCES; those of shmi_map_advise.                  */
SHMC_API int shmi_map(int fd, uint64_t bytes, bool read_only, uint32_t flags,
                      void **out);

/* Do as the flags say with a whole mapping: HUGE asks for huge pages (which
 * the kernel may give later, or not), PREFAULT maps every page now, LOCK
 * keeps them in memory.
 * Errors  -ENOMEM or -EPERM over RLIMIT_MEMLOCK; -EINVAL no huge pages in
 *         this kernel or not for this mapping.  What was done stays.      */
SHMC_API int shmi_map_advise(void *p, uint64_t bytes, bool read_only,
                             uint32_t flags);

SHMC_API int shmi_unmap(void *p, uint64_t bytes);
SHMC_API uint64_t shmi_page_bytes(void);

/* Map zeroed memory that forked children share.  Owner  shmi_unmap.       */
SHMC_API int shmi_memory_map(uint64_t bytes, void **out);

/* ---- API: locks on one byte of a file ---------------------------------- */

/* A lock belongs to the open file description: threads and forked children
 * share it, dup keeps it, another open of the same file does not see it as
 * its own.  The kernel drops it when the last descriptor goes, so at the
 * latest at death, SIGKILL included.  The byte need not exist.            */

/* Lock a byte or change the lock's kind.  Cost one syscall.
 * Errors  -EAGAIN held by another; -EBADF exclusive but fd cannot write.  */
SHMC_API int shmi_lock_try(int fd, uint64_t offset, bool exclusive);

/* The same, but wait.  Errors  -ETIMEDOUT after at least one try.
 * Cost  to a deadline it tries again every 0.05 to 1 ms; with SHMI_FOREVER
 *       the kernel queues it.                                             */
SHMC_API int shmi_lock_wait(int fd, uint64_t offset, bool exclusive,
                            uint64_t deadline_ns);

/* Unlock a byte.  In a forked child this would free the parent's lock.    */
SHMC_API int shmi_lock_release(int fd, uint64_t offset);

/* Ask for the lock without taking it: 1 another description holds it (in
 * either kind), 0 nobody but this one.  fd may be read-only.              */
SHMC_API int shmi_lock_probe(int fd, uint64_t offset);

/* ---- API: process ------------------------------------------------------ */

SHMC_API int32_t shmi_process_id(void);
SHMC_API int32_t shmi_thread_id(void);

/* Tell when a process began, in clock ticks since boot; with its id this
 * names it for ever.  0: no such process, or hidden from us.              */
SHMC_API uint64_t shmi_process_start(int32_t pid);

/* Write this process's short name, cut to fit.  Errors  -EINVAL 0 bytes.  */
SHMC_API int shmi_process_name(char *out, size_t bytes);

/* Run fn(arg) in another thread, which gets no signals; then wait for its
 * end.  Errors  -EAGAIN no more threads.                                  */
typedef struct shmi_thread { uint64_t id; } shmi_thread;
SHMC_API int  shmi_thread_start(shmi_thread *t, void *(*fn)(void *), void *arg);
SHMC_API void shmi_thread_join(shmi_thread *t);

/* A descriptor that poll and epoll find readable from set to clear.
 * Returns it.  Errors  -EMFILE, -ENFILE.  Neither of the others blocks.   */
SHMC_API int  shmi_flag_open(void);
SHMC_API void shmi_flag_set(int fd);
SHMC_API void shmi_flag_clear(int fd);

/* Have functions called around each fork; there is no way back.           */
SHMC_API int shmi_on_fork(void (*prepare)(void), void (*parent)(void),
                          void (*child)(void));

/* Read the environment; NULL where unset, or in a set-user-id program.    */
SHMC_API const char *shmi_env(const char *name);

/* Say a negative errno in words: "No space left on device (ENOSPC)".
 * Safety  any thread; writes only buf.  Returns buf, or "" of 0 bytes.    */
SHMC_API const char *shmi_os_error(int negative_errno, char *buf,
                                   size_t bytes);

/* A lock for slow paths; zero is unlocked.  A death inside leaves it locked:
 * for threads of one process.  shmi_mutex_lock blocks without a bound,
 * shmi_mutex_lock_until up to a deadline: -ETIMEDOUT.                     */
typedef struct shmi_mutex { uint32_t word; } shmi_mutex;
SHMC_API void shmi_mutex_lock(shmi_mutex *m);
SHMC_API int  shmi_mutex_lock_until(shmi_mutex *m, uint64_t deadline_ns);
SHMC_API void shmi_mutex_unlock(shmi_mutex *m);

/* Allocate zeroed memory; NULL when there is none.  Free it.              */
SHMC_API void *shmi_alloc(size_t bytes);
SHMC_API void shmi_free(void *p);

/* ---- inline: atomics and fences ---------------------------------------- */

/* For N = 32 and 64, on naturally aligned words, all wait-free on x86-64
 * (a compare-and-swap or add may retry inside on arm64 without LSE):
 *   load_rlx, store_rlx  whole, but ordered with nothing
 *   load_acq     later loads and stores of this thread stay after it
 *   store_rel    earlier loads and stores of this thread stay before it
 *   cas          acquire and release; on failure acquire, and *expected is
 *                what was there; never fails for no reason
 *   cas_acq, cas_rel, cas_rlx  the same, but acquire only, release only, or
 *                neither; on failure relaxed
 *   faa, swap    acquire and release; return what was there
 *   faa_rlx      whole, but ordered with nothing: for counts
 * None of them orders an earlier store before a later load of another word
 * (cas, faa and swap do on x86, but not on arm64): only fence_sc does.
 *
 * Fences, which work together with relaxed accesses as in C11:
 *   fence_acq    earlier loads stay before later loads and stores
 *   fence_rel    earlier loads and stores stay before later stores
 *   fence_sc     everything earlier stays before everything later, and all
 *                fence_sc of all threads have one order
 *   fence_compiler  for the compiler only; the CPU is not told            */
#if !defined(SHMI_BACKEND_CUSTOM)

SHMC_INLINE void shmi_fence_compiler(void) { __asm__ volatile("" ::: "memory"); }

#if defined(SHMI_BACKEND_CK)

/* Relaxed all, where the CPU knows a difference: a fence stands before what
 * releases and after what acquires.  On x86-64 these fences are for the
 * compiler only, as the CPU moves no load after a load or store, and no
 * store before either; on arm64 they are dmb ish.                         */
#define SHMI_BEFORE()              ck_pr_fence_release()
#define SHMI_AFTER()               ck_pr_fence_acquire()
#define SHMI_FENCE_ACQUIRE         ck_pr_fence_acquire()
#define SHMI_FENCE_RELEASE         ck_pr_fence_release()
#if defined(__x86_64__)
/* A locked instruction orders all as mfence does, in less time.           */
#define SHMI_FENCE_SEQ_CST         uint32_t stack = 0; ck_pr_add_32(&stack, 0)
#else
#define SHMI_FENCE_SEQ_CST         ck_pr_fence_memory()
#endif
#define SHMI_LOAD(N, p, order)     ck_pr_load_##N(p)
#define SHMI_STORE(N, p, v, order) ck_pr_store_##N(p, v)
#define SHMI_CAS(N, p, e, v, order, failed) ck_pr_cas_##N##_value(p, *(e), v, e)
#define SHMI_FAA(N, p, d, order)   ck_pr_faa_##N(p, d)
#define SHMI_SWAP(N, p, v)         ck_pr_fas_##N(p, v)

#else /* the compiler's __atomic */

#if SHMI_TSAN
/* ThreadSanitizer does not see what a fence orders.  Here each is also a
 * read-modify-write of one word of the process, so that a release fence
 * happens before every later acquire fence.  That is more order than there
 * is: nothing false is reported, and what it hides the model tests show.  */
extern uint32_t shmi_tsan_fence_word;
#define SHMI_FENCE(order)                                                     \
    __atomic_thread_fence(order);                                             \
    (void)__atomic_fetch_add(&shmi_tsan_fence_word, 0u, order)
#else
#define SHMI_FENCE(order)          __atomic_thread_fence(order)
#endif
#define SHMI_BEFORE()              ((void)0)
#define SHMI_AFTER()               ((void)0)
#define SHMI_FENCE_ACQUIRE         SHMI_FENCE(__ATOMIC_ACQUIRE)
#define SHMI_FENCE_RELEASE         SHMI_FENCE(__ATOMIC_RELEASE)
#define SHMI_FENCE_SEQ_CST         SHMI_FENCE(__ATOMIC_SEQ_CST)
#define SHMI_LOAD(N, p, order)     __atomic_load_n(p, __ATOMIC_##order)
#define SHMI_STORE(N, p, v, order) __atomic_store_n(p, v, __ATOMIC_##order)
#define SHMI_CAS(N, p, e, v, order, failed)                                   \
    __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_##order,             \
                                __ATOMIC_##failed)
#define SHMI_FAA(N, p, d, order)   __atomic_fetch_add(p, d, __ATOMIC_##order)
#define SHMI_SWAP(N, p, v)         __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL)

#endif /* back end */

#if SHMI_TSAN && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
SHMC_INLINE void shmi_fence_acq(void) { SHMI_FENCE_ACQUIRE; }
SHMC_INLINE void shmi_fence_rel(void) { SHMI_FENCE_RELEASE; }
SHMC_INLINE void shmi_fence_sc(void) { SHMI_FENCE_SEQ_CST; }
#if SHMI_TSAN && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#define SHMI_ATOMICS(N, T)                                                    \
    SHMC_INLINE T shmi_load_rlx_##N(const T *p)                               \
    { return SHMI_LOAD(N, p, RELAXED); }                                      \
    SHMC_INLINE T shmi_load_acq_##N(const T *p)                               \
    { const T v = SHMI_LOAD(N, p, ACQUIRE); SHMI_AFTER(); return v; }         \
    SHMC_INLINE void shmi_store_rlx_##N(T *p, T v)                            \
    { SHMI_STORE(N, p, v, RELAXED); }                                         \
    SHMC_INLINE void shmi_store_rel_##N(T *p, T v)                            \
    { SHMI_BEFORE(); SHMI_STORE(N, p, v, RELEASE); }                          \
    SHMC_INLINE bool shmi_cas_##N(T *p, T *expected, T desired)               \
    {                                                                         \
        SHMI_BEFORE();                                                        \
        const bool done = SHMI_CAS(N, p, expected, desired, ACQ_REL, ACQUIRE); \
        SHMI_AFTER();                                                         \
        return done;                                                          \
    }                                                                         \
    SHMC_INLINE bool shmi_cas_acq_##N(T *p, T *expected, T desired)           \
    {                                                                         \
        const bool done = SHMI_CAS(N, p, expected, desired, ACQUIRE, RELAXED); \
        SHMI_AFTER();                                                         \
        return done;                                                          \
    }                                                                         \
    SHMC_INLINE bool shmi_cas_rel_##N(T *p, T *expected, T desired)           \
    {                                                                         \
        SHMI_BEFORE();                                                        \
        return SHMI_CAS(N, p, expected, desired, RELEASE, RELAXED);           \
    }                                                                         \
    SHMC_INLINE bool shmi_cas_rlx_##N(T *p, T *expected, T desired)           \
    { return SHMI_CAS(N, p, expected, desired, RELAXED, RELAXED); }           \
    SHMC_INLINE T shmi_faa_##N(T *p, T d)                                     \
    {                                                                         \
        SHMI_BEFORE();                                                        \
        const T was = SHMI_FAA(N, p, d, ACQ_REL);                             \
        SHMI_AFTER();                                                         \
        return was;                                                           \
    }                                                                         \
    SHMC_INLINE T shmi_faa_rlx_##N(T *p, T d)                                 \
    { return SHMI_FAA(N, p, d, RELAXED); }                                    \
    SHMC_INLINE T shmi_swap_##N(T *p, T v)                                    \
    { SHMI_BEFORE(); const T was = SHMI_SWAP(N, p, v); SHMI_AFTER(); return was; }

SHMI_ATOMICS(32, uint32_t)
SHMI_ATOMICS(64, uint64_t)
#undef SHMI_ATOMICS

/* ---- inline: copies, prefetch, pause ----------------------------------- */

/* Copy into, or out of, shared bytes that somebody may use meanwhile.  What
 * arrives may be a mix of old and new in pieces of any size: only a check
 * afterwards tells (as in a seqlock).  The private copy is made once: the
 * compiler never looks at the shared bytes again in its place.
 * Cost  wait-free, O(bytes); moves, not a call, where bytes is a small
 *       constant.                                                         */
#if SHMC_STRICT_COPIES

typedef uint64_t __attribute__((may_alias)) shmi_word_64;

/* The shared side decides where words are whole, the same for both ways.  */
SHMC_INLINE void
shmi_copy_words(void *dst, const void *src, size_t bytes, bool in)
{
    unsigned char *d = (unsigned char *)dst;
    const unsigned char *s = (const unsigned char *)src;

    for (size_t step; bytes > 0; d += step, s += step, bytes -= step) {
        shmi_word_64 v, *const word = (shmi_word_64 *)(uintptr_t)(in ? d : s);
        step = bytes >= 8 && (uintptr_t)word % 8 == 0 ? 8 : 1;
        if (step == 1) {
            if (in) __atomic_store_n(d, *s, __ATOMIC_RELAXED);
            else *d = __atomic_load_n(s, __ATOMIC_RELAXED);
        } else if (in) {
            memcpy(&v, s, 8);
            __atomic_store_n(word, v, __ATOMIC_RELAXED);
        } else {
            v = __atomic_load_n(word, __ATOMIC_RELAXED);
            memcpy(d, &v, 8);
        }
    }
}
#define SHMI_COPY shmi_copy_words
#else

/* A memcpy that stays out of the way of small messages: compilers make a
 * call or rep movs of one whose size they do not know.                    */
SHMC_HOT void
shmi_copy_bytes(void *dst, const void *src, size_t bytes)
{
    unsigned char *d = (unsigned char *)dst;
    const unsigned char *s = (const unsigned char *)src;

    if ((SHMI_CONSTANT(bytes) && bytes != 0) || bytes > 128) {
        memcpy(d, s, bytes);
        return;
    }
    /* Not to warn that the longer moves would run over a short buffer.    */
    __asm__("" : "+r"(d), "+r"(s));
    if (bytes >= 16) {
        do {
#define SHMI_MOVE(I) if (bytes <= (I) + 16) break; memcpy(d + (I), s + (I), 16)
            SHMI_MOVE(0);
            SHMI_MOVE(16);
            SHMI_MOVE(32);
            SHMI_MOVE(48);
            SHMI_MOVE(64);
            SHMI_MOVE(80);
            SHMI_MOVE(96);
#undef SHMI_MOVE
        } while (0);
        memcpy(d + bytes - 16, s + bytes - 16, 16);     /* may overlap */
    } else if (bytes >= 8) {
        memcpy(d, s, 8);
        memcpy(d + bytes - 8, s + bytes - 8, 8);
    } else if (bytes >= 4) {
        memcpy(d, s, 4);
        memcpy(d + bytes - 4, s + bytes - 4, 4);
    } else if (bytes > 0) {
        d[0] = s[0];
        d[bytes / 2] = s[bytes / 2];
        d[bytes - 1] = s[bytes - 1];
    }
}
#define SHMI_COPY(dst, src, bytes, in) shmi_copy_bytes(dst, src, bytes)
#endif

SHMC_HOT void
shmi_copy_in(void *shared_dst, const void *src, size_t bytes)
{
    SHMI_COPY(shared_dst, src, bytes, true);
    shmi_fence_compiler();
}

SHMC_HOT void
shmi_copy_out(void *dst, const void *shared_src, size_t bytes)
{
    SHMI_COPY(dst, shared_src, bytes, false);
    shmi_fence_compiler();
}

/* Ask for the line of p early, to read or to write it.  Never faults.     */
SHMC_INLINE void shmi_prefetch_r(const void *p) { __builtin_prefetch(p, 0, 3); }
SHMC_INLINE void
shmi_prefetch_w(const void *p)
{
#if defined(__x86_64__)
    /* Compilers make a prefetch to read of it unless told of the CPU; those
     * that do not know the instruction take it for none.                  */
    __asm__ volatile("prefetchw (%0)" :: "r"(p));
#else
    __builtin_prefetch(p, 1, 3);
#endif
}

/* Tell the CPU that this thread spins.                                    */
SHMC_INLINE void
shmi_relax(void)
{
#if defined(__aarch64__)
    /* ck_pr_stall is empty there, and yield does nothing on most cores.   */
    __asm__ volatile("isb" ::: "memory");
#elif defined(SHMI_BACKEND_CK)
    ck_pr_stall();
#elif defined(__x86_64__)
    __asm__ volatile("pause" ::: "memory");
#else
    shmi_fence_compiler();
#endif
}

#endif /* !SHMI_BACKEND_CUSTOM */

/* The same pointer, of which the compiler knows nothing.  Of a small object
 * gcc 12 warns of the moves that a copy makes for longer ones.            */
SHMC_HOT void *
shmi_opaque(void *p)
{
    __asm__("" : "+r"(p));
    return p;
}

/* ---- inline: backoff --------------------------------------------------- */

typedef struct shmi_backoff { uint32_t n; } shmi_backoff;
#define SHMI_BACKOFF_INIT { 0 }

/* Wait a moment, twice as long as the last time; from SHMC_BACKOFF_LIMIT
 * on yield the CPU instead, so that whoever is waited for can run here.   */
SHMC_INLINE void
shmi_backoff_spin(shmi_backoff *b)
{
    if (b->n >= SHMC_BACKOFF_LIMIT) {
        shmi_yield();
        return;
    }
    if (b->n == 0) b->n = 16;
    shmi_relax();
#if defined(SHMI_BACKEND_CK)
    ck_backoff_eb(&b->n);
#else
    for (uint32_t i = 0; i < b->n; i++) shmi_fence_compiler();
    b->n *= 2;
#endif
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_PLATFORM_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_PLATFORM_IMPLEMENTED)
#define SHMCOMM_PLATFORM_IMPLEMENTED
#ifdef __cplusplus
#error "compile SHMCOMM_IMPLEMENTATION in a C file; C++ may include the rest"
#endif

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined(O_TMPFILE) || !defined(F_OFD_SETLK)
#error "include shmcomm before the C library's headers, or use -D_GNU_SOURCE"
#endif

#if SHMI_TSAN
uint32_t shmi_tsan_fence_word;
#endif

/* What a system call returned: 0 or more, or a negative errno.            */
static int shmi_os_result(long r) { return r < 0 ? -errno : (int)r; }

/* >>time */

static uint64_t
shmi_clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

SHMC_API uint64_t shmi_realtime_ns(void) { return shmi_clock_ns(CLOCK_REALTIME); }

SHMC_API uint64_t
shmi_deadline(int64_t timeout_ns)
{
    if (timeout_ns < 0) return SHMI_FOREVER;
    /* Both terms are below 2^63, so the sum is below SHMI_FOREVER.        */
    return shmi_now_ns() + (uint64_t)timeout_ns;
}

/* >>wait and wake */

#ifndef SHMC_BACKEND_WAITS

static struct timespec
shmi_timespec(uint64_t ns)
{
    struct timespec t;
    t.tv_sec = (time_t)(ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
}

SHMC_API uint64_t shmi_now_ns(void) { return shmi_clock_ns(CLOCK_MONOTONIC); }

SHMC_API int
shmi_wait_32(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    const struct timespec t = shmi_timespec(deadline_ns);
    const long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                           deadline_ns == SHMI_FOREVER ? NULL : &t, NULL,
                           FUTEX_BITSET_MATCH_ANY);

    if (r >= 0 || errno == EAGAIN || errno == EINTR) return 0;
    return errno == ETIMEDOUT ? SHMI_TIMEOUT : -errno;
}

/* As in <linux/futex.h> since 5.16, which may be newer than the C library. */
typedef struct shmi_futex_waitv {
    uint64_t value, address;
    uint32_t flags, reserved;
} shmi_futex_waitv;
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

SHMC_API int
shmi_wait_many(const shmi_wait_word *words, uint32_t count,
               uint64_t deadline_ns)
{
    const struct timespec t = shmi_timespec(deadline_ns);
    shmi_futex_waitv waits[SHMI_WAIT_MAX];

    if (count == 0 || count > SHMI_WAIT_MAX) return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        waits[i].value = words[i].expected;
        waits[i].address = (uint64_t)(uintptr_t)words[i].word;
        waits[i].flags = 2;         /* 32 bits, shared by processes         */
        waits[i].reserved = 0;
    }
    const long r = syscall(SYS_futex_waitv, waits, count, 0,
                           deadline_ns == SHMI_FOREVER ? NULL : &t,
                           CLOCK_MONOTONIC);
    if (r >= 0 || errno == EAGAIN || errno == EINTR) return 0;
    return errno == ETIMEDOUT ? SHMI_TIMEOUT : -errno;
}

SHMC_API void
shmi_wake_32(uint32_t *word, int count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

SHMC_API void shmi_yield(void) { (void)sched_yield(); }

SHMC_API void
shmi_sleep_until(uint64_t deadline_ns)
{
    const struct timespec t = shmi_timespec(deadline_ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static long
shmi_membarrier_call(int command)
{
    const long r = syscall(SYS_membarrier, command, 0, 0);
    return r < 0 ? -errno : r;
}

SHMC_API int
shmi_membarrier_register(void)
{
    return (int)shmi_membarrier_call(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

SHMC_API int
shmi_membarrier(void)
{
    return (int)shmi_membarrier_call(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

SHMC_API bool
shmi_membarrier_supported(void)
{
    const long both = MEMBARRIER_CMD_GLOBAL_EXPEDITED |
                      MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
    const long has = shmi_membarrier_call(MEMBARRIER_CMD_QUERY);
    return has >= 0 && (has & both) == both;
}

#endif /* !SHMC_BACKEND_WAITS */

/* >>files */

SHMC_API int
shmi_dir_open(const char *dir)
{
    return shmi_os_result(open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

SHMC_API int
shmi_dir_open_locks(const char *dir)
{
    return shmi_os_result(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

SHMC_API int
shmi_file_unnamed(const char *dir, uint32_t mode, int64_t gid)
{
    if (mode > 07777 || gid < -1 || gid >= UINT32_MAX) return -EINVAL;
    const int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    /* The group first: changing it may clear bits of the mode.            */
    if ((gid < 0 || fchown(fd, (uid_t)-1, (gid_t)gid) == 0) &&
        fchmod(fd, (mode_t)mode) == 0)
        return fd;
    const int r = -errno;
    (void)close(fd);
    return r;
}

/* Find out early that `bytes` cannot be had, so that an absurd request does
 * not fill the file system first.                                         */
static int
shmi_reserve_check(int fd, uint64_t bytes)
{
    struct rlimit limit;
    struct stat st;
    struct statvfs fs;

    if (bytes == 0) return -EINVAL;
    if (fstat(fd, &st) != 0 || fstatvfs(fd, &fs) != 0 ||
        getrlimit(RLIMIT_FSIZE, &limit) != 0)
        return -errno;
    if (bytes > INT64_MAX || bytes > limit.rlim_cur) return -EFBIG;
    const uint64_t has = (uint64_t)st.st_blocks * 512;
    /* A file system without a limit says that it has 0 blocks.            */
    if (fs.f_blocks != 0 && bytes > has &&
        (bytes - has - 1) / fs.f_frsize >= fs.f_bavail)
        return -ENOSPC;
    return 0;
}

SHMC_API int
shmi_file_reserve(int fd, uint64_t bytes)
{
    uint64_t at = 0, step = UINT64_C(16) << 20;
    int r = shmi_reserve_check(fd, bytes);

    while (r == 0 && at < bytes) {
        const uint64_t n = bytes - at < step ? bytes - at : step;
        r = -posix_fallocate(fd, (off_t)at, (off_t)n);
        if (r == 0) {
            at += n;
        } else if (r == -EINTR) {
            /* A signal undid this step (in Linux before 6.11, any signal).
             * With a fast timer only shorter steps get through.           */
            if (step > 65536) step /= 2;
            r = 0;
        }
    }
    return r;
}

SHMC_API int
shmi_file_publish(int fd, int dirfd, const char *name)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) == 0) return 0;
    const int first = -errno;
    if (first == -EEXIST) return first;
    /* Without /proc there is this, where the kernel lets us.              */
    if (linkat(fd, "", dirfd, name, AT_EMPTY_PATH) == 0) return 0;
    return errno == EEXIST ? -EEXIST : first;
}

SHMC_API int
shmi_file_open(int dirfd, const char *name, bool read_only)
{
    const int fd = openat(dirfd, name, (read_only ? O_RDONLY : O_RDWR) |
                          O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    shmi_file_info info = { 0 };
    int r = fd < 0 ? -errno : shmi_file_info_get(fd, &info);

    if (r == 0 && !info.regular) r = -EINVAL;
    /* A folder; a socket, or a device without a driver.                   */
    if (r == -EISDIR || r == -ENXIO || r == -ENODEV) r = -EINVAL;
    if (r == 0) return fd;
    if (fd >= 0) (void)close(fd);
    return r;
}

SHMC_API int
shmi_file_again(int fd, bool read_only)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return shmi_os_result(open(path, (read_only ? O_RDONLY : O_RDWR) |
                               O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

SHMC_API int
shmi_file_mode(int fd, uint32_t mode)
{
    if (mode > 07777) return -EINVAL;
    return shmi_os_result(fchmod(fd, (mode_t)mode));
}

static int
shmi_info_fill(int r, const struct stat *st, shmi_file_info *out)
{
    memset(out, 0, sizeof *out);
    if (r != 0) return -errno;
    out->bytes = (uint64_t)st->st_size;
    out->allocated_bytes = (uint64_t)st->st_blocks * 512;
    out->inode = (uint64_t)st->st_ino;
    out->device = (uint64_t)st->st_dev;
    out->links = (uint32_t)st->st_nlink;
    out->mode = (uint32_t)st->st_mode & 07777;
    out->uid = (uint32_t)st->st_uid;
    out->gid = (uint32_t)st->st_gid;
    out->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    out->regular = S_ISREG(st->st_mode);
    return 0;
}

SHMC_API int
shmi_file_info_get(int fd, shmi_file_info *out)
{
    struct stat st;
    return shmi_info_fill(fstat(fd, &st), &st, out);
}

SHMC_API int
shmi_name_info(int dirfd, const char *name, shmi_file_info *out)
{
    struct stat st;
    const int r = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW);
    return shmi_info_fill(r, &st, out);
}

SHMC_API int
shmi_file_unlink(int dirfd, const char *name)
{
    return shmi_os_result(unlinkat(dirfd, name, 0));
}

SHMC_API int shmi_close(int fd) { return shmi_os_result(close(fd)); }

SHMC_API int
shmi_dir_each(const char *dir, int (*fn)(void *user, const char *name),
              void *user)
{
    DIR *d = opendir(dir);
    int r = 0;

    if (d == NULL) return -errno;
    while (r == 0) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL) {
            r = -errno;             /* 0 at the end                         */
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = fn(user, e->d_name);
    }
    (void)closedir(d);
    return r;
}

/* >>memory */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* Touch every page: kernels before 5.14 have no advice that does.         */
static void
shmi_touch(const volatile unsigned char *p, uint64_t bytes)
{
    const uint64_t page = shmi_page_bytes();
    for (uint64_t i = 0; i < bytes; i += page) (void)p[i];
}

SHMC_API int
shmi_map_advise(void *p, uint64_t bytes, bool read_only, uint32_t flags)
{
    const int populate = read_only ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;

    if ((flags & SHMI_MAP_HUGE) && madvise(p, bytes, MADV_HUGEPAGE) != 0)
        return -errno;
    if ((flags & SHMI_MAP_PREFAULT) && madvise(p, bytes, populate) != 0) {
        if (errno != EINVAL) return -errno;
        shmi_touch((const volatile unsigned char *)p, bytes);
    }
    if ((flags & SHMI_MAP_LOCK) && mlock(p, bytes) != 0) return -errno;
    return 0;
}

static int
shmi_map_any(int fd, uint64_t bytes, int prot, int how, void **out)
{
    void *p = mmap(NULL, bytes, prot, how, fd, 0);
    *out = p == MAP_FAILED ? NULL : p;
    return p == MAP_FAILED ? -errno : 0;
}

SHMC_API int
shmi_map(int fd, uint64_t bytes, bool read_only, uint32_t flags, void **out)
{
    shmi_file_info info;
    int r = shmi_file_info_get(fd, &info);

    *out = NULL;
    if (r == 0 && bytes > info.bytes) r = -EINVAL;
    if (r == 0) r = shmi_map_any(fd, bytes, read_only ? PROT_READ :
                                 PROT_READ | PROT_WRITE, MAP_SHARED, out);
    if (r != 0) return r;
    r = shmi_map_advise(*out, bytes, read_only, flags);
    if (r != 0) {
        (void)munmap(*out, bytes);
        *out = NULL;
    }
    return r;
}

SHMC_API int
shmi_memory_map(uint64_t bytes, void **out)
{
    return shmi_map_any(-1, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, out);
}

SHMC_API int
shmi_unmap(void *p, uint64_t bytes)
{
    return shmi_os_result(munmap(p, bytes));
}

SHMC_API uint64_t shmi_page_bytes(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

/* >>locks */

/* Returns 0 or a negative errno; *kind becomes what a query found.        */
static int
shmi_lock(int fd, int command, short *kind, uint64_t offset)
{
    struct flock lock;

    if (offset >= INT64_MAX) return -EINVAL;
    memset(&lock, 0, sizeof lock);  /* l_pid has to be 0                    */
    lock.l_type = *kind;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)offset;
    lock.l_len = 1;
    const int r = shmi_os_result(fcntl(fd, command, &lock));
    *kind = lock.l_type;
    return r == -EACCES ? -EAGAIN : r;
}

SHMC_API int
shmi_lock_try(int fd, uint64_t offset, bool exclusive)
{
    short kind = exclusive ? F_WRLCK : F_RDLCK;
    return shmi_lock(fd, F_OFD_SETLK, &kind, offset);
}

SHMC_API int
shmi_lock_wait(int fd, uint64_t offset, bool exclusive, uint64_t deadline_ns)
{
    short kind = exclusive ? F_WRLCK : F_RDLCK;
    uint64_t nap_ns = 50000;
    int r;

    if (deadline_ns == SHMI_FOREVER) {
        do r = shmi_lock(fd, F_OFD_SETLKW, &kind, offset); while (r == -EINTR);
        return r;
    }
    while ((r = shmi_lock(fd, F_OFD_SETLK, &kind, offset)) == -EAGAIN) {
        const uint64_t now = shmi_now_ns();
        if (now >= deadline_ns) return -ETIMEDOUT;
        const uint64_t left = deadline_ns - now;
        shmi_sleep_until(now + (nap_ns < left ? nap_ns : left));
        if (nap_ns < 800000) nap_ns *= 2;
    }
    return r;
}

SHMC_API int
shmi_lock_release(int fd, uint64_t offset)
{
    short kind = F_UNLCK;
    return shmi_lock(fd, F_OFD_SETLK, &kind, offset);
}

SHMC_API int
shmi_lock_probe(int fd, uint64_t offset)
{
    short kind = F_WRLCK;           /* which a lock of either kind refuses  */
    const int r = shmi_lock(fd, F_OFD_GETLK, &kind, offset);
    return r < 0 ? r : kind != F_UNLCK;
}

/* >>process */

SHMC_API int32_t shmi_process_id(void) { return (int32_t)getpid(); }
SHMC_API int32_t shmi_thread_id(void) { return (int32_t)syscall(SYS_gettid); }

/* Read the beginning of a small file as text; returns its length.         */
static int
shmi_text_read(const char *path, char *out, size_t bytes)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) return -errno;
    const int n = shmi_os_result(read(fd, out, bytes - 1));
    (void)close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n;
}

SHMC_API uint64_t
shmi_process_start(int32_t pid)
{
    char path[32], text[1024];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (pid <= 0 || shmi_text_read(path, text, sizeof text) <= 0) return 0;
    /* "pid (name) state ...": the name may hold anything, ')' included.
     * The name is field 2, the start is field 22.                         */
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

SHMC_API int
shmi_process_name(char *out, size_t bytes)
{
    char text[64];

    if (bytes == 0) return -EINVAL;
    out[0] = '\0';
    const int n = shmi_text_read("/proc/self/comm", text, sizeof text);
    if (n < 0) return n;
    text[strcspn(text, "\n")] = '\0';
    snprintf(out, bytes, "%s", text);
    return 0;
}

SHMC_API int
shmi_thread_start(shmi_thread *t, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;
    pthread_t id;

    SHMC_STATIC_ASSERT(sizeof id <= sizeof t->id, "a pthread_t is too large");
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int r = pthread_create(&id, NULL, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    t->id = 0;
    if (r == 0) memcpy(&t->id, &id, sizeof id);
    return -r;
}

SHMC_API void
shmi_thread_join(shmi_thread *t)
{
    pthread_t id;

    memcpy(&id, &t->id, sizeof id);
    (void)pthread_join(id, NULL);
}

SHMC_API int
shmi_flag_open(void)
{
    return shmi_os_result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

SHMC_API void
shmi_flag_set(int fd)
{
    const uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) { }
}

SHMC_API void
shmi_flag_clear(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) { }
}

SHMC_API int
shmi_on_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return -pthread_atfork(prepare, parent, child);
}

SHMC_API const char *shmi_env(const char *name) { return secure_getenv(name); }

SHMC_API const char *
shmi_os_error(int negative_errno, char *buf, size_t bytes)
{
    const char *name = NULL, *text = NULL;
    int r;

    if (bytes == 0) return "";
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 32)
    if (negative_errno < 0 && negative_errno > -4096) {
        name = strerrorname_np(-negative_errno);
        text = strerrordesc_np(-negative_errno);
    }
#endif
    /* Cut to fit, on purpose: looking at the result tells the compiler.   */
    if (name != NULL) r = snprintf(buf, bytes, "%s (%s)", text, name);
    else r = snprintf(buf, bytes, "system error %d", negative_errno);
    if (r < 0) buf[0] = '\0';
    return buf;
}

/* The word is 0 unlocked, 1 locked, 2 locked and somebody may sleep.      */
SHMC_API int
shmi_mutex_lock_until(shmi_mutex *m, uint64_t deadline_ns)
{
    uint32_t was = 0;

    /* A0 <- R0: what the last holder did happens before what we do.       */
    if (shmi_cas_32(&m->word, &was, 1)) return 0;
    while (shmi_swap_32(&m->word, 2) != 0) {
        /* After a wake-up, too: who writes 1 again and again wakes us each
         * time.  Not before the swap: we may be the one who was woken.    */
        if (shmi_now_ns() >= deadline_ns) return -ETIMEDOUT;
        (void)shmi_wait_32(&m->word, 2, deadline_ns);
    }
    return 0;
}

SHMC_API void
shmi_mutex_lock(shmi_mutex *m)
{
    (void)shmi_mutex_lock_until(m, SHMI_FOREVER);
}

SHMC_API void
shmi_mutex_unlock(shmi_mutex *m)
{
    /* R0 -> A0                                                            */
    if (shmi_swap_32(&m->word, 0) == 2) shmi_wake_32(&m->word, 1);
}

SHMC_API void *shmi_alloc(size_t bytes) { return calloc(1, bytes); }
SHMC_API void shmi_free(void *p) { free(p); }

#endif /* SHMCOMM_IMPLEMENTATION */
