"""The step that bench_step times, done by eager PyTorch: loss and gradient of the article's stimulation.

usage: torch_step.py WEIGHTS.h5 LAYER WIDTH HEIGHT channels_last|contiguous fp32|bf16 THREADS SECONDS
Prints what bench_step prints: minimum and median seconds, GFLOP/s at the median, peak bytes of the process.

As fair as PyTorch can be had: BatchNorm folded into the weights, weights without gradients, nothing computed that
the layer does not need, ReLU in place, one warm-up.
"""
import resource
import sys
import time

import h5py
import numpy as np
import torch
import torch.nn.functional as F


class Done(Exception):
    pass


class Inception:
    def __init__(self, path, memory_format, dtype):
        self.params, self.format, self.dtype = {}, memory_format, dtype
        with h5py.File(path) as f:
            for i in range(1, 95):
                conv, norm = f'conv2d_{i}', f'batch_normalization_{i}'
                if conv not in f or conv not in f[conv] or 'kernel:0' not in f[conv][conv]:
                    continue
                kernel = np.asarray(f[conv][conv]['kernel:0'], np.float64)
                beta, mean, var = (np.asarray(f[norm][norm][k], np.float64)
                                   for k in ('beta:0', 'moving_mean:0', 'moving_variance:0'))
                scale = 1 / np.sqrt(var + 1e-3)
                weight = torch.tensor((kernel * scale).transpose(3, 2, 0, 1), dtype=dtype)
                self.params[i] = (weight.contiguous(memory_format=memory_format),
                                  torch.tensor(beta - mean * scale, dtype=dtype))
        self.macs = 0

    def conv(self, i, x, stride=1, same=True):
        weight, bias = self.params[i]
        pad = ((weight.shape[2] - 1) // 2, (weight.shape[3] - 1) // 2) if same else 0
        y = F.relu_(F.conv2d(x, weight, bias, stride, pad))
        self.macs += y.shape[2] * y.shape[3] * weight.numel()
        return self.reached(f'activation_{i}', y)

    def reached(self, name, y):
        if name == self.target:
            self.output = y
            raise Done
        return y

    def forward(self, x, target):
        self.target, self.macs = target, 0
        try:
            self.blocks(x)
        except Done:
            return self.output
        raise SystemExit(f'no layer {target}')

    def chain(self, layers, x):
        for i in layers:
            x = self.conv(i, x)
        return x

    def blocks(self, x):
        pool = lambda x: F.max_pool2d(x, 3, 2)
        mean = lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = self.conv(3, self.conv(2, self.conv(1, x, 2, False), 1, False))
        x = pool(self.conv(5, self.conv(4, pool(x), 1, False), 1, False))
        for block, k in enumerate((6, 13, 20)):
            x = self.reached(f'mixed{block}', torch.cat([
                self.conv(k, x), self.chain((k + 1, k + 2), x), self.chain((k + 3, k + 4, k + 5), x),
                self.conv(k + 6, mean(x))], 1))
        x = self.reached('mixed3', torch.cat([
            self.conv(27, x, 2, False), self.conv(30, self.chain((28, 29), x), 2, False), pool(x)], 1))
        for block, k in enumerate((31, 41, 51, 61), 4):
            x = self.reached(f'mixed{block}', torch.cat([
                self.conv(k, x), self.chain(range(k + 1, k + 4), x), self.chain(range(k + 4, k + 9), x),
                self.conv(k + 9, mean(x))], 1))


def main():
    path, layer, width, height, variant, precision, threads, seconds = sys.argv[1:]
    if int(threads):
        torch.set_num_threads(int(threads))
    memory_format = torch.channels_last if variant == 'channels_last' else torch.contiguous_format
    dtype = {'fp32': torch.float32, 'bf16': torch.bfloat16}[precision]
    net = Inception(path, memory_format, dtype)
    torch.manual_seed(1)
    x = (torch.rand(1, 3, int(height), int(width)) * 2 - 1).contiguous(memory_format=memory_format)
    x.requires_grad_(True)

    def step():
        x.grad = None
        a = net.forward(x.to(dtype), layer).float()
        loss = a[:, :, 2:-2, 2:-2].square().sum() / a.numel()
        loss.backward()
        return loss.item()

    times, begin = [], time.perf_counter()
    while len(times) < 4 or time.perf_counter() - begin < float(seconds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    times = sorted(times[1:])
    median = times[len(times) // 2]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f'{times[0]:.4f} {median:.4f} {4e-9 * net.macs / median:.1f} {peak}')


main()
