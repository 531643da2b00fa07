/* shmcomm_pub.c - the verb pub: publish lines or frames.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_input.h"

#include <stdlib.h>
#include <string.h>

enum {
    INPUT = CLI_OWN, LINES, LENGTHS, RATE, REPEAT, MAX_BYTES, DEPTH, RELIABLE, WAIT
};

static const struct option options[] = {
    { "file", required_argument, NULL, INPUT },
    { "lines", no_argument, NULL, LINES },
    { "length-delimited", no_argument, NULL, LENGTHS },
    { "rate", required_argument, NULL, RATE },
    { "repeat", required_argument, NULL, REPEAT },
    { "max-bytes", required_argument, NULL, MAX_BYTES },
    { "depth", required_argument, NULL, DEPTH },
    { "reliable", no_argument, NULL, RELIABLE },
    { "wait-subscriber", no_argument, NULL, WAIT }, CLI_OPTIONS
};

typedef struct pub_options {
    const char *topic, *path;       /* path NULL: stdin                     */
    bool lengths, wait;
    double rate;                    /* a second; 0: as fast as it goes      */
    uint64_t repeat;
    shmc_topic_desc desc;
} pub_options;

typedef struct pub {
    const pub_options *o;
    shmc_pub pub;
    input in;
    uint64_t sent, bytes, next_ns;
} pub;

static void
pub_pace(pub *p)
{
    if (p->o->rate <= 0) return;
    const uint64_t now = cli_now_ns();
    if (p->next_ns == 0 || now > p->next_ns + SECOND_NS) p->next_ns = now;
    while (!cli_stopped && cli_now_ns() < p->next_ns) cli_sleep_until(p->next_ns);
    p->next_ns += (uint64_t)(SECOND_NS / p->o->rate);
}

/* Send what is in the buffer.  Returns the exit status.                   */
static int
pub_message(pub *p)
{
    int r = SHMC_EMSGSIZE;

    pub_pace(p);
    if (cli_stopped) return 0;
    if (p->in.b.bytes <= LONGEST_MESSAGE) {
        do r = shmc_pub_send(&p->pub, p->in.b.data, (uint32_t)p->in.b.bytes, SLICE_NS);
        while (r == SHMC_ETIMEDOUT && !cli_stopped);
    }
    if (r == SHMC_ETIMEDOUT) return 0;
    if (r == SHMC_EMSGSIZE)
        return cli_fail("message %llu has %zu bytes, more than the topic takes; "
                        "give a new topic a larger --max-bytes",
                        (unsigned long long)p->sent + 1, p->in.b.bytes);
    if (r < 0)
        return cli_fail("send message %llu: %s",
                        (unsigned long long)p->sent + 1, shmc_strerror(r));
    p->sent++;
    p->bytes += p->in.b.bytes;
    return 0;
}

/* Send the input once.                                                    */
static int
pub_input(pub *p)
{
    int r = 1, status = 0;

    while (!cli_stopped && status == 0) {
        r = input_next(&p->in);
        if (r <= 0) break;
        status = pub_message(p);
    }
    if (r >= 0 || cli_stopped) return status;
    return 1;
}

/* Wait until somebody has come to receive.                                */
static void
pub_wait(pub *p)
{
    shmc_bcast_stats stats;
    bool there = false;

    while (!there && !cli_stopped) {
        there = shmc_segment_shared(&p->pub.segment) != 0;
        if (p->o->desc.mode == SHMC_RELIABLE)
            there = shmc_bcast_stats_get(&p->pub.ring, &stats) == SHMC_OK &&
                    stats.subscribers != 0;
        if (!there) cli_sleep_until(cli_now_ns() + 1000000);
    }
}

static int
pub_all(pub *p)
{
    int status = 0;

    if (p->o->wait) pub_wait(p);
    for (uint64_t i = 0; i < p->o->repeat && status == 0 && !cli_stopped; i++) {
        if (i != 0 && fseek(p->in.file, 0, SEEK_SET) != 0)
            return cli_fail("cannot repeat the input: it is no file; use --file");
        const uint64_t before = p->sent;
        status = pub_input(p);
        if (p->sent == before) break;       /* an empty file, for ever      */
    }
    return status;
}

