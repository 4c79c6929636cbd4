"""Fits a photograph to a size (bicubic, not keeping its proportions) and writes it twice: PNG for pareidolia, and
the same pixels as x/127.5 - 1 for the peers. usage: picture.py IMAGE WIDTH HEIGHT OUT.png OUT.npy"""

import sys

import numpy as np
from PIL import Image


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    image, width, height, png, npy = sys.argv[1:]
    try:
        picture = Image.open(image).convert("RGB").resize((int(width), int(height)), Image.Resampling.BICUBIC)
    except OSError as error:
        sys.exit(f"picture.py: {image}: {error}")
    picture.save(png)
    np.save(npy, np.asarray(picture, np.float32)[None] / np.float32(127.5) - 1)


if __name__ == "__main__":
    main()
