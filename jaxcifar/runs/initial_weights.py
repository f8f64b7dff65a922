"""The state from which training starts: random weights, or those of another run (`--init`)."""

import numpy as np
from numpy.typing import ArrayLike

from jaxcifar.build.host_images import images_for_init
from jaxcifar.build.hyperparameters import normalization
from jaxcifar.build.model import create_model
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.config.weights_file import init_file
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.runs.weights import Card, arrange_arrays, read_weights
from jaxcifar.training import network
from jaxcifar.training.state import Hyperparameters, TrainState


def initial_state(
    setup: Setup, hyper: Hyperparameters, config: Config, print_line: PrintLine
) -> TrainState:
    """Return the training state before the first step: random weights, or those of `--init`.

    Args:
      setup: the program and the images.
      hyper: the run's hyper-parameters, on the devices.
      config: the run's settings; `config.init` is the run whose weights are loaded, or "".
      print_line: prints a line.

    Raises:
      RunError: the weights of `config.init` can't be used, see `load_initial_weights`.
    """
    images = images_for_init(setup.program, setup.dataset.train.images)
    state = setup.program.init(hyper, images)
    if not config.init:
        return state
    return load_initial_weights(state, setup, hyper, config, print_line)


def load_initial_weights(
    state: TrainState, setup: Setup, hyper: Hyperparameters, config: Config, print_line: PrintLine
) -> TrainState:
    """Return the training state before the first step, with the weights of another run (`--init`).

    If the other run has other classes, the last layer (the layer whose shape depends on the number
    of classes) keeps its new random weights. A line is printed if the other run normalised its
    images by another mean or deviation.

    Args:
      state: the training state before the first step, with new random weights.
      setup: the program and the images.
      hyper: the run's hyper-parameters.
      config: the run's settings; `config.init` names the other run.
      print_line: prints a line.

    Raises:
      RunError: the weights can't be read, have changed since the run began, or belong to another
        network.
    """
    path = init_file(config.init)
    arrays, card = read_weights(path, digest=config.init_sha256)
    class_names = setup.dataset.class_names
    has_other_classes = tuple(card["class_names"]) != class_names
    if has_other_classes:
        random_arrays = named_arrays(state.variables)
        for name in _array_names_of_last_layer(config, len(class_names)):
            arrays[name] = np.asarray(random_arrays[name])
    was_normalized = card["config"].get("normalize", True)
    trained_statistics = normalization(was_normalized, card["channel_mean"], card["channel_std"])
    new_statistics = (hyper.mean, hyper.std)
    if not np.allclose(trained_statistics, new_statistics, atol=0.005):
        print_line(
            f"{path} was trained on images normalised by the mean and deviation "
            f"{_rounded(trained_statistics)}; the images of this run have "
            f"{_rounded(new_statistics)}."
        )
    advice = f"use {_options_that_decide_shapes(card, config)} of these weights"
    variables = arrange_arrays(arrays, state.variables, path, advice)
    placed_variables = place_on_devices(variables, setup.program.replicated)
    return setup.program.init_from_variables(hyper, placed_variables)


def _rounded(statistics: tuple[ArrayLike, ArrayLike]) -> list[float]:
    """Return the mean and then the deviation of each channel with four decimals."""
    return [round(float(number), 4) for number in np.concatenate(statistics)]


def _options_that_decide_shapes(card: Card, config: Config) -> str:
    """Return text that names the options on which the shapes of a network's arrays depend.

    `card` describes the weights, and `config` has the settings of the new run. The image size is
    named only if the two have different sizes.
    """
    image_size = card["config"].get("image_size", IMAGE_SIZE)
    options = "the --arch and --arch-args"
    if image_size != config.image_size:
        options += f" and the --image-size {image_size}"
    return options


def _array_names_of_last_layer(config: Config, class_count: int) -> list[str]:
    """Return the names of a network's arrays whose shape depends on the number of classes."""

    def shapes_by_name(class_count: int) -> dict[str, tuple[int, ...]]:
        variables = network.variable_shapes(create_model(config, class_count), config.image_size)
        return {name: leaf.shape for name, leaf in named_arrays(variables).items()}

    shapes = shapes_by_name(class_count)
    shapes_for_one_more_class = shapes_by_name(class_count + 1)
    return [name for name in shapes if shapes[name] != shapes_for_one_more_class.get(name)]
