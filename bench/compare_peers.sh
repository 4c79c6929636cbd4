#!/bin/bash
# Times our fp32 step beside PyTorch's in the same run, taking turns, as machines drift: a ratio is taken within each
# round. Prints a Markdown table.
# usage: bench/compare_peers.sh WEIGHTS.h5 [SIZE ...]                (default: 256 512 1024, square)
# environment: LAYER (activation_41), ROUNDS (5), SECONDS_EACH (3), THREADS (0: all), PAREIDOLIA_PYTHON (a Python
# with torch and h5py; default: the one that bench/peers/setup.sh made)
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '4,6s/^# //p' "$0" >&2; exit 2; }
weights=$1
shift
[ $# -gt 0 ] || set -- 256 512 1024
layer=${LAYER:-activation_41} rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-3} threads=${THREADS:-0}
python=${PAREIDOLIA_PYTHON:-build/peers/bin/python}

ours() { build/bench_step "$weights" "$layer" "$1" "$1" cpu fp32 "$threads" "$seconds"; }
theirs() { "$python" bench/peers/torch_step.py "$weights" "$layer" "$1" "$1" channels_last fp32 "$threads" "$seconds"; }

version=$("$python" -c 'import h5py, torch; print(torch.__version__)' 2>/dev/null) || version=
peer="none: $python has no PyTorch and h5py (bench/peers/setup.sh installs them)"
[ -z "$version" ] || peer="PyTorch $version eager channels_last, fp32"
echo "$(date +%F), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores," \
    "$(build/pareidolia --version | head -n 1) at $(git describe --always --dirty 2>/dev/null || echo '?');" \
    "peer: $peer"
echo "$layer, loss and gradient; medians of $rounds rounds; ratio: theirs / ours within a round, median (least..most)"
echo
echo "| size | ours, s | GFLOP/s | peak MB | PyTorch, s | GFLOP/s | peak MB | ratio |"
echo "|---|---|---|---|---|---|---|---|"
for size in "$@"; do
    for round in $(seq "$rounds"); do
        a=$(ours "$size")
        b=
        [ -z "$version" ] || b=$(theirs "$size")
        echo "$round $a / $b"
    done | awk -v size="$size" '
        function median(v, n,   i, j, t) {
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
            return v[int((n + 1) / 2)]
        }
        {
            split($0, half, " / "); split(half[1], a, " "); m = split(half[2], b, " ")
            ours[NR] = a[3]; flops[NR] = a[4]; if (a[5] > peak) peak = a[5]
            if (m) { theirs[NR] = b[2]; their_flops[NR] = b[3]; if (b[4] > their_peak) their_peak = b[4]
                     ratio[NR] = b[2] / a[3] }
        }
        END {
            if (!NR) exit # the first run has failed, and has said why
            printf "| %d | %.3f | %.0f | %.0f |", size, median(ours, NR), median(flops, NR), peak / 1e6
            if (!m) { print " - | - | - | - |"; exit }
            r = median(ratio, NR)
            printf " %.3f | %.0f | %.0f | %.2f (%.2f..%.2f) |\n", median(theirs, NR), median(their_flops, NR),
                   their_peak / 1e6, r, ratio[1], ratio[NR]
        }'
done
