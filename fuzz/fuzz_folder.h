/* fuzz_folder.h - a folder in shared memory for the segments of a fuzz target.
 *
 *     desc.dir = fuzz_folder();
 *
 * However the target ends, by a signal too, the folder goes: a child that only
 * waits for that removes it.
 * SPDX-License-Identifier: MIT                                            */
#ifndef FUZZ_FOLDER_H
#define FUZZ_FOLDER_H

#include "fuzz_input.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static inline int
fuzz_folder_remove_one(void *user, const char *file)
{
    (void)shmi_file_unlink(*(const int *)user, file);
    return 0;
}

/* Nobody writes to the pipe; it ends with the last who could.             */
_Noreturn static inline void
fuzz_folder_keep(const char *path, int end)
{
    uint8_t byte;
    ssize_t n;

    (void)setsid();                 /* what ends the parent spares us       */
    do n = read(end, &byte, 1); while (n > 0 || (n < 0 && errno == EINTR));
    int fd = shmi_dir_open(path);
    (void)shmi_dir_each(path, fuzz_folder_remove_one, &fd);
    _exit(rmdir(path) != 0);
}

/* The folder's path; the first call makes it.                             */
static inline const char *
fuzz_folder(void)
{
    static char path[64];
    int ends[2];

    if (path[0] != '\0') return path;
    snprintf(path, sizeof path, "/dev/shm/fuzz%d.XXXXXX", (int)getpid());
    FUZZ_REQUIRE(mkdtemp(path) != NULL);
    FUZZ_REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const pid_t pid = fork();
    FUZZ_REQUIRE(pid >= 0);
    if (pid == 0) {
        close(ends[1]);
        fuzz_folder_keep(path, ends[0]);
    }
    close(ends[0]);
    return path;
}

#endif /* FUZZ_FOLDER_H */
