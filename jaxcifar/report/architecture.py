"""The network behind a run: as its folder describes it, never by importing what it names."""

from typing import Any

from jaxcifar.build.model import create_model
from jaxcifar.config import registry
from jaxcifar.diagram.network_summary import Summary, summarize
from jaxcifar.diagram.stored import MOST_BYTES
from jaxcifar.errors import RunError, first_line, printable
from jaxcifar.machine.reading import read_text, report_errors
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.saved import BOTH_AGAIN

_MOST = 5_000  # layers and channels of what is traced; ours have hundreds


def read_architecture(run: FinishedRun) -> Summary:
    """What the run's folder describes; of older runs that lack it, ours are traced anew.

    Raises:
      RunError: the folder has no description, or a damaged one; the message says so in a line.
    """
    file = RunFolder(run.path).network
    if file.exists():
        try:
            text = read_text(file, BOTH_AGAIN, MOST_BYTES)
            with report_errors(file, BOTH_AGAIN):
                return Summary.from_json(text)
        except RunError as error:
            reason = str(error).removeprefix(f"{file}: ")
            raise RunError(f"{file.name} in the run's folder can't be read ({reason})") from error
    if run.config.arch not in registry.KINDS["arch"]:
        raise RunError(f"the run's folder has no {file.name}")
    if _size(tuple(dict(run.config.arch_args).values())) > _MOST:
        raise RunError(f"the run's folder has no {file.name}, and its network is too large")
    try:
        return summarize(create_model(run.config, len(run.class_names)))
    except Exception as error:  # of Flax and JAX, on fields that nobody thought of
        reason = printable(first_line(error), 200)
        raise RunError(f"its fields make no network ({reason})") from error


def _size(value: Any) -> int:
    """How many layers or channels fields may stand for."""
    if isinstance(value, tuple):
        return len(value) + sum(map(_size, value))
    return value if isinstance(value, int) else 0
