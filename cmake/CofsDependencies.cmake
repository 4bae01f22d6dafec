# Every dependency is a Debian package; a missing one is named with the package
# that brings it.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(cofs_need_pkg target module package)
  pkg_check_modules(${target} IMPORTED_TARGET ${module})
  if(NOT ${target}_FOUND)
    message(FATAL_ERROR "${module} is missing: apt-get install ${package}")
  endif()
endfunction()

cofs_need_pkg(FUSE3 fuse3 libfuse3-dev)
cofs_need_pkg(URING liburing liburing-dev)
cofs_need_pkg(BLKID blkid libblkid-dev)
cofs_need_pkg(SECCOMP libseccomp libseccomp-dev)

# libnvme's pkg-config file asks for json-c's development files, which its
# package does not depend on: look for the library itself.
find_path(LIBNVME_INCLUDE_DIR libnvme.h)
find_library(LIBNVME_LIBRARY nvme)
if(NOT LIBNVME_INCLUDE_DIR OR NOT LIBNVME_LIBRARY)
  message(FATAL_ERROR "libnvme is missing: apt-get install libnvme-dev")
endif()
add_library(cofs_nvme_dependency INTERFACE)
target_include_directories(cofs_nvme_dependency SYSTEM INTERFACE ${LIBNVME_INCLUDE_DIR})
target_link_libraries(cofs_nvme_dependency INTERFACE ${LIBNVME_LIBRARY})

find_path(ISAL_INCLUDE_DIR isa-l/crc.h)
find_library(ISAL_LIBRARY isal)
if(NOT ISAL_INCLUDE_DIR OR NOT ISAL_LIBRARY)
  message(FATAL_ERROR "ISA-L is missing: apt-get install libisal-dev")
endif()
add_library(cofs_isal_dependency INTERFACE)
target_include_directories(cofs_isal_dependency SYSTEM INTERFACE ${ISAL_INCLUDE_DIR})
target_link_libraries(cofs_isal_dependency INTERFACE ${ISAL_LIBRARY})

find_package(RocksDB REQUIRED)
find_package(CLI11 REQUIRED)

if(COFS_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(COFS_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
