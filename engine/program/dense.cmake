# One source, one object per instruction set; bits differ between sets, as those of libtorch's kernels do.
set(dense_flags -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(program/dense_avx2.cc PROPERTIES COMPILE_OPTIONS "${dense_flags};-mavx2;-mfma")
  # GCC's own headers make AVX-512's "undefined" operands from uninitialised variables.
  set_source_files_properties(program/dense_avx512.cc PROPERTIES COMPILE_OPTIONS
    "${dense_flags};-mavx512f;-mavx512vl;-mavx512bw;-mavx512dq;-mprefer-vector-width=512;-Wno-uninitialized;-Wno-maybe-uninitialized")
endif()
set_source_files_properties(program/dense_avx2.cc program/dense_avx512.cc PROPERTIES
  OBJECT_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/program/dense.inc;${CMAKE_CURRENT_SOURCE_DIR}/program/shifted.inc" SKIP_PRECOMPILE_HEADERS ON)
