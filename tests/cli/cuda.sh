#!/bin/sh
# shellcheck disable=SC2086 # $small and $tuned are lists of words
# The CUDA device as a user meets it. On the emulated GPU (second argument: EMULATED) all of it; with the real
# libraries and no GPU what is said then.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"

export OMP_WAIT_POLICY=passive # emulated kernels are short: threads that spin would fight for a busy machine

image=$data/small.png
small="--weights untrained --layer mixed0 --octaves 2 --iterations 2"

if [ "${2:-}" != EMULATED ]; then
    if "$program" dream "$image" --device cuda $small -o probe.png --quiet 2>"$work/err"; then
        skip "there is a GPU here; bench/gpu_session.sh tests it"
        exit 77
    fi
    rm -f probe.png
fi

# No GPU: said by name where one is asked for, one line where the choice is the program's.
export SOFTGPU_DEVICES=0
expect 1 '' 'pareidolia: no CUDA device can be used: *' dream "$image" --device cuda $small
expect 1 '' 'pareidolia: no CUDA device can be used: *' dream "$image" --device cuda:1 $small
expect 0 '' 'pareidolia: no CUDA device can be used: *; computing on the cpu
*' dream "$image" $small -o auto.png
expect 0 '' '' dream "$image" --device cpu $small -o cpu.png --quiet
same auto.png cpu.png
expect 2 '' '*"cuda:x"*' dream "$image" --device cuda:x $small
[ "${2:-}" = EMULATED ] || { finish; exit; }
unset SOFTGPU_DEVICES
export SOFTGPU_STRICT=1 # leaking anything of the GPU is a failure

for precision in fp16 bf16 tf32 fp32; do
    expect 0 '' '' dream "$image" --device cuda --precision $precision $small -o $precision.png --quiet
    SOFTGPU_SEED=7 run dream "$image" --device cuda:1 --precision $precision $small -o again.png --quiet
    [ "$status" -eq 0 ] || fail "$precision again: $(cat "$work/err")"
    same $precision.png again.png
done
expect 0 '' '' dream "$image" $small -o default.png --quiet
same default.png fp16.png
expect 1 '' 'pareidolia: there is no cuda:2; this machine has 2 CUDA devices, numbered from cuda:0' \
    dream "$image" --device cuda:2 $small
expect 2 '' '*"fp64"*fp16, bf16, tf32, fp32*' dream "$image" --device cuda --precision fp64 $small

# Out of memory: before the start, with the bytes.
SOFTGPU_MEMORY=135000000
export SOFTGPU_MEMORY
expect 1 '' 'pareidolia: *MB*cuda:0*' dream "$image" --device cuda $small
unset SOFTGPU_MEMORY

# A failing call names itself; the file is not begun.
for call in 1 5 20 300; do
    SOFTGPU_FAIL_AT=$call
    export SOFTGPU_FAIL_AT
    before=$(ls -A)
    run dream "$image" --device cuda $small -o failed.png --quiet
    [ "$call" = 300 ] || [ "$status" -eq 1 ] || fail "call $call: status $status"
    if [ "$status" -ne 0 ]; then
        [ "$(wc -l <"$work/err")" -eq 1 ] || fail "call $call: $(cat "$work/err")"
        [ "$(ls -A)" = "$before" ] || fail "call $call leaves files behind: $(ls -A)"
    fi
    rm -f failed.png
done
unset SOFTGPU_FAIL_AT

# Tuning: timed once, kept, found again, rebuilt where damaged or not of this GPU; its set of programs has a name.
tuned="dream $image --device cuda --tune --weights untrained --layer activation_5 --octaves 1 --iterations 2 --quiet"
expect 0 '' '' $tuned -o tuned.png --log first.json
file=$(echo "$XDG_CACHE_HOME"/pareidolia/programs_*.json)
[ -f "$file" ] || fail "no tuning file: $file"
cp "$file" kept.json
expect 0 '' '' $tuned -o tuned.png --log second.json
same "$file" kept.json
programs() { sed -n 's/.*"programs":[[:space:]]*"\([0-9a-f]*\)".*/\1/p' "$1"; }
[ -n "$(programs first.json)" ] || fail "no programs in the log"
[ "$(programs first.json)" = "$(programs second.json)" ] || fail "another set of programs from the same file"
sed 's/"rank":[[:space:]]*0/"rank": 1/; s/"engine":[[:space:]]*\([0-9]\)/"engine": 7\1/' kept.json >"$file"
cp "$file" damaged.json
expect 0 '' '' $tuned -o tuned.png
cmp -s "$file" damaged.json && fail "the damaged file was not rebuilt"
head -c 100 kept.json >"$file"
expect 0 '' '' $tuned -o tuned.png
grep -q '"hash"' "$file" || fail "the cut file was not rebuilt"

# Against the reference, from layers to the normalised step; and two GPUs in one program.
for precision in fp16 bf16 tf32 fp32; do
    expect 0 '*' '*' compare "$image" --device cuda --precision $precision --weights untrained --layer mixed0 \
        --steps-only
done
expect 0 '*' '*' compare "$image" --device cuda:0 --against cuda:1 --weights untrained --layer mixed0 --steps-only
finish
