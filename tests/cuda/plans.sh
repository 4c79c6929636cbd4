#!/bin/sh
# Asks the real cuDNN for the network's plans on described GPUs, run-time compiled ones too. usage: plans.sh PLANS
# sample|all, PLANS being the program plans.c. `sample` takes seconds; `all` takes minutes, and its output is committed
# as bench/results/cudnn_plans.txt.
set -eu
plans=$1 part=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/libcuda.sh" "$work"
export LD_LIBRARY_PATH="$work${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
cd "$here/gpus"

if [ "$part" = sample ]; then
    "$plans" h200.json fp16 512x384 activation_41 fused 5
    "$plans" rtx3090.json bf16 512x384 activation_3 fused 2
    exit
fi
for gpu in h200 h100 a100 rtx3090 rtx4090; do
    for precision in fp16 bf16 tf32 fp32; do
        fused=fused
        [ $precision != fp32 ] || fused= # cuDNN compiles none without tensor cores
        # shellcheck disable=SC2086 # nothing where it is empty
        "$plans" $gpu.json $precision 512x384 mixed10 $fused
        # shellcheck disable=SC2086
        "$plans" $gpu.json $precision 107x107 activation_41 $fused
        "$plans" $gpu.json $precision 16384x16384 activation_41
    done
done
