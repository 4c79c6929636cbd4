"""The mean of two runs of train.py that were each other's partner, for measure.py and export.py.

usage: average.py A.pt B.pt OUT.pt"""
import sys

import torch


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    a, b = torch.load(sys.argv[1]), torch.load(sys.argv[2])
    for name, value in a['ema'].items():
        if value.dtype.is_floating_point:
            value.lerp_(b['ema'][name], .5)
    torch.save(a, sys.argv[3])


if __name__ == '__main__':
    main()
