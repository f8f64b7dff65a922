"""Where each array of a network lies in PyTorch, against lists and loops written by hand."""

import ast
import sys

import numpy as np
import pytest

from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.exchange.pytorch_names import (
    ArrayMapping,
    array_mappings,
    names_of_unit_scales,
    to_pytorch,
)
from jaxcifar.exchange.torch_modules import ARCHS_IN_PYTORCH, module_source, require_pytorch_module

pytest.importorskip("torch", reason="PyTorch is not installed")

NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def arrays_of(layers):
    """Arrays by our names, for layers such as {"Conv_0": (3, 3, 3, 4)}; norms are given by size."""
    rng, arrays = np.random.RandomState(0), {}
    for layer, shape in layers.items():
        if isinstance(shape, int):
            for leaf in NORM:
                room = "batch_stats" if leaf in ("mean", "var") else "params"
                arrays[f"{room}/{layer}/{leaf}"] = rng.rand(shape).astype(np.float32)
        else:
            arrays[f"params/{layer}/kernel"] = rng.rand(*shape).astype(np.float32)
            arrays[f"params/{layer}/bias"] = rng.rand(shape[-1]).astype(np.float32)
    return arrays


CNN = Config.create("cnn", arch_args={"widths": (4, 6), "hidden": 5})
CNN_ARRAYS = arrays_of(
    {
        "Conv_0": (3, 3, 3, 4),
        "BatchNorm_0": 4,
        "Conv_1": (3, 3, 4, 4),
        "BatchNorm_1": 4,
        "Conv_2": (3, 3, 4, 6),
        "BatchNorm_2": 6,
        "Conv_3": (3, 3, 6, 6),
        "BatchNorm_3": 6,
        "Dense_0": (8 * 8 * 6, 5),
        "BatchNorm_4": 5,
        "Dense_1": (5, 10),
    }
)
# A block of the CNN: convolution, norm, ReLU twice, then a pool. The head: flatten, dense, norm,
# ReLU, dropout, dense.
CNN_LAYERS = {
    "Conv_0": "features.0",
    "BatchNorm_0": "features.1",
    "Conv_1": "features.3",
    "BatchNorm_1": "features.4",
    "Conv_2": "features.7",
    "BatchNorm_2": "features.8",
    "Conv_3": "features.10",
    "BatchNorm_3": "features.11",
    "Dense_0": "classifier.1",
    "BatchNorm_4": "classifier.2",
    "Dense_1": "classifier.5",
}


def expected_name(layers, ours):
    layer_and_leaf = ours.partition("/")[2]
    layer, _, leaf = layer_and_leaf.rpartition("/")
    return f"{layers[layer]}.{'weight' if leaf == 'kernel' else NORM[leaf]}"


def test_the_cnns_layers_are_the_numbers_of_a_sequential():
    found = {
        place.jaxcifar_name: place.pytorch_name for place in array_mappings(CNN, 10, CNN_ARRAYS)
    }
    assert found == {ours: expected_name(CNN_LAYERS, ours) for ours in CNN_ARRAYS}


def test_arrays_are_laid_out_as_pytorch_has_them():
    state = to_pytorch(CNN, 10, CNN_ARRAYS)
    kernel, weight = CNN_ARRAYS["params/Conv_2/kernel"], state["features.7.weight"]
    assert weight.shape == (6, 4, 3, 3)
    for index in np.ndindex(weight.shape):
        out, channel, row, column = index
        assert weight[index] == kernel[row, column, channel, out]
    dense, weight = CNN_ARRAYS["params/Dense_1/kernel"], state["classifier.5.weight"]
    np.testing.assert_array_equal(weight, dense.T)
    flattened, weight = CNN_ARRAYS["params/Dense_0/kernel"], state["classifier.1.weight"]
    for row, column, channel in np.ndindex(8, 8, 6):
        theirs = channel * 64 + row * 8 + column
        ours = row * 48 + column * 6 + channel
        np.testing.assert_array_equal(weight[:, theirs], flattened[ours])
    for array in state.values():
        assert array.flags.c_contiguous


def test_every_norm_has_a_counter_and_its_own_scale():
    state = to_pytorch(CNN, 10, CNN_ARRAYS)
    norms = [name for layer, name in CNN_LAYERS.items() if "Norm" in layer]
    counters = {f"{norm}.num_batches_tracked" for norm in norms}
    assert len(state) == len(CNN_ARRAYS) + len(counters)
    for norm, layer in zip(norms, (layer for layer in CNN_LAYERS if "Norm" in layer), strict=True):
        counter = state[f"{norm}.num_batches_tracked"]
        assert (counter.shape, counter.dtype, int(counter)) == ((), np.int64, 0)
        for leaf, name in NORM.items():
            room = "batch_stats" if leaf in ("mean", "var") else "params"
            np.testing.assert_array_equal(
                state[f"{norm}.{name}"], CNN_ARRAYS[f"{room}/{layer}/{leaf}"]
            )


def test_a_norm_without_a_scale_gets_ones():
    arrays = {name: array for name, array in CNN_ARRAYS.items() if not name.endswith("/scale")}
    state = to_pytorch(CNN, 10, arrays)
    scale = state["features.8.weight"]
    assert scale.dtype == np.float32
    assert scale.tolist() == [1.0] * 6
    norms = {name for layer, name in CNN_LAYERS.items() if "Norm" in layer}
    assert names_of_unit_scales(array_mappings(CNN, 10, arrays)) == {
        f"{norm}.weight" for norm in norms
    }
    assert names_of_unit_scales(array_mappings(CNN, 10, CNN_ARRAYS)) == set()


