/* report.c - judges and prints what the roles reported.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

#include <stdio.h>

typedef unsigned long long ull;

/* Who hears what: the topic, its sender's report, the listener's report.  */
static const struct {
    const char *topic, *to;
    int from_report, to_report;
} flows[] = {
    { "sensor", "filter", REPORT_SENSOR, REPORT_FILTER },
    { "sensor", "recorder", REPORT_SENSOR, REPORT_REC_SENSOR },
    { "state", "controller", REPORT_FILTER, REPORT_CONTROLLER },
    { "state", "recorder", REPORT_FILTER, REPORT_REC_STATE },
    { "command", "recorder", REPORT_CONTROLLER, REPORT_REC_COMMAND },
    { "camera", "viewer-a", REPORT_CAMERA, REPORT_VIEWER_A },
    { "camera", "viewer-b", REPORT_CAMERA, REPORT_VIEWER_B }
};
enum { FLOWS = sizeof flows / sizeof flows[0] };

static const char *const window_names[3] = { "before", "around", "run" };

static double
us(uint64_t ns)
{
    return (double)ns * 1e-3;
}

static double
ms(uint64_t ns)
{
    return (double)ns * 1e-6;
}

static double
at_us(const histogram *h, double share)
{
    return us(histogram_at_ns(h, share));
}

/* Share of one CPU.                                                       */
static double
cpu_percent(const child *c)
{
    return c->wall_s > 0 ? c->cpu_s / c->wall_s * 100 : 0;
}

/* The report in which a process says what it sends and when it ticks.     */
static const report *
process_report(const outcome *out, const char *name)
{
    for (int i = 0; i < REPORTS; i++)
        if (strcmp(report_names[i], name) == 0) return &out->reports[i];
    return NULL;                    /* the recorder has one for each topic  */
}

/* ---- the verdict ------------------------------------------------------- */

static void
flow_check(outcome *out, int i)
{
    const report *to = &out->reports[flows[i].to_report];
    const uint64_t sent = out->reports[flows[i].from_report].sent;
    const uint64_t known = to->before + to->received + to->lapped +
                           to->restarted;
    const char *topic = flows[i].topic, *name = flows[i].to;

    if (to->wrong != 0)
        problem(out, "%s: %llu sequence errors in topic %s", name,
                (ull)to->wrong, topic);
    if (to->torn != 0)
        problem(out, "%s: %llu torn frames", name, (ull)to->torn);
    if (known != sent)
        problem(out, "%s: topic %s had %llu messages, %llu are accounted for",
                name, topic, (ull)sent, (ull)known);
    if (to->received < sent / 2)
        problem(out, "%s starved: it got %llu of %llu messages of topic %s",
                name, (ull)to->received, (ull)sent, topic);
}

void
outcome_check(outcome *out)
{
    for (int i = 0; i < FLOWS; i++) flow_check(out, i);
    for (int i = 0; i < MEMBERS; i++) {
        const child *c = &out->children[i];
        const bool killed = out->kill_ns != 0 && strcmp(c->name, "filter") == 0;
        if (c->starts != (killed ? 2 : 1))
            problem(out, "%s was started %u times", c->name, c->starts);
    }
    if (out->kill_ns != 0 && out->reports[REPORT_CONTROLLER].back_ns == 0)
        problem(out, "the restarted filter was not heard of");
    if (out->left != 0)
        problem(out, "%d segments are left in the folder", out->left);
}

/* ---- for people -------------------------------------------------------- */

static void
times_print(const histogram *h)
{
    printf("%9.1f%9.1f%9.1f%9.1f", at_us(h, 0.5), at_us(h, 0.99),
           at_us(h, 0.999), us(h->max_ns));
}

static void
processes_print(const outcome *out)
{
    puts("\n                                    tick starts late, us"
         "                 ticks\n"
         "process    starts  CPU %     sent      p50      p99    p99.9      max"
         "  missed");
    for (int i = 0; i < MEMBERS; i++) {
        const child *c = &out->children[i];
        const report *r = process_report(out, c->name);
        printf("%-11s%6u%7.1f", c->name, c->starts, cpu_percent(c));
        if (r != NULL && r->sent > 0) printf("%9llu", (ull)r->sent);
        else if (r != NULL && r->ticks > 0) printf("%9s", "");
        if (r != NULL && r->ticks > 0) {
            times_print(&r->lateness);
            printf("%8llu", (ull)r->missed);
        }
        puts("");
    }
    if (out->reports[REPORT_CONTROLLER].realtime == 0)
        puts("(sensor, controller and metronome: ordinary scheduling; "
             "no SCHED_FIFO)");
}

static void
flows_print(const outcome *out)
{
    puts("\n                                 lost:   lost:   one-way latency, us"
         "\ntopic   to         received   lapped restart      p50      p99"
         "    p99.9      max");
    for (int i = 0; i < FLOWS; i++) {
        const report *r = &out->reports[flows[i].to_report];
        printf("%-8s%-11s%8llu%9llu%8llu", flows[i].topic, flows[i].to,
               (ull)r->received, (ull)r->lapped, (ull)r->restarted);
        times_print(&r->latency);
        puts("");
    }
    const histogram *age = &out->reports[REPORT_REC_COMMAND].age;
    printf("%-19s%8llu%17s", "sample to command", (ull)age->count, "");
    times_print(age);
    puts("");
}

