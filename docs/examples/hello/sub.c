#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include <stdio.h>
int main(void) {
    shmc_sub sub; char text[64];
    if (shmc_sub_open(&sub, "robot/pose", NULL) < 0) return 1;
    if (shmc_sub_recv(&sub, text, sizeof text, SHMC_FOREVER) > 0) puts(text);
    return shmc_sub_close(&sub);
}
