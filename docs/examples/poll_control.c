/* A control loop: commands and poses when they come, a tick every 10 ms, and
 * an alarm when the poses stop.                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "shmcomm_poll.h"

#include <stdio.h>

int
main(void)
{
    shmc_timer tick = { 0 };
    shmc_pub sensor;
    shmc_sub pose, command;
    double p[3] = { 0 };
    char text[32];
    int ticks = 0, running = 1;

    if (shmc_pub_open(&sensor, "example/poll/pose", NULL) < 0) return 1;
    if (shmc_sub_open(&pose, "example/poll/pose", NULL) < 0) return 1;
    if (shmc_sub_open(&command, "example/poll/command", NULL) < 0) return 1;
    shmc_timer_start(&tick, 10000000, 10000000);

    shmc_poll_item items[] = {
        { .of = shmc_sub_pollable(&pose), .events = SHMC_POLLIN,
          .silence_ns = 50000000 },
        { .of = shmc_sub_pollable(&command), .events = SHMC_POLLIN },
        { .of = shmc_timer_pollable(&tick), .events = SHMC_POLLIN },
    };
    while (running && shmc_poll(items, 3, SHMC_FOREVER) > 0) {
        if (items[0].revents & SHMC_POLLIN)
            shmc_sub_recv(&pose, p, sizeof p, 0);
        if (items[0].revents & SHMC_POLLDEADLINE) {
            printf("no pose for 50 ms, after tick %d\n", ticks > 3 ? 3 : ticks);
            running = 0;
        }
        if (items[1].revents & SHMC_POLLIN)
            shmc_sub_recv(&command, text, sizeof text, 0);
        if (items[2].revents & SHMC_POLLIN) {
            ticks += shmc_timer_read(&tick);
            if (ticks <= 3) shmc_pub_send(&sensor, p, sizeof p, 0);
        }
    }

    shmc_sub_close(&command);
    shmc_sub_close(&pose);
    return shmc_pub_close(&sensor);
}
