"""Checkpoints: which are kept, what is in them, and what happens to damaged ones."""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine import lost, processes
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.checkpoint_metadata import Notes
from jaxcifar.runs.checkpoint_schedule import CheckpointSchedule
from jaxcifar.runs.epoch_selection import best_epoch
from jaxcifar.training.state import TrainingSums, TrainState

CONFIG = Config.create("cnn", dataset="shapes10")
NUMBERS = ("learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


def opened(folder, config=CONFIG):
    """The checkpoints of a run whose epochs take a step."""
    return Checkpoints(folder, config, 1)


def notes_at(step):
    numbers = dict.fromkeys((*NUMBERS, "images_per_second"), 0.1)
    return Notes([{"epoch": epoch, **numbers} for epoch in range(1, step + 1)], 0.0, 2.5 * step)


def state_at(step):
    return TrainState(
        step=jnp.int32(step),
        params={"kernel": jax.random.normal(jax.random.key(step), (64, 64))},
        batch_stats={"mean": jnp.full(8, step, jnp.float32)},
        opt_state=(),
        sums=TrainingSums.zero(),
    )


def quiet(line):
    pass


def save_all(folder, keep_at):
    with opened(folder) as checkpoints:
        for step, keep in keep_at.items():
            checkpoints.save(step, state_at(step), notes_at(step), keep)
        checkpoints.wait()


def kept(folder):
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit()}


def assert_state(restored, step):
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_at(step))
    assert restored.notes == notes_at(step)


def test_newest_two_and_those_asked_for_are_kept(tmp_path):
    save_all(tmp_path, {1: {1}, 2: {2}, 3: {2, 1}, 4: {2}, 5: {2}})
    assert kept(tmp_path) == {2, 4, 5}
    with opened(tmp_path) as checkpoints:
        assert_state(checkpoints.load(2, state_at(0)), 2)
        assert_state(checkpoints.load_newest(state_at(0), quiet), 5)


def saved_by_accuracy(folder, accuracies, first=1, written_after=None):
    """Save as a run does, an epoch a step, from the epoch `first` on.

    What is held is written after each epoch, or after `written_after` alone.
    """
    history = [
        {**notes_at(1).history[0], "epoch": epoch, "val_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]
    with opened(folder) as checkpoints:
        schedule = CheckpointSchedule(checkpoints, 1)
        if first > 1:
            schedule.resume(first - 1, history[: first - 1])
        for step in range(first, len(accuracies) + 1):
            schedule.hold(step, state_at(step), Notes(history[:step], 0.0, 2.5 * step))
            if written_after in (None, step):
                schedule.write()
        checkpoints.wait()


@pytest.mark.parametrize("resumed", [False, True])
def test_the_best_before_the_newest_stays_until_the_newest_is_not_alone(tmp_path, resumed):
    """The newest is the best here; if it is damaged, the one before calls another the best."""
    accuracies = [0.2, 0.8, 0.5, 0.4, 0.9]
    if resumed:
        saved_by_accuracy(tmp_path, accuracies[:4])
        assert kept(tmp_path) == {2, 3, 4}
    saved_by_accuracy(tmp_path, accuracies, first=5 if resumed else 1)
    assert kept(tmp_path) == {2, 4, 5}
    flip_a_byte(tmp_path / "5")
    with opened(tmp_path) as checkpoints:
        newest = checkpoints.load_newest(state_at(0), quiet)
        assert int(newest.state.step) == 4
        best = best_epoch(newest.notes.history)
        assert best == 2
        state = checkpoints.load(best, state_at(0)).state
    jax.tree.map(np.testing.assert_array_equal, state, state_at(2))


def test_a_best_that_is_left_behind_is_deleted(tmp_path):
    saved_by_accuracy(tmp_path, [0.2, 0.8, 0.5, 0.9, 0.4, 0.3, 0.1])
    assert kept(tmp_path) == {4, 6, 7}


def test_of_what_is_held_the_best_and_the_newest_are_written(tmp_path):
    saved_by_accuracy(tmp_path, [0.3, 0.8, 0.4, 0.5, 0.6], written_after=5)
    assert kept(tmp_path) == {2, 5}
    with opened(tmp_path) as checkpoints:
        for step in (2, 5):
            state = checkpoints.load(step, state_at(0)).state
            jax.tree.map(np.testing.assert_array_equal, state, state_at(step))


_names = st.text("[]*?{}!\\:#%~$| 'aé\n\x01", min_size=1, max_size=9).map(os.fsencode)


@settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
@given(_names | st.binary(min_size=1, max_size=9))
@example(b"lr[0.1]")
@example(b"**")
@example(b"gs:")
@example(b"\\d")
@example(b"\xff")
def test_any_name_of_a_folder_is_as_good_as_any_other(name):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, os.fsdecode(name).replace("/", "[").replace("\0", "*"))
        try:
            folder.mkdir()
        except OSError:
            assume(False)  # a name that this file system does not take, or ".."
        save_all(folder / "checkpoints", {1: {1}, 2: {1}})
        with opened(folder / "checkpoints") as checkpoints:
            assert_state(checkpoints.load_newest(state_at(0), quiet), 2)
            assert_state(checkpoints.load(1, state_at(0)), 1)
        assert kept(folder / "checkpoints") == {1, 2}


def test_where_no_link_can_be_made_an_error_comes_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no" / "such"))
    with pytest.raises(RunError, match=r"\[0\]: a path with special characters needs a link"):
        opened(tmp_path / "[0]")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "[0]"))
    with pytest.raises(RunError, match="has special characters too"):
        opened(tmp_path / "[0]")


