/* The newest value only: the writer never waits, a reader never gets half. */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"

#include <stdio.h>

typedef struct pose { double x, y, heading; } pose;

int
main(void)
{
    shmc_segment_desc place = { .flags = SHMC_EPHEMERAL };
    shmc_latest_desc desc = { .value_bytes = sizeof(pose) };
    shmc_segment segment;
    shmc_latest writer, reader;
    uint64_t version;
    pose p = { 0 };

    if (shmc_segment_open(&segment, "example/pose", &place) < 0) return 1;
    if (shmc_latest_open(&writer, &segment, "pose", &desc, SHMC_PRODUCER) < 0)
        return 1;
    if (shmc_latest_open(&reader, &segment, "pose", &desc, SHMC_CONSUMER) < 0)
        return 1;
    for (int i = 1; i <= 3; i++) {
        p = (pose){ i, 2.0 * i, 0.1 };
        shmc_latest_write(&writer, &p, sizeof p);
    }
    if (shmc_latest_read(&reader, &p, sizeof p, &version) < 0) return 1;
    printf("x %.1f y %.1f (version %llu)\n", p.x, p.y,
           (unsigned long long)version);
    shmc_latest_close(&reader);
    shmc_latest_close(&writer);
    return shmc_segment_close(&segment);
}
