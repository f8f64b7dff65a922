"""Options of `jaxcifar ablation` that say what is trained: `--study`, `--grid` and `--folds`."""

import dataclasses
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcifar.commands.shared.common_options import location
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
from jaxcifar.studies.study import Study, StudyRow
from jaxcifar.studies.study_folder import with_recorded_rows

SHIPPED = study_files()
ABLATION = SHIPPED["ablation"]
STUDY, ROW = "the study", "the row"  # origins of settings
_MOST_FOLDS = 999


class Shard(NamedTuple):
    """The share of a study's runs that one command trains.

    The runs are divided into `parts` shares. `part` is the number of this share, from 1.
    """

    part: int
    parts: int


class GivenStudy(NamedTuple):
    """The study that the options describe: rows, each a set of settings to train.

    Attributes:
      study: the study, with the settings that were given as options.
      shared: the settings that the study's file gives to all rows.
      options: the settings that were given as options.
      name: name for the study's folder.
      folds: number of folds (cross-validation) that each row is trained on; 0 for a single split.
      seed: the first seed of each row.
      lines: lines for the user, about rows that earlier values of `--grid` have added to the
        study's folder.
    """

    study: Study
    shared: Mapping[str, Any]
    options: Mapping[str, Any]
    name: str
    folds: int
    seed: int
    lines: tuple[str, ...] = ()

    @property
    def first_fold(self) -> str:
        """The name of the first fold, such as "1/5"; "" without folds."""
        return next(iter(all_folds(self.folds)), "")

    def with_rows_of_earlier_grids(self, out: Path) -> "GivenStudy":
        """Return a copy whose study has the rows of earlier grids too.

        These are the rows in the folder `out` that earlier values of `--grid` have added.

        Raises:
          UsageError: there would be too many rows.
          RunError: the record of the study in the folder can't be read.
        """
        study = with_recorded_rows(self.study, out)
        earlier = [row.name for row in study.rows[len(self.study.rows) :]]
        if not earlier:
            return self
        line = f"the report shows the rows of earlier grids in {out} too: {join_names(earlier)}"
        return self._replace(study=study, lines=(line,))

    def origins(self, rows: Sequence[StudyRow]) -> dict[str, list[SettingOrigin]]:
        """Return each row's settings that have an effect, and their origins, by the row's name."""
        fold = self.first_fold
        found = {}
        for row in rows:
            layers = [
                Layer(STUDY, self.shared),
                Layer(COMMAND_LINE, self.options),
                Layer(ROW, row.changes),
                *([Layer("--folds", {"fold": fold})] if fold else []),
            ]
            config = self.study.config_of(row, self.seed, fold)
            settings = settings_by_origin(config, layers)
            found[row.name] = [setting for setting in settings if setting.name != "seed"]
        return found

    def overruled(self, rows: Sequence[StudyRow], is_plan: bool = False) -> list[str]:
        """Return lines about options that overrule settings of the study, and the other way round.

        Args:
          rows: the rows that are trained.
          is_plan: True to also list overruled settings of recipes that no option has chosen.
        """
        recipe = f"recipe {self.options['recipe']}" if "recipe" in self.options else None

        def is_shown(winner: str, loser: str) -> bool:
            if loser == STUDY:
                return winner != ROW  # a row of a study differs from what all rows share
            return is_plan or loser in (COMMAND_LINE, recipe)

        lines = overruled_lines(self.origins(rows), is_shown)
        fraction = self.study.config.get("val_fraction")
        if self.folds and fraction is not None:
            lines.append(f"--folds replaces val_fraction {value_text(fraction)} of {STUDY}")
        return lines


def add_study_options(parser: OptionHolder) -> None:
    """Add the options `--study`, `--grid` and `--folds`, whose values `given_study` reads."""
    study_option = parser.add_argument(
        "--study",
        type=study_file,
        metavar="FILE",
        help=f"TOML file of rows, or a study of the package: {', '.join(SHIPPED)} (default: "
        "ablation, the ten rows of the reference report)",
    )
    suggest(study_option, SHIPPED)
    parser.add_argument(
        "--grid",
        nargs="+",
        metavar="NAME=V,V",
        help="instead of a study, a row for each combination of these values of settings "
        "(default: no grid)",
    )
    parser.add_argument(
        "--folds",
        type=fold_count,
        default=0,
        metavar="K",
        help="train each row on K folds: K parts of the training images, of which each validates "
        "once (default: one split)",
    )


def study_file(text: str) -> Path:
    """Return the path of a study file; `text` is a path, or the name of a built-in study."""
    path = location(text)
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    if text not in SHIPPED:
        meant = did_you_mean(text, SHIPPED)
        raise ArgumentTypeError(f"{text}: no such file or study; {meant}name a .toml file")
    return SHIPPED[text]


def shard(text: str) -> Shard:
    """Parse an option's value such as `2/4`, the second of four shares of a study's runs."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match:
        part, parts = map(int, match.groups())
        if 1 <= part <= parts:
            return Shard(part, parts)
    raise ArgumentTypeError(f"{text}: must be I/N with I from 1 to N, such as 2/4")


def fold_count(text: str) -> int:
    """Parse an option's value as a number of folds."""
    if not text.isdecimal() or len(text) > 3 or int(text) < 2:
        raise ArgumentTypeError(f"{text:.20}: must be a whole number from 2 to {_MOST_FOLDS}")
    return int(text)


def given_study(options: Namespace, settings: dict[str, Any]) -> GivenStudy:
    """Return the study that the options describe.

    Args:
      options: the parsed options that are no settings.
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
    if options.grid is not None:
        if options.study is not None:
            raise UsageError("--grid: makes the rows, as --study does; leave one of them out")
        study = grid_study(options.grid, settings)
        if options.folds and any("val_fraction" in row.changes for row in study.rows):
            raise UsageError(
                "--grid val_fraction: has no effect with --folds; leave one of them out"
            )
        name = grid_name(options.grid)
        return GivenStudy(study, {}, settings, name, options.folds, options.seeds[0])
    path = options.study or ABLATION
    study = Study.read(path)
    merged = dataclasses.replace(study, config=merge_settings(study.config, settings))
    seed = options.seeds[0]
    return GivenStudy(merged, study.config, settings, path.stem, options.folds, seed)
