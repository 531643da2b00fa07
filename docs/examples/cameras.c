/* One subscriber for all topics under a name; each message says by whom and
 * when it was sent.                                                       */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include <stdio.h>

typedef struct frame { uint32_t number, shade; } frame;

int
main(void)
{
    const shmc_topic_desc desc = { .meta = SHMC_META, .type_name = "frame",
                                   .type_bytes = sizeof(frame) };
    const shmc_sub_desc all = { .type_name = "frame" };
    const char *names[] = { "camera/left", "camera/right" };
    shmc_pub pub[2];
    shmc_sub sub;
    shmc_msg_info info;
    frame f = { 0, 7 };

    if (shmc_sub_open(&sub, "camera/", &all) < 0) return 1;
    for (int i = 0; i < 2; i++) {
        if (shmc_pub_open(&pub[i], names[i], &desc) < 0) return 1;
        shmc_pub_header_set(&pub[i], "calibrated", 11, 0);
        shmc_pub_send(&pub[i], &f, sizeof f, 0);
    }
    for (int i = 0; i < 2; i++) {
        if (shmc_sub_recv(&sub, &f, sizeof f, SHMC_FOREVER) < 0) return 1;
        shmc_sub_info(&sub, &info);
        printf("%s, message %llu, of process %d, %s\n", info.topic,
               (unsigned long long)info.sequence, (int)info.pid,
               (const char *)info.user);
    }
    for (int i = 0; i < 2; i++) shmc_pub_close(&pub[i]);
    return shmc_sub_close(&sub);
}
