/* shmcomm_bench.c - the verb bench: how fast a topic is on this machine.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLICE_NS 100000000          /* how long a signal may go unseen      */
#define GAP_NS   100000u            /* between two messages of a latency    */
#define FLOOD_NS 200000000u         /* a round of a throughput              */
#define LARGE    65536u
enum { SAMPLES = 500, MOST_ROUNDS = 101 };

enum { ROUNDS = CLI_OWN, BYTES };

static const struct option options[] = {
    { "rounds", required_argument, NULL, ROUNDS },
    { "bytes", required_argument, NULL, BYTES }, CLI_OPTIONS
};

typedef enum how { SPIN, SLEEP, FLOOD, HOWS } how;

typedef struct result {             /* of one round, from the receiver      */
    uint64_t messages, ns;          /* ns: from the first to the last       */
    double p50_ns, p99_ns;
} result;

typedef struct bench {
    const cli *c;
    char topic[SHMC_NAME_BYTES];
    uint32_t bytes;
    size_t rounds;
} bench;

static int
by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* The value below which that share of the sorted values is.               */
static double
share_of(const double *sorted, size_t count, double share)
{
    return count != 0 ? sorted[(size_t)(share * (double)(count - 1) + 0.5)] : 0;
}

/* >>the receiver: a process of its own */

/* Receive until an end (time stamp 0), or until the sender is gone.       */
static int
receive(shmc_sub *sub, how kind, uint8_t *buf, double *late, result *out)
{
    const pid_t parent = getppid();
    uint64_t first = 0, now = 0, stamp;
    uint64_t empty = 0;

    for (;;) {
        const int r = shmc_sub_recv(sub, buf, LARGE, kind == SPIN ? 0 : SLICE_NS);
        if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) {
            if (kind == SPIN && ++empty % 1000000 != 0) continue;
            if (getppid() != parent) return 1;
            continue;
        }
        if (r < (int)sizeof stamp) return 1;
        memcpy(&stamp, buf, sizeof stamp);
        if (stamp == 0) break;
        if (kind != FLOOD || out->messages == 0) {
            now = cli_now_ns();
            if (first == 0) first = now;
        }
        if (kind != FLOOD && out->messages < SAMPLES)
            late[out->messages] = now > stamp ? (double)(now - stamp) : 0;
        out->messages++;
    }
    out->ns = cli_now_ns() - first;
    if (kind == FLOOD) return 0;
    const size_t n = out->messages < SAMPLES ? (size_t)out->messages : SAMPLES;
    qsort(late, n, sizeof *late, by_value);
    out->p50_ns = share_of(late, n, 0.5);
    out->p99_ns = share_of(late, n, 0.99);
    return 0;
}

_Noreturn static void
receiver(const bench *b, how kind, int to)
{
    static uint8_t buf[LARGE];
    static double late[SAMPLES];
    static shmc_sub sub;
    shmc_sub_desc desc;
    result out;

    memset(&desc, 0, sizeof desc);
    memset(&out, 0, sizeof out);
    desc.dir = b->c->dir;
    desc.prefix = b->c->prefix;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (shmc_sub_open(&sub, b->topic, &desc) != SHMC_OK) _exit(1);
    int status = receive(&sub, kind, buf, late, &out);
    if (write(to, &out, sizeof out) != (ssize_t)sizeof out) status = 1;
    shmc_sub_close(&sub);
    _exit(status);
}

/* >>the sender */

static int
send_round(shmc_pub *pub, how kind, uint32_t bytes)
{
    static uint8_t buf[LARGE];
    const uint64_t begin = cli_now_ns();
    uint64_t next = begin, stamp = begin;
    int r = SHMC_OK;

    for (int i = 0; !cli_stopped && r == SHMC_OK &&
                    (kind != FLOOD ? i < SAMPLES : stamp - begin < FLOOD_NS); i++) {
        if (kind != FLOOD) {
            next += kind == SLEEP ? 2 * GAP_NS : GAP_NS;
            cli_sleep_until(next);
        }
        if (kind != FLOOD || i % 64 == 0) stamp = cli_now_ns();
        memcpy(buf, &stamp, sizeof stamp);
        do r = shmc_pub_send(pub, buf, bytes, SLICE_NS);
        while (r == SHMC_ETIMEDOUT && !cli_stopped);
    }
    stamp = 0;
    memcpy(buf, &stamp, sizeof stamp);
    if (r == SHMC_OK) r = shmc_pub_send(pub, buf, bytes, 10 * SLICE_NS);
    return r;
}

/* Make the topic, wait for the receiver's seat, and send a round.         */
static int
sender(const bench *b, how kind, uint32_t bytes)
{
    shmc_bcast_stats stats;
    shmc_topic_desc desc;
    shmc_pub pub;

    memset(&desc, 0, sizeof desc);
    desc.max_publishers = 1;
    desc.mode = SHMC_RELIABLE;
    desc.max_bytes = LARGE;
    desc.dir = b->c->dir;
    desc.prefix = b->c->prefix;
    int r = shmc_pub_open(&pub, b->topic, &desc);
    if (r != SHMC_OK) return cli_fail("%s", shmc_last_error());
    const uint64_t until = cli_now_ns() + 10000000000u;
    do {
        cli_sleep_until(cli_now_ns() + 100000);
        r = shmc_bcast_stats_get(&pub.ring, &stats);
    } while (r == SHMC_OK && stats.subscribers == 0 && !cli_stopped &&
             cli_now_ns() < until);
    if (r == SHMC_OK && stats.subscribers != 0) r = send_round(&pub, kind, bytes);
    else r = SHMC_ETIMEDOUT;
    shmc_pub_close(&pub);
    if (r == SHMC_OK || cli_stopped) return 0;
    return cli_fail("the receiver did not take part: %s", shmc_strerror(r));
}

