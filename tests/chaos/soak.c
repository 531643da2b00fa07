/* soak.c - all patterns together, for long, while a conductor kills, stops and
 * restarts their processes, fills the folder and steps the wall clock.  Built
 * and run by tests/soak; see docs/soak.md.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "roles.h"

#include <dlfcn.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- a wall clock that steps ------------------------------------------- */

/* This program's clock_gettime goes before the C library's: the library that
 * is tested sees a CLOCK_REALTIME that steps, the machine's does not.       */
int
clock_gettime(clockid_t clock, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);

    if (real == NULL) {
        void *at = dlsym(RTLD_NEXT, "clock_gettime");
        memcpy(&real, &at, sizeof at);
    }
    const int r = real(clock, out);
    if (r == 0 && b != NULL && clock == CLOCK_REALTIME) {
        const int64_t ns = (int64_t)out->tv_sec * 1000000000 + out->tv_nsec +
                           (int64_t)shmi_load_rlx_64((uint64_t *)(void *)&b->step_ns);
        out->tv_sec = ns / 1000000000;
        out->tv_nsec = ns % 1000000000;
    }
    return r;
}

/* ---- the run ----------------------------------------------------------- */

static struct {
    uint64_t end_ns, warm_ns;
    bool own_folder;                /* it may be filled                     */
    uint64_t kills, stops, restarts, fills, steps, starts;
    uint64_t kills_of[FLOWS], fill_until_ns, warm_files, warm_bytes;
    uint64_t rounds;                /* of the conductor                     */
} run;

static volatile sig_atomic_t told_to_stop;

static void
stop_early(int signal_number)
{
    (void)signal_number;
    told_to_stop = 1;
}

static void
add_slots(flow f, side does, uint32_t count, uint32_t anchors, bool steady)
{
    for (uint32_t i = 0; i < count; i++) {
        slot *s = &b->slots[b->slot_count];
        s->what = f;
        s->does = does;
        s->index = b->slot_count++;
        s->member = i;
        s->anchor = i < anchors;
        s->steady = steady;
        s->doing = "begin";
    }
}

/* Receivers first: so they are there from the first message on.            */
static void
cast(void)
{
    add_slots(LOSSY, RECEIVER, 3, 1, false);
    add_slots(LOSSY, CONFLATER, 2, 1, false);
    add_slots(CALM, RECEIVER, 3, 1, false);
    add_slots(BIG, RECEIVER, 2, 1, false);
    add_slots(RELIABLE, RECEIVER, 3, 1, false);
    add_slots(BCAST, RECEIVER, 2, 1, false);
    add_slots(SPSC, RECEIVER, 1, 0, false);
    add_slots(RECQ, RECEIVER, 1, 0, false);
    add_slots(MPMC, RECEIVER, 3, 1, false);
    add_slots(PUSH, RECEIVER, 3, 1, false);
    add_slots(DROP, RECEIVER, 2, 1, false);
    add_slots(LATEST, RECEIVER, 2, 1, false);
    add_slots(REQREP, SERVER, 3, 1, false);
    add_slots(MAKER, OTHER, 2, 0, false);
    add_slots(WATCH, OTHER, 1, 1, false);
    add_slots(POLLER, OTHER, 1, 1, false);
    add_slots(LOSSY, SENDER, 4, 0, false);
    add_slots(CALM, SENDER, 2, 2, true);
    add_slots(BIG, SENDER, 2, 0, false);
    add_slots(RELIABLE, SENDER, 3, 0, false);
    add_slots(BCAST, SENDER, 3, 0, false);
    add_slots(SPSC, SENDER, 1, 0, false);
    add_slots(RECQ, SENDER, 1, 0, false);
    add_slots(MPMC, SENDER, 3, 0, false);
    add_slots(PUSH, SENDER, 3, 0, false);
    add_slots(DROP, SENDER, 2, 0, false);
    add_slots(LATEST, SENDER, 1, 0, false);
    add_slots(REQREP, CLIENT, 5, 0, false);
}

/* ---- processes --------------------------------------------------------- */

static void
quiet_log(void *user, int level, const char *text)
{
    (void)user;
    (void)level;
    (void)text;                     /* broken() shows shmc_last_error       */
}

