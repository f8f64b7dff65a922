"""The file of results: a line a trial, so that a killed run loses nothing that was done."""

import json
import os
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

    def keep_only(self, keys):
        """Delete the rows of all other keys, in the file too."""
        self._rows = {key: row for key, row in self._rows.items() if key in keys}
        rows = sorted(self._rows.values(), key=lambda row: row["name"])
        self._path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def add(self, key, **values):
        """Keep a row, on the disk too."""
        row = {"key": key, **values}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            if file.tell() and not self._ends_with_newline():  # a killed writer left a line open
                file.write("\n")
            file.write(f"{json.dumps(row)}\n")
        self._rows[key] = row
        return row

    def _ends_with_newline(self):
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
