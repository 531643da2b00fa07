/* shmcomm_hz.c - the verb hz: measure a topic's rate and bandwidth.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_viewer.h"

#include <math.h>
#include <string.h>

#define LOOK_NS 100000u             /* how often hz looks                   */

enum { WINDOW = CLI_OWN, COUNT };

static const struct option options[] = {
    { "window", required_argument, NULL, WINDOW },
    { "count", required_argument, NULL, COUNT }, CLI_OPTIONS
};

typedef struct span {               /* what one window saw                  */
    uint64_t messages, bytes, intervals, lost;
    double mean, m2, min, max;      /* of intervals, in seconds (Welford)   */
} span;

static void
span_add(span *s, uint64_t bytes, uint64_t *last_ns, uint64_t now)
{
    s->messages++;
    s->bytes += bytes;
    if (*last_ns != 0) {
        const double x = (double)(now - *last_ns) / SECOND_NS;
        const double off = x - s->mean;
        s->intervals++;
        s->mean += off / (double)s->intervals;
        s->m2 += off * (x - s->mean);
        if (s->intervals == 1 || x < s->min) s->min = x;
        if (s->intervals == 1 || x > s->max) s->max = x;
    }
    *last_ns = now;
}

static void
hz_print(const cli *c, const viewer *v, const span *s, double seconds)
{
    const double rate = (double)s->messages / seconds;
    const double bytes = (double)s->bytes / seconds;
    const double std = s->intervals > 1
                     ? sqrt(s->m2 / (double)(s->intervals - 1)) : 0;

    if (c->json) {
        cJSON *o = json_object();
        json_text(o, "topic", v->topic);
        json_real(o, "seconds", seconds);
        json_u64(o, "messages", s->messages);
        json_u64(o, "bytes", s->bytes);
        json_u64(o, "lost", s->lost);
        json_real(o, "rate_hz", rate);
        json_real(o, "bytes_per_second", bytes);
        json_real(o, "interval_mean_s", s->mean);
        json_real(o, "interval_min_s", s->min);
        json_real(o, "interval_max_s", s->max);
        json_real(o, "interval_std_s", std);
        json_print(o);
    } else if (s->messages == 0) {
        puts("no messages");
    } else {
        printf("%11.1f Hz  %10s/s  interval ms: mean %.3f  min %.3f  max %.3f"
               "  std %.3f  lost %llu\n", rate, cli_bytes(bytes).s,
               s->mean * 1e3, s->min * 1e3, s->max * 1e3, std * 1e3,
               (unsigned long long)s->lost);
    }
    fflush(stdout);
}

/* Take what is there now.  Returns SHMC_OK or why it cannot.              */
static int
hz_take(viewer *v, span *s, uint64_t *last_ns, uint64_t end_ns)
{
    const void *data;
    uint64_t now = 0;

    while (!cli_stopped && now < end_ns) {
        const int bytes = shmc_sub_borrow(&v->sub, &data, 0);
        now = cli_now_ns();
        if (bytes >= 0) {
            /* It is counted, not read: lost if it was overwritten.        */
            if (shmc_sub_release(&v->sub) == SHMC_ELAPPED) s->lost++;
            else span_add(s, (uint64_t)bytes, last_ns, now);
        } else if (bytes == SHMC_ELAPPED) {
            s->lost += shmc_sub_gap(&v->sub);
        } else {
            return bytes == SHMC_EAGAIN ? SHMC_OK : bytes;
        }
    }
    return SHMC_OK;
}

static int
hz_loop(const cli *c, viewer *v, uint64_t window_ns, uint64_t count)
{
    uint64_t last_ns = 0, reports = 0;

    while (!cli_stopped && shmc_sub_ready(&v->sub) == 0) {
        if (viewer_follow(v) != 0) return 1;
        cli_sleep_until(cli_now_ns() + 1000000);
    }
    while (!cli_stopped && !ferror(stdout) && (count == 0 || reports < count)) {
        const uint64_t begin = cli_now_ns(), end = begin + window_ns;
        span s = { 0, 0, 0, 0, 0, 0, 0, 0 };
        uint64_t now = begin;
        if (viewer_follow(v) != 0) return 1;
        for (; !cli_stopped && now < end; now = cli_now_ns()) {
            const int r = hz_take(v, &s, &last_ns, end);
            if (r != SHMC_OK)
                return cli_fail("receive from '%s': %s", v->topic,
                                shmc_strerror(r));
            cli_sleep_until(cli_now_ns() + LOOK_NS);
        }
        if (cli_stopped && s.messages == 0) break;
        hz_print(c, v, &s, (double)(now - begin) / SECOND_NS);
        reports++;
    }
    return 0;
}

static int
hz_run(cli *c, int argc, char **argv)
{
    uint64_t count = 0;
    double window = 1;
    viewer v;
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o == WINDOW) window = cli_number(c, "--window", optarg, 0.01, 1e6);
        if (o == COUNT) count = cli_count(c, "--count", optarg, 1, UINT64_MAX);
    }
    const char *topic = cli_argument(c, argc, argv, "TOPIC");
    cli_catch_signals();
    int status = viewer_open(&v, c, topic, 0);
    if (status != 0) return status;
    status = hz_loop(c, &v, (uint64_t)(window * SECOND_NS), count);
    viewer_close(&v);
    return status;
}

const cli_verb verb_hz = {
    "hz", "measure a topic's rate and bandwidth",
    "usage: shmcomm hz TOPIC [--window SECONDS] [--count N] [--json]\n"
    "                  [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Says each second how many messages and bytes came, and how the time\n"
    "between two of them was spread.  It looks every 0.1 ms, so that shorter\n"
    "intervals show as bursts.\n"
    "\n"
    "  --window SECONDS  the time from one report to the next [1]\n"
    "  --count N         end after N reports\n",
    hz_run, options, CLI_TOPIC, NULL
};
