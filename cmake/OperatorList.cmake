# The list of operators that programs may name, as lines of C++ (engine/program/operators.cc).
include_guard()
set(STOKER_OPERATORS ${CMAKE_CURRENT_LIST_DIR}/../python/stoker/operators.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${STOKER_OPERATORS})

# `source` includes it as "program/operators.inc".
function(stoker_operator_list source)
  file(STRINGS ${STOKER_OPERATORS} lines)
  set(text)
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "^#")
      string(APPEND text "R\"list(${line})list\",\n")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/lists/program/operators.inc CONTENT "${text}" @ONLY)
  set_source_files_properties(${source} PROPERTIES INCLUDE_DIRECTORIES ${CMAKE_CURRENT_BINARY_DIR}/lists)
endfunction()
