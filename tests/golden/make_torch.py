#!/usr/bin/env python3
"""Makes NAME.safetensors and NAME.json beside this script: what PyTorch, in float64, computes with a network that the
program carries, for golden_torch to compare a device with. usage: make_torch.py untrained|embedded

Nothing of the program is used: the untrained weights are drawn again by the recipe that weights/untrained.c
publishes, the embedded ones are read from ../../weights/half_width.safetensors; run this again when that file is
another. Of long tensors only every stride-th value is stored; mean_abs is always of all values. Two runs on one
machine give the same bytes. Needs numpy, scipy, safetensors, torch."""
import functools
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save
from scipy import ndimage

HERE = os.path.dirname(os.path.abspath(__file__))
HEIGHT, WIDTH = 107, 123  # 107 pixels are the fewest that give activation_41 a position to stimulate

# The weights ------------------------------------------------------------------------------------------------

SEED = 0x7061726569646F6C
BIAS_BOUND = 0.0625


def splitmix64(state, count):
    """The next count numbers of the generator that stands at state."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        z = np.uint64(state) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


@functools.cache
def untrained(layer, kh, kw, cin, cout):
    """The kernel (out, in, height, width, as PyTorch wants it) and the bias of a layer."""
    fan_in = kh * kw * cin
    drawn = splitmix64(splitmix64(SEED + layer, 1)[0], (fan_in + 1) * cout)
    uniform = (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1
    kernel = uniform[: fan_in * cout].reshape(kh, kw, cin, cout) * math.sqrt(6 / fan_in)
    bias = uniform[fan_in * cout :] * BIAS_BOUND
    return torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias)


@functools.cache
def embedded_file():
    return load_file(os.path.join(HERE, "..", "..", "weights", "half_width.safetensors"))


@functools.cache
def embedded(layer, kh, kw, cin, cout):
    """The same from the file, which has its own number of channels out."""
    kernel, bias = (embedded_file()[f"conv2d_{layer}.{name}"].astype(np.float64) for name in ("weight", "bias"))
    assert kernel.shape[1:] == (cin, kh, kw), f"conv2d_{layer} is {kernel.shape}"
    return torch.from_numpy(kernel), torch.from_numpy(bias)


# The network ------------------------------------------------------------------------------------------------


class Inception:
    """Inception-v3 as names (Keras 2.1's) and how each one's activation, 1 x c x h x w, follows from others'."""

    def __init__(self, weights, last):
        """weights: a function like untrained above; last: the name to end with."""
        self.weights = weights
        self.nodes = {}  # name: (function, names of its arguments), each after its arguments
        self.layers = 0
        self.pools = 0
        self.blocks = 0
        x = self.conv("input", 32, 3, 3, stride=2)
        x = self.conv(x, 32, 3, 3, padding="valid")
        x = self.max_pool(self.conv(x, 64, 3, 3))
        x = self.chain(x, (80, 1, 1))
        x = self.max_pool(self.conv(x, 192, 3, 3, padding="valid"))
        for pooled in 32, 64, 64:  # mixed0 to 2
            x = self.mixed(
                self.conv(x, 64, 1, 1),
                self.chain(x, (48, 1, 1), (64, 5, 5)),
                self.chain(x, (64, 1, 1), (96, 3, 3), (96, 3, 3)),
                self.conv(x, pooled, 1, 1, averaged=True),
            )
        x = self.mixed(  # mixed3
            self.conv(x, 384, 3, 3, stride=2),
            self.conv(self.chain(x, (64, 1, 1), (96, 3, 3)), 96, 3, 3, stride=2),
            self.max_pool(x),
        )
        for c in 128, 160, 160, 192:  # mixed4 to 7
            x = self.mixed(
                self.conv(x, 192, 1, 1),
                self.chain(x, (c, 1, 1), (c, 1, 7), (192, 7, 1)),
                self.chain(x, (c, 1, 1), (c, 7, 1), (c, 1, 7), (c, 7, 1), (192, 1, 7)),
                self.conv(x, 192, 1, 1, averaged=True),
            )
        x = self.mixed(  # mixed8
            self.conv(self.chain(x, (192, 1, 1)), 320, 3, 3, stride=2),
            self.conv(self.chain(x, (192, 1, 1), (192, 1, 7), (192, 7, 1)), 192, 3, 3, stride=2),
            self.max_pool(x),
        )
        for _ in range(2):  # mixed9 and 10
            branches = [self.conv(x, 320, 1, 1)]
            fork = self.chain(x, (384, 1, 1))
            branches += [self.conv(fork, 384, 1, 3), self.conv(fork, 384, 3, 1)]
            fork = self.chain(x, (448, 1, 1), (384, 3, 3))
            branches += [self.conv(fork, 384, 1, 3), self.conv(fork, 384, 3, 1)]
            x = self.mixed(*branches, self.conv(x, 192, 1, 1, averaged=True))
        x = self.add("avg_pool", lambda x: x.mean((2, 3), keepdim=True), x)
        self.add("predictions", self.predictions, x)
        names = list(self.nodes)
        for name in names[names.index(last) + 1 :]:
            del self.nodes[name]

    def add(self, name, function, *arguments):
        self.nodes[name] = (function, arguments)
        return name

    def conv(self, x, channels, kh, kw, stride=1, padding="same", averaged=False):
        self.layers += 1
        layer = self.layers

        def function(x):
            if averaged:
                x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            kernel, bias = self.weights(layer, kh, kw, x.shape[1], channels)
            return F.relu(F.conv2d(x, kernel, bias, stride, "valid" if stride > 1 else padding))

        return self.add(f"activation_{layer}", function, x)

    def chain(self, x, *convs):
        for conv in convs:
            x = self.conv(x, *conv)
        return x

    def max_pool(self, x):
        self.pools += 1
        return self.add(f"max_pooling2d_{self.pools}", lambda x: F.max_pool2d(x, 3, 2), x)

    def mixed(self, *branches):
        self.blocks += 1
        return self.add(f"mixed{self.blocks - 1}", lambda *x: torch.cat(x, 1), *branches)

    def predictions(self, x):
        kernel, bias = self.weights(95, 1, 1, x.shape[1], 1000)
        return F.softmax(F.conv2d(x, kernel, bias), 1)

    def run(self, x, names):
        """The activations called names, and those that they need, at x (1 x 3 x h x w)."""
        needed = set(names)
        for name in reversed(self.nodes):
            if name in needed:
                needed.update(self.nodes[name][1])
        values = {"input": x}
        for name, (function, arguments) in self.nodes.items():
            if name in needed:
                values[name] = function(*(values[argument] for argument in arguments))
        return values

    def stimulate(self, picture, targets):
        """Loss and gradient of targets at picture (h x w x 3)."""
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].clone().requires_grad_()
        values = self.run(x, [target["layer"] for target in targets])
        loss = 0
        for target in targets:
            first, count = target["first"], target["count"]
            a = values[target["layer"]]
            a = a[:, first : first + count] if count else a
            loss = loss + target["weight"] * a[:, :, 2:-2, 2:-2].square().sum() / a.numel()
        loss.backward()
        return loss.item(), x.grad[0].permute(1, 2, 0).contiguous().numpy()


