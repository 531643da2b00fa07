#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"
#include <stdio.h>
int main(void) {
    shmc_pull pull; char job[64];
    if (shmc_pull_open(&pull, "robot/jobs", NULL) < 0) return 1;
    if (shmc_pull_recv(&pull, job, sizeof job, SHMC_FOREVER) > 0) puts(job);
    return shmc_pull_close(&pull);
}
