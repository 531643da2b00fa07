/* demo.h - what the roles of the demo share: messages, reports, calls.
 *
 * Each role is a process of its own.  They meet in shared memory by name:
 *
 *     demo-PID/board                   plan, stop signal, reports
 *     demo-PID/sensor, state, command  topics of small messages
 *     demo-PID/camera                  topic of frames of several MB
 *
 * Manual: docs/demo.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef DEMO_H
#define DEMO_H

#include "shmcomm_patterns.h"
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"

#include "histogram.h"

enum {
    TICK_NS = 1000000,              /* sensor, controller, metronome: 1 kHz */
    FRAME_NS = 33333333,            /* camera: 30 Hz                        */
    WAIT_NS = 20000000              /* how often a waiting role looks if it
                                       is time to stop                      */
};

/* ---- messages ---------------------------------------------------------- */

/* What every message begins with.                                         */
typedef struct message_head {
    uint64_t sequence;              /* 1 for the first; no gaps             */
    uint64_t sent_ns;               /* CLOCK_MONOTONIC                      */
    uint64_t run;                   /* how often the sender was started     */
} message_head;

typedef struct sample {             /* topic "sensor"                       */
    message_head head;
    uint64_t cpu_busy, cpu_total;   /* ticks of all CPUs since boot         */
    uint64_t memory_free_kb;        /* MemAvailable                         */
    uint64_t net_bytes;             /* in and out, since boot               */
    uint64_t own_run_ns;            /* CPU time of the sensor itself        */
} sample;

typedef struct state {              /* topic "state"                        */
    message_head head;
    uint64_t sampled_ns;            /* when the sample behind it was sent   */
    double   cpu_load;              /* 0 to 1                               */
    double   memory_free_mb;
    double   net_bytes_per_s;
} state;

typedef struct command {            /* topic "command"                      */
    message_head head;
    uint64_t sampled_ns;            /* as in the state it follows from      */
    uint64_t state_sequence;
    double   fan_duty;              /* 0 to 1                               */
} command;

/* Up to this size a message is one cell of a topic, and nothing else.     */
SHMC_STATIC_ASSERT(sizeof(sample) <= SHMC_BCAST_INLINE_BYTES, "sample");
SHMC_STATIC_ASSERT(sizeof(state) <= SHMC_BCAST_INLINE_BYTES, "state");
SHMC_STATIC_ASSERT(sizeof(command) <= SHMC_BCAST_INLINE_BYTES, "command");

typedef struct frame {              /* topic "camera"; the bytes follow     */
    message_head head;
    uint64_t bytes;                 /* of the picture, a multiple of 8      */
    uint64_t checksum;              /* of the picture                       */
    uint8_t  pad[SHMC_LINE - 40];
} frame;
SHMC_LAYOUT_SIZE(frame, SHMC_LINE);

/* ---- the board --------------------------------------------------------- */

/* What the driver lays down before it starts anybody.                     */
typedef struct plan {
    uint64_t start_ns;              /* tick 0 of everybody                  */
    uint64_t frame_bytes;           /* of a picture                         */
    uint32_t realtime;              /* 1: ask for SCHED_FIFO                */
} plan;

/* What a role tells the driver, all the time, in a latest-value cell: the
 * role never waits, and the driver never sees half a report.  The cell
 * outlives its writer, so a role that was killed goes on from its last.   */
typedef struct report {
    uint64_t runs;                  /* how often the role was started       */
    uint64_t realtime;              /* 1: SCHED_FIFO was granted            */

    uint64_t sent, sent_bytes;

    uint64_t received, last;        /* messages; sequence of the last one   */
    uint64_t before;                /* sent before we first listened        */
    uint64_t lapped;                /* lost: we were too slow               */
    uint64_t restarted;             /* lost: we or the sender was restarted */
    uint64_t wrong;                 /* neither: an error of the library     */
    uint64_t torn;                  /* checksum differs: the same           */
    uint64_t gap_ns;                /* longest time without a new message   */
    histogram latency;              /* from send to receive                 */

    uint64_t ticks, missed;         /* missed: a period late, or more       */
    histogram lateness;             /* from a tick's time to its start      */

    uint64_t back_ns;               /* controller: when the restarted filter
                                       sent its first state                 */
    uint64_t outage_ns;             /* controller: without state until then */
    histogram age;                  /* recorder: from sample to command     */
    double   cpu_load, memory_free_mb, net_bytes_per_s, fan_duty;
} report;

/* ---- roles ------------------------------------------------------------- */

/* Roles stop in this order, so that no message is left unread.            */
enum { STAGE_SOURCES = 1, STAGE_FILTER, STAGE_CONTROLLER, STAGE_SINKS };

