/* A queue between two threads, in a static array: no file, no malloc.     */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_ring.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>

static alignas(128) unsigned char memory[1 << 16];

static void *
producer(void *unused)
{
    shmc_spsc queue;

    (void)unused;
    if (shmc_spsc_map(&queue, memory, sizeof memory, SHMC_PRODUCER) < 0)
        return NULL;
    for (uint64_t i = 1; i <= 1000; i++)
        shmc_spsc_push_wait(&queue, &i, sizeof i, -1);
    shmc_spsc_close(&queue);
    return NULL;
}

int
main(void)
{
    shmc_spsc_desc desc = { .slot_bytes = 8, .slot_count = 64, .waitable = 1 };
    shmc_spsc queue;
    pthread_t thread;
    uint64_t sum = 0, value;

    if (shmc_spsc_format(memory, sizeof memory, &desc) < 0) return 1;
    if (shmc_spsc_map(&queue, memory, sizeof memory, SHMC_CONSUMER) < 0)
        return 1;
    pthread_create(&thread, NULL, producer, NULL);
    for (int i = 0; i < 1000; i++)
        if (shmc_spsc_pop_wait(&queue, &value, sizeof value, -1) == SHMC_OK)
            sum += value;
    pthread_join(thread, NULL);
    shmc_spsc_close(&queue);
    printf("sum %llu\n", (unsigned long long)sum);
    return sum == 500500 ? 0 : 1;
}
