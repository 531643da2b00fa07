/* shmcomm_push.c - the verbs push and pull: messages into and out of a queue.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_format.h"
#include "shmcomm_input.h"

#include "shmcomm_pushpull.h"

#include <stdlib.h>
#include <string.h>

/* >>push */

enum {
    INPUT = CLI_OWN, LENGTHS, MAX_BYTES, DEPTH, ROUND_ROBIN, DRAIN, COUNT, TIMEOUT,
    FORMAT, UNTIL_END
};

static const struct option push_options[] = {
    { "file", required_argument, NULL, INPUT },
    { "length-delimited", no_argument, NULL, LENGTHS },
    { "max-bytes", required_argument, NULL, MAX_BYTES },
    { "depth", required_argument, NULL, DEPTH },
    { "round-robin", required_argument, NULL, ROUND_ROBIN },
    { "drain", no_argument, NULL, DRAIN }, CLI_OPTIONS
};

typedef struct pusher {
    const char *queue, *path;       /* path NULL: stdin                     */
    bool lengths, drain;
    shmc_push_desc desc;
    shmc_push push;
    input in;
    uint64_t sent, bytes;
} pusher;

static int
push_message(pusher *p)
{
    const buffer *b = &p->in.b;
    int r = SHMC_EMSGSIZE;

    if (b->bytes <= LONGEST_MESSAGE) {
        do r = shmc_push_send(&p->push, b->data, (uint32_t)b->bytes, SLICE_NS);
        while (r == SHMC_ETIMEDOUT && !cli_stopped);
    }
    if (r == SHMC_ETIMEDOUT) return 0;
    if (r == SHMC_EMSGSIZE)
        return cli_fail("message %llu has %zu bytes, more than the queue takes; "
                        "give a new queue a larger --max-bytes",
                        (unsigned long long)p->in.count, b->bytes);
    if (r < 0)
        return cli_fail("push message %llu: %s", (unsigned long long)p->in.count,
                        shmc_strerror(r));
    p->sent++;
    p->bytes += b->bytes;
    return 0;
}

/* Push the input, and wait until it is done with, if asked to.            */
static int
push_all(pusher *p)
{
    int r = 1, status = 0;

    while (status == 0 && !cli_stopped && (r = input_next(&p->in)) > 0)
        status = push_message(p);
    if (r < 0 && !cli_stopped) status = 1;
    r = SHMC_OK;
    while (status == 0 && p->drain && !cli_stopped) {
        r = shmc_push_drain(&p->push, SLICE_NS);
        if (r != SHMC_ETIMEDOUT) break;
    }
    if (r < 0 && r != SHMC_ETIMEDOUT && status == 0)
        status = cli_fail("wait for the workers of '%s': %s", p->queue,
                          shmc_strerror(r));
    return status;
}

static void
push_take(cli *c, int o, pusher *p)
{
    switch (o) {
    case INPUT:   p->path = optarg; break;
    case LENGTHS: p->lengths = true; break;
    case DRAIN:   p->drain = true; break;
    case MAX_BYTES:
        p->desc.max_bytes = (uint32_t)cli_count(c, "--max-bytes", optarg, 1,
                                                LONGEST_MESSAGE);
        break;
    case DEPTH:
        p->desc.depth = (uint32_t)cli_count(c, "--depth", optarg, 2, 1u << 24);
        if ((p->desc.depth & (p->desc.depth - 1)) != 0)
            cli_usage(c, "--depth %s is no power of two", optarg);
        break;
    case ROUND_ROBIN:
        p->desc.round_robin = (uint32_t)cli_count(c, "--round-robin", optarg, 1,
                                                  SHMI_SHARES_MAX);
        break;
    default:      break;
    }
}

