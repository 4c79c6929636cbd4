"""PyTorch's step: loss and gradient of the article's stimulation, prints a JSON line.

As fair as PyTorch can be had: BatchNorm folded into the weights, weights without gradients, nothing computed that
the layer does not need, ReLU in place, cuDNN's programs chosen by timing without limit. The backward pass begins with
a, not with 2a/N, which is too small for fp16; the gradient is multiplied by 2/N at the end, in fp32.

Variants: eager; channels_last, the same with that memory format; compile, channels_last under torch.compile with
max-autotune, forward and backward as two graphs; compile_joint, the same with both in one graph.
"""

import numpy as np
import torch
import torch.nn.functional as F

import peer

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
VARIANTS = ["eager", "channels_last", "compile", "compile_joint"]


class Conv(torch.nn.Module):
    """A convolution with its BatchNorm folded in, and ReLU; averaged: of 3x3 means."""

    def __init__(self, parameters, stride, same, averaged):
        super().__init__()
        kernel, beta, mean, variance = (np.asarray(array, np.float64) for array in parameters)
        scale = 1 / np.sqrt(variance + 1e-3)
        self.weight, self.bias = (
            torch.nn.Parameter(torch.tensor(array), requires_grad=False)
            for array in ((kernel * scale).transpose(3, 2, 0, 1), beta - mean * scale)
        )
        self.padding = ((kernel.shape[0] - 1) // 2, (kernel.shape[1] - 1) // 2) if same else 0
        self.stride, self.averaged = stride, averaged

    def forward(self, x):
        if self.averaged:
            x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return F.relu_(F.conv2d(x, self.weight, self.bias, self.stride, self.padding))


class Inception(torch.nn.Module):
    """Inception-v3 up to mixed10 as a list of (name, what makes its function, names of its arguments), cut down to
    what a layer needs; names are those of Keras 2.1."""

    def __init__(self, layers, target):
        """layers: weights_read's; target: the name of what forward returns."""
        super().__init__()
        self.layers, self.target = layers, target
        self.nodes, self.numbers = [], {"conv": 0, "pool": 0, "mixed": 0}
        self.build()
        if target not in (name for name, _, _ in self.nodes):
            raise ValueError(f"there is no layer {target}")
        needed, used, self.plan = {target}, {target}, []
        for name, make, arguments in reversed(self.nodes):
            if name in needed:
                needed.update(arguments)
                self.plan.insert(0, (name, make(), arguments, [a for a in arguments if a not in used]))
                used.update(arguments)
        self.convs = torch.nn.ModuleList(function for _, function, _, _ in self.plan if isinstance(function, Conv))

    def forward(self, x):
        values = {"input": x}
        for name, function, arguments, last_used in self.plan:
            values[name] = function(*[values[argument] for argument in arguments])
            for argument in last_used:
                del values[argument]
        return values[self.target]

    def add(self, kind, name, make, *arguments):
        self.numbers[kind] += 1
        self.nodes.append((name, make, arguments))
        return name

    def conv(self, x, stride=1, same=True, averaged=False):
        number = self.numbers["conv"] + 1

        def make():
            if number not in self.layers:
                raise ValueError(f"the weights have no conv2d_{number}")
            return Conv(self.layers[number], stride, same, averaged)

        return self.add("conv", f"activation_{number}", make, x)

    def chain(self, x, count):
        for _ in range(count):
            x = self.conv(x)
        return x

    def pool(self, x):
        name = f"max_pooling2d_{self.numbers['pool'] + 1}"
        return self.add("pool", name, lambda: lambda x: F.max_pool2d(x, 3, 2), x)

    def mixed(self, *branches):
        return self.add("mixed", f"mixed{self.numbers['mixed']}", lambda: lambda *x: torch.cat(x, 1), *branches)

    def build(self):
        x = self.conv("input", 2, same=False)
        x = self.pool(self.conv(self.conv(x, same=False)))
        x = self.pool(self.conv(self.conv(x), same=False))
        for _ in range(3):  # mixed0 to 2
            x = self.mixed(self.conv(x), self.chain(x, 2), self.chain(x, 3), self.conv(x, averaged=True))
        x = self.mixed(self.conv(x, 2, False), self.conv(self.chain(x, 2), 2, False), self.pool(x))
        for _ in range(4):  # mixed4 to 7
            x = self.mixed(self.conv(x), self.chain(x, 3), self.chain(x, 5), self.conv(x, averaged=True))
        x = self.mixed(self.conv(self.conv(x), 2, False), self.conv(self.chain(x, 3), 2, False), self.pool(x))
        for _ in range(2):  # mixed9 and 10
            branches = [self.conv(x)]
            for depth in 1, 2:
                fork = self.chain(x, depth)
                branches += [self.conv(fork), self.conv(fork)]
            x = self.mixed(*branches, self.conv(x, averaged=True))


def settings(options):
    """PyTorch's switches, each as is best for the precision."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.device == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("PyTorch sees no GPU")
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.benchmark_limit = 0
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.precision != "fp32"


def step_of(net, count, dtype, variant):
    """A function from the picture, 1 x 3 x height x width, to the gradient and the loss. count: a's elements."""

    def value(x):
        return 0.5 * net(x.to(dtype))[:, :, 2:-2, 2:-2].float().square().sum()

    def compiled(function):
        return torch.compile(function, mode="max-autotune", dynamic=False)

    def joint(x):
        g, loss = torch.func.grad_and_value(value)(x)
        return g * (2 / count), loss * (2 / count)

    if variant == "compile_joint":
        return compiled(joint)
    forward = compiled(value) if variant == "compile" else value

    def step(x):
        loss = forward(x)
        (g,) = torch.autograd.grad(loss, x)
        return g * (2 / count), loss.detach() * (2 / count)

    return step


def main():
    options = peer.arguments(__doc__, VARIANTS)
    settings(options)
    on_gpu = options.device == "cuda"
    layout = torch.contiguous_format if options.variant == "eager" else torch.channels_last
    dtype = DTYPES[options.precision]

    def picture(array):
        t = torch.from_numpy(array).to(options.device).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        return t.requires_grad_(options.variant != "compile_joint")

    net = Inception(peer.weights_read(options.weights), options.layer)
    net = net.to(options.device, dtype).to(memory_format=layout).eval()
    x = picture(peer.random_picture(options))
    with torch.no_grad():
        count = net(x.to(dtype)).numel()
    step = step_of(net, count, dtype, options.variant)
    loaded = peer.process_seconds()

    def one():
        if on_gpu:
            torch.compiler.cudagraph_mark_step_begin()
        return step(x)

    def batch_cuda(steps):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(steps):
            one()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    batch = batch_cuda if on_gpu else peer.wall_clock(one, lambda: None)
    batch(1)  # compiles and tunes
    warm = peer.process_seconds()
    peer.peak_reset()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times = peer.timed(batch, options)
    peak = torch.cuda.max_memory_reserved() if on_gpu else peer.host_peak()
    loss = None
    if options.picture:
        x = picture(peer.given_picture(options))
        g, loss = one()
        peer.gradient_write(options, g.detach().permute(0, 2, 3, 1).float().cpu().numpy())
        loss = loss.item()
    peer.report(
        "torch",
        f"PyTorch {torch.__version__}",
        options,
        times,
        threads=torch.get_num_threads(),
        peak_bytes=peak,
        load_seconds=loaded,
        warmup_seconds=warm - loaded,
        loss=loss,
    )


if __name__ == "__main__":
    peer.run(main)
