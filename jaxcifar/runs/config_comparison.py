"""Compare the config of a run with another: the user's images may have moved."""

from collections.abc import Mapping
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS
from jaxcifar.config.settings import short_text
from jaxcifar.machine.paths import is_same_path


def differences_before_images_are_loaded(
    earlier_config: Config, config: Config, is_finished: bool
) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ between two configs; images need not be loaded yet.

    While the SHA-256 of the images is unknown, it counts as equal. The path of the user's images
    must then be equal only if the run is finished; an unfinished run compares the SHA-256 later.

    Args:
      earlier_config: config of a run that was begun; it has the SHA-256 of its images.
      config: config of this command, perhaps without the SHA-256 of its images.
      is_finished: True if the run is finished.

    Returns:
      the pair (value in the earlier config, value in `config`) by setting name.
    """
    differences = earlier_config.differences(config)
    images_are_loaded = config.data_sha256 is not None
    if images_are_loaded:
        return differences
    differences.pop("data_sha256", None)  # not known yet
    if _are_images_of_user(earlier_config, config):
        start_will_compare_images = not is_finished
        if start_will_compare_images or is_same_path(earlier_config.dataset, config.dataset):
            differences.pop("dataset", None)
    return differences


def may_have_moved_images(earlier_config: Config, config: Config) -> bool:
    """Return True if two configs name images of the user, at two different paths.

    The images may be the same; `earlier_config` has their SHA-256 for the comparison.
    """
    if not _are_images_of_user(earlier_config, config):
        return False
    return not is_same_path(earlier_config.dataset, config.dataset)


def _are_images_of_user(earlier_config: Config, config: Config) -> bool:
    is_built_in = config.dataset in KINDS["dataset"]
    return earlier_config.data_sha256 is not None and not is_built_in


def describe_config_differences(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """Return text that lists settings that differ, such as "seed 0 there, 7 asked for".

    `differences` has the pair (value in the folder's config, requested value) by setting name.
    """
    texts = []
    for name, (earlier_value, requested_value) in differences.items():
        earlier_text, requested_text = short_text(earlier_value), short_text(requested_value)
        texts.append(f"{name} {earlier_text} there, {requested_text} asked for")
    return ", ".join(texts)
