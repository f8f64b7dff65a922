"""Options of `jaxcifar ablation` that say what is trained: `--study`, `--grid` and `--folds`."""

import dataclasses
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxcifar.commands.shared.common_options import parse_path
from jaxcifar.commands.shared.example_files import study_files
from jaxcifar.commands.shared.parser import OptionHolder, suggest
from jaxcifar.config.folds import all_folds
from jaxcifar.config.origins import (
    COMMAND_LINE,
    Layer,
    SettingOrigin,
    overruled_lines,
    settings_by_origin,
    value_text,
)
from jaxcifar.config.registry import did_you_mean
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError
from jaxcifar.machine.name_lists import join_names
from jaxcifar.studies.grid import grid_name, grid_study
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import with_recorded_rows
from jaxcifar.studies.study_row import StudyRow

SHIPPED_STUDIES = study_files()
ABLATION_STUDY = SHIPPED_STUDIES["ablation"]
STUDY, ROW = "the study", "the row"  # origins of settings
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
        """Return the runs of this part; neighbouring runs are in different parts."""
        first_index = self.part - 1
        return runs[first_index :: self.parts]


WHOLE_STUDY = Shard(part=1, parts=1)  # all runs


class GivenStudy(NamedTuple):
    """The study that the options describe. Each row of the study has settings to train with.

    Attributes:
      study: the study, with the settings that were given as options.
      shared_settings: the settings that the study's file gives to all rows.
      option_settings: the settings that were given as options.
      name: name for the study's folder.
      fold_count: number of folds (cross-validation) that each row is trained on; 0 for a single
        split.
      first_seed: the first seed of each row.
      notices: lines for the user, about rows that earlier values of `--grid` have added to the
        study's folder.
    """

    study: Study
    shared_settings: Mapping[str, Any]
    option_settings: Mapping[str, Any]
    name: str
    fold_count: int
    first_seed: int
    notices: tuple[str, ...] = ()

    @property
    def first_fold(self) -> str:
        """The name of the first fold, such as "1/5"; "" without folds."""
        return next(iter(all_folds(self.fold_count)), "")

    def with_rows_of_earlier_grids(self, study_folder: Path) -> "GivenStudy":
        """Return a copy whose study also has the rows that earlier commands added to its folder.

        A command with `--grid` adds a row for each combination of the values.

        Raises:
          UsageError: there would be too many rows.
          RunError: the record of the study in the folder can't be read.
        """
        study = with_recorded_rows(self.study, study_folder)
        own_row_count = len(self.study.rows)
        earlier_rows = join_names([row.name for row in study.rows[own_row_count:]])
        if not earlier_rows:
            return self
        notice = f"the report shows the rows of earlier grids in {study_folder} too: {earlier_rows}"
        return self._replace(study=study, notices=(notice,))

    def settings_by_row(self, rows: Sequence[StudyRow]) -> dict[str, list[SettingOrigin]]:
        """Return each row's settings that have an effect, and their origins, by the row's name."""
        fold = self.first_fold
        fold_layers = [Layer("--folds", {"fold": fold})] if fold else []
        by_row = {}
        for row in rows:
            layers = [
                Layer(STUDY, self.shared_settings),
                Layer(COMMAND_LINE, self.option_settings),
                Layer(ROW, row.changes),
                *fold_layers,
            ]
            config = self.study.config_of(row, self.first_seed, fold)
            settings = settings_by_origin(config, layers)
            by_row[row.name] = [setting for setting in settings if setting.name != "seed"]
        return by_row

    def overruled_setting_lines(
        self, rows: Sequence[StudyRow], with_other_recipes: bool = False
    ) -> list[str]:
        """Return a line for each setting that two places give different values.

        A line says which value is used, as in "run.toml overrules recipe strong: epochs 7 instead
        of 20".

        Args:
          rows: the rows that are trained.
          with_other_recipes: True to list the unused values of all recipes; False to leave
            out those of recipes that `--recipe` does not name.
        """
        origins_chosen_by_options = [COMMAND_LINE]
        if "recipe" in self.option_settings:
            origins_chosen_by_options.append(f"recipe {self.option_settings['recipe']}")

        def is_shown(winning_origin: str, overruled_origin: str) -> bool:
            if overruled_origin == STUDY:
                return winning_origin != ROW  # a row of a study differs from what all rows share
            return with_other_recipes or overruled_origin in origins_chosen_by_options

        lines = overruled_lines(self.settings_by_row(rows), is_shown)
        val_fraction = self.study.config.get("val_fraction")
        if self.fold_count and val_fraction is not None:
            lines.append(f"--folds replaces val_fraction {value_text(val_fraction)} of {STUDY}")
        return lines


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
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    if text not in SHIPPED_STUDIES:
        suggestion = did_you_mean(text, SHIPPED_STUDIES)
        raise ArgumentTypeError(f"{text}: no such file or study; {suggestion}name a .toml file")
    return SHIPPED_STUDIES[text]


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


def read_given_study(options: Namespace, settings: dict[str, Any]) -> GivenStudy:
    """Return the study that the options describe.

    Args:
      options: the parsed options that are not settings.
      settings: the settings that were given as options. They replace the settings in the study's
        file that all rows share.

    Raises:
      UsageError, RunError: the study can't be read, or options do not go together.
    """
    if options.folds and "val_fraction" in settings:
        raise UsageError("--val-fraction: has no effect with --folds; leave one of them out")
    if options.folds and settings.get("fold"):
        fold = settings["fold"]
        raise UsageError(f"--fold {fold}: --folds trains every fold; leave one of them out")
    shared_settings: Mapping[str, Any] = {}
    if options.grid is not None:
        if options.study is not None:
            raise UsageError("--grid: defines rows, as --study does; leave one of them out")
        study = grid_study(options.grid, settings)
        if options.folds and any("val_fraction" in row.changes for row in study.rows):
            raise UsageError(
                "--grid val_fraction: has no effect with --folds; leave one of them out"
            )
        name = grid_name(options.grid)
    else:
        path = options.study or ABLATION_STUDY
        name = path.stem
        study = Study.read(path)
        shared_settings = study.config
        study = dataclasses.replace(study, config=merge_settings(study.config, settings))
    return GivenStudy(
        study,
        shared_settings,
        settings,
        name,
        fold_count=options.folds,
        first_seed=options.seeds[0],
    )
