# Finds the installed torch wheel without find_package(Torch), which fails on a CUDA wheel where no toolkit is.
# Gives the target torch::cpu (libtorch_cpu and libc10 only) and TORCH_MINOR, e.g. 2_13.
include_guard()

set(STOKER_TORCH_MINOR "2.13" CACHE STRING "The torch minor version that this tree is written for")
set(STOKER_TORCH_DIR "" CACHE PATH "Folder of the installed torch package; found through Python when empty")

# Stops the build, saying why and with which commands it goes on. pip hides the installed torch from a build of its own.
function(torch_stop why)
  set(commands "  ${Python_EXECUTABLE} -m pip install torch==${STOKER_TORCH_MINOR}.0")
  if(SKBUILD)
    string(APPEND commands "\n  ${Python_EXECUTABLE} -m pip install --no-build-isolation .")
    string(APPEND why ", as far as this build can see (pip hides installed packages without --no-build-isolation)")
  endif()
  message(FATAL_ERROR "${why}. This tree needs torch ${STOKER_TORCH_MINOR}. Run, then build again:\n${commands}")
endfunction()

set(torch_dir "${STOKER_TORCH_DIR}")
if(NOT torch_dir)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '', end='')"
    OUTPUT_VARIABLE torch_dir COMMAND_ERROR_IS_FATAL ANY)
endif()
if(NOT EXISTS "${torch_dir}/version.py")
  torch_stop("torch is not installed in this Python")
endif()
file(STRINGS ${torch_dir}/version.py torch_version_line REGEX "^__version__ *=")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" torch_version "${torch_version_line}")
if(NOT torch_version MATCHES "^${STOKER_TORCH_MINOR}\\.")
  torch_stop("torch ${torch_version} is installed")
endif()
string(REPLACE "." "_" TORCH_MINOR ${STOKER_TORCH_MINOR})
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${torch_dir}/version.py)

add_library(torch::cpu INTERFACE IMPORTED)
target_include_directories(torch::cpu SYSTEM INTERFACE ${torch_dir}/include ${torch_dir}/include/torch/csrc/api/include)
target_link_libraries(torch::cpu INTERFACE ${torch_dir}/lib/libtorch_cpu.so ${torch_dir}/lib/libc10.so)
message(STATUS "torch ${torch_version} in ${torch_dir}")
