"""A student of train.py as a file for the program: float16, BatchNorm folded.

usage: export.py STUDENT.pt OUT.safetensors"""
import json
import sys

import torch
from safetensors.torch import save_file

from inception import student_layers


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tensors = {}
    for i, (weight, bias) in student_layers(sys.argv[1]).items():
        tensors[f'conv2d_{i}.weight'] = weight.half().contiguous()
        tensors[f'conv2d_{i}.bias'] = bias.half()
    for name, tensor in tensors.items():
        assert torch.isfinite(tensor).all(), name
    student = torch.load(sys.argv[1])
    imitates = {name: channels.tolist() for name, channels in student['idx'].items()}
    save_file(tensors, sys.argv[2],
              metadata={'network': 'inception_v3', 'width': str(student['alpha']), 'to': 'mixed5',
                        'imitates': json.dumps(imitates, separators=(',', ':'))})
    print(sum(t.numel() for t in tensors.values()), 'parameters')


if __name__ == '__main__':
    main()
