/* The public header alone, as a user's C11 program meets it. */
#include "minicpmo.h"

int main(void)
{
    mo_error err;
    mo_model *m;

    return mo_model_open(&m, "/nowhere", NULL, &err) == MO_E_IO && mo_version()[0] ? 0 : 1;
}