static void
start(slot *s)
{
    const bool queue = s->what == SPSC || s->what == RECQ || s->what == LATEST;

    s->incarnation++;
    s->quit = s->joined = s->in_hand = 0;
    if (s->does != SENDER && !queue) memset(s->rx, 0, sizeof s->rx);
    /* Several may be killed, one behind the other, before one can note what
     * came to it.                                                          */
    if (s->what == LATEST) s->rx[0].slack = 1;
    else s->rx[0].slack += queue && s->died_joined;
    s->died_joined = false;
    shmi_store_rel_64(&s->dead_ns, 0);
    s->seen_ns = shmi_now_ns();
    s->seen_rounds = run.rounds;
    s->resume_ns = 0;
    const pid_t parent = getpid();
    fflush(NULL);
    const pid_t pid = fork();
    if (pid < 0) {
        perror("soak: fork");
        exit(2);
    }
    run.starts++;
    if (pid != 0) {
        if (pid < PIDS) b->killed[pid / 8] &= (uint8_t)~(1u << pid % 8);
        s->pid = pid;
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_IGN);        /* a terminal's is for the conductor    */
    random_state = mix(b->seed ^ (uint64_t)s->index << 32 ^ s->incarnation);
    memset(buffer, 0, sizeof buffer);
    memset(made, 0, sizeof made);
    run_slot(s);
    _exit(0);
}

/* The process of a slot has ended, and its parent has seen it.             */
static void
bury(slot *s, int status, uint64_t now)
{
    const bool ours = s->pid < PIDS && was_killed(s->pid) && WIFSIGNALED(status) &&
                      WTERMSIG(status) == SIGKILL;

    if (ours) {
        s->died_joined = s->joined != 0;
        if (s->in_hand && s->does == RECEIVER) b->excused[s->what]++;
        if (s->what == REQREP && s->does == SERVER) b->excused[REQREP]++;
        shmi_store_rel_64(&s->dead_ns, now);
    } else if (WIFSIGNALED(status)) {
        broken(s, "process %d died by signal %d while it was to %s", (int)s->pid,
               WTERMSIG(status), s->doing);
    } else if (WEXITSTATUS(status) != 0 && b->broken == 0) {
        broken(s, "process %d ended with %d", (int)s->pid, WEXITSTATUS(status));
    }
    s->pid = 0;
    s->stopped = false;
    /* The peer of a queue has to be told meanwhile.                        */
    const bool queue = s->what == SPSC || s->what == RECQ;
    const uint32_t ms = below(queue ? 4 : 20) == 0 ? 1000 + below(1500) : below(200);
    s->restart_ns = now + ms * UINT64_C(1000000);
}

static void
reap(uint64_t now)
{
    int status = 0;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (uint32_t i = 0; i < b->slot_count; i++)
            if (b->slots[i].pid == pid) bury(&b->slots[i], status, now);
}

static void
kill_slot(slot *s)
{
    if (s->pid <= 0) return;
    shmi_faa_32(&s->deaths, 1);
    if (s->pid < PIDS) b->killed[s->pid / 8] |= (uint8_t)(1u << s->pid % 8);
    kill(s->pid, SIGKILL);
    run.kills++;
    run.kills_of[s->what]++;
}

/* ---- the folder -------------------------------------------------------- */

static void
folder_sum(uint64_t *files, uint64_t *bytes, const char *only)
{
    DIR *dir = opendir(b->dir);
    struct dirent *e;
    struct stat st;

    *files = *bytes = 0;
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, 0) != 0)
            continue;
        if (only != NULL && strstr(e->d_name, only) != NULL) continue;
        ++*files;
        *bytes += (uint64_t)st.st_blocks * 512;
    }
    if (dir != NULL) closedir(dir);
}

static void
fill_begin(uint64_t now)
{
    char path[SHMC_DIR_BYTES + 16];
    off_t at = 0;

    snprintf(path, sizeof path, "%s/ballast", b->dir);
    const int fd = open(path, O_CREAT | O_RDWR, 0600);
    if (fd < 0) return;
    shmi_faa_32(&b->fills, 1);
    for (off_t piece = 1 << 20; piece >= 4096; piece /= 16)
        while (posix_fallocate(fd, at, piece) == 0) at += piece;
    close(fd);
    run.fill_until_ns = now + (30 + below(300)) * UINT64_C(1000000);
}

