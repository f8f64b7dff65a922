"""Read the settings in the file of a config, also one that an older version wrote."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxcifar.config.code_in_run import require_no_user_code_in_run_folder
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.recipes import base_batch_size
from jaxcifar.config.setting_types import check_and_convert, with_current_names
from jaxcifar.config.settings import (
    TABLE_FIELDS,
    USER_CODE_FIELDS,
    default_settings,
    effective_settings,
)
from jaxcifar.config.table_pairs import sorted_pairs
from jaxcifar.errors import RunError
from jaxcifar.machine.reading import MEGABYTE, Remedy, read_json, report_errors

_MAX_BYTES = MEGABYTE


def read_config(path: Path, config_class: Any, remedy: Remedy, follow_links: bool = False) -> Any:
    """Return the `Config` in the file `config.json` of a run.

    Args:
      path: the file.
      config_class: the class `Config`.
      remedy: the advice and type of the error if the file can't be read.
      follow_links: follow a symbolic link at `path`.

    Raises:
      RunError: the file can't be read, or is not a config of this version. A `UsageError` is raised
        instead if `remedy` says so.
    """
    content = read_json(path, dict[str, Any], remedy, _MAX_BYTES, follow_links)
    with report_errors(path, remedy):
        return config_class.from_dict(content)


def config_of_begun_run(run_folder: Path, config_class: Any) -> Any:
    """Return the `Config` of the run that was begun in a folder.

    Return None if no run was begun there, or if its config can't be read. `RunFolder` reports a
    config that can't be read before anything is trained.

    Raises:
      UsageError: the config names user code in the folder, which may be a stranger's.
    """
    try:
        config = read_config(run_folder / "config.json", config_class, Remedy(""))
    except RunError:
        return None
    require_no_user_code_in_run_folder(run_folder, config)
    return config


def settings_from_file(content: Mapping[str, Any], config_class: type) -> dict[str, Any]:
    """Return field -> value for all fields of a `Config`, from the content of `config.json`.

    Older versions wrote fewer fields, and other names for some. A missing field had no effect in
    that version, so its default is used. Fields that have no effect are ignored.

    Args:
      content: the parsed content of the file.
      config_class: the class `Config`.

    Raises:
      ValueError, UsageError: the content is not a config of this version.
    """
    _require_text_in_code_fields(content)
    settings_with_effect = effective_settings(with_current_names(content))
    checked_settings = check_and_convert("config", settings_with_effect, config_class)
    values_of_missing_fields = default_settings(content["arch"])
    no_network_arguments = ()  # a file without arguments means none, and not the recipe's
    values_of_missing_fields["arch_args"] = no_network_arguments
    all_settings = {**values_of_missing_fields, **checked_settings}
    settings = {**DEFAULTS, **effective_settings(all_settings)}
    if "base_batch_size" not in settings:  # older versions did not write it
        settings["base_batch_size"] = base_batch_size(settings)
    for name in TABLE_FIELDS:
        settings[name] = sorted_pairs(settings.get(name) or {})
    _require_known_digests("sources", settings["sources"])
    _require_known_digests("imports", settings["imports"])
    return settings


def _require_text_in_code_fields(content: Mapping[str, Any]) -> None:
    """Raise a ValueError if a field that can name user code is not text; `arch` is required."""
    for code_field in USER_CODE_FIELDS:
        value_if_missing = None if code_field == "arch" else ""
        name = content.get(code_field, value_if_missing)
        if not isinstance(name, str):
            raise ValueError(
                f"the field {code_field} must be text, but is missing or of another type"
            )


def _require_known_digests(table: str, digests: Iterable[tuple[str, Any]]) -> None:
    """Check the table `sources` or `imports` of a config, which has digests of user code.

    Raises:
      ValueError: a name does not begin with a field that can name user code, or a digest is not
        text.
    """
    for code, digest in digests:
        code_field = code.partition(": ")[0]
        if code_field not in USER_CODE_FIELDS:
            known_fields = ", ".join(USER_CODE_FIELDS)
            raise ValueError(f"{table}: {code_field} must be one of {known_fields}")
        if not isinstance(digest, str):
            raise ValueError(f"{table}: the digest of {code} must be text")
