/* shmcomm.c - the library, compiled once for all files of the demo.
 *
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
