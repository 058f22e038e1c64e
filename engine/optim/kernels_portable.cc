#define STOKER_KERNELS kPortableKernels
#include "optim/kernels.inc"
