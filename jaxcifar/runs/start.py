"""Where training starts that goes on from another run's weights."""

from collections.abc import Callable

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config, init_file
from jaxcifar.errors import RunError
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.runs.weights import fitted, named, read_weights
from jaxcifar.training import network
from jaxcifar.training.state import Hyperparameters, TrainState


def taken_over(
    state: TrainState,
    setup: Setup,
    hp: Hyperparameters,
    config: Config,
    say: Callable[[str], None],
) -> TrainState:
    """A state before the first step, with the weights that `--init` names.

    On images of other classes, what depends on the number of classes (the last layer) stays as it
    is in `state`: it learns anew.

    Args:
      state: as the seed makes it.
      setup: of the run.
      hp: its hyper-parameters, on the devices.
      config: names the weights.
      say: told if these were trained on images of another mean or deviation.

    Raises:
      RunError: they can't be read, have changed since the run began, or are another network's.
    """
    path = init_file(config.init)
    arrays, card = read_weights(path, digest=config.init_sha256)
    if tuple(card["class_names"]) != setup.dataset.class_names:
        own = named(state.variables)
        arrays |= {
            name: np.asarray(own[name]) for name in _head(config, len(setup.dataset.class_names))
        }
    with_theirs = [*card["channel_mean"], *card["channel_std"]]
    with_ours = np.concatenate([hp.mean, hp.std])
    if not np.allclose(with_theirs, with_ours, atol=0.005):
        say(
            f"{path} was trained on images of mean and deviation {with_theirs}; here they are "
            f"{[round(float(value), 4) for value in with_ours]}."
        )
    try:
        variables = fitted(arrays, state.variables, path)
    except RunError as error:
        raise RunError(f"{error}; choose its --arch and --arch-args") from error
    return setup.program.init_from(hp, place_on_devices(variables, setup.program.replicated))


def _head(config: Config, classes: int) -> list[str]:
    """Names of the arrays whose shape depends on the number of classes."""

    def shapes(classes: int) -> dict[str, tuple[int, ...]]:
        variables = network.shapes(create_model(config, classes))
        return {name: leaf.shape for name, leaf in named(variables).items()}

    ours, others = shapes(classes), shapes(classes + 1)
    return [name for name, shape in ours.items() if others.get(name) != shape]
