# The decoders of pictures, inside of stoker_core: machines that run it need not have them, and the copies that Pillow
# and others bring into the process do not meet them (--exclude-libs).
include_guard()

# Debian's archives are compiled for programs and name libc's stderr in a way that a shared library cannot. So each is
# copied with another name for it, which engine/images/stderr.cc has.
function(stoker_link_decoders target)
  foreach(name IN LISTS ARGN)
    find_library(STOKER_LIB_${name} lib${name}.a REQUIRED)
    set(copy ${CMAKE_CURRENT_BINARY_DIR}/lib${name}.a)
    add_custom_command(OUTPUT ${copy} DEPENDS ${STOKER_LIB_${name}} VERBATIM
      COMMAND ${CMAKE_OBJCOPY} --redefine-sym stderr=stoker_stderr ${STOKER_LIB_${name}} ${copy})
    list(APPEND copies ${copy})
  endforeach()
  add_custom_target(stoker_decoders DEPENDS ${copies})
  add_dependencies(${target} stoker_decoders)
  target_link_libraries(${target} PRIVATE ${copies})
endfunction()
