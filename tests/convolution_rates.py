"""Time convolutions of many forms beside PyTorch's: `PYTHONPATH=tests python -m convolution_rates`.

Each form is timed as a network trains it (the output and both gradients) and as it evaluates (the
output alone), in float32. Ours is Flax's `nn.Conv` in this package's training, in a compiled loop,
the batch divided between the devices. PyTorch's is `conv2d`, the faster of its two memory layouts.
One process times ours and another PyTorch's, so that they do not share cores.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

SECONDS = 0.7  # the least that a measurement takes
MEASUREMENTS = 3


@dataclass(frozen=True)
class Form:
    """A convolution: the images' extent and channels, and the layer."""

    extent: int
    channels: int
    features: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    transposed: bool = False

    def __str__(self):
        kind = "transposed " if self.transposed else ""
        text = f"{kind}{self.kernel}x{self.kernel}, {self.channels} to {self.features}"
        text += f", images {self.extent}x{self.extent}"
        if self.stride > 1:
            text += f", stride {self.stride}"
        if self.groups > 1:
            text += ", depthwise" if self.groups == self.channels else f", {self.groups} groups"
        if self.dilation > 1:
            text += f", dilation {self.dilation}"
        return text


FORMS = (
    Form(32, 3, 64),
    Form(32, 64, 64),
    Form(16, 128, 128),
    Form(8, 256, 256),
    Form(4, 512, 512),
    Form(17, 96, 96),
    Form(32, 64, 128, stride=2),
    Form(33, 64, 64, stride=3),
    Form(16, 64, 256, kernel=1),
    Form(16, 256, 64, kernel=1),
    Form(32, 64, 128, kernel=1, stride=2),
    Form(16, 64, 64, kernel=5),
    Form(32, 32, 64, kernel=5, stride=2),
    Form(64, 3, 64, kernel=7, stride=2),
    Form(16, 32, 32, kernel=7),
    Form(32, 3, 96, kernel=4, stride=4),
    Form(16, 128, 128, groups=8),
    Form(16, 128, 128, groups=32),
    Form(16, 128, 128, groups=128),
    Form(16, 96, 96, kernel=7, groups=96),
    Form(16, 64, 64, dilation=2),
    Form(8, 128, 64, kernel=2, stride=2, transposed=True),
)