static void
kill_print(const outcome *out)
{
    const report *c = &out->reports[REPORT_CONTROLLER];

    if (out->kill_ns == 0 || c->back_ns == 0) return;
    printf("\nThe filter was killed (SIGKILL) and started again.  Its successor's "
           "first state\ncame %.1f ms later; the controller had no new state for "
           "%.1f ms.\n\n", ms(c->back_ns - out->kill_ns), ms(c->outage_ns));
    printf("ticks missed (latest start, us)  metronome           sensor"
           "       controller\n");
    for (int w = 0; w < 3; w++) {
        if (w < 2)
            printf("%.2f s %-24s", out->window_s, w == 0 ? "before the kill"
                                                       : "around the kill");
        else printf("%-31s", "the whole run");
        for (int t = 0; t < TICKERS; t++)
            printf("%5llu (%8.1f)%s", (ull)out->windows[w][t].missed,
                   us(out->windows[w][t].lateness.max_ns),
                   t < TICKERS - 1 ? " " : "\n");
    }
}

static void
summary_print(const outcome *out)
{
    const report *camera = &out->reports[REPORT_CAMERA];
    uint64_t others = 0;

    for (int i = 0; i < FLOWS; i++)
        if (flows[i].to_report != REPORT_FILTER)
            others += out->reports[flows[i].to_report].lapped +
                      out->reports[flows[i].to_report].restarted;
    printf("\nmessages that others than the filter lost: %llu\n"
           "camera: %.0f MB in frames of %.1f MB, checked in place by the viewers\n",
           (ull)others, (double)camera->sent_bytes * 1e-6,
           camera->sent != 0 ? (double)camera->sent_bytes * 1e-6 /
                               (double)camera->sent : 0);
    if (out->left == 0) puts("nothing is left in the shared-memory folder");
    printf("%s%llu problems\n", out->interrupted ? "interrupted; " : "",
           (ull)out->problems);
}

/* ---- for programs: names are ours, so that nothing needs escaping ------ */

static void
times_json(const char *key, const histogram *h)
{
    printf(",\"%s\":{\"p50\":%.3f,\"p99\":%.3f,\"p99_9\":%.3f,\"max\":%.3f}",
           key, at_us(h, 0.5), at_us(h, 0.99), at_us(h, 0.999), us(h->max_ns));
}

static void
processes_json(const outcome *out)
{
    for (int i = 0; i < MEMBERS; i++) {
        const child *c = &out->children[i];
        const report *r = process_report(out, c->name);
        printf("{\"row\":\"process\",\"name\":\"%s\",\"starts\":%u,"
               "\"cpu_percent\":%.2f", c->name, c->starts, cpu_percent(c));
        if (r != NULL && r->sent > 0)
            printf(",\"sent\":%llu,\"sent_bytes\":%llu", (ull)r->sent,
                   (ull)r->sent_bytes);
        if (r != NULL && r->ticks > 0) {
            printf(",\"ticks\":%llu,\"missed\":%llu,\"realtime\":%s",
                   (ull)r->ticks, (ull)r->missed,
                   r->realtime ? "true" : "false");
            times_json("late_us", &r->lateness);
        }
        puts("}");
    }
}

static void
flows_json(const outcome *out)
{
    for (int i = 0; i < FLOWS; i++) {
        const report *r = &out->reports[flows[i].to_report];
        printf("{\"row\":\"flow\",\"topic\":\"%s\",\"to\":\"%s\","
               "\"received\":%llu,\"before\":%llu,\"lapped\":%llu,"
               "\"restarted\":%llu,\"wrong\":%llu,\"torn\":%llu,"
               "\"longest_gap_ms\":%.3f", flows[i].topic, flows[i].to,
               (ull)r->received, (ull)r->before, (ull)r->lapped,
               (ull)r->restarted, (ull)r->wrong, (ull)r->torn, ms(r->gap_ns));
        times_json("latency_us", &r->latency);
        puts("}");
    }
    printf("{\"row\":\"loop\",\"from\":\"sensor\",\"to\":\"recorder\"");
    times_json("age_us", &out->reports[REPORT_REC_COMMAND].age);
    puts("}");
}

static void
kill_json(const outcome *out)
{
    const report *c = &out->reports[REPORT_CONTROLLER];

    if (out->kill_ns == 0 || c->back_ns == 0) return;
    printf("{\"row\":\"kill\",\"name\":\"filter\",\"dead_ms\":%.3f,"
           "\"back_ms\":%.3f,\"outage_ms\":%.3f}\n",
           ms(out->dead_ns - out->kill_ns), ms(c->back_ns - out->kill_ns),
           ms(c->outage_ns));
    for (int w = 0; w < 3; w++)
        for (int t = 0; t < TICKERS; t++) {
            const report *r = &out->windows[w][t];
            printf("{\"row\":\"window\",\"when\":\"%s\",\"name\":\"%s\","
                   "\"ticks\":%llu,\"missed\":%llu", window_names[w], report_names[t],
                   (ull)r->ticks, (ull)r->missed);
            times_json("late_us", &r->lateness);
            puts("}");
        }
}

void
outcome_print(const outcome *out, bool json)
{
    if (json) {
        processes_json(out);
        flows_json(out);
        kill_json(out);
        printf("{\"row\":\"verdict\",\"problems\":%llu,\"left\":%d,"
               "\"interrupted\":%s}\n", (ull)out->problems, out->left,
               out->interrupted ? "true" : "false");
    } else {
        processes_print(out);
        flows_print(out);
        kill_print(out);
        summary_print(out);
    }
}
