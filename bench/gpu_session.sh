#!/bin/bash
# shellcheck disable=SC2317 # stages are called by their names
# Everything that only a GPU can tell, in one run of under 9 minutes: builds, tests, dreams, times, and looks for races
# and stray accesses. Wants CUDA, cuDNN 9, CMake and a compiler; what else we link comes from gpu_kit/ (made elsewhere
# by bench/gpu_kit.sh) where that is there, else from the machine. No network; asks Python only where CUDA is.
# usage: bench/gpu_session.sh [RESULTS]              (default: $OUT, else build-gpu/results)
# A stage that fails or runs out of its time is named, and the next one goes on. Prints a short table last; logs, the
# dream and what was timed go to RESULTS, at most 8 files. Ends with 0 where every stage has passed.
# environment: DRY_RUN: 1 takes the emulated GPU and small sizes, 0 a real one in any case (default: by what is there);
# PATIENCE: every stage may take so many times its time (1; dry: 6)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
set -a # a stage runs in a shell of its own, for `timeout`: all that follows is its, too

root=$PWD
dry=${DRY_RUN:-}
if [ -z "$dry" ]; then
    dry=1
    if nvidia-smi -L >/dev/null 2>&1 || [ -e /dev/nvidia0 ]; then
        dry=0
    fi
fi
small=$root/tests/data/small.png
if [ "$dry" = 1 ]; then
    build=$root/build-gpu-emulated mode=" (emulated)" patience=${PATIENCE:-6}
    photograph=$small sizes=107,128 tuned_sizes=107 seconds_each=0.1
    profiled_precisions=fp16 profiled_sizes=107 profiled_seconds=0.01
    dream="--octaves 2 --iterations 3" compare="--octaves 1 --iterations 2"
    tests='^(ops_cuda_(fp16|fp32)_auto|dream_loop_cuda)$'
else
    build=$root/build-gpu mode="" patience=${PATIENCE:-1}
    photograph=$(find gpu_kit -name 'photograph.*' 2>/dev/null | head -n 1)
    photograph=${photograph:-docs/coffee.jpg}
    sizes=256,512,1024,2048,4096 tuned_sizes="1024 512 2048 256 4096" seconds_each=0.7
    profiled_precisions=fp16,fp32 profiled_sizes=1024,4096 profiled_seconds=0.5
    dream="" compare=""
    tests='^(ops_cuda_.*|golden_cuda_.*_(untrained|embedded)|dream_rules_cuda|dream_loop_cuda)$'
fi
results=${1:-${OUT:-$build/results}}
kit=$build/kit
program=$build/pareidolia
layer=activation_41
precisions="fp16 fp32 tf32 bf16" # the most telling ones first
weights=$(find gpu_kit -name 'weights.*' 2>/dev/null | head -n 1)
weights=${weights:-${PAREIDOLIA_WEIGHTS:-untrained}}
XDG_CACHE_HOME=$build/cache # of tuned programs

# --- where CUDA is -------------------------------------------------------------------------------------------

# find_in NAME FOLDER...: the first file of that name, which may be a pattern.
find_in() {
    local folder

    for folder in "${@:2}"; do
        compgen -G "$folder/$1" | head -n 1 | grep . && return
    done
}