static void
pub_take(cli *c, int o, pub_options *out)
{
    switch (o) {
    case INPUT:    out->path = optarg; break;
    case LENGTHS:  out->lengths = true; break;
    case RATE:     out->rate = cli_number(c, "--rate", optarg, 1e-6, 1e9); break;
    case REPEAT:
        out->repeat = cli_count(c, "--repeat", optarg, 0, UINT64_MAX);
        if (out->repeat == 0) out->repeat = UINT64_MAX;
        break;
    case MAX_BYTES:
        out->desc.max_bytes = (uint32_t)cli_count(c, "--max-bytes", optarg, 1,
                                                  LONGEST_MESSAGE);
        break;
    case DEPTH:
        out->desc.depth = (uint32_t)cli_count(c, "--depth", optarg, 2, 1u << 24);
        if ((out->desc.depth & (out->desc.depth - 1)) != 0)
            cli_usage(c, "--depth %s is no power of two", optarg);
        break;
    case RELIABLE: out->desc.mode = SHMC_RELIABLE; break;
    case WAIT:     out->wait = true; break;
    default:       break;
    }
}

static void
pub_read_options(cli *c, int argc, char **argv, pub_options *out)
{
    bool lines = false;
    int o;

    memset(out, 0, sizeof *out);
    out->repeat = 1;
    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        lines |= o == LINES;
        pub_take(c, o, out);
    }
    out->topic = cli_argument(c, argc, argv, "TOPIC");
    if (lines && out->lengths)
        cli_usage(c, "--lines and --length-delimited exclude each other");
    out->desc.dir = c->dir;
    out->desc.prefix = c->prefix;
}

static void
pub_summary(const cli *c, const pub *p, bool alone)
{
    const char *hint = alone ? "; nobody else had the topic open at the end" : "";

    if (c->json) {
        cJSON *o = json_object();
        json_text(o, "topic", p->o->topic);
        json_u64(o, "sent", p->sent);
        json_u64(o, "bytes", p->bytes);
        json_bool(o, "alone_at_end", alone);
        json_print(o);
    } else {
        fprintf(stderr, "sent %llu messages, %s%s\n",
                (unsigned long long)p->sent, cli_bytes((double)p->bytes).s, hint);
    }
}

static int
pub_run(cli *c, int argc, char **argv)
{
    pub_options o;
    pub p;

    pub_read_options(c, argc, argv, &o);
    memset(&p, 0, sizeof p);
    p.o = &o;
    if (input_open(&p.in, o.path, o.lengths) != 0) return 1;
    cli_catch_signals();
    int status = shmc_pub_open(&p.pub, o.topic, &o.desc);
    if (status != SHMC_OK) {
        input_close(&p.in);
        return cli_fail("%s", shmc_last_error());
    }
    status = pub_all(&p);
    const bool alone = shmc_segment_shared(&p.pub.segment) == 0;
    shmc_pub_close(&p.pub);
    pub_summary(c, &p, alone);
    input_close(&p.in);
    return status;
}

const cli_verb verb_pub = {
    "pub", "publish lines or frames",
    "usage: shmcomm pub TOPIC [--file FILE] [--lines | --length-delimited]\n"
    "                   [--rate HZ] [--repeat N] [--max-bytes N] [--depth N]\n"
    "                   [--reliable] [--wait-subscriber] [--json] [--dir DIR]\n"
    "                   [--prefix PREFIX]\n"
    "\n"
    "Publishes what it reads from its standard input, a message for each\n"
    "line, and says how many it sent.  A topic lives as long as somebody has\n"
    "it open: what nobody had come for is gone when pub ends.\n"
    "\n"
    "  --file FILE         read FILE instead\n"
    "  --lines             a message is a line, without its line feed [so]\n"
    "  --length-delimited  a message is 4 bytes of length, lowest first, and\n"
    "                      so many bytes\n"
    "  --rate HZ           send so many a second [as fast as it goes]\n"
    "  --repeat N          send the file N times; 0: again and again\n"
    "  --max-bytes N       longest message of a new topic [65536]\n"
    "  --depth N           messages that a new topic keeps, a power of two\n"
    "                      [1024]\n"
    "  --reliable          wait for slow subscribers instead of overtaking\n"
    "                      them\n"
    "  --wait-subscriber   wait until another process has the topic open;\n"
    "                      with --reliable, until a subscriber has a seat\n"
    "                      (echo and hz take none)\n",
    pub_run, options, CLI_TOPIC, NULL
};
