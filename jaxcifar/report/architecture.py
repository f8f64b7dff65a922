"""Read the description of a network from a run folder, without importing the user's code."""

import functools
from typing import Any

from flax import linen as nn

from jaxcifar.build.model import create_model
from jaxcifar.config import registry
from jaxcifar.diagram.network_summary import Summary, summarize
from jaxcifar.diagram.stored import MAX_SUMMARY_BYTES
from jaxcifar.errors import RunError, first_line, printable
from jaxcifar.machine.reading import read_text, report_errors
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.runs.file_formats import DELETE_IT_AND_RESULT
from jaxcifar.runs.folder import RunFolder

_MAX_LAYERS_AND_CHANNELS = 5_000  # of a traced network; built-in ones have hundreds


def read_architecture(run: FinishedRun) -> Summary:
    """Return the summary of a run's network: its layers, parameters and graph.

    The summary is read from the run folder. If an older run folder has none, the summary of a
    built-in network is computed again.

    Raises:
      RunError: the summary is damaged, or it is missing and can't be computed again.
    """
    file = RunFolder(run.path).network_file
    if file.exists():
        try:
            text = read_text(file, DELETE_IT_AND_RESULT, MAX_SUMMARY_BYTES)
            with report_errors(file, DELETE_IT_AND_RESULT):
                return Summary.from_json(text)
        except RunError as error:
            reason_and_advice = str(error).removeprefix(f"{file}: ")
            raise RunError(
                f"{file.name} in the run's folder can't be read ({reason_and_advice})"
            ) from error
    is_built_in = run.config.arch in registry.KINDS["arch"]
    if not is_built_in:  # to build it would import the user's code
        raise RunError(
            f"the run's folder has no {file.name}; repeat the run with --overwrite to get one"
        )
    network_arguments = tuple(dict(run.config.arch_args).values())
    layers_and_channels = _upper_bound_of_layers_and_channels(network_arguments)
    may_be_too_large = layers_and_channels > _MAX_LAYERS_AND_CHANNELS
    if may_be_too_large:
        raise RunError(
            f"the run's folder has no {file.name}, and its network is too large to be built for "
            "the report; repeat the run with --overwrite to get the file"
        )
    try:
        network = create_model(run.config, len(run.class_names))
        return _summarize_once(network, run.config.image_size)
    except Exception as error:  # Flax and JAX raise anything on arguments that make no sense
        reason = printable(first_line(error), 200)
        raise RunError(
            f"the run's folder has no {file.name}, and the network can't be built from config.json "
            f"({reason}); repeat the run with --overwrite to get the file"
        ) from error


@functools.lru_cache(maxsize=64)
def _summarize_once(network: nn.Module, image_size: int) -> Summary:
    """Return the summary of a network; runs with the same network share one cached summary."""
    return summarize(network, image_size)


def _upper_bound_of_layers_and_channels(argument: Any) -> int:
    """Return an upper bound on the layers and channels that an argument of a network asks for.

    The bound is the sum of all integers in the argument, plus the lengths of its tuples. For
    example, `(64, 128)` has the bound 2 + 64 + 128. Other values, such as texts, add nothing.
    """
    if isinstance(argument, tuple):
        bounds_of_elements = [_upper_bound_of_layers_and_channels(element) for element in argument]
        return len(argument) + sum(bounds_of_elements)
    return argument if isinstance(argument, int) else 0
