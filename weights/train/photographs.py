"""Gathers photographs into one file: at most 1400 pixels wide, near-duplicates and flat pictures left out.

usage: photographs.py OUT.npz FOLDER_OR_FILE... [--leave-out WORD...] [--only WORD...]
--leave-out: files whose path contains one of the words are never taken: what the network is measured on."""
import argparse
import glob
import os

import numpy as np
from PIL import Image

WIDTH = 1400
Image.MAX_IMAGE_PIXELS = None


def files(places):
    for place in places:
        if os.path.isfile(place):
            yield place
        else:
            yield from sorted(glob.glob(place + '/**/*', recursive=True))


def read(path):
    """The picture as uint8 array, or None where it is no photograph to learn from."""
    if not path.lower().endswith(('.jpg', '.jpeg', '.png', '.webp')) or os.path.islink(path):
        return None
    try:
        image = Image.open(path).convert('RGB')
    except OSError:
        return None
    if min(image.size) < 280:
        return None
    if max(image.size) > WIDTH:
        scale = WIDTH / max(image.size)
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.LANCZOS)
    detail = np.abs(np.diff(np.asarray(image.convert('L'), float))).mean()
    return np.asarray(image) if detail >= 1.5 else None


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('out')
    parser.add_argument('places', nargs='+')
    parser.add_argument('--leave-out', nargs='*', default=[])
    parser.add_argument('--only', nargs='*', default=[''])
    options = parser.parse_args()
    taken, seen = {}, set()
    for path in files(options.places):
        if any(word in path for word in options.leave_out) or not any(word in path for word in options.only):
            continue
        image = read(path)
        if image is None:
            continue
        key = tuple(np.asarray(Image.fromarray(image).resize((8, 8))).ravel() // 24)
        if key in seen:
            continue
        seen.add(key)
        name = f'{len(taken):03d}_{os.path.basename(path)}'
        taken[name] = image
        print(name, image.shape[1], 'x', image.shape[0], flush=True)
    np.savez(options.out, **taken)


if __name__ == '__main__':
    main()
