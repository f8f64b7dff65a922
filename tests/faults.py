"""File operations that fail, or never come back: each of a run's and of a study's, one by one.

As SQLite tests itself: for every n, the n-th operation on a folder fails (a full disk), or the
process is killed there, and the same command must then end with the numbers of an undisturbed one.
Operations are those that Python tells its audit hooks of, before it does them: opening to write,
making, renaming and deleting. What is killed here is not the process: from the n-th on, no
operation is done, so that the folder is left as a kill would leave it.

`PYTHONPATH=tests python -m faults SECONDS [SEED]` goes through them in random order until the time
is over, and prints how many it tried.
"""

import errno
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import jax
from rich.console import Console
from small import SMALL, easy_dataset

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.report import write_report
from jaxcifar.runs.fit import fit
from jaxcifar.runs.task import Task
from jaxcifar.studies.conduct import conduct, plan, record
from jaxcifar.studies.study import Study

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.truncate"}
KINDS = ("fails", "full", "killed")


class Killed(BaseException):
    """In place of what a dead process would have done."""


class Disk:
    """Counts the operations below a folder; of the `at`-th on, does none or fails some.

    Args:
      folder: watched.
      at: the first operation disturbed, from 0; None for none.
      kind: "fails" for that operation alone, "full" for all from there on, "killed" likewise, but
        with what no code expects.
    """

    watched: "Disk | None" = None

    def __init__(self, folder, at=None, kind="fails"):
        self.folder, self.at, self.kind = str(folder), at, kind
        self.operations = []

    def __enter__(self):
        Disk.watched = self
        return self

    def __exit__(self, *_):
        Disk.watched = None

    def meets(self, event, path):
        number = len(self.operations)
        self.operations.append(f"{event} {path}")
        if self.at is None or number < self.at or (self.kind == "fails" and number > self.at):
            return
        if self.kind == "killed":
            raise Killed
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _hook(event, arguments):
    disk = Disk.watched
    if disk is None or not (event == "open" or event in _CHANGING):
        return
    if event == "open" and not (arguments[2] or 0) & _WRITING:
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if path.startswith(disk.folder):
            disk.meets(event, path)


sys.addaudithook(_hook)  # for good: there is no way to take one away


CONFIG = Config.create(
    "cnn", arch_args=SMALL, dataset="shapes10", epochs=2, batch_size=32, optimizer="sgd"
)
STUDY = Study.from_dict(
    {
        "config": {
            "arch": "cnn",
            "arch_args": SMALL,
            "dataset": "shapes10",
            "epochs": 2,  # as above, and in test_conduct.py: one compiled program serves all
            "batch_size": 32,
            "optimizer": "sgd",
        },
        "rows": {"plain": {"augment": False}, "both": {}},
    }
)
IMAGES = easy_dataset()


def run(path):
    """What `experiments.run` does, at a tiny size; returns the numbers it comes to."""
    with Path(os.devnull).open("w") as nowhere:
        fit(Task(CONFIG, path), lambda: IMAGES, Console(file=nowhere))
    return numbers(path)


def study(path):
    """What `experiments.ablation` does, at a tiny size; returns the numbers it comes to."""
    with Path(os.devnull).open("w") as nowhere:
        tasks = plan(STUDY, None, [0], path, [])
        record(STUDY, path)
        console, load = Console(file=nowhere), lambda *_: IMAGES
        for outcome in conduct(tasks, Path(), 1, jax.devices(), console, load):
            if outcome.error:
                raise outcome.error
        page = write_report(path)
    assert page.exists()
    return [numbers(task.path) for task in tasks]


COMMANDS = {"run": run, "study": study}


def numbers(path):
    """What a run came to, times aside."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((path / "result.json").read_text())
    kept = [name for name in result if name.startswith(("test_", "confusion", "selected", "last"))]
    timeless = [{k: v for k, v in row.items() if "second" not in k} for row in rows]
    return timeless, {name: result[name] for name in kept}


def undisturbed(name):
    """The numbers of a command, and the operations that they take."""
    with tempfile.TemporaryDirectory() as folder, Disk(folder) as disk:
        return COMMANDS[name](Path(folder, "it")), disk.operations


def disturb(name, at, kind, expected):
    """Disturb a command, then let it be, and see to it that it ends as expected.

    Raises:
      AssertionError: it does not, or what disturbed it was not told in one line.
    """
    with tempfile.TemporaryDirectory() as folder:
        command, path = COMMANDS[name], Path(folder, "it")
        with Disk(folder, at, kind) as disk:
            try:
                assert command(path) == expected
            except RunError as error:
                assert len(str(error).splitlines()) == 1, error
            except Killed:
                pass
            except Exception as error:  # of a library in which a thread was killed
                where = disk.operations[min(at, len(disk.operations) - 1)]
                assert kind == "killed", f"{name}, {kind} at {at} ({where}): {error!r}"
        assert command(path) == expected, (name, at, kind, disk.operations[at])
        left = [str(file) for file in path.rglob(".*") if file.name != ".jaxcifar.lock"]
        assert not left, (name, at, kind, left)


def soak(seconds, seed=0, say=print):
    """Disturb commands at random operations, each once, until the time is over.

    Raises:
      AssertionError: one did not end as it does undisturbed.
    """
    until, tried = time.monotonic() + seconds, 0
    whole = {name: undisturbed(name) for name in COMMANDS}
    cases = [
        (name, at, kind)
        for name, (_, operations) in whole.items()
        for at in range(len(operations))
        for kind in KINDS
    ]
    random.Random(seed).shuffle(cases)
    for name, at, kind in cases:
        if time.monotonic() > until:
            break
        disturb(name, at, kind, whole[name][0])
        tried += 1
    say(
        f"faults: {tried} of {len(cases)} disturbed file operations, all mended by the same command"
    )


if __name__ == "__main__":
    from jaxcifar.commands.shared.cli import run_command

    run_command(lambda: soak(float(sys.argv[1]), *map(int, sys.argv[2:])))
