"""Recognise the images of a study at a new path, by the SHA-256 that its runs have recorded."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS
from jaxcifar.data import NotPreparedError, load_dataset
from jaxcifar.errors import RunError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.config_comparison import may_have_moved_images
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_row import StudyRow

LoadSha256 = Callable[[Config], str]  # loads the images of a config, and returns their SHA-256


class ImageDigests:
    """The SHA-256 of the images of configs; each data set is loaded at most once.

    Args:
      load_sha256: loads the images of a config, and returns their SHA-256.
    """

    def __init__(self, load_sha256: LoadSha256) -> None:
        self._load_sha256 = load_sha256
        self._digests: dict[tuple[str, int], str] = {}

    def sha256_of(self, config: Config) -> str:
        """Return the SHA-256 of the images of a config.

        Raises:
          UsageError, RunError: the images can't be loaded.
        """
        dataset_and_size = _dataset_and_size(config)
        if dataset_and_size not in self._digests:
            try:
                self._digests[dataset_and_size] = self._load_sha256(config)
            except NotPreparedError as error:
                command = f"{shell_command('prepare')} --dataset {config.dataset}"
                raise RunError(
                    f"{error}; run {command}, so that the images can be compared with the images "
                    "of the finished runs"
                ) from error
        return self._digests[dataset_and_size]


def _dataset_and_size(config: Config) -> tuple[str, int]:
    """Return the data set and the image size of a config: equal for configs with equal images."""
    return config.dataset, config.image_size


def load_sha256(
    config: Config, data_dir: Path, print_line: PrintLine, may_prepare: bool = True
) -> str:
    """Load the images of a config, and return their SHA-256; see `load_dataset`."""
    return load_dataset(config, data_dir, print_line, may_prepare).sha256


def with_new_image_paths(
    recorded: Study, study: Study, study_as_given: Study, study_folder: Path, digests: ImageDigests
) -> Study:
    """Return the study in a folder's `study.json`, with new paths for images that were moved.

    The images of a row were moved if the user's study names another path, and the images there have
    the SHA-256 in the config of each run of the row. Other paths do not change.

    Args:
      recorded: the study in `study.json`.
      study: the study that the user wants to train, with the absolute paths of images.
      study_as_given: the same study, with the paths of images as the user wrote them.
      study_folder: the folder of the study.
      digests: the SHA-256 of the images of configs.

    Raises:
      UsageError, RunError: images at a new path, or the config of a run, can't be read.
    """
    rows = {row.name: row for row in study.rows}
    rows_as_given = {row.name: row for row in study_as_given.rows}
    new_paths: dict[str, str] = {}  # path in the record -> path with the same images
    old_paths_of_changed_images: set[str] = set()  # for at least one row
    for recorded_row in recorded.rows:
        name = recorded_row.name
        if name not in rows:
            continue
        old_path = _image_path(recorded, recorded_row)
        new_path = _image_path(study, rows[name])
        are_images_of_user = old_path != "" and new_path != ""
        if not are_images_of_user or old_path == new_path:
            continue
        config = study_as_given.config_of(rows_as_given[name], seed=0)
        if _has_same_images(config, study_folder / name, digests):
            new_paths[old_path] = new_path
        else:
            old_paths_of_changed_images.add(old_path)

    def with_new_path(settings: dict[str, Any]) -> dict[str, Any]:
        old_path = settings.get("dataset", "")
        if old_path not in new_paths or old_path in old_paths_of_changed_images:
            return settings
        return settings | {"dataset": new_paths[old_path]}

    return recorded.with_settings(with_new_path)


def _image_path(study: Study, row: StudyRow) -> str:
    """Return the path of the user's images that a row is trained on; "" for a built-in data set."""
    dataset = {**study.config, **row.changes}.get("dataset", "")
    return "" if dataset in KINDS["dataset"] else str(dataset)


def _has_same_images(config: Config, row_folder: Path, digests: ImageDigests) -> bool:
    """Return True if all runs in the folder of a row were trained on the images of a config."""
    for config_file in sorted(row_folder.glob("*/config.json")):
        recorded_sha256 = RunFolder(config_file.parent).read_config().data_sha256
        if recorded_sha256 is None or recorded_sha256 != digests.sha256_of(config):
            return False
    return True


def with_digests_of_moved_images(tasks: Sequence[Task], digests: ImageDigests) -> list[Task]:
    """Return the tasks; add the SHA-256 of the images to each config whose images may have moved.

    A finished run does not load its images. If its task names another path than the run's config,
    only the SHA-256 shows whether the images are the same. All other tasks on these images get the
    SHA-256 too, so that equal configs still share one compiled program.

    Raises:
      UsageError, RunError: images at a new path, or the config of a run, can't be read.
    """
    images_to_compare = {
        _dataset_and_size(task.config) for task in tasks if _is_finished_at_other_path(task)
    }
    new_tasks = []
    for task in tasks:
        config = task.config
        if _dataset_and_size(config) in images_to_compare:
            config = dataclasses.replace(config, data_sha256=digests.sha256_of(config))
        new_tasks.append(dataclasses.replace(task, config=config))
    return new_tasks


def _is_finished_at_other_path(task: Task) -> bool:
    """Return True if a task's run is finished, and its config has another path of the images."""
    folder = RunFolder(task.path, task.overwrite)
    is_finished = folder.has_begun and folder.result_file.exists()
    return is_finished and may_have_moved_images(folder.read_config(), task.config)
