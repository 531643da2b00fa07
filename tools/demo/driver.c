/* driver.c - starts the roles, watches them, kills one, ends them in order.
 * It only looks on: nothing goes through it, and nobody waits for it.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *const report_names[REPORTS] = {
    "metronome", "sensor", "controller", "filter", "recorder/sensor",
    "recorder/state", "recorder/command", "camera", "viewer-a", "viewer-b"
};

/* What the driver does at which time.                                     */
enum { SNAP_BEFORE, SNAP_AROUND, KILL, SNAP_AFTER, END, STEPS };

typedef struct driver {
    const options *opt;
    char base[32];
    shmc_segment board;
    shmc_object plan_object;
    shmc_counter stop;
    shmc_latest cells[REPORTS];
    outcome out;
    report snaps[3][TICKERS];
    sigset_t signals;
    child *killed;                  /* not yet started again                */
    uint64_t start_ns, shown_ns, shown_sent;
    bool stopping;
} driver;

void
problem(outcome *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("demo: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    out->problems++;
}

/* ---- the board --------------------------------------------------------- */

static int
plan_init(void *mem, uint64_t bytes, const void *user)
{
    (void)bytes;
    memcpy(mem, user, sizeof(plan));
    return SHMC_OK;
}

static int
board_open(driver *d)
{
    const plan first = {
        .start_ns = clock_ns() + 300000000,     /* when all are up          */
        .frame_bytes = d->opt->camera_mb * 1000000 / 8 * 8,
        .realtime = d->opt->realtime
    };
    const shmc_segment_desc board = {
        .heap_bytes = 4 << 20, .flags = SHMC_EPHEMERAL, .label = "driver"
    };
    const shmc_object_desc plan_desc = {
        .bytes = sizeof(plan), .type_name = "demo plan", .init = plan_init,
        .type_hash = shmc_type_hash("demo plan 1"), .user = &first
    };
    const shmc_latest_desc cell = { .value_bytes = sizeof(report) };
    const topic_name name = topic_name_of(d->base, "board");

    d->start_ns = first.start_ns;
    int r = shmc_segment_create(&d->board, name.text, &board);
    if (r == SHMC_OK)
        r = shmc_object_open(&d->board, "plan", &plan_desc, &d->plan_object);
    if (r == SHMC_OK)
        r = shmc_counter_open(&d->stop, &d->board, "stop", true);
    for (int i = 0; i < REPORTS && r == SHMC_OK; i++)
        r = shmc_latest_open(&d->cells[i], &d->board, report_names[i], &cell,
                             SHMC_CONSUMER);
    return r;
}

static void
board_close(driver *d)
{
    for (int i = 0; i < REPORTS; i++) shmc_latest_close(&d->cells[i]);
    shmc_counter_close(&d->stop);
    shmc_object_close(&d->board, &d->plan_object);
    shmc_segment_close(&d->board);
}

/* The newest report, or zeros before there is one.                        */
static void
report_read(driver *d, int which, report *out)
{
    const int r = shmc_latest_read(&d->cells[which], out, sizeof *out, NULL);

    if (r == SHMC_OK) return;
    memset(out, 0, sizeof *out);
    if (r != SHMC_EAGAIN)
        problem(&d->out, "report of %s: %s", report_names[which],
                shmc_strerror(r));
}

/* ---- children ---------------------------------------------------------- */

/* By exec, so that nothing is inherited: the child finds all by name.     */
static void
child_start(driver *d, child *c)
{
    char *const argv[] = { "demo", "--role", (char *)(uintptr_t)c->name, d->base,
                           NULL };
    sigset_t none;

    c->started_ns = clock_ns();
    c->starts++;
    c->pid = fork();
    if (c->pid < 0) problem(&d->out, "%s cannot be started", c->name);
    if (c->pid != 0) return;
    signal(SIGINT, SIG_IGN);        /* Ctrl-C is for the driver             */
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static double
seconds_of(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec * 1e-6;
}

static void
child_ended(driver *d, child *c, int status, const struct rusage *used)
{
    c->pid = 0;
    c->cpu_s += seconds_of(&used->ru_utime) + seconds_of(&used->ru_stime);
    c->wall_s += (double)(clock_ns() - c->started_ns) * 1e-9;
    if (c == d->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        d->out.dead_ns = clock_ns();
        d->killed = NULL;
        if (!d->stopping) child_start(d, c);
    } else if (WIFSIGNALED(status)) {
        problem(&d->out, "%s ended by signal %d", c->name, WTERMSIG(status));
    } else if (status != 0 || !d->stopping) {
        problem(&d->out, "%s ended %swith status %d", c->name,
                d->stopping ? "" : "too early ", WEXITSTATUS(status));
    }
}

static void
children_reap(driver *d)
{
    struct rusage used;
    int status;

    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &used)) > 0; )
        for (int i = 0; i < MEMBERS; i++)
            if (d->out.children[i].pid == pid)
                child_ended(d, &d->out.children[i], status, &used);
}

