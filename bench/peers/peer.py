"""What the peers share: arguments, weights, pictures, the way of timing, and the JSON line that each prints.

A peer loads its network, warms up with one step on a random picture, is timed on it as host/bench_time.c times ours
(several steps are queued before one wait, as many as take about 50 ms), and, asked for it, writes the gradient at a
given picture.
"""

import argparse
import json
import os
import re
import resource
import sys
import time

BATCH_SECONDS = 0.05
LEAST_BATCHES, FEW_BATCHES, MOST_QUEUED = 3, 5, 1000


def arguments(description, variants):
    """The command line, the same for every peer."""
    parser = argparse.ArgumentParser(description=description.split("\n\n")[0])
    parser.add_argument("--weights", required=True, help="Keras's file, .h5")
    parser.add_argument("--layer", default="activation_41")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--seconds", type=float, default=3, help="for timing, after the warm-up")
    parser.add_argument("--threads", type=int, default=0, help="0: as the peer thinks best")
    parser.add_argument("--picture", help="x.npy, 1 x height x width x 3 in [-1, 1]")
    parser.add_argument("--gradient", help="g.npy: where to write the gradient at the picture")
    options = parser.parse_args()
    if bool(options.picture) != bool(options.gradient):
        parser.error("--picture and --gradient belong together")
    if options.precision == "tf32" and options.device == "cpu":
        parser.error("tf32 is a precision of GPUs")
    return options


def weights_read(path):
    """{N: (kernel, beta, mean, variance)} of the layers in Keras's file, float32; kernels height, width, in, out."""
    import h5py
    import numpy as np

    layers = {}
    with h5py.File(path) as file:
        for group in file:
            match = re.fullmatch(r"conv2d_(\d+)", group)
            if not match or f"{group}/{group}/kernel:0" not in file:
                continue
            norm = f"batch_normalization_{match[1]}"
            names = [f"{group}/{group}/kernel:0"]
            names += [f"{norm}/{norm}/{name}:0" for name in ("beta", "moving_mean", "moving_variance")]
            layers[int(match[1])] = tuple(np.asarray(file[name], np.float32) for name in names)
    if not layers:
        raise ValueError(f"{path} has no layers conv2d_1, conv2d_2, ... as Keras names them")
    return layers


def random_picture(options):
    """What is timed: noise in [-1, 1], 1 x height x width x 3, float32."""
    import numpy as np

    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, (1, options.height, options.width, 3)).astype(np.float32)


def given_picture(options):
    """The picture whose gradient is wanted."""
    import numpy as np

    x = np.load(options.picture).astype(np.float32)
    if x.shape != (1, options.height, options.width, 3):
        raise ValueError(f"{options.picture} is {x.shape}, not 1 x {options.height} x {options.width} x 3")
    return x


def gradient_write(options, gradient):
    """Writes 1 x height x width x 3 numbers as pareidolia dump --gradient does."""
    import numpy as np

    if not np.isfinite(gradient).all():
        raise ValueError(f"the gradient in {options.precision} is not finite")
    np.save(options.gradient, np.ascontiguousarray(gradient, np.float32))


def peak_reset():
    """From here on host_peak counts anew (Linux; elsewhere it counts from the start)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def host_peak():
    """The most bytes that this process has held at once."""
    try:
        with open("/proc/self/status") as file:
            return 1024 * int(re.search(r"VmHWM:\s*(\d+)", file.read())[1])
    except (OSError, TypeError):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def process_seconds():
    """Since this process began: a peer's time of loading has its libraries' in it."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def cores():
    """That this process may run on: what libraries take where nothing else is asked for."""
    return len(os.sched_getaffinity(0))


def wall_clock(step, sync):
    """A stopwatch for batches: seconds that count steps take, from the first one's start to a wait after the last."""

    def batch(count):
        start = time.perf_counter()
        for _ in range(count):
            step()
        sync()
        return time.perf_counter() - start

    return batch


def timed(batch, options):
    """Seconds a step, of several batches, sorted. batch(n) runs n steps and returns their seconds."""
    batch(1)  # a compiled CUDA graph is recorded at the second call
    once = batch(1)
    count = max(1, min(MOST_QUEUED, int(min(BATCH_SECONDS, options.seconds / FEW_BATCHES) / once)))
    least = FEW_BATCHES if once <= options.seconds else LEAST_BATCHES
    times, begin = [], time.perf_counter()
    while len(times) < least or time.perf_counter() - begin < options.seconds:
        times.append(batch(count) / count)
    return sorted(times)


def report(peer, version, options, times, **more):
    """Prints the line that compare_peers.sh reads."""
    names = ("variant", "device", "precision", "width", "height", "layer")
    line = {"peer": peer, "version": version} | {name: getattr(options, name) for name in names}
    line |= {"seconds_per_step": times[len(times) // 2]}
    line |= {"least_seconds_per_step": times[0], "most_seconds_per_step": times[-1], "batches": len(times)}
    print(json.dumps(line | more), flush=True)


def run(main):
    """Calls main; what goes wrong becomes one sentence and exit status 1."""
    try:
        main()
    except Exception as error:  # whatever a library raises is one line here; many of theirs are pages
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.exit(f"{sys.argv[0]}: {type(error).__name__}: {lines[0] if lines else 'without a reason'}")
