"""State dicts of PyTorch become runs: round trips, what trainers wrap them in, what is refused."""

import collections
import dataclasses
import io
import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from conftest import assert_one_line_error, obeyed
from drawn_once import curves_drawn_once, pictures_drawn_once  # noqa: F401  (fixtures)
from exchange.test_export import NETWORKS, write_random

from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset
from jaxcifar.errors import RunError, UsageError
from jaxcifar.exchange.from_pytorch import Conversion, convert
from jaxcifar.exchange.state_dict import read_state_dict
from jaxcifar.exchange.to_pytorch import pytorch_state_dict, write_pytorch
from jaxcifar.report import write_report
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.runs.folder import RunFolder
from jaxcifar.trained.load import load

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.usefixtures("pictures_drawn_once")
# Mirrored pairs and what a pool does are both in FastNet's recipe: pools have no weights.
CONVERTED = ("cnn", "resnet18", "fastnet", "fastnet as in its recipe")


def quiet(line):
    pass


def converted(weights, folder, dataset, arch="cnn", **how):
    name, *_ = arch.split()
    config = Config.create(name, arch_args=NETWORKS[arch], dataset="shapes10")
    return convert(Conversion(weights, config, folder, **how), lambda: dataset, quiet)


def arrays_of(classifier):
    return {name: np.asarray(leaf) for name, leaf in named_arrays(classifier.variables).items()}