typedef struct role role;

/* One process's place in the demo.                                        */
typedef struct member {
    const role *role;
    char base[32];                  /* "demo-PID"                           */
    shmc_segment board;
    shmc_object plan_object;
    const plan *plan;
    shmc_counter stop;              /* the stage that is to stop            */
} member;

struct role {
    const char *name;
    int (*main)(member *me);
    uint32_t stage;
};

extern const role roles[];          /* up to one without a name             */

int metronome_main(member *me);
int sensor_main(member *me);
int filter_main(member *me);
int controller_main(member *me);
int recorder_main(member *me);
int camera_main(member *me);
int viewer_main(member *me);

/* ---- what roles have in common: member.c ------------------------------- */

/* Open the board, as the process with that role; leave it.                */
int  member_join(member *me, const role *as, const char *base);
void member_leave(member *me);

/* Tell if it is time to stop.                                             */
bool member_stops(const member *me);

/* The full name of a topic: "demo-PID/state".                             */
typedef struct topic_name { char text[SHMC_NAME_BYTES]; } topic_name;
topic_name topic_name_of(const char *base, const char *topic);

/* Open a topic of small messages for its only publisher.                  */
int topic_publish(const member *me, shmc_pub *pub, const char *topic,
                  size_t bytes);

/* A report, and the cell that it is shown in.                             */
typedef struct reporter {
    report r;
    shmc_latest cell;
} reporter;

/* Open the cell `name`, going on from what a predecessor reported.        */
int  reporter_open(reporter *out, member *me, const char *name);
void reporter_show(reporter *rep);
void reporter_close(reporter *rep);

/* A subscription, and the bookkeeping for its report.                     */
typedef struct inlet {
    shmc_sub sub;
    report  *r;
    uint64_t next;                  /* sequence that should come; 0: any    */
    uint64_t lost;                  /* shmc_sub_lost, the last time         */
    uint64_t run;                   /* of the sender, the last time         */
    uint64_t last_ns;               /* when we received the last message    */
    bool     restarted;             /* we were, just now                    */
} inlet;

/* Subscribe; a restarted role goes on behind the last message reported.   */
int  inlet_open(inlet *in, const member *me, const char *topic, report *r);
void inlet_close(inlet *in);

/* Account for a message that was received then.                           */
void inlet_count(inlet *in, const message_head *head, uint64_t received_ns);

/* Number and date a message that is about to be sent.                     */
void message_stamp(message_head *head, report *r, size_t bytes);

/* A loop's own clock.                                                     */
typedef struct ticker {
    uint64_t next_ns, period_ns;
    report  *r;
} ticker;

void ticker_start(ticker *t, const member *me, uint64_t period_ns,
                  uint64_t phase_ns, report *r);
void ticker_wait(ticker *t);
void realtime_ask(const member *me, report *r, int priority);

uint64_t clock_ns(void);            /* CLOCK_MONOTONIC                      */

/* A fast checksum of `bytes` bytes, a multiple of 8.                      */
uint64_t checksum(const void *data, uint64_t bytes);

/* ---- the driver: driver.c, report.c ------------------------------------ */

typedef struct options {
    double   seconds;
    uint64_t camera_mb;
    bool     json, realtime;
} options;

enum { MEMBERS = 8 };

enum {                              /* reports; first of those that tick    */
    REPORT_METRONOME, REPORT_SENSOR, REPORT_CONTROLLER, REPORT_FILTER,
    REPORT_REC_SENSOR, REPORT_REC_STATE, REPORT_REC_COMMAND, REPORT_CAMERA,
    REPORT_VIEWER_A, REPORT_VIEWER_B, REPORTS
};
enum { TICKERS = REPORT_CONTROLLER + 1 };

/* A process that the driver started.                                      */
typedef struct child {
    const char *name;
    const role *role;
    int32_t  pid;                   /* 0: not running                       */
    uint32_t starts;
    uint64_t started_ns;
    double   cpu_s, wall_s;         /* of all its runs                      */
} child;

/* What the driver knows at the end.  Window 0 is before the kill, 1 around
 * it, 2 the whole run.                                                    */
typedef struct outcome {
    child    children[MEMBERS];
    report   reports[REPORTS];
    report   windows[3][TICKERS];
    double   window_s;
    uint64_t kill_ns, dead_ns, run_ns;
    uint64_t problems;
    int      left;                  /* files left in the folder             */
    bool     interrupted;
} outcome;

extern const char *const report_names[REPORTS];

int  driver_main(const options *opt);
void problem(outcome *out, const char *format, ...) SHMI_PRINTF(2, 3);
void outcome_check(outcome *out);
void outcome_print(const outcome *out, bool json);

#endif /* DEMO_H */