def data_files(folder):
    return [
        path for path in (folder / "state").rglob("*") if path.is_file() and path.parent.name == "d"
    ]


def flip_a_byte(folder):
    largest = max(data_files(folder), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)


def cut(folder):
    for path in data_files(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def lose_a_file(folder):
    max(data_files(folder), key=lambda path: path.stat().st_size).unlink()


def lose_the_names(folder):
    (folder / "state" / "_METADATA").unlink()


def rewrite(folder, change):
    file = folder / "notes" / "metadata"
    metadata = json.loads(file.read_text())
    change(metadata)
    file.write_text(json.dumps(metadata))


def edit_a_loss(folder):
    rewrite(folder, lambda metadata: metadata["history"][1].update(train_loss=0.05))


def edit_the_config(folder):
    rewrite(folder, lambda metadata: metadata["config"].update(seed=5))


def lose_the_history(folder):
    rewrite(folder, lambda metadata: metadata.pop("history"))


def lose_the_checksum(folder):
    rewrite(folder, lambda metadata: metadata.pop("sha256"))


def be_another(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("1"), folder)


DAMAGES = [flip_a_byte, cut, empty, lose_a_file, lose_the_names]
DAMAGES += [edit_a_loss, edit_the_config, lose_the_history, lose_the_checksum, be_another]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, damage):
    save_all(tmp_path, {1: {1}, 2: {1}, 3: {1}})
    damage(tmp_path / "3")
    lines = []
    with opened(tmp_path) as checkpoints:
        assert_state(checkpoints.load_newest(state_at(0), lines.append), 2)
        checkpoints.save(3, state_at(3), notes_at(3))
        checkpoints.wait()
        assert_state(checkpoints.load_newest(state_at(0), lines.append), 3)
    assert len(lines) == 1
    assert "checkpoint 3 is damaged" in lines[0]
    assert (tmp_path / "damaged-3").is_dir()


def test_a_checkpoint_that_another_process_can_not_read_is_damaged_for_all(tmp_path, monkeypatch):
    save_all(tmp_path, {1: (), 2: ()})
    others = [[True], [False]]
    monkeypatch.setattr(processes, "any_process", lambda *mine: others.pop(0))
    lines = []
    with opened(tmp_path) as checkpoints:
        assert_state(checkpoints.load_newest(state_at(0), lines.append), 1)
    assert lines == [
        "checkpoint 2 is damaged (another process can't read it): set aside, trying the one before."
    ]


