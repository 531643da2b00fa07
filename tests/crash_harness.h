/* crash_harness.h - kill a process after each machine instruction of one
 * operation, or stop it there, and see what the others find.
 *
 *     static const crash_case push = { before, enter, act, NULL, check, after };
 *     crash_sweep("SPSC push", &push);
 *
 * A child is single-stepped by ptrace through act() and gets SIGKILL after k
 * instructions, for k = 0, 1, ... to the end; each time with a new world.  A
 * system call counts as one.  See docs/crash_tests.md.
 * Environment: SHMC_CRASH_STRIDE=1 a long run that leaves out no instruction,
 * SHMC_CRASH_AT=k only that one, SHMC_CRASH_ONLY=text only sweeps whose name
 * has it, SHMC_CRASH_MOST=n at most about n of a long operation.
 * SPDX-License-Identifier: MIT                                            */
#ifndef CRASH_HARNESS_H
#define CRASH_HARNESS_H

#include "shmcomm.h"
#include "test_support.h"

#include <dlfcn.h>
#include <elf.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

/* ---- a case ------------------------------------------------------------ */

typedef struct crash_case {
    void (*before)(void);           /* test: make the world, and watch it   */
    void (*enter)(void);            /* child: attach, open handles          */
    void (*ready)(void);            /* test: the child has, and waits; or
                                     * NULL                                 */
    void (*act)(void);              /* child: the operation; then note in
                                     * shared memory that it returned       */
    void (*frozen)(void);           /* test: the child is alive and stopped;
                                     * after this it goes on to the end of
                                     * act.  NULL: it is killed instead     */
    void (*check)(void);            /* test: the child is dead and reaped   */
    void (*after)(void);            /* test: close what is open; runs also
                                     * after a failure                      */
} crash_case;

enum { CRASH_MAX_STEPS = 1 << 22, CRASH_WATCHDOG_S = 60 };

/* From when on a sweep leaves out instructions without an effect.         */
#ifndef CRASH_BUDGET_NS
#define CRASH_BUDGET_NS UINT64_C(500000000)
#endif

/* What the test knows about the sweep in progress.                        */
static struct crash_state {
    const crash_case *now;          /* NULL: none in progress               */
    volatile uint32_t *inside;      /* shared: the operation has begun      */
    volatile uint32_t *over;        /* shared: it has ended                 */
    const uint8_t *watched;         /* shared memory that the child changes */
    uint64_t watched_bytes;
    uint64_t k, steps;              /* killed after k of so many            */
    uintptr_t *pc;                  /* before each step                     */
    bool *effect;                   /* others see what step k - 1 changed   */
    bool *done;                     /* killed there                         */
    uint32_t *calls;                /* system calls among the first k       */
    uint64_t drifted;
    uint64_t died_ns;               /* when the last one was reaped         */
    uint64_t *recovery_ns;          /* of each kill that said so            */
    uint64_t recoveries, room;
    uint32_t tries;                 /* the most that a survivor needed      */
    const char *what;
    char dir[64];
    char where[200];                /* for the watchdog                     */
} crash;

/* ---- failing ----------------------------------------------------------- */

/* Write down where the child is to be killed.                             */
static inline void
crash_where(void)
{
    Dl_info at;
    const uintptr_t pc = crash.pc != NULL && crash.k < crash.steps
                       ? crash.pc[crash.k] : 0;

    memset(&at, 0, sizeof at);
    if (pc != 0) (void)dladdr((void *)pc, &at);
    const uintptr_t base = (uintptr_t)at.dli_fbase;
    snprintf(crash.where, sizeof crash.where, "%s: %s after %llu of %llu "
             "instructions, before 0x%llx of %s\n", crash.what,
             crash.now != NULL && crash.now->frozen ? "stopped" : "killed",
             (unsigned long long)crash.k, (unsigned long long)crash.steps,
             (unsigned long long)(pc - base),
             at.dli_fname != NULL ? at.dli_fname : "?");
}

static inline void
crash_bites(int signal_number)
{
    (void)signal_number;
    if (write(STDERR_FILENO, crash.where, strlen(crash.where)) < 0) _exit(97);
    test_watchdog_bites(SIGALRM);
}

