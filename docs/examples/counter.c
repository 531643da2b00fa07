/* A counter that its owner bumps for a nanosecond and anybody may read.   */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_counter.h"

#include <stdio.h>

int
main(void)
{
    shmc_segment_desc place = { .flags = SHMC_EPHEMERAL };
    shmc_segment segment;
    shmc_counter ticks, reader;

    if (shmc_segment_open(&segment, "example/counter", &place) < 0) return 1;
    if (shmc_counter_open(&ticks, &segment, "ticks", true) < 0) return 1;
    for (int i = 0; i < 1000; i++) shmc_counter_add(&ticks, 1);
    if (shmc_counter_open(&reader, &segment, "ticks", false) < 0) return 1;
    printf("%llu ticks\n", (unsigned long long)shmc_counter_get(&reader));
    shmc_counter_close(&reader);
    shmc_counter_close(&ticks);
    return shmc_segment_close(&segment);
}
