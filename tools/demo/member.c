/* member.c - what all roles have in common: how they meet, stop and report.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t terminated;

static void
on_term(int sig)
{
    (void)sig;
    terminated = 1;
}

/* Should the driver die, even by SIGKILL, the kernel sends us SIGTERM: then
 * we close what we have open, and nothing stays behind in memory.         */
static bool
follow_driver(const char *base)
{
    struct sigaction action = { .sa_handler = on_term };
    const long driver = strtol(base + strcspn(base, "0123456789"), NULL, 10);

    sigaction(SIGTERM, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return getppid() == (pid_t)driver;
}

int
member_join(member *me, const role *as, const char *base)
{
    const shmc_object_desc plan_desc = {
        .bytes = sizeof(plan), .type_name = "demo plan",
        .type_hash = shmc_type_hash("demo plan 1")
    };

    memset(me, 0, sizeof *me);
    me->role = as;
    snprintf(me->base, sizeof me->base, "%s", base);
    if (!follow_driver(base)) return SHMC_EPEERDEAD;
    /* Wake us when a deadline comes, not up to 50 us later.               */
    prctl(PR_SET_TIMERSLACK, 1UL);

    const topic_name board = topic_name_of(base, "board");
    const shmc_segment_desc desc = { .label = as->name };
    int r = shmc_segment_attach(&me->board, board.text, &desc);
    if (r < 0) return r;
    r = shmc_object_attach(&me->board, "plan", &plan_desc, &me->plan_object);
    if (r < 0) return r;
    me->plan = me->plan_object.mem;
    return shmc_counter_open(&me->stop, &me->board, "stop", false);
}

void
member_leave(member *me)
{
    shmc_counter_close(&me->stop);
    shmc_object_close(&me->board, &me->plan_object);
    shmc_segment_close(&me->board);
}

bool
member_stops(const member *me)
{
    return terminated || shmc_counter_get(&me->stop) >= me->role->stage;
}

topic_name
topic_name_of(const char *base, const char *topic)
{
    topic_name name;

    snprintf(name.text, sizeof name.text, "%s/%s", base, topic);
    return name;
}

/* ---- reports ----------------------------------------------------------- */

int
reporter_open(reporter *rep, member *me, const char *name)
{
    const shmc_latest_desc desc = { .value_bytes = sizeof(report) };

    memset(rep, 0, sizeof *rep);
    int r = shmc_latest_open(&rep->cell, &me->board, name, &desc,
                             SHMC_PRODUCER);
    if (r != SHMC_OK) return r;
    /* A killed predecessor's last report is still there, and whole.       */
    r = shmc_latest_read(&rep->cell, &rep->r, sizeof rep->r, NULL);
    if (r == SHMC_EAGAIN) memset(&rep->r, 0, sizeof rep->r);
    else if (r != SHMC_OK) return r;
    rep->r.runs++;
    reporter_show(rep);
    return SHMC_OK;
}

void
reporter_show(reporter *rep)
{
    shmc_latest_write(&rep->cell, &rep->r, sizeof rep->r);
}

void
reporter_close(reporter *rep)
{
    reporter_show(rep);
    shmc_latest_close(&rep->cell);
}

/* ---- sending and receiving --------------------------------------------- */

int
topic_publish(const member *me, shmc_pub *pub, const char *topic, size_t bytes)
{
    /* One publisher at a time: the fastest kind.  When it is killed, its
     * successor takes the seat over.                                      */
    const shmc_topic_desc desc = {
        .max_bytes = (uint32_t)bytes, .max_publishers = 1,
        .max_subscribers = 16, .flags = SHMC_PREFAULT
    };

    return shmc_pub_open(pub, topic_name_of(me->base, topic).text, &desc);
}

void
message_stamp(message_head *head, report *r, size_t bytes)
{
    r->sent_bytes += bytes;
    head->sequence = ++r->sent;
    head->run = r->runs;
    head->sent_ns = clock_ns();
}

int
inlet_open(inlet *in, const member *me, const char *topic, report *r)
{
    memset(in, 0, sizeof *in);
    in->r = r;
    in->next = r->last != 0 ? r->last + 1 : 0;
    in->restarted = r->runs > 1;
    /* The topic need not exist yet.                                       */
    return shmc_sub_open(&in->sub, topic_name_of(me->base, topic).text, NULL);
}

void
inlet_close(inlet *in)
{
    in->r->lapped += shmc_sub_lost(&in->sub) - in->lost;
    shmc_sub_close(&in->sub);
}

void
inlet_count(inlet *in, const message_head *head, uint64_t received_ns)
{
    report *r = in->r;
    const uint64_t lost = shmc_sub_lost(&in->sub);
    const uint64_t lapped = lost - in->lost;

    /* The library says how many messages we lost; the sequence numbers must
     * say the same, unless one side was just restarted.                   */
    if (in->next == 0) {
        r->before = head->sequence - 1 - lapped;
    } else {
        const int64_t more = (int64_t)(head->sequence - in->next - lapped);
        const bool cause = in->restarted || head->run != in->run;
        if (more > 0 && cause) r->restarted += (uint64_t)more;
        else if (more != 0) r->wrong++;
    }
    r->lapped += lapped;
    r->received++;
    r->last = head->sequence;
    histogram_add(&r->latency, received_ns - head->sent_ns);
    if (in->last_ns != 0 && received_ns - in->last_ns > r->gap_ns)
        r->gap_ns = received_ns - in->last_ns;
    in->next = head->sequence + 1;
    in->lost = lost;
    in->run = head->run;
    in->last_ns = received_ns;
    in->restarted = false;
}

/* Rotating makes the order of the words count.                            */
uint64_t
checksum(const void *data, uint64_t bytes)
{
    const uint64_t *word = data;
    uint64_t sum = bytes;

    for (uint64_t i = 0; i < bytes / sizeof *word; i++)
        sum = (sum << 5 | sum >> 59) + word[i];
    return sum;
}

/* ---- time --------------------------------------------------------------- */

uint64_t
clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void
realtime_ask(const member *me, report *r, int priority)
{
    const struct sched_param param = { .sched_priority = priority };

    /* Not permitted to most users: then it is an ordinary process.        */
    r->realtime = me->plan->realtime &&
                  sched_setscheduler(0, SCHED_FIFO, &param) == 0;
}

void
ticker_start(ticker *t, const member *me, uint64_t period_ns,
             uint64_t phase_ns, report *r)
{
    const uint64_t now = clock_ns();

    t->r = r;
    t->period_ns = period_ns;
    t->next_ns = me->plan->start_ns + phase_ns;
    if (now > t->next_ns)
        t->next_ns += ((now - t->next_ns) / period_ns + 1) * period_ns;
}

void
ticker_wait(ticker *t)
{
    const struct timespec until = {
        .tv_sec = (time_t)(t->next_ns / 1000000000u),
        .tv_nsec = (long)(t->next_ns % 1000000000u)
    };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        continue;
    const uint64_t late = clock_ns() - t->next_ns;
    const uint64_t missed = late / t->period_ns;
    histogram_add(&t->r->lateness, late);
    t->r->ticks++;
    t->r->missed += missed;
    /* The deadlines that we slept through are not made up for.            */
    t->next_ns += (missed + 1) * t->period_ns;
}
