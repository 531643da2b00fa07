/* recorder.c - hears all that is said: a thread for each topic.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

#include <pthread.h>

typedef struct track {
    member *me;
    const char *topic, *report_name;
    pthread_t thread;
    int result;
    reporter rep;
} track;

typedef union message {             /* any of those that are recorded       */
    message_head head;
    sample sample;
    state state;
    command command;
} message;

/* A handle belongs to one thread: each thread opens its own.              */
static int
track_record(track *t)
{
    inlet in;
    message m;
    uint64_t sampled_ns = 0;

    int r = reporter_open(&t->rep, t->me, t->report_name);
    if (r == SHMC_OK) r = inlet_open(&in, t->me, t->topic, &t->rep.r);
    if (r != SHMC_OK) return r;
    for (;;) {
        const bool stop = member_stops(t->me);  /* then read what is left   */
        r = shmc_sub_recv(&in.sub, &m, sizeof m, stop ? 0 : WAIT_NS);
        if (r == SHMC_ETIMEDOUT) continue;
        if (r < 0) break;
        const uint64_t now = clock_ns();
        inlet_count(&in, &m.head, now);
        /* The way through the whole loop: sensor, filter, controller; for
         * the first command that follows from a sample.                   */
        if (r == (int)sizeof m.command && m.command.sampled_ns != sampled_ns) {
            sampled_ns = m.command.sampled_ns;
            histogram_add(&t->rep.r.age, now - sampled_ns);
        }
        reporter_show(&t->rep);
    }
    inlet_close(&in);
    reporter_close(&t->rep);
    return r == SHMC_EAGAIN ? SHMC_OK : r;
}

static void *
track_thread(void *arg)
{
    track *t = arg;

    t->result = track_record(t);
    return NULL;
}

int
recorder_main(member *me)
{
    static track tracks[] = {
        { .topic = "sensor", .report_name = "recorder/sensor" },
        { .topic = "state", .report_name = "recorder/state" },
        { .topic = "command", .report_name = "recorder/command" }
    };
    enum { TRACKS = sizeof tracks / sizeof tracks[0] };
    int r = SHMC_OK, started = 0;

    for (; started < TRACKS; started++) {
        track *t = &tracks[started];
        t->me = me;
        if (pthread_create(&t->thread, NULL, track_thread, t) == 0) continue;
        r = SHMC_EOS;
        break;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(tracks[i].thread, NULL);
        if (r == SHMC_OK) r = tracks[i].result;
    }
    return r;
}
