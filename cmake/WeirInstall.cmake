# What "cmake --install" puts where, in components that become Debian packages:
#   runtime  the shared library              libweir0
#   dns      the resolver's shared library   libweir-dns0
#   dev      headers, libraries, manuals     libweir-dev
#   tls      the shared library of TLS       libweir-tls0
#   tls-dev  its header and libraries        libweir-tls-dev
#   command  weir, its manuals, completions  weir

include(CMakePackageConfigHelpers)
set(cmake_folder ${CMAKE_INSTALL_LIBDIR}/cmake/weir)
set(pkgconfig_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS weir_shared EXPORT weir-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev)
install(TARGETS weir_static EXPORT weir-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
if(WEIR_CARES)
  install(TARGETS weir_dns_shared EXPORT weir-targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dns NAMELINK_COMPONENT dev)
  install(TARGETS weir_dns_static EXPORT weir-targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
endif()
install(DIRECTORY include/weir DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp" PATTERN "tls.h" EXCLUDE
  PATTERN "cert.h" EXCLUDE)

# gdb loads the script together with the shared library that is installed under this name; programs
# with the static one source it.
install(FILES tools/gdb/weir-gdb.py DESTINATION ${CMAKE_INSTALL_DATADIR}/weir COMPONENT dev)
install(FILES tools/gdb/weir-gdb.py COMPONENT dev
  DESTINATION ${CMAKE_INSTALL_DATADIR}/gdb/auto-load/${CMAKE_INSTALL_FULL_LIBDIR}
  RENAME libweir.so.${PROJECT_VERSION}-gdb.py)

install(EXPORT weir-targets NAMESPACE weir:: DESTINATION ${cmake_folder} COMPONENT dev)
configure_package_config_file(cmake/weir-config.cmake.in weir-config.cmake
  INSTALL_DESTINATION ${cmake_folder})
# 0.x may change the API at a minor version; from 1.0 on only a major version may.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
else()
  set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file(weir-config-version.cmake COMPATIBILITY ${compatibility})
install(FILES ${PROJECT_BINARY_DIR}/weir-config.cmake
  ${PROJECT_BINARY_DIR}/weir-config-version.cmake DESTINATION ${cmake_folder} COMPONENT dev)

# The .pc file finds its prefix from its own place, so that a tree may be moved or installed with
# another prefix than it was configured with.
cmake_path(SET from ${CMAKE_INSTALL_PREFIX}/${pkgconfig_folder})
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${from} OUTPUT_VARIABLE WEIR_PC_PREFIX)
set(WEIR_PC_REQUIRES_PRIVATE "")
if(WEIR_URING)
  set(WEIR_PC_REQUIRES_PRIVATE "liburing")
endif()
configure_file(cmake/weir.pc.in weir.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weir.pc DESTINATION ${pkgconfig_folder} COMPONENT dev)
if(WEIR_CARES)
  configure_file(cmake/weir-dns.pc.in weir-dns.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/weir-dns.pc DESTINATION ${pkgconfig_folder} COMPONENT dev)
endif()

# find_package(weir COMPONENTS tls), pkg-config weir-tls.
if(WEIR_TLS)
  install(TARGETS weir_tls_shared EXPORT weir-tls-targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT tls NAMELINK_COMPONENT tls-dev)
  install(TARGETS weir_tls_static EXPORT weir-tls-targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT tls-dev)
  install(EXPORT weir-tls-targets NAMESPACE weir:: DESTINATION ${cmake_folder} COMPONENT tls-dev)
  install(FILES include/weir/tls.h include/weir/cert.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir COMPONENT tls-dev)
  configure_file(cmake/weir-tls.pc.in weir-tls.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/weir-tls.pc DESTINATION ${pkgconfig_folder}
    COMPONENT tls-dev)
endif()

file(GLOB command_manuals CONFIGURE_DEPENDS docs/man/*.1 docs/man/*.5 docs/man/*.8)
file(GLOB library_manuals CONFIGURE_DEPENDS docs/man/*.3 docs/man/*.7)
function(weir_install_manuals component)
  foreach(page ${ARGN})
    cmake_path(GET page EXTENSION LAST_ONLY section)
    string(SUBSTRING ${section} 1 -1 section)
    set(folder ${CMAKE_INSTALL_MANDIR}/man${section})
    install(FILES ${page} DESTINATION ${folder} COMPONENT ${component})
    # A page about several functions is found under each of their names.
    cmake_path(GET page STEM LAST_ONLY first)
    file(STRINGS ${page} names REGEX "^\\.Nm [a-z_]+ ?,?$")
    list(TRANSFORM names REPLACE "^\\.Nm ([a-z_]+).*" "\\1")
    list(REMOVE_DUPLICATES names)
    foreach(name ${names})
      if(NOT name STREQUAL first AND NOT section EQUAL 1)
        file(WRITE ${PROJECT_BINARY_DIR}/man/${name}.${section} ".so man${section}/${first}.${section}\n")
        install(FILES ${PROJECT_BINARY_DIR}/man/${name}.${section} DESTINATION ${folder}
          COMPONENT ${component})
      endif()
    endforeach()
  endforeach()
endfunction()
weir_install_manuals(dev ${library_manuals})

if(TARGET weir_command)
  install(TARGETS weir_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT command)
  weir_install_manuals(command ${command_manuals})
  install(FILES tools/completion/weir.bash RENAME weir COMPONENT command
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES tools/completion/weir.fish COMPONENT command
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  install(FILES tools/completion/_weir COMPONENT command
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
endif()