# The toolkit, Python's packages, the system: in that order.
find_cuda() {
    local package packages headers libraries library

    mapfile -t packages < <(python3 -c 'import nvidia; print(*nvidia.__path__, sep="\n")' 2>/dev/null)
    nvcc=$(command -v nvcc) ||
        nvcc=$(find_in nvcc /usr/local/cuda/bin "/usr/local/cuda-*/bin" "${packages[@]/%//cu13/bin}")
    toolkit=$(dirname "$(dirname "$(readlink -f "${nvcc:-/none/none}")")")
    headers=("$toolkit" "$toolkit/targets/x86_64-linux")
    for package in "${packages[@]}"; do
        headers+=("$package/cudnn" "$package/cu13" "$package/cublas" "$package/cuda_runtime")
    done
    headers+=(/usr/local /usr)
    libraries=("${headers[@]/%//lib64}" "${headers[@]/%//lib}" /usr/lib/x86_64-linux-gnu)
    headers=("${headers[@]/%//include}" /usr/include/x86_64-linux-gnu)

    cudnn_header=$(find_in cudnn.h "${headers[@]}")
    cublas_header=$(find_in cublasLt.h "${headers[@]}")
    runtime_header=$(find_in cuda_runtime.h "${headers[@]}")
    cudnn=$(find_in 'libcudnn.so.9' "${libraries[@]}")
    cublas=$(find_in 'libcublasLt.so.1[0-9]' "${libraries[@]}")
    runtime=$(find_in 'libcudart.so.1[0-9]' "${libraries[@]}")
    nvrtc=$(find_in 'libnvrtc.so.1[0-9]' "${libraries[@]}")
    loaded=
    for library in "$cudnn" "$cublas" "$runtime" "$nvrtc"; do
        [[ -z $library || :$loaded: == *:"${library%/*}":* ]] || loaded=$loaded:${library%/*}
    done
    loaded=${loaded#:}
    sanitizer=$(command -v compute-sanitizer) ||
        sanitizer=$(find_in compute-sanitizer "$toolkit/bin" "$toolkit/compute-sanitizer" '/usr/local/cuda*/bin' \
            '/opt/nvidia/*' '/usr/local/cuda*/compute-sanitizer')
}

# --- stages: what they print goes to a log, a word or two for the table to $build/note -------------------------

note() {
    echo "$*" >"$build/note"
}

version_of() { # FILE NAME...: numbers that a header defines
    local file=$1

    shift
    for name in "$@"; do
        sed -n "s/^#define $name  *\([0-9]*\).*/\1/p" "$file" | head -n 1
    done | paste -s -d .
}

stage_machine() {
    date -u +%F
    sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
    echo "$(nproc) cores, $(awk '/^MemTotal/ { print int($2 / 1e6 + 0.5) }' /proc/meminfo) GB of memory"
    echo "sources: $(git describe --always --dirty 2>/dev/null || echo 'no git')," \
        "sha256 $(find host cpu cuda weights -name '*.[ch]*' | LC_ALL=C sort | xargs cat | sha256sum | head -c 12)"
    cmake --version | head -n 1
    cc --version | head -n 1
    "$nvcc" --version | sed -n 's/^Cuda compilation tools, /nvcc: /p'
    echo "cuDNN: $cudnn, headers $(version_of "${cudnn_header%/*}/cudnn_version.h" \
        CUDNN_MAJOR CUDNN_MINOR CUDNN_PATCHLEVEL)"
    echo "cuBLASLt: $cublas, headers $(version_of "${cublas_header%/*}/cublas_api.h" \
        CUBLAS_VER_MAJOR CUBLAS_VER_MINOR CUBLAS_VER_PATCH CUBLAS_VER_BUILD)"
    echo "CUDA runtime: $runtime"
    echo "compute-sanitizer: $sanitizer"
    [ "$dry" = 1 ] && return
    nvidia-smi --format=csv \
        --query-gpu=name,driver_version,memory.total,compute_cap,clocks.max.sm,clocks.max.mem,power.limit || return
    nvidia-smi -q -d CLOCK,PERFORMANCE,TEMPERATURE | head -n 80
    note "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)"
}

stage_build() {
    local ninja capability arguments=(-DCMAKE_BUILD_TYPE=Release) paths=

    ninja=$(command -v ninja) ||
        ninja=$(python3 -c 'import ninja; print(ninja.BIN_DIR + "/ninja")' 2>/dev/null) || ninja=
    if [ -n "$ninja" ]; then
        arguments+=(-G Ninja "-DCMAKE_MAKE_PROGRAM=$ninja")
    fi
    if [ -d gpu_kit ]; then
        rm -rf "$kit"
        mkdir -p "$kit"
        (cd "$kit" && cmake -E tar xf "$root/gpu_kit/libraries.tar.xz") || return # xz is not everywhere
        # The kit's libraries are for its pkgconf and for our programs, not for the machine's tools.
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%s PKG_CONFIG_LIBDIR=%s exec %s "$@"\n' "$kit/lib" "$kit/lib/pkgconfig" \
            "$kit/bin/pkgconf" >"$kit/bin/pkg-config"
        chmod +x "$kit/bin/pkg-config"
        arguments+=("-DCMAKE_PREFIX_PATH=$kit" "-DPKG_CONFIG_EXECUTABLE=$kit/bin/pkg-config")
        paths=,-rpath,$kit/lib,-rpath-link,$kit/lib
    fi
    if [ "$dry" = 1 ]; then
        arguments+=(-DPAREIDOLIA_CUDA=EMULATED)
    else
        capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .) || capability=
        paths=$paths,-rpath,$loaded
        # Names without a version are not everywhere, so whole paths.
        arguments+=(-DPAREIDOLIA_CUDA=ON "-DCMAKE_CUDA_COMPILER=$nvcc" "-DCUDAToolkit_ROOT=$toolkit"
            "-DCMAKE_CUDA_FLAGS=-lineinfo" "-DCUDNN_LIBRARY=$cudnn" "-DCUDA_cublasLt_LIBRARY=$cublas"
            "-DCUDA_cudart_LIBRARY=$runtime" "-DCUDNN_INCLUDE=${cudnn_header%/*};${cublas_header%/*}"
            ${capability:+"-DCMAKE_CUDA_ARCHITECTURES=$capability"})
    fi
    # An RPATH, not a RUNPATH: it is searched for what libraries need in turn, too.
    cmake -S . -B "$build" "${arguments[@]}" "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags$paths" || return
    cmake --build "$build" --parallel "$(nproc)" || return
    "$program" --version
}

# What cuDNN knows of this GPU.
stage_properties() {
    "$(command -v cc || echo gcc)" -o "$build/gpu_properties" bench/gpu_properties.c -I"${cudnn_header%/*}" \
        -I"${runtime_header%/*}" "$cudnn" "-Wl,-rpath,$loaded" -Wl,--unresolved-symbols=ignore-in-shared-libs || return
    "$build/gpu_properties" >"$results/device.json"
}

# The cases of tests/, on this device: single operations against the reference, goldens that we carry, dreams.
stage_tests() {
    local log=$build/tests.log status=0 jobs=$(($(nproc) / 2))

    jobs=$((jobs < 1 ? 1 : jobs > 8 ? 8 : jobs))
    OMP_NUM_THREADS=$(($(nproc) / jobs)) OMP_WAIT_POLICY=passive ctest --test-dir "$build" --no-tests=error -V \
        -j "$jobs" -R "$tests" >"$log" 2>&1 || status=1
    cat "$log"
    if grep '\*\*\*Skipped' "$log"; then # there is no GPU, after all
        status=1
    fi
    note "$(grep -c '   Passed ' "$log") of $(grep -c '^ *[0-9]*/[0-9]* Test ' "$log") tests"
    return "$status"
}

# Two dreams of the same bytes at every precision; the first one is there to be looked at.
stage_dreams() {
    local precision status=0 same=0 turn

    for precision in $precisions; do
        for turn in 1 2; do
            # shellcheck disable=SC2086 # a list of words
            "$program" dream "$photograph" --device cuda --precision "$precision" --weights "$weights" $dream \
                --output "$build/$precision.$turn.png" --log "$build/$precision.json" || status=1
        done
        [ "$precision" != fp16 ] || cp "$build/fp16.1.png" "$results/dream.png"
        if cmp "$build/$precision.1.png" "$build/$precision.2.png"; then
            same=$((same + 1))
            echo "$precision: two dreams of the same bytes"
        else
            status=1
        fi
        tr -d '\n' <"$build/$precision.json"
        echo
    done
    note "the same bytes at $same of 4 precisions"
    return "$status"
}

# Our step, with the programs that are known beforehand. steps.csv: bench's rows behind "known" or "tuned".
time_steps() { # PROGRAMS PRECISION SIZES
    local tune=()

    [ "$1" = known ] || tune=(--tune)
    "$program" bench --weights "$weights" --layer "$layer" --device cuda --precision "$2" --sizes "$3" \
        --seconds "$seconds_each" "${tune[@]}" --csv |
        awk -v choice="$1" -v begun="$(wc -l <"$results/steps.csv")" '
            NR > 1 { print choice "," $0; fflush() }
            NR == 1 && begun == 0 { print "choice," $0; fflush() }' | tee -a "$results/steps.csv"
}

stage_steps() {
    local precision status=0

    for precision in $precisions; do
        time_steps known "$precision" "$sizes" || status=1
    done
    return "$status"
}

# Where a step's time goes, beside what this GPU can do.
stage_profile() {
    "$program" bench --weights "$weights" --layer "$layer" --device cuda --precision "$profiled_precisions" \
        --sizes "$profiled_sizes" --seconds "$profiled_seconds" --profile >"$build/profile.txt" || return
    cat "$build/profile.txt"
    note "$(awk '$1 == "cuda:0" { printf "%s%s %s: direct convolution at peak %s of the step", separator, $2, $3, $NF; separator = ", " }' \
        "$build/profile.txt")"
}

# PyTorch's step in turns with ours, where a Python has it: the table is in checks.log.
stage_peers() {
    local python=${TORCH_PYTHON:-python3}

    "$python" -c 'import torch, h5py, numpy, PIL' 2>/dev/null || {
        note "no Python here has PyTorch, h5py and Pillow"
        return 0
    }
    TORCH_PYTHON=$python PAREIDOLIA_PROGRAM=$program bench/compare_peers.sh --device cuda --weights "$weights" \
        --layer "$layer" --sizes "1024 512" --precisions "fp16 fp32" --peers "torch:channels_last torch:eager" \
        --rounds 2 --seconds 0.5 >"$build/peers.md" || return
    cat "$build/peers.md"
    note "$(awk -F'|' '/^[|] [0-9]/ && NF > 10 && !seen[$2 $3]++ { printf "%s%s%s:%s", separator, $2, $3, $7
                                                                   separator = "; " }' "$build/peers.md")"
}

# The same with the programs that were fastest here: what --tune is good for, and the file that it keeps.
stage_tuned() {
    local precision size status=0

    mkdir -p "$XDG_CACHE_HOME"
    for precision in $precisions; do
        for size in $tuned_sizes; do
            time_steps tuned "$precision" "$size" || status=1
            cp "$XDG_CACHE_HOME"/pareidolia/programs_*.json "$results" || status=1
        done
    done
    return "$status"
}

# A whole comparison with the CPU, and the layers and gradients with the reference.
stage_compare() {
    local precision against job extent jobs=() logs=() passed=0 threads=$(($(nproc) / 4))

    for precision in $precisions; do
        for against in cpu reference; do
            extent=$compare
            [ "$against" = cpu ] || extent=--steps-only
            logs+=("$build/compare_${precision}_$against.txt")
            # shellcheck disable=SC2086 # a list of words
            OMP_WAIT_POLICY=passive "$program" compare docs/coffee.jpg --device cuda --precision "$precision" \
                --against "$against" --weights "$weights" --layer "$layer" \
                --threads $((threads < 1 ? 1 : threads)) $extent >"${logs[-1]}" 2>&1 &
            jobs+=($!)
        done
    done
    for job in "${!jobs[@]}"; do
        wait "${jobs[job]}" && passed=$((passed + 1))
        cat "${logs[job]}"
        echo
    done
    note "$passed of ${#jobs[@]} comparisons"
    [ "$passed" = ${#jobs[@]} ]
}

sanitize() { # TOOL OPTION...
    [ -n "$sanitizer" ] || { note "no compute-sanitizer here"; return 1; }
    "$sanitizer" --tool "$@" --error-exitcode 9 --print-limit 20 "$program" dream "$small" --device cuda \
        --weights "$weights" --octaves 1 --iterations 3 --output "$build/sanitized.png" >"$build/sanitizer.log" 2>&1
    local status=$?
    cat "$build/sanitizer.log"
    note "$(sed -n 's/^=* \(.*SUMMARY: \)/\1/p' "$build/sanitizer.log" | tail -n 1)"
    [ "$status" -eq 0 ] && grep -q 'SUMMARY: 0 ' "$build/sanitizer.log"
}

# Whether calls succeed is for our own code to see.
stage_memcheck() {
    sanitize memcheck --report-api-errors no
}

# Of our own kernels: those of the libraries are not ours to mend.
stage_racecheck() {
    local kernel ours=()

    while read -r kernel; do
        ours+=(--kernel-name "kns=$kernel")
    done < <(grep -oh '[a-z_]*_kernel\b' cuda/*.cu | sort -u)
    sanitize racecheck "${ours[@]}"
}

find_cuda
if [ "$dry" = 0 ]; then # for what cuDNN loads by name
    LD_LIBRARY_PATH=$loaded${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
set +a

# --- the run -------------------------------------------------------------------------------------------------

# run NAME SECONDS LOG: time that earlier stages have left over is added.
run() {
    local begin=$SECONDS left outcome status

    granted=$((granted + $2 * patience))
    left=$((granted - begin))
    : >"$build/note"
    echo "== $1$mode" >>"$results/$3"
    timeout -k 5 "$left" bash -uo pipefail -c "stage_$1" </dev/null >>"$results/$3" 2>&1
    status=$?
    case $status in
    0) outcome=passed ;;
    124 | 137) outcome="FAILED: ran out of its $left s" ;;
    *) outcome="FAILED: status $status" ;;
    esac
    [ $status -eq 0 ] || all_passed=1
    row "$1" "$((SECONDS - begin))" "$outcome" "$(cat "$build/note")"
}

row() {
    printf '| %s | %s | %s | %s |\n' "$@" >>"$results/summary.md"
    printf '%s%s: %s s, %s. %s\n' "$1" "$mode" "$2" "$3" "$4"
}

# The timings: a row for each precision, a column for each size. What may contain commas stands behind what is read.
table() {
    awk -F, -v sizes="$sizes" -v mode="$mode" '
        BEGIN { n = split(sizes, size, ",") }
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        {
            row = $column["precision"] ", " $column["choice"]
            if (!(row in seen)) { seen[row] = 1; rows[++count] = row }
            cell[row, $column["width"]] = sprintf("%.2f, %.0f, %.0f", 1e3 * $column["seconds_per_step"],
                                                  $column["gflops"], $column["peak_bytes"] / 1e6)
        }
        END {
            printf "| ms a step, GFLOP/s, planned MB%s |", mode; for (i = 1; i <= n; i++) printf " %d |", size[i]
            printf "\n|---|"; for (i = 1; i <= n; i++) printf "---|"
            for (r = 1; r <= count; r++) {
                printf "\n| %s |", rows[r]; for (i = 1; i <= n; i++) printf " %s |", cell[rows[r], size[i]]
            }
            print ""
        }' "$results/steps.csv"
}

mkdir -p "$build" "$results" || exit 1
rm -f "$results"/{summary.md,machine.txt,build.log,checks.log,steps.csv,device.json,dream.png,programs_*.json}
echo "gpu_session$mode: building in $build, results in $results"
printf '| stage%s | s | | |\n|---|---|---|---|\n' "$mode" >"$results/summary.md"
: >"$results/steps.csv"
granted=0 all_passed=0

run machine 10 machine.txt
run build 110 build.log
if [ -x "$program" ]; then
    [ "$dry" = 1 ] || run properties 10 machine.txt
    run tests 75 checks.log
    run dreams 50 checks.log
    run steps 60 checks.log
    run profile 30 checks.log
    if [ "$dry" = 1 ]; then
        row peers 0 skipped "no GPU"
    else
        run peers 45 checks.log
    fi
    run compare 45 checks.log
    if [ "$dry" = 1 ]; then
        row memcheck 0 skipped "no GPU"
        row racecheck 0 skipped "no GPU"
    else
        run memcheck 40 checks.log
        run racecheck 30 checks.log
    fi
    run tuned 40 checks.log
else
    row "all others" 0 "not run" "nothing is built"
fi

for log in "$results"/*.{txt,csv,log}; do # no file above 16 MB
    [ "$(stat -c %s "$log")" -lt 15000000 ] || truncate -s 15000000 "$log"
done
if [ -s "$results/steps.csv" ]; then
    { echo; table; } >>"$results/summary.md"
fi
echo
cat "$results/summary.md"
exit $all_passed
