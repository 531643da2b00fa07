/* filter.c - turns samples into a smooth state.  The driver kills it with
 * SIGKILL at half-time; the next one goes on where it stopped.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

static const double SMOOTH_S = 0.25;    /* time constant of the averages    */

typedef struct filter {
    double load, memory_mb, net_bytes_per_s;
    sample last;                    /* the one before                       */
    uint64_t cpu_ns;                /* when the CPU's counters last moved   */
} filter;

/* Move an average towards a value that held for `dt` seconds.             */
static void
smooth(double *average, double value, double dt)
{
    *average += (value - *average) * dt / (SMOOTH_S + dt);
}

static void
filter_start(filter *f, const report *r)
{
    memset(f, 0, sizeof *f);
    /* Zeros the first time, else what the killed filter knew.             */
    f->load = r->cpu_load;
    f->memory_mb = r->memory_free_mb;
    f->net_bytes_per_s = r->net_bytes_per_s;
}

static void
filter_step(filter *f, const sample *in)
{
    const uint64_t now = in->head.sent_ns;
    const double dt = (double)(now - f->last.head.sent_ns) * 1e-9;
    const double memory_mb = (double)in->memory_free_kb / 1024.0;

    if (f->last.head.sequence == 0) {
        if (f->memory_mb <= 0) f->memory_mb = memory_mb;
        f->last = *in;
        f->cpu_ns = now;
        return;
    }
    smooth(&f->memory_mb, memory_mb, dt);
    /* A counter goes back when a network device goes away.                */
    if (in->net_bytes >= f->last.net_bytes && dt > 0)
        smooth(&f->net_bytes_per_s,
               (double)(in->net_bytes - f->last.net_bytes) / dt, dt);
    /* The kernel counts CPU time in steps of 10 ms.                       */
    if (in->cpu_total > f->last.cpu_total) {
        smooth(&f->load, (double)(in->cpu_busy - f->last.cpu_busy) /
                         (double)(in->cpu_total - f->last.cpu_total),
               (double)(now - f->cpu_ns) * 1e-9);
        f->cpu_ns = now;
    }
    f->last = *in;
}

static void
filter_report(const filter *f, report *r)
{
    r->cpu_load = f->load;
    r->memory_free_mb = f->memory_mb;
    r->net_bytes_per_s = f->net_bytes_per_s;
}

int
filter_main(member *me)
{
    static reporter rep;
    filter f;
    inlet in;
    shmc_pub pub;
    sample now;
    state out;

    int r = reporter_open(&rep, me, "filter");
    if (r == SHMC_OK) r = topic_publish(me, &pub, "state", sizeof out);
    if (r == SHMC_OK) r = inlet_open(&in, me, "sensor", &rep.r);
    if (r != SHMC_OK) return r;
    filter_start(&f, &rep.r);
    memset(&out, 0, sizeof out);
    for (;;) {
        const bool stop = member_stops(me);     /* then read what is left   */
        r = shmc_sub_recv(&in.sub, &now, sizeof now, stop ? 0 : WAIT_NS);
        if (r == SHMC_ETIMEDOUT) continue;
        if (r < 0) break;
        inlet_count(&in, &now.head, clock_ns());
        filter_step(&f, &now);
        filter_report(&f, &rep.r);
        out.sampled_ns = now.head.sent_ns;
        out.cpu_load = f.load;
        out.memory_free_mb = f.memory_mb;
        out.net_bytes_per_s = f.net_bytes_per_s;
        message_stamp(&out.head, &rep.r, sizeof out);
        /* First the report: a successor never uses a number twice.        */
        reporter_show(&rep);
        r = shmc_pub_send(&pub, &out, sizeof out, 0);
        if (r != SHMC_OK) break;
    }
    inlet_close(&in);
    shmc_pub_close(&pub);
    reporter_close(&rep);
    return r == SHMC_EAGAIN ? SHMC_OK : r;
}
