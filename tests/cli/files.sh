#!/bin/sh
# Files that cannot be read or written: one sentence that names the file, exit status 1 or 2, nothing left behind.
. "$(dirname "$0")/expect.sh"

cp "$data/small.png" picture.png
quick="--device cpu --layer activation_3 --octaves 2 --iterations 1"

# Pictures
printf 'Dear diary\n' >text.jpg
: >empty.png
head -c 2000 picture.png >cut.png
mkdir directory directory.png
expect 1 '' 'pareidolia: none.png: cannot be opened: No such file or directory' dream none.png
expect 1 '' 'pareidolia: directory: is a directory, not a picture' dream directory
expect 1 '' 'pareidolia: text.jpg: neither a PNG nor a JPEG picture; *' dream text.jpg
expect 1 '' 'pareidolia: empty.png: the file is empty' dream empty.png
expect 1 '' 'pareidolia: cut.png: *' dream cut.png
expect 1 '' 'pareidolia: text.jpg: neither a PNG nor a JPEG picture; *' classify text.jpg
expect 1 '' 'pareidolia: */pixel.png: the picture is 1x1 pixels; activation_41 is stimulated from 107x107 on*' \
    dream "$data/pixel.png"
if [ "$(id -u)" -eq 0 ]; then
    skip "unreadable picture: root reads everything"
else
    cp picture.png secret.png
    chmod 0 secret.png
    expect 1 '' 'pareidolia: secret.png: cannot be opened: Permission denied' dream secret.png
fi

# Outputs
expect 1 '' 'pareidolia: none/out.png: *No such file or directory' dream picture.png -o none/out.png
expect 1 '' 'pareidolia: out.gif: cannot tell the format to write; *' dream picture.png -o out.gif
expect 1 '' 'pareidolia: directory.png: cannot be written: it is a directory; *' dream picture.png -o directory.png
ln -s picture.png link.png
expect 2 '' 'pareidolia: ./picture.png: is the picture itself; *' dream picture.png -o ./picture.png
expect 2 '' 'pareidolia: link.png: is the picture itself; *' dream picture.png -o link.png
expect 2 '' 'pareidolia: --log out.png: is the result; give the log another name' \
    dream picture.png -o out.png --log out.png
ln picture.png m.png
cp picture.png mask.png
expect 2 '' 'pareidolia: ./mask.png: is the mask; give the result another name' \
    dream picture.png --mask mask.png -o ./mask.png
expect 2 '' 'pareidolia: --log mask.png: is the mask; *' dream picture.png --mask mask.png --log mask.png
expect 2 '' 'pareidolia: --checkpoint mask.png: is the mask; *' dream picture.png --mask mask.png --checkpoint mask.png
expect 2 '' 'pareidolia: --checkpoint m.png: is the picture itself; *' dream picture.png --checkpoint m.png
mv mask.png final_dream.png
expect 1 '' 'pareidolia: --save-octaves .: would write over final_dream.png there, the mask; choose another directory' \
    dream picture.png --mask final_dream.png --save-octaves .
cp "$here/../../weights/half_width.safetensors" final_dream.png
expect 1 '' 'pareidolia: --save-octaves .: would write over final_dream.png there, the file of weights; *' \
    dream picture.png --weights final_dream.png --save-octaves .
mv final_dream.png weights.png
expect 2 '' 'pareidolia: weights.png: is the file of weights; *' dream picture.png --weights weights.png -o weights.png
expect 2 '' 'pareidolia: --log weights.png: is the file of weights; *' dream picture.png --weights weights.png --log weights.png
rm -f m.png weights.png
# Larger than a JPEG can be, and masks of another size: said before the weights are looked for.
expect 1 '' 'pareidolia: out.jpg: 65501 x * pixels; a JPEG picture has at most 65500 a side, write a .png' \
    dream picture.png --width 65501 --height 1 -o out.jpg --weights none.h5
cp "$data/pixel.png" mask.png
expect 1 '' 'pareidolia: --mask mask.png: is 1x1 pixels, the picture 160x120; make it the same size' \
    dream picture.png --mask mask.png --weights none.h5
rm mask.png
expect 1 '' 'pareidolia: --log: none/log.json: *' dream picture.png --log none/log.json
expect 1 '' 'pareidolia: --save-octaves: none: No such file or directory; make the directory first' \
    dream picture.png --save-octaves none
expect 1 '' 'pareidolia: --save-octaves: text.jpg: is not a directory' dream picture.png --save-octaves text.jpg
expect 2 '' 'pareidolia: a.npy: cannot be both activation and gradient' \
    dump picture.png --activation a.npy --gradient a.npy

# A disk that is full: a limit on the size of files fails in the same place, the write. What is printed is cut
# at 4096 bytes, too, which is more than it needs.
# shellcheck disable=SC2086 # $quick is several arguments
(
    ulimit -f 8
    expect 1 '' '*pareidolia: out.png: cannot be written: *' dream picture.png -o out.png $quick
    [ "$failures" -eq 0 ]
) || fail "full disk"
if [ -w /dev/full ]; then
    "$program" layers >/dev/full 2>"$work/err"
    [ $? -eq 1 ] || fail "layers >/dev/full: exit status is not 1"
    compare stderr 'pareidolia: standard output: cannot be written: No space left on device' "$work/err" /dev/full
else
    skip "full disk below stdout: there is no /dev/full"
fi

# Weights
printf 'not HDF5 at all' >text.h5
# A safetensors header of 112 bytes, whose only tensor ends far behind the file.
{
    printf '\160\0\0\0\0\0\0\0'
    printf '%-112s' '{"Conv2d_1a_3x3.conv.weight":{"dtype":"F32","shape":[32,3,3,3],"data_offsets":[0,3456]}}'
    printf 'four'
} >lying.safetensors
expect 1 '' 'pareidolia: none.h5: No such file or directory' dream picture.png --weights none.h5
expect 1 '' 'pareidolia: text.h5: is neither HDF5 (Keras*s .h5) nor safetensors, *' dream picture.png --weights text.h5
expect 1 '' 'pareidolia: lying.safetensors: *' dream picture.png --weights lying.safetensors

finish
