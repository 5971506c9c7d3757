# The test of the tests: a core with a mistake in it must not get through simulation.
if(NOT WEIR_SANITIZE AND NOT WEIR_FUZZ AND NOT WEIR_COVERAGE AND CMAKE_GENERATOR STREQUAL "Ninja")
  set(mutate ${CMAKE_CURRENT_SOURCE_DIR}/sim/mutations/mutate.py)
  add_test(NAME sim.mutations COMMAND ${mutate} --build ${PROJECT_BINARY_DIR} --seeds 120000
    --timeout 600)
  weir_test_properties(sim.mutations ${mutate} sim 1500)
  set_property(TEST sim.mutations APPEND PROPERTY LABELS slow)
  set_property(TEST sim.mutations PROPERTY PROCESSORS 4)
endif()