def test_a_lost_process_does_not_pass_for_damage_or_a_full_disk(tmp_path, monkeypatch):
    save_all(tmp_path, {1: ()})
    monkeypatch.setattr(lost, "jax", SimpleNamespace(process_count=lambda: 2))

    def lose(*_, **__):
        raise ValueError("UNAVAILABLE: Gloo all-reduce failed: connection closed by peer")

    with opened(tmp_path) as checkpoints:
        for method in ("restore", "save", "wait_until_finished"):
            monkeypatch.setattr(checkpoints._manager, method, lose)
        for act in (
            lambda: checkpoints.load_newest(state_at(0), quiet),
            lambda: checkpoints.load(1, state_at(0)),
            lambda: checkpoints.save(2, state_at(2), notes_at(2)),
            checkpoints.wait,
        ):
            with pytest.raises(RunError, match="another process ended or can't be reached"):
                act()
        monkeypatch.undo()
    assert kept(tmp_path) == {1}


def test_a_pipe_in_a_checkpoint_is_reported_and_not_waited_for(tmp_path):
    save_all(tmp_path, {1: (), 2: ()})
    (tmp_path / "2" / "state" / "_METADATA").unlink()
    os.mkfifo(tmp_path / "2" / "state" / "_METADATA")
    with (
        pytest.raises(RunError, match=r"_METADATA: can't be used \(is not a regular file"),
        opened(tmp_path),
    ):
        pass
    assert kept(tmp_path) == {1, 2}


def test_a_damaged_or_missing_best_is_named(tmp_path):
    save_all(tmp_path, {1: (), 2: ()})
    empty(tmp_path / "1" / "state")
    with opened(tmp_path) as checkpoints:
        for step in (1, 7):
            with pytest.raises(RunError, match=f"checkpoint {step} is missing or"):
                checkpoints.load(step, state_at(0))


def state_of(rule, **shapes):
    """Of a network with parameters of these shapes under one of optax's rules."""
    params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    return state_at(3).replace(params=params, opt_state=rule.init(params))


MOMENTUM, ADAM = optax.trace(0.9), optax.scale_by_adam()
KERNEL = {"kernel": (8, 10)}


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (
            state_of(MOMENTUM, kernel=(8, 100)),
            "params/kernel is float32[8, 10], not float32[8, 100]; "
            "opt_state/trace/kernel is float32[8, 10], not float32[8, 100]",
        ),
        (
            state_of(MOMENTUM, **KERNEL, bias=(10,)),
            "params/bias is missing; opt_state/trace/bias is missing",
        ),
        (
            state_of(ADAM, **KERNEL),
            "opt_state/count is missing; opt_state/mu/kernel is missing; "
            "opt_state/nu/kernel is missing; and 1 more",
        ),
        (
            state_of(MOMENTUM, **KERNEL).replace(batch_stats={}),
            "batch_stats/mean is not expected",
        ),
    ],
    ids=["shape", "name", "optimiser", "no statistics"],
)
def test_another_state_is_reported_and_left_as_it_is(tmp_path, other, difference):
    mine = state_of(MOMENTUM, **KERNEL)
    with opened(tmp_path) as checkpoints:
        for step in (2, 3):
            checkpoints.save(step, mine.replace(step=jnp.int32(step)), notes_at(step))
        checkpoints.wait()
        for ask in (
            lambda: checkpoints.load_newest(other, quiet),
            lambda: checkpoints.load(3, other),
        ):
            with pytest.raises(RunError) as error:
                ask()
            assert "checkpoint 3 holds another state" in str(error.value)
            assert f"({difference})" in str(error.value)
            assert "--overwrite" in str(error.value)
        assert kept(tmp_path) == {2, 3}
        jax.tree.map(
            np.testing.assert_array_equal, checkpoints.load_newest(mine, quiet).state, mine
        )


def test_an_empty_folder_has_no_newest(tmp_path):
    with opened(tmp_path) as checkpoints:
        assert checkpoints.load_newest(state_at(0), quiet) is None


def test_another_config_is_reported_and_left_as_it_is(tmp_path):
    save_all(tmp_path, {1: (), 2: ()})
    other = dataclasses.replace(CONFIG, seed=5)
    with opened(tmp_path, other) as checkpoints:
        like = state_at(0)
        for ask in (
            lambda: checkpoints.load_newest(like, quiet),
            lambda: checkpoints.load(1, like),
        ):
            with pytest.raises(RunError, match=r"another config \(seed 0 there, 5 asked for\)"):
                ask()
    assert kept(tmp_path) == {1, 2}


