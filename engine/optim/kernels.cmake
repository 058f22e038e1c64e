# One source, one object per instruction set. No fused multiply-adds (set for the whole tree) and no errno from sqrt;
# neither option changes a result.
set(kernel_flags -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math)
set_source_files_properties(optim/kernels_portable.cc optim/adafactor.cc optim/tiles.cc PROPERTIES
  COMPILE_OPTIONS "${kernel_flags}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(optim/kernels_avx2.cc PROPERTIES COMPILE_OPTIONS "${kernel_flags};-mavx2")
  set_source_files_properties(optim/kernels_avx512.cc PROPERTIES COMPILE_OPTIONS
    "${kernel_flags};-mavx512f;-mavx512vl;-mavx512bw;-mavx512dq;-mprefer-vector-width=512")
endif()
set_source_files_properties(optim/kernels_portable.cc optim/kernels_avx2.cc optim/kernels_avx512.cc PROPERTIES
  OBJECT_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/optim/kernels.inc;${CMAKE_CURRENT_SOURCE_DIR}/optim/rules.inc;${CMAKE_CURRENT_SOURCE_DIR}/optim/keras.inc")
