"""Inception-v3 to mixed5 in PyTorch: the teacher (Keras's published weights), students of any width, and which of
the teacher's channels a student's channels imitate. NCHW; layers are named as Keras 2.1 names them."""
import json

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

EPSILON = 1e-3  # of every BatchNorm
LAYERS = 50     # convolutions up to mixed5
# The last convolutions of each block's branches, in the order of the concatenation; mixed3 also pools mixed2.
BRANCHES = {'mixed0': [6, 8, 11, 12], 'mixed1': [13, 15, 18, 19], 'mixed2': [20, 22, 25, 26], 'mixed3': [27, 30],
            'mixed4': [31, 34, 39, 40], 'mixed5': [41, 44, 49, 50]}
channels_last = torch.channels_last


def walk(conv, x, stop='mixed5'):
    """The network over conv(number, x, stride, same) for pictures x in [-1, 1]; all activations up to stop."""
    acts = {}

    def c(number, x, stride=1, same=True):
        y = acts[f'activation_{number}'] = conv(number, x, stride, same)
        return y

    def mean(x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    x = c(3, c(2, c(1, x, 2, False), 1, False))
    x = c(5, c(4, F.max_pool2d(x, 3, 2), 1, False), 1, False)
    x = F.max_pool2d(x, 3, 2)
    for block, n in ((0, 6), (1, 13), (2, 20)):
        parts = [c(n, x), c(n + 2, c(n + 1, x)), c(n + 5, c(n + 4, c(n + 3, x))), c(n + 6, mean(x))]
        x = acts[f'mixed{block}'] = torch.cat(parts, 1)
        if stop == f'mixed{block}':
            return acts
    parts = [c(27, x, 2, False), c(30, c(29, c(28, x)), 2, False), F.max_pool2d(x, 3, 2)]
    x = acts['mixed3'] = torch.cat(parts, 1)
    for block, n in ((4, 31), (5, 41)):
        if stop == f'mixed{block - 1}':
            return acts
        first = c(n, x)
        if stop == f'activation_{n}':
            return acts
        long = c(n + 4, x)
        for i in range(5, 9):
            long = c(n + i, long)
        x = torch.cat([first, c(n + 3, c(n + 2, c(n + 1, x))), long, c(n + 9, mean(x))], 1)
        acts[f'mixed{block}'] = x
    return acts


def padding(weight, same):
    return ((weight.shape[2] - 1) // 2, (weight.shape[3] - 1) // 2) if same else 0


class Folded:
    """A network of kernels and biases: {number: (weight, bias)}."""

    def __init__(self, layers, dtype=torch.float32):
        self.dtype = dtype
        self.layers = {i: (w.to(dtype).contiguous(memory_format=channels_last), b.to(dtype))
                       for i, (w, b) in layers.items()}

    def __call__(self, x, stop='mixed5'):
        return walk(self.conv, x.to(self.dtype).contiguous(memory_format=channels_last), stop)

    def conv(self, number, x, stride, same):
        weight, bias = self.layers[number]
        return F.relu(F.conv2d(x, weight, bias, stride, padding(weight, same)))


def keras_layers(path):
    """Kernels and biases from Keras's .h5, BatchNorm folded."""
    layers = {}
    with h5py.File(path, 'r') as file:
        for i in range(1, LAYERS + 1):
            def tensor(group, name):
                return np.asarray(file[group].get(group, file[group])[name + ':0'], np.float64)
            norm = f'batch_normalization_{i}'
            scale = 1 / np.sqrt(tensor(norm, 'moving_variance') + EPSILON)
            weight = (tensor(f'conv2d_{i}', 'kernel') * scale).transpose(3, 2, 0, 1)
            bias = tensor(norm, 'beta') - tensor(norm, 'moving_mean') * scale
            layers[i] = torch.tensor(weight), torch.tensor(bias)
    return layers


def student_layers(path):
    """The same from a student: a checkpoint of train.py (.pt) or an exported file (.safetensors)."""
    if path.endswith('.safetensors'):
        tensors = load_file(path)
        return {i: (tensors[f'conv2d_{i}.weight'].double(), tensors[f'conv2d_{i}.bias'].double())
                for i in range(1, LAYERS + 1)}
    state, layers = torch.load(path)['ema'], {}
    for i in range(1, LAYERS + 1):
        scale = state[f'bns.{i}.weight'].double() / torch.sqrt(state[f'bns.{i}.running_var'].double() + EPSILON)
        weight = state[f'convs.{i}.weight'].double() * scale[:, None, None, None]
        layers[i] = weight, state[f'bns.{i}.bias'].double() - state[f'bns.{i}.running_mean'].double() * scale
    return layers


def start(path):
    """A state of Student, and the channels that it imitates, from a checkpoint or an exported file."""
    if path.endswith('.pt'):
        saved = torch.load(path)
        return saved['ema'], saved['idx']
    state = {}
    for i, (weight, bias) in student_layers(path).items():
        state[f'convs.{i}.weight'] = weight.float()
        state[f'bns.{i}.weight'] = torch.ones(len(bias))
        state[f'bns.{i}.bias'] = bias.float()
        state[f'bns.{i}.running_mean'] = torch.zeros(len(bias))
        state[f'bns.{i}.running_var'] = torch.full((len(bias),), 1 - EPSILON)
        state[f'bns.{i}.num_batches_tracked'] = torch.tensor(0)
    with safe_open(path, 'pt') as file:
        chosen = json.loads(file.metadata()['imitates'])
    return state, {name: torch.tensor(channels) for name, channels in chosen.items()}


class Student(nn.Module):
    """width: the part of the teacher's channels that each layer has, rounded to multiples of 8."""

    def __init__(self, teacher, width):
        super().__init__()
        self.convs, self.bns = nn.ModuleDict(), nn.ModuleDict()
        for i, (weight, _) in teacher.layers.items():
            cout, cin, kh, kw = weight.shape
            cin = 3 if i == 1 else inputs(i, lambda n: narrow(teacher.layers[n][0].shape[0], width))
            conv = nn.Conv2d(cin, narrow(cout, width), (kh, kw), bias=False)
            nn.init.kaiming_normal_(conv.weight)
            self.convs[str(i)] = conv
            self.bns[str(i)] = nn.BatchNorm2d(narrow(cout, width), eps=EPSILON, momentum=.05)
        self.to(memory_format=channels_last)

    def forward(self, x, stop='mixed5'):
        return walk(self.conv, x, stop)

    def conv(self, number, x, stride, same):
        weight = self.convs[str(number)].weight
        return F.relu(self.bns[str(number)](F.conv2d(x, weight, None, stride, padding(weight, same))))


def narrow(channels, width):
    return max(8, int(channels * width + 4) // 8 * 8)


def inputs(number, channels):
    """Channels that layer `number` reads, where channels(n) are those that layer n puts out."""
    first_of = {6: 5, 13: 'mixed0', 20: 'mixed1', 27: 'mixed2', 31: 'mixed3', 41: 'mixed4'}

    def of(name):
        if isinstance(name, int):
            return channels(name)
        total = sum(channels(n) for n in BRANCHES[name])
        return total + of('mixed2') if name == 'mixed3' else total

    block = max((n for n in first_of if n <= number), default=0)
    entries = {6: (0, 1, 3, 6), 13: (0, 1, 3, 6), 20: (0, 1, 3, 6), 27: (0, 1), 31: (0, 1, 4, 9), 41: (0, 1, 4, 9)}
    if block and number - block in entries[block]:
        return of(first_of[block])
    return channels(number - 1)


def imitated(energy, width):
    """{layer: the teacher's channels that the student's imitate}: of every convolution those with the most energy.
    energy: {activation: mean square of each channel}."""
    def of(number):
        e = energy[f'activation_{number}']
        return e.argsort(descending=True)[:narrow(len(e), width)].sort().values

    def mixed(name):
        parts, offset = [], 0
        for number in BRANCHES[name]:
            parts.append(of(number) + offset)
            offset += len(energy[f'activation_{number}'])
        if name == 'mixed3':
            parts.append(mixed('mixed2') + offset)
        return torch.cat(parts)

    chosen = {f'activation_{number}': of(number) for number in range(1, LAYERS + 1)}
    chosen.update({name: mixed(name) for name in BRANCHES})
    return chosen


def stimulation(a):
    """The article's loss of each picture: the sum of squares without a border of 2, divided by all positions."""
    n, c, h, w = a.shape
    return a.float()[:, :, 2:-2, 2:-2].square().sum((1, 2, 3)) / (c * h * w)
