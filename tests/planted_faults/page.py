"""The last result as Markdown, in docs/testing.md."""

import collections
from pathlib import Path

from planted_faults.trials import INVALID, NOTICED, SURVIVED

PAGE = Path("docs", "testing.md")
BEGIN = "<!-- The lines up to the next comment are written by `make faults ARGS=--write-docs`. -->"
END = "<!-- End of the written lines. -->"
_COLUMNS = (NOTICED, SURVIVED, INVALID)


def as_markdown(faults, rows):
    """Return the table of results.

    Args:
      faults: all faults.
      rows: the name of a fault -> its row in the file of results. Faults without a row are left
        out.
    """
    tried = [fault for fault in faults if fault.name in rows]
    packages = collections.defaultdict(collections.Counter)
    for fault in tried:
        packages[fault.package][rows[fault.name]["verdict"]] += 1
    newest = max((rows[fault.name] for fault in tried), key=lambda row: row["date"])
    commits = {rows[fault.name]["commit"] for fault in tried}
    older = (
        ""
        if len(commits) == 1
        else " Some were tried at earlier commits; they and their tests have not changed since."
    )
    count = len(faults) - len(tried)
    untried = f" {count} of {len(faults)} faults have not been tried since their files changed."
    lines = [
        f"{newest['date'][:10]}, commit {newest['commit']}, {newest['machine']}.{older}"
        f"{untried if count else ''}",
        "",
        f"| package | faults | {' | '.join(_COLUMNS)} |",
        "| --- | --: | --: | --: | --: |",
    ]
    for package, counts in [
        *sorted(packages.items()),
        ("all", sum(packages.values(), collections.Counter())),
    ]:
        name = package if package == "all" else f"`{package}`"
        numbers = " | ".join(str(counts[column]) for column in _COLUMNS)
        lines.append(f"| {name} | {counts.total()} | {numbers} |")
    for verdict in (SURVIVED, INVALID):
        found = [fault for fault in tried if rows[fault.name]["verdict"] == verdict]
        lines += (
            ["", "Faults that survived:" if verdict == SURVIVED else "Invalid faults:", ""]
            if found
            else []
        )
        for fault in found:
            remark = rows[fault.name]["remark"]
            lines.append(f"- {fault.name}: {fault.effect}{f' ({remark})' if remark else ''}")
    return "\n".join(lines)


def write(root, table):
    """Put the table in the place that is marked in docs/testing.md."""
    path = root / PAGE
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")
