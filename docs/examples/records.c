/* Messages of any length from one process to another, in order.           */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_recq.h"

#include <stdio.h>

int
main(void)
{
    shmc_segment_desc place = { .flags = SHMC_EPHEMERAL };
    shmc_recq_desc desc = { .capacity_bytes = 4096 };
    shmc_segment segment;
    shmc_recq in, out;
    const void *line;
    int bytes;

    if (shmc_segment_open(&segment, "example/log", &place) < 0) return 1;
    if (shmc_recq_open(&in, &segment, "log", &desc, SHMC_PRODUCER) < 0)
        return 1;
    if (shmc_recq_open(&out, &segment, "log", &desc, SHMC_CONSUMER) < 0)
        return 1;
    shmc_recq_push(&in, "short", 5);
    shmc_recq_push(&in, "rather longer", 13);
    while ((bytes = shmc_recq_borrow(&out, &line)) >= 0) {  /* in place     */
        printf("%d: %.*s\n", bytes, bytes, (const char *)line);
        shmc_recq_release(&out);
    }
    shmc_recq_close(&out);
    shmc_recq_close(&in);
    return bytes == SHMC_EAGAIN ? shmc_segment_close(&segment) : 1;
}
