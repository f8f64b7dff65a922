"""The option `--config`: settings from a TOML file, or from the `config.json` of an earlier run.

The file can come from anywhere, so its size, its structure and the types of values are checked.
"""

import dataclasses
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcifar.commands.shared.common_options import location
from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.origins import (
    COMMAND_LINE,
    Layer,
    SettingOrigin,
    overruled_lines,
    settings_by_origin,
)
from jaxcifar.config.setting_types import check_types
from jaxcifar.config.settings import (
    DERIVED_FIELDS,
    default_settings,
    effective_settings,
    names_of_effective_settings,
)
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.reading import MEGABYTE, Remedy, read_json, read_toml, report_errors
from jaxcifar.runs.task import nested_run_hint
from jaxcifar.studies.code_files import find_in_study_folder

_MAX_BYTES = MEGABYTE  # of a run's config.json
_REMEDY = Remedy("give a TOML file of settings, a run, or a run's config.json", UsageError)


class GivenSettings(NamedTuple):
    """The settings of a run from the file of `--config` and from options, which override the file.

    Attributes:
      config: the settings of the run, with "cifar10" in place of the data set "auto".
      options: the settings that were given as options.
      other_options: the parsed options that are no settings.
      file: the settings of the file that are used; empty without `--config`.
      origin: name of the file in messages.
      recorded: config of an earlier run, if the file is its `config.json`; None for other files.
      lines: lines for the user, such as settings of the file that are not used.
    """

    config: Config
    options: Mapping[str, Any]
    other_options: Namespace
    file: Mapping[str, Any] = {}
    origin: str = ""
    recorded: Config | None = None
    lines: tuple[str, ...] = ()

    @property
    def all(self) -> dict[str, Any]:
        """The settings of the file and of the options."""
        return {**self.file, **self.options}

    @property
    def is_auto(self) -> bool:
        """True if the data set is CIFAR-10 or, if it can't be loaded, shapes10."""
        return self.all.get("dataset") == "auto"

    @property
    def origins(self) -> list[SettingOrigin]:
        """The run's settings that have an effect, each with the place it comes from."""
        layers = [Layer(COMMAND_LINE, self.options)]
        if self.file:
            layers.insert(0, Layer(self.origin, self.file))
        return settings_by_origin(self.config, layers)


def add_config_file(parser: OptionHolder) -> None:
    parser.add_argument(
        "--config",
        type=location,
        metavar="FILE",
        help="settings in a TOML file, or of an earlier run (its folder or config.json); options "
        "override them (default: none)",
    )


def given_settings(options: Mapping[str, Any], other_options: Namespace) -> GivenSettings:
    """Return the config that `--config` and the other options describe.

    Args:
      options: the settings that were given as options.
      other_options: the parsed options that are no settings.

    Raises:
      UsageError: the file can't be read, or a value is wrong. The message names the option or file.
    """
    path: Path | None = other_options.config
    if path is None:
        return GivenSettings(_create(options), options, other_options)
    file, recorded = _read(path)
    lines: list[str] = []
    try:
        if recorded is not None:
            file = _without_other_recipe(file, recorded, options, lines)
        file = _without_ineffective(file, options, lines)
        config = _create(merge_settings(file, options))
    except UsageError as error:
        named = re.match(r"--([a-z-]+)", str(error))
        name = named[1].replace("-", "_") if named else ""
        if name in file and name not in options:
            raise UsageError(f"--config {path}: {error}") from None
        raise
    if recorded is not None:
        lines += _changes_since(config, recorded, path)
    given = GivenSettings(config, options, other_options, file, str(path), recorded)
    by_options = overruled_lines({"": given.origins}, lambda _, loser: loser == str(path))
    return given._replace(lines=(*by_options, *lines))


def _create(settings: Mapping[str, Any]) -> Config:
    """Return a config with these settings, and "cifar10" in place of the data set "auto"."""
    if settings.get("dataset") == "auto":
        settings = {**settings, "dataset": "cifar10"}
    return Config.create(**settings)


