/* shmcomm_doctor_system.c - the verb doctor: kernel, limits, CPUs, services.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_doctor.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* >>kernel */

static void
check_kernel(doctor *d)
{
    char text[256];
    unsigned major = 0, minor = 0;

    if (!doctor_line(d, "/proc/sys/kernel/osrelease", text, sizeof text)) return;
    if (sscanf(text, "%u.%u", &major, &minor) != 2) return;
    const unsigned version = major * 1000 + minor;
    if (version < 3015)
        found(d, LEVEL_PROBLEM, "kernel",
              "It lacks open-file-description locks, which tell who is alive.",
              "Use Linux 5.16 or newer.", "The kernel is %s.", text);
    else if (version < 5016)
        found(d, LEVEL_WARNING, "kernel",
              "futex_waitv came with 5.16; without it a wait over several "
              "objects sleeps in slices.", "Use Linux 5.16 or newer.",
              "The kernel is %s.", text);
    else
        found(d, LEVEL_OK, "kernel", NULL, NULL, "The kernel is %s.", text);
}

/* A word that is not what we wait for: EAGAIN tells that the call is there. */
static bool
has_futex_waitv(void)
{
    uint32_t word = 1;
    const shmi_wait_word wait = { &word, 0 };

    return shmi_wait_many(&wait, 1, shmi_now_ns()) >= 0;
}

static void
check_calls(doctor *d)
{
    if (doctor_fact(d, "futex_waitv", has_futex_waitv()) == 0)
        found(d, LEVEL_WARNING, "futex-waitv",
              "A poller over several sockets, and a wait that must notice a "
              "peer's death, sleep in slices instead: later and dearer.",
              "Use Linux 5.16, and a seccomp profile that allows futex_waitv "
              "(Docker 20.10.10 or newer).", "futex_waitv is not allowed or not "
              "there.");
    else
        found(d, LEVEL_OK, "futex-waitv", NULL, NULL, "futex_waitv works.");
    if (doctor_fact(d, "membarrier", shmi_membarrier_supported()) == 0)
        found(d, LEVEL_NOTE, "membarrier",
              "Segments with SHMC_WAKE_ASYMMETRIC cannot be used by this process; "
              "the default, a fence, can.",
              "Use Linux 4.16, and a seccomp profile that allows membarrier, if "
              "you want them.", "membarrier is not allowed or not there.");
    else
        found(d, LEVEL_OK, "membarrier", NULL, NULL, "membarrier works.");
}

static void
check_protected(doctor *d)
{
    static const struct { const char *name, *means; } rows[] = {
        { "protected_regular",
          "A program that opens another user's file in /dev/shm with O_CREAT is "
          "refused, root included. shmcomm never does, but shm_open(O_CREAT) of "
          "other programs beside it may fail." },
        { "protected_hardlinks",
          "Names are given by linking one's own files, which stays allowed; a "
          "link to another user's segment is refused." },
        { "protected_fifos",
          "Opening another user's FIFO in /dev/shm with O_CREAT is refused." },
    };
    char path[64], text[64];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(path, sizeof path, "/proc/sys/fs/%s", rows[i].name);
        if (!doctor_line(d, path, text, sizeof text)) continue;
        if (strcmp(text, "0") == 0)
            found(d, LEVEL_OK, rows[i].name, NULL, NULL, "fs.%s is 0.",
                  rows[i].name);
        else
            found(d, LEVEL_NOTE, rows[i].name, rows[i].means,
                  "Nothing to do for shmcomm; share segments by mode and group.",
                  "fs.%s is %s.", rows[i].name, text);
    }
}

/* >>limits */

/* The soft limit in /proc/self/limits; UINT64_MAX: unlimited.             */
static bool
limit_of(const char *text, const char *name, uint64_t *soft)
{
    const char *at = strstr(text, name);

    if (at == NULL) return false;
    at += strlen(name);
    at += strspn(at, " ");
    *soft = strncmp(at, "unlimited", 9) == 0 ? UINT64_MAX
                                             : strtoull(at, NULL, 10);
    return true;
}

/* Does this process have the capability of that number?                   */
static bool
capable(const doctor *d, unsigned number)
{
    char text[8192];

    if (!doctor_text(d, "/proc/self/status", text, sizeof text)) return false;
    const char *at = strstr(text, "CapEff:");
    return at != NULL && (strtoull(at + 7, NULL, 16) >> number & 1) != 0;
}

