/* A struct of your own, shared by name: whoever comes first makes it.     */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm.h"

#include <stdio.h>

typedef struct config {
    double   gain;
    uint32_t rate_hz;
} config;

static int
config_init(void *mem, uint64_t bytes, const void *user)
{
    (void)bytes, (void)user;        /* runs once, before anybody sees it    */
    *(config *)mem = (config){ .gain = 0.5, .rate_hz = 1000 };
    return SHMC_OK;
}

int
main(void)
{
    shmc_segment_desc place = { .flags = SHMC_EPHEMERAL };
    shmc_object_desc desc = {
        .bytes = sizeof(config), .version = 1, .init = config_init,
        .type_name = "config",
        .type_hash = shmc_type_hash("config{f64 gain; u32 rate_hz}"),
    };
    shmc_segment segment;
    shmc_object object;

    if (shmc_segment_open(&segment, "example/object", &place) < 0) return 1;
    if (shmc_object_open(&segment, "config", &desc, &object) < 0) return 1;
    const config *shared = object.mem;
    printf("%s: gain %.1f at %u Hz\n", object.created ? "made" : "found",
           shared->gain, (unsigned)shared->rate_hz);
    shmc_object_close(&segment, &object);
    return shmc_segment_close(&segment);
}
