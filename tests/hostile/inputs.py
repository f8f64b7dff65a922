"""Strategies: values, structures, bytes and what can happen to a file."""

import dataclasses
import json
import os
import shutil

from hypothesis import strategies as st

ODD_WORDS = [
    *("", " ", "-", "--", "-1", "0", "1", "2", "1.5", "nan", "inf", "-inf", "1e999", "1e-999"),
    *("9" * 30, "9" * 5000, "a" * 300, "0x10", "1_000", "٣", "None", "true", ":", "a:b", "x.py:Y"),
    *(".", "..", "~", "~nobody", "/dev/null", "=", "a=b", "\x1b[31mred", "\r\n", "\udcff", "%s{}"),
    *("![x](../secret.txt)", "<script>", "1/2", "cnn", "resnet18", "adam", "cosine", "\u202e"),
]
words = st.sampled_from(ODD_WORDS) | st.text(st.characters(exclude_characters="\0"), max_size=20)
texts = words | st.text(max_size=20)
numbers = (
    st.integers(-3, 12)
    | st.sampled_from([2**31, 2**32, 2**63, -(2**63) - 1, 10**25, 10**400, -0.0, 1e308])
    | st.floats()
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
raw_json = st.sampled_from(
    ["", "{", "[]", "null", "7", "[" * 10**5, '{"a":' * 10**5, "1" * 10**5, '{"rows": 1e400}', "\0"]
)


@dataclasses.dataclass(frozen=True)
class Change:
    """What becomes of a structure: a way down into it, and what happens there."""

    way: tuple[int, ...]
    what: str
    value: object

    def of(self, structure):
        """The structure, changed; the same for the same change."""
        if not isinstance(structure, dict | list) or not structure or not self.way:
            return self.value
        names = list(structure) if isinstance(structure, dict) else list(range(len(structure)))
        name = names[self.way[0] % len(names)]
        changed = structure.copy()
        if len(self.way) > 1:
            changed[name] = Change(self.way[1:], self.what, self.value).of(structure[name])
        elif self.what == "delete":
            del changed[name]
        elif self.what == "add" and isinstance(structure, dict):
            changed[str(self.value)] = structure[name]
        else:
            changed[name] = self.value
        return changed


changes = st.lists(
    st.builds(
        Change,
        st.lists(st.integers(0, 30), max_size=4).map(tuple),
        st.sampled_from(["replace", "replace", "delete", "add"]),
        values,
    ),
    min_size=1,
    max_size=2,
)


def changed(structure, those):
    for change in those:
        structure = change.of(structure)
    return structure


def to_toml(structure):
    """A structure as TOML, as far as TOML has it."""
    if not isinstance(structure, dict):
        return _inline(structure)
    return "".join(f"{json.dumps(str(k))} = {_inline(v)}\n" for k, v in structure.items())


def _inline(value):
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(str(k))} = {_inline(v)}" for k, v in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, float):
        return repr(value)
    return "null" if value is None else json.dumps(value)


@dataclasses.dataclass(frozen=True)
class Damage:
    """What happens to a file or folder; `place` and `other` are parts of a whole."""

    what: str
    place: float
    other: float
    content: bytes

    def to(self, content):
        """Bytes, damaged."""
        at, to = (int(part * len(content)) for part in sorted((self.place, self.other)))
        if self.what == "cut":
            return content[:at]
        if self.what == "flip":
            return content[:at] + bytes([(content + b"\0")[at] ^ 1 << to % 8]) + content[at + 1 :]
        if self.what == "splice":
            return content[:at] + self.content + content[to:]
        if self.what == "swap":
            return content[to:] + content[at:to] + content[:at]
        return self.content

    def to_file(self, path, outside):
        """A file or folder, damaged; links lead to `outside`."""
        targets = [outside / "secret.txt", outside, outside / "nowhere", path, path.parent]
        if self.what not in ("delete", "folder", "link", "pipe"):
            if path.is_file():
                path.write_bytes(self.to(path.read_bytes()))
            return
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self.what == "folder":
            path.mkdir()
            (path / "mine.txt").write_text("mine")
        elif self.what == "link":
            path.symlink_to(targets[int(self.place * len(targets)) % len(targets)])
        elif self.what == "pipe":
            os.mkfifo(path)


parts = st.floats(0, 1, exclude_max=True)
byte_damages = st.builds(
    Damage,
    st.sampled_from(["cut", "flip", "splice", "swap", "replace"]),
    parts,
    parts,
    st.binary(max_size=40),
)
damages = byte_damages | st.builds(
    Damage, st.sampled_from(["delete", "folder", "link", "pipe"]), parts, parts, st.just(b"")
)
