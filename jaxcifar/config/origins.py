"""Find where the settings of a run come from: a default, recipe, continued run, file or option."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxcifar.config.continued_folder import find_continued_run
from jaxcifar.config.continued_run import DEFAULTS_WHEN_CONTINUING
from jaxcifar.config.experiment import Config
from jaxcifar.config.field_options import has_option
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.recipes import recipe_settings
from jaxcifar.config.settings import (
    DEFAULT_ARCH,
    names_of_effective_settings,
    readable_text,
    recipe_names,
)
from jaxcifar.config.table_pairs import sorted_pairs
from jaxcifar.machine.name_lists import join_names

DEFAULT = "default"
COMMAND_LINE = "the command line"
CONTINUED_RUN = "the continued run"
_MAX_SHOWN_ROWS = 4  # named in a line


class Layer(NamedTuple):
    """Settings from one place. In a list of layers, each overrules the layers before it.

    Attributes:
      origin: name of the place, such as "the command line".
      settings: settings by name.
    """

    origin: str
    settings: Mapping[str, Any]


class OverruledValue(NamedTuple):
    """A value of a setting that a stronger layer replaces.

    Attributes:
      origin: name of the layer that has this value, such as "recipe strong".
      value: the value.
    """

    origin: str
    value: Any


class SettingOrigin(NamedTuple):
    """A setting that has an effect, the place that its value comes from, and overruled values.

    `origin` is the name of the place. `overruled` has the values from weaker places, except the
    default of the field.
    """

    name: str
    value: Any
    origin: str
    overruled: tuple[OverruledValue, ...]


def settings_by_origin(config: Config, layers: Sequence[Layer]) -> list[SettingOrigin]:
    """Return the settings of a config that have an effect, and where each comes from.

    Args:
      config: the settings of the run.
      layers: the settings that were given, one layer for each place. Each layer overrules the
        layers before it.
    """
    defaults = {"arch": DEFAULT_ARCH, "recipe": recipe_names(config.arch)[0], **DEFAULTS}
    if config.continue_from:
        defaults |= DEFAULTS_WHEN_CONTINUING
    all_layers = [Layer(DEFAULT, defaults), base_layer(config), *layers]
    values = dataclasses.asdict(config)
    effective_names = names_of_effective_settings(values)
    setting_origins = []
    for field in dataclasses.fields(config):
        if has_option(field) and field.name in effective_names:
            setting_origins.append(_setting_origin(field.name, values[field.name], all_layers))
    return setting_origins


def base_layer(config: Config) -> Layer:
    """Return the settings that a config starts from.

    These are the settings of the run that the config continues or, without such a run, of its
    recipe.
    """
    user_settings = {name: getattr(config, name) for name in ("continue_from", "seed", "fold")}
    continued_run = find_continued_run(user_settings, Config, earlier_config=config)
    if continued_run is not None:
        return Layer(CONTINUED_RUN, continued_run.inherited_settings())
    return Layer(f"recipe {config.recipe}", recipe_settings(config.arch, config.recipe))


def without_effect_line(config: Config) -> str:
    """Return a line that lists the settings of the recipe that do nothing in this run, or "".

    If the run continues another run, settings of that run are listed, instead of the recipe's.
    """
    origin, base_settings = base_layer(config)
    effective_names = names_of_effective_settings(dataclasses.asdict(config))
    ineffective_texts = []
    for name, value in base_settings.items():
        differs_from_default = value != DEFAULTS.get(name)
        if differs_from_default and name not in effective_names:
            ineffective_texts.append(f"{name} {value_text(value)}")
    if not ineffective_texts:
        return ""
    return f"without effect here, from {origin}: {', '.join(ineffective_texts)}"


def _setting_origin(name: str, value: Any, layers: Sequence[Layer]) -> SettingOrigin:
    """Return the origin of the setting `name`: the strongest layer that has it.

    Args:
      name: name of the setting.
      value: its value in the run.
      layers: all layers, from the weakest to the strongest; at least one has the setting.
    """
    value = _as_in_config(value)
    layers_with_setting = [layer for layer in layers if name in layer.settings]
    *weaker_layers, strongest_layer = layers_with_setting
    overruled_values = []
    for layer in weaker_layers:
        value_in_layer = _as_in_config(layer.settings[name])
        if layer.origin != DEFAULT and value_in_layer != value:
            overruled_values.append(OverruledValue(layer.origin, value_in_layer))
    return SettingOrigin(name, value, strongest_layer.origin, tuple(overruled_values))


def _as_in_config(value: Any) -> Any:
    """Return a value as a `Config` has it: a table as sorted pairs, a list as a tuple."""
    if isinstance(value, Mapping):
        return sorted_pairs(value)
    if isinstance(value, list):
        return tuple(_as_in_config(item) for item in value)
    return value


def overruled_lines(
    rows: Mapping[str, Sequence[SettingOrigin]],
    is_shown: Callable[[str, str], bool] = lambda winner, loser: True,
) -> list[str]:
    """Return a line for each layer that overrules another layer, with the settings that change.

    A line is such as "run.toml overrules recipe strong: epochs 7 instead of 20".

    Args:
      rows: the settings of each row of a study, by the row's name. For a single run, the only row
        can have any name.
      is_shown: called with the names of the stronger and the weaker layer; returns False if their
        line is to be left out.
    """
    rows_with_change: dict[_Change, list[str]] = {}
    for row_name, settings in rows.items():
        for change in _overruling_changes(settings):
            if is_shown(change.winner, change.loser):
                rows_with_change.setdefault(change, []).append(row_name)
    change_texts_of_layers: dict[str, list[str]] = {}
    for change, row_names in rows_with_change.items():
        layers_text = f"{change.winner} overrules {change.loser}"
        change_text = _change_text(change, row_names, len(rows))
        change_texts_of_layers.setdefault(layers_text, []).append(change_text)
    return [
        f"{layers_text}: {', '.join(change_texts)}"
        for layers_text, change_texts in change_texts_of_layers.items()
    ]


def _change_text(change: "_Change", row_names: Sequence[str], row_count: int) -> str:
    """Return a change as text, such as "epochs 7 instead of 20 in a and b".

    Args:
      change: the change.
      row_names: the rows of a study with this change; named unless all `row_count` rows have it.
      row_count: number of rows of the study.
    """
    text = f"{change.setting} {change.new_text} instead of {change.old_text}"
    if len(row_names) < row_count:
        text += f" in {join_names(row_names, _MAX_SHOWN_ROWS)}"
    return text


def _overruling_changes(settings: Iterable[SettingOrigin]) -> Iterator["_Change"]:
    """Yield each change of a value by a stronger layer."""
    for setting in settings:
        for overruled in setting.overruled:
            yield _Change(
                winner=setting.origin,
                loser=overruled.origin,
                setting=setting.name,
                new_text=value_text(setting.value),
                old_text=value_text(overruled.value),
            )


class _Change(NamedTuple):
    """A setting to which two layers give different values; the value of `winner` counts."""

    winner: str
    loser: str
    setting: str
    new_text: str
    old_text: str


def value_text(value: Any) -> str:
    """Return a value as text for a reader; (name, value) pairs become `hidden=8 widths=(4,)`."""
    is_table = isinstance(value, tuple) and all(isinstance(pair, tuple) for pair in value)
    if is_table and value:
        return " ".join(f"{name}={readable_text(item)}" for name, item in value)
    return readable_text(value) if value != "" else "none"
