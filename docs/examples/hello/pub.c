#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
int main(void) {
    shmc_pub pub;
    if (shmc_pub_open(&pub, "robot/pose", NULL) < 0) return 1;
    shmc_pub_send(&pub, "hello", 6, SHMC_FOREVER);
    return shmc_pub_close(&pub);
}
