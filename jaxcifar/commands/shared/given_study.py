"""The study that the options of `jaxcifar ablation` describe, and the origins of its settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcifar.config.folds import all_folds
from jaxcifar.config.origins import (
    COMMAND_LINE,
    Layer,
    SettingOrigin,
    overruled_lines,
    settings_by_origin,
    value_text,
)
from jaxcifar.machine.name_lists import join_names
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import with_recorded_rows
from jaxcifar.studies.study_row import StudyRow

STUDY, ROW = "the study", "the row"  # origins of settings


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
        earlier_rows = study.rows[own_row_count:]
        if not earlier_rows:
            return self
        row_names = join_names([row.name for row in earlier_rows])
        notice = f"the report shows the rows of earlier grids in {study_folder} too: {row_names}"
        return self._replace(study=study, notices=(notice,))

    def settings_by_row(self, rows: Sequence[StudyRow]) -> dict[str, list[SettingOrigin]]:
        """Return the settings of each row that have an effect, with their origins.

        The keys are the names of the rows. The seed is left out, because a row may have several.
        """
        fold = self.first_fold
        fold_layers = [Layer("--folds", {"fold": fold})] if fold else []
        settings_by_row = {}
        for row in rows:
            layers = [
                Layer(STUDY, self.shared_settings),
                Layer(COMMAND_LINE, self.option_settings),
                Layer(ROW, row.changes),
                *fold_layers,
            ]
            config = self.study.config_of(row, self.first_seed, fold)
            settings = settings_by_origin(config, layers)
            settings_without_seed = [setting for setting in settings if setting.name != "seed"]
            settings_by_row[row.name] = settings_without_seed
        return settings_by_row

    def overruled_setting_lines(
        self, rows: Sequence[StudyRow], with_other_recipes: bool = False
    ) -> list[str]:
        """Return lines about settings that get different values from two origins.

        An origin is an option, the study, a row or a recipe. A line says which value is used, as in
        "the row overrules recipe strong: epochs 7 instead of 20".

        Args:
          rows: the rows that are trained.
          with_other_recipes: True for lines about all recipes; False to leave out the recipes that
            `--recipe` does not name.
        """
        origins_chosen_by_options = [COMMAND_LINE]
        if "recipe" in self.option_settings:
            origins_chosen_by_options.append(f"recipe {self.option_settings['recipe']}")

        def is_shown(winning_origin: str, overruled_origin: str) -> bool:
            if overruled_origin == STUDY:
                is_purpose_of_row = winning_origin == ROW  # to differ from what all rows share
                return not is_purpose_of_row
            return with_other_recipes or overruled_origin in origins_chosen_by_options

        lines = overruled_lines(self.settings_by_row(rows), is_shown)
        val_fraction = self.study.config.get("val_fraction")
        if self.fold_count and val_fraction is not None:
            lines.append(f"--folds replaces val_fraction {value_text(val_fraction)} of {STUDY}")
        return lines