static bool
stage_runs(const driver *d, uint32_t stage)
{
    for (int i = 0; i < MEMBERS; i++) {
        const child *c = &d->out.children[i];
        if (c->pid > 0 && c->role->stage == stage) return true;
    }
    return false;
}

/* Sleep until the time or a signal, whichever comes first.                */
static void
driver_wait(driver *d, uint64_t until_ns)
{
    const uint64_t now = clock_ns();
    const uint64_t left = until_ns > now ? until_ns - now : 0;
    const struct timespec t = {
        .tv_sec = (time_t)(left / 1000000000u),
        .tv_nsec = (long)(left % 1000000000u)
    };
    const int sig = sigtimedwait(&d->signals, NULL, &t);

    if (sig == SIGCHLD) children_reap(d);
    else if (sig > 0) d->out.interrupted = true;
}

/* Senders first, then who listens to them, so that all that was sent is
 * read.  Whoever does not end within 5 s is killed.                       */
static void
children_stop(driver *d)
{
    d->stopping = true;
    for (uint32_t stage = STAGE_SOURCES; stage <= STAGE_SINKS; stage++) {
        const uint64_t patience_ns = clock_ns() + 5000000000u;
        shmc_counter_add(&d->stop, 1);
        while (stage_runs(d, stage) && clock_ns() < patience_ns)
            driver_wait(d, patience_ns);
        for (int i = 0; i < MEMBERS; i++) {
            const child *c = &d->out.children[i];
            if (c->pid <= 0 || c->role->stage != stage) continue;
            problem(&d->out, "%s does not stop", c->name);
            kill(c->pid, SIGKILL);
        }
        while (stage_runs(d, stage)) driver_wait(d, clock_ns() + 100000000);
    }
}

/* ---- the run ----------------------------------------------------------- */

/* One line that says what goes on now; in place if `terminal`.            */
static void
driver_show(driver *d, bool terminal)
{
    uint64_t sent = 0, lost = 0, missed = 0;
    report *all = d->out.reports;

    for (int i = 0; i < REPORTS; i++) {
        report_read(d, i, &all[i]);
        sent += all[i].sent;
        lost += all[i].lapped + all[i].restarted;
    }
    for (int t = REPORT_SENSOR; t < TICKERS; t++) missed += all[t].missed;
    const uint64_t now = clock_ns();
    const double rate = (double)(sent - d->shown_sent) * 1e9 /
                        (double)(now - d->shown_ns);
    d->shown_sent = sent;
    d->shown_ns = now;
    const report *f = &all[REPORT_FILTER];
    printf("%s%4.1f s  cpu %.0f%%  free %.1f GB  net %.0f kB/s  fan %.0f%%  "
           "%.0f msg/s  lost %llu  missed %llu%s", terminal ? "\r" : "",
           (double)(now - d->start_ns) * 1e-9, f->cpu_load * 100,
           f->memory_free_mb / 1024, f->net_bytes_per_s / 1000,
           all[REPORT_CONTROLLER].fan_duty * 100, rate,
           (unsigned long long)lost, (unsigned long long)missed,
           terminal ? "\033[K" : "\n");
    fflush(stdout);
}

