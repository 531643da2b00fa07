/* viewer.c - checks each picture where it lies in shared memory.
 *
 * SPDX-License-Identifier: MIT                                            */
#include "demo.h"

/* What was seen in a frame.  It may be believed after the release only.   */
typedef struct look {
    message_head head;
    bool intact;
} look;

/* Another process wrote this, and may be writing it again at this moment:
 * load each word once, and check it before it is used as a length.        */
static look
frame_look(const void *data, uint32_t bytes)
{
    look seen = { { 0, 0, 0 }, false };
    frame f;

    if (bytes < sizeof f) return seen;
    memcpy(&f, data, sizeof f);
    seen.head = f.head;
    seen.intact = f.bytes <= bytes - sizeof f &&
        checksum((const uint8_t *)data + sizeof f, f.bytes) == f.checksum;
    return seen;
}

int
viewer_main(member *me)
{
    static reporter rep;
    inlet in;
    const void *data;

    int r = reporter_open(&rep, me, me->role->name);
    if (r == SHMC_OK) r = inlet_open(&in, me, "camera", &rep.r);
    if (r != SHMC_OK) return r;
    for (;;) {
        const bool stop = member_stops(me);     /* then look at what is left */
        r = shmc_sub_borrow(&in.sub, &data, stop ? 0 : WAIT_NS);
        if (r == SHMC_ETIMEDOUT) continue;
        if (r < 0) break;
        const uint64_t now = clock_ns();
        const look seen = frame_look(data, (uint32_t)r);
        r = shmc_sub_release(&in.sub);
        /* Overwritten while we looked: lost, and counted as such.         */
        if (r == SHMC_ELAPPED) continue;
        if (r != SHMC_OK) break;
        if (!seen.intact) rep.r.torn++;
        inlet_count(&in, &seen.head, now);
        reporter_show(&rep);
    }
    inlet_close(&in);
    reporter_close(&rep);
    return r == SHMC_EAGAIN ? SHMC_OK : r;
}