static void
fill_end(void)
{
    char path[SHMC_DIR_BYTES + 16];

    snprintf(path, sizeof path, "%s/ballast", b->dir);
    if (unlink(path) != 0) return;
    shmi_faa_32(&b->fills, 1);
    run.fill_until_ns = 0;
    run.fills++;
}

static int
remove_one(void *user, const char *name)
{
    (void)user;
    const int r = shmc_segment_unlink(name, NULL);

    if (r != SHMC_OK && r != SHMC_ENOENT)
        broken(NULL, "gc of %s: %s", name, shmc_last_error());
    return 0;
}

/* The library's own way to remove what no live process holds.              */
static void
collect(void)
{
    uint64_t files, bytes;
    char path[SHMC_DIR_BYTES + 16];

    if (sabotage == LEAKS) {
        snprintf(path, sizeof path, "%s/leak", b->dir);
        close(open(path, O_CREAT | O_RDWR, 0600));
    }
    (void)shmc_segment_each(NULL, remove_one, NULL);
    folder_sum(&files, &bytes, NULL);
    if (files != 0)
        broken(NULL, "%llu files, %llu bytes are left in %s",
               (unsigned long long)files, (unsigned long long)bytes, b->dir);
}

/* ---- memory ------------------------------------------------------------ */

static long
private_kb(pid_t pid)
{
    char path[64], line[256];
    long kb = -1;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *in = fopen(path, "r");
    while (in != NULL && fgets(line, sizeof line, in) != NULL)
        if (sscanf(line, "RssAnon: %ld kB", &kb) == 1) break;
    if (in != NULL) fclose(in);
    return kb;
}

static long
open_files(pid_t pid)
{
    char path[64];
    long n = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    while (dir != NULL && readdir(dir) != NULL) n++;
    if (dir != NULL) closedir(dir);
    return n;
}

static void
warm_up(void)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        slot *s = &b->slots[i];
        s->warm = s->anchor && s->pid > 0;
        if (!s->warm) continue;
        s->warm_kb = private_kb(s->pid);
        s->warm_files = open_files(s->pid);
    }
    folder_sum(&run.warm_files, &run.warm_bytes, "made-");
}

/* Nothing has grown since.  Returns the most that somebody's own memory has. */
static long
judge_private(void)
{
    long most_kb = 0;

    for (uint32_t i = 0; i < b->slot_count; i++) {
        slot *s = &b->slots[i];
        if (!s->warm || s->pid <= 0) continue;
        const long kb = private_kb(s->pid) - s->warm_kb;
        const long more = open_files(s->pid) - s->warm_files;
        if (kb > most_kb) most_kb = kb;
        PROMISE(s, kb <= 64, "its memory has grown by %ld KiB", kb);
        PROMISE(s, more <= 0, "it has %ld open files more than at first", more);
    }
    return most_kb;
}

/* Called when senders have gone, and receivers have not.                   */
static void
judge_shared(void)
{
    uint64_t files, bytes;

    folder_sum(&files, &bytes, "made-");
    if (run.warm_bytes != 0 && (files > run.warm_files || bytes > run.warm_bytes))
        broken(NULL, "shared memory has grown: %llu files, %llu bytes; at first %llu, "
               "%llu", (unsigned long long)files, (unsigned long long)bytes,
               (unsigned long long)run.warm_files, (unsigned long long)run.warm_bytes);
}

/* ---- chaos ------------------------------------------------------------- */

static void
step_clock(void)
{
    static const int64_t by[] = { 1, 60, 3600, 86400, 31536000, 315360000 };
    const int64_t seconds = by[below(6)] * (1 + (int64_t)below(3));

    b->step_ns = (below(2) ? seconds : -seconds) * 1000000000;
    run.steps++;
}

static void
stop_slot(slot *s, uint64_t now)
{
    if (s->stopped || s->steady) return;
    kill(s->pid, SIGSTOP);
    s->stopped = true;
    const uint32_t ms = below(10) == 0 ? 300 + below(700) : 1 + below(100);
    s->resume_ns = now + ms * UINT64_C(1000000);
    run.stops++;
}

