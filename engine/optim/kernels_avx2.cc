#ifdef __x86_64__
#define STOKER_KERNELS kAvx2Kernels
#include "optim/kernels.inc"
#endif
