"""Tables of the settings of all runs: the settings that all rows share, and those that differ."""

from collections.abc import Sequence
from typing import Any

from jaxcifar.config.fields import is_newer_and_off
from jaxcifar.report.run_records import Variation
from jaxcifar.report.wording import escape_markdown, field_title, value_text, varied_fields

_EMPTY_VALUES = (None, "", ())


def settings_tables(variations: Sequence[Variation]) -> dict[str, Any]:
    """Return the tables of the settings of all variations, without settings that have no effect.

    Returns:
      a dict with these keys:
        "shared": (title, value) pairs of the settings that are the same in all variations.
        "fields": the titles of the other settings.
        "lines": for each variation its "name", its "seeds", and "values" of the other settings.
    """
    if not variations:
        return {"shared": [], "fields": [], "lines": []}
    varied_names = varied_fields(variations)
    shared = []
    for name, value in variations[0].settings.items():
        is_unused = value in _EMPTY_VALUES or is_newer_and_off(name, value)
        if name not in varied_names and not is_unused:
            shared.append((field_title(name), value_text(value)))
    lines = []
    for variation in variations:
        seeds = dict.fromkeys(str(run.config.seed) for run in variation.runs)
        line = {
            "name": escape_markdown(variation.name),
            "seeds": ", ".join(seeds),
            "values": [value_text(variation.settings.get(name)) for name in varied_names],
        }
        lines.append(line)
    titles = [field_title(name) for name in varied_names]
    return {"shared": shared, "fields": titles, "lines": lines}
