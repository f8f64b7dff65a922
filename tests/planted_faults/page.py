"""The last result as Markdown, in docs/testing.md."""

import collections
from pathlib import Path

from planted_faults.trials import NOTICED, SURVIVED, UNTRIED

PAGE = Path("docs", "testing.md")
BEGIN = "<!-- The lines up to the next comment are written by `make faults ARGS=--write-docs`. -->"
END = "<!-- End of the written lines. -->"
_COLUMNS = (NOTICED, SURVIVED, UNTRIED)


def as_markdown(faults, rows):
    """Return the table of results.

    Args:
      faults: all faults.
      rows: the name of a fault -> its row in the file of results. Faults without a row are left
        out.
    """
    tried = [fault for fault in faults if fault.name in rows]
    rooms = collections.defaultdict(collections.Counter)
    for fault in tried:
        rooms[fault.room][rows[fault.name]["verdict"]] += 1
    newest = max((rows[fault.name] for fault in tried), key=lambda row: row["date"])
    commits = {rows[fault.name]["commit"] for fault in tried}
    older = (
        ""
        if len(commits) == 1
        else (" Some were tried at earlier commits; they and their tests have not changed since.")
    )
    lines = [
        f"{newest['date'][:10]}, commit {newest['commit']}, {newest['machine']}.{older}",
        "",
        f"| room | faults | {' | '.join(_COLUMNS)} |",
        "| --- | --: | --: | --: | --: |",
    ]
    for room, counts in [
        *sorted(rooms.items()),
        ("all", sum(rooms.values(), collections.Counter())),
    ]:
        name = room if room == "all" else f"`{room}`"
        numbers = " | ".join(str(counts[column]) for column in _COLUMNS)
        lines.append(f"| {name} | {counts.total()} | {numbers} |")
    for verdict in (SURVIVED, UNTRIED):
        found = [fault for fault in tried if rows[fault.name]["verdict"] == verdict]
        lines += (
            ["", f"Faults that {'survived' if verdict == SURVIVED else 'could not be tried'}:", ""]
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
