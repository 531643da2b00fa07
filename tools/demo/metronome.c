/* metronome.c - a 1 kHz loop that does nothing: what it misses is the
 * machine's doing.  The yardstick for sensor and controller.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

int
metronome_main(member *me)
{
    static reporter rep;
    ticker clock;

    const int r = reporter_open(&rep, me, "metronome");
    if (r != SHMC_OK) return r;
    realtime_ask(me, &rep.r, 30);
    ticker_start(&clock, me, TICK_NS, TICK_NS / 4, &rep.r);
    while (!member_stops(me)) {
        ticker_wait(&clock);
        reporter_show(&rep);
    }
    reporter_close(&rep);
    return SHMC_OK;
}
