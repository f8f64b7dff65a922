"""The folder of a run: who holds it, what is cleared, and that no link is followed."""

import errno
import json
import os
import subprocess
import sys

import pytest
from conftest import assert_one_line_error, obeyed

from jaxcifar.config.experiment import Config
from jaxcifar.errors import BusyError, RunError, UsageError
from jaxcifar.machine.files import atomic_write, lock_folder, write_text
from jaxcifar.runs.config_comparison import describe_config_differences
from jaxcifar.runs.file_formats import result_to_json
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.mistakes import Mistakes

CONFIG = Config.create("cnn", dataset="shapes10")
OTHER = Config.create("cnn", dataset="shapes10", seed=5)


@pytest.fixture
def run_folder(tmp_path):
    """Of a finished run of CONFIG, as far as files go."""
    path = tmp_path / "run"
    with RunFolder(path).locked(CONFIG) as folder:
        folder.begin(CONFIG)
        (folder.checkpoints / "24").mkdir(parents=True)
        (folder.checkpoints / "24" / "weights").write_text("weights")
        folder.finish({"seed": 0}, Mistakes({}, {}), {})
    return folder


@pytest.fixture
def outside(tmp_path):
    """A folder with a file that no command may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("mine")
    return folder


def test_a_full_disk_names_the_command_that_deletes_no_work(run_folder):
    folder = RunFolder(run_folder.path, True, "the same command without --overwrite")

    def message():
        with pytest.raises(RunError) as error, folder.report_write_errors():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return str(error.value)

    assert message().endswith("then run the same command")  # the earlier run is still there
    folder.begin(CONFIG)
    assert message().endswith("then run the same command without --overwrite")


def replace_by_link(path, target):
    if path.is_dir():
        path.rename(path.with_name("before"))
        (path.with_name("before") / "24" / "weights").unlink()
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "name", ["checkpoints", "sources", "config_file", "result_file", "accuracy_plot"]
)
def test_overwrite_removes_links_not_what_they_point_to(run_folder, outside, name):
    target = outside if name in ("checkpoints", "sources") else outside / "file"
    if name == "config_file":
        (outside / "file").write_text(CONFIG.to_json())
    content = (outside / "file").read_text()
    replace_by_link(getattr(run_folder, name), target)
    with RunFolder(run_folder.path, overwrite=True).locked(OTHER) as folder:
        folder.begin(OTHER)
    there = getattr(folder, name)
    assert (
        there.read_text() == OTHER.to_json()
        if name == "config_file"
        else not os.path.lexists(there)
    )
    assert (outside / "file").read_text() == content
    assert not folder.result_file.exists()


def test_what_cannot_be_cleared_stops_the_command(run_folder):
    immutable = ["chattr", "+i", str(run_folder.checkpoints)]
    if os.geteuid() != 0 or subprocess.run(immutable, capture_output=True).returncode:
        pytest.skip("making a folder immutable takes root and a file system that can")
    try:
        with (
            pytest.raises(RunError, match=r"checkpoints: .* can't be deleted"),
            RunFolder(run_folder.path, overwrite=True).locked(OTHER) as folder,
        ):
            folder.begin(OTHER)
    finally:
        subprocess.run(["chattr", "-i", str(run_folder.checkpoints)], check=True)
    with pytest.raises(UsageError, match="seed 0 there, 5 asked for"):
        run_folder.require_usable(OTHER)


def test_long_values_of_settings_that_differ_are_shortened():
    text = describe_config_differences({"dataset": ("x" * 5000, "cifar10"), "seed": (0, 1)})
    assert len(text) < 200
    assert text.endswith(" there, cifar10 asked for, seed 0 there, 1 asked for")


def test_an_epoch_is_not_appended_to_what_a_link_leads_to(run_folder, outside):
    run_folder.append_row({"epoch": 1})
    run_folder.append_row({"epoch": 2})
    assert run_folder.metrics_file.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    replace_by_link(run_folder.metrics_file, outside / "file")
    with pytest.raises(RunError, match=r"metrics\.jsonl: is not a regular file; delete it"):
        run_folder.append_row({"epoch": 3})
    assert (outside / "file").read_text() == "mine"


def test_a_lock_does_not_stay_where_nothing_was_done(tmp_path, outside):
    with pytest.raises(UsageError), lock_folder(outside):
        raise UsageError("no finished run here")
    assert [path.name for path in outside.iterdir()] == ["file"]
    (outside / ".jaxcifar.lock").touch()
    with pytest.raises(UsageError), lock_folder(outside):
        raise UsageError("no finished run here")
    assert (outside / ".jaxcifar.lock").exists()  # it was there before


def test_a_lock_follows_no_link(tmp_path, outside):
    (tmp_path / ".jaxcifar.lock").symlink_to(outside / "file")
    with pytest.raises(RunError, match="is not a regular file"), lock_folder(tmp_path):
        pytest.fail("held")
    assert (outside / "file").read_text() == "mine"
    (tmp_path / ".jaxcifar.lock").unlink()
    (tmp_path / ".jaxcifar.lock").write_text("kept")
    with lock_folder(tmp_path), pytest.raises(BusyError), lock_folder(tmp_path, wait=False):
        pytest.fail("held twice")
    assert (tmp_path / ".jaxcifar.lock").read_text() == "kept"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_lock_is_a_plain_file(tmp_path, kind):
    {"folder": os.mkdir, "pipe": os.mkfifo}[kind](tmp_path / ".jaxcifar.lock")
    with pytest.raises(RunError, match="is not a regular file"), lock_folder(tmp_path):
        pytest.fail("held")


def test_a_folder_made_for_nothing_does_not_stay(tmp_path):
    with lock_folder(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with lock_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]
    with lock_folder(tmp_path):
        pass
    assert tmp_path.is_dir()  # it was there before
    run_dir = tmp_path / "run"
    done = obeyed("run", "--arch", "cnn", "--dataset", "/nowhere", "--run-dir", run_dir)
    assert_one_line_error(done, 2, "/nowhere")
    assert not run_dir.exists()


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_dead_processes_left_half_written_is_removed(tmp_path, outside):
    dead, alive = dead_process(), os.getppid()
    ours = [f".config.json.{dead}", f".REPORT.md.{dead}", f".train.npy.{os.getpid()}"]
    others = [f".config.json.{alive}", ".config.json.swp", f"config.json.{dead}", f".x.{dead}"]
    for name in ours + others:
        (tmp_path / name).touch()
    (tmp_path / f".folder.json.{dead}").mkdir()
    (tmp_path / f".link.json.{dead}").symlink_to(outside / "file")
    with lock_folder(tmp_path):
        left = {path.name for path in tmp_path.iterdir()}
    kept = {*others, f".folder.json.{dead}", f".link.json.{dead}", ".jaxcifar.lock", "outside"}
    assert left == kept
    assert (outside / "file").read_text() == "mine"


def test_replacing_follows_no_link(tmp_path, outside):
    (tmp_path / "link").symlink_to(outside / "file")
    (tmp_path / f".link.{os.getpid()}").symlink_to(outside / "file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").read_text() == "new"
    assert not (tmp_path / "link").is_symlink()
    assert (outside / "file").read_text() == "mine"
    with pytest.raises(ValueError, match="broken"), atomic_write(tmp_path / "link") as file:
        file.write(b"half")
        raise ValueError("broken")
    assert (tmp_path / "link").read_text() == "new"


def test_a_result_has_a_row_of_the_confusion_matrix_a_line():
    texts = {"matrix": [[1, 20], [3, 4]], "mean": [0.5], "none": [], "names": ["[ 1", "2 ]"]}
    text = result_to_json(texts)
    assert json.loads(text) == texts
    assert [line.strip() for line in text.splitlines()[2:4]] == ["[1, 20],", "[3, 4]"]
    assert "[0.5]" in text


@pytest.mark.parametrize("has_weights", [True, False])
def test_checkpoints_are_deleted_only_beside_a_file_of_weights(run_folder, has_weights):
    """The checkpoint of a run of an older version, without that file, has the only weights."""
    if not has_weights:
        run_folder.weights_file.unlink()
    run_folder.delete_unneeded_checkpoints(keep_best=True)
    assert (run_folder.checkpoints / "24" / "weights").exists() != has_weights