static void
disturb(uint64_t now)
{
    slot *s = &b->slots[below(b->slot_count)];
    const uint32_t dice = below(100);

    if (dice < 3) {
        step_clock();
    } else if (dice < 5) {
        if (run.own_folder && run.fill_until_ns == 0) fill_begin(now);
    } else if (s->pid <= 0) {
        return;
    } else if (dice < 45) {
        stop_slot(s, now);
    } else if (!s->anchor && dice < 85) {
        kill_slot(s);
    } else if (!s->anchor) {
        shmi_store_rel_32(&s->quit, 1);
        run.restarts++;
    }
}

/* Progress that stopped although nobody else did.  Time that the machine gave
 * to none of us does not count: the conductor made few rounds meanwhile.    */
static void
watch_over(slot *s, uint64_t now)
{
    char path[64], where[64] = "?";

    if (s->pid <= 0 || s->stopped || s->progress != s->seen_progress) {
        s->seen_progress = s->progress;
        s->seen_ns = now;
        s->seen_rounds = run.rounds;
        return;
    }
    if (now < s->seen_ns + b->hang_s * UINT64_C(1000000000) ||
        run.rounds - s->seen_rounds < b->hang_s * UINT64_C(100)) return;
    snprintf(path, sizeof path, "/proc/%d/wchan", (int)s->pid);
    FILE *in = fopen(path, "r");
    if (in != NULL && fgets(where, sizeof where, in) == NULL) where[0] = '?';
    if (in != NULL) fclose(in);
    broken(s, "hangs: process %d was to %s, and did nothing for %u s; in the "
           "kernel at %s", (int)s->pid, s->doing, b->hang_s, where);
    s->seen_ns = now;
    s->seen_rounds = run.rounds;
}

static void
tend(uint64_t now, bool restart)
{
    run.rounds++;
    reap(now);
    for (uint32_t i = 0; i < b->slot_count; i++) {
        slot *s = &b->slots[i];
        if (s->stopped && now >= s->resume_ns) {
            kill(s->pid, SIGCONT);
            s->stopped = false;
        }
        if (s->pid == 0 && restart && now >= s->restart_ns) start(s);
        watch_over(s, now);
    }
    if (run.fill_until_ns != 0 && now >= run.fill_until_ns) fill_end();
}

/* ---- the end ----------------------------------------------------------- */

static uint32_t
alive(bool senders_only)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < b->slot_count; i++) {
        const slot *s = &b->slots[i];
        n += s->pid > 0 &&
             (!senders_only || (s->does != RECEIVER && s->does != CONFLATER));
    }
    return n;
}

/* Let them end by themselves.  Who does not, hangs.                         */
static void
await_end(bool senders_only)
{
    const uint64_t until = shmi_now_ns() + 3 * b->hang_s * UINT64_C(1000000000);
    const uint64_t rounds = run.rounds + 3 * b->hang_s * UINT64_C(100);

    while (alive(senders_only) != 0 &&
           (shmi_now_ns() < until || run.rounds < rounds)) {
        tend(shmi_now_ns(), false);
        nap_us(5000);
    }
    for (uint32_t i = 0; i < b->slot_count; i++) {
        slot *s = &b->slots[i];
        if (s->pid <= 0) continue;
        if (senders_only && (s->does == RECEIVER || s->does == CONFLATER)) continue;
        broken(s, "process %d, told to end, was to %s, and did not", (int)s->pid,
               s->doing);
        kill_slot(s);
    }
}

/* All that was acknowledged to its sender is with somebody.                */
static void
judge_cells(slot *s)
{
    uint64_t never = 0;

    for (uint32_t i = 0; i < WINDOW; i++) {
        const uint64_t is = b->cells[s->what][s->member][i];
        never += (is & ACKED) != 0 && (is & 255) == 0;
        s->checks++;
    }
    b->missing[s->what] += never;
    if (b->missing[s->what] > b->excused[s->what])
        broken(s, "%llu messages were acknowledged and nobody got them; %u "
               "workers were killed with one", (unsigned long long)b->missing[s->what],
               b->excused[s->what]);
}

