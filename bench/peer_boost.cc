// peer_boost.cc - the loops over boost::lockfree's queues; see peer_boost.h.
// SPDX-License-Identifier: MIT
#include "peer_boost.h"

#if BENCH_HAS_BOOST
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include <new>

namespace {

template <size_t bytes> struct message { uint64_t word[bytes / 8]; };

template <size_t bytes>
using spsc = boost::lockfree::spsc_queue<
    message<bytes>, boost::lockfree::capacity<PEER_BOOST_SLOTS>>;

template <size_t bytes>
using queue = boost::lockfree::queue<
    message<bytes>, boost::lockfree::capacity<PEER_BOOST_SLOTS>>;

template <typename Q, size_t bytes>
void produce(void *memory, uint64_t first, uint64_t n, void (*idle)(void *),
             void *worker)
{
    Q &q = *static_cast<Q *>(memory);

    for (uint64_t i = 0; i < n; i++) {
        message<bytes> m;
        for (size_t w = 0; w < bytes / 8; w++) m.word[w] = first + i + w;
        while (!q.push(m))
            if (idle != nullptr) idle(worker);
    }
}

template <typename Q, size_t bytes>
uint64_t consume(void *memory, uint64_t n, void (*idle)(void *), void *worker)
{
    Q &q = *static_cast<Q *>(memory);
    uint64_t sum = 0;

    for (uint64_t i = 0; i < n; i++) {
        message<bytes> m;
        while (!q.pop(m))
            if (idle != nullptr) idle(worker);
        for (size_t w = 0; w < bytes / 8; w++) sum += m.word[w];
    }
    return sum;
}

} // namespace

#define PEER_BOOST_DEFINE(KIND, BYTES)                                         \
    size_t boost_##KIND##_##BYTES##_make(void *q)                             \
    {                                                                         \
        new (q) KIND<BYTES>;                                                  \
        return sizeof(KIND<BYTES>);                                           \
    }                                                                         \
    void boost_##KIND##_##BYTES##_produce(void *q, uint64_t first,            \
        uint64_t n, void (*idle)(void *), void *worker)                       \
    {                                                                         \
        produce<KIND<BYTES>, BYTES>(q, first, n, idle, worker);               \
    }                                                                         \
    uint64_t boost_##KIND##_##BYTES##_consume(void *q, uint64_t n,            \
        void (*idle)(void *), void *worker)                                   \
    {                                                                         \
        return consume<KIND<BYTES>, BYTES>(q, n, idle, worker);               \
    }

PEER_BOOST_DEFINE(spsc, 8)
PEER_BOOST_DEFINE(spsc, 64)
PEER_BOOST_DEFINE(queue, 8)
PEER_BOOST_DEFINE(queue, 64)
#endif