def time_ours(form, batch):
    """Return the seconds of a training step and of a forward pass."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from jaxcifar.networks.adapt import adapt_layers

    make_layer = nn.ConvTranspose if form.transposed else nn.Conv
    options = {} if form.transposed else {"feature_group_count": form.groups}
    layer = make_layer(
        form.features,
        (form.kernel, form.kernel),
        strides=(form.stride, form.stride),
        kernel_dilation=(form.dilation, form.dilation),
        use_bias=False,
        **options,
    )
    images = jax.random.normal(jax.random.key(0), (batch, form.extent, form.extent, form.channels))
    variables = layer.init(jax.random.key(1), images[:1])
    kernel = variables["params"]["kernel"]

    def convolve(images, kernel):
        with adapt_layers("device"):
            return layer.apply({"params": {"kernel": kernel}}, images)

    output_shape = jax.eval_shape(layer.apply, variables, images).shape
    cotangents = jax.random.normal(jax.random.key(2), output_shape)

    # A step's results are arrays of the loop's state, so that they are computed whole. One image of
    # each changes the next step's inputs, so that XLA can't move a computation out of the loop.
    def train_once(_, state):
        images, kernel, cotangents, output, image_gradient = state
        images = images.at[0].add(1e-12 * image_gradient[0])
        cotangents = cotangents.at[0].add(1e-12 * output[0])
        output, differentiate = jax.vjp(convolve, images, kernel)
        image_gradient, kernel_gradient = differentiate(cotangents)
        kernel = kernel + 1e-12 * jax.lax.psum(kernel_gradient, "device")
        return images, kernel, cotangents, output, image_gradient

    def evaluate_once(_, state):
        images, kernel, cotangents, output, image_gradient = state
        images = images.at[0].add(1e-12 * output[0].mean())
        return images, kernel, cotangents, convolve(images, kernel), image_gradient

    mesh = jax.make_mesh((jax.device_count(),), ("device",), (AxisType.Auto,))
    by_batch, everywhere = PartitionSpec("device"), PartitionSpec()
    specifications = (by_batch, everywhere, by_batch, by_batch, by_batch)
    state = (images, kernel, cotangents, cotangents, images)
    state = [
        jax.device_put(array, NamedSharding(mesh, specification))
        for array, specification in zip(state, specifications, strict=True)
    ]

    def compile_loop(step):
        def loop(count, *state):
            return jax.lax.fori_loop(0, count, step, state)

        divided = jax.shard_map(
            loop,
            mesh=mesh,
            in_specs=(everywhere, *specifications),
            out_specs=specifications,
            check_vma=False,
        )
        program = jax.jit(divided).lower(jnp.int32(1), *state).compile()
        return lambda count: jax.block_until_ready(program(jnp.int32(count), *state))

    return [time_steps(compile_loop(step)) for step in (train_once, evaluate_once)]


def time_pytorchs(form, batch):
    """Return the seconds of a training step and of a forward pass, in the faster layout."""
    import torch

    torch.manual_seed(0)
    times = []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        make_layer = torch.nn.ConvTranspose2d if form.transposed else torch.nn.Conv2d
        padding = 0 if form.kernel == form.stride else form.dilation * (form.kernel - 1) // 2
        layer = make_layer(
            form.channels,
            form.features,
            form.kernel,
            stride=form.stride,
            padding=padding,
            groups=form.groups,
            dilation=form.dilation,
            bias=False,
        ).to(memory_format=memory_format)
        images = torch.randn(batch, form.channels, form.extent, form.extent)
        images = images.to(memory_format=memory_format).requires_grad_()
        cotangents = torch.randn_like(layer(images)).to(memory_format=memory_format)

        def train(count, layer=layer, images=images, cotangents=cotangents):
            for _ in range(count):
                layer.zero_grad()
                images.grad = None
                layer(images).backward(cotangents)

        def evaluate(count, layer=layer, images=images):
            with torch.no_grad():
                for _ in range(count):
                    layer(images)

        times.append([time_steps(train), time_steps(evaluate)])
    return np.min(times, axis=0).tolist()


def time_steps(run):
    """Return the seconds of a step: the median of several measurements."""
    run(1)
    start = time.perf_counter()
    run(2)
    count = max(2, round(SECONDS / (time.perf_counter() - start) * 2))
    seconds = []
    for _ in range(MEASUREMENTS):
        start = time.perf_counter()
        run(count)
        seconds.append((time.perf_counter() - start) / count)
    return float(np.median(seconds))


def time_in_a_process(whose, number, batch):
    """Return the seconds of a training step and of a forward pass of one form."""
    command = [sys.executable, "-m", "convolution_rates", "--one", whose, str(number)]
    command += ["--batch-size", str(batch)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=128, help="images (default: 128)")
    parser.add_argument("--one", nargs=2, metavar=("WHOSE", "NUMBER"), help="for its own processes")
    options = parser.parse_args(argv)
    if options.one:
        whose, number = options.one
        if whose == "ours":
            from jaxcifar.machine.environment import use_cpu_cores

            use_cpu_cores(options.batch_size)
        time_it = {"ours": time_ours, "pytorch": time_pytorchs}[whose]
        print(json.dumps(time_it(FORMS[int(number)], options.batch_size)))
        return
    print("| convolution | training, ms | PyTorch | ratio | evaluation, ms | PyTorch | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for number, form in enumerate(FORMS):
        time_of = partial(time_in_a_process, number=number, batch=options.batch_size)
        cells = []
        for ours, pytorchs in zip(time_of("ours"), time_of("pytorch"), strict=True):
            cells += [f"{1e3 * ours:.1f}", f"{1e3 * pytorchs:.1f}", f"{pytorchs / ours:.2f}"]
        print(f"| {form} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
