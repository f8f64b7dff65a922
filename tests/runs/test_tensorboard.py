"""Event files against what they are made from, read record by record without what wrote them."""

import io
import json
import os
import shutil
import struct
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import assert_one_line_error, command, stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from rich.console import Console
from runs.test_fit import CONFIG, rows, untimed

from jaxcifar.errors import UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.fit import fit
from jaxcifar.runs.observers import create_observers, find_factories
from jaxcifar.runs.task import Task
from jaxcifar.runs.tensorboard import EPOCH_TAGS, TEST_TAGS
from jaxcifar.studies.conduct import conduct, plan
from jaxcifar.studies.study import Study

pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")
needs = pytest.mark.skipif(find_spec("tensorboardX") is None, reason="tensorboardX is missing")
SPEED = "training/images_per_second"  # what two runs of one config differ in


def train(path, dataset, overwrite=False, tensorboard=True, screen=None, **options):
    observers = create_observers(find_factories(["tensorboard"])) if tensorboard else ()
    with Path(os.devnull).open("w") as nowhere:
        task = Task(CONFIG, path, overwrite=overwrite, observers=observers)
        return fit(task, lambda: dataset, Console(file=screen or nowhere, width=400), **options)


def crc32c(content):
    """Castagnoli's checksum, bit by bit as its definition says."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def masked(content):
    """As TFRecord files have it: turned by 15 bits, and a constant added."""
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def events(run):
    """The events of a run's only event file, after their checksums."""
    from tensorboardX.proto.event_pb2 import Event

    [file] = (run / "tensorboard").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    content, at, found = file.read_bytes(), 0, []
    while at < len(content):
        length, sum_of_length = struct.unpack_from("<QI", content, at)
        assert sum_of_length == masked(content[at : at + 8])
        body = content[at + 12 : at + 12 + length]
        [sum_of_body] = struct.unpack_from("<I", content, at + 12 + length)
        if length < 2000:  # pictures would take this checksum seconds
            assert sum_of_body == masked(body)
        found.append(Event.FromString(body))
        at += 16 + length
    return found


METRICS = ("loss", "accuracy", "macro_f1", "balanced_accuracy")  # of ten classes
VALIDATED = {f"val_{name}": f"{name}/val" for name in METRICS}
TESTED = {f"test_{name}": f"{name}/test" for name in METRICS}


def values(run):
    """All that is to be shown, as `(tag, step, Summary.Value)`."""
    return [
        (value.tag, event.step, value) for event in events(run) for value in event.summary.value
    ]


def scalars(run):
    return [(t, step, v.simple_value) for t, step, v in values(run) if v.HasField("simple_value")]


def expected(run):
    """The scalars that the run's other files say."""
    epochs = [
        (tag, row["epoch"], float(np.float32(row[name])))
        for row in rows(run)
        for name, tag in {**EPOCH_TAGS, **VALIDATED}.items()
    ]
    if not (run / "result.json").exists():
        return epochs
    result = json.loads((run / "result.json").read_text())
    chosen = result["selected_epoch"]
    tested = [
        (tag, chosen, float(np.float32(result[name])))
        for name, tag in {**TESTED, **TEST_TAGS}.items()
    ]
    return epochs + tested


def timeless(figures):
    return [figure for figure in figures if figure[0] != SPEED]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, easy_dataset):
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, train(path, easy_dataset)


@needs
def test_the_events_say_what_the_runs_files_say(finished):
    path, _ = finished
    first, anew, *_ = events(path)
    assert first.file_version == "brain.Event:2"
    assert anew.session_log.status == anew.session_log.START
    assert scalars(path) == expected(path)
    assert len(scalars(path)) == 3 * (len(EPOCH_TAGS) + len(METRICS)) + len(METRICS) + len(
        TEST_TAGS
    )
    times = [event.wall_time for event in events(path)]
    assert times == sorted(times)
    trained = sum(row["seconds"] for row in rows(path))
    assert times[-1] - times[0] == pytest.approx(trained, abs=1e-3)


@needs
def test_pictures_are_those_of_the_folder(finished):
    path, _ = finished
    shown = {tag: v.image for tag, _, v in values(path) if v.HasField("image")}
    assert shown.keys() == {"model", "accuracy", "loss", "mistakes"}
    for name in ("model", "accuracy", "loss"):
        assert shown[name].encoded_image_string == (path / f"{name}.png").read_bytes()
    assert (shown["accuracy"].width, shown["accuracy"].height) == (840, 504)


@needs
def test_settings_are_in_the_table_of_hyper_parameters(finished):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    plugins = [v.metadata.plugin_data for tag, _, v in values(finished[0]) if "_hparams_" in tag]
    assert [plugin.plugin_name for plugin in plugins] == ["hparams", "hparams"]
    start, end = (HParamsPluginData.FromString(plugin.content) for plugin in plugins)
    table = start.session_start_info.hparams
    assert table["learning_rate"].number_value == CONFIG.learning_rate == 0.06
    assert table["batch_size"].number_value == 32
    assert table["optimizer"].string_value == "muon"
    assert table["widths"].string_value == "4,"
    assert table["augment"].bool_value is True
    assert "step_size" not in table  # means nothing to this schedule
    assert not [name for name in table if "sha" in name.lower()]
    assert end.session_end_info.status == 1  # success


@needs
def test_it_changes_no_numbers_and_comes_later_too(finished, tmp_path, easy_dataset):
    path, result = finished
    without = train(tmp_path, easy_dataset, tensorboard=False)
    assert not (tmp_path / "tensorboard").exists()
    assert untimed(tmp_path) == untimed(path)
    assert without["weights_sha256"] == result["weights_sha256"]
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        (path / "config.json").read_text()
    )
    before = (tmp_path / "metrics.jsonl").stat().st_mtime_ns
    for _ in range(2):  # it is finished: only its events are written
        train(tmp_path, easy_dataset)
        assert scalars(tmp_path) == expected(tmp_path)
        assert {tag for tag, _, _ in values(tmp_path)} == {tag for tag, _, _ in values(path)}
    assert (tmp_path / "metrics.jsonl").stat().st_mtime_ns == before


