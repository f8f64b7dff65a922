"""The study command as a user meets it: killed, started twice, run again."""

import random
import re
import shutil
import signal
import time

import pytest
from conftest import assert_one_line_error, finish, obeyed, start

ROWS = ("baseline", "lr0.1-step")
SMALL = ("--arch", "cnn", "--dataset", "shapes10", "--train-examples", "128", "--batch-size", "32")
SMALL += ("--epochs", "2", "--val-fraction", "0.01", "--rows", *ROWS)


def arguments(shapes_dir, out):
    return [*SMALL, "--data-dir", shapes_dir, "--out", str(out)]


def timeless(out):
    """The report without its section on time."""
    return re.sub(
        r"## \d+\. Time and cost.*?(?=## )", "", (out / "REPORT.md").read_text(), flags=re.S
    )


def pictures(out):
    return {path.name: path.read_bytes() for path in (out / "report").glob("*.png")}


@pytest.fixture(scope="module")
def whole(shapes_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablation")
    return out, finish(start("ablation", *arguments(shapes_dir, out)))


def test_it_tells_of_compilations_and_the_report(whole):
    out, output = whole
    assert "2 runs done now, with 1 training program compiled" in output
    assert (out / "report.html").exists()
    assert "These are not CIFAR-10 results" in timeless(out)
    for row in ROWS:
        assert f"{row} seed 0  epoch 2/2" in output


def test_again_it_only_writes_the_report(whole, shapes_dir):
    out, _ = whole
    report, images = (out / "REPORT.md").read_text(), pictures(out)
    results = {path: path.stat().st_mtime_ns for path in out.rglob("seed0/*")}
    (out / "REPORT.md").unlink()
    output = finish(start("ablation", *arguments(shapes_dir, out)))
    assert "0 runs done now, with 0 training programs compiled" in output
    assert (out / "REPORT.md").read_text() == report
    assert pictures(out) == images
    assert {path: path.stat().st_mtime_ns for path in out.rglob("seed0/*")} == results


def test_many_seeds_of_fastnet_are_one_program(shapes_dir, tmp_path):
    """What a GPU is to do with 25 seeds, at a tiny size."""
    small = ["--arch-args", "mirrored=true", "blurred=true", "widths=8,8,8", "depths=1,1,1"]
    small += ["--dataset", "shapes10", "--train-examples", "128", "--batch-size", "32"]
    words = ["--study", "fastnet_seeds", "--seeds", "0", "1", "2", "--at-once", "2", *small]
    words += ["--epochs", "2", "--data-dir", shapes_dir, "--out", str(tmp_path / "out")]
    output = finish(start("ablation", *words))
    assert "3 runs done now, with 1 training program compiled" in output
    text = (tmp_path / "out" / "REPORT.md").read_text()
    [line] = re.findall(r"^\| fast \| 3 \| (.*) PFLOP \|$", text, re.M)
    whole_run, training, compiling = map(float, line.split(" | ")[:3])
    assert 0 < training < whole_run and compiling > 0


def test_a_row_that_cant_be_read_is_no_success(whole, shapes_dir, tmp_path):
    out = shutil.copytree(whole[0], tmp_path / "out")
    (out / ROWS[0] / "seed0" / "result.json").write_text("[")
    process = start("ablation", *arguments(shapes_dir, out))
    output = "".join(filter(None, process.communicate()))
    assert process.returncode == 1 and "1 of 2 runs can't be read" in output, output
    assert f"left out: {ROWS[0]}/seed0: result.json" in output


def test_killed_at_random_moments(whole, shapes_dir, tmp_path):
    """The report is that of the undisturbed study, but for its times."""
    moments = random.Random(0)
    for _ in range(2):
        process = start("ablation", *arguments(shapes_dir, tmp_path))
        time.sleep(moments.uniform(3, 9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start("ablation", *arguments(shapes_dir, tmp_path)))
    assert timeless(tmp_path) == timeless(whole[0])
    assert pictures(tmp_path) == pictures(whole[0])


def test_a_shard_is_a_part_of_the_runs(shapes_dir, tmp_path):
    output = finish(start("ablation", *arguments(shapes_dir, tmp_path), "--shard", "2/2"))
    assert "1 of 2 runs" in output
    assert [path.parent.parent.name for path in tmp_path.rglob("result.json")] == [ROWS[1]]
    for wrong in ("0/2", "3/2", "2"):
        assert_one_line_error(obeyed("ablation", "--shard", wrong), 2, "--shard", "I/N")


def test_the_run_of_a_killed_process_is_taken_over(whole, shapes_dir, tmp_path):
    first = start("ablation", *arguments(shapes_dir, tmp_path))
    second = start("ablation", *arguments(shapes_dir, tmp_path))
    taken = [tmp_path / row / "seed0" / "config.json" for row in ROWS]
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in taken) and time.monotonic() < deadline:
        time.sleep(0.01)
    first.kill()
    first.communicate()
    finish(second)
    assert timeless(tmp_path) == timeless(whole[0])


def test_two_processes_share_the_work(whole, shapes_dir, tmp_path):
    processes = [start("ablation", *arguments(shapes_dir, tmp_path)) for _ in range(2)]
    lines = "".join(map(finish, processes)).splitlines()
    for row in ROWS:
        for epoch in (1, 2):
            trained = [line for line in lines if line.startswith(f"{row} seed 0  epoch {epoch}/2")]
            assert len(trained) == 1, (row, epoch)
    assert timeless(tmp_path) == timeless(whole[0])
