# Writes the commit that is being built into a header, which is touched only when it is another: timings name it.
# "-dirty" is about what is compiled only. Empty where the sources are not a git repository of their own, as those of an
# archive that lies in another one.
# usage: cmake -DSOURCE=... -DHEADER=... [-DCOMMIT=...] -P commit.cmake
cmake_minimum_required(VERSION 3.25)
set(git git --no-optional-locks -C ${SOURCE})
set(commit "${COMMIT}")
if(commit STREQUAL "")
  execute_process(COMMAND ${git} rev-parse --show-toplevel OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE
                  ERROR_QUIET)
  file(REAL_PATH ${SOURCE} source)
  if(top STREQUAL source)
    execute_process(COMMAND ${git} rev-parse --short HEAD OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
                    ERROR_QUIET)
    execute_process(COMMAND ${git} status --porcelain -- CMakeLists.txt host cpu cuda weights OUTPUT_VARIABLE changes
                    ERROR_QUIET)
    if(NOT commit STREQUAL "" AND NOT changes STREQUAL "")
      string(APPEND commit -dirty)
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define PAREIDOLIA_COMMIT \"@commit@\"\n" @ONLY)
