/* shmcomm_viewer.h - a subscriber that only looks, and messages in memory.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_VIEWER_H
#define SHMCOMM_VIEWER_H

#include "shmcomm_cli.h"

#define SECOND_NS 1000000000u
#define SLICE_NS  100000000u        /* how long a signal may go unseen      */
#define LONGEST_MESSAGE (UINT32_C(1) << 30)

typedef struct buffer {
    uint8_t *data;
    size_t bytes, room;
} buffer;

void buffer_need(buffer *b, size_t room);

typedef struct viewer {
    shmc_sub sub;
    shmc_segment segment;           /* to peek, in place of sub             */
    shmc_bcast ring;
    bool peek;
    const cli *c;
    const char *topic;
    shmc_sub_desc desc;
    uint64_t lost, gap;             /* in all; since the last message       */
    bool waited;                    /* "waiting" was said                   */
} viewer;

/* Subscribe; returns an exit status, and has said what is wrong.          */
int viewer_open(viewer *v, const cli *c, const char *topic, int32_t history);

/* Look at what is there now, unseen, and be no user of the topic.         */
int viewer_peek(viewer *v, const cli *c, const char *topic, int32_t history);
void viewer_close(viewer *v);

/* Say that the topic is not there yet.  If it lost its name (only by force)
 * subscribe again.                                                        */
int viewer_follow(viewer *v);

/* Receive into b.  Returns 1, 0 if nothing came, or a negative code.      */
int viewer_recv(viewer *v, buffer *b, int64_t timeout_ns);

#endif /* SHMCOMM_VIEWER_H */
