/* Who is there: waiting for a topic, its attributes, and who comes and goes. */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_names.h"
#include "shmcomm_peers.h"
#include "shmcomm_poll.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Publishes for a moment, and crashes.                                     */
static void
camera(void)
{
    shmc_pub pub;

    if (shmc_pub_open(&pub, "example/peers", NULL) < 0) _exit(1);
    usleep(100000);
    abort();
}

int
main(void)
{
    const pid_t child = fork();
    shmc_peer_event e;
    shmc_name_info info;
    shmc_peers peers;

    if (child == 0) camera();
    if (shmc_wait_for("example/peers", NULL, 5000000000) < 0) return 1;
    if (shmc_name_look("example/peers", NULL, &info) < 0) return 1;
    printf("%s: %s\n", info.name, info.live ? "live" : "dead");

    if (shmc_peers_open(&peers, "example/peers", NULL) < 0) return 1;
    shmc_poll_item item = { .of = shmc_peers_pollable(&peers),
                            .events = SHMC_POLLIN };
    e.what = 0;
    while (e.what != SHMC_PEER_DIED && shmc_poll(&item, 1, SHMC_FOREVER) > 0)
        while (shmc_peers_next(&peers, &e) == SHMC_OK)
            printf("%s %s\n", e.pid == child ? "camera" : "somebody",
                   shmc_peer_what(e.what));
    shmc_peers_close(&peers);
    waitpid(child, NULL, 0);

    shmc_pub again;                     /* removes what the dead one left   */
    if (shmc_pub_open(&again, "example/peers", NULL) < 0) return 1;
    return shmc_pub_close(&again);
}
