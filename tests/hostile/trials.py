"""Trials: what is generated, what is done with it, and what is wrong with how that ended."""

import bz2
import dataclasses
import gzip
import json
import lzma
import shutil
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hostile import inputs
from hostile.inputs import changes, damages, parts, raw_json, texts
from hostile.options import option_cases, try_options
from hostile.workshop import STUDY, lost, state, written_anyway

BASES = ("run", "tested", "half", "study")
_TAKES = {"config.json", "result.json", "metrics.jsonl", "network.json", "study.json", "metadata"}
_TAKES |= {"evaluation.json", "test_looks.jsonl"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """A kind of input.

    Attributes:
      cases: strategy.
      attempt: called with a workshop and a case; says what is wrong.
      examples: tried in the suite.
    """

    cases: st.SearchStrategy
    attempt: Callable[[Any, Any], list[str]]
    examples: int


def chosen(places, part):
    return places[int(part * len(places))]


def try_damage(workshop, case):
    """Damage to any file or folder of a run's or a study's folder, then a command."""
    base, part, damage, command = case
    with workshop.copy(base) as folder:
        places = sorted((folder / "out").rglob("*"))
        folders = [path for path in places if path.is_dir() or "checkpoints" not in path.parts]
        path = chosen(places + 2 * folders, part)
        damage.to_file(path, folder / "outside")
        return after_damage(workshop, folder, base, path, command)


def try_structure(workshop, case):
    """Another structure in one of the JSON files of a run or a study, then a command."""
    base, part, those, raw, command = case
    with workshop.copy(base) as folder:
        files = sorted(path for path in (folder / "out").rglob("*") if path.name in _TAKES)
        path = chosen(files, part)
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        lines[-1] = json.dumps(inputs.changed(json.loads(lines[-1]), those)) if raw is None else raw
        path.write_text("\n".join(lines) + "\n")
        return after_damage(workshop, folder, base, path, command)


def after_damage(workshop, folder, base, damaged, command):
    """Run a command where something was damaged, and see what became of the rest."""
    if command == "ablation" and base != "study":
        command = "run"
    name = "run" if command == "overwrite" else command
    arguments = workshop.command(name, folder, base)
    arguments += ["--overwrite"] * (command == "overwrite")
    place = damaged.relative_to(folder).as_posix()
    before = state(folder)
    answer = workshop.worker.run(name, *arguments, folder=folder)
    unfinished = base in ("tested", "half") or "result.json" in place
    trains = command == "overwrite" or (
        name not in ("report", "evaluate", "predict") and unfinished
    )

    def may_change(other):
        of_damaged = other == place or other.startswith(f"{place}/") or place.startswith(other)
        of_trained = (
            "slow/seed0" in other
            if command == "overwrite" and base == "study"
            else (other.startswith(run_of(place)) and not other.startswith("outside"))
        )
        return of_damaged or (trains and of_trained) or written_anyway(other)

    wrong = answer.complaints() + lost(before, state(folder), may_change)
    as_it_was = damaged.name not in ("result.json", "metrics.jsonl")
    if answer.code == 0 and name == "run" and (as_it_was or command == "overwrite"):
        wrong += other_numbers(arguments[1] / "result.json", workshop.result(base))
    return [f"{place}: {what} [{answer.code}: {answer.err[-700:]}]" for what in wrong]


def other_numbers(path, expected):
    """In what a result differs from the undisturbed one."""
    try:
        output = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return [f"it says it is done, but {error}"]
    names = ("test_accuracy", "val_accuracy", "confusion_matrix", "config")
    return [
        f"{name} is {output.get(name)}, not {expected[name]}"
        for name in names
        if output.get(name) != expected[name]
    ]


def run_of(place):
    """The run's folder that something lies in."""
    parts = place.split("/")
    return "/".join(parts[:3] if parts[2:3] == ["seed0"] else parts[:1])


def try_study(workshop, case):
    """A study's file of any structure, begun or gone on with."""
    those, raw, as_json, goes_on = case
    with workshop.copy("study" if goes_on else None) as folder:
        study = inputs.changed(STUDY, those)
        path = folder / ("study.json" if as_json else "study.toml")
        text = (json.dumps(study) if as_json else inputs.to_toml(study)) if raw is None else raw
        path.write_text(text, errors="surrogatepass")
        before = state(folder)
        arguments = ["--study", path, "--out", folder / "out", *workshop.options()]
        if not goes_on:
            arguments += ["--dataset", folder / "nowhere.npz"]  # what is right so far ends there
        answer = workshop.worker.run("ablation", *arguments, folder=folder)
        wrong = answer.complaints()
        wrong += lost(
            before, state(folder), lambda place: written_anyway(place) or place == "out/study.json"
        )
        return [f"{what} [{answer.code}: {answer.err[-700:]}]" for what in wrong]


def try_archive(workshop, case):
    """An archive of any bytes."""
    part, those, packed = case
    content = chosen(workshop.archives, part)
    for damage in those:
        content = damage.to(content)
    with workshop.copy() as folder:
        path = folder / "archive"
        path.write_bytes(packed(content))
        arguments = ["--archive", path, "--data-dir", folder / "data"]
        answer = workshop.worker.run("prepare", *arguments, folder=folder)
        wrong = answer.complaints() + ["taken for CIFAR-10"] * (answer.code == 0)
        return [f"{what} [{answer.code}: {answer.err[-700:]}]" for what in wrong]


def try_images(workshop, case):
    """An image folder or an .npz, or what was prepared from it, damaged; then prepared."""
    kind, part, damage = case
    with workshop.copy() as folder:
        source = folder / ("pictures" if kind == "pictures" else "tiny.npz")
        if kind == "pictures":
            shutil.copytree(workshop.root / "pictures", source)
        else:
            shutil.copy(workshop.npz, source)
        arguments = ["--dataset", source, "--data-dir", folder / "data"]
        damaged = source
        if kind == "pictures":
            damaged = chosen(sorted(source.rglob("*")), part)
        elif kind == "prepared":
            made = workshop.worker.run("prepare", *arguments, folder=folder)
            assert made.code == 0, made
            damaged = chosen(sorted((folder / "data" / "own").rglob("*")), part)
        damage.to_file(damaged, folder / "outside")
        before = state(folder)
        answer = workshop.worker.run("prepare", *arguments, folder=folder)
        wrong = answer.complaints()
        wrong += lost(before, state(folder), lambda place: place.startswith("data"))
        return [f"{damaged.name}: {what} [{answer.code}: {answer.err[-700:]}]" for what in wrong]


def try_weights(workshop, case):
    """A file of weights of any bytes, or with any card, to predict by."""
    those, differences = case
    content = (workshop.bases / "run" / "weights.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if those:
        for damage in those:
            content = damage.to(content)
    else:
        card = inputs.changed(json.loads(header["__metadata__"]["jaxcifar"]), differences)
        header["__metadata__"]["jaxcifar"] = json.dumps(card)
        new_header = json.dumps(header).encode()
        content = len(new_header).to_bytes(8, "little") + new_header + content[8 + length :]
    with workshop.copy() as folder:
        path = folder / "any.safetensors"
        path.write_bytes(content)
        before = state(folder)
        answer = workshop.worker.run("predict", workshop.picture, "--run", path, folder=folder)
        wrong = answer.complaints() + lost(before, state(folder), lambda place: False)
        return [f"{what} [{answer.code}: {answer.err[-700:]}]" for what in wrong]


_packings = st.sampled_from([bytes, bytes, gzip.compress, bz2.compress, lzma.compress])
_raw = st.none() | raw_json | texts
_commands = st.sampled_from(["run", "report", "ablation", "evaluate", "predict"])
TRIALS = {
    "damage": Trial(
        st.tuples(st.sampled_from(BASES), parts, damages, _commands | st.just("overwrite")),
        try_damage,
        20,
    ),
    "structure": Trial(
        st.tuples(st.sampled_from(BASES), parts, changes, st.none() | raw_json, _commands),
        try_structure,
        20,
    ),
    "study": Trial(st.tuples(changes, _raw, st.booleans(), st.booleans()), try_study, 40),
    "archive": Trial(
        st.tuples(parts, st.lists(inputs.byte_damages, min_size=1, max_size=3), _packings),
        try_archive,
        40,
    ),
    "images": Trial(
        st.tuples(st.sampled_from(["pictures", "npz", "prepared"]), parts, damages), try_images, 40
    ),
    "weights": Trial(
        st.tuples(st.lists(inputs.byte_damages, max_size=2), changes), try_weights, 40
    ),
    "options": Trial(option_cases, try_options, 25),
}


def attempts(trial, number, count, attempt):
    """Try `count` cases of one seed; which they are depends on nothing else."""

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(trial.cases)
    def run(case):
        attempt(case)

    run()
