#ifdef __x86_64__
#define STOKER_KERNELS kAvx512Kernels
#include "optim/kernels.inc"
#endif
