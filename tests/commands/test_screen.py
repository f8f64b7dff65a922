"""What people look at: lines that fit, times that hold, help to copy from, slips understood."""

import importlib
import io
import json
import re
import shlex
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import (
    ROOT,
    assert_one_line_error,
    command,
    finish,
    obeyed,
    start_program,
)
from rich.console import Console

from jaxcifar.commands import __main__ as commands
from jaxcifar.commands import run
from jaxcifar.commands.__main__ import COMMANDS
from jaxcifar.commands.shared import options as options_module
from jaxcifar.commands.shared import rates
from jaxcifar.commands.shared.options import OPTION_GROUPS
from jaxcifar.commands.shared.run_result import show_result
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS, Entry
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import (
    duration,
    pluralize,
    print_after_silence,
    show_activity,
    texts_that_fit,
    wrap_line,
)
from jaxcifar.runs.pace import COMPILING, TRAINING, Pace, PlannedRuns
from jaxcifar.runs.task import Task
from jaxcifar.runs.training_progress import TrainProgress

ON = ("--arch", "tests/own/net.py:Net", "--dataset", "shapes10", "--epochs", "2")
ON += ("--train-examples", "128", "--batch-size", "32", "--val-fraction", "0.01")
STUDY = """
title = "two rates"
[config]
arch = "cnn"
learning_rate = 0.001
[rows]
base = {}
a-tenth-of-the-learning-rate = { learning_rate = 0.0001 }
"""


