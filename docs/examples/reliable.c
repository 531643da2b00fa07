/* A topic that loses nothing: the publisher waits for its subscribers, but
 * not for dead ones, and no longer than it wants to.                      */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include <stdio.h>

int
main(void)
{
    shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 4 };
    shmc_pub pub;
    shmc_sub sub;
    uint32_t i, got;
    int r = SHMC_OK;

    if (shmc_pub_open(&pub, "example/orders", &desc) < 0) return 1;
    if (shmc_sub_open(&sub, "example/orders", NULL) < 0) return 1;
    for (i = 0; r == SHMC_OK; i++)
        r = shmc_pub_send(&pub, &i, sizeof i, 1000000);     /* up to 1 ms   */
    printf("send %u: %s\n", i, shmc_error_name(r));
    for (i = 0; shmc_sub_recv(&sub, &got, sizeof got, 0) > 0; i++)
        if (got != i) return 1;
    printf("received %u, lost %llu\n", i,
           (unsigned long long)shmc_sub_lost(&sub));
    shmc_sub_close(&sub);
    return shmc_pub_close(&pub);
}
