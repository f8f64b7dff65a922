"""Exported networks, run by what they were exported for: the same logits."""

import importlib.util
import json
import re
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT, assert_one_line_error, obeyed
from rounding import assert_near, error_of_logits

from jaxcifar.build.model import create_model
from jaxcifar.commands.export import write_and_describe_file
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.exchange.onnx import onnx_file
from jaxcifar.exchange.onnx.conversion_table import CONVERSIONS
from jaxcifar.exchange.onnx.elementwise_nodes import conversion_to_node
from jaxcifar.exchange.onnx.logits_comparison import require_equal_logits
from jaxcifar.exchange.onnx.onnx_file import onnx_model, write_onnx
from jaxcifar.exchange.stablehlo import PLATFORMS, write_stablehlo
from jaxcifar.exchange.to_pytorch import module_text, pytorch_state_dict, write_pytorch
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.machine.extras import import_extra
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.runs.weights import read_weights, write_weights
from jaxcifar.trained.load import load
from jaxcifar.training import network

# Small ones of each kind, none of a shape that hides a mistake in the order of axes.
NETWORKS = {
    "cnn": {"widths": (4, 6, 10), "hidden": 12},
    "resnet18": {"widths": (4, 8, 6), "blocks": (2, 1, 2)},
    "fastnet": {"widths": (5, 7, 6)},
    "fastnet mirrored": {"widths": (4, 10, 6), "depths": (2, 1, 3), "mirrored": True},
    "fastnet blurred": {"widths": (5, 7, 6), "blurred": True},
    "fastnet as in its recipe": {
        "widths": (4, 10, 6),
        "depths": (2, 2, 3),
        "mirrored": True,
        "blurred": True,
    },
}
# `test_export_sizes.py` has the other two, at a size at which pools have more kinds of windows.
EXPORTED = ("cnn", "resnet18", "fastnet", "fastnet as in its recipe")
LONGEST_SUM = 4 * 4 * 10  # that of the CNN's first dense layer
NAMES = ("plane", "car", "bird's", "cat", 'a "deer"', "dog", "frog", "horse", "ship", "truck\\")


def write_random(path, arch, arch_args=None, classes=NAMES, image_size=32):
    """A file of weights, none of which is what a network begins with."""
    name, *_ = arch.split()
    dataset = "shapes10" if image_size == 32 else "./own.npz"
    settings = {"arch_args": arch_args or {}, "dataset": dataset, "image_size": image_size}
    config = Config.create(name, **settings)
    rng = np.random.RandomState(0)

    def drawn(where, leaf):
        span = {"scale": (0.5, 1.5), "var": (0.5, 1.5), "kernel": (-0.4, 0.4)}
        return rng.uniform(*span.get(where[-1].key, (-0.2, 0.2)), leaf.shape).astype(np.float32)

    like = network.variable_shapes(create_model(config, len(classes)), image_size)
    card = {
        "config": config.to_dict(),
        "class_names": [*classes],
        "dataset": "shapes",
        "channel_mean": [0.49, 0.48, 0.45],
        "channel_std": [0.25, 0.24, 0.26],
    }
    write_weights(path, jax.tree_util.tree_map_with_path(drawn, like), card)
    return path


