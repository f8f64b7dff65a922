"""The commands as a user meets them."""

import dataclasses
import json
import shutil
import signal
import time

import pytest
from conftest import assert_one_line_error, ended, finish, obeyed, start

from jaxcifar.commands.shared.default_network import require_chosen_network
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError

COMMON = ("--arch", "cnn", "--val-fraction", "0.01", "--optimizer", "sgd")
SMALL = (*COMMON, "--dataset", "shapes10", "--train-examples", "256", "--batch-size", "32")
SMALL += ("--epochs", "8")
# The process that obeys has one device. On two, sums would be rounded in another order.
ONE_DEVICE = {"JAX_NUM_CPU_DEVICES": "1"}
PLAIN = (*SMALL, "--arch-args", "widths=4,", "hidden=8")  # as `start` has it, for other commands


@pytest.fixture(scope="module")
def whole(shapes_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    done = obeyed("run", *PLAIN, "--data-dir", shapes_dir, "--run-dir", str(path))
    assert done.returncode == 0, done.stderr
    return path, done.stdout


def stop_with(number, shapes_dir, path):
    """Start or resume a run, stop it after an epoch, and return its exit code and output."""
    before = epochs(path)
    where = ("--data-dir", shapes_dir, "--run-dir", path)
    process = start("run", *SMALL, *where, env=ONE_DEVICE)
    deadline = time.monotonic() + 120
    while epochs(path) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert not (path / "result.json").exists()
    return process.returncode, output + errors


def epochs(path):
    metrics = path / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def assert_same_numbers(path, other):
    """Equal to the last digit: the weights that gave them were the same."""
    mine, theirs = (json.loads((p / "result.json").read_text()) for p in (path, other))
    for key in ("test_loss", "test_accuracy", "class_accuracy", "selected_epoch", "last_epoch"):
        assert mine[key] == theirs[key]


def test_tfds_data_dir_is_honoured(shapes_dir):
    done = obeyed("prepare", "--dataset", "shapes10", env={"TFDS_DATA_DIR": shapes_dir})
    assert done.returncode == 0, done.stderr
    assert f"ready in {shapes_dir}: 10,000 train, 2,000 test" in " ".join(done.stdout.split())
    assert "Preparing" not in done.stdout


def test_the_bare_command_does_not_begin_hours_of_training_on_a_cpu(tmp_path):
    done = obeyed("run", "--run-dir", str(tmp_path / "run"))
    assert_one_line_error(done, 2, "resnet18", " h on this CPU", "--arch cnn", "--arch resnet18")
    assert not (tmp_path / "run").exists()
    require_chosen_network({"arch": "resnet18"}, Config.create("resnet18"), [])
    require_chosen_network({}, Config.create("resnet18", epochs=1, train_examples=500), [])
    own_images = dataclasses.replace(Config.create("resnet18"), dataset=str(tmp_path))
    require_chosen_network({"dataset": str(tmp_path)}, own_images, [])
    config = Config.create("resnet18", dataset="cifar100", epochs=300)
    words = ["--dataset", "cifar100", "--epochs", "300"]
    advice = "run --dataset cifar100 --epochs 300 --arch cnn --recipe strong, or start"
    with pytest.raises(UsageError, match=advice):
        require_chosen_network({"dataset": "cifar100", "epochs": 300}, config, words)


def test_a_finished_runs_checkpoints_are_deleted_only_if_asked(whole, tmp_path):
    path = shutil.copytree(whole[0], tmp_path / "run")
    assert obeyed("run", *PLAIN, "--run-dir", str(path)).returncode == 0
    assert any((path / "checkpoints").iterdir())
    assert obeyed("run", *PLAIN, "--run-dir", str(path), "--keep", "best").returncode == 0
    assert not (path / "checkpoints").exists()
    assert (path / "weights.safetensors").exists()


def test_a_run_names_its_data_and_result(whole):
    path, output = whole
    assert "NOT CIFAR-10" in output
    result = json.loads((path / "result.json").read_text())
    assert f"{result['test_accuracy']:.2%}" in output
    assert (result["parameters"], result["flops"]) == (8_582, 299_120)
    assert "Total params: 8,582" in (path / "summary.txt").read_text()
    assert output.count("epoch 8/8") == 1


def test_the_last_lines_are_the_result(whole):
    """All of them, in this order, at the end; that the figures are right is in test_figures.py."""
    path, output = whole
    result = json.loads((path / "result.json").read_text())
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    text = " ".join(output.split())
    last = text.rpartition("time spent")[2]
    parts = (
        f"test accuracy {result['test_accuracy']:.2%} on shapes10",
        f"with flips {result['test_accuracy_flip']:.2%}, ",
        f"chosen epoch {best['epoch']}, validation accuracy {best['val_accuracy']:.2%} ",
        f"last epoch {result['last_epoch']['test_accuracy']:.2%} after epoch 8 ",
        f"time {result['wall_seconds']:,.0f} s, {result['images_per_second']:,.0f} images/s on ",
        "files result.json, ",
    )
    places = [last.index(part) for part in parts]
    assert places == sorted(places)
    assert last.endswith(f"model.png in {path}/")


def test_a_run_that_blows_up_is_one_line_and_exits_1(shapes_dir, tmp_path):
    where = ("--data-dir", shapes_dir, "--run-dir", tmp_path / "run")
    done = obeyed("run", *PLAIN, "--learning-rate", "1e30", *where)
    words = (
        "the training loss became",
        "in epoch 1",
        "no checkpoint yet",
        "try a lower --learning-rate",
    )
    assert_one_line_error(done, 1, *words)
    assert "test accuracy" not in done.stdout
    text = (tmp_path / "run" / "failure.txt").read_text().strip()
    assert done.stderr.strip() == f"error: {text}"
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_finished_run_is_not_trained_again(whole):
    path, _ = whole
    before = (path / "metrics.jsonl").stat().st_mtime_ns
    done = obeyed("run", *PLAIN, "--run-dir", path)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    result = whole[1][whole[1].index("test accuracy") :]
    assert done.stdout.endswith(result)  # the same lines again
    assert (path / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_run_that_was_killed_and_interrupted_is_resumed(whole, shapes_dir, tmp_path):
    code, _ = stop_with(signal.SIGKILL, shapes_dir, tmp_path)
    assert code == -signal.SIGKILL
    for number in (signal.SIGINT, signal.SIGTERM):
        code, output = stop_with(number, shapes_dir, tmp_path)
        assert code == 130
        assert "everything is saved" in output
        assert "Traceback" not in output
    done = obeyed("run", *PLAIN, "--data-dir", shapes_dir, "--run-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "resuming after step" in done.stdout
    assert_same_numbers(tmp_path, whole[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learning-rate", "-1"], ["--learning-rate -1.0", "above 0"]),
        (["--learning-rate", "fast"], ["--learning-rate", "must be a number"]),
        (["--dataset", "mnist"], ["--dataset", "mnist"]),
        (["--arch", "vgg"], ["--arch", "vgg"]),
        (["--epochs", "0"], ["--epochs 0", "at least 1"]),
        (["--devices", "9" * 20], ["--devices", "9: must be at least 1, below 2**31"]),
        (["--run-dir", "r" * 300], ["--run-dir", "choose a shorter name"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_bad_options_are_one_line_and_exit_2(arguments, words):
    assert_one_line_error(obeyed("run", *arguments), 2, *words)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = obeyed("run", *SMALL, "--run-dir", str(tmp_path), "--overwrite")
    assert_one_line_error(done, 2, "holds files but no run", "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_config_is_refused_by_field(whole):
    done = obeyed("run", *PLAIN, "--seed", "7", "--run-dir", whole[0])
    assert_one_line_error(done, 2, "another config", "seed 0 there, 7 asked for", "--overwrite")


def test_cifar10_never_falls_back(tmp_path):
    offline = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    run_dir = tmp_path / "run"
    arguments = ("--arch", "cnn", "--data-dir", str(tmp_path), "--run-dir", str(run_dir))
    done = obeyed("run", *arguments, env=offline)
    assert_one_line_error(done, 1, "no network", "--archive", "--dataset shapes10")
    assert not (run_dir / "result.json").exists()


def test_auto_falls_back_loudly(shapes_dir, tmp_path):
    offline = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    arguments = [a if a != "shapes10" else "auto" for a in SMALL]
    where = ("--data-dir", shapes_dir, "--run-dir", tmp_path / "run")
    assert "NOT CIFAR-10" in finish(start("run", *arguments, *where, env=offline))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["dataset"] == "shapes10 (synthetic, not CIFAR-10)"


def test_a_full_disk_is_one_line_and_loses_nothing(shapes_dir, small_disk):
    disk, enlarge = small_disk
    run_dir = disk / "run"
    process = start("run", *SMALL, "--data-dir", shapes_dir, "--run-dir", run_dir)
    assert_one_line_error(ended(process), 1, str(run_dir), "make room", "same command")
    assert json.loads((run_dir / "config.json").read_text())["epochs"] == 8
    enlarge()
    done = obeyed("run", *PLAIN, "--data-dir", shapes_dir, "--run-dir", str(run_dir))
    assert done.returncode == 0, done.stderr
    assert (run_dir / "result.json").exists()
