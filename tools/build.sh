# shellcheck shell=bash disable=SC2154
# Sourced by ./dev and the other scripts here: configuring and building a preset in build/PRESET.
# They expect $root.

# configure PRESET [CMAKE ARGUMENT...]: silent unless it fails.
configure() {
    local preset=$1 log="$root/build/$1/configure.log"
    shift
    mkdir -p "$root/build/$preset"
    # CMake takes the binary folder of a preset from the source folder, wherever it is called.
    if ! (cd "$root" && cmake --preset "$preset" "$@") >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
}

# compile PRESET [TARGET [NINJA ARGUMENT...]]: everything, or one target.
compile() {
    cmake --build "$root/build/$1" ${2:+--target "$2"} ${3:+-- "${@:3}"}
}

# The whole tree, tests and examples included.
build_all() {
    configure "$1" -DWEIR_TESTS=ON -DWEIR_EXAMPLES=ON && compile "$1"
}

# The command alone: needs no test library. A tree configured for tests stays so.
build_command() {
    local folder="$root/build/$1"
    if [ ! -f "$root/src/cmd/main.c" ]; then
        echo "dev: this version has no command yet (src/cmd/main.c)" >&2
        exit 69
    fi
    if [ ! -f "$folder/build.ninja" ] || [ "$root/CMakePresets.json" -nt "$folder/build.ninja" ]; then
        if grep -qs '^WEIR_TESTS:BOOL=ON' "$folder/CMakeCache.txt"; then
            configure "$1"
        else
            configure "$1" -DWEIR_TESTS=OFF -DWEIR_EXAMPLES=OFF
        fi
    fi
    compile "$1" weir_command
}
