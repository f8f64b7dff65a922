"""The networks to copy: their sizes against published ones, and that they can be trained."""

import importlib.util
from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT
from networks.test_adapt import BATCH, examples, hyperparameters, one_device, program_of


def network(file, name):
    """As a user has it: the class in a file that stands alone."""
    path = ROOT / "experiments" / "networks" / file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


WideResNet = network("wide_resnet.py", "WideResNet")
Mixer = network("mixer.py", "Mixer")


def parameters(model, size=32):
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    ("depth", "width", "millions"), [(16, 8, 11.0), (28, 10, 36.5), (40, 4, 8.9)]
)
def test_wide_resnets_have_the_published_sizes(depth, width, millions):
    """Tables 4 and 5 of the paper."""
    assert round(parameters(WideResNet(depth, width)) / 1e6, 1) == millions


def test_the_default_wide_resnet_counted_by_hand():
    widths, count = [16, 64, 128, 256], 3 * 3 * 3 * 16
    for before, after in pairwise(widths):
        for inputs in (before, after):
            count += 9 * inputs * after + 9 * after * after + 2 * (inputs + after)
            count += inputs * after if inputs != after else 0
    count += 2 * 256 + 256 * 10 + 10
    assert parameters(WideResNet()) == count


@pytest.mark.parametrize(
    ("depth", "width", "patch", "millions"), [(8, 512, 32, 19), (8, 512, 16, 18), (12, 768, 16, 59)]
)
def test_mixers_have_the_published_sizes(depth, width, patch, millions):
    """S/32, S/16 and B/16 for ImageNet: table 1 of the paper. Its sizes leave out the head of B."""
    model = Mixer(depth, width, patch, num_classes=1000)
    head = 1000 * (width + 1) if depth == 12 else 0
    assert abs((parameters(model, 224) - head) / 1e6 - millions) < 1


@pytest.mark.parametrize("model", [WideResNet(10, 1), Mixer(2, 32)], ids=["wide", "mixer"])
def test_a_step_of_theirs_may_be_looped(model):
    """Every convolution is computed by products, and the state keeps its form."""
    program, hp = program_of(model, one_device()), hyperparameters()
    assert program.compiles_loops
    images, labels = (array[:BATCH] for array in examples())
    state = program.init.eval_shape(program, hp, images)
    train_step = program.copy_for_one_device.train_step
    after = jax.eval_shape(train_step, state, hp, images, labels, labels)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