static void
push_summary(const cli *c, const pusher *p, uint64_t left)
{
    if (c->json) {
        cJSON *o = json_object();
        json_text(o, "queue", p->queue);
        json_u64(o, "sent", p->sent);
        json_u64(o, "bytes", p->bytes);
        json_u64(o, "waiting_at_end", left);
        json_print(o);
    } else {
        fprintf(stderr, "pushed %llu messages, %s; %llu wait in the queue\n",
                (unsigned long long)p->sent, cli_bytes((double)p->bytes).s,
                (unsigned long long)left);
    }
}

static int
push_run(cli *c, int argc, char **argv)
{
    static pusher p;
    shmc_mpmc_stats stats;
    int o;

    while ((o = cli_next(c, argc, argv, push_options)) >= 0) push_take(c, o, &p);
    p.queue = cli_argument(c, argc, argv, "QUEUE");
    p.desc.dir = c->dir;
    p.desc.prefix = c->prefix;
    if (input_open(&p.in, p.path, p.lengths) != 0) return 1;
    cli_catch_signals();
    if (shmc_push_open(&p.push, p.queue, &p.desc) != SHMC_OK) {
        input_close(&p.in);
        return cli_fail("%s", shmc_last_error());
    }
    const int status = push_all(&p);
    const int r = shmc_push_stats_get(&p.push, &stats);
    shmc_push_close(&p.push);
    push_summary(c, &p, r == SHMC_OK ? stats.used : 0);
    input_close(&p.in);
    return status;
}

const cli_verb verb_push = {
    "push", "push lines or frames into a queue of work",
    "usage: shmcomm push QUEUE [--file FILE] [--length-delimited]\n"
    "                    [--max-bytes N] [--depth N] [--round-robin WORKERS]\n"
    "                    [--drain] [--json] [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Pushes a message for each line of its standard input; each goes to one\n"
    "worker, now or later: a queue stays while there are messages in it.  If\n"
    "it is full, push waits.\n"
    "\n"
    "  --file FILE         read FILE instead\n"
    "  --length-delimited  a message is 4 bytes of length, lowest first, and\n"
    "                      so many bytes\n"
    "  --max-bytes N       longest message of a new queue [16384]\n"
    "  --depth N           messages that a new queue holds, a power of two\n"
    "                      [256]\n"
    "  --round-robin WORKERS\n"
    "                      a new queue deals by turns to so many workers at\n"
    "                      most, with --depth for each [16]\n"
    "  --drain             wait until workers are done with all of them\n",
    push_run, push_options, CLI_NAME, NULL
};

/* >>pull */

static const struct option pull_options[] = {
    { "count", required_argument, NULL, COUNT },
    { "timeout", required_argument, NULL, TIMEOUT },
    { "format", required_argument, NULL, FORMAT },
    { "length-delimited", no_argument, NULL, LENGTHS },
    { "until-end", no_argument, NULL, UNTIL_END }, CLI_OPTIONS
};

typedef struct worker {
    const char *queue;
    uint64_t count, timeout_ns;     /* 0: no end; for ever                  */
    format how;
    shmc_pull_desc desc;
    shmc_pull pull;
    buffer b;
    uint64_t received;
} worker;

/* Take one message, print it, and only then have done with it: if this is
 * killed, another worker gets it.  Returns 1, 0 nothing came, or a code.   */
static int
pull_one(worker *w)
{
    const void *data;
    const int bytes = shmc_pull_borrow(&w->pull, &data, SLICE_NS);

    if (bytes == SHMC_ETIMEDOUT || bytes == SHMC_EAGAIN) return 0;
    if (bytes < 0) return bytes;
    buffer_need(&w->b, (size_t)bytes + 1);
    memcpy(w->b.data, data, (size_t)bytes);
    w->b.bytes = (size_t)bytes;
    print_message(w->queue, 0, w->how, ++w->received, &w->b);
    if (fflush(stdout) != 0) return 1;      /* not released: not done       */
    const int r = shmc_pull_release(&w->pull);
    return r < 0 ? r : 1;
}

