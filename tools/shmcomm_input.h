/* shmcomm_input.h - messages from a file or a pipe.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_INPUT_H
#define SHMCOMM_INPUT_H

#include "shmcomm_viewer.h"

typedef struct input {
    FILE *file;
    bool lengths;                   /* else lines                           */
    buffer b;                       /* the message read last                */
    uint64_t count;                 /* messages read                        */
} input;

/* Open a file, or (path NULL) standard input.  Returns an exit status.    */
int input_open(input *in, const char *path, bool lengths);
void input_close(input *in);

/* Read a message into in->b.  Returns 1, 0 at the end, or -1, having said
 * what is wrong unless a signal came.                                     */
int input_next(input *in);

#endif /* SHMCOMM_INPUT_H */
