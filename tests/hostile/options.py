"""Any value for any option of any command."""

import dataclasses

from hypothesis import strategies as st

from hostile.inputs import numbers, words
from hostile.workshop import lost, state, written_anyway
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import option_name

_CONFIG = [f"--{option_name(f.name)}" for f in dataclasses.fields(Config) if f.metadata]
_PATHS = {"--run-dir", "--out", "--plot", "--sheet", "--json", "--hlo", "--data-dir"}  # written to
_OWN = {
    "run": ["--run-dir", "--devices", "--process-id", "--overwrite", "--observer", "--config"],
    "ablation": [
        *("--study", "--rows", "--seeds", "--force", "--at-once", "--shard", "--devices", "--out"),
        *("--observer", "--grid", "--folds", "--submit", "--submit-options", "--parts"),
        "--no-wait",
    ],
    "report": [],
    "summary": ["--arch", "--arch-args", "--classes", "--plot"],
    "prepare": ["--dataset", "--archive", "--data-dir"],
    "bench": ["--batch-size", "--dtype", "--peer", "--at-once", "--rounds", "--steps", "--json"],
    "scaling": ["--arch"],
    "compile": ["--target", "--arch", "--batch-size", "--at-once", "--json", "--hlo"],
    "predict": ["--run", "--top", "--json", "--sheet"],
    "export": ["--to", "--half"],
    "convert": [
        "--arch",
        "--arch-args",
        "--dataset",
        "--mean",
        "--std",
        "--run-dir",
        "--overwrite",
    ],
    "evaluate": ["--on", "--images", "--json", "--out", "--data-dir"],
}
_TRAINS = ("run", "ablation")

_values = words | numbers.map(str)
_lists = st.lists(numbers.map(str), min_size=1, max_size=5).map(",".join)
_arguments = st.builds("{}={}".format, st.sampled_from(["widths", "hidden", "x"]), _values | _lists)
_names = st.sampled_from(["nosuch", "nosuch.py:Net", "cnn", "resnet18"])


def _option(command):
    known = _OWN[command] + (_CONFIG if command in _TRAINS else [])
    names = st.sampled_from(known or ["--nosuch"]) | words
    one = st.tuples(names, st.lists(_values, max_size=2))
    if command in (*_TRAINS, "summary"):
        one |= st.tuples(st.just("--arch-args"), st.lists(_arguments, min_size=1, max_size=2))
        one |= st.tuples(st.just("--arch"), st.lists(_names, min_size=1, max_size=1))
        some = st.lists(_arguments, min_size=1, max_size=2)
        one |= some.map(lambda given: ("--arch", ["cnn", "--arch-args", *given]))
    return one


option_cases = st.sampled_from(list(_OWN)).flatmap(
    lambda command: st.tuples(
        st.just(command), st.lists(_option(command), max_size=3), st.booleans()
    )
)


def try_options(workshop, case):
    """A command with any options, in an empty folder."""
    command, options, trains = case
    given = []
    for name, values in options:
        if name in _PATHS:  # stays within the folder
            values = [value.replace("/", "_").replace("..", "_") for value in values]
        given += [name, *values]
    with workshop.copy() as folder:
        before = state(folder)
        answer = workshop.worker.run(
            command, *_whole(command, given, trains, workshop), folder=folder
        )
        wrong = answer.complaints() + lost(before, state(folder), written_anyway)
        return [f"{command} {given}: {what} [{answer.code}: {answer.err[-700:]}]" for what in wrong]


def _whole(command, given, trains, workshop):
    """Arguments that don't end in hours of work, whatever is given."""
    if command in ("bench", "scaling", "compile"):
        return [*given, "--arch", "nosuch"]
    if command == "report":
        return [value for value in given if value != "--nosuch"]
    if command in ("evaluate", "predict", "export", "convert"):
        return ["nowhere", *given]
    if command == "prepare":
        return ["--data-dir", "data", "--dataset", "nowhere", *given]
    if command == "run" and trains and "--arch-args" not in given and "--arch" not in given:
        once = ["--epochs", "1", "--dataset", workshop.npz, "--data-dir", workshop.data]
        return [*workshop.options(), *given, *once, "--processes", "1"]
    if command in _TRAINS:
        alone = ["--processes", "1"] if command == "run" else []
        return [*given, "--dataset", "nowhere.npz", "--data-dir", "data", *alone]
    return given