static inline void
crash_watchdog(void)
{
    struct sigaction act;

    memset(&act, 0, sizeof act);
    act.sa_handler = crash_bites;
    sigaction(SIGALRM, &act, NULL);
    alarm(CRASH_WATCHDOG_S);
}

static inline void
crash_failed(const char *file, int line, const char *what, long long is,
             long long wanted)
{
    print_error("%sSHMC_CRASH_AT=%llu repeats it.  Not so: %s (%lld, %lld)\n"
                "%s\n", crash.where, (unsigned long long)crash.k, what, is,
                wanted, shmc_last_error());
    _fail(file, line);
}

/* Only in the test's own process: in before, check and after.             */
#define CRASH_CHECK(cond)                                                     \
    do {                                                                      \
        if (!(cond)) crash_failed(__FILE__, __LINE__, #cond, 0, 1);           \
    } while (0)
#define CRASH_EQUAL(is, wanted)                                               \
    do {                                                                      \
        const long long is_ = (long long)(is), want_ = (long long)(wanted);   \
        if (is_ != want_)                                                     \
            crash_failed(__FILE__, __LINE__, #is " == " #wanted, is_, want_); \
    } while (0)

/* ---- the stepped child ------------------------------------------------- */

static inline pid_t
crash_spawn(const crash_case *c)
{
    const pid_t test = getpid();

    *crash.inside = *crash.over = 0;
    fflush(NULL);
    const pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != test) _exit(96);
    c->enter();
    TEST_REQUIRE(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    kill(getpid(), SIGSTOP);
    *crash.inside = 1;
    shmi_fence_compiler();
    c->act();
    shmi_fence_compiler();
    *crash.over = 1;
    for (;;) kill(getpid(), SIGSTOP);
}

/* Let the child go on to its next stop.                                   */
static inline void
crash_resume(enum __ptrace_request request, pid_t pid)
{
    int status = 0;
    pid_t got;

    CRASH_EQUAL(ptrace(request, pid, NULL, NULL), 0);
    do got = waitpid(pid, &status, 0); while (got < 0 && errno == EINTR);
    CRASH_EQUAL(got, pid);
    if (!WIFSTOPPED(status) || (WSTOPSIG(status) & 0x7f) != SIGTRAP)
        CRASH_EQUAL(status, -1);    /* it died, or got a signal, by itself  */
}

static inline uintptr_t
crash_pc(pid_t pid)
{
    struct user_regs_struct regs;
    struct iovec io = { &regs, sizeof regs };

    CRASH_EQUAL(ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &io), 0);
#if defined(__x86_64__)
    return (uintptr_t)regs.rip;
#elif defined(__aarch64__)
    return (uintptr_t)regs.pc;
#else
#error "say where this machine keeps its program counter"
#endif
}

/* Is the next instruction a system call?  The test has the same code at the
 * same place, since it forked the child.                                  */
static inline bool
crash_at_call(uintptr_t pc)
{
#if defined(__x86_64__)
    static const uint8_t call[2] = { 0x0f, 0x05 };
#else
    static const uint8_t call[4] = { 0x01, 0x00, 0x00, 0xd4 };
#endif
    return memcmp((const void *)pc, call, sizeof call) == 0;
}

/* Fork a child and take it to the first instruction of act.               */
static inline pid_t
crash_begin(const crash_case *c)
{
    int status = 0;
    const pid_t pid = crash_spawn(c);

    CRASH_CHECK(pid > 0);
    CRASH_EQUAL(waitpid(pid, &status, 0), pid);
    if (!WIFSTOPPED(status)) CRASH_EQUAL(status, -1);   /* enter failed     */
    if (c->ready != NULL) c->ready();
    CRASH_EQUAL(ptrace(PTRACE_SETOPTIONS, pid, NULL,
                       (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)), 0);
    for (int i = 0; *crash.inside == 0; i++) {
        CRASH_CHECK(i < 1000);
        crash_resume(PTRACE_SINGLESTEP, pid);
    }
    return pid;
}

/* It ends here, or (frozen) goes on first.                                 */
static inline void
crash_end(const crash_case *c, pid_t pid)
{
    int status = 0;

    if (c->frozen != NULL) {
        c->frozen();
        CRASH_EQUAL(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
        CRASH_EQUAL(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status) || !*crash.over) CRASH_EQUAL(status, -1);
    }
    CRASH_EQUAL(kill(pid, SIGKILL), 0);
    CRASH_EQUAL(waitpid(pid, &status, 0), pid);
    CRASH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    crash.died_ns = shmi_now_ns();
}

/* A survivor's call succeeded at the n-th try.                            */
static inline void
crash_tried(uint32_t n)
{
    if (n > crash.tries) crash.tries = n;
}

/* All survivors have gone on: that is how long the death held them up.    */
static inline void
crash_recovered(void)
{
    const uint64_t now = shmi_now_ns();

    if (crash.now->frozen != NULL) return;
    if (crash.recoveries == crash.room) {
        crash.room = crash.room ? 2 * crash.room : 1024;
        crash.recovery_ns = realloc(crash.recovery_ns,
                                    crash.room * sizeof *crash.recovery_ns);
        CRASH_CHECK(crash.recovery_ns != NULL);
    }
    crash.recovery_ns[crash.recoveries++] = now - crash.died_ns;
}

/* Have changes of this memory noticed, so that a thinned sweep meets each. */
static inline void
crash_watch(const void *mem, uint64_t bytes)
{
    crash.watched = mem;
    crash.watched_bytes = bytes;
}

/* ---- sweeping ---------------------------------------------------------- */

/* Step through the whole operation once; note what each step does.        */
static inline void
crash_measure(const crash_case *c)
{
    uint64_t n = 0, room = 0;

    crash.k = 0;
    snprintf(crash.where, sizeof crash.where, "%s: measuring\n", crash.what);
    c->before();
    const pid_t pid = crash_begin(c);
    uint8_t *shadow = malloc(crash.watched_bytes + 1);
    CRASH_CHECK(shadow != NULL);
    memcpy(shadow, crash.watched, crash.watched_bytes);
    for (bool was_call = false;; n++) {
        if (n + 2 > room) {
            room = room ? 2 * room : 1024;
            crash.pc = realloc(crash.pc, room * sizeof *crash.pc);
            crash.effect = realloc(crash.effect, room * sizeof *crash.effect);
            crash.done = realloc(crash.done, room * sizeof *crash.done);
            crash.calls = realloc(crash.calls, room * sizeof *crash.calls);
            CRASH_CHECK(crash.pc && crash.effect && crash.done && crash.calls);
        }
        const bool changed = memcmp(shadow, crash.watched,
                                    crash.watched_bytes) != 0;
        if (changed) memcpy(shadow, crash.watched, crash.watched_bytes);
        crash.effect[n] = changed || was_call || n == 0;
        crash.calls[n] = (n ? crash.calls[n - 1] : 0) + was_call;
        crash.pc[n] = crash_pc(pid);
        crash.done[n] = false;
        if (*crash.over) break;
        CRASH_CHECK(n < CRASH_MAX_STEPS);
        was_call = crash_at_call(crash.pc[n]);
        crash_resume(PTRACE_SINGLESTEP, pid);
    }
    crash.effect[n] = true;
    crash.steps = n;
    free(shadow);
    crash_end(c, pid);
    crash.k = n;
    crash_where();
    c->check();
    c->after();
}

/* Step until the watched memory has changed so often.                     */
static inline void
crash_step_changes(pid_t pid, uint64_t changes, uint64_t limit)
{
    uint8_t *shadow = malloc(crash.watched_bytes + 1);

    CRASH_CHECK(shadow != NULL);
    memcpy(shadow, crash.watched, crash.watched_bytes);
    while (changes > 0 && limit-- > 0 && !*crash.over) {
        crash_resume(PTRACE_SINGLESTEP, pid);
        if (memcmp(shadow, crash.watched, crash.watched_bytes) == 0) continue;
        memcpy(shadow, crash.watched, crash.watched_bytes);
        changes--;
    }
    free(shadow);
}

/* Kill a child after k instructions and check.  Up to its last system call
 * before that it runs, then it is stepped.  A clock's or a number's digits
 * can make the way a little longer than it was; so, where step k has an
 * effect, not the steps are counted but the effects.                       */
static inline void
crash_kill(const crash_case *c, uint64_t k)
{
    uint64_t from = k, changes = 0;

    crash.k = k;
    crash_where();
    crash_watchdog();
    c->before();
    const pid_t pid = crash_begin(c);
    for (; from > 0 && crash.calls[from - 1] == crash.calls[k]; from--)
        changes += crash.effect[from];
    for (uint64_t i = 0; i < 2 * crash.calls[k] && !*crash.over; i++)
        crash_resume(PTRACE_SYSCALL, pid);
    if (crash.effect[k] && k < crash.steps)
        crash_step_changes(pid, changes, k - from + 10000);
    else
        for (; from < k && !*crash.over; from++)
            crash_resume(PTRACE_SINGLESTEP, pid);
    crash.drifted += crash_pc(pid) != crash.pc[k];
    crash_end(c, pid);
    c->check();
    c->after();
}

static inline uint64_t
crash_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

static inline int
crash_compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* One line for a sweep.                                                   */
static inline void
crash_tell(uint64_t effects, uint64_t others, uint64_t drifted, uint64_t ns)
{
    char more[96] = "";
    const uint64_t n = crash.recoveries;

    if (n > 0) {
        qsort(crash.recovery_ns, n, sizeof *crash.recovery_ns, crash_compare);
        snprintf(more, sizeof more, "; recovered in %u tries, %.0f us, worst "
                 "%.0f us", crash.tries, (double)crash.recovery_ns[n / 2] / 1e3,
                 (double)crash.recovery_ns[n - 1] / 1e3);
    }
    print_message("%s: %llu instructions, %u system calls; %s after all %llu "
                  "with an effect (%llu drifted) and %llu others%s%s; %llu ms\n",
                  crash.what, (unsigned long long)crash.steps,
                  crash.calls[crash.steps],
                  crash.now->frozen ? "stopped" : "killed",
                  (unsigned long long)effects, (unsigned long long)drifted,
                  (unsigned long long)others,
                  others + effects > crash.steps ? ", so after each" : "", more,
                  (unsigned long long)ns / 1000000);
}

/* Is this a run that leaves nothing out?                                  */
static inline bool
crash_thorough(void)
{
    return crash_env("SHMC_CRASH_STRIDE", 0) != 0;
}

/* Kill (or stop) after each instruction that changed the watched memory and
 * after each system call: between two of these, others see the same.  Then
 * after every 64th, 32nd ... and each, until `budget_ns` is over, or
 * SHMC_CRASH_STRIDE, or so many as leave no more than SHMC_CRASH_MOST.    */
static inline void
crash_sweep_for(const char *what, const crash_case *c, uint64_t budget_ns)
{
    const char *only = getenv("SHMC_CRASH_ONLY");
    uint64_t finest = crash_env("SHMC_CRASH_STRIDE", 0);
    const uint64_t at = crash_env("SHMC_CRASH_AT", UINT64_MAX);
    const uint64_t most = crash_env("SHMC_CRASH_MOST", UINT64_MAX);
    const uint64_t began = shmi_now_ns();
    uint64_t kills = 0, effects = 0, drifted;
    bool in_time = true;

    if (only != NULL && strstr(what, only) == NULL) return;
    crash.now = c;
    crash.what = what;
    crash.steps = crash.drifted = crash.recoveries = 0;
    crash_watchdog();
    crash_measure(c);
    crash.recoveries = 0;
    crash.tries = 0;
    if (finest != 0 && crash.steps / finest > most) finest = crash.steps / most;
    uint64_t stride = finest > 64 ? finest : 64;
    for (uint64_t k = 0; k <= crash.steps; k++) {
        if (at == UINT64_MAX ? !crash.effect[k] : k != at) continue;
        crash_kill(c, k);
        effects++;
    }
    drifted = crash.drifted;
    for (; at == UINT64_MAX && stride > 0 && in_time; stride /= 2) {
        if (finest != 0 && stride < finest) stride = finest;
        for (uint64_t k = 0; k <= crash.steps && in_time; k += stride) {
            if (crash.effect[k] || crash.done[k]) continue;
            crash_kill(c, k);
            crash.done[k] = true;
            kills++;
            in_time = finest != 0 || shmi_now_ns() - began < budget_ns;
        }
        if (stride == finest) break;
    }
    crash_tell(effects, kills, drifted, shmi_now_ns() - began);
    crash.now = NULL;
}

static inline void
crash_sweep(const char *what, const crash_case *c)
{
    crash_sweep_for(what, c, CRASH_BUDGET_NS);
}

/* The same for a row of a table, with so many survivors.                   */
static inline void
crash_sweep_row(const char *noun, const char *call, uint32_t survivors,
                const crash_case *c, uint64_t budget_ns)
{
    static char name[128];

    snprintf(name, sizeof name, "%s %s, %u left", noun, call, survivors);
    crash_sweep_for(name, c, budget_ns);
}

/* In the child, at the end of its act: say what the call returned.  What it
 * did comes before `acked`, and that before `returned`, wherever it dies.  */
static inline void
crash_acknowledge(int r, volatile uint32_t *acked, volatile uint32_t *returned)
{
    TEST_REQUIRE(r >= 0);
    shmi_fence_compiler();
    *acked = (uint32_t)r;
    shmi_fence_compiler();
    *returned = 1;
}

/* ---- around the tests -------------------------------------------------- */

/* cmocka setup: a folder, and memory shared with the children.  All on one
 * CPU: a step is then a switch there, not an interrupt to another.         */
static inline int
crash_setup(void **state)
{
    cpu_set_t one;

    (void)state;
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    (void)sched_setaffinity(0, sizeof one, &one);
    if (crash.inside == NULL) {
        volatile uint32_t *words = test_shared(4096);
        crash.inside = words;
        crash.over = words + 16;
    }
    test_dir_make(crash.dir);
    return 0;
}

/* cmocka teardown, after success or failure.                              */
static inline int
crash_teardown(void **state)
{
    (void)state;
    test_watchdog(0);
    if (crash.now != NULL) crash.now->after();
    crash.now = NULL;
    test_dir_remove(crash.dir);
    return 0;
}

#define CRASH_TEST(f)                                                         \
    cmocka_unit_test_setup_teardown(f, crash_setup, crash_teardown)

/* Nobody reads what each of thousands of calls has to say.                */
static inline void
crash_log(void *user, int level, const char *text)
{
    (void)user;
    (void)level;
    (void)text;
}

/* Resolve all functions of libraries now, not in the middle of a sweep.   */
static inline void
crash_bind_now(char **argv)
{
    shmc_log_set(crash_log, NULL, SHMC_LOG_ERROR);
    if (getenv("LD_BIND_NOW") != NULL) return;
    setenv("LD_BIND_NOW", "1", 1);
    execv("/proc/self/exe", argv);
}

/* A desc for a small segment in the test's own folder.                    */
static inline shmc_segment_desc
crash_segment(uint64_t heap_bytes)
{
    shmc_segment_desc d;

    memset(&d, 0, sizeof d);
    d.dir = crash.dir;
    d.heap_bytes = heap_bytes;
    d.max_objects = 4;
    d.max_participants = 8;
    return d;
}

/* Create segment "s", and watch it.                                       */
static inline void
crash_world(shmc_segment *s, uint64_t heap_bytes)
{
    const shmc_segment_desc d = crash_segment(heap_bytes);

    CRASH_EQUAL(shmc_segment_create(s, "s", &d), SHMC_OK);
    crash_watch(s->base, s->bytes);
}

/* Attach to it: in the test once more, as somebody else.                  */
static inline int
crash_attach(shmc_segment *s)
{
    shmc_segment_desc d;

    memset(&d, 0, sizeof d);
    d.dir = crash.dir;
    return shmc_segment_attach(s, "s", &d);
}

/* The same in the child.                                                  */
static inline void
crash_join(shmc_segment *s)
{
    TEST_REQUIRE(crash_attach(s) == SHMC_OK);
}

/* Close it and remove it.                                                 */
static inline void
crash_leave(shmc_segment *s)
{
    shmc_segment_desc d;

    memset(&d, 0, sizeof d);
    d.dir = crash.dir;
    d.flags = SHMC_FORCE;
    if (s->base == NULL) return;
    (void)shmc_segment_close(s);
    (void)shmc_segment_unlink("s", &d);
}

#endif /* CRASH_HARNESS_H */
