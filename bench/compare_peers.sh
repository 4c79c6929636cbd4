#!/bin/bash
# Times our step beside other programs' in the same run, taking turns, as machines drift: a ratio is taken within each
# round. Also compares everyone's gradient at a photograph with our float64 reference's. What a run of a peer is, see
# bench/peers/peer.py. Another peer is bench/peers/NAME_step.py, and its name in known_peers, python_of, version_of.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'END'
usage: bench/compare_peers.sh [OPTION]...

Prints Markdown: our step (loss and gradient) beside PyTorch's best variant, and
all programs: seconds, ratio with its spread, the gradient's error (relative L2,
and cosine) against float64, and peak memory. A peer that is not installed is
named and skipped; bench/peers/setup.sh installs them.

  --device cpu|cuda     where (default: cpu)
  --sizes "N ..."       square pictures, pixels a side (default: "256 512 1024")
  --precisions "P ..."  default: "fp32 bf16" on the CPU, "fp16 bf16 tf32 fp32"
                        on a GPU
  --peers "P ..."       PEER:VARIANT (default: torch:eager torch:channels_last
                        torch:compile torch:compile_joint keras:graph, and on a
                        GPU keras:xla, slow on a CPU); "" leaves us alone
  --layer NAME          default: activation_41
  --rounds N            default: 5
  --seconds X           of timing for each program and round (default: 3)
  --threads N           processor threads; 0: as each program thinks best
                        (default: 0)
  --weights FILE.h5     Keras's (default: $PAREIDOLIA_WEIGHTS, else what
                        weights/fetch.sh fetched)
  --picture FILE        the photograph, made square, at which gradients are
                        compared (default: docs/coffee.jpg)
  --output FILE         also there: FILE.md the tables, FILE.json all numbers of
                        all rounds; may be given twice
  --json FILE           all numbers, whatever the file is called

Memory: on the CPU the most that the process held, of the peers while they were
timed, of ours ever, Python and libraries included; on a GPU what PyTorch
reserved, what TensorFlow allocated, and what we planned, without parameters.
Loading, from a process' start, and warm-up, one step (compiling, tuning, packing
weights), are told apart from the step. A gradient that is too far off is said,
and never the best variant's. OMP_NUM_THREADS and its like do not count.

environment:
  TORCH_PYTHON, TENSORFLOW_PYTHON   other Pythons that have the peers
  PAREIDOLIA_PROGRAM                ours (default: build/pareidolia)
END
}

fail() {
    echo "compare_peers.sh: $*" >&2
    exit 1
}

wrong() {
    echo "compare_peers.sh: $*" >&2
    exit 2
}

note() {
    echo "compare_peers.sh: $*" >&2
    notes+=("$*")
}

known_peers="torch:eager torch:channels_last torch:compile torch:compile_joint keras:graph keras:xla"
device=cpu sizes="256 512 1024" precisions='' peers=default layer=activation_41 rounds=5 seconds=3 threads=0
program=${PAREIDOLIA_PROGRAM:-build/pareidolia}
weights=${PAREIDOLIA_WEIGHTS:-} photograph=docs/coffee.jpg json='' markdown='' notes=()
[ -n "$weights" ] ||
    weights=${XDG_CACHE_HOME:-${HOME:-}/.cache}/pareidolia/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5
while [ $# -gt 0 ]; do
    case $1 in
    --help) usage && exit ;;
    --device | --sizes | --precisions | --peers | --layer | --rounds | --seconds | --threads | --weights | --picture | \
        --output | --json) [ $# -ge 2 ] || wrong "$1 wants a value" ;;
    *) wrong "there is no option $1; --help lists them" ;;
    esac
    case $1 in
    --device) device=$2 ;;
    --sizes) sizes=$2 ;;
    --precisions) precisions=$2 ;;
    --peers) peers=$2 ;;
    --layer) layer=$2 ;;
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --threads) threads=$2 ;;
    --weights) weights=$2 ;;
    --picture) photograph=$2 ;;
    --json) json=$2 ;;
    --output)
        case $2 in
        *.json) json=$2 ;;
        *.md) markdown=$2 ;;
        *) wrong "--output $2 ends neither with .md nor with .json" ;;
        esac
        ;;
    esac
    shift 2
done
case $device in
cpu) precisions=${precisions:-fp32 bf16} default=${known_peers% keras:xla} ;;
cuda) precisions=${precisions:-fp16 bf16 tf32 fp32} default=$known_peers ;;
*) wrong "--device $device is neither cpu nor cuda" ;;
esac
[ "$peers" != default ] || peers=$default
for number in $sizes $rounds $threads; do
    [[ $number =~ ^[0-9]+$ ]] || wrong "$number is not a whole number"
done
[ "$rounds" -ge 1 ] || wrong "--rounds must be at least 1"
[ -f "$weights" ] || fail "no weights at $weights: weights/fetch.sh fetches them, --weights names others"
[ -x "$program" ] || fail "$program is not there: ./setup.sh && cmake --build build"
command -v python3 >/dev/null || fail "python3 is missing"

# finish: the tables of what was measured, also after a failure or Ctrl-C.
finish() {
    local titles peer ours_version
    [ -s "$work/runs.jsonl" ] || return 0
    ours_version=$(sed -n 's/.*"version": "\(pareidolia [^"]*\)".*/\1/p' "$work/runs.jsonl" | head -n 1)
    titles=("$(date +%F), $machine${ours_version:+, $ours_version}")
    titles+=("$layer, loss and gradient; medians of $rounds rounds; ratios within a round, median (least..most)")
    for peer in torch keras; do
        [ -z "${version[$peer]:-}" ] || titles+=("${version[$peer]}")
    done
    titles+=(${notes[@]+"${notes[@]}"})
    {
        printf '%s  \n' "${titles[@]}"
        echo
        python3 bench/peers/table.py "$work/runs.jsonl"
    } >"$work/table.md"
    cat "$work/table.md"
    [ -z "$markdown" ] || cp "$work/table.md" "$markdown"
    [ -z "$json" ] || python3 bench/peers/table.py "$work/runs.jsonl" "$json" "${titles[@]}"
}

