"""Several processes on this machine train one run."""

import json
import shutil
import signal
import socket
import time

import numpy as np
import pytest
from conftest import assert_one_line_error, ended, obeyed, start, start_program

from jaxcifar.errors import UsageError
from jaxcifar.machine.processes import join

EPOCHS = 8
SMALL = ("--arch", "cnn", "--dataset", "shapes10", "--train-examples", "128", "--batch-size", "32")
SMALL += ("--val-fraction", "0.01", "--optimizer", "sgd", "--learning-rate", "0.01")
SMALL += ("--dropout", "0", "--epochs", str(EPOCHS))


def start_all(shapes_dir, path, count, *arguments):
    """As many processes with one CPU device each, or one process with any number."""
    coordinator, processes = free_address(), []
    for number in range(count):
        joined = ("--coordinator", coordinator, "--processes", count)
        own = (*joined, "--process-id", number) if count > 1 else ()
        where = ("--data-dir", shapes_dir, "--run-dir", path)
        processes.append(start("run", *SMALL, *where, *own, *arguments))
    return processes


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def train(shapes_dir, path, count, *arguments):
    processes = start_all(shapes_dir, path, count, *arguments)
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, outputs
    return outputs


def start_and_wait_for_a_checkpoint(shapes_dir, path, count):
    """Of this start."""
    before = newest_checkpoint(path)
    processes, deadline = start_all(shapes_dir, path, count), time.monotonic() + 120
    while newest_checkpoint(path) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    return processes


def newest_checkpoint(path):
    steps = [int(p.name) for p in path.glob("checkpoints/*") if p.name.isdigit()]
    return max(steps, default=0)


def losses(path):
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    result = json.loads((path / "result.json").read_text())
    return np.asarray([[row["train_loss"], row["val_loss"]] for row in rows]), result


@pytest.fixture(scope="module")
def by_two(shapes_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("processes") / "two"
    return path, train(shapes_dir, path, 2)


@pytest.fixture(scope="module")
def alone(shapes_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("processes") / "one"
    train(shapes_dir, path, 1, "--devices", "1")
    return losses(path)


def test_two_train_what_one_does(by_two, alone):
    path, [(first, _), (second, _)] = by_two
    values, result = losses(path)
    assert len(values) == EPOCHS
    np.testing.assert_allclose(values[:2], alone[0][:2], rtol=1e-3)
    np.testing.assert_allclose(values, alone[0], rtol=0.05)  # rounding grows with the steps
    assert "2 processes" in result["device"]
    assert f"epoch {EPOCHS}/{EPOCHS}" in first
    assert "epoch" not in second


def test_four_start_anew_over_a_finished_run_and_train_what_one_does(
    by_two, alone, shapes_dir, tmp_path
):
    path = tmp_path / "run"
    shutil.copytree(by_two[0], path)
    train(shapes_dir, path, 4, "--epochs", "2", "--overwrite")
    values, result = losses(path)
    np.testing.assert_allclose(values, alone[0][:2], rtol=1e-3)
    assert result["config"]["epochs"] == 2
    assert "4 processes" in result["device"]


def test_without_one_the_others_stop_and_all_go_on(by_two, shapes_dir, tmp_path):
    path = tmp_path / "run"
    for victim in (0, 1):
        processes = start_and_wait_for_a_checkpoint(shapes_dir, path, 2)
        processes[victim].kill()
        killed = time.monotonic()
        _, errors = processes[1 - victim].communicate(timeout=120)
        processes[victim].communicate()
        assert time.monotonic() - killed < 60
        assert processes[1 - victim].returncode == 1
        assert "another process ended or can't be reached" in errors
        assert "Traceback" not in errors
        assert not (path / "result.json").exists()
    outputs = train(shapes_dir, path, 2)
    assert "resuming after step" in outputs[0][0]
    again, expected = losses(path), losses(by_two[0])
    np.testing.assert_array_equal(again[0], expected[0])
    assert again[1]["test_loss"] == expected[1]["test_loss"]


def test_a_checkpoint_serves_another_number_of_devices(by_two, shapes_dir, tmp_path):
    path = tmp_path / "run"
    processes = start_and_wait_for_a_checkpoint(shapes_dir, path, 2)
    processes[1].terminate()  # a cluster may tell any of them to stop
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [130, 130], outputs
    [(output, _)] = train(shapes_dir, path, 1, "--devices", "8")
    assert "resuming after step" in output
    values, result = losses(path)
    np.testing.assert_allclose(values, losses(by_two[0])[0], rtol=0.05)
    assert "processes" not in result["device"]


def test_only_the_others_abort_is_told_as_such():
    """Whatever else aborts a process ends it as it would have, without a word on the others."""
    address = free_address()
    both = [start_program("one_aborts", address, number) for number in (0, 1)]
    first, second = map(ended, both)
    assert first.returncode == -signal.SIGABRT
    assert "another process" not in first.stderr
    assert second.returncode == 1
    assert "another process ended or can't be reached" in second.stderr.splitlines()[-1]


def test_bad_options_are_one_line():
    assert_one_line_error(obeyed("run", "--processes", "2"), 2, "--coordinator")
    assert_one_line_error(obeyed("run", "--coordinator", "h:1"), 2, "--processes", "--process-id")
    wrong = ("--coordinator", "h:1", "--processes", "2", "--process-id", "2")
    assert_one_line_error(obeyed("run", *wrong), 2, "--process-id 2")
    assert_one_line_error(obeyed("run", "--process-id", "-1"), 2, "--process-id", "at least 0")
    for address in ("foo", "foo:bar", "foo:0", "foo:99999999", ":12"):
        with pytest.raises(UsageError, match=r"--coordinator .* must be HOST:PORT"):
            join(address, 2, 0)
    alone = ("--processes", "1")
    assert_one_line_error(obeyed("run", "--devices", "0"), 2, "--devices")
    assert_one_line_error(
        obeyed("run", *alone, "--devices", "3"), 2, "--devices 3", "--batch-size 512"
    )
