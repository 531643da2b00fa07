/* link_run.h - the processes of a round, their time limit, and what they leave
 * behind: nothing.
 *
 * The driver waits by signals: for the end of a child, for its time limit, or
 * to be ended itself.  Files of a run are in one folder; see link_begin.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_RUN_H
#define SHMCOMM_BENCH_LINK_RUN_H

#include "link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static unsigned link_limit_ms = 15000;      /* of a round                   */

static char link_dir[64];           /* /dev/shm/shmcomm-peers.PID           */
static char link_stage_path[96];    /* the stage, for bench/iceoryx2        */
static char link_log_path[96];      /* what libraries say on stderr         */
static void (*link_at_end)(void);   /* stops what the driver started        */
static sigset_t link_signals, link_no_signals;
static pid_t link_driver;

/* ---- the run's files --------------------------------------------------- */

static void
link_remove_in(const char *dir, const char *prefix)
{
    char path[512];
    DIR *const d = opendir(dir);

    if (d == NULL) return;
    for (struct dirent *e; (e = readdir(d)) != NULL; ) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            strncmp(e->d_name, prefix, strlen(prefix)) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (unlink(path) == 0 || errno != EISDIR) continue;
        link_remove_in(path, "");
        (void)rmdir(path);
    }
    closedir(d);
}

/* Also files that libraries put elsewhere, by names that we gave them.    */
static void
link_end(void)
{
    char prefix[64];

    if (getpid() != link_driver) return;
    if (link_at_end != NULL) link_at_end();
    link_remove_in(link_dir, "");
    (void)rmdir(link_dir);
    snprintf(prefix, sizeof prefix, "shmcomm-peers-%d-", (int)link_driver);
    link_remove_in("/tmp", prefix);
    link_remove_in("/dev/shm", prefix);
}

static void
link_on_signal(int signal)
{
    (void)signal;
}

/* Make the run's folder and its shared memory; see to their removal.      */
static uint8_t *
link_begin(void)
{
    link_driver = getpid();
    snprintf(link_dir, sizeof link_dir, "/dev/shm/shmcomm-peers.%d",
             (int)link_driver);
    snprintf(link_stage_path, sizeof link_stage_path, "%s/stage", link_dir);
    snprintf(link_log_path, sizeof link_log_path, "%s/log", link_dir);
    if (mkdir(link_dir, 0700) != 0) bench_die("cannot make a folder in /dev/shm");
    if (atexit(link_end) != 0) bench_die("no memory");
    const int fd = open(link_stage_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(link_stage)) != 0)
        bench_die("no room in /dev/shm");
    link_the_stage = mmap(NULL, sizeof(link_stage), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    if (link_the_stage == MAP_FAILED) bench_die("no memory");
    sigemptyset(&link_no_signals);
    sigemptyset(&link_signals);
    for (int i = 0; i < 4; i++) {
        const int number[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP };
        sigaddset(&link_signals, number[i]);
        (void)signal(number[i], link_on_signal);
    }
    sigprocmask(SIG_BLOCK, &link_signals, NULL);
    return bench_shared(LINK_ARENA_BYTES);
}

/* ---- processes --------------------------------------------------------- */

static void
link_child(const link_kind *kind, const link_way *way, int index)
{
    const int receives = index > 0;
    const int log = open(link_log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                         0600);

    if (log >= 0) (void)dup2(log, 2);
    (void)dup2(2, 1);               /* stdout has the figures               */
    for (int s = 1; s < 32; s++)
        if (s != SIGKILL && s != SIGSTOP) (void)signal(s, SIG_DFL);
    sigprocmask(SIG_SETMASK, &link_no_signals, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != link_driver) _exit(1);
    link_index = index;
    link_me = &link_the_stage->worker[index];
    /* The receivers share the cores behind the first.                     */
    if (way->pinned == 2) bench_pin(1);
    else if (way->pinned && bench_cores() > 1)
        bench_pin(receives ? 1 + (index - 1) % (bench_cores() - 1) : 0);
    if (kind->program == NULL) {
        kind->run[receives][way->work](way);
        if (kind->leave != NULL) kind->leave();
        _exit(0);
    }
    char arg[6][32];
    snprintf(arg[0], sizeof arg[0], "%d", index);
    snprintf(arg[1], sizeof arg[1], "%s", link_work_name[way->work]);
    snprintf(arg[2], sizeof arg[2], "%u", way->bytes);
    snprintf(arg[3], sizeof arg[3], "%llu", (unsigned long long)way->messages);
    snprintf(arg[4], sizeof arg[4], "%d", way->sleep);
    snprintf(arg[5], sizeof arg[5], "%d-%llu", (int)link_driver,
             (unsigned long long)way->number);
    execl(kind->program, kind->program, link_stage_path, way->dir, arg[0], arg[1],
          arg[2], arg[3], arg[4], arg[5], (char *)NULL);
    link_die("%s: %s", kind->program, strerror(errno));
}

