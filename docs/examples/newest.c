/* A control loop that wants the newest value and never waits, and a publisher
 * that is never held up: neither by a slow reader nor by a dead one.      */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include <stdio.h>

int
main(void)
{
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 8,
                                   .when_full = SHMC_FULL_DROP_OLDEST };
    const shmc_sub_desc newest = { .conflate = true, .report_restart = true };
    shmc_pub pub;
    shmc_sub loop, recorder;
    uint32_t got;
    int r;

    if (shmc_pub_open(&pub, "example/speed", &desc) < 0) return 1;
    if (shmc_sub_open(&loop, "example/speed", &newest) < 0) return 1;
    if (shmc_sub_open(&recorder, "example/speed", NULL) < 0) return 1;
    for (uint32_t i = 1; i <= 20; i++)
        if (shmc_pub_send(&pub, &i, sizeof i, 0) != SHMC_OK) return 1;
    r = shmc_sub_recv(&loop, &got, sizeof got, 0);
    if (r == SHMC_RESTARTED) puts("another publisher: begin anew");
    if (r > 0) printf("newest %u, passed over %llu\n", got,
                      (unsigned long long)shmc_sub_skipped(&loop));
    r = shmc_sub_recv(&recorder, &got, sizeof got, 0);
    if (r > 0) printf("oldest %u, lost %llu\n", got,
                      (unsigned long long)shmc_sub_lost(&recorder));
    shmc_sub_close(&loop);
    shmc_sub_close(&recorder);
    return shmc_pub_close(&pub);
}
