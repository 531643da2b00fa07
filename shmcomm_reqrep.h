/* shmcomm_reqrep.h - REQ/REP sockets: many clients ask, many servers answer.
 *
 *     shmc_rep rep;                                     // a server
 *     shmc_rep_open(&rep, "robot/plan", NULL);
 *     int bytes = shmc_rep_recv(&rep, goal, sizeof goal, SHMC_FOREVER);
 *     shmc_rep_send(&rep, path, path_bytes, SHMC_FOREVER);
 *     shmc_req req;                                     // a client
 *     shmc_req_open(&req, "robot/plan", NULL);
 *     bytes = shmc_req_call(&req, goal, 24, path, sizeof path, SHMC_FOREVER);
 *
 * Manual: docs/shmcomm_reqrep.md, proof: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_REQREP_H
#define SHMCOMM_REQREP_H

#include "shmcomm_rep.h"
#include "shmcomm_req.h"

#endif /* SHMCOMM_REQREP_H */
