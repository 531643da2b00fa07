/* demo.c - a small control system of several processes, fed with what this
 * machine really does.  One of them is killed on the way.
 *
 *     demo                     the driver: starts, watches, kills, sums up
 *     demo --role ROLE BASE    how the driver starts itself again, as a role
 *
 * Start reading at sensor.c, filter.c and controller.c; demo.h says what
 * they send each other, driver.c who starts them.  Manual: docs/demo.md
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

/* In the order in which they are started: who listens first.  Any order
 * works; in this one nothing is said before somebody hears it.            */
const role roles[] = {
    { "recorder", recorder_main, STAGE_SINKS },
    { "viewer-a", viewer_main, STAGE_SINKS },
    { "viewer-b", viewer_main, STAGE_SINKS },
    { "controller", controller_main, STAGE_CONTROLLER },
    { "filter", filter_main, STAGE_FILTER },
    { "sensor", sensor_main, STAGE_SOURCES },
    { "camera", camera_main, STAGE_SOURCES },
    { "metronome", metronome_main, STAGE_SOURCES },
    { NULL, NULL, 0 }
};
SHMC_STATIC_ASSERT(sizeof roles / sizeof roles[0] == MEMBERS + 1, "MEMBERS");

static void
usage(FILE *to)
{
    fputs(
"usage: demo [--seconds N] [--camera-mb N] [--no-realtime] [--json]\n"
"\n"
"Runs a small control system of processes that talk through shared memory: a\n"
"sensor that reads this machine's own counters at 1 kHz, a filter, a controller\n"
"at 1 kHz, a recorder, and a camera with two viewers; and, for comparison, a\n"
"metronome that only ticks.  Half-way the filter is killed and started again.\n"
"Ends with what was sent, lost and late.\n"
"\n"
"  --seconds N    how long, 2 to 3600 [10]\n"
"  --camera-mb N  size of a camera's picture in MB, 1 to 64 [4]\n"
"  --no-realtime  do not ask for SCHED_FIFO for sensor and controller, which\n"
"                 only root is granted\n"
"  --json         print the final table as JSON, one object a line\n"
"\n"
"Exit status: 0 if all went well, 1 if a message was lost without a cause, a\n"
"picture was torn, or a process starved or ended by itself, 2 for bad options.\n",
        to);
}

static bool
number(const char *text, double least, double most, double *out)
{
    char *end;

    *out = text != NULL ? strtod(text, &end) : 0;
    return text != NULL && end != text && *end == '\0' && *out >= least &&
           *out <= most;
}

/* Returns 1 to go on, 0 when done, -1 for options that make no sense.     */
static int
options_read(options *opt, char **argv)
{
    double mb;

    *opt = (options){ .seconds = 10, .camera_mb = 4, .realtime = true };
    for (char **arg = argv + 1; *arg != NULL; arg++) {
        if (strcmp(*arg, "--help") == 0 || strcmp(*arg, "-h") == 0) {
            usage(stdout);
            return 0;
        } else if (strcmp(*arg, "--json") == 0) {
            opt->json = true;
        } else if (strcmp(*arg, "--no-realtime") == 0) {
            opt->realtime = false;
        } else if (strcmp(*arg, "--seconds") == 0) {
            if (!number(*++arg, 2, 3600, &opt->seconds)) return -1;
        } else if (strcmp(*arg, "--camera-mb") == 0) {
            if (!number(*++arg, 1, 64, &mb)) return -1;
            opt->camera_mb = (uint64_t)mb;
        } else {
            return -1;
        }
    }
    return 1;
}

static int
role_run(const char *name, const char *base)
{
    member me;

    for (const role *as = roles; as->name != NULL; as++) {
        if (strcmp(as->name, name) != 0) continue;
        int r = member_join(&me, as, base);
        if (r == SHMC_OK) r = as->main(&me);
        if (r != SHMC_OK) {
            fprintf(stderr, "demo: %s: %s: %s\n", name, shmc_strerror(r),
                    shmc_last_error());
            return 1;
        }
        member_leave(&me);
        return 0;
    }
    return 2;
}

int
main(int argc, char **argv)
{
    options opt;

    if (argc == 4 && strcmp(argv[1], "--role") == 0)
        return role_run(argv[2], argv[3]);
    const int go = options_read(&opt, argv);
    if (go < 0) usage(stderr);
    return go > 0 ? driver_main(&opt) : go < 0 ? 2 : 0;
}
