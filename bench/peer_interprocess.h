/* peer_interprocess.h - boost::interprocess::message_queue, for C.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_PEER_INTERPROCESS_H
#define SHMCOMM_BENCH_PEER_INTERPROCESS_H

#include <stddef.h>

#if defined(__has_include)
#if __has_include(<boost/interprocess/ipc/message_queue.hpp>)
#define BENCH_HAS_INTERPROCESS 1
#endif
#endif
#if !defined(BENCH_HAS_INTERPROCESS) && BENCH_PEERS
#error "no <boost/interprocess/ipc/message_queue.hpp>: install libboost-dev"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* make   a queue of so many messages, whose name is gone when it returns, to
 *        be used in this process and in those that it forks; NULL: none
 * put    1 went, 0 no room, -1 failed; `wait`: until there is room
 * take   the same, with a message of `bytes` bytes                        */
void *boost_mq_make(const char *name, size_t messages, size_t bytes);
void boost_mq_drop(void *q);
int boost_mq_put(void *q, const void *message, size_t bytes, int wait);
int boost_mq_take(void *q, void *message, size_t bytes, int wait);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_BENCH_PEER_INTERPROCESS_H */
