"""Feed images from the host's memory if they do not fit into the devices' memory.

The training program gets the images of one dispatch (one call to the devices) at a time. While the
devices train on them, the host gathers the images of the next dispatch. The order of the images and
the random numbers are the same, so the results are the same, too.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import NamedSharding

from jaxcifar.data import Dataset, Examples
from jaxcifar.machine.processes import gather_texts
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.machine.system import available_memory
from jaxcifar.machine.terminal import format_bytes
from jaxcifar.training import network
from jaxcifar.training.parallel_runs import ParallelRuns
from jaxcifar.training.program import Program

_MEMORY_SHARE = 0.5  # part of the free memory for images; the rest is for weights and feature maps
_MAX_FED_BYTES = 2**28  # largest size of images that are fed at a time


def image_memory(devices: Sequence[jax.Device]) -> int:
    """Return the number of bytes that images may take on each device: half of its free memory."""
    stats = devices[0].memory_stats() or {}
    if "bytes_limit" in stats:
        free_bytes = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    else:  # a CPU's devices share the memory of the host
        free_bytes = available_memory() // len(devices)
    return int(_MEMORY_SHARE * free_bytes)


def image_bytes(dataset: Dataset) -> int:
    """Return the size of all images of a data set in bytes."""
    splits = (dataset.train, dataset.val, dataset.test)
    return sum(examples.images.nbytes for examples in splits)


def choose_steps_per_feed(program: Program, dataset: Dataset, run_count: int) -> int | None:
    """Return for how many training steps the host sends images to the devices in one transfer.

    Args:
      program: the training program.
      dataset: the images.
      run_count: number of runs that train at a time.

    Returns:
      the number of steps; None if all images fit into the memory of each device, and stay there.
    """
    devices = program.mesh.local_devices
    # All processes must compile the same program, so the one with the least memory decides.
    memory_texts_of_processes = gather_texts(str(image_memory(devices)))
    least_memory = min(int(text) for text in memory_texts_of_processes)
    images_fit_on_devices = image_bytes(dataset) <= least_memory
    if images_fit_on_devices:
        return None
    fed_images_take_host_memory = devices[0].platform == "cpu"
    if fed_images_take_host_memory:
        return 1
    bytes_of_image = dataset.train.images[:1].nbytes
    bytes_of_step = run_count * program.batch_size * bytes_of_image
    fitting_steps = min(_MAX_FED_BYTES, least_memory) // bytes_of_step
    return max(1, min(fitting_steps, program.steps_per_epoch))


def describe_feeding(dataset: Dataset, devices: Sequence[jax.Device]) -> str:
    """Return a line for the user: the images are too large for the devices and stay on the host."""
    return (
        f"the images take {format_bytes(image_bytes(dataset))}, and {devices[0].device_kind} has "
        f"{format_bytes(image_memory(devices))} for them: they stay in the host's memory and are "
        "fed a batch ahead."
    )


def place_images(
    examples: Examples, placement: NamedSharding, steps_per_feed: int | None
) -> Examples:
    """Place labels on the devices, and the images too if all images fit; return both.

    Args:
      examples: images and labels, on the host.
      placement: where JAX puts the arrays.
      steps_per_feed: None if all images of the data set fit on the devices. Otherwise the images
        stay on the host, which sends the images of this number of training steps at a time.
    """
    if steps_per_feed is None:
        return place_on_devices(examples, placement)
    labels = place_on_devices(examples.labels, placement)
    return examples._replace(labels=labels)


def images_for_init(program: Program, images: np.ndarray) -> np.ndarray:
    """Return the training images that a network gets when its weights are initialized.

    If the images are on the devices, all of them are returned. Otherwise only the first images are
    returned, as many as the initialization uses.
    """
    if program.steps_per_feed is None:
        return images
    needed_images = network.init_image_count(images.shape)
    return images[:needed_images]


def examples_to_feed(
    parallel_runs: ParallelRuns,
    train: Examples,
    orders: jax.Array,
    first_steps: Sequence[int],
    step_count: int,
) -> Examples:
    """Gather the training images of the next steps of each run, and place them on the devices.

    Args:
      parallel_runs: the training program of all runs.
      train: all training images, on the host, and their labels, on the devices.
      orders: for each run, the order of the training images in its current epoch, `[runs, N]`.
      first_steps: for each run, the number of steps that it has been trained for.
      step_count: number of steps to gather images for; at most `program.steps_per_feed`.

    Returns:
      the images, `[runs, images, H, W, 3] uint8`, and the labels of all training images.
    """
    program, images = parallel_runs.program, train.images
    assert program.steps_per_feed is not None  # else all images are on the devices
    run_count = len(orders)
    max_images_of_run = program.steps_per_feed * program.batch_size
    gathered_images = np.zeros((run_count, max_images_of_run, *images.shape[1:]), np.uint8)
    orders_on_host = np.asarray(orders)
    for run, first_step in enumerate(first_steps):
        step_in_epoch = first_step % program.steps_per_epoch
        start = step_in_epoch * program.batch_size
        end = start + step_count * program.batch_size
        indices = orders_on_host[run, start:end]
        gathered_images[run, : len(indices)] = images[indices]
    images_on_devices = place_on_devices(gathered_images, parallel_runs.sharding)
    return train._replace(images=images_on_devices)
