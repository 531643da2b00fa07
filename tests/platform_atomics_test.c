/* The back end that this build chooses: ck_pr, unless told otherwise.     */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "platform_atomics_cases.h"

int
main(void)
{
    print_message("back end: %s\n", SHMI_BACKEND_NAME);
    return cmocka_run_group_tests(atomics_cases, NULL, NULL);
}
