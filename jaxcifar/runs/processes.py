"""Where each of several processes that train one run together writes."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxcifar.machine import processes
from jaxcifar.machine.files import write_text
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task


@contextmanager
def own_task(task: Task) -> Iterator[Task]:
    """The task with the folder where this process writes what it writes of it.

    The first process has the run's folder; another one has its checkpoints, which all write
    together, in a folder that does not stay.
    """
    if processes.first():
        yield task
        return
    with tempfile.TemporaryDirectory(prefix="jaxcifar-") as scratch:
        own, theirs = RunFolder(Path(scratch)), RunFolder(task.path)
        write_text(own.config, task.config.to_json())
        own.checkpoints.symlink_to(theirs.checkpoints.absolute())
        if not task.overwrite:  # the first one's to delete
            own.result.symlink_to(theirs.result.absolute())  # if there is one, all are done
        yield dataclasses.replace(task, path=own.path, overwrite=False, tensorboard=False)
