/* shmcomm_viewer.c - a subscriber that only looks, and messages in memory.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_viewer.h"

#include <stdlib.h>
#include <string.h>

void
buffer_need(buffer *b, size_t room)
{
    if (room <= b->room) return;
    if (room < 2 * b->room) room = 2 * b->room;
    b->data = realloc(b->data, room);
    if (b->data == NULL) cli_no_memory();
    b->room = room;
}

int
viewer_open(viewer *v, const cli *c, const char *topic, int32_t history)
{
    memset(v, 0, sizeof *v);
    v->c = c;
    v->topic = topic;
    v->desc.flags = SHMC_READ_ONLY;
    v->desc.report_loss = true;
    v->desc.history = history;
    v->desc.dir = c->dir;
    v->desc.prefix = c->prefix;
    if (shmc_sub_open(&v->sub, topic, &v->desc) != SHMC_OK)
        return cli_fail("%s", shmc_last_error());
    return 0;
}

int
viewer_peek(viewer *v, const cli *c, const char *topic, int32_t history)
{
    shmc_bcast_desc desc;

    memset(v, 0, sizeof *v);
    memset(&desc, 0, sizeof desc);
    v->c = c;
    v->topic = topic;
    v->peek = true;
    desc.history = history;
    int r = cli_inspect(c, &v->segment, topic);
    if (r != SHMC_OK) return cli_fail_name(c, topic);
    r = shmc_bcast_open(&v->ring, &v->segment, CLI_TOPIC_OBJECT, &desc,
                        SHMC_WATCHER);
    if (r == SHMC_OK) return 0;
    shmc_segment_close(&v->segment);
    return cli_fail("%s", shmc_last_error());
}

void
viewer_close(viewer *v)
{
    if (v->peek) {
        shmc_bcast_close(&v->ring);
        shmc_segment_close(&v->segment);
    } else {
        shmc_sub_close(&v->sub);
    }
}

int
viewer_follow(viewer *v)
{
    const int ready = shmc_sub_ready(&v->sub);

    if (ready < 0) return cli_fail("%s", shmc_last_error());
    if (ready == 0 && !v->waited) {
        fprintf(stderr, "waiting for topic '%s'%s\n", v->topic,
                cli_name_hint(v->c, v->topic).s);
        v->waited = true;
    }
    if (ready == 0 || shmc_segment_linked(&v->sub.segment) != 0) return 0;
    shmc_sub_close(&v->sub);
    v->waited = false;
    if (shmc_sub_open(&v->sub, v->topic, &v->desc) != SHMC_OK)
        return cli_fail("%s", shmc_last_error());
    return 0;
}

int
viewer_recv(viewer *v, buffer *b, int64_t timeout_ns)
{
    shmc_bcast *ring = v->peek ? &v->ring : &v->sub.ring;

    for (;;) {
        const uint32_t room = b->room < LONGEST_MESSAGE ? (uint32_t)b->room
                                                         : LONGEST_MESSAGE;
        int r = v->peek
              ? shmc_bcast_recv_wait(ring, b->data, room, timeout_ns)
              : shmc_sub_recv(&v->sub, b->data, room, timeout_ns);
        if (r >= SHMC_META_BYTES && v->peek && ring->mark == SHMC_META) {
            r -= SHMC_META_BYTES;   /* a subscriber does that by itself     */
            memmove(b->data, b->data + SHMC_META_BYTES, (size_t)r);
        }
        if (r >= 0) {
            b->bytes = (size_t)r;
            return 1;
        }
        if (r == SHMC_EMSGSIZE) {
            r = shmc_bcast_next_bytes(ring);
            if (r >= 0) buffer_need(b, (size_t)r);
            if (r >= 0 || r == SHMC_EAGAIN) continue;
        }
        if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) return 0;
        if (r != SHMC_ELAPPED) return r;
        v->gap += shmc_bcast_gap(ring);
        v->lost += shmc_bcast_gap(ring);
    }
}
