/* peers_bench.c - shmcomm beside other ways from process to process: what the
 * operating system has, and libraries from Debian's packages.
 *
 * Every message is written by its sender and read by its receiver, whole; they
 * are processes of their own.
 *
 * trip     a round trip, both sides looking again and again
 * asleep   a round trip, both sides asleep at once when nothing is there, each
 *          on a core of its own; one_core: both on one
 * stream   as many messages as go through, one sender, one receiver
 * fanout   LINK_WINDOW messages in a row to each of 1..64 receivers, then the
 *          sender waits until all have got them
 *
 * Every subject runs the best of what it can: pinned to cores of their own or
 * free, looking or blocking, by a short try of each that is not counted; `way`
 * of a figure says which.  A subject that does not start, or does not end in
 * time, is reported as absent, with the reason.
 *
 * usage: peers_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_SPIN_TRIES peers_spin_tries
#define SHMC_YIELD_TRIES peers_yield_tries
static unsigned peers_spin_tries = 2000, peers_yield_tries = 16;

#define SHMCOMM_IMPLEMENTATION
#include "link_dds.h"
#include "link_iceoryx.h"
#include "link_lib.h"
#include "link_os.h"
#include "link_ours.h"
#include "link_run.h"
#include "link_sockets.h"

enum { PEERS_WAYS = 5, PEERS_LATE = 2, PEERS_TRY = 5, PEERS_LARGE = 65536 };

/* ---- subjects ---------------------------------------------------------- */

