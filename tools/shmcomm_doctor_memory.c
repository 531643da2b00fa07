/* shmcomm_doctor_memory.c - the verb doctor: /dev/shm, what is in it, pages.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SMALL_BYTES (UINT64_C(256) << 20)   /* /dev/shm with less is small  */

/* >>/dev/shm */

static bool
in_container(const doctor *d)
{
    char text[65536];

    if (doctor_there(d, "/.dockerenv")) return true;
    if (doctor_there(d, "/run/.containerenv")) return true;
    if (!doctor_text(d, "/proc/1/cgroup", text, sizeof text)) return false;
    return strstr(text, "docker") != NULL || strstr(text, "kubepods") != NULL ||
           strstr(text, "/lxc/") != NULL || strstr(text, "containerd") != NULL;
}

static void
check_size(doctor *d, uint64_t total, uint64_t free_bytes)
{
    const bool container = in_container(d);

    if (total < SMALL_BYTES && container)
        found(d, LEVEL_PROBLEM, "shm-container",
              "A container gets 64 MiB of it unless told otherwise; a topic of "
              "images needs more, and its creation will fail with SHMC_ENOSPC.",
              "Start the container with --shm-size=2g, or with --ipc=host to "
              "share that of the machine (in Kubernetes: an emptyDir of medium "
              "Memory at /dev/shm).",
              "This is a container, and its /dev/shm has only %s.",
              cli_bytes((double)total).s);
    else if (total < SMALL_BYTES)
        found(d, LEVEL_WARNING, "shm-size",
              "Segments take real pages when they are made; a topic of images "
              "may not fit, and its creation will fail with SHMC_ENOSPC.",
              "mount -o remount,size=50% /dev/shm, and the same in /etc/fstab.",
              "%s has %s.", d->shm, cli_bytes((double)total).s);
    else
        found(d, LEVEL_OK, "shm-size", NULL, NULL, "%s has %s.", d->shm,
              cli_bytes((double)total).s);
    if (free_bytes < total / 20 || free_bytes < UINT64_C(8) << 20)
        found(d, LEVEL_PROBLEM, "shm-free",
              "New segments and topics will fail with SHMC_ENOSPC; those that "
              "exist go on, since they have their pages.",
              "See 'shmcomm ls' for the largest and 'shmcomm gc' for those that "
              "nobody uses, or make it larger with mount -o remount,size=.",
              "%s of %s in %s is free.", cli_bytes((double)free_bytes).s,
              cli_bytes((double)total).s, d->shm);
    else
        found(d, LEVEL_OK, "shm-free", NULL, NULL, "%s of it is free.",
              cli_bytes((double)free_bytes).s);
}

/* Is it a tmpfs, and may it be written?                                   */
static void
check_mount(doctor *d)
{
    static char text[1 << 18];
    char type[64] = "", how[64] = "";
    bool seen = false;

    if (!doctor_text(d, "/proc/self/mountinfo", text, sizeof text)) return;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char point[1024];
        const char *rest = strstr(line, " - ");
        if (rest == NULL ||
            sscanf(line, "%*s %*s %*s %*s %1023s %63s", point, how) != 2 ||
            strcmp(point, "/dev/shm") != 0) continue;
        seen = sscanf(rest, " - %63s", type) == 1;
        if (strncmp(how, "ro", 2) == 0)
            found(d, LEVEL_PROBLEM, "shm-read-only",
                  "No segment can be made there.",
                  "mount -o remount,rw /dev/shm, or set SHMCOMM_DIR to another "
                  "tmpfs.", "/dev/shm is mounted read-only.");
    }
    if (seen && strcmp(type, "tmpfs") != 0)
        found(d, LEVEL_WARNING, "shm-type",
              "On a disk, dirty pages are written back, which stalls who writes "
              "to them meanwhile.",
              "mount -t tmpfs tmpfs /dev/shm, or set SHMCOMM_DIR to a tmpfs.",
              "/dev/shm is a file system of type %s, not tmpfs.", type);
    else if (!seen)
        found(d, LEVEL_NOTE, "shm-type",
              "Its pages may be those of a disk, whose write-back stalls who "
              "writes to them.", "mount -t tmpfs tmpfs /dev/shm.",
              "/dev/shm is no mount point of its own.");
    else
        found(d, LEVEL_OK, "shm-type", NULL, NULL, "/dev/shm is a tmpfs.");
}