def _read(path: Path) -> tuple[dict[str, Any], Config | None]:
    """Return a file's settings, and a run's config if the file is its `config.json`, else None."""
    file = path / "config.json" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise UsageError(f"--config {path}: there is no run here{nested_run_hint(path)}")
    if file.suffix == ".json":
        content = read_json(file, dict[str, Any], _REMEDY, _MAX_BYTES, follow_links=True)
        with report_errors(file, _REMEDY):
            recorded = Config.from_dict(content)
        return _settings_of(recorded), recorded
    content = read_toml(file, dict[str, Any], _REMEDY)
    if "rows" in content:
        raise UsageError(
            f"--config {path}: is a study; train it with {shell_command('ablation')} --study {path}"
        )
    if isinstance(content.get("config"), dict):
        others = sorted(content.keys() - {"config"})
        if others:
            raise UsageError(f"--config {path}: move {others[0]:.40} into the table [config]")
        content = content["config"]
    for name in DERIVED_FIELDS:
        if name in content:
            raise UsageError(f"--config {path}: {name} is computed and can't be set; remove it")
    settings = check_types(f"--config {path}", content, Config)
    return find_in_study_folder(path.parent, settings), None


def _settings_of(recorded: Config) -> dict[str, Any]:
    """Return the settings of an earlier run that have an effect, without computed fields."""
    values = dataclasses.asdict(recorded)
    effective = names_of_effective_settings(values)
    settings = {name: values[name] for name in effective if name not in DERIVED_FIELDS}
    settings = {name: value for name, value in settings.items() if value is not None}
    return {**settings, "arch_args": dict(recorded.arch_args)}


def _without_other_recipe(
    file: dict[str, Any], recorded: Config, options: Mapping[str, Any], lines: list[str]
) -> dict[str, Any]:
    """Return the settings of an earlier run that also apply to a new run.

    If options name another network or recipe, only the settings apply that differ from the earlier
    run's recipe. A line in `lines` then names these settings. Otherwise all settings apply.

    Args:
      file: the settings of the earlier run.
      recorded: the config of the earlier run.
      options: the settings of the new run that were given as options.
      lines: lines for the user, to which a line may be added.
    """
    changed = [
        name
        for name in ("arch", "recipe")
        if name in options and options[name] != getattr(recorded, name)
    ]
    if not changed:
        return file
    by_recipe = default_settings(recorded.arch, recorded.recipe)
    kept = {
        name: value
        for name, value in file.items()
        if name not in ("arch", "recipe", "arch_args") and value != by_recipe[name]
    }
    if "arch" not in options:
        kept["arch"] = recorded.arch
        if recorded.alters_network:
            kept["arch_args"] = file["arch_args"]
    named = ", ".join(f"{name} {value}" for name, value in sorted(kept.items()))
    lines.append(
        f"--{changed[0]} {options[changed[0]]}: of the file, only the changes to the recipe "
        f"{recorded.recipe} of {recorded.arch} are kept: {named or 'none'}"
    )
    return kept


def _without_ineffective(
    file: dict[str, Any], options: Mapping[str, Any], lines: list[str]
) -> dict[str, Any]:
    """Return the settings of a file, except settings that options make ineffective.

    A line that names the ineffective settings is added to `lines`.
    """
    network = {"arch": options["arch"]} if "arch" in options else {}
    effective_alone = effective_settings({**network, **file})
    effective = effective_settings({**file, **options})
    kept, ineffective = {}, []
    for name, value in file.items():
        if name in effective or name in options or name not in effective_alone:
            kept[name] = value
        else:
            ineffective.append(f"{name} {value}")
    if ineffective:
        names = ", ".join(ineffective)
        lines.append(f"of the file, without effect with these options: {names}")
    return kept


def _changes_since(config: Config, recorded: Config, path: Path) -> list[str]:
    """Return lines about user code and weights that have changed since the run at `path`.

    `recorded` is the config of this run, and `config` that of the new run.
    """
    lines = []
    now = user_code.with_imports_on_disk(config, recorded)
    for field in ("sources", "imports"):
        digests = dict(getattr(now, field) or ())
        earlier = dict(getattr(recorded, field) or ())
        for key, digest in digests.items():
            kind, _, file = key.partition(": ")
            is_same_name = getattr(config, kind) == getattr(recorded, kind)
            if is_same_name and key in earlier and earlier[key] != digest:
                name = file or getattr(config, kind)
                lines.append(
                    f"{name} has changed since {path}: SHA-256 {digest[:8]}, {earlier[key][:8]} "
                    "there; the run's folder has its copy in sources/"
                )
    if config.init == recorded.init and config.init_sha256 != recorded.init_sha256:
        lines.append(f"--init {config.init}: the weights have changed since {path}")
    return lines
