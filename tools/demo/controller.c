/* controller.c - a 1 kHz loop that must not miss a tick, whatever becomes of
 * the others: it never waits for anything but its own clock.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

/* A fan that follows the CPU's load: proportional and integral action.    */
static const double GAIN = 0.5, INTEGRAL_PER_S = 4.0;

typedef struct fan {
    double duty, integral;
} fan;

static double
clamp(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static void
fan_step(fan *f, double load)
{
    const double error = load - f->duty;

    f->integral = clamp(f->integral + error * INTEGRAL_PER_S * TICK_NS * 1e-9);
    f->duty = clamp(f->integral + GAIN * error);
}

/* Take every state that has come, without waiting; keep the newest.       */
static int
controller_drain(inlet *in, state *newest)
{
    report *r = in->r;

    for (;;) {
        const uint64_t run = in->run, last_ns = in->last_ns;
        const int n = shmc_sub_recv(&in->sub, newest, sizeof *newest, 0);
        if (n == SHMC_EAGAIN) return SHMC_OK;
        if (n < 0) return n;
        const uint64_t now = clock_ns();
        inlet_count(in, &newest->head, now);
        if (run != 0 && newest->head.run != run) {
            r->back_ns = newest->head.sent_ns;
            r->outage_ns = now - last_ns;
        }
    }
}

int
controller_main(member *me)
{
    static reporter rep;
    inlet in;
    shmc_pub pub;
    ticker clock;
    state newest;
    command out;
    fan f = { 0, 0 };

    int r = reporter_open(&rep, me, "controller");
    if (r == SHMC_OK) r = topic_publish(me, &pub, "command", sizeof out);
    if (r == SHMC_OK) r = inlet_open(&in, me, "state", &rep.r);
    if (r != SHMC_OK) return r;
    realtime_ask(me, &rep.r, 20);
    /* Half a period after the sensor, so that its sample is through.      */
    ticker_start(&clock, me, TICK_NS, TICK_NS / 2, &rep.r);
    memset(&newest, 0, sizeof newest);
    memset(&out, 0, sizeof out);
    while (r == SHMC_OK && !member_stops(me)) {
        ticker_wait(&clock);
        r = controller_drain(&in, &newest);
        if (r != SHMC_OK) break;
        fan_step(&f, newest.cpu_load);
        rep.r.fan_duty = out.fan_duty = f.duty;
        out.sampled_ns = newest.sampled_ns;
        out.state_sequence = newest.head.sequence;
        message_stamp(&out.head, &rep.r, sizeof out);
        r = shmc_pub_send(&pub, &out, sizeof out, 0);
        reporter_show(&rep);
    }
    if (r == SHMC_OK) r = controller_drain(&in, &newest);
    inlet_close(&in);
    shmc_pub_close(&pub);
    reporter_close(&rep);
    return r;
}
