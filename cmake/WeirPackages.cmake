# cpack makes libweir0, libweir-dns0, libweir-dev, libweir-tls0, libweir-tls-dev and weir as .deb files
# out of the components of WeirInstall.cmake. Use the preset "package", whose prefix is /usr.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME weir)
set(CPACK_PACKAGE_VENDOR "The weir authors")
set(CPACK_PACKAGE_CONTACT "The weir authors <weir@localhost>")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime dev)
if(WEIR_CARES)
  list(APPEND CPACK_COMPONENTS_ALL dns)
endif()
if(WEIR_TLS)
  list(APPEND CPACK_COMPONENTS_ALL tls tls-dev)
endif()
if(TARGET weir_command)
  list(APPEND CPACK_COMPONENTS_ALL command)
endif()

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/lib)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(soname ${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libweir${soname})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "network I/O framework, shared library
 Event loops on io_uring and epoll, connections with bounds and deadlines, and
 HTTP, for programs that serve many clients.")

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libweir-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
  "libweir${soname} (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}), libc6-dev")
if(WEIR_URING)
  string(APPEND CPACK_DEBIAN_DEV_PACKAGE_DEPENDS ", liburing-dev")
endif()
if(WEIR_CARES)
  set(release "${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}")
  string(APPEND CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
    ", libweir-dns${soname} (= ${release}), libc-ares-dev")
  set(CPACK_DEBIAN_DNS_PACKAGE_NAME libweir-dns${soname})
  set(CPACK_DEBIAN_DNS_PACKAGE_SECTION libs)
  set(CPACK_DEBIAN_DNS_PACKAGE_GENERATE_SHLIBS ON)
  # What dpkg-shlibdeps finds is c-ares; the core is made in the same go, and no package yet.
  set(CPACK_DEBIAN_DNS_PACKAGE_DEPENDS "libweir${soname} (= ${release})")
  set(CPACK_COMPONENT_DNS_DESCRIPTION "network I/O framework, resolver
 Host names to addresses and back without blocking, on the loops of libweir.")
endif()
set(CPACK_COMPONENT_DEV_DESCRIPTION "network I/O framework, development files
 Headers, the static library and the manual pages of libweir.")

set(CPACK_DEBIAN_TLS_PACKAGE_NAME libweir-tls${soname})
set(CPACK_DEBIAN_TLS_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_TLS_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_TLS_PACKAGE_DEPENDS
  "libweir${soname} (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
set(CPACK_COMPONENT_TLS_DESCRIPTION "network I/O framework, TLS
 TLS 1.2 and 1.3 for the connections of libweir, on OpenSSL.")

set(CPACK_DEBIAN_TLS-DEV_PACKAGE_NAME libweir-tls-dev)
set(CPACK_DEBIAN_TLS-DEV_PACKAGE_SECTION libdevel)
set(version_exact "(= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
set(CPACK_DEBIAN_TLS-DEV_PACKAGE_DEPENDS
  "libweir-tls${soname} ${version_exact}, libweir-dev ${version_exact}, libssl-dev")
set(CPACK_COMPONENT_TLS-DEV_DESCRIPTION "network I/O framework, TLS, development files
 The header and the static library of libweir-tls.")

set(CPACK_DEBIAN_COMMAND_PACKAGE_NAME weir)
set(CPACK_DEBIAN_COMMAND_PACKAGE_SECTION net)
set(CPACK_COMPONENT_COMMAND_DESCRIPTION "network I/O framework, command
 Serves files over HTTP and shows what the kernel offers and which limits hold.")

set(packages libweir${soname}:runtime libweir-dev:dev weir:command)
if(WEIR_CARES)
  list(APPEND packages libweir-dns${soname}:dns)
endif()
if(WEIR_TLS)
  list(APPEND packages libweir-tls${soname}:tls libweir-tls-dev:tls-dev)
endif()
foreach(package ${packages})
  string(REPLACE ":" ";" package ${package})
  list(POP_FRONT package name component)
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} RENAME copyright
    COMPONENT ${component})
endforeach()
include(CPack)