static const link_kind kinds[] = {
    { .name = "bare_pair", .is_bar = 1, .make = bare_make, .polls = 1,
      .works = 1 << LINK_TRIP | 1 << LINK_STREAM,
      .run = LINK_RUN_ONE(bare_pair) },
    { .name = "bare_futex", .is_bar = 1, .make = bare_make,
      .works = LINK_SLEEPS,
      .run = { { NULL, bare_futex_here, bare_futex_here },
               { NULL, bare_futex_there, bare_futex_there } } },
    { .name = "pubsub", .ours = 1, .works = LINK_WORKS_MANY,
      .run = LINK_RUN_MANY(pubsub) },
    { .name = "pubsub_place", .ours = 1, .works = LINK_WORKS_MANY,
      .run = LINK_RUN_MANY(pubsub_place) },
    { .name = "spsc", .ours = 1, .works = LINK_WORKS_ONE,
      .run = LINK_RUN_ONE(spsc) },
    { .name = "spsc_place", .ours = 1, .polls = 1,
      .works = 1 << LINK_TRIP | 1 << LINK_STREAM,
      .run = LINK_RUN_ONE(spsc_place) },
    { .name = "mpmc", .ours = 1, .works = LINK_WORKS_ONE,
      .run = LINK_RUN_ONE(mpmc) },
#if LINK_HAS_PUSHPULL
    { .name = "pushpull", .ours = 1, .works = LINK_WORKS_ONE,
      .run = LINK_RUN_ONE(pushpull) },
    { .name = "pushpull_place", .ours = 1, .works = LINK_WORKS_ONE,
      .run = LINK_RUN_ONE(pushpull_place) },
#endif
#if LINK_HAS_REQREP
    { .name = "reqrep", .ours = 1, .works = LINK_SLEEPS | 1 << LINK_TRIP,
      .run = { { reqrep_here, reqrep_here, reqrep_here },
               { reqrep_there, reqrep_there, reqrep_there } } },
#endif
    { .name = "iceoryx", .is_bar = 1, .works = LINK_WORKS_MANY, .package = 1,
      .make = roudi_start, .leave = iceoryx_leave, .run = LINK_RUN_ICEORYX },
    { .name = "zeromq", .is_bar = 1, .package = 1,
      .works = LINK_WORKS_MANY, .run = LINK_RUN_ZMQ },
    { .name = "nng", .package = 1,
      .works = LINK_WORKS_MANY, .run = LINK_RUN_NNG },
    { .name = "nanomsg", .package = 1,
      .works = LINK_WORKS_MANY, .run = LINK_RUN_NANOMSG },
    { .name = "cyclonedds", .package = 1,
      .works = LINK_WORKS_MANY, .run = LINK_RUN_DDS },
    { .name = "boost_mq", .works = LINK_WORKS_ONE, .package = 1,
      .make = boost_mq_make_both, .drop = boost_mq_drop_both,
      .run = LINK_RUN_BOOST },
    { .name = "posix_mq", .works = LINK_WORKS_ONE, .make = mq_make,
      .drop = fds_drop, .run = LINK_RUN_ONE(posix_mq) },
    { .name = "pipe", .works = LINK_WORKS_ONE, .make = pipe_make,
      .drop = fds_drop, .run = LINK_RUN_ONE(fd_stream) },
    { .name = "unix_stream", .works = LINK_WORKS_ONE, .make = unix_stream_make,
      .drop = fds_drop, .run = LINK_RUN_ONE(fd_stream) },
    { .name = "unix_seqpacket", .is_bar = 1, .works = LINK_WORKS_ONE,
      .make = unix_seqpacket_make, .drop = fds_drop,
      .run = LINK_RUN_ONE(packets) },
    { .name = "tcp", .works = LINK_WORKS_ONE, .make = tcp_make,
      .drop = fds_drop, .run = LINK_RUN_ONE(fd_stream) },
    { .name = "iceoryx2", .is_bar = 1, .works = LINK_WORKS_MANY,
      .program = "" },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static const unsigned sizes[] = { 16, 64, 256, 1024, 4096, 65536, 1 << 20,
                                  4 << 20 };
static const unsigned asleep_sizes[] = { 64, 4096, 1 << 20 };
static const int fans[] = { 1, 4, 16, 64 };

/* ---- cases ------------------------------------------------------------- */

typedef struct peer_case {
    const link_kind *kind;
    int work, receivers;
    unsigned bytes;
    int chosen, way;                /* of ways; -1: none came to its end    */
    uint64_t messages;              /* of a round, as long as was asked for */
    char why[256];                  /* it is absent, or ended early         */
    bench_figures figures;
    bench_case c;                   /* what bench_report wants to know      */
} peer_case;

static const struct { int pinned, sleep; const char *name; } ways[PEERS_WAYS] = {
    { 1, 0, "pinned, polling" }, { 0, 0, "free, polling" },
    { 1, 1, "pinned, blocking" }, { 0, 1, "free, blocking" },
    { 2, 1, "one core, blocking" }
};

static peer_case *cases;
static size_t case_count;
static int late[KINDS][LINK_WORKS]; /* rounds that did not end in time      */
static const char *dead[KINDS][LINK_WORKS];     /* no case of it runs: why  */
static double round_ms = 60;
static uint64_t end_ns = UINT64_MAX;
static int no_packages, verbose;
static link_way the_way;
static link_kind with_iceoryx2;

static void
case_add(const link_kind *kind, int work, unsigned bytes, int receivers)
{
    peer_case *const p = &cases[case_count++];

    p->kind = kind;
    p->work = work;
    p->bytes = bytes;
    p->receivers = receivers;
    p->c.work = link_work_name[work];
    p->c.subject = kind->name;
    p->c.bytes = bytes;
    p->c.producers = 1;
    p->c.consumers = receivers;
    p->c.ours = kind->ours;
}

static void
cases_make(void)
{
    const size_t most = KINDS * (2 * 8 + 2 * 3 + 4);

    cases = calloc(most, sizeof *cases);
    if (cases == NULL) bench_die("no memory");
    for (int work = 0; work < LINK_WORKS; work++)
        for (size_t i = 0; i < 8; i++)
            for (size_t k = 0; k < KINDS; k++) {
                const link_kind *const kind =
                    kinds[k].program != NULL ? &with_iceoryx2 : &kinds[k];

                if (!(kind->works & 1u << work) ||
                    (kind->program != NULL && kind->program[0] == '\0') ||
                    (no_packages && kind->package)) continue;
                if (work == LINK_FANOUT) {
                    if (i < 4) case_add(kind, work, 64, fans[i]);
                } else if (1u << work & LINK_SLEEPS) {
                    if (i < 3) case_add(kind, work, asleep_sizes[i], 1);
                } else case_add(kind, work, sizes[i], 1);
            }
}

/* ---- a round ----------------------------------------------------------- */

/* Run one, and remember when all of a kind is better left alone.          */
static const char *
case_run(peer_case *p, int way, uint64_t messages)
{
    const size_t k = p->kind == &with_iceoryx2 ? KINDS - 1
                                               : (size_t)(p->kind - kinds);

    if (dead[k][p->work] != NULL) return dead[k][p->work];
    if (shmi_now_ns() >= end_ns) return "no time was left";
    the_way.work = p->work;
    the_way.bytes = p->bytes;
    the_way.receivers = p->receivers;
    the_way.pinned = ways[way].pinned;
    the_way.sleep = ways[way].sleep;
    the_way.messages = messages;
    /* Asleep means asleep: also of ours, nobody looks twice.              */
    const int asleep = (1u << p->work & LINK_SLEEPS) != 0;
    peers_spin_tries = asleep ? 0 : 2000;
    peers_yield_tries = asleep ? 0 : 16;
    const char *const why = link_run(p->kind, &the_way);
    if (why == NULL) return NULL;
    if (strstr(why, "cannot open shared object") != NULL ||
        strstr(why, "built without") != NULL || strstr(why, "RouDi") != NULL)
        for (int work = 0; work < LINK_WORKS; work++) dead[k][work] = strdup(why);
    if (strncmp(why, "no end", 6) == 0 && ++late[k][p->work] == PEERS_LATE)
        dead[k][p->work] = "no end in time, twice";
    return why;
}

/* From the first start to the last stop.                                  */
static double
case_ns(const peer_case *p)
{
    const link_stage *const s = link_the_stage;
    uint64_t start = UINT64_MAX, stop = 0;

    for (int i = 0; i <= p->receivers; i++) {
        if (s->worker[i].start_ns < start) start = s->worker[i].start_ns;
        if (s->worker[i].stop_ns > stop) stop = s->worker[i].stop_ns;
    }
    return (double)(stop - start);
}

static void
case_report(peer_case *p, int number)
{
    const link_worker *const w = link_the_stage->worker;
    bench_round r = { .c = &p->c, .number = number };
    const double n = (double)the_way.messages, ns = case_ns(p);

    bench_figures_now = &p->figures;
    if (p->work != LINK_STREAM && p->work != LINK_FANOUT) {
        static bench_samples *samples;
        if (samples == NULL) samples = bench_samples_new(LINK_SAMPLES);
        samples->count = link_the_stage->samples;
        memcpy(samples->ticks, link_the_stage->ticks,
               samples->count * sizeof samples->ticks[0]);
        bench_latency(&r, samples, 1);
    } else if (p->bytes >= PEERS_LARGE)
        bench_report(&r, "GB/s", n * p->receivers * p->bytes / ns);
    else bench_rate(&r, the_way.messages * (uint64_t)p->receivers, ns);
    if (p->work == LINK_FANOUT) {
        bench_report(&r, "ns", (double)w[0].send_ns / n);
        bench_report(&r, "cpu_ns", (double)(w[0].cpu_ns - w[0].idle_ns) / n);
    } else bench_report(&r, "cpu_ns", (double)(w[0].cpu_ns + w[1].cpu_ns) / n);
    for (int m = 0; m < BENCH_METRICS && p->figures.series[m] != NULL; m++)
        p->figures.series[m]->way = ways[p->way].name;
}

/* Where two that sleep are, on one core or on two, decides what their waking
 * costs, and the scheduler changes its mind: it is not left to it.        */
static int
way_fits(const peer_case *p, int way)
{
    const int pinned = ways[way].pinned, sleep = ways[way].sleep;

    if (p->work == LINK_ONE_CORE) return pinned == 2;
    if (pinned == 2 || (p->kind->polls && sleep)) return 0;
    if (p->work == LINK_ASLEEP) return sleep && pinned;
    return 1;
}

/* Try each way with few messages; keep the fastest, and how many messages a
 * round of it takes to be as long as it should be.                        */
static void
case_try(peer_case *p)
{
    const int trips = p->work != LINK_STREAM && p->work != LINK_FANOUT;
    const uint64_t room = 8u << 20, few = trips ? 30 : 300;
    double best = 0;

    p->way = -1;
    for (int way = 0; way < PEERS_WAYS; way++) {
        if (!way_fits(p, way)) continue;
        uint64_t n = few * p->bytes > room ? room / p->bytes : few;
        double ns = 0;
        if (n < 8) n = 8;
        for (int again = 0; again < 2; again++) {
            const char *const why = case_run(p, way, n);
            if (verbose)
                fprintf(stderr, "%s/%s/%u/1x%d, %s: %s, %.1f ns\n", p->c.work,
                        p->c.subject, p->bytes, p->receivers, ways[way].name,
                        why != NULL ? why : "good",
                        why != NULL ? 0 : case_ns(p) / (double)n);
            if (why != NULL) {
                if (p->way < 0) snprintf(p->why, sizeof p->why, "%s", why);
                break;
            }
            ns = case_ns(p) / (double)n;
            /* Too short to tell: once more, with more.                    */
            const double more = round_ms * 1e6 / PEERS_TRY / ns;
            if (more < 2 * (double)n) break;
            n = more < 2e6 ? (uint64_t)more : 2000000;
        }
        if (ns == 0 || (p->way >= 0 && ns >= best)) continue;
        best = ns;
        p->way = way;
        p->why[0] = '\0';
    }
    if (p->way < 0) return;
    const double n = round_ms * 1e6 / best;
    p->messages = n < 32 ? 32 : n > 1e7 ? 10000000 : (uint64_t)n;
}

/* ---- output ------------------------------------------------------------ */

static void
case_print_absent(const peer_case *p, int json)
{
    if (!json) {
        printf("%-12s %-18s %8u B %2dx%-2d did not run%s: %s\n", p->c.work,
               p->c.subject, p->bytes, 1, p->receivers,
               p->figures.series[0] != NULL ? " to its end" : "", p->why);
        return;
    }
    printf("{\"work\":\"absent\",\"of\":\"%s\",\"subject\":\"%s\",\"bytes\":%u,"
           "\"producers\":1,\"consumers\":%d", p->c.work, p->c.subject, p->bytes,
           p->receivers);
    bench_json_text("why", p->why);
    printf("}\n");
}

/* Ratios of ours to each bar, of what people compare: the median trip, the
 * rate, the CPU time; and of many receivers to one.                       */
static void
cases_print(int json)
{
    for (size_t i = 0; i < case_count; i++) {
        if (!cases[i].chosen) continue;
        if (cases[i].why[0] != '\0') case_print_absent(&cases[i], json);
        for (int m = 0; m < BENCH_METRICS; m++)
            if (cases[i].figures.series[m] != NULL)
                bench_print(cases[i].figures.series[m], json);
    }
    for (size_t i = 0; i < case_count; i++)
        for (size_t j = 0; j < case_count && cases[i].kind->ours; j++)
            for (int m = 0; m < BENCH_METRICS * BENCH_METRICS; m++) {
                const bench_series *const s =
                    cases[i].figures.series[m / BENCH_METRICS];
                const bench_series *const to =
                    cases[j].figures.series[m % BENCH_METRICS];

                if (cases[j].kind->is_bar && bench_comparable(s, to) &&
                    strcmp(s->metric, "p99_ns") != 0)
                    bench_print_ratio(s, to, json);
            }
    for (size_t i = 0; i < case_count; i++)
        for (size_t j = 0; j < i && cases[i].work == LINK_FANOUT; j++) {
            if (cases[j].kind != cases[i].kind || cases[j].receivers != 1 ||
                cases[j].work != LINK_FANOUT) continue;
            for (int m = 1; m < 3; m++) {
                const bench_series *const s = cases[i].figures.series[m];
                bench_series one;

                if (s == NULL || cases[j].figures.series[m] == NULL) continue;
                one = *cases[j].figures.series[m];
                one.subject = "one_receiver";
                bench_print_ratio(s, &one, json);
            }
        }
}

/* ---- the run ----------------------------------------------------------- */

static void
peers_usage(void)
{
    puts("usage: peers_bench [--json] [--quick] [--list] [--rounds 1..101]\n"
         "       [--messages N] [--filter REGEX] [--ms MS] [--seconds N]\n"
         "       [--limit-ms MS] [--verbose] [--no-packages] [--iceoryx2 PROGRAM]\n\n"
         "  --messages     in a round, at most\n"
         "  --filter       only cases whose WORK/SUBJECT/BYTES/PxC matches\n"
         "  --ms           how long a round shall take [60]\n"
         "  --seconds      no round begins later than that\n"
         "  --limit-ms     of a round; longer is not waited [15000]\n"
         "  --verbose      each try of a way to stderr\n"
         "  --no-packages  only what the operating system and shmcomm have\n"
         "  --iceoryx2     also bench/iceoryx2, built before; bench/run does so");
}

/* Take what is ours out of the arguments.                                 */
static int
peers_arguments(bench_args *a, int argc, char **argv)
{
    int n = 0;

    with_iceoryx2 = kinds[KINDS - 1];
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) peers_usage(), exit(0);
        else if (strcmp(argv[i], "--no-packages") == 0) no_packages = 1;
        else if (strcmp(argv[i], "--verbose") == 0) verbose = 1;
        else if (strcmp(argv[i], "--iceoryx2") == 0 && i + 1 < argc)
            with_iceoryx2.program = argv[++i];
        else if (strcmp(argv[i], "--ms") == 0 && i + 1 < argc)
            round_ms = (double)bench_number(a, argv[++i], 10000);
        else if (strcmp(argv[i], "--limit-ms") == 0 && i + 1 < argc)
            link_limit_ms = (unsigned)bench_number(a, argv[++i], 600000);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            end_ns = shmi_now_ns() + bench_number(a, argv[++i], 100000) * 1000000000;
        else argv[n++] = argv[i];
    }
    argv[n] = NULL;
    return n;
}

