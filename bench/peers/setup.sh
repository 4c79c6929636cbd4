#!/bin/sh
# Makes a virtual environment for each peer that bench/compare_peers.sh runs, from PyPI: DIR/torch and DIR/tensorflow,
# apart, as each brings its own CUDA libraries. PyTorch takes some GB everywhere; TensorFlow has a small package for
# machines without a GPU. Nothing is installed outside DIR; what is there is brought up to date.
# usage: bench/peers/setup.sh [--dir DIR] [torch] [tensorflow]        (default: build/peers, both)
set -eu
cd "$(dirname "$0")/../.."

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

# install NAME PACKAGE
install() {
    python3 -m venv "$dir/$1" || fail "python3 cannot make a virtual environment; on Debian: apt install python3-venv"
    "$dir/$1/bin/pip" install --quiet --upgrade --no-cache-dir "$2" h5py numpy pillow || fail "pip cannot install $2"
    echo "$1: installed into $dir/$1"
}

dir=build/peers
if [ "${1:-}" = --dir ]; then
    [ $# -ge 2 ] || fail "--dir wants a folder"
    dir=$2
    shift 2
fi
[ $# -gt 0 ] || set -- torch tensorflow
for name in "$@"; do
    case $name in
    torch | tensorflow) ;;
    *) fail "there is no peer $name; torch and tensorflow are known" ;;
    esac
done

for name in "$@"; do
    package=$name
    if [ "$name" = tensorflow ]; then
        package=tensorflow-cpu
        if nvidia-smi >/dev/null 2>&1; then package='tensorflow[and-cuda]'; fi
    fi
    install "$name" "$package"
done

# What torch.compile compiles with.
include=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
if [ ! -f "$include/Python.h" ] || ! command -v g++ >/dev/null; then
    echo "setup.sh: torch.compile wants g++ and Python's headers; on Debian: apt install g++ python3-dev" >&2
fi