@needs
@pytest.mark.parametrize("step", [2, 5, 11])
def test_stopped_and_resumed_no_epoch_is_missing_or_there_twice(
    finished, tmp_path, easy_dataset, step
):
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, stopper=stopped_after(step))
    assert scalars(tmp_path) == expected(tmp_path)
    assert len(rows(tmp_path)) == step // 4
    [old] = (tmp_path / "tensorboard").iterdir()
    train(tmp_path, easy_dataset)
    assert scalars(tmp_path) == expected(tmp_path)
    assert timeless(scalars(tmp_path)) == timeless(scalars(finished[0]))
    [new] = (tmp_path / "tensorboard").iterdir()
    assert new.name > old.name  # where an open TensorBoard looks next


@needs
def test_half_an_event_and_epochs_that_a_checkpoint_does_not_have(finished, tmp_path, easy_dataset):
    """As a kill leaves them."""
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, stopper=stopped_after(5))
    [ours] = (tmp_path / "tensorboard").iterdir()
    [whole] = (finished[0] / "tensorboard").iterdir()
    ours.write_bytes(whole.read_bytes()[:-7])
    train(tmp_path, easy_dataset)
    assert timeless(scalars(tmp_path)) == timeless(scalars(finished[0]))


@needs
def test_overwrite_deletes_the_events_and_nobody_elses_are_touched(tmp_path, easy_dataset):
    train(tmp_path, easy_dataset)
    other = tmp_path / "tensorboard" / "events.out.tfevents.1.somebody"
    other.write_text("theirs")
    train(tmp_path, easy_dataset)
    assert other.read_text() == "theirs"
    train(tmp_path, easy_dataset, overwrite=True, tensorboard=False)
    assert not (tmp_path / "tensorboard").exists()


@needs
def test_a_line_tells_what_is_in_the_way_and_the_run_is_finished(finished, tmp_path, easy_dataset):
    (tmp_path / "run").mkdir()
    shutil.copy(finished[0] / "config.json", tmp_path / "run")
    (tmp_path / "run" / "tensorboard").write_text("mine")
    screen = io.StringIO()
    result = train(tmp_path / "run", easy_dataset, screen=screen)
    assert result["weights_sha256"] == finished[1]["weights_sha256"]
    [line] = [line for line in screen.getvalue().splitlines() if "tensorboard" in line]
    assert line.startswith("--tensorboard: FileExistsError: ")
    assert line.endswith("; this observer is not called again, the run is not affected")
    assert (tmp_path / "run" / "tensorboard").read_text() == "mine"


@needs
def test_a_study_has_a_folder_a_run_and_finished_runs_too(tmp_path, easy_dataset):
    shared = CONFIG.to_dict()
    names = ("arch", "recipe", "arch_args", "dataset", "epochs", "batch_size")
    rows_of = {"one": {"learning_rate": 0.01}, "two": {"learning_rate": 0.02}}
    study = Study.from_dict({"config": {n: shared[n] for n in names}, "rows": rows_of})

    def carried_out(rows, tensorboard):
        tasks = plan(study, rows, [0], tmp_path, [])
        if tensorboard:
            observers = [create_observers(find_factories(["tensorboard"])) for _ in tasks]
            tasks = [replace(t, observers=o) for t, o in zip(tasks, observers, strict=True)]
        with Path(os.devnull).open("w") as nowhere:
            load, console = lambda *_: easy_dataset, Console(file=nowhere)
            outcomes = conduct(tasks, Path(), 1, jax.devices(), console, load)
        assert not [outcome.error for outcome in outcomes if outcome.error]

    carried_out(["one"], tensorboard=False)
    for _ in range(2):
        carried_out(None, tensorboard=True)
        found = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("events.out*"))
        assert [str(file.parent) for file in found] == [
            str(Path(row, "seed0", "tensorboard")) for row in rows_of
        ]
        for row in rows_of:
            run = tmp_path / row / "seed0"
            assert scalars(run) == expected(run)


def test_without_tensorboardx_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "tensorboardX.py").write_text("raise ImportError('No module named tensorboardX')")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = command("run", "--arch", "cnn", "--tensorboard", env={"PYTHONPATH": paths})
    assert_one_line_error(done, 2, "--tensorboard", "pip install tensorboardX")
    monkeypatch.setitem(sys.modules, "tensorboardX.proto.event_pb2", None)
    with pytest.raises(UsageError, match=r"--tensorboard: .*pip install tensorboardX"):
        create_observers(find_factories(["tensorboard"]))


@needs
def test_events_of_other_runs_behind_a_link_stay(finished, tmp_path, easy_dataset):
    """The folder's old events are deleted first: not where a link leads."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "events.out.tfevents.0.jaxcifar").write_text("another run's")
    (tmp_path / "run").mkdir()
    shutil.copy(finished[0] / "config.json", tmp_path / "run")
    (tmp_path / "run" / "tensorboard").symlink_to(elsewhere)
    screen = io.StringIO()
    train(tmp_path / "run", easy_dataset, screen=screen)
    assert "tensorboard: is a symbolic link; delete it" in screen.getvalue()
    assert [file.name for file in elsewhere.iterdir()] == ["events.out.tfevents.0.jaxcifar"]
    assert (elsewhere / "events.out.tfevents.0.jaxcifar").read_text() == "another run's"