static int
cases_choose(const bench_args *a)
{
    int chosen = 0;

    for (size_t i = 0; i < case_count; i++) {
        bench_case_name(&cases[i].c);
        cases[i].chosen = !a->filtered ||
            regexec(&a->filter, bench_round_name, 0, NULL, 0) == 0;
        chosen += cases[i].chosen;
        if (a->list && cases[i].chosen) puts(bench_round_name);
    }
    bench_round_name[0] = '\0';
    return chosen;
}

static void
cases_run(const bench_args *a)
{
    for (size_t i = 0; i < case_count; i++) {
        if (!cases[i].chosen) continue;
        case_try(&cases[i]);
        if (cases[i].messages > a->messages) cases[i].messages = a->messages;
    }
    for (int round = 0; round < a->rounds; round++)
        for (size_t k = 0; k < case_count && shmi_now_ns() < end_ns; k++) {
            peer_case *const p = &cases[(k + (size_t)round) % case_count];

            if (!p->chosen || p->way < 0 || p->why[0] != '\0') continue;
            const char *const why = case_run(p, p->way, p->messages);
            if (why == NULL) case_report(p, round);
            else snprintf(p->why, sizeof p->why, "round %d: %s", round + 1, why);
        }
}

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 7, .messages = 10000000, .program = "peers_bench" };

    argc = peers_arguments(&a, argc, argv);
    bench_begin(&a, argc, argv);
    if (a.quick) {
        a.messages = 10000000;
        round_ms = 2;
    }
    cases_make();
    const int chosen = cases_choose(&a);
    if (a.list) return 0;
    if (chosen == 0) bench_die("no case matches the filter");
    the_way.arena = link_begin();
    the_way.dir = link_dir;
    link_at_end = roudi_stop;
    bench_print_machine(a.program, bench_cores(), a.json);
    cases_run(&a);
    cases_print(a.json);
    return 0;
}
