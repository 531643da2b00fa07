#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"
int main(void) {
    shmc_push push;
    if (shmc_push_open(&push, "robot/jobs", NULL) < 0) return 1;
    shmc_push_send(&push, "weld", 5, SHMC_FOREVER);
    return shmc_push_close(&push);
}
