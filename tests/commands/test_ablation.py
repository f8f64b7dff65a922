"""The study command as a user meets it: killed, started twice, run again."""

import os
import random
import re
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from conftest import assert_one_line_error, finish, obeyed, start

ROWS = ("baseline", "lr0.1-step")
SMALL = ("--arch", "tests/own/net.py:Net", "--arch-args", "width=4", "--batch-size", "32")
SMALL += ("--epochs", "2", "--val-fraction", "0.2", "--rows", *ROWS)
# The process that obeys has one device. On two, sums would be rounded in another order.
ONE_DEVICE = {"JAX_NUM_CPU_DEVICES": "1"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Options that name a few images."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    pixels = (rng.integers(0, 20, (200, 8, 8, 3)) + 23 * labels[:, None, None, None]).astype("u1")
    arrays = {"x_train": pixels[40:], "y_train": labels[40:]}
    np.savez(folder / "few.npz", **arrays, x_test=pixels[:40], y_test=labels[:40])
    return ("--dataset", str(folder / "few.npz"), "--data-dir", str(folder))


def arguments(images, out):
    return [*SMALL, *images, "--out", str(out)]


def started(images, out):
    return start("ablation", *arguments(images, out), env=ONE_DEVICE)


def output_of(*words):
    done = obeyed("ablation", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def timeless(out):
    """The report without its section on time."""
    return re.sub(
        r"## \d+\. Time and cost.*?(?=## )", "", (out / "REPORT.md").read_text(), flags=re.S
    )


def pictures(out):
    return {path.name: path.read_bytes() for path in (out / "report").glob("*.png")}


def wait_until(is_so, process):
    """Wait until something holds in the folder of a study that a process conducts."""
    deadline = time.monotonic() + 120
    while not is_so() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    assert is_so()


def wait_until_a_run_begins(out, process):
    wait_until(lambda: list(out.glob("*/seed0/config.json")), process)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablation")
    return out, output_of(*arguments(images, out))


def test_it_tells_of_compilations_and_the_report(whole):
    out, output = whole
    assert "2 runs done now, with 1 training program compiled" in output
    assert (out / "report.html").exists()
    for row in ROWS:
        assert f"{row} seed 0  epoch 2/2" in output


def test_again_it_only_writes_the_report(whole, images):
    out, _ = whole
    report, pictures_before = (out / "REPORT.md").read_text(), pictures(out)
    results = {path: path.stat().st_mtime_ns for path in out.rglob("seed0/*")}
    (out / "REPORT.md").unlink()
    # In another process, which has neither the pictures nor the programs of the first one.
    output = finish(started(images, out))
    assert "0 runs done now, with 0 training programs compiled" in output
    assert (out / "REPORT.md").read_text() == report
    assert pictures(out) == pictures_before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("seed0/*")} == results


def test_a_row_that_cant_be_read_is_no_success(whole, images, tmp_path):
    out = shutil.copytree(whole[0], tmp_path / "out")
    (out / ROWS[0] / "seed0" / "result.json").write_text("[")
    done = obeyed("ablation", *arguments(images, out))
    output = done.stdout + done.stderr
    assert done.returncode == 1 and "1 of 2 runs can't be read" in output, output
    assert f"left out: {ROWS[0]}/seed0: result.json" in output


def count_files(folder):
    """The number of files below a folder, also while a program deletes some of them."""
    return sum(len(files) for _, _, files in os.walk(folder))


def test_a_study_killed_at_random_moments_ends_with_the_same_report(whole, images, tmp_path):
    """The report is that of the undisturbed study, but for its times."""
    files = count_files(whole[0])
    moments = random.Random(0)
    for _ in range(2):
        process = started(images, tmp_path)
        here = count_files(tmp_path)
        moment = moments.uniform(here, here + (files - here) / 2)
        wait_until(lambda moment=moment: count_files(tmp_path) > moment, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    finish(started(images, tmp_path))
    assert timeless(tmp_path) == timeless(whole[0])
    assert pictures(tmp_path) == pictures(whole[0])


def test_a_shard_is_a_part_of_the_runs(images, tmp_path):
    output = output_of(*arguments(images, tmp_path), "--shard", "2/2")
    assert "1 of 2 runs" in output
    assert [path.parent.parent.name for path in tmp_path.rglob("result.json")] == [ROWS[1]]
    for wrong in ("0/2", "3/2", "2"):
        assert_one_line_error(obeyed("ablation", "--shard", wrong), 2, "--shard", "I/N")


def test_the_run_of_a_killed_process_is_taken_over(whole, images, tmp_path):
    first = started(images, tmp_path)
    wait_until_a_run_begins(tmp_path, first)
    first.send_signal(signal.SIGSTOP)  # it holds its run, and never ends it
    done = []
    words = arguments(images, tmp_path)
    second = threading.Thread(target=lambda: done.append(obeyed("ablation", *words)))
    second.start()
    while not list(tmp_path.glob("*/seed0/result.json")) and second.is_alive():
        time.sleep(0.01)
    assert len(list(tmp_path.glob("*/seed0/result.json"))) == 1
    first.kill()
    first.communicate()
    second.join()
    assert done[0].returncode == 0, done[0].stdout + done[0].stderr
    assert timeless(tmp_path) == timeless(whole[0])


def test_two_processes_share_the_work(whole, images, tmp_path):
    first = started(images, tmp_path)
    wait_until_a_run_begins(tmp_path, first)
    lines = [*output_of(*arguments(images, tmp_path)).splitlines()]
    lines += finish(first).splitlines()
    for row in ROWS:
        for epoch in (1, 2):
            trained = [line for line in lines if line.startswith(f"{row} seed 0  epoch {epoch}/2")]
            assert len(trained) == 1, (row, epoch)
    assert timeless(tmp_path) == timeless(whole[0])


def test_many_seeds_of_fastnet_are_one_program(shapes_dir, tmp_path):
    """What a GPU is to do with 25 seeds, at a tiny size."""
    small = ["--arch-args", "mirrored=true", "blurred=true", "widths=8,8,8", "depths=1,1,1"]
    small += ["--dataset", "shapes10", "--train-examples", "128", "--batch-size", "32"]
    words = ["--study", "fastnet_seeds", "--seeds", "0", "1", "2", "--at-once", "2", *small]
    words += ["--epochs", "2", "--data-dir", shapes_dir, "--out", str(tmp_path / "out")]
    output = finish(start("ablation", *words))
    assert "3 runs done now, with 1 training program compiled" in output
    text = (tmp_path / "out" / "REPORT.md").read_text()
    assert "These are not CIFAR-10 results" in text
    [line] = re.findall(r"^\| fast \| 3 \| (.*) PFLOP \|$", text, re.M)
    whole_run, training, compiling = map(float, line.split(" | ")[:3])
    assert 0 < training < whole_run and compiling > 0
