#!/bin/bash
# Makes gpu_kit/, which git ignores: what bench/gpu_session.sh wants on a GPU machine that has CUDA, cuDNN, CMake and a
# compiler, but no network and none of our packages. Run it on a Debian machine that ./dream or ./check has set up.
# usage: bench/gpu_kit.sh [PHOTOGRAPH]         (a .jpg or .png; default: none, the session takes docs/coffee.jpg)
# environment: PAREIDOLIA_WEIGHTS, a .h5 or .safetensors of at most 24 MB; layers up to activation_41 are enough.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "gpu_kit.sh: $*" >&2
    exit 1
}

# What `find_library` and pkg-config look for, and the packages that bring their headers.
libraries="dnnl png16 jpeg lcms2 exif cjson z"
packages="libdnnl-dev libhdf5-dev libpng-dev libjpeg62-turbo-dev libcjson-dev liblcms2-dev libexif-dev zlib1g-dev"
weights_most=24 kit_most=40 # MB

[ $# -le 1 ] || fail "one photograph at most"
weights=${PAREIDOLIA_WEIGHTS:-}
[ -f "$weights" ] || fail "PAREIDOLIA_WEIGHTS must name the weights"
[ "$(stat -L -c %s "$weights")" -le $((weights_most * 1000000)) ] ||
    fail "$weights is above $weights_most MB; a file with the layers up to activation_41 is enough"
[ "$(uname -m)" = x86_64 ] || fail "this is no x86-64 machine"

kit=gpu_kit
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,include,lib/pkgconfig}

# Headers: of the packages, without the multiarch folder's name.
for package in $packages; do
    dpkg-query -L "$package" >"$tree/list" || fail "$package is not installed; ./check installs it"
    while read -r path; do
        [ -f "$path" ] || continue
        to=${path#/usr/include/}
        [ "$to" != "$path" ] || continue
        to=$tree/include/${to#x86_64-linux-gnu/}
        mkdir -p "$(dirname "$to")"
        cp -L "$path" "$to"
    done <"$tree/list"
done
rm "$tree/list"

# add_library PATH: under the name by which it is loaded. What belongs to the compiler is there already.
add_library() {
    case ${1##*/} in
    libc.so.* | libm.so.* | ld-linux* | libpthread.so.* | libdl.so.* | librt.so.* | libresolv.so.* | libgcc_s.so.* | \
        libstdc++.so.* | libgomp.so.*) ;;
    *) cp -L --update "$1" "$tree/lib/${1##*/}" ;;
    esac
}

# add_closure PATH: and what it needs in turn.
add_closure() {
    local needed

    ldd "$1" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' >"$tree/list"
    while read -r needed; do
        add_library "$needed"
    done <"$tree/list"
    rm "$tree/list"
}

# add_linked NAME PATH: as libNAME.so, too.
add_linked() {
    local loaded

    [ -e "$2" ] || fail "there is no lib$1.so"
    loaded=$(LC_ALL=C objdump -p "$2" | awk '$1 == "SONAME" { print $2 }')
    cp -L "$2" "$tree/lib/$loaded"
    ln -sf "$loaded" "$tree/lib/lib$1.so"
    add_closure "$2"
}
for name in $libraries; do
    add_linked "$name" "$(cc -print-file-name="lib$name.so")"
done
folder=$(pkg-config --libs-only-L hdf5)
folder=${folder#-L}
add_linked hdf5 "${folder%% *}/libhdf5.so"

# pkg-config itself, and what it shall say there.
pkgconf=$(readlink -f "$(command -v pkgconf || command -v pkg-config)")
cp "$pkgconf" "$tree/bin/pkgconf"
add_closure "$pkgconf"

# describe PACKAGE INCLUDE LIBRARY
describe() {
    cat >"$tree/lib/pkgconfig/$1.pc" <<END
prefix=\${pcfiledir}/../..
Name: $1
Description: from the kit
Version: $(pkg-config --modversion "$1")
Cflags: -I\${prefix}/$2
Libs: -L\${prefix}/lib -l$3
END
}
describe libpng include png16
describe zlib include z
describe libjpeg include jpeg
describe lcms2 include lcms2
describe libexif include exif
describe libcjson include cjson
describe hdf5 include/hdf5/serial hdf5

rm -rf "$kit"
mkdir "$kit"
tar -C "$tree" --owner=0 --group=0 --sort=name -cf - . | xz -6 -T0 >"$kit/libraries.tar.xz"
cp -L "$weights" "$kit/weights.${weights##*.}"
[ $# -eq 0 ] || cp -L "$1" "$kit/photograph.${1##*.}"
bytes=$(du -cb "$kit"/* | awk 'END { print $1 }')
[ "$bytes" -le $((kit_most * 1000000)) ] || fail "$kit is $bytes bytes, which is above $kit_most MB"
du -b "$kit"/*
