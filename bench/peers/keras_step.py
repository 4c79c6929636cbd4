"""The article's step by TensorFlow and Keras: loss and gradient of the stimulation, prints a JSON line.

keras.applications' own InceptionV3 up to the layer, as the article's program has it (BatchNorm as layers of their own,
the picture as the only thing that is differentiated), with the weights given. fp16 and bf16 are Keras's mixed
policies; their backward pass begins with a instead of 2a/N, and the gradient is multiplied by 2/N at the end, in fp32.

Variants: graph, a tf.function; xla, the same with jit_compile.
"""

import os
import re

import peer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras  # noqa: E402  the lines above are read at this import
import tensorflow as tf  # noqa: E402

POLICIES = {"fp32": "float32", "tf32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}
VARIANTS = ["graph", "xla"]


def settings(options):
    """TensorFlow's switches, before it starts its devices."""
    if options.threads:
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    gpus = tf.config.list_physical_devices("GPU")
    if options.device == "cuda":
        if not gpus:
            raise ValueError("TensorFlow sees no GPU")
        tf.config.experimental.set_memory_growth(gpus[0], True)
        tf.config.experimental.enable_tensor_float_32_execution(options.precision != "fp32")
    else:
        tf.config.set_visible_devices([], "GPU")
    keras.config.set_dtype_policy(POLICIES[options.precision])


def numbered(model, kind):
    """The model's layers of a kind in the order in which Keras made them: newer versions number from 0 and leave the
    number 0 out."""
    layers = [layer for layer in model.layers if isinstance(layer, kind)]
    return sorted(layers, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0]))


def model_open(options):
    """The network up to the layer, whose name is one of Keras 2.1's: activation_1 is the first."""
    model = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(None, None, 3))
    convs, norms = numbered(model, keras.layers.Conv2D), numbered(model, keras.layers.BatchNormalization)
    for number, (kernel, *norm) in peer.weights_read(options.weights).items():
        convs[number - 1].set_weights([kernel])
        norms[number - 1].set_weights(norm)
    match = re.fullmatch(r"activation_(\d+)", options.layer)
    if match:
        activations = numbered(model, keras.layers.Activation)
        if not 1 <= int(match[1]) <= len(activations):
            raise ValueError(f"there is no layer {options.layer}")
        layer = activations[int(match[1]) - 1]
    else:
        layer = model.get_layer(options.layer)
    model = keras.Model(model.input, layer.output)
    model.trainable = False
    return model


def main():
    options = peer.arguments(__doc__, VARIANTS)
    settings(options)
    on_gpu = options.device == "cuda"
    with tf.device("/GPU:0" if on_gpu else "/CPU:0"):
        model = model_open(options)
        x = tf.constant(peer.random_picture(options))

    @tf.function(jit_compile=options.variant == "xla")
    def step(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            a = model(x, training=False)
            loss = 0.5 * tf.reduce_sum(tf.square(tf.cast(a[:, 2:-2, 2:-2, :], tf.float32)))
        scale = 2.0 / tf.cast(tf.size(a), tf.float32)
        return loss * scale, tape.gradient(loss, x) * scale

    loaded = peer.process_seconds()
    sync = tf.test.experimental.sync_devices if on_gpu else lambda: None
    batch = peer.wall_clock(lambda: step(x), sync)
    batch(1)
    warm = peer.process_seconds()
    peer.peak_reset()
    if on_gpu:
        tf.config.experimental.reset_memory_stats("GPU:0")
    times = peer.timed(batch, options)
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] if on_gpu else peer.host_peak()
    loss = None
    if options.picture:
        with tf.device("/GPU:0" if on_gpu else "/CPU:0"):
            loss, g = step(tf.constant(peer.given_picture(options)))
        peer.gradient_write(options, g.numpy())
        loss = float(loss)
    peer.report(
        "keras",
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
        options,
        times,
        threads=tf.config.threading.get_intra_op_parallelism_threads() or peer.cores(),
        peak_bytes=peak,
        load_seconds=loaded,
        warmup_seconds=warm - loaded,
        loss=loss,
    )


if __name__ == "__main__":
    peer.run(main)
