"""Sentences and table cells, each computed from the runs: other runs, other sentences."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.config import Config
from jaxcifar.report.records import Network, StudyRecord, Variation
from jaxcifar.report.statistics import NOISE_LIMIT, Difference, Distance, Sample, epochs_to_share

ARCH_TITLES = {"cnn": "CNN", "resnet18": "ResNet-18"}
_FIELD_TITLES = {
    "normalize": "normalisation",
    "augment": "augmentation",
    "learning_rate": "learning rate",
    "schedule": "scheduler",
}


def percent(value: float) -> str:
    """0.8841 -> "88.41%"."""
    return f"{100 * value:.2f}%"


def points(value: float) -> str:
    """0.0123 -> "+1.23"."""
    return f"{100 * value:+.2f}"


def spread(sample: Sample) -> str:
    """Mean and standard deviation over seeds, "88.41 ± 0.21%"; without it for one seed."""
    if sample.deviation is None:
        return percent(sample.mean)
    return f"{100 * sample.mean:.2f} ± {100 * sample.deviation:.2f}%"


def accuracy(variation: Variation, key: str = "test_accuracy", split: str = "test") -> str:
    """`spread` of a number of `result.json`."""
    return spread(Sample.of(variation, key, split))


def reference(variation: Variation) -> str:
    """The reference figures of a row, "92.17 / 92.48%"."""
    figures = " / ".join(f"{100 * value:.2f}" for value in variation.reference)
    return f"{figures}%" if figures else "–"


def reference_difference(variation: Variation) -> str:
    """Ours minus the mean of the reference's, in points."""
    if not variation.reference:
        return "–"
    theirs = sum(variation.reference) / len(variation.reference)
    return points(Sample.of(variation, "test_accuracy").mean - theirs)


def field_title(field: str) -> str:
    """What a field of `Config` is called in a table."""
    return _FIELD_TITLES.get(field, field.replace("_", " "))


