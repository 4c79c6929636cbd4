#!/bin/sh
# Fetches Keras's own published Inception-v3 weights, and with --top its class names, into the cache directory, where
# `weights_find` and `labels_read` look. A file appears under its name only when its MD5 is the published one; an
# interrupted fetch leaves NAME.part and the next one goes on from there.
set -eu

usage() {
    cat <<'END'
usage: weights/fetch.sh [--top]

Fetches the weights of Keras's Inception-v3, trained on ImageNet, into
${XDG_CACHE_HOME:-~/.cache}/pareidolia.

  --top   the whole network, with the dense layer and the names of the 1000
          classes (96 MB), instead of the convolutions alone (88 MB)

environment:
  PAREIDOLIA_WEIGHTS_URL   fetch from this address (a directory; https://,
                           http:// or file://) instead of Keras's
  PAREIDOLIA_WEIGHTS_MD5   expect this checksum of the weights instead of the
                           published one, for a mirror with weights of its own
END
}

fail() {
    echo "fetch.sh: $*" >&2
    exit 1
}

# md5_is FILE MD5
md5_is() {
    sum=none
    [ -f "$1" ] || return 1
    sum=$(md5sum <"$1") || fail "md5sum failed on $1"
    [ "${sum%% *}" = "$2" ]
}

# download URL PART: goes on after what PART has. Fails quickly without a network, and when nothing arrives any more.
download() {
    if command -v curl >/dev/null; then
        bar=--silent
        [ ! -t 2 ] || bar=--progress-bar
        curl --fail --location "$bar" --connect-timeout 10 --speed-limit 1 --speed-time 30 --retry 2 \
            --continue-at - --output "$2" "$1"
    elif command -v wget >/dev/null; then
        bar=--quiet
        [ ! -t 2 ] || bar='--quiet --show-progress'
        # shellcheck disable=SC2086 # two options or one
        wget $bar --timeout=10 --tries=3 --continue --output-document="$2" "$1"
    else
        fail "neither curl nor wget is installed"
    fi
}

# fetch URL MD5: URL's last part is the file's name.
fetch() {
    file=$cache/${1##*/}
    part=$file.part
    if md5_is "$file" "$2"; then
        echo "$file is there"
        return
    fi
    # A part may be whole already, and servers refuse to go on after the end.
    if ! md5_is "$part" "$2"; then
        download "$1" "$part" || fail "cannot fetch $1 (exit $? of the download); try again, or name a mirror" \
            "in PAREIDOLIA_WEIGHTS_URL"
        if ! md5_is "$part" "$2"; then
            rm -f "$part"
            fail "$1 has the wrong checksum (MD5 ${sum%% *}, not $2); removed it: try again, or another mirror"
        fi
    fi
    mv -f "$part" "$file"
    echo "$file"
}

top=
for argument; do
    case $argument in
    --top) top=1 ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        echo "fetch.sh: no such option: $argument" >&2
        usage >&2
        exit 2
        ;;
    esac
done

weights_url=${PAREIDOLIA_WEIGHTS_URL:-https://storage.googleapis.com/tensorflow/keras-applications/inception_v3}
labels_url=${PAREIDOLIA_WEIGHTS_URL:-https://storage.googleapis.com/download.tensorflow.org/data}
name=inception_v3_weights_tf_dim_ordering_tf_kernels

cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/pareidolia
mkdir -p "$cache" || fail "cannot make the directory $cache"

if [ "$top" ]; then
    fetch "${weights_url%/}/$name.h5" "${PAREIDOLIA_WEIGHTS_MD5:-9a0d58056eeedaa3f26cb7ebd46da564}"
    fetch "${labels_url%/}/imagenet_class_index.json" c2c37ea517e94d9795004a39431a14cb
else
    fetch "${weights_url%/}/${name}_notop.h5" "${PAREIDOLIA_WEIGHTS_MD5:-bcbd6486424b2319ff4ef7d526e38f63}"
fi
