#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"
#include <stdio.h>
int main(void) {
    shmc_req req; char text[64];
    if (shmc_req_open(&req, "robot/echo", NULL) < 0) return 1;
    if (shmc_req_call(&req, "hello", 6, text, 64, SHMC_FOREVER) > 0) puts(text);
    return shmc_req_close(&req);
}