def field_value(value: Any) -> str:
    """What it says there."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        "–" if value in ("none", None) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def varied_fields(variations: Sequence[Variation]) -> list[str]:
    """The fields of `Config` in which variations differ, the seed aside."""
    configs = [dataclasses.asdict(v.config) for v in variations]
    fields = [*_FIELD_TITLES, *(name for name in configs[0] if name not in _FIELD_TITLES)]
    return [k for k in fields if k != "seed" and len({config[k] for config in configs}) > 1]


def seeds(variations: Sequence[Variation]) -> str:
    """How many seeds stand behind variations, "one seed", "3 seeds each" or "1 to 3 seeds each"."""
    least, most = (f(len(v.runs) for v in variations) for f in (min, max))
    count = (
        "one seed"
        if most == 1
        else f"{most} seeds"
        if least == most
        else f"{least} to {most} seeds"
    )
    return count if len(variations) == 1 else f"{count} each"


def deviations(difference: Difference) -> str:
    """How many standard deviations a difference is, and of which kind."""
    kind = "between seeds" if difference.by_seeds else "sampling"
    return f"{difference.in_deviations:.1f} σ {kind}"


def verdict(difference: Difference) -> str:
    """Whether a difference is more than chance."""
    if difference.is_noise:
        return "noise"
    return "better" if difference.value > 0 else "worse"


def choice(network: Network) -> str:
    """How the winner was found among the candidates, and by how much it won."""
    winner, *others = network.by_validation
    name = f"**{winner.name}**"
    if not others:
        return f"{name} is the only variation here, so there was nothing to choose between."
    second = others[0]
    difference = _between(second, winner, "val_accuracy", "val")
    sentence = (
        f"{name} won among {len(others) + 1} candidates ({seeds(network.variations)}) with "
        f"{accuracy(winner, 'val_accuracy', 'val')} validation accuracy, "
        f"{100 * difference.value:.2f} points ahead of {second.name}: "
        f"{difference.in_deviations:.1f} standard deviations "
    )
    if difference.by_seeds:
        sentence += "between seeds, pooled over the two."
    else:
        images = winner.runs[0].result["examples"]["val"]
        sentence += (
            f"of what {images:,} validation images leave open; with a single seed the spread "
            "between seeds is not known."
        )
    if difference.is_noise:
        sentence += f" Below {NOISE_LIMIT:g}, that is no more than chance."
    return sentence


def step_from(variation: Variation, before: Sequence[Variation]) -> str:
    """What a row changes against the row before that is closest to it, and what that gives."""
    if not before:
        return f"{variation.name} comes first: {accuracy(variation)} test accuracy."
    closest = min(before, key=lambda other: len(other.changes_to(variation)))
    what = ", ".join(
        f"{field_title(field)} {field_value(old)} → {field_value(new)}"
        for field, (old, new) in closest.changes_to(variation).items()
    )
    difference = _between(closest, variation, "test_accuracy", "test")
    outcome = f"{points(difference.value)} points of test accuracy ({deviations(difference)})"
    if difference.is_noise:
        outcome += ", which chance alone could give"
    leader = max([*before, variation], key=lambda v: v.values("val_accuracy").mean())
    lead = (
        "It now leads on validation."
        if leader is variation
        else f"On validation {leader.name} still leads."
    )
    return f"{closest.name} with {what}: {outcome}. {lead}"


def _between(first: Variation, second: Variation, key: str, split: str) -> Difference:
    return Difference.between(Sample.of(first, key, split), Sample.of(second, key, split))


def single_change(field: str, before: Any, after: Any, first: Variation, second: Variation) -> dict:
    """The cells of one line of the table of single changes."""
    difference = _between(first, second, "test_accuracy", "test")
    return {
        "change": f"{field_title(field)} {field_value(before)} → {field_value(after)}",
        "rows": f"{first.name} → {second.name}",
        "points": points(difference.value),
        "deviations": deviations(difference),
        "verdict": verdict(difference),
    }


def learning(variation: Variation) -> dict[str, Any]:
    """Overfitting gap and speed of learning of the mean curves."""
    train, val = (variation.curve(f"{split}_accuracy").mean(0) for split in ("train", "val"))
    return {
        "name": variation.name,
        "train": float(train[-1]),
        "val": float(val[-1]),
        "gap": float(train[-1] - val[-1]),
        "epochs": epochs_to_share(val, 0.9),
        "of": len(val),
    }


def learning_sentence(lines: Sequence[dict[str, Any]]) -> str:
    """Which rows overfit most and least, learn fastest and slowest."""
    widest, narrowest = (f(lines, key=lambda line: line["gap"]) for f in (max, min))
    fastest, slowest = (f(lines, key=lambda line: line["epochs"]) for f in (min, max))
    if len(lines) == 1:
        return f"The gap is {points(widest['gap'])} points."
    speed = (
        f"All reach 90% of their last validation accuracy in epoch {fastest['epochs']}."
        if fastest["epochs"] == slowest["epochs"]
        else f"{fastest['name']} is first to reach 90% of its last validation accuracy (epoch "
        f"{fastest['epochs']}), {slowest['name']} is last (epoch {slowest['epochs']})."
    )
    return (
        f"The gap is widest for {widest['name']} ({points(widest['gap'])} points) and smallest "
        f"for {narrowest['name']} ({points(narrowest['gap'])}). {speed}"
    )


def reference_sets(study: StudyRecord) -> list[tuple[str, Distance]]:
    """How far sets of rows are from the reference, by name, the nearest first.

    The rows of a set agree in the fields that the study's reference names as `sets`.
    """
    fields = study.study.reference.get("sets", [])
    sets: dict[str, list[Variation]] = {}
    for v in study.variations:
        if fields and v.reference:
            name = ", ".join(
                f"{field_title(f)} {field_value(getattr(v.config, f))}" for f in fields
            )
            sets.setdefault(name, []).append(v)
    distances = {
        name: Distance(
            tuple(Sample.of(v, "test_accuracy") for v in rows),
            tuple(float(np.mean(v.reference)) for v in rows),
        )
        for name, rows in sets.items()
    }
    return sorted(distances.items(), key=lambda item: item[1].value)


def nearest_set(sets: Sequence[tuple[str, Distance]]) -> str:
    """Which set comes nearest, and how sure that is."""
    (name, nearest), *others = sets
    sentence = f"{name} comes nearest, by the root mean square of its rows' differences"
    if not others:
        return f"{sentence}."
    second, distance = others[0]
    difference = distance.behind(nearest)
    sentence += (
        f", {points(difference.value)[1:]} points before {second}: {deviations(difference)}."
    )
    if difference.is_noise:
        sentence += f" Below {NOISE_LIMIT:g}, that is no more than chance."
    return sentence


def mismatches(study: StudyRecord) -> list[dict[str, Any]]:
    """Rows trained without normalisation whose reference figure is known."""
    return [
        {
            "name": v.name,
            "test": Sample.of(v, "test_accuracy").mean,
            "mismatched": Sample.of(v, "test_accuracy_mismatched").mean,
            "reference": sum(v.reference) / len(v.reference),
        }
        for v in study.variations
        if v.reference and not v.config.normalize
    ]


def mismatch_verdict(lines: Sequence[dict[str, Any]]) -> str:
    """Whether images normalised at the wrong moment explain the reference's low figures."""
    low = [line for line in lines if line["test"] - line["reference"] > 0.02]
    if not low:
        return "Here there is nothing to explain: our rows test no better than the reference's."
    shares = [(x["test"] - x["mismatched"]) / (x["test"] - x["reference"]) for x in low]
    told = "; ".join(
        f"{line['name']} changes by {points(line['mismatched'] - line['test'])} points, the "
        f"reference is {points(line['reference'] - line['test'])} away"
        for line in low
    )
    if all(2 / 3 <= share <= 1.5 for share in shares):
        verdict = "That explains them: each loses about what is missing"
    elif all(1 / 3 <= share <= 3 for share in shares):
        verdict = "That explains them in part: each loses accuracy, but another amount"
    else:
        verdict = "That does not explain all of them"
    return f"{verdict} ({told})."


def setting_note(study: StudyRecord) -> str:
    """What to keep in mind when comparing with the reference; "" if the settings agree."""
    config, theirs = study.variations[0].config, study.study.reference
    ours = {"arch": config.arch, "dataset": config.dataset, "epochs": config.epochs}
    differing = [key for key in ours if key in theirs and theirs[key] != ours[key]]
    if not differing:
        return ""
    what = ", ".join(f"{key} {theirs[key]} there, {ours[key]} here" for key in differing)
    return f"The reference was measured in another setting ({what}): compare directions, not sizes."


def command(config: Config) -> str:
    """The command that trains one config."""
    options = [f"--arch {config.arch}"]
    for field, (value, _) in config.differences(Config.create(config.arch)).items():
        flag = field.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            options.append(f"--{flag} {value}")
    return "python -m experiments.run " + " ".join(options)
