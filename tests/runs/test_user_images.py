"""A run on the user's images goes on wherever the images are, and only with the same images."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import stopped_after
from PIL import Image
from rich.console import Console
from small import SMALL

from jaxcifar.config.experiment import Config
from jaxcifar.data import load_dataset
from jaxcifar.errors import UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.fit import fit
from jaxcifar.runs.task import Task
from jaxcifar.studies.code_files import without_folders


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


def test_a_study_knows_its_images_by_any_spelling_of_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spellings = ("imgs", "./imgs/", str(tmp_path / "imgs"))
    assert len({without_folders({"dataset": name})["dataset"] for name in spellings}) == 1
    assert without_folders({"dataset": "cifar100"}) == {"dataset": "cifar100"}
