#!/usr/bin/env python3
"""Makes the pictures in this directory: small.png (160x120: a sky, hills, discs) and pixel.png (1x1).

Needs only Python's own library. The pixels are the same everywhere; the bytes of the files depend on zlib, so the
files are committed and this script says where they come from."""
import math
import os
import struct
import zlib


def png_write(name, width, height, pixel):
    """Writes an 8-bit RGB PNG; pixel(x, y) gives three values in 0..1."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)  # no filter
        for x in range(width):
            rows += bytes(int(255 * min(max(v, 0), 1)) for v in pixel(x, y))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows), 9)) + chunk(b"IEND", b""))


def landscape(x, y):
    hill = 84 + 12 * math.sin(x / 17) + 6 * math.sin(x / 5.3)
    if y > hill:
        shade = (y - hill) / 60
        return 0.25 - shade / 4, 0.5 - shade / 3, 0.2
    for disc_x, disc_y, radius, colour in ((40, 34, 18, (1, 0.8, 0.3)), (108, 52, 11, (0.8, 0.3, 0.3))):
        if (x - disc_x) ** 2 + (y - disc_y) ** 2 < radius**2:
            return colour
    return 0.4 + y / 300, 0.6 + y / 400, 0.95 - y / 500


png_write("small.png", 160, 120, landscape)
png_write("pixel.png", 1, 1, lambda x, y: (0.5, 0.5, 0.5))
