"""Weights & Biases' files of runs offline, read record by record without what wrote them."""

import io
import json
import struct
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from conftest import assert_one_line_error, command, stopped_after
from rich.console import Console
from runs.test_fit import CONFIG, rows

from jaxcifar.errors import UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs import weights_and_biases
from jaxcifar.runs.fit import fit
from jaxcifar.runs.observers import ObservedRun, create_observers, find_factories
from jaxcifar.runs.task import Task

pytestmark = pytest.mark.usefixtures("step_by_step", "offline")
needs = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is missing")
BLOCK = 32768  # bytes, of a log as LevelDB writes it
ROW = {"epoch": 1, "train_loss": 2.5, "seconds": 1.0}


@pytest.fixture(scope="module")
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        yield


def train(path, dataset, **options):
    """What was on the screen of a run that W&B watches."""
    screen = io.StringIO()
    task = Task(CONFIG, path, observers=create_observers(find_factories(["wandb"])))
    fit(task, lambda: dataset, Console(file=screen, width=1000), **options)
    return screen.getvalue()


def records(file):
    """The records of a `.wandb` file: a header of 7 bytes, then parts that stay within blocks."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = file.read_bytes(), 7, b""
    while at < len(content):
        if BLOCK - at % BLOCK < 7:  # too little for another part
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # all of a record, or its last part
            yield Record.FromString(whole)
            whole = b""


def copy_of(run):
    """The only offline copy of a run: its id, settings, epochs, summary, exit code."""
    [folder] = (run / "wandb").glob("offline-run-*")
    [file] = folder.glob("*.wandb")
    settings, epochs, summary, code = {}, [], {}, None

    def named(items):
        return {item.key: json.loads(item.value_json) for item in items if item.key}

    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run_id = record.run.run_id
            settings |= named(record.run.config.update)
        elif kind == "history":
            items = {(i.key or i.nested_key[0]): i.value_json for i in record.history.item}
            epochs.append({name: json.loads(text) for name, text in items.items()})
        elif kind == "summary":
            summary |= named(record.summary.update)
        elif kind == "exit":
            code = record.exit.exit_code
    return run_id, settings, epochs, summary, code


def shown(epochs):
    return [{n: v for n, v in epoch.items() if not n.startswith("_")} for epoch in epochs]


@needs
def test_a_run_that_is_stopped_and_resumed_is_one_run_with_each_epoch_once(tmp_path, easy_dataset):
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, stopper=stopped_after(9))
    first, settings, epochs, _, code = copy_of(tmp_path)
    assert shown(epochs) == rows(tmp_path) != []
    assert code == 1
    assert settings["learning_rate"] == CONFIG.learning_rate
    assert settings["optimizer"] == "muon"
    train(tmp_path, easy_dataset)
    run_id, _, epochs, summary, code = copy_of(tmp_path)
    assert run_id == first
    assert shown(epochs) == rows(tmp_path)
    assert [epoch["_step"] for epoch in epochs] == [1, 2, 3]
    assert code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    for name in ("test_accuracy", "test_loss", "selected_epoch", "parameters", "wall_seconds"):
        assert summary[name] == result[name]
    copies = list((tmp_path / "wandb").glob("offline-run-*"))
    before = (tmp_path / "wandb" / "jaxcifar.json").stat().st_mtime_ns
    train(tmp_path, easy_dataset)  # nothing is new
    assert list((tmp_path / "wandb").glob("offline-run-*")) == copies
    assert (tmp_path / "wandb" / "jaxcifar.json").stat().st_mtime_ns == before


@needs
def test_runs_at_once_are_runs_of_their_own_and_what_a_kill_leaves_is_replaced(tmp_path):
    def observed(name, history=()):
        (tmp_path / name).mkdir(exist_ok=True)
        [(_, observer)] = create_observers(find_factories(["wandb"]))
        observer.began(ObservedRun(name, tmp_path / name, CONFIG, "shapes10", tuple(history)))
        return observer

    one, two = observed("one"), observed("two")
    for epoch in (1, 2):
        one.epoch({**ROW, "epoch": epoch})
        two.epoch({**ROW, "epoch": epoch, "train_loss": 0.5})
    one.failed(RuntimeError())  # `two` is neither finished nor failed, as after a kill
    again = observed("two", [{**ROW, "train_loss": 0.5}])
    again.epoch({**ROW, "epoch": 2, "train_loss": 0.25})
    again.finished({"test_accuracy": 0.75, "dataset": "shapes10"})
    ids, losses = zip(
        *[
            (run_id, [epoch["train_loss"] for epoch in epochs])
            for run_id, _, epochs, _, _ in map(copy_of, (tmp_path / "one", tmp_path / "two"))
        ],
        strict=True,
    )
    assert losses == ([2.5, 2.5], [0.5, 0.25])
    assert ids[0] != ids[1]


@needs
def test_where_wandb_is_disabled_nothing_is_written(tmp_path, monkeypatch):
    [(_, observer)] = create_observers(find_factories(["wandb"]))
    monkeypatch.setattr(weights_and_biases, "_wandb_mode", lambda: "disabled")
    observer.began(ObservedRun("", tmp_path, CONFIG, "shapes10", ({**ROW},)))
    observer.epoch({**ROW, "epoch": 2})
    observer.finished({"test_accuracy": 0.5})
    assert not list(tmp_path.iterdir())


@needs
def test_another_runs_files_behind_a_link_stay(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "wandb").symlink_to(other)
    [(_, observer)] = create_observers(find_factories(["wandb"]))
    with pytest.raises(Exception, match="wandb: is a symbolic link; delete it"):
        observer.began(ObservedRun("", tmp_path, CONFIG, "shapes10"))
    assert not list(other.iterdir())


@needs
def test_a_missing_login_is_reported_before_anything_is_trained(tmp_path):
    none = dict.fromkeys(("WANDB_MODE", "WANDB_API_KEY", "WANDB_SILENT", "NETRC"))
    there = ["--run-dir", str(tmp_path / "run"), "--data-dir", str(tmp_path)]
    env = {**none, "HOME": str(tmp_path), "WANDB_CONFIG_DIR": str(tmp_path)}
    done = command("run", "--arch", "cnn", "--wandb", *there, env=env)
    assert_one_line_error(done, 2, "--wandb: can't log in", "`wandb login`", "WANDB_MODE=offline")
    assert not (tmp_path / "run").exists()


class Online:
    """In place of the package wandb, with a server that has the first epochs of a run already."""

    class Settings(dict):
        pass

    def __init__(self, starting_step):
        self.starting_step, self.asked, self.logged, self.summary = starting_step, [], [], {}
        self.settings = SimpleNamespace(mode="online")

    def setup(self):
        return self

    def init(self, **options):
        self.asked.append(options)
        return self

    def log(self, figures, step, commit):
        assert commit and step == figures["epoch"]
        self.logged.append(step)

    def finish(self, exit_code=0):
        self.logged.append("end")


def test_online_only_the_epochs_that_the_server_lacks_are_logged(tmp_path, monkeypatch):
    asked = []
    for starting_step, logged in ((0, [1, 2, 3, "end"]), (3, [3, "end"])):
        server = Online(starting_step)
        monkeypatch.setattr(weights_and_biases, "_wandb_package", lambda server=server: server)
        monkeypatch.setattr(weights_and_biases, "_log_in", lambda: None)
        history = tuple({**ROW, "epoch": epoch} for epoch in (1, 2))
        observer = weights_and_biases.WeightsAndBiases()
        observer.began(ObservedRun("", tmp_path, CONFIG, "shapes10", history))
        observer.epoch({**ROW, "epoch": 3})
        observer.failed(RuntimeError())
        assert server.logged == logged
        asked += server.asked
    first, second = asked
    assert first["id"] == second["id"]
    assert first["resume"] == second["resume"] == "allow"
    assert first["name"] == tmp_path.name


def test_without_wandb_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb.sdk", None)
    with pytest.raises(UsageError, match=r"^--wandb: .*pip install wandb$"):
        create_observers(find_factories(["wandb"]))
