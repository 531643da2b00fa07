/* shmcomm_echo.c - the verb echo: print a topic's messages.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_format.h"
#include "shmcomm_viewer.h"

#include <stdlib.h>
#include <string.h>

enum { COUNT = CLI_OWN, TIMEOUT, FORMAT, HISTORY, PEEK, LENGTHS };

static const struct option options[] = {
    { "count", required_argument, NULL, COUNT },
    { "timeout", required_argument, NULL, TIMEOUT },
    { "format", required_argument, NULL, FORMAT },
    { "history", required_argument, NULL, HISTORY },
    { "peek", no_argument, NULL, PEEK },
    { "length-delimited", no_argument, NULL, LENGTHS }, CLI_OPTIONS
};

/* >>echo */

typedef struct echo {
    const char *topic;
    uint64_t count;                 /* 0: no end                            */
    uint64_t timeout_ns;            /* 0: for ever                          */
    int32_t history;
    bool peek;
    format how;
} echo;

static bool
echo_done(const echo *e, uint64_t received)
{
    return cli_stopped || ferror(stdout) ||
           (e->count != 0 && received == e->count);
}

static int
echo_failed(const viewer *v, int code)
{
    return cli_fail("receive from '%s': %s", v->topic, shmc_strerror(code));
}

static void
echo_message(const echo *e, viewer *v, const buffer *b, uint64_t number)
{
    print_message(v->topic, v->gap, e->how, number, b);
    v->gap = 0;
}

/* Print what the topic held when this began.                              */
static int
echo_remains(const echo *e, viewer *v, uint64_t *received)
{
    buffer b = { NULL, 0, 0 };
    shmc_bcast_stats stats;
    int r = shmc_bcast_stats_get(&v->ring, &stats);

    buffer_need(&b, 65536);
    while (r >= 0 && !echo_done(e, *received) &&
           *received + v->lost < stats.sent) {
        r = viewer_recv(v, &b, SLICE_NS);
        if (r == 0) break;
        if (r > 0) echo_message(e, v, &b, ++*received);
    }
    free(b.data);
    return r < 0 ? echo_failed(v, r) : 0;
}

/* Print until the end.  Returns the exit status.                          */
static int
echo_loop(const echo *e, viewer *v, uint64_t *received)
{
    buffer b = { NULL, 0, 0 };
    uint64_t last_ns = cli_now_ns();
    int status = 0;

    buffer_need(&b, 65536);
    while (status == 0 && !echo_done(e, *received)) {
        int r = viewer_recv(v, &b, 0);
        if (r == 0) {               /* nobody waits for what we hold back   */
            fflush(stdout);
            status = viewer_follow(v);
            if (status == 0) r = viewer_recv(v, &b, SLICE_NS);
        }
        if (r < 0) {
            status = echo_failed(v, r);
        } else if (r == 1) {
            echo_message(e, v, &b, ++*received);
            last_ns = cli_now_ns();
        } else if (e->timeout_ns != 0 &&
                   cli_now_ns() - last_ns >= e->timeout_ns) {
            if (e->count != 0 || *received == 0)
                status = cli_fail("no message on topic '%s' for %.3g s",
                                  v->topic, (double)e->timeout_ns / SECOND_NS);
            break;
        }
    }
    free(b.data);
    return status;
}

static void
echo_options(cli *c, int argc, char **argv, echo *e)
{
    bool lengths = false, history = false;
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o == COUNT) e->count = cli_count(c, "--count", optarg, 1, UINT64_MAX);
        if (o == TIMEOUT)
            e->timeout_ns = (uint64_t)(SECOND_NS *
                cli_number(c, "--timeout", optarg, 0.001, 1e9));
        if (o == FORMAT) e->how = format_of(c, optarg);
        if (o == HISTORY)
            e->history = strcmp(optarg, "all") == 0 ? SHMC_BCAST_ALL
                : (int32_t)cli_count(c, "--history", optarg, 0, INT32_MAX);
        history |= o == HISTORY;
        lengths |= o == LENGTHS;
        e->peek |= o == PEEK;
    }
    if (e->peek && !history) e->history = SHMC_BCAST_ALL;
    e->topic = cli_argument(c, argc, argv, "TOPIC");
    if (c->json && e->how == FORMAT_AUTO) e->how = FORMAT_JSON;
    if (c->json && e->how != FORMAT_JSON)
        cli_usage(c, "--json and another --format exclude each other");
    if (lengths && e->how != FORMAT_AUTO)
        cli_usage(c, "--length-delimited and --format exclude each other");
    if (lengths) e->how = FORMAT_LENGTHS;
}

static int
echo_run(cli *c, int argc, char **argv)
{
    echo e = { NULL, 0, 0, 0, false, FORMAT_AUTO };
    uint64_t received = 0;
    viewer v;

    echo_options(c, argc, argv, &e);
    cli_catch_signals();
    int status = e.peek ? viewer_peek(&v, c, e.topic, e.history)
                        : viewer_open(&v, c, e.topic, e.history);
    if (status != 0) return status;
    status = e.peek ? echo_remains(&e, &v, &received)
                    : echo_loop(&e, &v, &received);
    viewer_close(&v);
    status = cli_flush(status);
    fprintf(stderr, "received %llu, lost %llu\n", (unsigned long long)received,
            (unsigned long long)v.lost);
    return status;
}

const cli_verb verb_echo = {
    "echo", "print a topic's messages",
    "usage: shmcomm echo TOPIC [--count N] [--timeout SECONDS] [--history N]\n"
    "                    [--peek] [--format FORMAT | --length-delimited |\n"
    "                    --json] [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Prints each message as it comes; waits for a topic that does not exist\n"
    "yet.  Ctrl-C ends it.  It reads only and holds no publisher up, and says\n"
    "what it was too slow for.  Like any subscriber it keeps the topic there\n"
    "while it runs, and clears away a topic whose users are all dead; --peek\n"
    "does neither.\n"
    "\n"
    "  --count N           end after N messages\n"
    "  --timeout SECONDS   end when nothing came for so long; the status is 1\n"
    "                      if that was nothing at all, or less than --count\n"
    "  --history N         begin with up to N messages from before, or 'all'\n"
    "  --peek              print what the topic holds, also a dead one, and\n"
    "                      end; nobody notices\n"
    "  --format FORMAT     hex, text (its bytes and a line feed), or json\n"
    "                      [text where a message can be shown as such]\n"
    "  --length-delimited  4 bytes of length, lowest first, and the message,\n"
    "                      as 'shmcomm pub --length-delimited' reads it\n",
    echo_run, options, CLI_TOPIC, NULL
};