static void
driver_step(driver *d, int step)
{
    if (step == KILL) {
        for (int i = 0; i < MEMBERS; i++)
            if (strcmp(d->out.children[i].name, "filter") == 0)
                d->killed = &d->out.children[i];
        d->out.kill_ns = clock_ns();
        if (d->killed->pid > 0) kill(d->killed->pid, SIGKILL);
    } else if (step != END) {
        const int i = step == SNAP_BEFORE ? 0 : step == SNAP_AROUND ? 1 : 2;
        for (int t = 0; t < TICKERS; t++) report_read(d, t, &d->snaps[i][t]);
    }
}

static void
driver_run(driver *d)
{
    const double s = d->opt->seconds, w = s < 4 ? s / 4 : 1;
    const double at_s[STEPS] = {
        s / 2 - 1.5 * w, s / 2 - 0.5 * w, s / 2, s / 2 + 0.5 * w, s
    };
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    const uint64_t pace_ns = terminal ? 250000000 : 1000000000;
    uint64_t show_ns = d->start_ns + pace_ns;
    int step = 0;

    d->shown_ns = d->start_ns;
    d->out.window_s = w;
    while (step < STEPS && !d->out.interrupted && d->out.problems == 0) {
        const uint64_t step_ns = d->start_ns + (uint64_t)(at_s[step] * 1e9);
        const uint64_t now = clock_ns();
        if (now >= step_ns) {
            driver_step(d, step++);
        } else if (now >= show_ns) {
            if (!d->opt->json) driver_show(d, terminal);
            show_ns += pace_ns;
        } else {
            driver_wait(d, step_ns < show_ns ? step_ns : show_ns);
        }
    }
    if (terminal && !d->opt->json) puts("");
}

/* What happened between two looks at a role's report.                     */
static void
report_between(report *out, const report *from, const report *to)
{
    *out = *to;
    out->ticks -= from->ticks;
    out->missed -= from->missed;
    histogram_between(&out->lateness, &from->lateness, &to->lateness);
}

static void
driver_collect(driver *d)
{
    for (int i = 0; i < REPORTS; i++) report_read(d, i, &d->out.reports[i]);
    for (int t = 0; t < TICKERS; t++) {
        report_between(&d->out.windows[0][t], &d->snaps[0][t], &d->snaps[1][t]);
        report_between(&d->out.windows[1][t], &d->snaps[1][t], &d->snaps[2][t]);
        d->out.windows[2][t] = d->out.reports[t];
    }
    d->out.run_ns = clock_ns() - d->start_ns;
}

typedef struct leftovers {
    const char *base;
    int count;
} leftovers;

static int
leftover(void *user, const char *name)
{
    leftovers *l = user;

    if (strncmp(name, l->base, strlen(l->base)) == 0) l->count++;
    return 0;
}

static void
signals_block(driver *d)
{
    sigemptyset(&d->signals);
    sigaddset(&d->signals, SIGCHLD);
    sigaddset(&d->signals, SIGINT);
    sigaddset(&d->signals, SIGTERM);
    sigaddset(&d->signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &d->signals, NULL);
}

int
driver_main(const options *opt)
{
    static driver d;

    d.opt = opt;
    snprintf(d.base, sizeof d.base, "demo-%ld", (long)getpid());
    signals_block(&d);
    if (board_open(&d) < 0) return 1;
    for (int i = 0; i < MEMBERS; i++) {
        child *c = &d.out.children[i];
        c->role = &roles[i];
        c->name = roles[i].name;
        child_start(&d, c);
    }
    driver_run(&d);
    children_stop(&d);
    driver_collect(&d);
    board_close(&d);

    leftovers left = { d.base, 0 };
    if (shmc_segment_each(NULL, leftover, &left) < 0) left.count = -1;
    d.out.left = left.count;
    outcome_check(&d.out);
    outcome_print(&d.out, opt->json);
    return d.out.problems != 0;
}