static void
judge_last(slot *s)
{
    const slot *to = slot_of(s->what, RECEIVER, 0);
    const uint64_t want = to->rx[0].next[s->member] - 1;

    s->checks++;
    if (s->attempt == 0) return;
    if (to->rx[0].next[s->member] == 0) {
        broken(s, "nothing of it was received");
        return;
    }
    uint64_t n = want > s->attempt ? 0
               : acked_between(s->what, s->member, want, s->attempt + 1);
    n -= n < to->rx[0].slack ? n : to->rx[0].slack;
    if (n != 0)
        broken(s, "%llu messages behind number %llu were acknowledged and not "
               "received", (unsigned long long)n, (unsigned long long)want - 1);
}

static void
judge_end(void)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        slot *s = &b->slots[i];
        if (s->does != SENDER) continue;
        if (s->what == MPMC || s->what == PUSH || s->what == DROP ||
            s->what == REQREP) judge_cells(s);
        if (s->what == RELIABLE || s->what == SPSC || s->what == RECQ) judge_last(s);
    }
    if (run.steps != 0 && b->steps_felt == 0)
        broken(NULL, "no process felt that the wall clock was stepped");
}

/* Returns by how many KiB the memory of the long-lived has grown.          */
static long
finish(void)
{
    const long most_kb = judge_private();

    for (uint32_t i = 0; i < b->slot_count; i++)
        if (b->slots[i].stopped) b->slots[i].resume_ns = 0;
    if (run.fill_until_ns != 0) fill_end();
    /* Receivers that are away come back: somebody has to take what is left. */
    for (uint32_t i = 0; i < b->slot_count; i++)
        if (b->slots[i].does == RECEIVER) b->slots[i].restart_ns = 0;
    tend(shmi_now_ns(), true);
    shmi_store_rel_32(&b->stop, 1);
    await_end(true);
    for (uint32_t i = 0; i < b->slot_count; i++)
        if (b->slots[i].does == RECEIVER && b->slots[i].pid == 0) start(&b->slots[i]);
    nap_us(300000);
    judge_shared();
    shmi_store_rel_32(&b->stop, 2);
    await_end(false);
    /* One that had just been told to close may have left some behind.       */
    for (uint32_t i = 0; i < b->slot_count; i++)
        if (b->slots[i].does == RECEIVER && b->slots[i].what >= SPSC &&
            b->slots[i].what <= DROP) start(&b->slots[i]);
    await_end(false);
    reap(shmi_now_ns());
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
        broken(NULL, "a process is left");
    judge_end();
    collect();
    return most_kb;
}

/* ---- reports ----------------------------------------------------------- */

static void
sums(uint64_t *messages, uint64_t *checks, uint64_t of[FLOWS])
{
    *messages = *checks = 0;
    memset(of, 0, FLOWS * sizeof of[0]);
    for (uint32_t i = 0; i < b->slot_count; i++) {
        *messages += b->slots[i].messages;
        *checks += b->slots[i].checks;
        of[b->slots[i].what] += b->slots[i].messages;
    }
}

static void
say_progress(uint64_t now)
{
    uint64_t messages, checks, of[FLOWS];

    sums(&messages, &checks, of);
    printf("%6.0f s: %llu messages, %llu kills, %llu stops, %u broken\n",
           (double)(now - b->began_ns) / 1e9, (unsigned long long)messages,
           (unsigned long long)run.kills, (unsigned long long)run.stops, b->broken);
    fflush(stdout);
}

static int
report(long most_kb)
{
    uint64_t messages, checks, of[FLOWS];

    sums(&messages, &checks, of);
    for (uint32_t f = 0; f < FLOWS; f++)
        printf("%-10s %12llu messages %7llu kills\n", flows[f].name,
               (unsigned long long)of[f], (unsigned long long)run.kills_of[f]);
    printf("told: %llu deaths to peers, %llu to a watcher, %llu to servers; "
           "%llu times no room\n", (unsigned long long)b->deaths_told,
           (unsigned long long)b->peers_died, (unsigned long long)b->refused,
           (unsigned long long)b->full_seen);
    printf("again: %llu redelivered, %llu retried; %llu lost and counted, %llu "
           "skipped, %llu parts, %llu posts, %llu timers\n",
           (unsigned long long)b->redelivered, (unsigned long long)b->retried,
           (unsigned long long)b->lost, (unsigned long long)b->skipped,
           (unsigned long long)b->parts, (unsigned long long)b->posts,
           (unsigned long long)b->timer);
    printf("the step of the wall clock was felt %llu times; memory of the long-lived "
           "grew by at most %ld KiB\n", (unsigned long long)b->steps_felt, most_kb);
    printf("%llu promises checked, %u broken, %llu messages, %llu kills, %llu stops, "
           "%llu restarts, %llu fills, %llu clock steps, %.0f s, seed %llu\n",
           (unsigned long long)checks, b->broken, (unsigned long long)messages,
           (unsigned long long)run.kills, (unsigned long long)run.stops,
           (unsigned long long)run.restarts, (unsigned long long)run.fills,
           (unsigned long long)run.steps,
           (double)(shmi_now_ns() - b->began_ns) / 1e9, (unsigned long long)b->seed);
    return b->broken != 0 || checks == 0;
}

