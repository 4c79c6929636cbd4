#!/bin/sh
# Makes a virtual environment with the peers that bench/compare_peers.sh runs: PyTorch, from PyPI (some GB).
# usage: bench/peers/setup.sh [DIR]        (default: build/peers; nothing is installed outside it)
set -eu
cd "$(dirname "$0")/../.."
dir=${1:-build/peers}
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet torch numpy h5py
echo "installed into $dir"