static void
check_limits(doctor *d)
{
    enum { IPC_LOCK = 14, SYS_NICE = 23 };  /* as in <linux/capability.h>   */
    char text[8192];
    uint64_t n;

    if (!doctor_text(d, "/proc/self/limits", text, sizeof text)) return;
    if (!limit_of(text, "Max locked memory", &n)) n = UINT64_MAX;
    if (n < UINT64_C(64) << 20 && !capable(d, IPC_LOCK))
        found(d, LEVEL_WARNING, "limit-memlock",
              "SHMC_MLOCK and mlockall fail beyond it, so that pages of a "
              "real-time loop can be taken away.",
              "In /etc/security/limits.conf: '@realtime - memlock unlimited'; in "
              "a unit: LimitMEMLOCK=infinity; in Docker: --ulimit memlock=-1",
              "This user may lock %s of memory.", cli_bytes((double)n).s);
    else
        found(d, LEVEL_OK, "limit-memlock", NULL, NULL,
              "This user may lock enough memory.");
    if (!limit_of(text, "Max realtime priority", &n)) n = 0;
    if (n == 0 && !capable(d, SYS_NICE))
        found(d, LEVEL_WARNING, "limit-rtprio",
              "sched_setscheduler(SCHED_FIFO) fails; any other process can keep "
              "the loop from its CPU.",
              "In /etc/security/limits.conf: '@realtime - rtprio 95'; in a unit: "
              "LimitRTPRIO=95", "This user may take no real-time priority.");
    else
        found(d, LEVEL_OK, "limit-rtprio", NULL, NULL,
              "This user may take a real-time priority.");
    if (!limit_of(text, "Max open files", &n)) n = UINT64_MAX;
    if (n < 1024)
        found(d, LEVEL_WARNING, "limit-nofile",
              "Each open segment or topic takes two descriptors; the next one "
              "fails with SHMC_ELIMIT.",
              "ulimit -n 4096, LimitNOFILE=4096",
              "This user may open %llu files.", (unsigned long long)n);
    else
        found(d, LEVEL_OK, "limit-nofile", NULL, NULL,
              "This user may open enough files.");
}

/* >>CPUs */

static void
check_isolation(doctor *d)
{
    char text[256];
    const bool isolated =
        doctor_line(d, "/sys/devices/system/cpu/isolated", text, sizeof text) &&
        text[0] != '\0';

    if (isolated)
        found(d, LEVEL_OK, "isolcpus", NULL, NULL, "CPUs %s are isolated.", text);
    else
        found(d, LEVEL_NOTE, "isolcpus",
              "The scheduler may put any process beside a real-time loop.",
              "Boot with isolcpus=2,3 (or use cpusets), and pin the loop there.",
              "No CPU is isolated.");
    if (doctor_line(d, "/sys/devices/system/cpu/nohz_full", text, sizeof text) &&
        text[0] != '\0' && strcmp(text, "(null)") != 0)
        found(d, LEVEL_OK, "nohz-full", NULL, NULL, "CPUs %s run without a tick.",
              text);
    else
        found(d, LEVEL_NOTE, "nohz-full",
              "The timer interrupts every CPU up to 1000 times a second, some "
              "microseconds each.", "Boot with nohz_full= for the isolated CPUs.",
              "No CPU runs without the tick.");
}

static void
check_governor(doctor *d)
{
    char path[1024], text[128], worst[128] = "";
    unsigned cpus = 0, slow = 0;
    DIR *dir;

    snprintf(path, sizeof path, "%s/sys/devices/system/cpu", d->root);
    if ((dir = opendir(path)) == NULL) return;
    for (struct dirent *e; (e = readdir(dir)) != NULL; ) {
        if (strncmp(e->d_name, "cpu", 3) != 0) continue;
        snprintf(path, sizeof path,
                 "/sys/devices/system/cpu/%s/cpufreq/scaling_governor", e->d_name);
        if (!doctor_line(d, path, text, sizeof text)) continue;
        cpus++;
        if (strcmp(text, "performance") == 0) continue;
        slow++;
        snprintf(worst, sizeof worst, "%s", text);
    }
    closedir(dir);
    if (slow != 0)
        found(d, LEVEL_WARNING, "governor",
              "A CPU that was idle starts slowly: wake-ups and first messages "
              "take longer.", "cpupower frequency-set -g performance",
              "%u of %u CPUs have the frequency governor '%s'.", slow, cpus, worst);
    else
        found(d, LEVEL_OK, "governor", NULL, NULL,
              cpus != 0 ? "All %u CPUs have the governor 'performance'."
                        : "The kernel does not govern the frequency (%u CPUs).",
              cpus);
}

