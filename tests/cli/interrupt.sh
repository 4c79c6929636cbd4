#!/bin/sh
# shellcheck disable=SC2086 # $endless, $long and $interrupting are lists of words
# Ctrl-C and its relatives: the first ends a dream after the step and leaves the picture as far as it is, the second
# ends it at once. Signals are sent once a file or a line of the program's says that it dreams, never after a time.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"

export OMP_WAIT_POLICY=passive

cp "$data/small.png" picture.png
endless="--device cpu --weights embedded --layer mixed0 --octaves 2 --iterations 1000000 --step 0"
notices='pareidolia: the weights are the small network *
pareidolia: with that network *
160x120 in one piece*'

# A shell without job control lets background commands ignore SIGINT; env can undo that.
if env --default-signal=INT true 2>/dev/null; then
    interrupting="env --default-signal=INT"
    signals="INT TERM HUP"
else
    interrupting=
    signals="TERM HUP"
    skip "Ctrl-C: env does not know --default-signal; TERM and HUP do the same"
fi

# begin ARGUMENT...: runs the program in the background, as $child.
begin() {
    : >"$work/err" # what the one before has said must not be taken for this one's
    $interrupting "$program" "$@" >"$work/out" 2>"$work/err" </dev/null &
    child=$!
}

# until_true COMMAND...: waits for it, as long as $child lives.
until_true() {
    while ! "$@" && kill -0 $child 2>/dev/null; do sleep 0.02; done
}

# end: waits for $child; its status is in $status.
end() {
    wait $child 2>/dev/null
    status=$?
}

says() {
    grep -q "$1" "$work/err"
}

no_temporary() {
    [ -z "$(find . -name '*pareidolia-*')" ] || fail "$1: left half a file behind: $(find . -name '*pareidolia-*')"
}

# partial FILE WHERE: the picture is marked so.
partial() {
    grep -aq "partial: interrupted in $2" "$1" || fail "$1: is not marked as partial"
}

# In the first octave, of a PNG: full size, marked, the log says so, no pictures of octaves that are not done.
mkdir octaves
for signal in $signals; do
    begin dream picture.png $endless -o first.png --checkpoint state --checkpoint-every 0 --log first.json \
        --save-octaves octaves
    until_true test -s state
    kill -$signal $child
    end
    [ $status -eq 130 ] || fail "SIG$signal: exit status $status, not 130"
    compare stderr "$notices
first.png
pareidolia: interrupted in octave 1 of 2 after [1-9]* of 1000000 steps: first.png is the dream as far as it was, at full size; go on with --resume state" \
        "$work/err" "SIG$signal"
    partial first.png 'octave 1 of 2 after [1-9][0-9]* of 1000000 steps'
    [ "$(od -A n -t u1 -j 16 -N 8 first.png | tr -s ' ')" = ' 0 0 0 160 0 0 0 120' ] || fail "SIG$signal: not full size"
    grep -q '"partial":[[:space:]]*true' first.json || fail "SIG$signal: the log does not say partial"
    [ -z "$(ls octaves)" ] || fail "SIG$signal: --save-octaves wrote $(ls octaves)"
    no_temporary "SIG$signal"
    # It is a whole picture; steps of length 0 have left it nearly the one that was.
    expect 0 'loss *' '*' dump first.png --device cpu --weights embedded --layer mixed0
    rm -f first.png first.json state
done

