/* histogram.h - how often each length of time occurred, in buckets that are
 * at most 1/16 wide: 16 for each power of two, from 1 ns to 68 s.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef DEMO_HISTOGRAM_H
#define DEMO_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 16, HISTOGRAM_BUCKETS = 33 * HISTOGRAM_STEPS };

typedef struct histogram {
    uint64_t count, max_ns;
    uint32_t bucket[HISTOGRAM_BUCKETS];
} histogram;

static inline uint32_t
histogram_index(uint64_t ns)
{
    uint32_t octave = 0;

    if (ns >> 36 != 0) return HISTOGRAM_BUCKETS - 1;
    while (ns >> octave >= 2 * HISTOGRAM_STEPS) octave++;
    return octave * HISTOGRAM_STEPS + (uint32_t)(ns >> octave);
}

/* The longest time that falls into bucket i.                              */
static inline uint64_t
histogram_top_ns(uint32_t i)
{
    if (i < 2 * HISTOGRAM_STEPS) return i;
    const uint32_t octave = i / HISTOGRAM_STEPS - 1;
    const uint64_t step = i % HISTOGRAM_STEPS + HISTOGRAM_STEPS;
    return ((step + 1) << octave) - 1;
}

static inline void
histogram_add(histogram *h, uint64_t ns)
{
    h->bucket[histogram_index(ns)]++;
    h->count++;
    if (ns > h->max_ns) h->max_ns = ns;
}

/* The time that the given share (0.99: p99) of all did not exceed.        */
static inline uint64_t
histogram_at_ns(const histogram *h, double share)
{
    const double want = share * (double)h->count;
    uint64_t seen = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen == 0 || (double)seen < want) continue;
        const uint64_t top = histogram_top_ns(i);
        return top < h->max_ns ? top : h->max_ns;
    }
    return h->max_ns;
}

/* What was added between two looks; the maximum to a bucket's width.      */
static inline void
histogram_between(histogram *out, const histogram *from, const histogram *to)
{
    out->count = to->count - from->count;
    out->max_ns = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        out->bucket[i] = to->bucket[i] - from->bucket[i];
        if (out->bucket[i] != 0) out->max_ns = histogram_top_ns(i);
    }
    if (out->max_ns > to->max_ns) out->max_ns = to->max_ns;
}

#endif /* DEMO_HISTOGRAM_H */
