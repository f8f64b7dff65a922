"""Options of `jaxcifar ablation` that say what is trained: `--study`, `--grid` and `--folds`."""

import dataclasses
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxcifar.commands.shared.common_options import parse_path
from jaxcifar.commands.shared.example_files import study_files
from jaxcifar.commands.shared.given_study import GivenStudy
from jaxcifar.commands.shared.parser import OptionHolder, suggest
from jaxcifar.config.registry import did_you_mean
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError
from jaxcifar.studies.grid import grid_name, grid_study
from jaxcifar.studies.study import Study

SHIPPED_STUDIES = study_files()
ABLATION_STUDY = SHIPPED_STUDIES["ablation"]
_MAX_FOLDS = 999
_Run = TypeVar("_Run")


class Shard(NamedTuple):
    """A part of a study's runs, so that several machines can train one study together.

    Attributes:
      part: number of this part, from 1.
      parts: number of parts into which the runs are divided.
    """

    part: int
    parts: int

    def __str__(self) -> str:
        """Return this shard as a value of the option `--shard`, such as "2/4"."""
        return f"{self.part}/{self.parts}"

    def select(self, runs: Sequence[_Run]) -> Sequence[_Run]:
        """Return the runs that belong to this part of all `runs`.

        Neighbouring runs belong to different parts.
        """
        first_index = self.part - 1
        return runs[first_index :: self.parts]


WHOLE_STUDY = Shard(part=1, parts=1)  # all runs


def add_study_options(parser: OptionHolder) -> None:
    """Add the options `--study`, `--grid` and `--folds`, whose values `read_given_study` reads."""
    study_option = parser.add_argument(
        "--study",
        type=parse_study_file,
        metavar="FILE",
        help=f"TOML file of rows, or a study of the package: {', '.join(SHIPPED_STUDIES)} "
        "(default: ablation, the ten rows of the reference report)",
    )
    suggest(study_option, SHIPPED_STUDIES)
    parser.add_argument(
        "--grid",
        nargs="+",
        metavar="NAME=V,V",
        help="instead of a study, a row for each combination of these values of settings "
        "(default: no grid)",
    )
    parser.add_argument(
        "--folds",
        type=parse_fold_count,
        default=0,
        metavar="K",
        help="train each row on K folds: K parts of the training images, of which each validates "
        "once (default: one split)",
    )


def parse_study_file(text: str) -> Path:
    """Parse a value of `--study`, a path or the name of a built-in study, and return the path."""
    path = parse_path(text)
    has_folder_or_suffix = len(path.parts) > 1 or bool(path.suffix)
    if has_folder_or_suffix or path.exists():
        return path
    if text in SHIPPED_STUDIES:
        return SHIPPED_STUDIES[text]
    suggestion = did_you_mean(text, SHIPPED_STUDIES)
    raise ArgumentTypeError(f"{text}: no such file or study; {suggestion}name a .toml file")


def parse_shard(text: str) -> Shard:
    """Parse a value of `--shard`: "2/4" is the second of four parts of a study's runs."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match:
        part, parts = map(int, match.groups())
        if 1 <= part <= parts:
            return Shard(part, parts)
    raise ArgumentTypeError(f"{text}: must be I/N with I from 1 to N, such as 2/4")


def parse_fold_count(text: str) -> int:
    """Parse a value of `--folds`, a number of folds."""
    if not text.isdecimal() or len(text) > 3 or not 2 <= int(text) <= _MAX_FOLDS:
        raise ArgumentTypeError(f"{text:.20}: must be a whole number from 2 to {_MAX_FOLDS}")
    return int(text)


def read_given_study(options: Namespace, option_settings: dict[str, Any]) -> GivenStudy:
    """Return the study that the options describe.

    Args:
      options: the parsed options that are not settings.
      option_settings: the settings that were given as options. They replace the settings in the
        study's file that all rows share.

    Raises:
      UsageError, RunError: the study can't be read, or options do not go together.
    """
    if options.folds:
        _require_no_setting_of_split(option_settings)
    if options.grid is not None:
        return _study_of_grid(options, option_settings)
    path = options.study or ABLATION_STUDY
    study = Study.read(path)
    study_with_options = dataclasses.replace(
        study, config=merge_settings(study.config, option_settings)
    )
    return GivenStudy(
        study_with_options,
        shared_settings=study.config,
        option_settings=option_settings,
        name=path.stem,
        fold_count=options.folds,
        first_seed=options.seeds[0],
    )


def _require_no_setting_of_split(option_settings: Mapping[str, Any]) -> None:
    """Raise a `UsageError` if a setting chooses validation images, which `--folds` chooses."""
    if "val_fraction" in option_settings:
        raise UsageError("--val-fraction: has no effect with --folds; leave one of them out")
    fold = option_settings.get("fold")
    if fold:
        raise UsageError(f"--fold {fold}: --folds trains every fold; leave one of them out")


def _study_of_grid(options: Namespace, option_settings: dict[str, Any]) -> GivenStudy:
    """Return a study with a row for each combination of the values of `--grid`.

    Raises:
      UsageError: the grid is wrong, or another option can't be used with it.
    """
    if options.study is not None:
        raise UsageError("--grid: defines rows, as --study does; leave one of them out")
    study = grid_study(options.grid, option_settings)
    if options.folds and any("val_fraction" in row.changes for row in study.rows):
        raise UsageError("--grid val_fraction: has no effect with --folds; leave one of them out")
    return GivenStudy(
        study,
        shared_settings={},
        option_settings=option_settings,
        name=grid_name(options.grid),
        fold_count=options.folds,
        first_seed=options.seeds[0],
    )