static void
check_scheduling(doctor *d)
{
    char text[256];

    if (doctor_line(d, "/proc/sys/kernel/sched_rt_runtime_us", text, sizeof text) &&
        strcmp(text, "-1") != 0)
        found(d, LEVEL_NOTE, "rt-throttling",
              "A real-time process that spins is taken off its CPU for the rest "
              "of each second.",
              "sysctl kernel.sched_rt_runtime_us=-1, where the loop is trusted.",
              "Real-time processes get %s us of each period.", text);
    else
        found(d, LEVEL_OK, "rt-throttling", NULL, NULL,
              "Real-time processes are not throttled.");
    if (doctor_line(d, "/sys/kernel/realtime", text, sizeof text) &&
        strcmp(text, "1") == 0)
        found(d, LEVEL_OK, "preempt-rt", NULL, NULL, "The kernel is PREEMPT_RT.");
    else
        found(d, LEVEL_NOTE, "preempt-rt",
              "Kernel work may keep a real-time process waiting for milliseconds.",
              "Install linux-image-rt-amd64 if the worst case counts.",
              "The kernel is not PREEMPT_RT.");
    if (doctor_line(d, "/sys/devices/system/clocksource/clocksource0/"
                       "current_clocksource", text, sizeof text) &&
        (strcmp(text, "hpet") == 0 || strcmp(text, "acpi_pm") == 0 ||
         strcmp(text, "jiffies") == 0))
        found(d, LEVEL_WARNING, "clocksource",
              "Each look at the clock takes a microsecond instead of 20 ns.",
              "See dmesg for why the TSC is not used; tsc=reliable forces it.",
              "The clock is %s.", text);
    else
        found(d, LEVEL_OK, "clocksource", NULL, NULL, "The clock is %s.",
              text[0] != '\0' ? text : "not told");
}

/* >>services */

/* What the last line RemoveIPC= of a file says; as it was if there is none. */
static bool
remove_ipc_in(const doctor *d, const char *path, bool before)
{
    char text[16384];

    if (!doctor_text(d, path, text, sizeof text)) return before;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        line += strspn(line, " \t");
        if (strncmp(line, "RemoveIPC=", 10) != 0) continue;
        const char *value = line + 10;
        before = strncmp(value, "yes", 3) == 0 || strncmp(value, "true", 4) == 0 ||
                 value[0] == '1' || strncmp(value, "on", 2) == 0;
    }
    return before;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
remove_ipc(const doctor *d)
{
    char path[1024], *names[64];
    bool is = remove_ipc_in(d, "/etc/systemd/logind.conf", true);
    size_t count = 0;
    DIR *dir;

    snprintf(path, sizeof path, "%s/etc/systemd/logind.conf.d", d->root);
    if ((dir = opendir(path)) == NULL) return is;
    for (struct dirent *e; count < 64 && (e = readdir(dir)) != NULL; ) {
        const size_t n = strlen(e->d_name);
        if (n < 5 || strcmp(e->d_name + n - 5, ".conf") != 0) continue;
        if ((names[count++] = strdup(e->d_name)) == NULL) cli_no_memory();
    }
    closedir(dir);
    qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/etc/systemd/logind.conf.d/%s", names[i]);
        is = remove_ipc_in(d, path, is);
        free(names[i]);
    }
    return is;
}

static void
check_services(doctor *d)
{
    const uint64_t uid = doctor_fact(d, "uid", geteuid());

    if (!doctor_there(d, "/run/systemd/system"))
        found(d, LEVEL_OK, "remove-ipc", NULL, NULL, "systemd does not run here.");
    else if (!remove_ipc(d))
        found(d, LEVEL_OK, "remove-ipc", NULL, NULL,
              "systemd leaves files in /dev/shm alone (RemoveIPC=no).");
    else
        found(d, uid >= 1000 ? LEVEL_WARNING : LEVEL_NOTE, "remove-ipc",
              "When the last session of an ordinary user ends, systemd removes "
              "all of that user's files in /dev/shm, live segments included; "
              "newcomers then make new ones beside those still in use.",
              "RemoveIPC=no in /etc/systemd/logind.conf; or run as a system user "
              "(below 1000), or 'loginctl enable-linger'.",
              "systemd's RemoveIPC is on.");
}

void
doctor_system(doctor *d)
{
    check_kernel(d);
    check_calls(d);
    check_protected(d);
    check_limits(d);
    check_isolation(d);
    check_governor(d);
    check_scheduling(d);
    check_services(d);
}
