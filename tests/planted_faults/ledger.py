"""The file of results: a line a trial, so that a killed run loses nothing that was done."""

import json
from pathlib import Path


class Ledger:
    """Results by key, kept in a file of JSON lines; the last line of a key counts."""

    def __init__(self, path):
        self._path = Path(path)
        self._rows = {}
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # the writer was killed within this line
                continue
            self._rows[row["key"]] = row

    def get(self, key):
        """Return the row of a key, or None."""
        return self._rows.get(key)

    def add(self, key, **values):
        """Keep a row, on the disk too."""
        row = {"key": key, **values}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            # A line end first: it closes a line that a killed writer left open.
            file.write(f"\n{json.dumps(row)}\n")
        self._rows[key] = row
        return row
