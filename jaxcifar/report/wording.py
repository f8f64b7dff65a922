"""How figures, settings and names are written in sentences and table cells."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jaxcifar.config.settings import in_words
from jaxcifar.errors import printable
from jaxcifar.report.run_records import Variation
from jaxcifar.report.statistics import Difference, Sample

_FIELD_TITLES = {
    "arch": "network",
    "normalize": "normalisation",
    "augment": "augmentation",
    "learning_rate": "learning rate",
    "schedule": "schedule",
}
# Special in CommonMark, in a table, or where a site turns bare addresses into links.
_MARKUP = re.compile(
    r"([\\`*\[\]<>|$&#~]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|^[-+=])", re.IGNORECASE
)
_NUMBERED = re.compile(r"^(\d+)([.)])(?= |$)")  # an item of a list
_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b")
_LISTED = 6  # names in a sentence
_SETTINGS = 4  # of a row in a sentence
_LONGEST = 500  # of a text from outside


def plain(text: str) -> str:
    """What a user or a file named, for Markdown: a line whose characters stand for themselves."""
    return escaped(printable(" ".join(text.split()), _LONGEST))


def escaped(line: str) -> str:
    """A printable line for Markdown, in which its characters stand for themselves."""
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", line))


def quoted(name: str) -> str:
    """A name in a sentence: many are words, such as “both”."""
    return f"“{plain(name)}”"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: "a, b and c", and of very many the first."""
    names = list(names)
    if len(names) > _LISTED:
        names = [*names[: _LISTED - 1], f"{len(names) - _LISTED + 1} others"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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


def with_flips(variation: Variation) -> str:
    """The accuracy by an image's both sides, which runs of old versions have not."""
    key = "test_accuracy_flip"
    return accuracy(variation, key) if all(key in run.result for run in variation.runs) else "–"


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
    """What a setting is called in a table."""
    return _FIELD_TITLES.get(field, plain(field.replace("_", " ")))


def field_value(value: Any) -> str:
    """What it says there."""
    return plain(_DIGEST.sub(r"\1…", in_words(value)))


def changes(differing: dict[str, tuple[Any, Any]]) -> str:
    """Settings and how they change, "learning rate 0.01 → 0.1, schedule none → step"."""
    return ", ".join(
        f"{field_title(field)} {_set(before)} → {_set(after)}"
        for field, (before, after) in differing.items()
    )


def changes_in_words(differing: dict[str, tuple[Any, Any]]) -> str:
    """The same in a sentence, "schedule from none to step and learning rate from 0.01 to 0.1"."""
    return listed(
        f"{field_title(field)} from {_set(before)} to {_set(after)}"
        for field, (before, after) in differing.items()
    )


def _set(value: Any) -> str:
    return "not set" if value is None else field_value(value)


def differing(changes: dict[str, tuple[Any, Any]]) -> str:
    """What other settings are, "learning rate 0.1, schedule step"."""
    return ", ".join(f"{field_title(name)} {_set(there)}" for name, (_, there) in changes.items())


def settings_among(variation: Variation, variations: Sequence[Variation]) -> str:
    """What few rows have but this one, "learning rate 0.1"; of a row like most, what it has."""

    def value(name: str, row: Variation) -> str:
        return _set(row.settings.get(name))

    def is_usual(name: str) -> bool:
        values = Counter(value(name, row) for row in variations)
        return value(name, variation) == values.most_common(1)[0][0]

    fields = [name for name in varied_fields(variations) if name != "epochs"]
    unusual = [name for name in fields if not is_usual(name)]
    shown = (unusual or fields)[:_SETTINGS]
    return ", ".join(f"{field_title(name)} {value(name, variation)}" for name in shown)


def varied_fields(variations: Sequence[Variation]) -> list[str]:
    """The settings in which variations differ, the seed aside."""
    names = dict.fromkeys([*_FIELD_TITLES, *(name for v in variations for name in v.settings)])
    varied = {name for v in variations for name in variations[0].changes_to(v)}
    return [name for name in names if name in varied]


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


def p_value(difference: Difference) -> str:
    """As in "p = 0.031"; rounded down, so that what is below 0.05 is also written so."""
    thousandths = math.floor(1000 * difference.p_value)
    return f"p = {thousandths / 1000:.3f}" if thousandths else "p < 0.001"


def interval(difference: Difference) -> str:
    """The 95% confidence interval in points, "-0.21 to +1.43"."""
    low, high = difference.interval
    return f"{points(low)} to {points(high)}"


def basis(difference: Difference) -> str:
    """What a difference is judged by."""
    return "seeds" if difference.by_seeds else "images"


def bare_p(difference: Difference) -> str:
    """`p_value` for a column of that name."""
    return p_value(difference).removeprefix("p ").removeprefix("= ")


def significance(difference: Difference) -> str:
    """How sure a difference is, and by what."""
    return f"95% interval {interval(difference)}, {p_value(difference)}, by {basis(difference)}"


def size(difference: Difference) -> str:
    """How large it is in points, without its sign; a small one is not written as none."""
    written = f"{100 * abs(difference.value):.2f}"
    return "less than 0.01" if written == "0.00" and not difference.is_tie else written


def verdict(difference: Difference) -> str:
    """What a difference says of the second of two."""
    if difference.is_tie:
        return "a tie"
    if not difference.can_be_told:
        return "can't be told apart"
    return "better" if difference.value > 0 else "worse"
