/* shmcomm_format.h - how a message is shown.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_FORMAT_H
#define SHMCOMM_FORMAT_H

#include "shmcomm_viewer.h"

typedef enum format {
    FORMAT_AUTO, FORMAT_HEX, FORMAT_TEXT, FORMAT_JSON, FORMAT_LENGTHS
} format;

/* Read a value of --format; anything unknown is a mistake.                */
format format_of(const cli *c, const char *text);

/* Show message `number` of the topic, `gap` of which were lost before it.  */
void print_message(const char *name, uint64_t gap, format how, uint64_t number,
                   const buffer *b);

#endif /* SHMCOMM_FORMAT_H */
