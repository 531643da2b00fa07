/* shmcomm_doctor.h - what the checks of the verb doctor share.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_DOCTOR_H
#define SHMCOMM_DOCTOR_H

#include "shmcomm_cli.h"

typedef enum level { LEVEL_OK, LEVEL_NOTE, LEVEL_WARNING, LEVEL_PROBLEM } level;

typedef struct doctor {
    const cli *c;
    const char *root;               /* "" or, for tests, another            */
    char shm[SHMC_DIR_BYTES];       /* the folder of segments               */
    bool quiet;                     /* only what is not ok                  */
    cJSON *all;                     /* NULL: text                           */
    unsigned count[4];              /* findings of each level               */
} doctor;

/* Report: what was found, what that means, and what to do.  The finding is
 * a sentence; the other two are sentences or, where all is well, NULL.    */
void found(doctor *d, level how, const char *id, const char *means,
           const char *advice, const char *fmt, ...) SHMI_PRINTF(6, 7);

/* Read a file of the system; the first line only, or all of it.  Returns
 * false if there is none.                                                 */
bool doctor_line(const doctor *d, const char *path, char *out, size_t bytes);
bool doctor_text(const doctor *d, const char *path, char *out, size_t bytes);
bool doctor_there(const doctor *d, const char *path);

/* What a system call would tell; with --root, what the line `key number` of
 * the file ROOT/facts says, if there is one.                              */
uint64_t doctor_fact(const doctor *d, const char *key, uint64_t real);

void doctor_memory(doctor *d);      /* /dev/shm, its files, huge pages      */
void doctor_system(doctor *d);      /* kernel, limits, CPUs, services       */

#endif /* SHMCOMM_DOCTOR_H */
