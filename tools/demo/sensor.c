/* sensor.c - reads the kernel's own counters 1000 times a second.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STAT, MEMINFO, NET_DEV, SCHEDSTAT, SOURCES };

typedef struct sensor {
    int fd[SOURCES];                /* -1: this kernel does not have it     */
    char text[16384];
} sensor;

static void
sensor_open(sensor *s)
{
    static const char *const path[SOURCES] = {
        "/proc/stat", "/proc/meminfo", "/proc/net/dev", "/proc/self/schedstat"
    };

    for (int i = 0; i < SOURCES; i++)
        s->fd[i] = open(path[i], O_RDONLY | O_CLOEXEC);
}

static void
sensor_close(sensor *s)
{
    for (int i = 0; i < SOURCES; i++)
        if (s->fd[i] >= 0) close(s->fd[i]);
}

/* A fresh copy of the file's text, empty if there is none.                */
static char *
sensor_text(sensor *s, int source)
{
    const ssize_t n = pread(s->fd[source], s->text, sizeof s->text - 1, 0);

    s->text[n > 0 ? n : 0] = '\0';
    return s->text;
}

/* "cpu  user nice system idle iowait irq softirq steal ..."               */
static void
read_cpu(sensor *s, sample *out)
{
    char *at = sensor_text(s, STAT) + strlen("cpu");

    out->cpu_busy = out->cpu_total = 0;
    if (s->text[0] == '\0') return;
    for (int i = 0; i < 8; i++) {
        const uint64_t ticks = strtoull(at, &at, 10);
        const bool idle = i == 3 || i == 4;
        out->cpu_total += ticks;
        if (!idle) out->cpu_busy += ticks;
    }
}

static void
read_memory(sensor *s, sample *out)
{
    static const char key[] = "MemAvailable:";
    const char *at = strstr(sensor_text(s, MEMINFO), key);

    out->memory_free_kb =
        at != NULL ? strtoull(at + sizeof key - 1, NULL, 10) : 0;
}

/* "  eth0: bytes-in 7-more-fields bytes-out ...", a line for each device. */
static void
read_net(sensor *s, sample *out)
{
    char *at = sensor_text(s, NET_DEV);

    out->net_bytes = 0;
    while ((at = strchr(at, ':')) != NULL) {
        at++;
        for (int i = 0; i < 9; i++) {
            const uint64_t value = strtoull(at, &at, 10);
            if (i == 0 || i == 8) out->net_bytes += value;
        }
    }
}

int
sensor_main(member *me)
{
    static sensor s;
    static reporter rep;
    shmc_pub pub;
    ticker clock;
    sample out;

    sensor_open(&s);
    int r = reporter_open(&rep, me, "sensor");
    if (r == SHMC_OK) r = topic_publish(me, &pub, "sensor", sizeof out);
    if (r != SHMC_OK) return r;
    realtime_ask(me, &rep.r, 10);
    ticker_start(&clock, me, TICK_NS, 0, &rep.r);
    memset(&out, 0, sizeof out);
    while (r == SHMC_OK && !member_stops(me)) {
        ticker_wait(&clock);
        read_cpu(&s, &out);
        read_memory(&s, &out);
        read_net(&s, &out);
        out.own_run_ns = strtoull(sensor_text(&s, SCHEDSTAT), NULL, 10);
        message_stamp(&out.head, &rep.r, sizeof out);
        r = shmc_pub_send(&pub, &out, sizeof out, 0);
        reporter_show(&rep);
    }
    shmc_pub_close(&pub);
    reporter_close(&rep);
    sensor_close(&s);
    return r;
}