static int
pull_loop(worker *w)
{
    uint64_t last_ns = cli_now_ns();
    bool told = false;

    while (!cli_stopped && !ferror(stdout) &&
           (w->count == 0 || w->received < w->count)) {
        const int ready = shmc_pull_ready(&w->pull);
        if (ready == 0 && !told) fprintf(stderr, "waiting for queue '%s'\n", w->queue);
        told |= ready == 0;
        const int r = ready < 0 ? ready : pull_one(w);
        if (r == SHMC_EEND) break;
        if (r < 0)
            return cli_fail("receive from '%s': %s", w->queue,
                            ready < 0 ? shmc_last_error() : shmc_strerror(r));
        if (r > 0) {
            last_ns = cli_now_ns();
        } else if (w->timeout_ns != 0 && cli_now_ns() - last_ns >= w->timeout_ns) {
            if (w->count != 0 || w->received == 0)
                return cli_fail("no message in queue '%s' for %.3g s", w->queue,
                                (double)w->timeout_ns / SECOND_NS);
            break;
        }
    }
    return 0;
}

static void
pull_read_options(cli *c, int argc, char **argv, worker *w)
{
    bool lengths = false;
    int o;

    while ((o = cli_next(c, argc, argv, pull_options)) >= 0) {
        if (o == COUNT) w->count = cli_count(c, "--count", optarg, 1, UINT64_MAX);
        if (o == TIMEOUT)
            w->timeout_ns = (uint64_t)(SECOND_NS *
                cli_number(c, "--timeout", optarg, 0.001, 1e9));
        if (o == FORMAT) w->how = format_of(c, optarg);
        lengths |= o == LENGTHS;
        w->desc.until_end |= o == UNTIL_END;
    }
    w->queue = cli_argument(c, argc, argv, "QUEUE");
    if (c->json && w->how == FORMAT_AUTO) w->how = FORMAT_JSON;
    if (c->json && w->how != FORMAT_JSON)
        cli_usage(c, "--json and another --format exclude each other");
    if (lengths && w->how != FORMAT_AUTO)
        cli_usage(c, "--length-delimited and --format exclude each other");
    if (lengths) w->how = FORMAT_LENGTHS;
    w->desc.dir = c->dir;
    w->desc.prefix = c->prefix;
}

static int
pull_run(cli *c, int argc, char **argv)
{
    static worker w;

    pull_read_options(c, argc, argv, &w);
    cli_catch_signals();
    if (shmc_pull_open(&w.pull, w.queue, &w.desc) != SHMC_OK)
        return cli_fail("%s", shmc_last_error());
    int status = pull_loop(&w);
    shmc_pull_close(&w.pull);
    free(w.b.data);
    status = cli_flush(status);
    fprintf(stderr, "received %llu\n", (unsigned long long)w.received);
    return status;
}

const cli_verb verb_pull = {
    "pull", "take messages out of a queue of work",
    "usage: shmcomm pull QUEUE [--count N] [--timeout SECONDS] [--until-end]\n"
    "                    [--format FORMAT | --length-delimited | --json]\n"
    "                    [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Takes messages out of a queue, as one of its workers, and prints them: no\n"
    "other worker gets them.  Each is done with when it was printed; if pull\n"
    "is killed before that, another worker gets it.\n"
    "\n"
    "  --count N           end after N messages\n"
    "  --timeout SECONDS   end when nothing came for so long; the status is 1\n"
    "                      if that was nothing at all, or less than --count\n"
    "  --until-end         end when all pushers have gone and nothing is left\n"
    "  --format FORMAT     hex, text (its bytes and a line feed), or json\n"
    "                      [text where a message can be shown as such]\n"
    "  --length-delimited  4 bytes of length, lowest first, and the message,\n"
    "                      as 'shmcomm push --length-delimited' reads it\n",
    pull_run, pull_options, CLI_NAME, NULL
};
