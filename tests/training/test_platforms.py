"""The training programs lower for accelerators that are not here."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.machine import onednn
from jaxcifar.training.parallel_runs import ParallelRuns

# Every kind of layer of a network, each as seldom as possible: tracing takes longer than all else.
SHALLOW = {
    "cnn": {"widths": (32,)},
    "resnet18": {"widths": (64, 128), "blocks": (1, 1)},
    "fastnet": {"widths": (64, 128), "depths": (1, 3), "mirrored": True, "blurred": True},
}
# Forward, the kernel's gradient, and but for the first layer the images' gradient; of the
# whitening, whose kernel is fixed, forward only.
CONVOLUTIONS = {"cnn": 3 * 2 - 1, "resnet18": 3 * 6 - 1, "fastnet": 1 + 3 * 4}


def test_each_network_has_a_shallow_form():
    assert SHALLOW.keys() == CONVOLUTIONS.keys() == set(ARCHS)


@pytest.mark.parametrize("arch", ARCHS)
def test_they_lower_for_tpu_and_gpu(arch, easy_dataset, monkeypatch):
    monkeypatch.setattr(onednn, "is_on", lambda: False)
    config = Config.create(arch, dtype="bfloat16", batch_size=8, epochs=1, arch_args=SHALLOW[arch])
    program = make_program(config, 10, 128, jax.devices()[:1])
    texts = lowered(program, config, easy_dataset, ["cpu"])
    # A CPU's network is of float32 but for products; an accelerator has it in bfloat16.
    model = program.model.clone(dtype=jnp.bfloat16)
    program = dataclasses.replace(program, model=model, product_dtype=None)
    texts |= lowered(program, config, easy_dataset, ["tpu", "cuda"])
    for platform, text in texts.items():
        assert "bf16" in text
        assert "f64" not in text
        assert not re.search(r"callback|stablehlo\.(infeed|outfeed|send|recv)", text)
        expected = 0 if platform == "cpu" else CONVOLUTIONS[arch]  # a CPU computes products
        assert convolutions(text) == expected


def convolutions(text):
    """Return how many convolutions a program computes; a function counts once for each call."""
    parts = re.split(r"func\.func (?:public|private) @([\w.]+)", text)
    functions = dict(zip(parts[1::2], parts[2::2], strict=True))

    def count(name):
        body = functions[name]
        called = re.findall(r"call @([\w.]+)", body)
        return body.count("stablehlo.convolution") + sum(map(count, called))

    return count("main")


def lowered(program, config, easy_dataset, platforms):
    """Return the text of the training program for each platform."""
    hp = make_hyperparameters(config, easy_dataset, program.steps_per_epoch)
    images, labels = np.zeros((16, 32, 32, 3), np.uint8), np.zeros(16, np.int32)
    traced = ParallelRuns(program, 1).trace(hp, images, labels)
    return {
        platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in platforms
    }