static int
one_round(const bench *b, how kind, uint32_t bytes, result *out)
{
    int ends[2], status = 0;

    fflush(stdout);
    if (pipe(ends) != 0) return cli_fail("cannot make a pipe: %s", strerror(errno));
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        receiver(b, kind, ends[1]);
    }
    close(ends[1]);
    if (child < 0) {
        status = cli_fail("cannot start a process: %s", strerror(errno));
    } else {
        status = sender(b, kind, bytes);
        if (status != 0 || cli_stopped) kill(child, SIGKILL);
        if (read(ends[0], out, sizeof *out) != (ssize_t)sizeof *out &&
            status == 0 && !cli_stopped)
            status = cli_fail("the receiver died");
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) { }
    }
    close(ends[0]);
    return status;
}

/* >>the verb */

static void
say(const bench *b, cJSON *all, const char *key, const char *what,
    const char *unit, double scale, double *values)
{
    qsort(values, b->rounds, sizeof *values, by_value);
    const double median = share_of(values, b->rounds, 0.5) * scale;
    const double low = share_of(values, b->rounds, 0.25) * scale;
    const double high = share_of(values, b->rounds, 0.75) * scale;

    if (all != NULL) {
        cJSON *o = json_object();
        json_text(o, "unit", unit);
        json_real(o, "median", median);
        json_real(o, "first_quartile", low);
        json_real(o, "third_quartile", high);
        json_add(all, key, o);
    } else {
        printf("%-46s %8.4g %-5s (%.4g .. %.4g)\n", what, median, unit, low, high);
        fflush(stdout);
    }
}

static int
latency(const bench *b, cJSON *all, how kind)
{
    double p50[MOST_ROUNDS], p99[MOST_ROUNDS];
    const bool spin = kind == SPIN;
    result r;

    for (size_t i = 0; i < b->rounds; i++) {
        const int status = one_round(b, kind, b->bytes, &r);
        if (status != 0 || cli_stopped) return status != 0 ? status : 1;
        p50[i] = r.p50_ns;
        p99[i] = r.p99_ns;
    }
    say(b, all, spin ? "polling_p50" : "sleeping_p50",
        spin ? "one way, the receiver polls, p50" : "one way, the receiver sleeps, p50",
        "us", 1e-3, p50);
    say(b, all, spin ? "polling_p99" : "sleeping_p99",
        spin ? "one way, the receiver polls, p99" : "one way, the receiver sleeps, p99",
        "us", 1e-3, p99);
    return 0;
}

static int
throughput(const bench *b, cJSON *all, uint32_t bytes)
{
    double rate[MOST_ROUNDS], flow[MOST_ROUNDS];
    const bool large = bytes == LARGE;
    char what[64];
    result r;

    for (size_t i = 0; i < b->rounds; i++) {
        const int status = one_round(b, FLOOD, bytes, &r);
        if (status != 0 || cli_stopped) return status != 0 ? status : 1;
        rate[i] = r.ns != 0 ? (double)r.messages / ((double)r.ns / 1e9) : 0;
        flow[i] = rate[i] * bytes;
    }
    snprintf(what, sizeof what, "throughput, messages of %u bytes", bytes);
    say(b, all, large ? "large_messages" : "messages", what, "M/s", 1e-6, rate);
    say(b, all, large ? "large_bytes" : "bytes", "  in bytes", "MiB/s",
        1.0 / (1 << 20), flow);
    return 0;
}

static int
bench_run(cli *c, int argc, char **argv)
{
    bench b = { c, "", 64, 5 };
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o == ROUNDS)
            b.rounds = cli_count(c, "--rounds", optarg, 1, MOST_ROUNDS);
        if (o == BYTES)
            b.bytes = (uint32_t)cli_count(c, "--bytes", optarg, 8, LARGE - 1);
    }
    cli_no_argument(c, argc, argv);
    snprintf(b.topic, sizeof b.topic, "shmcomm-bench.%d", (int)getpid());
    cli_catch_signals();
    cJSON *all = c->json ? json_object() : NULL;
    if (all != NULL) {
        json_u64(all, "message_bytes", b.bytes);
        json_u64(all, "rounds", b.rounds);
    } else {
        printf("a topic from one process to another, messages of %u bytes, %zu "
               "rounds: median (quartiles)\n", b.bytes, b.rounds);
    }
    int status = latency(&b, all, SPIN);
    if (status == 0) status = latency(&b, all, SLEEP);
    if (status == 0) status = throughput(&b, all, b.bytes);
    if (status == 0) status = throughput(&b, all, LARGE);
    if (all != NULL && status == 0) json_print(all);
    else cJSON_Delete(all);
    return status;
}

const cli_verb verb_bench = {
    "bench", "measure how fast a topic is on this machine",
    "usage: shmcomm bench [--rounds N] [--bytes N] [--json] [--dir DIR]\n"
    "                     [--prefix PREFIX]\n"
    "\n"
    "Sends messages from one process to another for a few seconds, over a\n"
    "reliable topic of its own, and says how long one takes and how many go\n"
    "through: the median of the rounds, and their quartiles.  Whatever else\n"
    "the machine does at that time is in the figures.\n"
    "\n"
    "  --rounds N  of each measurement [5]\n"
    "  --bytes N   in a message, 8 to 65535; throughput is also measured with\n"
    "              65536 [64]\n",
    bench_run, options, CLI_NOTHING, NULL
};
