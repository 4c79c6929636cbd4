# shellcheck shell=sh
# What ./dream and ./check share; sourced by them from the project's root. Installs what is missing and builds.
# Asks nothing, needs no root where nothing is missing, and says one line about each thing that takes time.

setup_fail() {
    echo "$0: $*" >&2
    exit 1
}

# Installs what the build wants, and the packages named as arguments, where they are not there.
setup_packages() {
    set -- cmake ninja-build gcc libc6-dev pkg-config libdnnl-dev libhdf5-dev libpng-dev zlib1g-dev \
        libjpeg62-turbo-dev libcjson-dev liblcms2-dev libexif-dev "$@"
    missing=
    if ! command -v dpkg-query >/dev/null; then
        echo "$0: this is no Debian; assuming that the equivalents of these are installed: $*" >&2
        return
    fi
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing="$missing $package"
    done
    [ -z "$missing" ] && return
    as_root=
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || setup_fail "as root, run: apt-get install$missing"
        as_root="sudo -n"
    fi
    echo "installing$missing" >&2
    log=$(mktemp)
    # shellcheck disable=SC2086 # lists of words
    if ! { $as_root apt-get -q update && DEBIAN_FRONTEND=noninteractive $as_root apt-get -qy install \
        --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
        tail -n 5 "$log" >&2
        setup_fail "installing$missing failed; the whole log is $log"
    fi
    rm -f "$log"
}

# Configures and builds the CMake preset $1.
setup_build() {
    mkdir -p build
    if ! { cmake --preset "$1" && cmake --build --preset "$1"; } >"build/$1.log" 2>&1 </dev/null; then
        tail -n 30 "build/$1.log" >&2
        setup_fail "building failed; the whole log is build/$1.log"
    fi
}
