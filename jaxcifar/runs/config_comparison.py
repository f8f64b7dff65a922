"""Compare the config of a run with another: the user's images may have moved."""

from collections.abc import Mapping
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS
from jaxcifar.config.settings import short_text
from jaxcifar.machine.paths import is_same_path


def may_have_same_images(earlier_config: Config, config: Config, is_finished: bool) -> bool:
    """Return True if a user's images may be the same in two configs with different paths.

    Args:
      earlier_config: config of a run that was begun; it has the SHA-256 of its images.
      config: config whose images are not loaded yet, so their SHA-256 is not known.
      is_finished: True if the run is finished. Then its images are not loaded, so both paths must
        lead to the same place. Otherwise the images are compared when the run starts.
    """
    if earlier_config.data_sha256 is None or config.dataset in KINDS["dataset"]:
        return False
    if not is_finished:
        return True
    return is_same_path(earlier_config.dataset, config.dataset)


def describe_config_differences(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """Return text that lists settings that differ, such as "seed 0 there, 7 asked for".

    `differences` has the pair (value in the folder's config, requested value) by setting name.
    """
    texts = []
    for name, (earlier_value, requested_value) in differences.items():
        earlier_text, requested_text = short_text(earlier_value), short_text(requested_value)
        texts.append(f"{name} {earlier_text} there, {requested_text} asked for")
    return ", ".join(texts)