/* What libraries said last, for people.                                   */
static const char *
link_last_line(void)
{
    static char text[1024];
    FILE *const f = fopen(link_log_path, "r");

    text[0] = '\0';
    if (f == NULL) return text;
    while (fgets(text, sizeof text, f) != NULL) continue;
    fclose(f);
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* Why the process ended; NULL: well.                                      */
static const char *
link_ending(int status, int index, char *text, size_t bytes)
{
    const char *const why = link_the_stage->worker[index].why;

    if (status == 0) return NULL;
    if (why[0] != '\0') snprintf(text, bytes, "%.190s", why);
    else if (WIFSIGNALED(status))
        snprintf(text, bytes, "a process died of signal %d: %.150s",
                 WTERMSIG(status), link_last_line());
    else snprintf(text, bytes, "a process ended with status %d: %.150s",
                  WEXITSTATUS(status), link_last_line());
    return text;
}

/* Reap all; kill the others when one fails, or all when the time is up.
 * Ends the driver when it was told to end.                                */
static const char *
link_reap(pid_t *pid, int n)
{
    static char text[256];
    const char *why = NULL;
    const uint64_t until = shmi_now_ns() + (uint64_t)link_limit_ms * 1000000;
    int left = n, status, told = 0;

    while (left > 0) {
        for (int i = 0; i < n; i++) {
            if (pid[i] == 0 || waitpid(pid[i], &status, WNOHANG) != pid[i])
                continue;
            pid[i] = 0;
            left--;
            if (why == NULL) why = link_ending(status, i, text, sizeof text);
        }
        const uint64_t now = shmi_now_ns();
        if (why == NULL && left > 0 && now >= until) {
            snprintf(text, sizeof text, "no end in %u ms", link_limit_ms);
            why = text;
        }
        for (int i = 0; (why != NULL || told) && i < n; i++)
            if (pid[i] != 0) kill(pid[i], SIGKILL);
        if (left == 0) break;
        const uint64_t ns = why != NULL || told ? 1000000 : until - now;
        const struct timespec t = { (time_t)(ns / 1000000000),
                                    (long)(ns % 1000000000) };
        const int s = sigtimedwait(&link_signals, NULL, &t);
        if (s > 0 && s != SIGCHLD) told = s;
    }
    if (told) exit(128 + told);
    return why;
}

/* Run one round.  Returns NULL, or why it did not come to its end.        */
static const char *
link_run(const link_kind *kind, link_way *way)
{
    static uint64_t rounds;
    link_stage *const s = link_the_stage;
    const int n = 1 + (way->work == LINK_FANOUT ? way->receivers : 1);
    pid_t pid[LINK_MAX_RECEIVERS + 1];
    const char *why;

    memset(s, 0, offsetof(link_stage, ticks));
    s->members = (uint64_t)n;
    s->tick_ns = bench_tick_ns();
    way->number = ++rounds;
    for (int i = 0; i < 4; i++) way->fd[i / 2][i % 2] = -1;
    (void)unlink(link_log_path);
    why = kind->make != NULL ? kind->make(way) : NULL;
    fflush(NULL);
    for (int i = 0; why == NULL && i < n; i++) {
        pid[i] = fork();
        if (pid[i] == 0) link_child(kind, way, i);
        if (pid[i] < 0) bench_die("fork failed");
    }
    if (why == NULL) {
        if (kind->drop != NULL) kind->drop(way);
        return link_reap(pid, n);
    }
    if (kind->drop != NULL) kind->drop(way);
    return why;
}

#endif /* SHMCOMM_BENCH_LINK_RUN_H */