@pytest.mark.parametrize("image_shape", [None, (2, 3, 4)])
def test_to_jaxcifar_layout_inverts_to_pytorch_layout(image_shape):
    shape, axes = ((24, 5), (1, 0)) if image_shape else ((3, 5, 2, 7), (3, 2, 0, 1))
    mapping = ArrayMapping("a", "b", shape, axes, image_shape)
    array = np.arange(np.prod(shape)).reshape(shape)
    theirs = mapping.to_pytorch_layout(array)
    assert theirs.shape == mapping.pytorch_shape == tuple(shape[axis] for axis in axes)
    back = mapping.to_jaxcifar_layout(theirs)
    np.testing.assert_array_equal(back, array)
    assert back.flags.c_contiguous


def test_a_resnets_layers_are_by_stage_and_block():
    config = Config.create("resnet18")
    layers = {"Conv_0": (3, 3, 3, 8), "BatchNorm_0": 8, "Dense_0": (8, 10)}
    expected = {"Conv_0": "conv1", "BatchNorm_0": "bn1", "Dense_0": "linear"}
    inner = {
        "Conv_0": ("conv1", (3, 3, 8, 8)),
        "BatchNorm_0": ("bn1", 8),
        "Conv_1": ("conv2", (3, 3, 8, 8)),
        "BatchNorm_1": ("bn2", 8),
    }
    shortcut = {"shortcut": ("shortcut.0", (1, 1, 8, 8)), "shortcut_norm": ("shortcut.1", 8)}
    where = ("1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1")
    for number, block in enumerate(where):
        projected = block in ("2.0", "3.0", "4.0")
        for ours, (theirs, shape) in {**inner, **(shortcut if projected else {})}.items():
            layers[f"ResBlock_{number}/{ours}"] = shape
            expected[f"ResBlock_{number}/{ours}"] = f"layer{block}.{theirs}"
    found = array_mappings(config, 10, arrays_of(layers))
    assert {p.jaxcifar_name: p.pytorch_name for p in found} == {
        ours: expected_name(expected, ours) for ours in arrays_of(layers)
    }
    # No feature map is flattened.
    assert all(mapping.shape_before_flattening is None for mapping in found)


def test_fastnets_layers_are_by_group():
    config = Config.create("fastnet", arch_args={})
    depths = (2, 2, 2)
    layers = {"Whitening_0": (2, 2, 3, 24), "Dense_0": (8, 10)}
    expected = {"Whitening_0": "whitening", "Dense_0": "linear"}
    for group, depth in enumerate(depths):
        for layer in range(depth):
            layers[f"ConvGroup_{group}/Conv_{layer}"] = (3, 3, 8, 8)
            layers[f"ConvGroup_{group}/BatchNorm_{layer}"] = 8
            expected[f"ConvGroup_{group}/Conv_{layer}"] = f"layer{group + 1}.conv{layer + 1}"
            expected[f"ConvGroup_{group}/BatchNorm_{layer}"] = f"layer{group + 1}.bn{layer + 1}"
    found = array_mappings(config, 10, arrays_of(layers))
    assert {p.jaxcifar_name: p.pytorch_name for p in found} == {
        ours: expected_name(expected, ours) for ours in arrays_of(layers)
    }


def test_a_mirrored_network_is_expanded_first():
    config = Config.create("fastnet", arch_args={"widths": (8, 8, 8), "mirrored": True})
    rng = np.random.RandomState(0)
    kernel = rng.rand(3, 3, 8, 4).astype(np.float32)
    bias, variance = rng.rand(2, 4).astype(np.float32)
    arrays = {
        "params/Whitening_0/bias": rng.rand(12),
        "params/ConvGroup_1/MirroredConv_1/kernel": kernel,
        "params/ConvGroup_1/BatchNorm_1/bias": bias,
        "batch_stats/ConvGroup_1/BatchNorm_1/var": variance,
    }
    state = to_pytorch(config, 10, arrays)
    assert state["layer2.conv2.weight"].shape == (8, 8, 3, 3)
    np.testing.assert_array_equal(state["layer2.conv2.weight"][:4], kernel.transpose(3, 2, 0, 1))
    # Partners share their bias and variance.
    assert state["layer2.bn2.bias"].tolist() == [*bias, *bias]
    assert state["layer2.bn2.running_var"].tolist() == [*variance, *variance]


def test_an_unknown_network_is_refused():
    config = Config.create("experiments.networks.mixer:Mixer")
    for ask in (
        lambda: require_pytorch_module(config.arch),
        lambda: array_mappings(config, 10, {}),
    ):
        with pytest.raises(UsageError) as error:
            ask()
        assert str(error.value) == (
            f"--arch experiments.networks.mixer:Mixer: only {', '.join(ARCHS_IN_PYTORCH)} have a "
            "PyTorch module; the formats stablehlo and safetensors take any network"
        )
    assert {*ARCHS_IN_PYTORCH} >= {"cnn", "resnet18", "fastnet"}
    for name in ARCHS_IN_PYTORCH:
        require_pytorch_module(name)


@pytest.mark.parametrize("arch", ARCHS_IN_PYTORCH)
def test_an_exported_module_imports_only_pytorch(arch):
    """And Python's own packages: users have it without ours."""
    tree = ast.parse(module_source(arch))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names == {"torch"}
