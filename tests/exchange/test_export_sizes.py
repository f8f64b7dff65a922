"""Networks for images of other sizes than 32x32, exported: the same logits."""

import jax
import numpy as np
import pytest
from exchange.test_export import LONGEST_SUM, NETWORKS, called, imported, write_random
from rounding import assert_near, error_of_logits

from jaxcifar.exchange.onnx.onnx_file import onnx_model
from jaxcifar.exchange.stablehlo import write_stablehlo
from jaxcifar.exchange.to_pytorch import write_pytorch
from jaxcifar.trained.load import load

# FastNet's pools get feature maps of 39, 19 and 9 pixels at 40, and of 43, 21 and 10 at 44: odd
# and even ones, which have other windows.
CASES = [("cnn", 40), ("fastnet blurred", 44), ("fastnet mirrored", 44)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]} at {case[1]}")
def exported(request, tmp_path_factory):
    """A classifier with random weights, and images of its size."""
    name, size = request.param
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    classifier = load(write_random(path, name, NETWORKS[name], image_size=size))
    images = np.random.RandomState(0).randint(0, 256, (4, size, size, 3)).astype(np.uint8)
    logits = classifier.logits(images)
    assert logits.shape == (4, 10)
    assert np.ptp(logits) > 0.5  # or their equality would say little
    return classifier, images, logits, 2 * error_of_logits(classifier, images, LONGEST_SUM)


def test_pytorch_gives_our_logits(exported, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    classifier, images, logits, error = exported
    module = imported(write_pytorch(classifier, tmp_path / "exported.pth"))
    with torch.no_grad():
        got = module.load()(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    assert_near(got, logits, error)


def test_onnx_runtime_gives_our_logits(exported):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    classifier, images, logits, error = exported
    session = onnxruntime.InferenceSession(onnx_model(classifier).SerializeToString())
    [got] = session.run(None, {"images": images})
    assert_near(got, logits, error)


def test_stablehlo_gives_our_logits_and_refuses_other_sizes(exported, tmp_path):
    classifier, images, logits, error = exported
    path = tmp_path / "exported.stablehlo"
    write_stablehlo(classifier, path)
    function = jax.export.deserialize(bytearray(path.read_bytes()))
    assert_near(called(function, images), logits, error)
    with pytest.raises(ValueError, match="shape"):
        function.call(images[:, :32, :32])
