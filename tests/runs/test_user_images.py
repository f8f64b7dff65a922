"""A run on the user's images goes on wherever the images are, and only with the same images."""

import dataclasses
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import stopped_after
from PIL import Image
from rich.console import Console
from small import SMALL

from jaxcifar.config.experiment import Config
from jaxcifar.data import load_dataset
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.fit import fit
from jaxcifar.runs.task import Task
from jaxcifar.studies.conduct import plan, record
from jaxcifar.studies.grid import grid_study
from jaxcifar.studies.moved_images import load_sha256
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import with_recorded_rows
from jaxcifar.studies.waiting import is_unfinished


def write_images(folder, seed):
    rng = np.random.RandomState(seed)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            image = rng.randint(0, 60, (32, 32, 3)) + 150 * label
            Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{number}.png")


def train(dataset, tmp_path, **options):
    """Train on the images at the path `dataset`, in the folder `tmp_path / "run"`."""
    config = Config.create(
        "cnn",
        arch_args=SMALL,
        dataset=str(dataset),
        epochs=1,
        batch_size=4,
        val_fraction=0.2,
    )
    with Path(os.devnull).open("w") as nowhere:
        return fit(
            Task(config, tmp_path / "run"),
            lambda: load_dataset(config, tmp_path / "data", lambda line: None),
            Console(file=nowhere),
            **options,
        )


def recorded_dataset(tmp_path):
    return json.loads((tmp_path / "run" / "config.json").read_text())["dataset"]


def test_a_stopped_run_goes_on_with_a_copy_of_its_images(tmp_path, monkeypatch, step_by_step):
    images, copy, others = (tmp_path / name for name in ("images", "copy", "others"))
    write_images(images, 0)
    write_images(others, 1)
    with pytest.raises(Interrupted):
        train(images, tmp_path, stopper=stopped_after(1))
    shutil.copytree(images, copy)
    shutil.rmtree(images)
    with pytest.raises(UsageError, match=r"belongs to another config .*data_sha256"):
        train(others, tmp_path)
    assert recorded_dataset(tmp_path) == str(images)
    result = train(copy, tmp_path)
    assert recorded_dataset(tmp_path) == str(copy)  # for commands that load the images later
    # The finished run is recognised by the images too, under any spelling of their path.
    monkeypatch.chdir(tmp_path)
    assert train(copy.name, tmp_path) == result
    again = tmp_path / "again"
    copy.rename(again)
    assert train(again, tmp_path) == result
    with pytest.raises(UsageError, match=r"belongs to another config .*data_sha256"):
        train(others, tmp_path)


def test_the_settings_differ_by_the_content_of_the_images():
    one, same, other = (
        Config.create("cnn", dataset=f"imgs/{name}", data_sha256=digest * 64)
        for name, digest in (("one", "0"), ("two", "0"), ("two", "1"))
    )
    assert one.differences(same) == {}
    assert one.differences(other).keys() == {"dataset", "data_sha256"}
    unknown = Config.create("cnn", dataset="imgs/two")
    assert unknown.differences(Config.create("cnn", dataset="imgs/one")).keys() == {"dataset"}


def study_on(path, **shared):
    """Return a study of two rows on the images at a path."""
    config = {"arch": "cnn", "dataset": str(path), **shared}
    return Study.from_dict({"config": config, "rows": {"one": {}, "two": {"augment": False}}})


def pretend_that_a_row_is_finished(study, out, sha256):
    """Record the study, and write the files by which its first row counts as finished."""
    record(study, out)
    config = dataclasses.replace(study.config_of(study.rows[0], seed=0), data_sha256=sha256)
    folder = out / "one" / "seed0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json())
    (folder / "result.json").write_text("{}")


def test_a_study_goes_on_with_its_images_at_another_path(tmp_path, monkeypatch):
    images, moved, others, out = (tmp_path / name for name in ("imgs", "moved", "others", "out"))
    write_images(images, 0)
    write_images(others, 1)
    loaded = []

    def sha256_of(config):
        loaded.append(config.dataset)
        return load_sha256(config, tmp_path / "data", lambda line: None)

    def plan_on(path, load=sha256_of):
        return plan(study_on(path), None, [0], out, [], load_sha256=load)

    sha256 = sha256_of(Config.create("cnn", dataset=str(images)))
    pretend_that_a_row_is_finished(study_on(images), out, sha256)
    loaded.clear()
    monkeypatch.chdir(tmp_path)
    for spelling in ("imgs", "./imgs/", str(images)):
        assert [task.name for task in plan_on(spelling)] == ["one seed 0", "two seed 0"]
    assert not loaded  # the paths lead to the same place
    images.rename(moved)
    tasks = plan_on(moved)
    assert [task.config.dataset for task in tasks] == [str(moved)] * 2
    assert [task.config.data_sha256 for task in tasks] == [sha256] * 2
    assert loaded == [str(moved)]
    assert not is_unfinished(tasks[0]) and is_unfinished(tasks[1])
    with pytest.raises(UsageError, match=r"another study \(dataset is .*imgs in the folder, .*oth"):
        plan_on(others)
    with pytest.raises(UsageError, match=r"another study \(dataset is .*imgs in the folder, .*mov"):
        plan_on(moved, load=None)
    with pytest.raises(UsageError, match=r"another study \(augment is "):
        plan(study_on(moved, augment=False), None, [0], out, [], load_sha256=sha256_of)
    record(study_on(moved), out)  # as the command does after planning
    with pytest.raises(UsageError, match=r"seed0: belongs to another config .*data_sha256"):
        record(study_on(others), out)
        plan_on(others)


def test_images_that_are_not_prepared_are_named_by_a_dry_run(tmp_path):
    write_images(tmp_path / "imgs", 0)
    pretend_that_a_row_is_finished(study_on(tmp_path / "old"), tmp_path / "out", "0" * 64)
    load = partial(
        load_sha256,
        data_dir=tmp_path / "data",
        print_line=lambda line: None,
        may_prepare=False,
    )
    with pytest.raises(RunError, match=r"is not prepared in .*; run .* prepare --dataset .*imgs,"):
        plan(study_on(tmp_path / "imgs"), None, [0], tmp_path / "out", [], load_sha256=load)
    assert not (tmp_path / "data").exists()


def test_a_grid_on_moved_images_keeps_the_rows_of_earlier_grids(tmp_path):
    def grid(words, path):
        return grid_study([words], {"arch": "cnn", "dataset": str(path)})

    record(grid("epochs=1,2", tmp_path / "imgs"), tmp_path)
    grown = with_recorded_rows(grid("epochs=3,1", tmp_path / "moved"), tmp_path)
    assert [row.name for row in grown.rows] == ["epochs3", "epochs1", "epochs2"]
    unchanged = grid_study(["epochs=3,1"], {"arch": "cnn", "dataset": "cifar100"})
    assert with_recorded_rows(unchanged, tmp_path) == unchanged
