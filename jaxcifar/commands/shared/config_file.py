"""The option `--config`: settings from a TOML file, or from the `config.json` of an earlier run.

The file can come from anywhere, so its size, its structure and the types of values are checked.
"""

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcifar.commands.shared.common_options import parse_path
from jaxcifar.commands.shared.earlier_run import (
    changes_since_recorded_run,
    settings_of_recorded_run,
    without_settings_of_earlier_recipe,
)
from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.config.code_in_run import require_no_user_code_in_run_folder, run_folder_of
from jaxcifar.config.experiment import Config
from jaxcifar.config.origins import (
    COMMAND_LINE,
    Layer,
    SettingOrigin,
    overruled_lines,
    settings_by_origin,
)
from jaxcifar.config.saved_config import read_config
from jaxcifar.config.setting_types import check_and_convert
from jaxcifar.config.settings import DERIVED_FIELDS, effective_settings
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.reading import Remedy, read_toml
from jaxcifar.runs.task import advice_to_give_run
from jaxcifar.studies.code_files import find_in_study_folder

_REMEDY = Remedy("give a TOML file of settings, a run, or a run's config.json", UsageError)
_REMEDY_FOR_JSON = Remedy("choose another run, or write the settings into a .toml file", UsageError)


class GivenSettings(NamedTuple):
    """The settings of a run from the file of `--config` and from options, which override the file.

    Attributes:
      config: the settings of the run, with "cifar10" in place of the data set "auto".
      option_settings: the settings that were given as options.
      other_options: the parsed options that are not settings.
      file_settings: the settings of the file that are used; empty without `--config`.
      file_name: name of the file in messages.
      recorded_config: config of an earlier run, if the file is its `config.json`; None for other
        files.
      notices: lines for the user, such as settings of the file that are not used.
    """

    config: Config
    option_settings: Mapping[str, Any]
    other_options: Namespace
    file_settings: Mapping[str, Any] = {}
    file_name: str = ""
    recorded_config: Config | None = None
    notices: tuple[str, ...] = ()

    @property
    def all_settings(self) -> dict[str, Any]:
        """The settings of the file and of the options."""
        return {**self.file_settings, **self.option_settings}

    @property
    def is_auto_dataset(self) -> bool:
        """True if the data set is CIFAR-10 or, if it can't be loaded, shapes10."""
        return self.all_settings.get("dataset") == "auto"

    @property
    def settings_with_origins(self) -> list[SettingOrigin]:
        """The run's settings that have an effect, each with the place it comes from."""
        layers = [Layer(COMMAND_LINE, self.option_settings)]
        if self.file_settings:
            layers.insert(0, Layer(self.file_name, self.file_settings))
        return settings_by_origin(self.config, layers)


def add_config_file(parser: OptionHolder) -> None:
    parser.add_argument(
        "--config",
        type=parse_path,
        metavar="FILE",
        help="settings in a TOML file, or of an earlier run (its folder or config.json); options "
        "override them (default: none)",
    )


def read_given_settings(
    option_settings: Mapping[str, Any],
    other_options: Namespace,
    earlier_config: Config | None = None,
) -> GivenSettings:
    """Return the settings of a run from the file of `--config`, if given, and from the options.

    Args:
      option_settings: the settings that were given as options.
      other_options: the parsed options that are not settings.
      earlier_config: config with which an earlier command began the run; None for a new run; see
        `Config.for_run`.

    Raises:
      UsageError: the file can't be read, or a value is wrong. The message names the option or file.
    """
    path: Path | None = other_options.config
    if path is None:
        config = _create_config(option_settings, earlier_config)
        return GivenSettings(config, option_settings, other_options)
    file_settings, recorded_config = _read_settings_file(path)
    notices: list[str] = []
    try:
        if recorded_config is not None:
            file_settings = without_settings_of_earlier_recipe(
                file_settings, recorded_config, option_settings, notices
            )
        file_settings = _without_ineffective_settings(file_settings, option_settings, notices)
        merged_settings = merge_settings(file_settings, option_settings)
        config = _create_config(merged_settings, earlier_config)
    except UsageError as error:
        wrong_setting = _setting_in_message(str(error))
        is_set_by_file = wrong_setting in file_settings and wrong_setting not in option_settings
        if is_set_by_file:
            raise UsageError(f"--config {path}: {error}") from None
        raise
    if recorded_config is not None:
        notices += changes_since_recorded_run(config, recorded_config, path)
    given_settings = GivenSettings(
        config=config,
        option_settings=option_settings,
        other_options=other_options,
        file_settings=file_settings,
        file_name=str(path),
        recorded_config=recorded_config,
    )
    lines_about_overruled_settings = _lines_about_overruled_file_settings(given_settings)
    return given_settings._replace(notices=(*lines_about_overruled_settings, *notices))


