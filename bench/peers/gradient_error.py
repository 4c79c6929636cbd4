"""How far gradients are from the float64 reference. usage: gradient_error.py REFERENCE.npy GRADIENT.npy...
Prints a JSON line for each: relative L2 of the difference, cosine, the largest difference and where it is."""

import json
import os
import sys

import numpy as np


def compared(path, reference):
    """What is printed for a file."""
    g = np.load(path).astype(np.float64)
    if g.shape != reference.shape:
        sys.exit(f"gradient_error.py: {path} is {g.shape}, the reference {reference.shape}")
    difference = np.abs(g - reference)
    where = np.unravel_index(difference.argmax(), g.shape)
    norms = np.linalg.norm(reference), np.linalg.norm(g)
    return {
        "gradient": os.path.basename(path),
        "relative_l2": np.linalg.norm(difference) / norms[0] if norms[0] else None,
        "cosine": np.vdot(g, reference) / (norms[0] * norms[1]) if all(norms) else None,
        "largest": difference[where],
        "at": [int(i) for i in where],
    }


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        reference = np.load(sys.argv[1]).astype(np.float64)
        for path in sys.argv[2:]:
            print(json.dumps(compared(path, reference)))
    except OSError as error:
        sys.exit(f"gradient_error.py: {error}")


if __name__ == "__main__":
    main()
