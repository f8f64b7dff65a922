"""State dicts of other trainers: averages, counters, types, prefixes, torchvision's names."""

import numpy as np
import pytest
from conftest import assert_one_line_error, obeyed
from exchange.test_convert import assert_same_arrays, converted, refused
from exchange.test_export import NETWORKS, write_random

from jaxcifar.commands.convert import check_normalisation
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.exchange.from_pytorch import Conversion, convert
from jaxcifar.exchange.state_dict import read_state_dict
from jaxcifar.exchange.to_pytorch import write_pytorch
from jaxcifar.exchange.torch_modules.resnet18 import Network
from jaxcifar.trained.load import load

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch")

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


@pytest.fixture(scope="module")
def network():
    """A narrow ResNet with random weights and statistics, evaluated by PyTorch."""
    torch.manual_seed(0)
    narrow = Network(**NETWORKS["resnet18"], mean=MEAN, std=STD)
    for name, array in narrow.state_dict().items():
        if array.ndim == 1:  # kernels keep PyTorch's random start, so that logits stay near 1
            is_scale = "running_var" in name or name.endswith("weight")
            array.uniform_(0.5 if is_scale else -0.3, 1.5 if is_scale else 0.3)
    return narrow.eval()


@pytest.fixture(scope="module")
def plain(network):
    """The arrays that every file of the network's weights must give."""
    return {
        name: tensor.numpy().copy()
        for name, tensor in network.state_dict().items()
        if "num_batches" not in name
    }


def torchvision_names(state):
    """As torchvision.models.resnet18().state_dict() names the same layers."""
    return {
        name.replace("shortcut", "downsample").replace("linear", "fc"): tensor
        for name, tensor in state.items()
    }


def test_averaged_weights_with_torchvisions_names_give_torchs_logits(
    network, easy_dataset, tmp_path
):
    images = easy_dataset.test.images[:16]
    pixels = torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2)
    with torch.no_grad():
        theirs = network(pixels).numpy()
    averaged = torch.optim.swa_utils.AveragedModel(network).state_dict()
    assert averaged["n_averaged"].shape == ()
    torch.save(torchvision_names(averaged), tmp_path / "averaged.pth")
    config = Config.create("resnet18", arch_args=NETWORKS["resnet18"], dataset="shapes10")
    conversion = Conversion(tmp_path / "averaged.pth", config, tmp_path / "run", MEAN, STD)
    lines = []
    convert(conversion, lambda: easy_dataset, lines.append)
    assert any("right if conv1 has stride 1 and maxpool is nn.Identity()" in line for line in lines)
    ours = load(tmp_path / "run").logits(images)
    assert np.ptp(theirs, axis=0).max() > 0.01 * np.abs(theirs).max()  # the images matter
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("prefix", ("module.", "model.", "ema.", "my_wrapper.net.", "a._orig_mod."))
def test_a_prefix_of_all_names_is_removed(network, plain, prefix, tmp_path):
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    assert_same_arrays(read_state_dict(tmp_path / "w.pth").arrays, plain)
    safetensors_torch.save_file(state, tmp_path / "w.safetensors")
    assert_same_arrays(read_state_dict(tmp_path / "w.safetensors").arrays, plain)


