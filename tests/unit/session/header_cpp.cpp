/* The public header alone, as a C++ program meets it. */
#include "minicpmo.h"

int main(void)
{
    mo_error err;
    mo_model *m = nullptr;

    return mo_model_open(&m, "/nowhere", nullptr, &err) == MO_E_IO && mo_version()[0] ? 0 : 1;
}
