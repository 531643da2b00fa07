/* MessagePack from one process to another without a copy: packed into the
 * loan, read where it lies.                                               */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_msgpack.h"
#include "shmcomm_pushpull.h"

#include <stdio.h>

enum { MOST = 256 };

static int
send_pose(shmc_push *push, const char *name, double x)
{
    shmc_msgpack_writer w;
    void *room;
    int r = shmc_push_loan(push, MOST, &room, SHMC_FOREVER);

    if (r < 0) return r;
    shmc_msgpack_begin(&w, room, MOST);
    msgpack_pack_map(&w.packer, 1);
    msgpack_pack_str_with_body(&w.packer, name, strlen(name));
    msgpack_pack_double(&w.packer, x);
    const int bytes = shmc_msgpack_end(&w);
    if (bytes >= 0) return shmc_push_commit(push, (uint32_t)bytes);
    shmc_push_abort(push);                  /* it did not fit               */
    return bytes;
}

static int
read_pose(shmc_pull *pull, shmc_msgpack_reader *reader)
{
    const void *data;
    msgpack_object o;
    const int bytes = shmc_pull_borrow(pull, &data, SHMC_FOREVER);

    if (bytes < 0) return bytes;
    const int r = shmc_msgpack_read(reader, data, (uint32_t)bytes, &o);
    if (r == SHMC_OK) {
        msgpack_object_print(stdout, o);    /* its strings lie in the queue */
        putchar('\n');
    }
    shmc_pull_release(pull);                /* from here on `o` is no more  */
    return r;
}

int
main(void)
{
    const shmc_push_desc desc = { .max_bytes = MOST, .depth = 4 };
    static char long_name[MOST];
    shmc_push push;
    shmc_pull pull;
    shmc_msgpack_reader reader;

    memset(long_name, 'x', sizeof long_name - 1);
    if (shmc_push_open(&push, "example/msgpack", &desc) < 0) return 1;
    if (shmc_pull_open(&pull, "example/msgpack", NULL) < 0) return 1;
    if (shmc_msgpack_open(&reader) < 0) return 1;
    shmc_log_set(NULL, NULL, 0);
    if (send_pose(&push, "arm", 1.5) != SHMC_OK) return 1;
    if (send_pose(&push, long_name, 1.5) != SHMC_EMSGSIZE) return 1;
    printf("%s\n", shmc_last_error());
    if (read_pose(&pull, &reader) != SHMC_OK) return 1;
    shmc_msgpack_close(&reader);
    shmc_pull_close(&pull);
    return shmc_push_close(&push);
}
