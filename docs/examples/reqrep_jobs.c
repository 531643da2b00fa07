/* A client with several requests on their way, an answer in parts, frames in
 * place, and a server that is slower than its client is patient.          */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"

#include <pthread.h>
#include <stdio.h>

static void *
serve(void *arg)
{
    shmc_rep rep;
    void *frame;
    char text[64];

    if (shmc_rep_open(&rep, "example/jobs", arg) < 0) return NULL;
    for (;;) {
        const int bytes = shmc_rep_recv(&rep, text, sizeof text, SHMC_FOREVER);
        if (bytes <= 0 || strcmp(text, "stop") == 0) break;
        if (strcmp(text, "count") == 0) {
            for (int i = 1; i < 3; i++)     /* each waits for the one before */
                shmc_rep_send_more(&rep, &i, sizeof i, SHMC_FOREVER);
            shmc_rep_send(&rep, &(int){ 3 }, sizeof(int), SHMC_FOREVER);
        } else if (strcmp(text, "frame") == 0) {
            if (shmc_rep_loan(&rep, 1 << 20, &frame, SHMC_FOREVER) < 0) break;
            memset(frame, 7, 1 << 20);      /* the sensor's DMA, say        */
            shmc_rep_commit(&rep, 1 << 20);
        } else {
            shmc_rep_send(&rep, text, (uint32_t)bytes, SHMC_FOREVER);
        }
    }
    shmc_rep_close(&rep);
    return NULL;
}

int
main(void)
{
    shmc_rep_desc shape = { .max_bytes = 64, .max_reply_bytes = 1 << 20,
                            .max_clients = 2, .max_outstanding = 4 };
    const void *view;
    pthread_t server;
    shmc_req req;
    char text[64];
    int n = 0;

    if (pthread_create(&server, NULL, serve, &shape) != 0) return 1;
    if (shmc_req_open(&req, "example/jobs", NULL) < 0) return 1;
    /* Two at once; each answer says what it answers.                      */
    const int a = shmc_req_send(&req, "a", 2, SHMC_FOREVER);
    const int b = shmc_req_send(&req, "b", 2, SHMC_FOREVER);
    if (a < 0 || b < 0) return 1;
    for (int i = 0; i < 2; i++) {
        shmc_req_recv(&req, SHMC_ANY_CALL, text, sizeof text, SHMC_FOREVER);
        printf("%s is of %s\n", text, shmc_req_from(&req) == a ? "a" : "b");
    }
    /* An answer in parts.                                                 */
    int r = shmc_req_call(&req, "count", 6, &n, sizeof n, SHMC_FOREVER);
    while (r > 0 && shmc_req_more(&req)) {
        printf("%d, ", n);
        r = shmc_req_recv(&req, shmc_req_from(&req), &n, sizeof n, SHMC_FOREVER);
    }
    printf("%d\n", n);
    /* A megabyte that nobody copies.                                      */
    const int frame = shmc_req_send(&req, "frame", 6, SHMC_FOREVER);
    const int bytes = shmc_req_borrow(&req, frame, &view, SHMC_FOREVER);
    if (bytes < 0) return 1;
    printf("frame of %d bytes, shade %d\n", bytes, *(const char *)view);
    shmc_req_release(&req);
    shmc_req_post(&req, "stop", 5, SHMC_FOREVER);       /* no answer wanted */
    pthread_join(server, NULL);
    /* Nobody is there by now: this waits, and is given up.                */
    r = shmc_req_call(&req, "a", 2, text, sizeof text, 1000000);
    printf("%s\n", shmc_error_name(r));
    return shmc_req_close(&req) + (r != SHMC_ETIMEDOUT);
}
