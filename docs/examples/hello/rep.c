#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"
int main(void) {
    shmc_rep rep; char text[64];
    if (shmc_rep_open(&rep, "robot/echo", NULL) < 0) return 1;
    if (shmc_rep_recv(&rep, text, sizeof text, SHMC_FOREVER) > 0)
        shmc_rep_send(&rep, "world", 6, SHMC_FOREVER);
    return shmc_rep_close(&rep);
}
