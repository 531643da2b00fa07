/* shmcomm_input.c - messages from a file or a pipe: lines, or frames.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
input_open(input *in, const char *path, bool lengths)
{
    memset(in, 0, sizeof *in);
    in->lengths = lengths;
    in->file = path != NULL ? fopen(path, "r") : stdin;
    if (in->file == NULL)
        return cli_fail("cannot open '%s': %s", path, strerror(errno));
    buffer_need(&in->b, 4096);
    return 0;
}

void
input_close(input *in)
{
    if (in->file != NULL && in->file != stdin) fclose(in->file);
    free(in->b.data);
}

/* Read a line without its line feed.  Returns 1, 0 at the end, or -1.     */
static int
read_line(input *p)
{
    char *line = (char *)p->b.data;
    const ssize_t n = getline(&line, &p->b.room, p->file);

    p->b.data = (uint8_t *)line;
    if (n < 0) return ferror(p->file) ? -1 : 0;
    p->b.bytes = (size_t)n - (line[n - 1] == '\n');
    return 1;
}

/* Read 4 bytes of length and the message.                                 */
static int
read_frame(input *p)
{
    uint8_t head[4];
    const size_t n = fread(head, 1, sizeof head, p->file);

    if (n == 0) return ferror(p->file) ? -1 : 0;
    const size_t bytes = (size_t)head[0] | (size_t)head[1] << 8 |
                         (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (n == sizeof head && bytes > LONGEST_MESSAGE) {
        cli_fail("message %llu of the input has a length of %zu bytes, more "
                 "than 2^30: not --length-delimited?",
                 (unsigned long long)p->count + 1, bytes);
        return -1;
    }
    p->b.bytes = 0;
    while (n == sizeof head && p->b.bytes < bytes) {
        /* By and by: a wrong length must not take all memory.             */
        const size_t left = bytes - p->b.bytes;
        const size_t step = left < 1u << 20 ? left : 1u << 20;
        buffer_need(&p->b, p->b.bytes + step);
        const size_t got = fread(p->b.data + p->b.bytes, 1, step, p->file);
        p->b.bytes += got;
        if (got < step) break;
    }
    if (n == sizeof head && p->b.bytes == bytes) return 1;
    if (!ferror(p->file))
        cli_fail("the input ends inside message %llu",
                 (unsigned long long)p->count + 1);
    return -1;
}

int
input_next(input *in)
{
    errno = 0;
    const int r = in->lengths ? read_frame(in) : read_line(in);

    if (r > 0) in->count++;
    if (r < 0 && ferror(in->file) && !cli_stopped)
        cli_fail("cannot read the input: %s", strerror(errno));
    return r;
}