def age(folder, change=lambda metadata: None):
    """Make a checkpoint one of the version before, which summed up nothing but the arrays."""

    def older(metadata):
        del metadata["config"], metadata["sha256"]
        leaves = jax.tree.leaves(state_at(int(folder.name)))
        metadata["checksum"] = zlib.crc32(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
        change(metadata)

    rewrite(folder, older)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda metadata: metadata.update(new_note=1), "has new_note"),
        (lambda metadata: metadata.pop("wall_seconds"), "lacks wall_seconds"),
        (lambda metadata: metadata.update(zeal=metadata.pop("history")), "lacks history"),
    ],
)
def test_a_checkpoint_of_another_version_is_named_and_left_as_it_is(tmp_path, change, difference):
    """Its checksum is right, so unknown and missing notes are no damage."""
    save_all(tmp_path, {1: (), 2: ()})

    def be_another_version(metadata):
        change(metadata)
        del metadata["sha256"]
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
        for leaf in jax.tree.leaves(state_at(2)):
            digest.update(np.asarray(leaf).tobytes())
        metadata["sha256"] = digest.hexdigest()

    rewrite(tmp_path / "2", be_another_version)
    with (
        opened(tmp_path) as checkpoints,
        pytest.raises(RunError, match=rf"another version of jaxcifar \(it {difference}\); go on"),
    ):
        checkpoints.load_newest(state_at(0), pytest.fail)
    assert kept(tmp_path) == {1, 2}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "no more files"),
        (ValueError("UNAVAILABLE: open failed: Too many open files"), "no more files"),
    ],
)
def test_what_the_machine_lacks_is_no_damage(tmp_path, monkeypatch, error, words):
    save_all(tmp_path, {1: (), 2: ()})

    def fail(*_, **__):
        raise error

    with opened(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "restore", fail)
        for ask in (
            lambda: checkpoints.load_newest(state_at(0), pytest.fail),
            lambda: checkpoints.load(1, state_at(0)),
        ):
            with pytest.raises(RunError, match=words):
                ask()
    assert kept(tmp_path) == {1, 2}


def test_a_checkpoint_of_an_older_version_is_read(tmp_path):
    save_all(tmp_path, {1: (), 2: ()})
    age(tmp_path / "2")
    with opened(tmp_path) as checkpoints:
        assert_state(checkpoints.load_newest(state_at(0), pytest.fail), 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata: metadata.pop("history"),
        lambda metadata: metadata.update(history=metadata["history"][:1]),
        lambda metadata: metadata["history"][1].update(val_loss="low"),
        lambda metadata: metadata["history"][1].update(epoch=1),
        lambda metadata: metadata.update(wall_seconds=float("nan")),
        lambda metadata: metadata.update(checksum=metadata["checksum"] + 1),
    ],
)
def test_what_an_older_version_wrote_is_checked(tmp_path, change):
    save_all(tmp_path, {1: (), 2: ()})
    age(tmp_path / "2", change)
    lines = []
    with opened(tmp_path) as checkpoints:
        assert_state(checkpoints.load_newest(state_at(0), lines.append), 1)
    assert "checkpoint 2 is damaged" in lines[0]


def test_states_of_versions_without_averages_are_read(tmp_path):
    """They held five things, as orbax's metadata of a checkpoint says; so do ours without one."""
    save_all(tmp_path, {3: ()})
    written = json.loads((tmp_path / "3" / "state" / "_METADATA").read_text())
    parts = {entry["key_metadata"][0]["key"] for entry in written["tree_metadata"].values()}
    assert parts == {"step", "params", "batch_stats", "opt_state", "metrics"}
    with opened(tmp_path) as checkpoints:
        assert_state(checkpoints.load_newest(state_at(0), pytest.fail), 3)


def test_averages_are_kept_and_asked_for(tmp_path):
    state = state_at(3)
    state = state.replace(average=(state.params, {"mean": jnp.full(8, 7.0)}))
    with opened(tmp_path) as checkpoints:
        checkpoints.save(3, state, notes_at(3))
        checkpoints.wait()
        like = state_at(0).replace(average=(state.params, state.batch_stats))
        restored = checkpoints.load_newest(like, pytest.fail).state
        jax.tree.map(np.testing.assert_array_equal, restored.average, state.average)
        with pytest.raises(RunError, match=r"holds another state than this run trains.*average"):
            checkpoints.load_newest(state_at(0), pytest.fail)
