/* Work for whoever is free.  A worker that dies with a job in hand leaves it
 * to another; and all of them know when there is no more.                  */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS = 1000, FATAL = 500 };

/* Who comes when all is done finds no queue, and would wait for the next.   */
#define PATIENCE_NS 3000000000

static int
worker(void)
{
    const shmc_pull_desc desc = { .until_end = true };
    const void *job;
    shmc_pull pull;
    int bytes, done = 0;

    if (shmc_pull_open(&pull, "example/work", &desc) < 0) return 1;
    while ((bytes = shmc_pull_borrow(&pull, &job, PATIENCE_NS)) > 0) {
        if (*(const int *)job == FATAL && shmc_pull_redeliveries(&pull) == 0)
            raise(SIGKILL);                     /* the next one gets it     */
        done++;
        shmc_pull_release(&pull);               /* only now it is done      */
    }
    printf("worker %d did %d jobs\n", (int)getpid(), done);
    shmc_pull_close(&pull);
    return bytes == SHMC_EEND ? 0 : 1;
}

int
main(void)
{
    const shmc_push_desc desc = { .depth = 64, .max_bytes = 8,
                                  .max_redeliveries = 3 };
    shmc_push push;

    for (int i = 0; i < 3; i++) {
        const pid_t child = fork();
        if (child < 0) return 1;
        if (child == 0) return worker();
    }
    if (shmc_push_open(&push, "example/work", &desc) < 0) return 1;
    for (int i = 0; i < JOBS; i++)
        if (shmc_push_send(&push, &i, sizeof i, SHMC_FOREVER) < 0) return 1;
    if (shmc_push_drain(&push, 10000000000) < 0) return 1;
    shmc_mpmc_stats stats;
    shmc_push_stats_get(&push, &stats);
    printf("%d jobs done, %d of them by another\n", (int)stats.popped,
           (int)stats.redelivered);
    shmc_push_close(&push);
    while (wait(NULL) > 0) { }
    return stats.popped == JOBS && stats.redelivered == 1 ? 0 : 1;
}