@pytest.fixture(scope="module", params=EXPORTED)
def classifier(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    return load(write_random(path, request.param, NETWORKS[request.param]))


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(classifier, images):
    logits = classifier.logits(images)
    assert 0.5 < np.ptp(logits) < 1000  # or their equality would say little
    assert np.ptp(logits, axis=0).max() > 0.1  # the images matter
    return logits


@pytest.fixture(scope="module")
def error(classifier, images):
    """The difference of logits that two programs may have."""
    return 2 * error_of_logits(classifier, images, LONGEST_SUM)


def imported(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def called(exported, images):
    """The logits of a StableHLO function, compiled in a moment."""
    return jax.jit(exported.call, compiler_options=FAST_COMPILE_OPTIONS)(images)


def test_pytorch_gives_our_logits(classifier, images, expected, error, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "exported.pth"
    module = imported(write_pytorch(classifier, path))
    network = module.load()
    assert not network.training
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    assert_near(logits, expected, error)
    assert module.CLASS_NAMES == NAMES
    state = torch.load(path, weights_only=True)  # of tensors alone
    assert {*state} == {*network.state_dict()}
    assert "jaxcifar" not in (tmp_path / "exported.py").read_text()


def test_onnx_runtime_gives_our_logits(classifier, images, expected, error):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    model = onnx_model(classifier)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for some in (slice(0, 8), slice(3, 4)):  # any batch size
        [logits] = session.run(None, {"images": images[some]})
        assert_near(logits, expected[some], error[some])
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == list(NAMES)


def test_stablehlo_gives_our_logits(classifier, images, expected, error, tmp_path):
    path = tmp_path / "exported.stablehlo"
    write_stablehlo(classifier, path)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    for some in (slice(0, 8), slice(3, 4)):  # any batch size
        assert_near(called(exported, images[some]), expected[some], error[some])


def test_the_examples_of_the_docs(tmp_path, monkeypatch, capsys):
    for package in ("torch", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    classifier = load(write_random(tmp_path / "net.safetensors", "cnn", NETWORKS["cnn"]))
    write_pytorch(classifier, tmp_path / "net.pth")
    write_onnx(classifier, tmp_path / "net.onnx")
    write_stablehlo(classifier, tmp_path / "net.stablehlo")
    docs = (ROOT / "docs" / "exporting.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", docs, re.S | re.M)
    assert len(examples) == 3
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "net", raising=False)
    names = {}
    for example in examples:
        exec(example, names)
    monkeypatch.delitem(sys.modules, "net")
    assert names["logits"].shape == (1, 10)
    first, second = capsys.readouterr().out.split()  # PyTorch and ONNX on the same image
    assert first == second


def test_resnet18_has_the_usual_names(tmp_path):
    """Those of pytorch-cifar's ResNet18, spelled out from its description."""
    state = pytorch_state_dict(load(write_random(tmp_path / "w.safetensors", "resnet18")))
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", "linear.weight", "linear.bias", *(f"bn1.{leaf}" for leaf in norm)}
    for block in (f"layer{stage}.{number}" for stage in (1, 2, 3, 4) for number in (0, 1)):
        for number in (1, 2):
            names |= {f"{block}.conv{number}.weight", *(f"{block}.bn{number}.{x}" for x in norm)}
    for block in ("layer2.0", "layer3.0", "layer4.0"):
        names |= {f"{block}.shortcut.0.weight", *(f"{block}.shortcut.1.{leaf}" for leaf in norm)}
    assert {*state} == names
    assert len(names) == 122
    assert state["layer3.0.shortcut.0.weight"].shape == (256, 128, 1, 1)
    assert state["linear.weight"].shape == (10, 512)


def test_the_exported_module_has_the_trained_networks_constants(classifier):
    text = module_text(classifier)
    assert "MEAN = (0.49, 0.48, 0.45)\nSTD = (0.25, 0.24, 0.26)\n" in text
    assert f"WIDTHS = {dict(classifier.config.arch_args)['widths']}\n" in text


def test_a_file_that_is_not_an_exported_module_is_not_overwritten(classifier, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "net.py").write_text("my_own = 1\n")
    with pytest.raises(UsageError, match="choose another name"):
        write_pytorch(classifier, tmp_path / "net.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]
    assert (tmp_path / "net.py").read_text() == "my_own = 1\n"


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RunError, match=r"package onnx.*pip install onnx"):
        import_extra("onnx")


OWN = """
from flax import linen as nn

class Net(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3), strides=2)(x)))
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The weights of a network of somebody's own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(OWN)
    return write_random(folder / "own.safetensors", f"{folder / 'net.py'}:Net")


def test_a_users_network_is_exported_to_the_formats_that_take_any_network(own, images, tmp_path):
    classifier = load(own)
    expected = classifier.logits(images)
    error = 2 * error_of_logits(classifier, images, 16 * 16 * 4)
    path = tmp_path / "own.stablehlo"
    done = obeyed("export", str(own), "--to", "stablehlo", str(path))
    assert done.returncode == 0, done.stderr
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    for some in (slice(0, 8), slice(3, 4)):  # any batch size
        assert_near(called(exported, images[some]), expected[some], error[some])
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    done = obeyed("export", str(own), "--to", "onnx", str(tmp_path / "own.onnx"))
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx")
    [logits] = session.run(None, {"images": images})
    assert_near(logits, expected, error)
    assert str(own.parent).encode() not in (tmp_path / "own.onnx").read_bytes()


def test_a_users_network_is_not_exported_to_pytorch(own, tmp_path):
    done = obeyed("export", str(own), "--to", "pytorch", str(tmp_path / "own.pth"))
    assert_one_line_error(done, 2, "cnn, resnet18, fastnet")


def test_a_network_that_onnx_can_not_express_gives_a_one_line_error(tmp_path):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    text = OWN.replace("return", "x = jax.lax.nextafter(x, x)\n        return")
    (tmp_path / "net.py").write_text("import jax\n" + text)
    weights = write_random(tmp_path / "own.safetensors", f"{tmp_path / 'net.py'}:Net")
    done = obeyed("export", str(weights), "--to", "onnx", str(tmp_path / "own.onnx"))
    assert_one_line_error(done, 2, "nextafter", "--to stablehlo")
    assert not (tmp_path / "own.onnx").exists()


def test_a_wrong_onnx_graph_is_not_written(own, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    monkeypatch.setitem(
        CONVERSIONS, "max", conversion_to_node("Min")
    )  # as if ReLU were converted wrongly
    with pytest.raises(RunError, match="differ from the network's by") as raised:
        write_and_describe_file(load(own), "onnx", tmp_path / "own.onnx", as_float16=False)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_onnx_runtime_can_not_load_is_not_written(own, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
    monkeypatch.setattr(onnx_file, "onnx_model", lambda classifier: onnx.ModelProto())
    with pytest.raises(RunError, match="ONNX Runtime can't load it"):
        write_and_describe_file(load(own), "onnx", tmp_path / "own.onnx", as_float16=False)
    assert not list(tmp_path.iterdir())


def test_without_onnx_runtime_a_line_says_that_nothing_was_compared(own, tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = write_and_describe_file(load(own), "onnx", tmp_path / "own.onnx", as_float16=False)
    assert "not compared" in message
    assert "pip install onnxruntime" in message
    assert (tmp_path / "own.onnx").exists()


@pytest.mark.parametrize(
    ("logits", "is_refused"),
    [
        ([[1, -200.1, np.nan]], False),
        ([[1, -200.5, np.nan]], True),
        ([[1, np.nan, np.nan]], True),
        ([[1, -200.1, 3]], True),
        ([[1, -200.1]], True),
    ],
)
def test_logits_are_compared_to_a_part_of_the_largest(logits, is_refused):
    expected = np.array([[1, -200, np.nan]])
    try:
        require_equal_logits(np.array(logits), expected, tolerance=1e-3)
    except RunError:
        assert is_refused
    else:
        assert not is_refused


def test_a_network_of_more_than_2_gb_is_refused(own, monkeypatch):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    monkeypatch.setattr(onnx_file, "_LARGEST_SIZE", 1000)
    with pytest.raises(UsageError, match="at most 2 GB"):
        onnx_model(load(own))


def test_half_writes_weights_in_float16(own, tmp_path):
    for options, width in ((["--half"], np.float16), ([], np.float32)):
        path = tmp_path / "copy.safetensors"
        done = obeyed("export", str(own), "--to", "safetensors", *options, str(path))
        assert done.returncode == 0, done.stderr
        arrays, card = read_weights(path)
        assert {array.dtype for array in arrays.values()} == {np.dtype(width)}
        assert card == read_weights(own)[1]
        for name, array in named_arrays(load(own).variables).items():
            np.testing.assert_array_equal(arrays[name], np.asarray(array).astype(width))


def test_a_senseless_export_gives_a_one_line_error(own, tmp_path, tmp_path_factory):
    in_a_run = tmp_path_factory.mktemp("run")
    (in_a_run / "config.json").write_text("{}")
    for code, words, arguments in (
        (2, ".onnx", (own, "--to", "onnx", tmp_path / "x.pth")),
        (2, "could not import the module", (own, "--to", "pytorch", tmp_path / "a-b.pth")),
        (2, "could not import the module", (own, "--to", "pytorch", tmp_path / "class.pth")),
        (2, "would hide another module", (own, "--to", "pytorch", tmp_path / "torch.pth")),
        (2, "folder of a run", (own, "--to", "onnx", in_a_run / "x.onnx")),
        (2, "--half", (own, "--half", "--to", "onnx", tmp_path / "x.onnx")),
        (2, "is the file to export", (own, "--half", "--to", "safetensors", own)),
        (2, "no run here", (tmp_path, "--to", "onnx", tmp_path / "x.onnx")),
        (2, "there is no folder", (own, "--to", "safetensors", tmp_path / "no" / "x.safetensors")),
    ):
        done = obeyed("export", *arguments)
        assert_one_line_error(done, code, words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = x - x.mean(0)", "depend on the other images"),
        ("x = jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)", "callback"),
        ("jax.debug.print('mean {}', x.mean())", None),
    ],
)
def test_a_network_that_stablehlo_can_not_express_gives_one_line(line, words, images, tmp_path):
    text = OWN.replace("return", f"{line}\n        return")
    (tmp_path / "net.py").write_text("import jax\nimport numpy as np\n" + text)
    classifier = load(write_random(tmp_path / "w.safetensors", f"{tmp_path / 'net.py'}:Net"))
    path = tmp_path / "net.stablehlo"
    if words is None:
        write_stablehlo(classifier, path)
        logits = jax.export.deserialize(bytearray(path.read_bytes())).call(images)
        error = 2 * error_of_logits(classifier, images, 16 * 16 * 4)
        assert_near(logits, classifier.logits(images), error)
        return
    with pytest.raises(UsageError, match=words) as raised:
        write_stablehlo(classifier, path)
    assert "\n" not in str(raised.value)
    assert not path.exists()