def _lines_about_overruled_file_settings(given_settings: GivenSettings) -> list[str]:
    """Return lines about the settings of the file of `--config` that options override."""

    def is_of_file(winning_origin: str, overruled_origin: str) -> bool:
        return overruled_origin == given_settings.file_name

    rows = {"": given_settings.settings_with_origins}  # a single run is not a row with a name
    return overruled_lines(rows, is_of_file)


def _setting_in_message(message: str) -> str:
    """Return the setting that an error message is about, if the message begins with an option.

    For "--batch-size 0: ..." this is "batch_size". For other messages it is "".
    """
    match = re.match(r"--([a-z-]+)", message)
    return match[1].replace("-", "_") if match else ""


def _create_config(settings: Mapping[str, Any], earlier_config: Config | None) -> Config:
    """Return the config of a run with these settings; the data set "auto" becomes "cifar10".

    `earlier_config` is the config with which an earlier command began the run; None for a new run.
    """
    if settings.get("dataset") == "auto":
        settings = {**settings, "dataset": "cifar10"}
    return Config.for_run(settings, earlier_config)


def _read_settings_file(path: Path) -> tuple[dict[str, Any], Config | None]:
    """Read the file, or the folder of an earlier run, that `--config` names.

    Returns:
      (settings, config of the earlier run). For a TOML file of settings, the config is None.
    """
    file = path
    is_run_folder = path.is_dir()
    if is_run_folder:
        file = path / "config.json"
        if not file.exists():
            raise UsageError(f"--config {path}: there is no run here; {advice_to_give_run(path)}")
    if file.suffix != ".json":
        return _read_toml_settings(file), None
    recorded_config = read_config(file, Config, _REMEDY_FOR_JSON, follow_links=True)
    require_no_user_code_in_run_folder(run_folder_of(path), recorded_config)
    return settings_of_recorded_run(recorded_config), recorded_config


def _read_toml_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file: all of its keys, or the keys of its table [config]."""
    content = read_toml(path, dict[str, Any], _REMEDY)
    if "rows" in content:
        raise UsageError(
            f"--config {path}: is a study; train it with {shell_command('ablation')} --study {path}"
        )
    if isinstance(content.get("config"), dict):
        other_keys = sorted(content.keys() - {"config"})
        if other_keys:
            raise UsageError(f"--config {path}: move {other_keys[0]:.40} into the table [config]")
        content = content["config"]
    for name in DERIVED_FIELDS:
        if name in content:
            raise UsageError(f"--config {path}: {name} is computed and can't be set; remove it")
    settings = check_and_convert(f"--config {path}", content, Config)
    return find_in_study_folder(path.parent, settings)


def _without_ineffective_settings(
    file_settings: dict[str, Any], option_settings: Mapping[str, Any], notices: list[str]
) -> dict[str, Any]:
    """Return the settings of a file, except settings that options make ineffective.

    For example, `--optimizer adam` makes the `momentum` of a file ineffective. A line that names
    the ineffective settings is added to `notices`. A setting that is ineffective in the file itself
    is kept, so that it is reported as an error.
    """
    file_settings_with_network = dict(file_settings)
    if "arch" in option_settings:
        file_settings_with_network.setdefault("arch", option_settings["arch"])
    effective_in_file = effective_settings(file_settings_with_network)
    effective_with_options = effective_settings({**file_settings, **option_settings})
    kept_settings = {}
    dropped_texts = []
    for name, value in file_settings.items():
        is_made_ineffective = name in effective_in_file and name not in effective_with_options
        is_overridden = name in option_settings
        if is_made_ineffective and not is_overridden:
            dropped_texts.append(f"{name} {value}")
        else:
            kept_settings[name] = value
    if dropped_texts:
        names_and_values = ", ".join(dropped_texts)
        notices.append(
            f"settings of the file without effect with these options: {names_and_values}"
        )
    return kept_settings