@pytest.fixture(scope="module")
def folder():
    """A folder with a short path, for paths are not broken."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def study(folder, shapes_dir):
    """The folder of a study of two runs, and what its command printed."""
    (folder / "study.toml").write_text(STUDY)
    words = ("--study", folder / "study.toml", "--out", folder / "s", "--data-dir", shapes_dir)
    return folder / "s", words, output_of("ablation", *ON, *words)


def output_of(*words):
    """What a command prints that succeeds, on a screen of 80 columns."""
    done = obeyed(*words, env={"COLUMNS": None})
    assert done.returncode == 0, done.stderr
    return done.stdout


def fits(output, width=80):
    return [line for line in output.splitlines() if len(line) > width] == []


def test_a_study_fits_80_columns_and_ends_with_its_best_row(study):
    _, words, output = study
    assert fits(output)
    accuracy = r"accuracy +[\d.]+%"
    assert re.search(rf"base seed 0  epoch 2/2  train {accuracy}  val {accuracy}", output)
    long_name = "a-tenth-of-the-learning-rate seed 0"
    assert re.search(rf"{long_name}  epoch 2/2  val {accuracy}$", output, re.M)
    assert "time spent" in output
    [(name, word)] = re.findall(r"^ *(\S+) .*<- (best|first)", output, re.M)
    assert f"{word}: {name}, " in output
    again = output_of("ablation", *ON, *words)
    assert "0 runs done now" in again
    assert again.count(f"<- {word}") == 1  # of what was done before


def test_runs_are_compared(study, folder):
    runs = sorted(map(str, (study[0]).glob("*/seed0")))
    output = output_of("compare", *runs, "--plot", str(folder / "c.png"))
    assert fits(output)
    rows = dict(re.findall(r"^(\S[^(]*?)  +(.*)$", output, re.M))
    assert rows["learning rate"].split() == ["0.0001", "0.001"]
    assert "batch_size" not in rows  # the same in both
    assert rows["epochs trained"].split() == ["2", "of", "2"] * 2
    results = [json.loads(Path(run, "result.json").read_text()) for run in runs]
    accuracies = [f"{result['test_accuracy']:.2%}" for result in results]
    assert rows["test"].split() == accuracies and accuracies[0] != accuracies[1]
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")
    narrow = obeyed("compare", *runs, *runs, env={"COLUMNS": "36"})
    assert [line for line in narrow.stdout.splitlines() if len(line) > 60] == []
    assert_one_line_error(obeyed("compare", runs[0]), 2, "two runs")
    assert_one_line_error(obeyed("compare", runs[0], str(folder)), 2, "is not a run")


def test_a_run_fits_80_columns(folder, shapes_dir):
    where = ("--run-dir", folder / "r", "--data-dir", shapes_dir)
    output = output_of("run", *ON, *where)
    assert fits(output)
    results = r"loss \d+\.\d{3} accuracy +[\d.]+%"
    assert re.search(rf"^epoch 2/2  train {results}  val {results}$", output, re.M)


def test_the_bench_fits_80_columns():
    names = ("jaxcifar", "torch channels_last")
    rows = [
        {"arch": "cnn", "phase": phase, "implementation": name, "dtype": "bfloat16"}
        | {"images_per_second": 123456.0, "spread": [123455.0, 124567.0], "rounds": 5}
        | {"ratio": 12.345, "ratio_spread": [11.2, 12.5], "peak_memory_bytes": 12.3e9}
        for phase in ("train", "eval")
        for name in names
    ]
    nothing = dict.fromkeys(("images_per_second", "spread", "ratio", "ratio_spread"))
    slow = {"implementation": "torch compiled", "rounds": 0, "left_out": "it trains too slowly"}
    emulated = {"ratio": 987.65, "ratio_spread": None}
    rows[2:2] = [
        {**rows[0], **slow, **emulated},
        {**rows[0], **slow, **nothing, "peak_memory_bytes": None},
    ]
    program = {"runs": [f"no-{name}" for name in "abcdefghijklmnop"], "dtype": "bfloat16"}
    program |= {"batch_size": 128, "images_per_second": 99999.9, "spread": [98765.4, 101234.5]}
    program |= {"rounds": 5}
    dead = {**program, "runs": ["dead"], "images_per_second": None, "spread": None, "rounds": 0}
    dead |= {"left_out": "first steps: its process ended"}
    figures = {"device": "cpu", "versions": {"jax": "0"}, "rows": rows, "ratio": {}, "ours": {}}
    out = io.StringIO()
    rates.show_speeds(Console(file=out, width=80), figures | {"programs": [program, dead]})
    shown = out.getvalue()
    assert fits(shown)
    assert "no-p" in shown and "100,000  98,765-101,234" in shown
    assert shown.count(" 123,456 ") == 4 and shown.count("~123,456 ") == 1
    assert "torch channels_last " in shown and " 12.35  11.20-12.50  12.30" in shown
    assert shown.count("torch compiled bfloat16 was left out of the rounds: it trains too") == 1
    assert shown.count("~ marks an estimate from the first steps") == 1
    assert "dead was left out of the rounds: first steps: its process ended" in shown


@pytest.mark.parametrize("width", [40, 80, 140])
def test_an_epochs_line_is_as_wide_as_the_screen(width):
    out = io.StringIO()
    task = Task(Config.create("cnn", epochs=100, dataset="shapes10"), Path("x"))
    lines = TrainProgress(Console(file=out, width=width)).observers_of(task)
    row = {"epoch": 7, "train_loss": 2.3456, "train_accuracy": 1.0, "learning_rate": 0.00095}
    row |= {"val_loss": 2.5, "val_accuracy": 0.9012, "images_per_second": 123456.7}
    lines.began(task.describe(task.config, "shapes10", []))
    lines.epoch(row)
    [line] = out.getvalue().splitlines()
    assert len(line) <= width
    assert line.startswith("epoch   7/100  ")
    assert "accuracy 90.12%" in line
    assert ("train loss 2.346 accuracy 100.00%  val loss 2.500 acc" in line) == (width >= 80)
    assert ("123,457 images/s" in line) == (width == 140)


def test_lines_are_folded_between_words():
    line = "files           /a/very/long/path-that-is-never-broken: one.json, two.json"
    assert wrap_line(line, 30) == [
        "files",
        16 * " " + "/a/very/long/path-that-is-never-broken:",
        16 * " " + "one.json,",
        16 * " " + "two.json",
    ]
    assert wrap_line("short", 30) == ["short"]


def test_the_least_important_goes_first():
    parts = [(0, "name"), (2, "third"), (1, "second"), (0, "")]
    assert texts_that_fit(parts, 19) == ["name", "third", "second"]
    assert texts_that_fit(parts, 18) == ["name", "second"]
    assert texts_that_fit(parts, 11) == ["name"]
    [short] = texts_that_fit([(0, "a-very-long-name seed 0")], 12)
    assert len(short) == 12
    assert "…" in short


def test_a_number_of_things_has_the_right_plural():
    lines = [pluralize(n, "run") for n in (0, 1, 2, 1234)]
    assert lines == ["0 runs", "1 run", "2 runs", "1,234 runs"]


def test_durations_have_a_suitable_unit():
    lines = [duration(s) for s in (0.4, 101, 250, 3600 * 2 + 300, 3600 * 9, 86400 * 3)]
    assert lines == ["0 s", "101 s", "4 min", "2 h 5 min", "9 h", "3 days"]


def test_what_is_silent_for_long_says_what_it_does():
    lines = []
    with print_after_silence(lines.append, lambda: "working", silence_seconds=0.05) as say:
        say("begun")
        time.sleep(0.4)
    assert lines[0] == "begun"
    assert 2 <= lines.count("working") <= 8
    assert threading.active_count() < 50


def test_while_a_program_is_compiled_the_status_says_that_this_happens_once():
    progress = TrainProgress(Console(file=io.StringIO()))
    with progress.pace.during(COMPILING):
        wide, narrow = progress._status().line(80), progress._status().line(20)
    assert "compiling 0 s  once, then kept for later runs" in wide
    assert narrow.strip() == "compiling 0 s"


def test_a_collapsed_run_is_named_at_its_end():
    lines = []
    confusion = np.zeros((3, 3), int)
    confusion[:, 1] = 100
    result = {
        "test_accuracy": 1 / 3,
        "dataset": "mine",
        "class_accuracy": {"ant": 0.0, "bee": 1.0, "wasp": 0.0},
        "confusion_matrix": confusion.tolist(),
        "last_epoch": {"epoch": 2, "test_accuracy": 1 / 3},
        "selected_epoch": 1,
        "selection_rule": "the last",
        "wall_seconds": 1.0,
        "images_per_second": 1.0,
        "device": "cpu",
        "compute_dtype": "float32",
    }
    show_result(lines.append, result, Path("there"))
    assert "collapsed       every image is classified as bee: nothing was learnt" in lines
    lines.clear()
    balanced = {"test_balanced_accuracy": 29 / 30}
    equal = balanced | {"confusion_matrix": np.eye(3, dtype=int).tolist()}
    show_result(lines.append, result | equal, Path("there"))
    assert not any("collapsed" in line or "balanced" in line for line in lines)
    unequal = balanced | {"confusion_matrix": [[9, 1, 0], [0, 1, 0], [0, 0, 1]]}
    show_result(lines.append, result | unequal, Path("there"))
    assert "balanced        96.67%, the mean of the accuracies of the classes" in lines


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_parse(name):
    parser = importlib.import_module(f"jaxcifar.commands.{name}").parser()
    parser.show_all_options()
    text = parser.format_help()
    assert fits(text)
    assert not re.search(r"default: *(True|False|None)?\)", " ".join(text.split()))
    lead = f"jaxcifar {name}"
    examples = re.findall(rf"^  {re.escape(lead)}(.*)$", text.partition("examples:")[2], re.M)
    assert len(examples) >= 2
    for words in examples:
        options = parser.parse_args(shlex.split(words))
        assert options is not None


def test_every_option_of_an_experiment_stands_in_one_group():
    fields = {n for n, f in Config.__dataclass_fields__.items() if "help" in f.metadata}
    parser = run.parser()
    groups = [group for group in parser._action_groups if group.title in OPTION_GROUPS]
    offered = [action.dest for group in groups for action in group._group_actions]
    assert sorted(offered) == sorted(fields)


def test_an_option_that_only_an_entry_takes_needs_no_place_in_a_group(monkeypatch):
    """It follows the option that names the entry."""
    line = Entry("jaxcifar.training.augment:keep_unchanged", "some", takes=("clip_norm",))
    monkeypatch.setitem(KINDS["augmentation"], "some", line)
    unlisted = {
        title: tuple(name for name in group if name != "clip_norm")
        for title, group in OPTION_GROUPS.items()
    }
    monkeypatch.setattr(options_module, "OPTION_GROUPS", unlisted)
    parser = run.parser()
    parser.show_all_options()
    named = re.findall(r"^  --(?:\[no-\])?([a-z-]+)", parser.format_help(), re.M)
    place = named.index("augmentation")
    assert named[place : place + 2] == ["augmentation", "clip-norm"]
    assert named.count("clip-norm") == 1


@pytest.mark.parametrize(
    ("name", "words", "meant"),
    [
        ("run", "--lr 0.1", "did you mean --learning-rate?"),
        ("run", "--wd=0.1", "did you mean --weight-decay?"),
        ("run", "-b 64", "did you mean --batch-size?"),
        ("run", "--epoch 3", "did you mean --epochs?"),
        ("run", "--normalise", "did you mean --normalize?"),
        ("run", "--flip randon", "did you mean random?"),
        ("run", "--epochs ten", "ten: must be a whole number"),
        ("ablation", "-j 4", "did you mean --at-once?"),
        ("export", "a --too onnx b", "did you mean --to?"),
        ("export", "a --to onxx b", "did you mean onnx?"),
        ("run", "-j 4", "none is needed"),
        ("run", "cnn", "did you mean --arch cnn?"),
        ("run", "--resume", "the same command resumes a stopped run"),
        ("run", "--resume", "; run --continue RUN trains a finished run further"),
        ("run", "--resume-from best", "run --continue RUN trains a finished run further"),
        ("run", "--early-stopping", "did you mean --patience N?"),
        ("run", "--early-stopping-patience 3", "did you mean --patience N?"),
        ("run", "--gradient-accumulation-steps 4", "did you mean --accumulate N?"),
        ("ablation", "--balanced-sampling", "did you mean --class-weights balanced?"),
        ("run", "--keep best --keep-every 2", "--keep-every 2: has no effect with --keep best"),
        ("run", "--lr 1 --wd 1", "--learning-rate? there is no option --wd; did you mean --weight"),
        ("ablation", "--study recipe_cnn", "did you mean recipes_cnn?"),
        ("run", "--data-dir /nowhere", "/nowhere: there is no such folder"),
        ("run", "--data-dir /nowhere --arch resnet8", "did you mean resnet18?"),
        ("run", "--recipe strng --data-dir /nowhere", "did you mean strong?"),
        ("ablation", "--data-dir /nowhere --rows bth", "did you mean both?"),
    ],
)
def test_misspelt_words_get_a_suggestion(name, words, meant):
    with pytest.raises(UsageError, match=re.escape(meant)):
        importlib.import_module(f"jaxcifar.commands.{name}").main(shlex.split(words))


def test_other_programs_names_of_commands_are_understood():
    with pytest.raises(UsageError, match="did you mean run"):
        commands.run_named_command("train", [])
    with pytest.raises(UsageError, match="did you mean evaluate"):
        commands.run_named_command("evalute", [])


def test_values_that_begin_with_a_dash_are_no_options():
    from jaxcifar.commands.convert import parser

    words = "x.pth --run-dir r --mean -0.5 -1 .5 --arch cnn"
    assert parser().parse_args(words.split()).mean == [-0.5, -1, 0.5]


def test_the_commands_are_listed():
    done = command("__main__", timeout=60)
    assert done.returncode == 0, done.stderr
    assert fits(done.stdout)
    listed = [line.split()[0] for line in done.stdout.splitlines()[: len(COMMANDS)]]
    assert tuple(listed) == COMMANDS
    assert_one_line_error(command("__main__", "rum"), 2, "did you mean run?")
    assert "usage:" in command("__main__", "report", "--help").stdout
    here = Path(importlib.import_module("jaxcifar.commands").__file__).parent
    there = {p.stem for p in here.glob("*.py") if "def parser()" in p.read_text()}
    assert there == set(COMMANDS)
    in_checkout = {p.stem for p in (ROOT / "experiments").glob("[a-z]*.py")}
    assert in_checkout == set(COMMANDS)


def test_a_missing_archive_is_reported_though_the_set_is_prepared(shapes_dir):
    done = obeyed("prepare", "--archive", "/nope.tgz", "--data-dir", shapes_dir)
    assert_one_line_error(done, 2, "/nope.tgz: no such file or folder")


@pytest.mark.parametrize(
    ("platform", "epochs", "words"),
    [
        ("cpu", 100, "this run will take about 2 h 46 min, by the first steps"),
        ("cpu", 100, "(with --epochs 20 about 33 min)"),
        ("cpu", 10, ""),
        ("gpu", 100, ""),
    ],
)
def test_a_long_run_on_a_cpu_is_announced_once(platform, epochs, words):
    """Ten images a second, of a thousand an epoch."""
    now, console = [0.0], Console(file=io.StringIO(), width=200)
    progress = TrainProgress(console)
    progress.pace = Pace(lambda: now[0], lambda: 0.0)
    devices = np.asarray([SimpleNamespace(platform=platform)])
    mesh = SimpleNamespace(devices=devices)
    program = SimpleNamespace(model=None, batch_size=100, images_per_epoch=1000, mesh=mesh)
    none = SimpleNamespace(labels=())
    dataset = SimpleNamespace(val=none, test=none)
    progress.expect(SimpleNamespace(program=program, dataset=dataset), PlannedRuns(epochs))
    task = SimpleNamespace(name="", config=SimpleNamespace(epochs=epochs))
    run = SimpleNamespace(task=task, epoch=1, is_epoch_over=0, images_per_second=10.0)
    with progress.during(TRAINING):
        for now[0] in (10.0, 20.0):
            progress.show([run], 100, [1.0])
    text = console.file.getvalue()
    assert words in text and text.count("will take about") == bool(words)


def test_names_of_nothing_are_refused_before_jax_is_imported(tmp_path):
    photo = tmp_path / "photo.png"
    photo.touch()
    weights, state = tmp_path / "any.safetensors", tmp_path / "any.pth"
    weights.touch(), state.touch()
    cases = [
        ("run", "--arch", "nosuch"),
        ("run", "--data-dir", "no/such"),
        ("ablation", "--rows", "baselin"),
        ("ablation", "--force", "baselin"),
        ("ablation", "--data-dir", "no/such"),
        ("ablation", "--study", "nosuch"),
        ("report", "no/such"),
        ("compare", "no/such", "no/other"),
        ("predict", "no/such.png"),
        ("predict", photo, "--run", "no/such"),
        ("predict", photo, "--run", tmp_path),
        ("evaluate", "no/such"),
        ("evaluate", weights, "--on", "tst"),
        ("evaluate", weights, "--json", "no/such/file.json"),
        ("export", "no/such", "--to", "onnx", "x.onnx"),
        ("export", weights, "--to", "onnx", "no/such/x.onnx"),
        ("convert", "no/such.pth", "--arch", "cnn", "--run-dir", tmp_path / "run"),
        ("convert", state, "--arch", "nosuch", "--run-dir", tmp_path / "run"),
        ("summary", "--arch", "nosuch"),
        ("bench", "--arch", "nosuch"),
        ("bench", "--json", "no/such/file.json"),
        ("scaling", "--arch", "nosuch"),
        ("prepare", "--data-dir", tmp_path, "--dataset", "nosuch"),
    ]
    words = json.dumps([[str(word) for word in case] for case in cases])
    assert finish(start_program("refused", words)).strip() == ""


def test_what_is_done_is_shown_on_a_terminal_and_cleared(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    screen, log = Screen(), io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    with show_activity("reading"):
        assert screen.getvalue() == "reading ...\r"
    assert screen.getvalue().split("\r")[1].isspace()
    monkeypatch.setattr("sys.stderr", log)
    with show_activity("reading"):
        pass
    assert log.getvalue() == ""