# The picture and the dream ----------------------------------------------------------------------------------


def picture():
    """Waves of several lengths and a disc. Nothing is flat: where many values are equal, rounding chooses which one
    is the largest, and every program chooses otherwise."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    disc = np.hypot(y - 48, x - 71) < 27
    channels = [
        0.45 * np.sin(x / (9.1 + c) + 0.7 * c) * np.cos(y / (7.3 - c))
        + 0.25 * np.sin((x + 2 * y) / (3.7 + 0.3 * c))
        + 0.2 * np.cos((x - y * y / 60) / 2.3 + c)
        + np.where(disc, 0.3 - 0.25 * c, y / HEIGHT / 4 - 0.1 * c)
        for c in range(3)
    ]
    return np.clip(np.stack(channels, 2), -1, 1).astype(np.float32)


def resize(x, height, width):
    for n, m in (x.shape[0], height), (x.shape[1], width):
        # Elsewhere the last coordinate is rounded up, beyond the last input, and scipy puts a zero there.
        assert m == 1 or (m - 1) * ((n - 1) / (m - 1)) <= n - 1, f"scipy loses the last of {m} from {n}"
    y = ndimage.zoom(x, (height / x.shape[0], width / x.shape[1], 1), order=1)
    assert y.shape == (height, width, 3)
    return y


def dream(net, original, options):
    """The article's program. Returns how far it has moved the picture, and what to remember of each octave."""
    octaves, log = options["octaves"], []
    shapes = [tuple(int(n / 1.4**i) for n in original.shape[:2]) for i in reversed(range(octaves))]
    img, shrunk = original, resize(original, *shapes[0])
    for height, width in shapes:
        img = resize(img, height, width)
        octave = {"height": height, "width": width, "stopped": False, "losses": [], "mean_abs": []}
        for _ in range(options["iterations"]):
            loss, g = net.stimulate(img, options["targets"])
            octave["losses"].append(loss)
            octave["mean_abs"].append(np.abs(g).mean())
            octave["stopped"] = loss > options["max_loss"]
            if octave["stopped"]:
                break
            img = img + 0.01 * g / max(np.abs(g).mean(), 1e-7)
        img = img + resize(original, height, width) - resize(shrunk, height, width)
        shrunk = resize(original, height, width)
        log.append(octave)
    return img - original, log


