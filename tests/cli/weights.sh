#!/bin/sh
# The whole network, the embedded one, and files of weights that lack a part of it. Real weights without conv2d_82 and the dense layer
# are taken from $PAREIDOLIA_WEIGHTS, where they are.
. "$(dirname "$0")/expect.sh"

cp "$data/small.png" picture.png
labels=$work/labels.tsv
i=0
while [ $i -lt 1000 ]; do
    printf 'n%08d\tthing %d\n' $i $i
    i=$((i + 1))
done >"$labels"

expect 0 '   1 * thing * (n0*)
   2 * thing * (n0*)' 'pareidolia: the weights are untrained*' \
    classify picture.png --device cpu --weights untrained --top 2 --labels "$labels"
expect 0 '   1 * class *' '*pareidolia: classes have numbers only: *' classify picture.png --device cpu --weights untrained --top 1
expect 1 '' 'pareidolia: */pixel.png: the picture is 1x1 pixels; predictions is reached from 75x75 on' \
    classify "$data/pixel.png" --weights untrained

expect 1 '' 'pareidolia: no weights in *: run weights/fetch.sh --top once, or *' classify picture.png --device cpu
expect 1 '' 'pareidolia: predictions is not in these weights: embedded: conv2d_51 *weights/fetch.sh gets the real network (--top: with its classes)*' \
    classify picture.png --device cpu --weights embedded

# The channels that a file has; layers that it lacks are listed without.
expect 0 '*activation_41 *17x17x96 *mixed5 *17x17x384 *activation_51 *absent *
1283440 parameters*' '' layers --weights embedded

if [ -z "$user_weights" ] || [ "$user_weights" = untrained ]; then
    skip "weights that lack a layer: PAREIDOLIA_WEIGHTS is not set"
else
    run classify picture.png --device cpu --weights "$user_weights" --labels "$labels"
    if [ "$status" -eq 0 ]; then
        skip "weights that lack a layer: $user_weights is complete"
    else
        expect 1 '' "pareidolia: *$user_weights: *conv2d_82*" \
            dump picture.png --device cpu --layer mixed9 --weights "$user_weights"
        expect 1 '' "pareidolia: predictions is not in these weights: $user_weights: *" \
            classify picture.png --device cpu --weights "$user_weights"
    fi
fi

finish
