"""The settings of a config in one flat dict, to show and to compare configs."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from jaxcifar.config.fields import NAMES_OF_RUNS, Fields


def flat_settings(config: Fields) -> dict[str, Any]:
    """Return setting -> value for all settings of a config, with no dicts inside.

    Each argument of the network, and each SHA-256 of user code, has an entry of its own. Paths of
    other runs and of user code lose their folders, because a SHA-256 identifies them.
    """
    values = dataclasses.asdict(config)
    network_arguments = dict(values.pop("arch_args"))
    code_digests = dict(values.pop("sources") or ())
    import_digests = dict(values.pop("imports") or ())
    for field in NAMES_OF_RUNS:
        values[field] = Path(values[field]).name
    for field in code_digests:
        values[field] = without_folder(values[field])
    network_settings = {}
    for argument, value in network_arguments.items():
        is_also_field_of_config = argument in values
        name = f"network's {argument}" if is_also_field_of_config else argument
        network_settings[name] = value
    digests = {}
    for field, digest in code_digests.items():
        digests[f"SHA-256 of {values[field]}"] = digest
    for field_and_file, digest in import_digests.items():
        field, _, file = field_and_file.partition(": ")
        digests[f"SHA-256 of {file}, imported by {values[field]}"] = digest
    return values | network_settings | digests


def differing_settings(config: Fields, other: Fields) -> dict[str, tuple[Any, Any]]:
    """Return setting -> (value in `config`, value in `other`) for settings that differ.

    Paths of other runs do not count, because SHA-256s identify these runs. If both configs have the
    SHA-256 of the same images, paths of images do not count either.
    """
    settings, other_settings = flat_settings(config), flat_settings(other)
    ignored_names = set(NAMES_OF_RUNS)
    has_same_images = config.data_sha256 is not None and config.data_sha256 == other.data_sha256
    if has_same_images:
        ignored_names.add("dataset")
    differences = {}
    for name in settings | other_settings:
        value, other_value = settings.get(name), other_settings.get(name)
        if value != other_value and name not in ignored_names:
            differences[name] = (value, other_value)
    return differences


def without_folder(user_code: str) -> str:
    """Return "net.py:Net" for "folder/net.py:Net"."""
    return re.sub(r".*[/\\]", "", user_code)