# The files --------------------------------------------------------------------------------------------------

# (height, width) from and to: larger, smaller, mixed, mixed, to one row, the same
RESIZES = [
    ((2, 2), (5, 6)),
    ((23, 31), (17, 22)),
    ((5, 7), (9, 4)),
    ((12, 9), (2, 13)),
    ((7, 5), (1, 4)),
    ((6, 11), (6, 11)),
]


def target(layer, weight=1.0, first=0, count=0):
    return {"layer": layer, "weight": weight, "first": first, "count": count}


SINGLE = "activation_3 mixed0 mixed2 activation_41 activation_44 activation_50 mixed5 mixed7".split()
NETWORKS = {
    "untrained": {"weights": untrained, "last": "predictions", "channels": (40, 56), "max_loss": 0.65},
    "embedded": {"weights": embedded, "last": "mixed5", "channels": (20, 28), "max_loss": None},
}


def gradient_cases(net, channels):
    return {layer: [target(layer)] for layer in SINGLE if layer in net.nodes} | {
        "two blocks": [target("mixed3"), target("activation_41", 1.5)],
        "a branch and its block": [target("activation_6"), target("mixed0", 0.75)],
        "some channels": [target("mixed2", 1.0, *channels)],  # of the first and the second branch
    }


def dream_cases(net, x, max_loss):
    """mixed2 is silent in the smallest of three octaves; the second dream ends before its second step: where no loss
    is named for that, by the mean of the first two."""
    stopped = {"targets": [target("mixed0")], "octaves": 1, "iterations": 3, "max_loss": max_loss}
    if max_loss is None:
        _, log = dream(net, x, {**stopped, "iterations": 2, "max_loss": math.inf})
        stopped["max_loss"] = round(sum(log[0]["losses"]) / 2, 4)
    return {
        "three octaves": {"targets": [target("mixed2")], "octaves": 3, "iterations": 2, "max_loss": 20},
        "stopped": stopped,
    }


def stored(arrays, name, values, wanted):
    """Puts about wanted values of a tensor into arrays; returns their distance, which shares no factor with the
    tensor's sizes, so that all channels and columns take part."""
    stride = max(1, values.size // wanted)
    while math.gcd(stride, values.size) > 1:
        stride += 1
    arrays[name] = values.reshape(-1)[::stride].astype(np.float32)
    return stride


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in NETWORKS:
        sys.exit(__doc__)
    network = NETWORKS[sys.argv[1]]
    torch.set_num_threads(1)
    net, x, arrays = Inception(network["weights"], network["last"]), picture(), {}
    arrays["x"] = x[None]
    exact = x.astype(np.float64)

    activations = {}
    with torch.no_grad():
        values = net.run(torch.from_numpy(exact).permute(2, 0, 1)[None], [network["last"]])
    for name in net.nodes:
        value = values[name][0].permute(1, 2, 0).contiguous().numpy()
        stride = stored(arrays, name, value, 1000 if name == "predictions" else 200)
        activations[name] = {"shape": list(value.shape), "stride": stride}

    gradients = {}
    for name, targets in gradient_cases(net, network["channels"]).items():
        loss, g = net.stimulate(exact, targets)
        stride = stored(arrays, f"gradient/{name}", g, 2000)
        gradients[name] = {"targets": targets, "loss": loss, "mean_abs": np.abs(g).mean(), "stride": stride}

    dreams = {}
    for name, options in dream_cases(net, exact, network["max_loss"]).items():
        moved, log = dream(net, exact, options)
        dreams[name] = {**options, "log": log, "stride": stored(arrays, f"dream/{name}", moved, 2000)}

    rng = np.random.default_rng(7)
    for i, (size, wanted) in enumerate(RESIZES):
        small = rng.uniform(-1, 1, (*size, 3)).astype(np.float32)
        arrays[f"resize/{i}/in"] = small[None]
        arrays[f"resize/{i}/out"] = resize(small.astype(np.float64), *wanted)[None].astype(np.float32)

    with open(os.path.join(HERE, sys.argv[1] + ".safetensors"), "wb") as file:
        file.write(save(arrays))
    with open(os.path.join(HERE, sys.argv[1] + ".json"), "w") as file:
        json.dump({"activations": activations, "gradients": gradients, "dreams": dreams}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
