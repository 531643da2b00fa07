/* shmcomm_sample.h - what all objects say about themselves at one moment,
 * read without leaving a trace.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_SAMPLE_H
#define SHMCOMM_SAMPLE_H

#include "shmcomm_cli.h"

/* Who has a seat or a role in an object.                                  */
typedef struct sample_user {
    const char *role;               /* publisher, subscriber, server ...    */
    uint32_t seat;
    int32_t  pid;                   /* 0: died, and its slot is another's   */
    bool     alive, has_lag, has_lost;
    bool     reads;                 /* who has a lag does, too              */
    uint64_t lag;                   /* what is there and it has not taken   */
    uint64_t lost;                  /* what it was too slow for, so far     */
} sample_user;

typedef struct sample_object {
    char segment[SHMC_NAME_BYTES], name[SHMC_NAME_BYTES];
    const char *kind;               /* broadcast, spsc, ...                 */
    const char *unit;               /* of in, used and capacity             */
    uint64_t born;                  /* tells it from one of the same name   */
    uint64_t in;                    /* what was put in so far               */
    uint64_t used, capacity;        /* what waits to be taken, at most      */
    uint64_t lost;                  /* positions given up, messages dropped */
    uint64_t missed;                /* what those that read now lost        */
    uint64_t working, done;         /* of a service's requests: a server has
                                       them; over                           */
    double   message_bytes;         /* of one, on average; or at most       */
    bool     lossy;                 /* nobody waits for readers             */
    uint32_t writers, readers, dead;
    sample_user *users;
    size_t   user_count;
} sample_object;

typedef struct sample {
    uint64_t at_ns;                 /* CLOCK_MONOTONIC                      */
    cli_look *looks;                /* the segments                         */
    uint32_t *dead;                 /* of each, participants that died      */
    int      look_count;
    sample_object *objects;
    size_t   count, room;
} sample;

/* Look at all segments, or at the one of that name.  Returns an exit status,
 * and has said what is wrong.  Owner  sample_free.                        */
int sample_take(const cli *c, const char *name, sample *out);
void sample_free(sample *s);

/* The same object in an older sample, or NULL.                            */
const sample_object *sample_find(const sample *s, const sample_object *o);

/* Add who uses it to an object's JSON, and of a service how far it is.     */
void sample_users_json(cJSON *to, const sample_object *o);

#endif /* SHMCOMM_SAMPLE_H */
