# Links all that follows against the C and C++ libraries as manylinux_2_28 has them: scripts/old_system.py says how. What
# libtorch exports of a newer C++ library, which it is linked with in the same way, is taken from there.
include_guard()

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/scripts/old_system.py
             ${CMAKE_SOURCE_DIR}/cmake/old_system.c)
execute_process(COMMAND ${Python_EXECUTABLE} ${CMAKE_SOURCE_DIR}/scripts/old_system.py ${CMAKE_BINARY_DIR}/old
                OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE libraries COMMAND_ERROR_IS_FATAL ANY)
add_link_options(-nodefaultlibs -Wl,--exclude-libs,ALL)
set(CMAKE_CXX_STANDARD_LIBRARIES "${libraries}")
