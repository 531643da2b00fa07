/* peer_boost.h - boost::lockfree's spsc_queue and queue, for C.
 *
 * Both with their capacity fixed when compiled, so that the queue is one
 * object without pointers, in memory that processes share.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_PEER_BOOST_H
#define SHMCOMM_BENCH_PEER_BOOST_H

#include <stddef.h>
#include <stdint.h>

#define PEER_BOOST_SLOTS 1024

#if defined(__has_include)
#if __has_include(<boost/lockfree/queue.hpp>)
#define BENCH_HAS_BOOST 1
#endif
#endif
#if !defined(BENCH_HAS_BOOST) && BENCH_PEERS
#error "no <boost/lockfree/queue.hpp>: install libboost-dev"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* make     build a queue in the memory; returns its bytes
 * produce  push n messages, from number `first` on, as bench_fill makes them
 * consume  pop n messages; returns what bench_sum over them comes to
 * Between two tries idle(worker) is called; NULL: nothing.                */
#define PEER_BOOST_DECLARE(KIND, BYTES)                                       \
    size_t boost_##KIND##_##BYTES##_make(void *q);                            \
    void boost_##KIND##_##BYTES##_produce(void *q, uint64_t first,            \
        uint64_t n, void (*idle)(void *), void *worker);                      \
    uint64_t boost_##KIND##_##BYTES##_consume(void *q, uint64_t n,            \
        void (*idle)(void *), void *worker)

PEER_BOOST_DECLARE(spsc, 8);
PEER_BOOST_DECLARE(spsc, 64);
PEER_BOOST_DECLARE(queue, 8);
PEER_BOOST_DECLARE(queue, 64);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_BENCH_PEER_BOOST_H */
