/* Jobs for many workers.  A worker that is killed with a job in hand hands
 * it back: somebody else gets it.                                         */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct job { uint32_t number, work; } job;

static const shmc_segment_desc place = { .flags = SHMC_EPHEMERAL };
static const shmc_mpmc_desc desc = { .slot_bytes = sizeof(job), .waitable = 1 };

static int
worker(void)
{
    shmc_segment segment;
    shmc_mpmc jobs;
    job j;
    int done = 0;

    /* A child opens its own handles: those of its parent are refused.     */
    if (shmc_segment_open(&segment, "example/jobs", &place) < 0) return 1;
    if (shmc_mpmc_open(&jobs, &segment, "jobs", &desc, SHMC_CONSUMER) < 0)
        return 1;
    while (shmc_mpmc_pop_wait(&jobs, &j, sizeof j, -1) == SHMC_OK && j.work)
        done++;
    printf("worker %d did %d jobs\n", (int)getpid(), done);
    shmc_mpmc_close(&jobs);
    return shmc_segment_close(&segment);
}

int
main(void)
{
    shmc_segment segment;
    shmc_mpmc jobs;

    for (int i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child < 0) return 1;
        if (child == 0) return worker();
    }
    if (shmc_segment_open(&segment, "example/jobs", &place) < 0) return 1;
    if (shmc_mpmc_open(&jobs, &segment, "jobs", &desc, SHMC_PRODUCER) < 0)
        return 1;
    for (uint32_t i = 0; i < 1002; i++) {
        job j = { i, i < 1000 };    /* the last two say: no more work       */
        shmc_mpmc_push_wait(&jobs, &j, sizeof j, -1);
    }
    while (wait(NULL) > 0) { }
    shmc_mpmc_close(&jobs);
    return shmc_segment_close(&segment);
}