static void
check_folder(doctor *d)
{
    struct statvfs vfs;
    struct stat st;

    if (stat(d->shm, &st) != 0 || !S_ISDIR(st.st_mode)) {
        found(d, LEVEL_PROBLEM, "shm-missing", "No segment can be made at all.",
              "mount -t tmpfs -o mode=1777 tmpfs /dev/shm, or set SHMCOMM_DIR to "
              "a folder on a tmpfs.", "%s is no folder.", d->shm);
        return;
    }
    const unsigned mode =
        (unsigned)doctor_fact(d, "shm_mode", st.st_mode & 07777u);
    const bool world = (mode & 02) != 0, sticky = (mode & 01000) != 0;
    if (!doctor_fact(d, "shm_writable", access(d->shm, W_OK | X_OK) == 0))
        found(d, LEVEL_PROBLEM, "shm-permission",
              "This user can attach to segments there, but make none.",
              "chmod 1777 it, or set SHMCOMM_DIR to a folder of this user's.",
              "%s may not be written by this user (mode %04o).", d->shm, mode);
    else if (world && !sticky)
        found(d, LEVEL_WARNING, "shm-permission",
              "Every user can remove the names of everybody's segments.",
              "chmod +t it.", "%s has mode %04o, without the sticky bit.",
              d->shm, mode);
    else
        found(d, LEVEL_OK, "shm-permission", NULL, NULL, "%s has mode %04o.",
              d->shm, mode);
    if (statvfs(d->shm, &vfs) == 0)
        check_size(d, doctor_fact(d, "shm_total", vfs.f_blocks * vfs.f_frsize),
                   doctor_fact(d, "shm_free", vfs.f_bavail * vfs.f_frsize));
}

/* >>what is in it */

static void
check_files(doctor *d)
{
    cli at = *d->c;
    cli_look *looks = NULL;
    uint64_t stale_bytes = 0;
    char first[SHMC_NAME_BYTES] = "", barred[SHMC_NAME_BYTES] = "";
    int stale = 0, others = 0, broken = 0;

    at.dir = d->shm;
    const int count = cli_look_all(&at, &looks);
    for (int i = 0; i < count; i++) {
        const cli_look *l = &looks[i];
        if (l->code == SHMC_EACCES && others++ == 0)
            snprintf(barred, sizeof barred, "%s", l->name);
        broken += l->code != SHMC_OK && l->code != SHMC_EACCES;
        if (l->code != SHMC_OK || l->live) continue;
        if (stale++ == 0) snprintf(first, sizeof first, "%s", l->name);
        stale_bytes += l->file_bytes;
    }
    free(looks);
    if (stale != 0)
        found(d, LEVEL_WARNING, "shm-stale",
              "Their users were killed or left them for later; they keep their "
              "pages until somebody comes back or removes them.",
              "'shmcomm gc --dry-run' shows them, 'shmcomm gc' removes them.",
              "%d segments with %s have no live user, first '%s'.", stale,
              cli_bytes((double)stale_bytes).s, first);
    else if (count >= 0)
        found(d, LEVEL_OK, "shm-stale", NULL, NULL,
              "Each of the %d segments that can be looked at has a live user.",
              count - others - broken);
    if (others != 0)
        found(d, LEVEL_NOTE, "shm-others",
              "They were made with permission bits that leave this user out.",
              "To share them, make them with mode 0660 and a common group, or "
              "run as their owner.",
              "%d segments belong to somebody else, first '%s'.", others, barred);
    if (broken != 0)
        found(d, LEVEL_WARNING, "shm-broken",
              "Another program uses the same prefix, or a version that this one "
              "does not know, or they are damaged.",
              "'shmcomm ls' shows them; remove them by hand if nobody needs them.",
              "%d files with our prefix are no segments of this version.", broken);
}

/* >>pages */

static uint64_t
meminfo(const char *text, const char *key)
{
    const char *at = strstr(text, key);

    return at != NULL ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void
check_pages(doctor *d)
{
    char text[16384], line[256];

    if (doctor_line(d, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", line,
                    sizeof line) &&
        (strstr(line, "[never]") != NULL || strstr(line, "[deny]") != NULL))
        found(d, LEVEL_NOTE, "huge-pages",
              "SHMC_HUGEPAGES has no effect; a large topic costs more TLB misses.",
              "echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled",
              "The kernel gives shared memory no huge pages (%s).", line);
    else
        found(d, LEVEL_OK, "huge-pages", NULL, NULL,
              "Shared memory may have huge pages (%s).",
              line[0] != '\0' ? line : "not told");
    if (!doctor_text(d, "/proc/meminfo", text, sizeof text)) return;
    if (meminfo(text, "HugePages_Total:") != 0 &&
        meminfo(text, "HugePages_Free:") == meminfo(text, "HugePages_Total:"))
        found(d, LEVEL_NOTE, "huge-pages-reserved",
              "shmcomm uses transparent ones, not these; memory that is kept for "
              "them is missing elsewhere.",
              "If no other program wants them: sysctl vm.nr_hugepages=0",
              "%llu huge pages are reserved, and none is in use.",
              (unsigned long long)meminfo(text, "HugePages_Total:"));
    if (meminfo(text, "SwapTotal:") != 0)
        found(d, LEVEL_WARNING, "swap",
              "Pages of a tmpfs can be swapped out; the next access to one then "
              "waits for the disk.",
              "swapoff -a on a real-time machine, or open with SHMC_MLOCK (which "
              "needs the memlock limit).", "Swap is on (%s).",
              cli_bytes(1024.0 * (double)meminfo(text, "SwapTotal:")).s);
    else
        found(d, LEVEL_OK, "swap", NULL, NULL, "There is no swap.");
}

void
doctor_memory(doctor *d)
{
    check_folder(d);
    check_mount(d);
    check_files(d);
    check_pages(d);
}