# Nobody's number of threads but --threads'; nproc heeds it, too.
unset "${!OMP_@}" "${!GOMP_@}" "${!KMP_@}" "${!MKL_@}" "${!OPENBLAS_@}" "${!TF_NUM_@}"
machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
[ "$device" = cpu ] ||
    machine="$({ nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || echo '? GPU'; } 2>/dev/null |
        head -n 1), $machine"
work=$(mktemp -d)
trap 'finish; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
: >"$work/runs.jsonl"
# Compiled anew in this run, but only once for each size and precision.
export TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton

# The Python that has a peer, and what prints its version.
python_of() {
    case $1 in
    torch) echo "${TORCH_PYTHON:-build/peers/torch/bin/python}" ;;
    keras) echo "${TENSORFLOW_PYTHON:-build/peers/tensorflow/bin/python}" ;;
    esac
}
version_of() {
    local code='import torch; print("PyTorch", torch.__version__)'
    [ "$1" = torch ] ||
        code='import tensorflow, keras; print(f"TensorFlow {tensorflow.__version__}, Keras {keras.__version__}")'
    "$(python_of "$1")" -c "import h5py, numpy, PIL; $code" 2>/dev/null
}

declare -A version
entries=() helper=''
for entry in $peers; do
    peer=${entry%%:*}
    [[ " $known_peers " = *" $entry "* ]] || wrong "there is no peer $entry (known: $known_peers)"
    python=$(python_of "$peer")
    if [ -z "${version[$peer]+looked}" ]; then
        version[$peer]=$(version_of "$peer") ||
            note "skipped: $peer is not installed at $python; bench/peers/setup.sh installs it"
    fi
    [ -n "${version[$peer]}" ] || continue
    entries+=("$entry")
    helper=${helper:-$python}
done
[ -n "$helper" ] || note "no gradient is compared, as no peer's Python is there to do it"

# ours SIZE PRECISION [GRADIENT]: one run of our step, in the form of the peers' lines, and the gradient at the
# photograph. All that knows how ours is timed.
ours() {
    local options=(--device "$device" --precision "$2" --weights "$weights" --layer "$layer" --threads "$threads")
    [ "$device" = cpu ] || options+=(--tune)
    "$program" bench --json "${options[@]}" --sizes "$1" --seconds "$seconds" >"$work/ours.json" || return
    [ -z "${3:-}" ] || "$program" dump "$work/x.png" "${options[@]}" --gradient "$3" >/dev/null || return
    python3 bench/peers/ours.py "$work/ours.json"
}

# theirs SIZE PRECISION PEER VARIANT [GRADIENT]
theirs() {
    local options=(--weights "$weights" --layer "$layer" --width "$1" --height "$1" --device "$device" --precision "$2")
    [ -z "${5:-}" ] || options+=(--picture "$work/x.npy" --gradient "$5")
    "$(python_of "$3")" "bench/peers/$3_step.py" "${options[@]}" --variant "$4" --seconds "$seconds" \
        --threads "$threads"
}

# Why the last run of a peer has failed: its last line, or that there is none.
reason() { tail -n 1 "$work/stderr" | grep . || echo "it ended without a word, perhaps for want of memory"; }

# record LINE ROUND [GRADIENT]: keeps a run, with what is wrong with its gradient.
record() {
    local line=${1/#\{/\{\"round\": $2, } error
    if [ -n "${3:-}" ]; then
        error=$("$helper" bench/peers/gradient_error.py "$work/reference.npy" "$3") || fail "no gradient can be compared"
        line="${line%\}}, \"error\": $error}"
    fi
    echo "$line" >>"$work/runs.jsonl"
}

# run SIZE PRECISION ROUND ENTRY: one program, once; its gradient in the first round. 1: a peer that has failed.
run() {
    local gradient='' line
    if [ "$3" = 1 ] && [ -n "$helper" ]; then gradient=$work/g.npy; fi
    if [ "$4" = ours ]; then
        line=$(ours "$1" "$2" "$gradient") || fail "our own program has failed at $1, $2"
    elif ! line=$(theirs "$1" "$2" "${4%%:*}" "${4#*:}" "$gradient" 2>"$work/stderr"); then
        note "skipped: ${4/:/ } at $1, $2: $(reason)"
        return 1
    fi
    record "$line" "$3" "$gradient"
}

# measure SIZE PRECISION: all programs, all rounds. Each round begins with another one: who follows whom, and who comes
# when the machine is warm, is not always the same.
measure() {
    local size=$1 precision=$2 round entry turn next left=(ours ${entries[@]+"${entries[@]}"})
    for round in $(seq "$rounds"); do
        echo "compare_peers.sh: $size $precision, round $round of $rounds" >&2
        turn=("${left[@]}") left=()
        for entry in "${turn[@]}"; do
            if run "$size" "$precision" "$round" "$entry"; then left+=("$entry"); fi
        done
        next=${left[0]}
        left=("${left[@]:1}" "$next")
    done
}

for size in $sizes; do
    if [ -n "$helper" ]; then
        "$helper" bench/peers/picture.py "$photograph" "$size" "$size" "$work/x.png" "$work/x.npy"
        "$program" dump "$work/x.png" --weights "$weights" --layer "$layer" --device reference \
            --gradient "$work/reference.npy" >/dev/null
    fi
    for precision in $precisions; do
        measure "$size" "$precision"
    done
done
