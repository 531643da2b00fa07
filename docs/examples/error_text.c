/* What a failure says: what was being done, to what, and what to try.     */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm.h"

#include <stdio.h>

static void
to_stdout(void *user, int level, const char *text)
{
    (void)user, (void)level;
    printf("log: %s\n", text);
}

int
main(void)
{
    shmc_segment segment;

    shmc_log_set(to_stdout, NULL, SHMC_LOG_ERROR);      /* default: stderr  */
    int r = shmc_segment_attach(&segment, "no/such", NULL);
    printf("%s: %s\n", shmc_error_name(r), shmc_last_error());
    r = shmc_segment_attach(&segment, "../etc", NULL);
    return r == SHMC_ENAME ? 0 : 1;
}
