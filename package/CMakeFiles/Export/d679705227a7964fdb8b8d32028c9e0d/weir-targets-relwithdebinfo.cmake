#----------------------------------------------------------------
# Generated CMake target import file for configuration "RelWithDebInfo".
#----------------------------------------------------------------

# Commands may need to know the format version.
set(CMAKE_IMPORT_FILE_VERSION 1)

# Import target "weir::shared" for configuration "RelWithDebInfo"
set_property(TARGET weir::shared APPEND PROPERTY IMPORTED_CONFIGURATIONS RELWITHDEBINFO)
set_target_properties(weir::shared PROPERTIES
  IMPORTED_LOCATION_RELWITHDEBINFO "${_IMPORT_PREFIX}/lib/x86_64-linux-gnu/libweir.so.0.1.0"
  IMPORTED_SONAME_RELWITHDEBINFO "libweir.so.0"
  )

list(APPEND _cmake_import_check_targets weir::shared )
list(APPEND _cmake_import_check_files_for_weir::shared "${_IMPORT_PREFIX}/lib/x86_64-linux-gnu/libweir.so.0.1.0" )

# Import target "weir::static" for configuration "RelWithDebInfo"
set_property(TARGET weir::static APPEND PROPERTY IMPORTED_CONFIGURATIONS RELWITHDEBINFO)
set_target_properties(weir::static PROPERTIES
  IMPORTED_LINK_INTERFACE_LANGUAGES_RELWITHDEBINFO "ASM;C"
  IMPORTED_LOCATION_RELWITHDEBINFO "${_IMPORT_PREFIX}/lib/x86_64-linux-gnu/libweir.a"
  )

list(APPEND _cmake_import_check_targets weir::static )
list(APPEND _cmake_import_check_files_for_weir::static "${_IMPORT_PREFIX}/lib/x86_64-linux-gnu/libweir.a" )

# Commands beyond this point should not need to know the version.
set(CMAKE_IMPORT_FILE_VERSION)
