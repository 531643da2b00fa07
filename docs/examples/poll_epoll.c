/* A subscriber in somebody else's event loop: here, epoll's.               */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "shmcomm_poll.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

int
main(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    const int loop = epoll_create1(EPOLL_CLOEXEC);
    int heard = 0;
    char text[32];
    shmc_poll_fd fd;
    shmc_pub pub;
    shmc_sub sub;

    if (shmc_pub_open(&pub, "example/epoll", NULL) < 0) return 1;
    if (shmc_sub_open(&sub, "example/epoll", NULL) < 0) return 1;
    for (int i = 0; i < 3; i++) shmc_pub_send(&pub, "hello", 6, 0);

    shmc_poll_item item = { .of = shmc_sub_pollable(&sub), .events = SHMC_POLLIN };
    if (shmc_poll_fd_open(&fd, 1) < 0) return 1;
    epoll_ctl(loop, EPOLL_CTL_ADD, shmc_poll_fd_get(&fd), &event);
    shmc_poll_fd_next(&fd, &item, 1);           /* before the first wait    */
    while (heard < 3 && epoll_wait(loop, &event, 1, -1) == 1) {
        if (shmc_poll_fd_next(&fd, &item, 1) <= 0) continue;
        if (shmc_sub_recv(&sub, text, sizeof text, 0) >= 0) heard++;
    }
    shmc_poll_fd_close(&fd);                    /* before its objects       */

    printf("%d times %s\n", heard, text);
    close(loop);
    shmc_sub_close(&sub);
    return shmc_pub_close(&pub);
}