def test_a_prefix_of_some_names_stays(tmp_path):
    torch.save({"net.a": torch.ones(1), "head.b": torch.ones(2)}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").arrays.keys() == {"net.a", "head.b"}


def test_two_tensors_do_not_become_one(tmp_path):
    state = {"x.a": torch.ones(1), "x._orig_mod.a": torch.zeros(1), "y": torch.ones(1)}
    torch.save(state, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", "two tensors have the same name")


def test_counters_and_numbers_beside_the_tensors_are_left_out(network, plain, tmp_path):
    numbers = {"epoch": 7, "accuracy": 0.93, "step": torch.tensor(9), "done": torch.tensor(True)}
    torch.save({**network.state_dict(), **numbers}, tmp_path / "w.pth")
    assert_same_arrays(read_state_dict(tmp_path / "w.pth").arrays, plain)
    torch.save({"weights_of_run_3": network.state_dict(), "epoch": 7}, tmp_path / "w.pth")
    assert_same_arrays(read_state_dict(tmp_path / "w.pth").arrays, plain)


def test_a_scalar_that_a_network_may_compute_with_is_kept(tmp_path):
    torch.save({"a": torch.ones(2), "temperature": torch.tensor(2.0)}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").arrays["temperature"] == 2


def test_of_several_state_dicts_none_is_chosen(network, tmp_path):
    state = network.state_dict()
    torch.save({"teacher": state, "student": state}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", "2 state dicts (teacher, student); save one")


@pytest.mark.parametrize("number_type", ("float16", "bfloat16", "float64"))
def test_other_types_of_numbers_become_float32(plain, number_type, tmp_path):
    state = {
        name: torch.from_numpy(array).to(getattr(torch, number_type))
        for name, array in plain.items()
    }
    rounded = {name: tensor.float().numpy() for name, tensor in state.items()}
    torch.save(state, tmp_path / "w.pth")
    assert_same_arrays(read_state_dict(tmp_path / "w.pth").arrays, rounded)
    safetensors_torch.save_file(state, tmp_path / "w.safetensors")
    assert_same_arrays(read_state_dict(tmp_path / "w.safetensors").arrays, rounded)


def test_numbers_that_float32_does_not_hold_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors_torch.save_file({"a": torch.tensor([1e300], dtype=torch.float64)}, path)
    refused(path, "finite")
    safetensors_torch.save_file({"a": torch.full((2,), torch.nan).bfloat16()}, path)
    refused(path, "finite")
    safetensors_torch.save_file({"a": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    refused(path, "numbers of the type F8_E4M3; save it as float32")


def test_an_error_names_the_nearest_tensors_and_the_prefix(network, easy_dataset, tmp_path):
    state = {
        f"encoder.{name.replace('conv1', 'convolution1')}": tensor
        for name, tensor in network.state_dict().items()
    }
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(RunError) as caught:
        converted(tmp_path / "w.pth", tmp_path / "run", easy_dataset, "resnet18")
    message = str(caught.value)
    assert (
        "conv1.weight: none in the file, [4, 3, 3, 3] expected, "
        "nearest in the file: convolution1.weight [4, 3, 3, 3]"
    ) in message
    assert "all names in the file begin with encoder., which is left out here" in message
    assert len(message.splitlines()) == 1

    torch.save({**network.state_dict(), "linear.biases": torch.zeros(10)}, tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"linear\.biases: \[10\] in the file, none expected\)"):
        converted(tmp_path / "w.pth", tmp_path / "run", easy_dataset, "resnet18")


def test_an_error_about_many_long_names_is_short(easy_dataset, tmp_path):
    """The names come from a file that is not trusted."""
    state = {f"{'conv1' * 5000}{number}": torch.zeros(1) for number in range(1000)}
    state |= {f"{'conv1.' * 12}{number}": torch.zeros(1) for number in range(2000)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(RunError) as caught:
        converted(tmp_path / "w.pth", tmp_path / "run", easy_dataset, "resnet18")
    assert len(str(caught.value)) < 1500


def test_an_error_about_torchvisions_weights_is_of_what_differs_in_shape_alone(
    network, easy_dataset, tmp_path
):
    state = torchvision_names(network.state_dict())
    stem = torch.zeros(4, 3, 5, 5)
    torch.save({**state, "conv1.weight": stem}, tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"conv1\.weight: \[4, 3, 5, 5\] in the file") as caught:
        converted(tmp_path / "w.pth", tmp_path / "run", easy_dataset, "resnet18")
    assert "fc.weight" not in str(caught.value)


@pytest.mark.parametrize("kernel", [7, 16])
def test_an_imagenet_networks_first_convolution_is_the_reason(easy_dataset, tmp_path, kernel):
    """Of torchvision's ResNet-18 and its 1,000 classes, and of a network with larger kernels."""
    state = torchvision_names(Network().state_dict())
    state["conv1.weight"] = torch.zeros(64, 3, kernel, kernel)
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, 512), torch.zeros(1000)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(RunError) as caught:
        converted(tmp_path / "w.pth", tmp_path / "run", easy_dataset, "resnet18")
    assert str(caught.value) == (
        f"{tmp_path / 'w.pth'}: the first convolution (conv1.weight) is {kernel}x{kernel}, of an "
        "ImageNet network; only networks for small images (3x3) can be imported"
    )


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    (
        ((125.3, 123.0, 113.9), None, "--mean 0.491373 0.482353 0.446667"),
        (
            (125.3, 123.0, 113.9),
            (63.0, 62.1, 66.7),
            "--mean 0.491373 0.482353 0.446667 --std 0.247059 0.243529 0.261569",
        ),
        ((125.3, 123.0, 113.9), (1, 1, 1), "--std 0.003922 0.003922 0.003922"),
        ((0, 0, 0), (255, 255, 255), "use --std 1 1 1"),
        ((-0.1, 0.5, 0.5), None, "--mean -0.1 0.5 0.5: must be three numbers from 0 to 1"),
        ((300, 1, 1), None, "--mean 300 1 1: must be three numbers from 0 to 1"),
        (None, (0, 0, 0), "--std 0 0 0: must be three numbers from 0.001 to 1"),
        (None, (0.2, 0.2, 0.0), "--std 0.2 0.2 0: must be three numbers from 0.001 to 1"),
        (None, (0.2, 0.2, 1e-9), "from 0.001 to 1"),
        ((0.5, 0.5, 0.5), (-0.2, 0.2, 0.2), "--std -0.2"),
    ),
)
def test_numbers_that_are_no_mean_or_deviation_of_pixels_are_refused(mean, std, words):
    with pytest.raises(UsageError) as caught:
        check_normalisation(mean, std)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("mean", "std"),
    (
        (None, None),
        ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ((0, 0, 0), (1, 1, 1)),  # pixels as they are
        ((0, 0, 0), (1 / 255, 1 / 255, 1 / 255)),  # a network of pixels from 0 to 255
    ),
)
def test_usual_normalisations_are_accepted(mean, std):
    check_normalisation(mean, std)


def test_the_command_says_what_to_type_instead(tmp_path):
    ours = write_random(tmp_path / "cnn.safetensors", "cnn", NETWORKS["cnn"])
    write_pytorch(load(ours), tmp_path / "cnn.pth")
    options = ("--arch", "cnn", "--run-dir", str(tmp_path / "run"))
    values = ("--mean", "125.3", "123.0", "113.9")
    ran = obeyed("convert", str(tmp_path / "cnn.pth"), *options, *values)
    assert_one_line_error(ran, 2, "--mean 0.491373 0.482353 0.446667")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_large_file_of_another_form_is_refused_before_it_is_read(tmp_path, suffix, monkeypatch):
    """The file is sparse: 2 GiB of zeros. Its digest would need all of them."""
    file = tmp_path / f"weights{suffix}"
    with file.open("wb") as stream:
        stream.truncate(2**31)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("the whole file was read"))
    with pytest.raises(RunError, match=r"damaged|format of torch\.save"):
        read_state_dict(file)
