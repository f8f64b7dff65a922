"""The network behind a run: as its folder describes it, never by importing what it names."""

from jaxcifar import registry
from jaxcifar.errors import RunError, first_line
from jaxcifar.models import create_model
from jaxcifar.models.summary import Summary, summarize
from jaxcifar.report.records import RunRecord
from jaxcifar.runs.folder import RunFolder


def read_architecture(run: RunRecord) -> Summary:
    """What the run's folder describes; of older runs that lack it, ours are traced anew.

    Raises:
      RunError: the folder has no description, or a damaged one; the message says so in a line.
    """
    file = RunFolder(run.path).network
    if file.exists():
        try:
            return Summary.from_json(file.read_text())
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file.name} in the run's folder can't be read ({first_line(error)})"
            ) from error
    if run.config.arch not in registry.KINDS["arch"]:
        raise RunError(f"the run's folder has no {file.name}")
    return summarize(create_model(run.config, len(run.class_names)))
