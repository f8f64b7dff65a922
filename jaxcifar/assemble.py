"""From a Config to what computes: the program and the arrays that it is run with."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcifar.config import Config
from jaxcifar.data import Dataset
from jaxcifar.errors import UsageError
from jaxcifar.models import create_model
from jaxcifar.optim import learning_rate_schedule
from jaxcifar.train import Hyperparameters, Program


def make_program(config: Config, train_examples: int, devices: list[jax.Device]) -> Program:
    """The program of a config on some devices.

    Raises:
      UsageError: the batch size does not fit the images or the devices.
    """
    if config.batch_size % len(devices):
        raise UsageError(
            f"--batch-size {config.batch_size}: must be a multiple of the {len(devices)} devices"
        )
    if config.batch_size > train_examples:
        raise UsageError(
            f"--batch-size {config.batch_size}: more than the {train_examples} training images"
        )
    on_cpu = devices[0].platform == "cpu"
    return Program(
        model=create_model(config.arch, compute_dtype(config, devices[0]), config.dropout),
        optimizer=config.optimizer,
        batch_size=config.batch_size,
        steps_per_epoch=train_examples // config.batch_size,
        batch_sharding=NamedSharding(Mesh(np.asarray(devices), ("data",)), PartitionSpec("data")),
        looped=not on_cpu,
    )


def compute_dtype(config: Config, device: jax.Device) -> jnp.dtype:
    """What the network computes in: as asked for, or by the kind of device."""
    auto = "float32" if device.platform == "cpu" else "bfloat16"
    return jnp.dtype(auto if config.dtype == "auto" else config.dtype)


def make_hyperparameters(config: Config, dataset: Dataset, steps_per_epoch: int) -> Hyperparameters:
    """The arrays that a config and the statistics of its images come to."""
    schedule = learning_rate_schedule(config, steps_per_epoch)
    steps = jnp.arange(config.epochs * steps_per_epoch)
    return Hyperparameters(
        key=jax.random.key(config.seed),
        learning_rate=jnp.broadcast_to(schedule(steps), steps.shape).astype(jnp.float32),
        weight_decay=jnp.float32(config.weight_decay),
        momentum=jnp.float32(config.momentum),
        mean=jnp.asarray(dataset.mean if config.normalize else np.zeros(3), jnp.float32),
        std=jnp.asarray(dataset.std if config.normalize else np.ones(3), jnp.float32),
        augment=jnp.asarray(config.augment),
    )
