"""`Config`: all settings of an experiment that its numbers depend on."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from jaxcifar.config import registry, user_reference
from jaxcifar.config.class_weights import class_weights_text
from jaxcifar.config.continued_folder import find_continued_run
from jaxcifar.config.continued_run import base_settings
from jaxcifar.config.field_options import is_array, require_in_range, shared_value
from jaxcifar.config.fields import DEFAULTS, Fields, is_newer_and_off
from jaxcifar.config.flat_settings import differing_settings, flat_settings
from jaxcifar.config.option_names import reject
from jaxcifar.config.python_number import python_number
from jaxcifar.config.recipes import base_batch_size
from jaxcifar.config.run_name import run_name
from jaxcifar.config.run_options import run_options
from jaxcifar.config.saved_config import settings_from_file
from jaxcifar.config.setting_types import check_and_convert
from jaxcifar.config.settings import (
    TABLE_FIELDS,
    USER_CODE_FIELDS,
    default_settings,
    effective_settings,
    option_text,
    reason_ineffective,
    recipe_names,
    require_recipe,
)
from jaxcifar.config.table_pairs import sorted_pairs
from jaxcifar.config.weights_file import init_digest
from jaxcifar.errors import UsageError, without_advice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """All settings of an experiment; `Fields` describes them.

    Two runs with the same config on the same kind of device give the same numbers. The folders of
    data and results are not part of a config. Use `Config.create` to make a config, because it
    fills in the settings of a recipe.

    Raises:
      UsageError: a value is out of range; the message names the option.
    """

    @classmethod
    def create(cls, arch: str | None = None, **overrides: Any) -> Self:
        """Return a config with the settings of a recipe, except for `overrides`.

        Args:
          arch: name of the network, or None for the default network.
          **overrides: fields of the config by name. `recipe` is the recipe's name; the default is
            the network's first recipe. `continue_from` is the folder of a run to continue; then
            the settings of this run replace those of the recipe.

        Raises:
          UsageError: a value is out of range, an override has no effect, or the run to continue
            can't be continued in this way.
        """
        if not isinstance(arch, str | None):
            raise UsageError(f"--arch {arch!r:.80}: must be the name of a network, as text")
        return cls.for_run(overrides if arch is None else {"arch": arch, **overrides})

    @classmethod
    def for_run(cls, user_settings: Mapping[str, Any], earlier_config: Self | None = None) -> Self:
        """Return a config as `create` does, for a run that may have begun already.

        Args:
          user_settings: fields of the config by name, as for `create`.
          earlier_config: the config in the run's folder, if an earlier command began the run. It
            records SHA-256s of the run to continue and of the first weights, in case they are gone.

        Raises:
          UsageError: as for `create`.
        """
        user_settings = {name: python_number(value) for name, value in user_settings.items()}
        if isinstance(user_settings.get("arch_args"), tuple):
            user_settings["arch_args"] = dict(user_settings["arch_args"])
        user_settings = check_and_convert("settings", user_settings, cls)
        if "class_weights" in user_settings:
            weights = class_weights_text(user_settings["class_weights"])
            user_settings["class_weights"] = weights
        continued_run = find_continued_run(user_settings, cls, earlier_config)
        settings = {**base_settings(user_settings, continued_run), **user_settings}
        effective = effective_settings(settings)
        for name in user_settings.keys() - effective.keys():
            reject(name, user_settings[name], reason_ineffective(name, settings))
        # An override can make settings of the recipe ineffective. They get their defaults.
        settings = {**DEFAULTS, **effective}
        settings["arch_args"] = sorted_pairs(settings["arch_args"])
        code_fields = [
            field for field in USER_CODE_FIELDS if registry.is_user_code(settings[field])
        ]
        settings["sources"] = tuple(
            (field, user_reference.read_and_hash(field, settings[field])) for field in code_fields
        )
        settings["imports"] = ()  # user code is not loaded yet
        settings["base_batch_size"] = base_batch_size(settings)
        if continued_run is None:
            if settings["init"]:
                settings["init_sha256"] = init_digest(settings["init"], earlier_config)
            return cls(**settings)
        continued_run.require_epochs_and_learning_rate(user_settings, settings["epochs"])
        settings["continue_sha256"] = continued_run.sha256
        settings["continue_epochs"] = continued_run.epochs
        config = cls(**settings)
        continued_run.require_same_training(config)
        return config

    def __post_init__(self) -> None:
        for code_field in USER_CODE_FIELDS:
            registry.require_known_name(code_field, getattr(self, code_field))
        require_recipe(self.arch, self.recipe)
        has_checksum_of_images = self.data_sha256 is not None
        if not has_checksum_of_images:
            registry.require_known_name("dataset", self.dataset)
        require_in_range(self)
        if self.lr_scale != "none" and self.base_batch_size is None:
            reject("lr_scale", self.lr_scale, "needs base_batch_size; use Config.create")
        if self.epochs <= self.earlier_epochs:
            reject("epochs", self.epochs, f"must be above {self.earlier_epochs}")

    def to_dict(self) -> dict[str, Any]:
        """Return the config as a dict of JSON values, which `from_dict` can read.

        Settings that older versions did not have are left out if they are off.
        """
        all_values = dataclasses.asdict(self)
        json_values = {
            name: value for name, value in all_values.items() if not is_newer_and_off(name, value)
        }
        json_tables = {name: dict(json_values[name] or ()) for name in TABLE_FIELDS}
        return json.loads(json.dumps(json_values | json_tables))  # makes lists of tuples

    def to_json(self) -> str:
        """Return the config as JSON text, one field a line."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the config that `to_dict` has written, in this or an older version.

        Raises:
          ValueError: the content is not a config of this version.
        """
        try:
            return cls(**settings_from_file(content, cls))
        except (ValueError, TypeError, UsageError) as error:
            reason = without_advice(error)  # the advice is for settings that a user has written
            raise ValueError(f"is not a config of this version of jaxcifar: {reason}") from error

    def settings(self) -> dict[str, Any]:
        """Return setting -> value in one flat dict, to show and to compare configs.

        Each argument of the network, and each SHA-256 of user code, has an entry of its own. Paths
        of other runs and of user code lose their folders, because a SHA-256 identifies them.
        """
        return flat_settings(self)

    def differences(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """Return setting -> (value in this config, value in `other`) for settings that differ.

        Paths of other runs do not count, because SHA-256s identify these runs. If both configs have
        the SHA-256 of the same images, paths of images do not count either.
        """
        return differing_settings(self, other)

    def shared_part(self) -> "Config":
        """Return a copy without the values that runs of the same compiled program may differ in.

        Such a value gets a fixed value instead. Two runs with equal shared parts can use the same
        compiled program. The recipe's name is fixed too, because its settings are in the fields.
        """
        fixed_values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if is_array(field):
                fixed_values[field.name] = shared_value(field, getattr(self, field.name))
        same_recipe_for_all_runs = recipe_names(self.arch)[0]
        digests_of_other_fields = tuple(
            (field, digest) for field, digest in self.sources or () if field not in fixed_values
        )
        return dataclasses.replace(
            self,
            **fixed_values,
            recipe=same_recipe_for_all_runs,
            sources=digests_of_other_fields,
        )

    @property
    def earlier_epochs(self) -> int:
        """Number of epochs of the run that this run continues; 0 if it continues no run."""
        return self.continue_epochs or 0

    @property
    def alters_network(self) -> bool:
        """True if the network's arguments differ from the arguments in the recipe."""
        return self.arch_args != default_settings(self.arch, self.recipe)["arch_args"]

    @property
    def network_title(self) -> str:
        """The network's name in tables and plots, such as "CNN" or "Mixer (depth 4)"."""
        title = registry.entry("arch", self.arch).title
        if not self.alters_network:
            return title
        arguments = ", ".join(
            name if value is True else f"{name} {option_text(value)}"
            for name, value in self.arch_args
        )
        return f"{title} ({arguments or 'plain'})"

    def options(self) -> list[str]:
        """Return the command-line options that make this config, without `--seed`."""
        return run_options(self)

    def run_name(self) -> str:
        """Return a readable name for the run's folder, such as `cnn_cifar10_epochs5_seed0`."""
        return run_name(self)


ARCHS = tuple(registry.KINDS["arch"])
