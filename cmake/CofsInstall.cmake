install(TARGETS mkfs.cofs fsck.cofs mount.cofs DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS cofs DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS cofs-probe DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/cofs)
# LD_PRELOAD=PREFIX/lib/.../cofs/cofs-reflink.so
install(TARGETS cofs_reflink LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/cofs)
# #include <cofs/ioctl.h>
install(FILES fs/fuse/cofs_ioctl.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cofs
        RENAME ioctl.h)

# mount(8), mkfs(8) and fsck(8) look for helpers by the name of the type: cofs,
# fuse.cofs and, as for other block-device FUSE file systems, fuseblk.cofs.
function(cofs_install_link name target)
  install(CODE "
    set(dir \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}\")
    file(CREATE_LINK ${target} \"\${dir}/${name}\" SYMBOLIC)
    message(STATUS \"Link: \${dir}/${name} -> ${target}\")")
endfunction()
cofs_install_link(mount.fuse.cofs mount.cofs)
cofs_install_link(mount.fuseblk.cofs mount.cofs)
cofs_install_link(mkfs.fuseblk.cofs mkfs.cofs)
cofs_install_link(fsck.fuseblk.cofs fsck.cofs)
