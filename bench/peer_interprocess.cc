// peer_interprocess.cc - see peer_interprocess.h.
// SPDX-License-Identifier: MIT
#include "peer_interprocess.h"

#if BENCH_HAS_INTERPROCESS
#include <boost/interprocess/ipc/message_queue.hpp>

#include <new>

using boost::interprocess::create_only;
using boost::interprocess::message_queue;

void *
boost_mq_make(const char *name, size_t messages, size_t bytes)
{
    try {
        message_queue::remove(name);
        void *const q = new message_queue(create_only, name, messages, bytes);
        message_queue::remove(name);
        return q;
    } catch (...) {
        message_queue::remove(name);
        return nullptr;
    }
}

void
boost_mq_drop(void *q)
{
    delete static_cast<message_queue *>(q);
}

int
boost_mq_put(void *q, const void *message, size_t bytes, int wait)
{
    message_queue *const queue = static_cast<message_queue *>(q);

    try {
        if (!wait) return queue->try_send(message, bytes, 0);
        queue->send(message, bytes, 0);
        return 1;
    } catch (...) {
        return -1;
    }
}

int
boost_mq_take(void *q, void *message, size_t bytes, int wait)
{
    message_queue *const queue = static_cast<message_queue *>(q);
    message_queue::size_type got = 0;
    unsigned priority = 0;

    try {
        if (!wait && !queue->try_receive(message, bytes, got, priority)) return 0;
        if (wait) queue->receive(message, bytes, got, priority);
        return got == bytes ? 1 : -1;
    } catch (...) {
        return -1;
    }
}

#endif
