/* Frames without copies: written where they are read.                     */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include <stdio.h>

enum { FRAME_BYTES = 1 << 20 };

int
main(void)
{
    shmc_topic_desc desc = { .max_bytes = FRAME_BYTES, .max_publishers = 1,
                             .depth = 4 };
    shmc_pub camera;
    shmc_sub viewer;
    void *loan;
    const void *view;
    int bytes;

    if (shmc_pub_open(&camera, "example/camera", &desc) < 0) return 1;
    if (shmc_sub_open(&viewer, "example/camera", NULL) < 0) return 1;
    for (int frame = 0; frame < 3; frame++) {
        if (shmc_pub_loan(&camera, FRAME_BYTES, &loan, 0) < 0) return 1;
        memset(loan, frame, FRAME_BYTES);       /* the sensor's DMA, say    */
        shmc_pub_commit(&camera, FRAME_BYTES, 0);
        bytes = shmc_sub_borrow(&viewer, &view, 1000000000);
        const int shade = bytes > 0 ? *(const unsigned char *)view : -1;
        /* Believe nothing in a view before release says that it was whole. */
        if (shmc_sub_release(&viewer) == SHMC_OK)
            printf("frame of %d bytes, shade %d\n", bytes, shade);
    }
    shmc_sub_close(&viewer);
    return shmc_pub_close(&camera);
}