def assert_same_arrays(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small CNN's weights, and the state dict of them."""
    folder = tmp_path_factory.mktemp("source")
    ours = write_random(folder / "cnn.safetensors", "cnn", NETWORKS["cnn"])
    write_pytorch(load(ours), folder / "cnn.pth")
    return ours, folder / "cnn.pth"


@pytest.fixture(scope="module")
def run(source, easy_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "run"
    return folder, converted(source[1], folder, easy_dataset)


def no_images() -> Dataset:
    raise RunError("CIFAR-10 can't be had")


@pytest.mark.parametrize("arch", CONVERTED)
def test_an_exported_and_converted_network_has_the_same_weights(arch, tmp_path):
    ours = load(write_random(tmp_path / "w.safetensors", arch, NETWORKS[arch]))
    write_pytorch(ours, tmp_path / "w.pth")
    name, *_ = arch.split()
    config = Config.create(name, arch_args=NETWORKS[arch], dataset="shapes10")
    how = {"mean": (0.49, 0.48, 0.45), "std": (0.25, 0.24, 0.26)}
    convert(Conversion(tmp_path / "w.pth", config, tmp_path / "run", **how), no_images, quiet)
    again = load(tmp_path / "run")
    assert_same_arrays(arrays_of(again), arrays_of(ours))
    assert again.config == ours.config
    np.testing.assert_array_equal(again.mean, np.float32(how["mean"]))
    np.testing.assert_array_equal(again.std, np.float32(how["std"]))


def test_a_converted_network_is_tested_and_answers_as_the_exported_one(run, source, easy_dataset):
    folder, result = run
    ours, again, test = load(source[0]), load(folder), easy_dataset.test
    ours = ours.with_normalization(easy_dataset.mean, easy_dataset.std)
    logits = ours.logits(test.images)
    np.testing.assert_array_equal(again.logits(test.images), logits)
    assert result["test_accuracy"] == pytest.approx(np.mean(logits.argmax(1) == test.labels))
    assert again.class_names == easy_dataset.class_names


def test_a_converted_run_has_the_files_and_fields_of_a_run(run, source, easy_dataset):
    folder, result = run
    saved = json.loads((folder / "result.json").read_text())
    assert saved == result
    assert result["converted"]["file"] == "cnn.pth"
    assert not {"selected_epoch", "last_epoch", "val_accuracy"} & result.keys()
    np.testing.assert_allclose(result["channel_mean"], easy_dataset.mean)
    files = {path.name for path in folder.iterdir()}
    assert files >= {"config.json", "weights.safetensors", "mistakes.npz", "network.json"}
    assert not files & {"metrics.jsonl", "accuracy.png", "checkpoints"}


def test_its_report_has_no_curves_and_says_why(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    write_report(tmp_path)
    text = (tmp_path / "REPORT.md").read_text()
    assert "CNN (hidden 12, widths 4,6,10) on shapes10" in text.splitlines()[0]
    assert "converted from cnn.pth (SHA-256" in text
    assert "Accuracy by epoch" not in text
    assert "Time and cost" not in text
    assert f"{run[1]['test_accuracy']:.2%} accuracy" in text
    assert "jaxcifar convert cnn.pth --arch cnn" in text


def test_the_same_conversion_again_shows_its_result(run, source, easy_dataset, tmp_path):
    folder, result = run
    assert converted(source[1], folder, easy_dataset) == result
    state = torch.load(source[1], weights_only=True)
    for name in ("other.pth", source[1].name):
        torch.save(state | {"classifier.5.bias": torch.zeros(10)}, tmp_path / name)
        with pytest.raises(UsageError, match="holds another run"):
            converted(tmp_path / name, folder, easy_dataset)


def test_a_trained_run_is_not_overwritten(source, easy_dataset, tmp_path):
    config = Config.create("cnn", arch_args=NETWORKS["cnn"], dataset="shapes10")
    with RunFolder(tmp_path / "run").locked(config) as folder:
        folder.begin(config)
        folder.write_history([])
    with pytest.raises(UsageError, match="another run"):
        converted(source[1], tmp_path / "run", easy_dataset)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def wrapped(state):
    """As DataParallel and trainers leave it."""
    state = {f"module.{name}": tensor for name, tensor in state.items()}
    return {"net": state, "acc": 93.1, "epoch": 7}


def test_wrappers_around_a_state_dict_are_removed(source, tmp_path):
    state = torch.load(source[1], weights_only=True)
    plain = read_state_dict(source[1]).arrays
    assert plain.keys() == {name for name in state if "num_batches" not in name}
    for form in (
        wrapped(state),
        {"state_dict": state},
        {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}},
        collections.OrderedDict((k, torch.nn.Parameter(v.double())) for k, v in state.items()
                                if v.is_floating_point()),
    ):  # fmt: skip
        torch.save(form, tmp_path / "wrapped.pth")
        assert_same_arrays(read_state_dict(tmp_path / "wrapped.pth").arrays, plain)
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "state.safetensors")
    assert_same_arrays(read_state_dict(tmp_path / "state.safetensors").arrays, plain)


def test_a_state_dict_of_the_usual_resnet18_is_converted(tmp_path):
    """With tensors of PyTorch's own, by the names and shapes of its description."""
    network = torch.nn.Module()

    def norm(width):
        layer = torch.nn.BatchNorm2d(width)
        torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
        return layer

    def block(inputs, width, stride):
        made = torch.nn.Module()
        made.conv1 = torch.nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        made.bn1 = norm(width)
        made.conv2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
        made.bn2 = norm(width)
        made.shortcut = torch.nn.Sequential()
        if stride > 1:
            projection = torch.nn.Conv2d(inputs, width, 1, stride, bias=False)
            made.shortcut = torch.nn.Sequential(projection, norm(width))
        return made

    network.conv1, network.bn1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), norm(64)
    for stage, (inputs, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
        blocks = block(inputs, width, 1 if stage == 1 else 2), block(width, width, 1)
        setattr(network, f"layer{stage}", torch.nn.Sequential(*blocks))
    network.linear = torch.nn.Linear(512, 10)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    config = Config.create("resnet18", dataset="shapes10")
    normalised = ((0.5,) * 3, (0.25,) * 3)
    conversion = Conversion(tmp_path / "resnet18.pth", config, tmp_path / "run", *normalised)
    convert(conversion, no_images, quiet)
    theirs = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    counted = {name: np.zeros_like(a) if "num_b" in name else a for name, a in theirs.items()}
    assert_same_arrays(pytorch_state_dict(load(tmp_path / "run")), counted)


class Bomb:
    """Executed, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def refused(path, *words):
    with pytest.raises(RunError) as error:
        read_state_dict(path)
    for word in words:
        assert word in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_no_pickle_is_executed(tmp_path):
    bad, left = tmp_path / "bad.pth", tmp_path / "left"
    torch.save({"conv1.weight": Bomb(left)}, bad)
    refused(bad, "something other than tensors", "(Unsupported global: GLOBAL", "io.open")
    bad.write_bytes(pickle.dumps(Bomb(left)))
    refused(bad, "format")
    assert not left.exists()


def test_other_files_than_state_dicts_give_a_one_line_error(source, tmp_path):
    bad = tmp_path / "bad.pth"
    for content, word in (
        ([torch.zeros(3)], "list"),
        ({}, "no tensors"),
        ({"a": torch.zeros(2), "b": "text"}, "b is no tensor"),
        ({7: torch.zeros(2)}, "7 is no tensor"),
        ({"a": torch.full((2,), float("nan"))}, "finite"),
        ({"a": torch.zeros(2, dtype=torch.int8)}, "finite"),
        ({"a": torch.zeros(2).to_sparse()}, "plain"),
        ({"a": torch.zeros(1).expand(10**6, 10**6)}, "share"),
    ):
        torch.save(content, bad)
        refused(bad, word, "bad.pth")
    whole = source[1].read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    refused(bad, "format")
    bad.write_bytes(b"")
    refused(bad, "format")
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bad/data.pkl", bytes(10**6))
    refused(bad, "packed")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 100)
    refused(tmp_path / "bad.safetensors", "damaged")
    (tmp_path / "link.pth").symlink_to(source[1])
    refused(tmp_path / "link.pth", "link.pth: is a link")
    refused(tmp_path / "none.pth", "none.pth: No such file or directory")


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of odd pickles
def test_damaged_files_give_a_one_line_error(source, tmp_path):
    """Or pass, where what was hit is a number or the padding."""
    rng, refusals = np.random.RandomState(0), 0
    safetensors.numpy.save_file({"a": np.ones((3, 4), np.float32)}, tmp_path / "a.safetensors")
    torch.save({"net": {"a": torch.ones(3, 4)}, "acc": 0.5}, tmp_path / "a.pth")
    for number in range(100):
        whole = tmp_path / ("a.pth" if number % 2 else "a.safetensors")
        content = bytearray(whole.read_bytes())
        first, last = sorted(rng.randint(0, len(content), 2))
        content[first:last] = b"" if number % 3 else content[first:last][::-1]
        content[rng.randint(len(content))] = rng.randint(256)
        (tmp_path / f"bad{whole.suffix}").write_bytes(content)
        try:
            read_state_dict(tmp_path / f"bad{whole.suffix}")
        except RunError as error:
            refusals += 1
            assert len(str(error).splitlines()) == 1
            assert "trust" not in str(error)
    assert refusals > 50


def test_an_error_names_the_tensors_that_do_not_fit(source, easy_dataset, tmp_path):
    state = torch.load(source[1], weights_only=True)
    path = tmp_path / "other.pth"
    torch.save({**state, "extra": torch.zeros(2), "features.0.bias": torch.zeros(9)}, path)
    with pytest.raises(RunError) as error:
        converted(path, tmp_path / "run", easy_dataset)
    assert "extra: [2] in the file, none expected" in str(error.value)
    assert "features.0.bias: [9] in the file, [4] expected" in str(error.value)
    with pytest.raises(RunError, match=r"conv1\.weight: none in the file, \[4, 3, 3, 3\]"):
        converted(source[1], tmp_path / "run", easy_dataset, "resnet18")
    assert not (tmp_path / "run").exists()


def test_the_filters_of_a_mirrored_pair_must_be_equal(easy_dataset, tmp_path):
    mirrored = {"widths": (4, 6), "depths": (2, 1), "mirrored": True}
    ours = write_random(tmp_path / "w.safetensors", "fastnet", mirrored)
    write_pytorch(load(ours), tmp_path / "w.pth")
    config = Config.create("fastnet", arch_args=mirrored, dataset="shapes10")
    for name in ("layer2.conv1.weight", "layer1.bn2.bias", "linear.weight", "whitening.bias"):
        state = torch.load(tmp_path / "w.pth", weights_only=True)
        state[name].view(-1)[-1] += 1
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(
            RunError, match=r"not mirror images.*give --arch-args without mirrored=true"
        ):
            conversion = Conversion(tmp_path / "other.pth", config, tmp_path / "run")
            convert(conversion, lambda: easy_dataset, quiet)


def test_scales_that_fastnet_does_not_have_must_be_one(easy_dataset, tmp_path):
    ours = write_random(tmp_path / "w.safetensors", "fastnet", NETWORKS["fastnet"])
    write_pytorch(load(ours), tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    torch.save({**state, "layer2.bn1.weight": torch.full((7,), 2.0)}, tmp_path / "w.pth")
    with pytest.raises(RunError, match="must be all ones"):
        converted(tmp_path / "w.pth", tmp_path / "run", easy_dataset, "fastnet")


def test_without_images_a_conversion_writes_weights_but_no_result(run, source, tmp_path):
    config = Config.create("cnn", arch_args=NETWORKS["cnn"])
    conversion = Conversion(source[1], config, tmp_path / "run")
    with pytest.raises(RunError, match="had; or give --mean and --std: then the weights are"):
        convert(conversion, no_images, quiet)
    assert not (tmp_path / "run").exists()
    conversion = dataclasses.replace(conversion, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    lines = io.StringIO()
    assert convert(conversion, no_images, lines.write) is None
    assert "not tested" in lines.getvalue()
    assert not (tmp_path / "run" / "result.json").exists()
    assert convert(conversion, no_images, quiet) is None  # the same file again
    other_mean = dataclasses.replace(conversion, mean=(0.4, 0.5, 0.5))
    with pytest.raises(UsageError, match=r"was converted with --mean 0\.5 0\.5 0\.5"):
        convert(other_mean, no_images, quiet)
    state = torch.load(source[1], weights_only=True)
    state[next(iter(state))] += 1
    torch.save(state, tmp_path / "other.pth")
    other_file = dataclasses.replace(conversion, weights=tmp_path / "other.pth")
    with pytest.raises(UsageError, match="holds the weights of another file; choose another"):
        convert(other_file, no_images, quiet)
    shutil.copytree(tmp_path / "run", tmp_path / "both" / "untested")
    shutil.copytree(run[0], tmp_path / "both" / "tested")
    write_report(tmp_path / "both")
    text = (tmp_path / "both" / "REPORT.md").read_text()
    assert "- untested: converted, but not tested" in text
    classifier = load(tmp_path / "run" / "weights.safetensors")
    assert classifier.class_names[3] == "cat"
    np.testing.assert_array_equal(classifier.std, np.float32([0.2, 0.2, 0.2]))


def test_the_command_converts_or_refuses_in_one_line(source, shapes_dir, tmp_path):
    where = ("--data-dir", shapes_dir, "--run-dir", str(tmp_path / "run"))
    network = ("--arch", "cnn", "--arch-args", "widths=4,6,10", "hidden=12")
    (tmp_path / "net.py").write_text("Net = None")
    small = (str(source[1]), *network, "--dataset", "shapes10", *where)
    done = obeyed("convert", *small)
    assert done.returncode == 0, done.stderr
    assert "converted from cnn.pth, not trained here" in done.stdout
    for code, word, arguments in (
        (2, "--std 1 0 1: must be three numbers from 0.001 to 1", (*small, "--std", "1", "0", "1")),
        (2, "--mean: nan: must be a number", (*small, "--mean", "1", "nan", "1")),
        (2, "cnn, resnet18, fastnet", (*small, "--arch", f"{tmp_path}/net.py:Net")),
        (1, "in the file", (*small, "--arch-args", "widths=4,6,9", "hidden=12")),
    ):
        assert_one_line_error(obeyed("convert", *arguments), code, word)


def test_another_normalisation_is_not_answered_with_the_earlier_result(run, source, easy_dataset):
    folder, result = run
    same = {"mean": result["channel_mean"], "std": result["channel_std"]}
    assert converted(source[1], folder, easy_dataset, **same) == result
    for other in ({"mean": (0.1, 0.2, 0.3)}, {"std": (0.1, 0.2, 0.3)}):
        with pytest.raises(UsageError, match=r"was converted with --mean .* --std .*--overwrite"):
            converted(source[1], folder, easy_dataset, **other)
