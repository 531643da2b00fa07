/* How large must a lossy topic be, so that a subscriber may pause?
 *
 * usage: sizes [RATE_HZ BYTES PAUSE_MS PUBLISHERS]
 *
 * Says so, then opens such a topic (where it takes at most 256 MiB), and a
 * few times sends what comes in that pause and receives all of it.         */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAUSES = 20 };

/* What each publisher sends in a pause, and one more for each rounding.    */
static uint64_t
in_pause(uint64_t rate_hz, uint64_t pause_ms)
{
    return rate_hz * pause_ms / 1000 + 1;
}

/* All publishers' messages, up to a power of two; a small eighth is what a
 * subscriber must keep clear of who writes.                                */
static uint32_t
depth_for(uint64_t messages)
{
    uint64_t depth = 2;
    while (depth < messages + messages / 4) depth *= 2;
    return depth <= 1u << 24 ? (uint32_t)depth : 0;
}

/* A publisher's own: each message over 96 bytes takes its length in units of
 * 64 and 64 more; and room is made an eighth at a time.                    */
static uint64_t
arena_for(uint64_t messages, uint64_t bytes)
{
    const uint64_t each = (bytes + 63) / 64 * 64 + 64;
    const uint64_t least = 4 * each > 262144 ? 4 * each : 262144;
    const uint64_t most = (messages + 1) * each * 8 / 7;
    if (bytes <= SHMC_BCAST_INLINE_BYTES) return 0;
    return (most > least ? most : least) / 128 * 128 + 128;
}

static int
try_it(const shmc_topic_desc *d, uint64_t messages, void *buf)
{
    shmc_pub pub;
    shmc_sub sub;
    uint64_t got = 0;

    if (shmc_pub_open(&pub, "example/sizes", d) < 0) return 1;
    if (shmc_sub_open(&sub, "example/sizes", NULL) < 0) return 1;
    for (int pause = 0; pause < PAUSES; pause++) {
        for (uint64_t i = 0; i < messages; i++)
            if (shmc_pub_send(&pub, buf, d->max_bytes, 0) < 0) return 1;
        while (shmc_sub_recv(&sub, buf, d->max_bytes, 0) >= 0) got++;
    }
    printf("sent %llu in each pause, received %llu in %d, lost %llu\n",
           (unsigned long long)messages, (unsigned long long)got, PAUSES,
           (unsigned long long)shmc_sub_lost(&sub));
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    return got == PAUSES * messages ? 0 : 1;
}

int
main(int argc, char **argv)
{
    uint64_t in[4] = { 1000, 4096, 50, 1 };

    for (int i = 1; i < argc && i <= 4; i++) in[i - 1] = strtoull(argv[i], 0, 10);
    const uint64_t one = in_pause(in[0], in[2]);
    const shmc_topic_desc d = { .depth = depth_for(one * in[3]),
        .max_bytes = (uint32_t)in[1], .max_publishers = (uint32_t)in[3],
        .arena_bytes = arena_for(one, in[1]) };
    const shmc_bcast_desc ring = { .slot_count = d.depth,
        .max_bytes = d.max_bytes, .max_publishers = d.max_publishers,
        .arena_bytes = d.arena_bytes, .max_subscribers = 256 };
    const int64_t bytes = shmc_bcast_size_for(&ring);

    if (d.depth == 0 || bytes < 0) {
        fprintf(stderr, "sizes: %s\n", d.depth == 0 ? "a ring of over 2^24 "
                "messages" : shmc_last_error());
        return 1;
    }
    printf(".depth = %u, .max_bytes = %u, .max_publishers = %u, "
           ".arena_bytes = %llu: %.1f MiB\n", d.depth, d.max_bytes,
           d.max_publishers, (unsigned long long)d.arena_bytes,
           (double)bytes / 1048576);
    if (bytes > 256 << 20) return 0;
    void *buf = calloc(1, d.max_bytes ? d.max_bytes : 1);
    const int r = buf != NULL ? try_it(&d, one, buf) : 1;
    free(buf);
    return r;
}
