"""The article's dream in PyTorch, with the teacher's or a student's layers; pixels may be kept in [-1, 1].

usage: dream.py WEIGHTS_OR_STUDENT IMAGE OUT.png [--layer activation_41] [--width 400] [--clip]"""
import argparse

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from inception import Folded, keras_layers, stimulation, student_layers


def network(path):
    return Folded(keras_layers(path) if path.endswith('.h5') else student_layers(path))


def picture(path, width):
    image = Image.open(path).convert('RGB')
    if width:
        image = image.resize((width, image.height * width // image.width), Image.LANCZOS)
    return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)


def resize(x, size):
    return F.interpolate(x, size=size, mode='bilinear', align_corners=True)


def gradient(net, x, layer):
    """Loss and its gradient."""
    x = x.detach().requires_grad_(True)
    loss = stimulation(net(x, layer)[layer]).sum()
    g, = torch.autograd.grad(loss, x)
    return loss.item(), g


def stimulates(size, layer):
    """Whether a picture of that height and width leaves the layer (mixed0 or later) anything inside its border."""
    least = min(size)
    for k, stride in (3, 2), (3, 1), (3, 2), (3, 1), (3, 2):
        least = (least - k) // stride + 1
    if layer not in ('mixed0', 'mixed1', 'mixed2'):
        least = (least - 3) // 2 + 1
    return least > 4


def dream(net, x, layer, clip, octaves=4, scale=1.4, iterations=20, step=.01, most=20, seen=None):
    """seen(x) is shown the picture in the middle of the last octave."""
    original, sizes = x, [tuple(int(n / scale ** i) for n in x.shape[2:]) for i in range(octaves)][::-1]
    shrunk = resize(original, sizes[0])
    for octave, size in enumerate(sizes):
        x = resize(x, size)
        for i in range(iterations if stimulates(size, layer) else 0):
            loss, g = gradient(net, x, layer)
            if loss > most:
                break
            x = x + step * g / max(g.abs().mean().item(), 1e-7)
            if clip:
                x = x.clamp(-1, 1)
            if seen and octave == octaves - 1 and i == iterations // 2:
                seen(x)
        x = x + resize(original, size) - resize(shrunk, size)
        shrunk = resize(original, size)
    return x.clamp(-1, 1)


def image(x):
    return Image.fromarray(((x[0] / 2 + .5) * 255).clamp(0, 255).byte().numpy().transpose(1, 2, 0))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('weights')
    parser.add_argument('image')
    parser.add_argument('out')
    parser.add_argument('--layer', default='activation_41')
    parser.add_argument('--width', type=int)
    parser.add_argument('--clip', action='store_true')
    options = parser.parse_args()
    image(dream(network(options.weights), picture(options.image, options.width), options.layer,
                options.clip)).save(options.out)
