"""Group finished runs into variations, which differ only in seed or fold, and into networks."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.config.flat_settings import without_folder
from jaxcifar.config.folds import run_folder_name
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.study_records import StudiedNetwork


def settings_that_repeats_share(config: Config) -> dict[str, Any]:
    """Return a run's settings, changed so that runs which differ only in seed have equal settings.

    The seed is set to 0. These settings change too, because they may depend on the seed or on the
    folder in which a run was started:

    - A run may continue a run of another row of its study, with the same seed. Then `continue_from`
      is the folder of that row, such as `ROW` for `ROW/seed3`. The epoch and the checksum of the
      continued run are left out.
    - User code is named without its folder.
    - The path of images or initial weights is left out if the config has their SHA-256.
    """
    seedless_config = dataclasses.replace(
        config,
        seed=0,
        continue_from=continued_row_or_run(config),
        continue_sha256=None,
        continue_epochs=None,
    )
    settings = seedless_config.to_dict()
    for setting_with_user_code, _sha256 in config.sources or ():
        settings[setting_with_user_code] = without_folder(settings[setting_with_user_code])
    images_are_identified_by_sha256 = config.data_sha256 is not None
    if images_are_identified_by_sha256:
        settings["dataset"] = ""
    initial_weights_are_identified_by_sha256 = config.init_sha256 is not None
    if initial_weights_are_identified_by_sha256:
        settings["init"] = ""
    return settings


def continued_row_or_run(config: Config) -> str:
    """Return the row's path, such as `ROW`, if a run of seed 3 continues the run `ROW/seed3`.

    For any other continued run, return the path of that run. Return "" if the run continues none.
    """
    if not config.continue_from:
        return ""
    path = Path(config.continue_from)
    is_run_of_row = path.name == run_folder_name(config.seed, config.fold)
    return str(path.parent if is_run_of_row else path)


def group_runs(runs: Iterable[FinishedRun]) -> list[tuple[FinishedRun, ...]]:
    """Group runs that differ only in seed or fold.

    Runs with different numbers of folds are in different groups. Each run with converted weights
    forms its own group. The runs of a group are in the order of their seeds, and of the folds of
    each seed.
    """
    groups: dict[Any, list[FinishedRun]] = {}
    for run in runs:
        fold_count = run.fold.total if run.fold else 0
        settings = json.dumps({**settings_that_repeats_share(run.config), "fold": fold_count})
        path_of_converted_run = run.path if run.converted else None
        group_key = settings, run.data.identity, path_of_converted_run
        groups.setdefault(group_key, []).append(run)

    def seed_and_fold(run: FinishedRun) -> tuple[Any, ...]:
        return run.config.seed, run.fold or ()

    return [tuple(sorted(group, key=seed_and_fold)) for group in groups.values()]


def with_unique_names(variations: Iterable[Variation]) -> list[Variation]:
    """Return the variations with " (2)", " (3)" and so on appended to repeated names."""
    renamed: list[Variation] = []
    for variation in variations:
        name = variation.name
        names_without_numbers = [other.name.partition(" (")[0] for other in renamed]
        earlier_uses = names_without_numbers.count(name)
        if earlier_uses:
            variation = dataclasses.replace(variation, name=f"{name} ({earlier_uses + 1})")
        renamed.append(variation)
    return renamed


def group_into_networks(variations: Iterable[Variation]) -> list[StudiedNetwork]:
    """Group variations by architecture and data set, and return a network for each group.

    Data sets are compared by content, not by name. A user's network is compared by the content of
    its file if the folders differ. Each run with converted weights forms its own network, because
    its training is unknown.
    """
    groups: dict[Any, list[Variation]] = {}
    for variation in variations:
        groups.setdefault(_network_key(variation), []).append(variation)
    sorted_groups = sorted(groups.values(), key=_network_sort_key)
    titles = [_network_title(group) for group in sorted_groups]
    networks = []
    for title, group in zip(titles, sorted_groups, strict=True):
        if titles.count(title) > 1:  # different data sets with the same name
            digests = "/".join(digest[:8] for _, digest in group[0].data.fingerprints)
            title = f"{title}, SHA-256 {digests or 'unknown'}"
        networks.append(StudiedNetwork(title, tuple(group)))
    return networks


def _network_key(variation: Variation) -> tuple[Any, ...]:
    """Return a key that is equal for variations of the same network (see `group_into_networks`)."""
    arch = variation.config.arch
    sha256_of_code = dict(variation.config.sources or ()).get("arch")
    if sha256_of_code is not None:  # the user's network, perhaps copied to another folder
        arch = without_folder(arch)
    first_run = variation.runs[0]
    path_of_converted_run = first_run.path if first_run.converted else None
    return arch, sha256_of_code, variation.data.identity, path_of_converted_run


def _network_sort_key(group: list[Variation]) -> tuple[str, str, bool]:
    """Return a key to sort networks by: architecture, data set, and converted weights last."""
    variation = group[0]
    is_converted = variation.runs[0].converted is not None
    return variation.config.arch, variation.data.title, is_converted


def _network_title(group: list[Variation]) -> str:
    """Return the title of variations of one network, such as "ResNet-18 on CIFAR-10".

    Arguments of the network are part of the title if all variations have the same.
    """
    first_variation = group[0]
    network_titles = {variation.config.network_title for variation in group}
    network_title = first_variation.config.network_title
    has_different_arguments = len(network_titles) > 1
    if has_different_arguments:
        network_title, _, _ = network_title.partition(" (")  # without the arguments
    title = f"{network_title} on {first_variation.data.title}"
    if first_variation.runs[0].converted:
        return f"{title}, converted from {first_variation.name}"
    return title
