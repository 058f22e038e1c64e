# Finds the installed torch wheel without find_package(Torch), which fails on a CUDA wheel where no toolkit is.
# Gives the target torch::cpu (libtorch_cpu and libc10 only) and TORCH_MINOR, e.g. 2_13.
include_guard()

set(STOKER_TORCH_MINOR "2.13" CACHE STRING "The torch minor version that this tree is written for")
set(STOKER_TORCH_DIR "" CACHE PATH "Folder of the installed torch package; found through Python when empty")

if(NOT STOKER_TORCH_DIR)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '', end='')"
    OUTPUT_VARIABLE found COMMAND_ERROR_IS_FATAL ANY)
  set(torch_dir ${found})
else()
  set(torch_dir ${STOKER_TORCH_DIR})
endif()

set(torch_command "${Python_EXECUTABLE} -m pip install torch==${STOKER_TORCH_MINOR}.0")
if(NOT torch_dir)
  message(FATAL_ERROR "torch is not installed in this Python. Install it, then build again:\n  ${torch_command}")
endif()
file(STRINGS ${torch_dir}/version.py torch_version_line REGEX "^__version__ *=")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" torch_version "${torch_version_line}")
if(NOT torch_version MATCHES "^${STOKER_TORCH_MINOR}\\.")
  message(FATAL_ERROR "torch ${torch_version} is installed, and this tree needs ${STOKER_TORCH_MINOR}. Install it, then build again:\n  ${torch_command}")
endif()
string(REPLACE "." "_" TORCH_MINOR ${STOKER_TORCH_MINOR})

add_library(torch::cpu INTERFACE IMPORTED)
target_include_directories(torch::cpu SYSTEM INTERFACE ${torch_dir}/include ${torch_dir}/include/torch/csrc/api/include)
target_link_libraries(torch::cpu INTERFACE ${torch_dir}/lib/libtorch_cpu.so ${torch_dir}/lib/libc10.so)
message(STATUS "torch ${torch_version} in ${torch_dir}")