/* ---- main -------------------------------------------------------------- */

static void
sabotage_choose(const char *text)
{
    const char *of = strchr(text, ':');
    const size_t n = of != NULL ? (size_t)(of - text) : strlen(text);

    for (uint32_t i = 0; i < SABOTAGES; i++)
        if (strlen(sabotages[i]) == n && strncmp(text, sabotages[i], n) == 0)
            sabotage = (enum sabotage)i;
    for (uint32_t f = 0; of != NULL && f < FLOWS; f++)
        if (strcmp(of + 1, flows[f].name) == 0) sabotage_flow = (int)f;
    if ((sabotage == NONE && strcmp(text, "none") != 0) ||
        (of != NULL && sabotage_flow < 0)) {
        fprintf(stderr, "soak: no such sabotage: %s\n", text);
        exit(2);
    }
}

static void
conduct(void)
{
    uint64_t say_ns = b->began_ns + UINT64_C(10000000000), now;
    bool warm = false;

    for (uint32_t i = 0; i < b->slot_count; i++) {
        start(&b->slots[i]);
        if (i + 1 < b->slot_count && b->slots[i + 1].does == SENDER &&
            b->slots[i].does != SENDER) nap_us(200000);
    }
    uint64_t next_ns = shmi_now_ns() + 500000000;
    while ((now = shmi_now_ns()) < run.end_ns && !told_to_stop) {
        tend(now, true);
        if (now >= next_ns) {
            disturb(now);
            next_ns = now + below(40000) * UINT64_C(1000);
        }
        if (!warm && now >= run.warm_ns) {
            warm_up();
            warm = true;
        }
        if (now >= say_ns) {
            say_progress(now);
            say_ns += (now - b->began_ns) / 4 + UINT64_C(5000000000);
        }
        nap_us(2000);
    }
}

/* soak SECONDS SEED HANG_SECONDS OWN_FOLDER SABOTAGE, in $SHMCOMM_DIR      */
int
main(int argc, char **argv)
{
    if (argc != 6 || getenv("SHMCOMM_DIR") == NULL) {
        fprintf(stderr, "soak: run tests/soak\n");
        return 2;
    }
    b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
             -1, 0);
    if (b == MAP_FAILED) {
        perror("soak: mmap");
        return 2;
    }
    snprintf(b->dir, sizeof b->dir, "%s", getenv("SHMCOMM_DIR"));
    b->seed = strtoull(argv[2], NULL, 10);
    b->hang_s = (uint32_t)strtoul(argv[3], NULL, 10);
    run.own_folder = strcmp(argv[4], "yes") == 0;
    sabotage_choose(argv[5]);
    random_state = mix(b->seed);
    shmc_log_set(quiet_log, NULL, SHMC_LOG_ERROR);
    b->began_ns = shmi_now_ns();
    const uint64_t ns = strtoull(argv[1], NULL, 10) * UINT64_C(1000000000);
    run.end_ns = b->began_ns + ns;
    run.warm_ns = b->began_ns + (ns / 3 < UINT64_C(120000000000) ? ns / 3
                                 : UINT64_C(120000000000));
    printf("seed %llu\n", (unsigned long long)b->seed);
    /* Ended early, or left by the script: all the same, leave nothing.      */
    signal(SIGINT, stop_early);
    signal(SIGTERM, stop_early);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    cast();
    conduct();
    return report(finish());
}
