# One interface target carries the compile options of all cofs targets, so
# that no option is set globally.
add_library(cofs_compile INTERFACE)
target_include_directories(cofs_compile INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(cofs_compile INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough -Werror=return-type
  -fno-omit-frame-pointer)
target_compile_definitions(cofs_compile INTERFACE
  _FILE_OFFSET_BITS=64 COFS_VERSION="${PROJECT_VERSION}")

if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(cofs_compile INTERFACE -Wthread-safety)
endif()
if(COFS_SANITIZE)
  target_compile_options(cofs_compile INTERFACE -fsanitize=${COFS_SANITIZE}
                         -fno-sanitize-recover=all)
  target_link_options(cofs_compile INTERFACE -fsanitize=${COFS_SANITIZE})
endif()
if(COFS_FUZZ)
  target_compile_options(cofs_compile INTERFACE -fsanitize=fuzzer-no-link)
endif()

# A compiler cache does better without.
if(CMAKE_CXX_COMPILER_LAUNCHER)
  set(COFS_PRECOMPILE OFF)
else()
  set(COFS_PRECOMPILE ON)
endif()
# The standard headers that nearly every file includes, parsed once for each library:
# halves the time of a build.
set(COFS_PRECOMPILED_HEADERS
    <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <cstring>
    <functional> <list> <map> <memory> <mutex> <optional> <ostream> <shared_mutex> <span>
    <sstream> <string> <string_view> <thread> <unordered_map> <utility> <variant> <vector>)

# cofs_library(NAME SOURCES... [LINKS ...]): one folder, one static library.
function(cofs_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC cofs_compile ${ARG_PUBLIC}
                        PRIVATE ${ARG_PRIVATE})
  set_target_properties(${name} PROPERTIES UNITY_BUILD ${COFS_UNITY_BUILD}
                        UNITY_BUILD_BATCH_SIZE 12)
  if(COFS_PRECOMPILE)
    target_precompile_headers(${name} PRIVATE ${COFS_PRECOMPILED_HEADERS})
  endif()
endfunction()

# UBSan makes the optimiser take three times as long for GoogleTest's macros. What is
# tested is in the libraries, which are optimised.
if(COFS_SANITIZE MATCHES "undefined")
  set(COFS_TEST_COMPILE_OPTIONS -O0)
endif()

# cofs_test(NAME SOURCES ... LINKS ... [LABELS ...] [TIMEOUT seconds]):
# one GoogleTest program, one ctest entry.
function(cofs_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINKS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE cofs_compile ${ARG_LINKS}
                        GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${COFS_TEST_COMPILE_OPTIONS})
  if(COFS_PRECOMPILE AND NOT TARGET cofs_test_headers)
    # Parsed once for all test programs.
    file(WRITE ${CMAKE_BINARY_DIR}/test_headers.cc "")
    add_library(cofs_test_headers OBJECT ${CMAKE_BINARY_DIR}/test_headers.cc)
    target_link_libraries(cofs_test_headers PRIVATE cofs_compile GTest::gtest GTest::gmock)
    target_compile_options(cofs_test_headers PRIVATE ${COFS_TEST_COMPILE_OPTIONS})
    target_precompile_headers(cofs_test_headers PRIVATE ${COFS_PRECOMPILED_HEADERS}
                              <gmock/gmock.h> <gtest/gtest.h>)
    # A library would be compiled with -fPIC and a program with -fPIE; the parsed
    # headers fit only one of them.
    set_target_properties(cofs_test_headers PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  endif()
  if(COFS_PRECOMPILE)
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_precompile_headers(${name} REUSE_FROM cofs_test_headers)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT}
                       SKIP_REGULAR_EXPRESSION "SKIPPED-AS-A-WHOLE"
                       LABELS "${ARG_LABELS}")
endfunction()
