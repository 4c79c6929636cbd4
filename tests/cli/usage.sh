#!/bin/sh
# What the program says about itself, and to command lines that it does not understand.
. "$(dirname "$0")/expect.sh"

expect_file help.txt --help
for command in dream plan classify layers dump compare; do
    expect_file "help_$command.txt" "$command" --help
done
expect_file help_dream.txt dream picture.png --octaves 3 -h
expect 0 'pareidolia [0-9]*.[0-9]*.[0-9]*
devices: *reference' '' --version

expect 2 '' 'usage: *pareidolia: which command[?]'
expect 2 '' 'usage: *pareidolia: unknown command "drem"; the nearest is dream' drem

# Options
expect 2 '' 'pareidolia: unknown option --iteration; the nearest is --iterations (pareidolia dream --help lists all)' \
    dream --iteration 3 a.png
expect 2 '' 'pareidolia: unknown option -x (pareidolia dream --help lists all)' dream -x a.png
expect 2 '' 'pareidolia: --output: needs a value (FILE)' dream a.png -o
expect 2 '' 'pareidolia: --output: needs a value (FILE)' dream a.png --output --quiet
expect 2 '' 'pareidolia: --layer: needs a value (NAME)' dream a.png --layer=
expect 2 '' 'pareidolia: --quiet=yes: takes no value' dream a.png --quiet=yes
expect 2 '' 'pareidolia: dream needs IMAGE (pareidolia dream --help says more)' dream
expect 2 '' 'pareidolia: "b.png" is one argument too many: dream takes one IMAGE' dream a.png b.png
expect 2 '' 'pareidolia: "a.png" is one argument too many: layers takes options only' layers a.png
expect 2 '' 'pareidolia: "-b.png" is one argument too many: dream takes one IMAGE' dream -- a.png -b.png

# Values
expect 2 '' 'pareidolia: --iterations -1: must be 0 to 1000000' dream a.png --iterations -1
expect 2 '' 'pareidolia: --iterations 2.5: must be a whole number, 0 to 1000000' dream a.png --iterations 2.5
expect 2 '' 'pareidolia: --iterations 99999999999999999999: must be 0 to 1000000' \
    dream a.png --iterations=99999999999999999999
expect 2 '' 'pareidolia: --octaves 0: must be 1 to 100' dream a.png --octaves 0
expect 2 '' 'pareidolia: --octave-scale 1: must be above 1' dream a.png --octave-scale 1
expect 2 '' 'pareidolia: --octave-scale inf: must be a finite number, above 1' dream a.png --octave-scale inf
expect 2 '' 'pareidolia: --step nan: must be a finite number' dream a.png --step nan
expect 2 '' 'pareidolia: --step 1e999: must be a finite number' dream a.png --step 1e999
expect 2 '' 'pareidolia: --max-loss much: must be a finite number, or none' dream a.png --max-loss much
expect 2 '' 'pareidolia: --bits 12: must be 8 or 16, or 0' dream a.png --bits 12
expect 2 '' 'pareidolia: --quality 101: must be 1 to 100' dream a.png --quality 101
expect 2 '' 'pareidolia: --top 0: must be 1 to 1000' classify a.png --top 0
expect 2 '' 'pareidolia: --threads 1025: must be 0 to 1024' dream a.png --threads 1025
expect 2 '' 'pareidolia: unknown device "gpu"; this program has: *cpu, reference' dream a.png --device gpu
expect 2 '' 'pareidolia: unknown device "cpu:1"; this program has: *' dump a.png --device cpu:1
expect 2 '' 'pareidolia: the cpu device has no precision "fp64"; it has: fp32, bf16' \
    dream a.png --device cpu --precision fp64
expect 2 '' 'pareidolia: the reference device has no precision "fp32"; it has: fp64' \
    classify a.png --device reference --precision fp32
expect 2 '' 'pareidolia: --precision fp8: no device that --device auto takes has it; --help lists what each has' \
    dream a.png --precision fp8
expect 2 '' 'pareidolia: --tune=yes: takes no value' dream a.png --tune=yes
expect 2 '' 'pareidolia: --size 299: must be WIDTHxHEIGHT, each 1 to 1000000' layers --size 299
expect 2 '' 'pareidolia: --size 0x5: must be WIDTHxHEIGHT, each 1 to 1000000' layers --size 0x5

# Layers
expect 2 '' 'pareidolia: --layer: there is no layer "activation_95"; the nearest names are activation_9*' \
    dream a.png --layer activation_95
expect 2 '' 'pareidolia: --layer: there is no layer "mixed11"; the nearest names are mixed10, mixed1*' \
    dump a.png --layer mixed11
expect 2 '' 'pareidolia: --layer predictions: cannot be stimulated; *' dream a.png --layer predictions
expect 2 '' 'pareidolia: --strength 1.5: must be 0 to 1' dream a.png --strength 1.5
expect 2 '' 'pareidolia: --layer mixed3:much: the weight must be a finite number' dream a.png --layer mixed3:much
expect 2 '' 'pareidolia: --layer mixed3: is named twice; give it one weight instead' \
    dream a.png --layer mixed3,mixed4:2,mixed3:0.5
expect 2 '' 'pareidolia: --layer: the name of a layer is missing (pareidolia layers lists all)' \
    dream a.png --layer mixed3,
expect 2 '' 'pareidolia: --activation a.npy: writes one layer*s activation; --layer names 2' \
    dump a.png --layer mixed3,mixed4 --activation a.npy

# The table of layers: published numbers (inception_v3: 23.8 million parameters), and shapes at another size
expect 0 'index  name *
    0  input_1  *224x320x3 *
*activation_41 *12x18x192 * 147648 *  351 *   16  mixed4
*23817352 parameters *' '' layers --size 320x224
expect 0 '*mixed10 *concat *  -  *' '' layers --size 60x60
expect 0 '\[*"name":	"activation_12"*"averaged":	true*\]' '' layers --json

finish
