
####### Expanded from @PACKAGE_INIT@ by configure_package_config_file() #######
####### Any changes to this file will be overwritten by the next CMake run ####
####### The input file was weir-config.cmake.in                            ########

get_filename_component(PACKAGE_PREFIX_DIR "${CMAKE_CURRENT_LIST_DIR}/../../../../" ABSOLUTE)

# Use original install prefix when loaded through a "/usr move"
# cross-prefix symbolic link such as /lib -> /usr/lib.
get_filename_component(_realCurr "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
get_filename_component(_realOrig "/usr/lib/x86_64-linux-gnu/cmake/weir" REALPATH)
if(_realCurr STREQUAL _realOrig)
  set(PACKAGE_PREFIX_DIR "/usr")
endif()
unset(_realOrig)
unset(_realCurr)

macro(set_and_check _var _file)
  set(${_var} "${_file}")
  if(NOT EXISTS "${_file}")
    message(FATAL_ERROR "File or directory ${_file} referenced by variable ${_var} does not exist !")
  endif()
endmacro()

macro(check_required_components _NAME)
  foreach(comp ${${_NAME}_FIND_COMPONENTS})
    if(NOT ${_NAME}_${comp}_FOUND)
      if(${_NAME}_FIND_REQUIRED_${comp})
        set(${_NAME}_FOUND FALSE)
      endif()
    endif()
  endforeach()
endmacro()

####################################################################################

# weir::shared and weir::static name one library each; weir::weir is the shared one, or the static
# one where WEIR_STATIC is set before find_package(weir).

include(CMakeFindDependencyMacro)
find_dependency(Threads)
if(ON AND NOT TARGET PkgConfig::URING)
  find_package(PkgConfig QUIET) # only weir::static needs liburing to be named
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(URING QUIET IMPORTED_TARGET GLOBAL liburing)
  endif()
endif()

include(${CMAKE_CURRENT_LIST_DIR}/weir-targets.cmake)
if(NOT TARGET weir::weir)
  add_library(weir::weir INTERFACE IMPORTED)
  if(WEIR_STATIC)
    target_link_libraries(weir::weir INTERFACE weir::static)
  else()
    target_link_libraries(weir::weir INTERFACE weir::shared)
  endif()
endif()
check_required_components(weir)