# Behind the first octave, of a JPEG, without a checkpoint; the picture of the octave that is done is there.
begin dream picture.png $endless -o second.jpg --max-loss 0 --save-octaves octaves
end
[ $status -eq 0 ] || fail "an octave left at once: exit status $status"
grep -aq 'partial:' second.jpg && fail "a whole dream is marked as partial"
rm -f octaves/* second.jpg
begin dream picture.png --device cpu --weights embedded --layer mixed3 --octaves 2 --octave-scale 2 \
    --iterations 1000000 --step 0 -o second.jpg --save-octaves octaves
until_true says '^octave 1/2'
kill -TERM $child
end
[ $status -eq 130 ] || fail "second octave: exit status $status, not 130"
compare stderr "*
octave 1/2 (80x60): too small for mixed3 to be stimulated; left as it is
second.jpg
pareidolia: interrupted in octave * of 2 after * of 1000000 steps: second.jpg is the dream as far as it was, at full size" \
    "$work/err" "second octave"
partial second.jpg 'octave [12] of 2 after [0-9]* of 1000000 steps'
[ "$(ls octaves)" = 'dream_at_scale_(60, 80).png' ] || fail "second octave: --save-octaves wrote $(ls octaves)"
rm -f octaves/* second.jpg

# What is ignored from outside stays ignored (nohup).
(
    trap '' HUP
    exec "$program" dream picture.png $endless -o nohup.png --checkpoint state --checkpoint-every 0 --quiet
) >"$work/out" 2>"$work/err" </dev/null &
child=$!
until_true test -s state
kill -HUP $child
cp state before
until_true eval '! cmp -s state before'
kill -0 $child 2>/dev/null || fail "nohup: ended by SIGHUP"
kill -TERM $child
end
[ $status -eq 130 ] || fail "nohup: exit status $status, not 130"
rm -f state before nohup.png

# The second signal ends at once. Both wait while the program is stopped, so that it gets them together; it is
# stopped again and again until that is in the middle of writing a checkpoint.
stopped() {
    case $(sed 's/.*) //' /proc/$child/stat 2>/dev/null) in
    T*) ;;
    *) false ;;
    esac
}
stopped_writing() {
    kill -STOP $child
    until_true stopped
    [ -n "$(find . -name '.state.pareidolia-*' -size +0)" ] && [ -s state ] && return
    kill -CONT $child
    false
}
if [ -r /proc/self/stat ]; then
    begin dream picture.png $endless -o twice.png --checkpoint state --checkpoint-every 0 --quiet --threads 1
    until_true stopped_writing
    kill -TERM $child
    kill -HUP $child
    kill -CONT $child
    end
    [ $status -eq 143 ] || [ $status -eq 129 ] || fail "two signals: exit status $status"
    compare stderr '' "$work/err" "two signals"
    [ ! -e twice.png ] || fail "two signals: a picture was written"
    no_temporary "two signals"
    [ "$(head -c 22 state)" = 'pareidolia checkpoint ' ] || fail "two signals: no checkpoint"
    rm -f state
else
    skip "two signals: there is no /proc"
fi

# Interrupted, gone on with, interrupted again, gone on with: the bytes of a dream without a break. Where the program
# was quicker than this script, again.
long="--device reference --weights embedded --layer mixed0 --octaves 2 --iterations 16 --step 0.02"
expect 0 '' '' dream picture.png $long -o whole.png --quiet
attempts=0
while [ $attempts -lt 5 ]; do
    attempts=$((attempts + 1))
    begin dream picture.png $long -o again.png --checkpoint state --checkpoint-every 0 --quiet
    until_true test -s state
    kill -TERM $child 2>/dev/null
    end
    [ $status -eq 130 ] || continue
    cp state before
    begin dream picture.png $long -o again.png --resume before --checkpoint state --checkpoint-every 0 --quiet
    until_true eval '! cmp -s state before'
    kill -TERM $child 2>/dev/null
    end
    [ $status -eq 130 ] && break
done
if [ $status -eq 130 ]; then
    partial again.png 'octave [12] of 2 after [0-9]* of 16 steps'
    expect 0 '' '' dream picture.png $long -o again.png --resume state --quiet --log again.json
    same whole.png again.png
    grep -q '"partial":[[:space:]]*false' again.json || fail "the log of a dream that was gone on with says partial"
else
    fail "a dream could not be interrupted twice: exit status $status, $(cat "$work/err")"
fi

finish
