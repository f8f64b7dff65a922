"""Make the training program of a config."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxcifar.build.augmentation import load_augmentation
from jaxcifar.build.model import compute_dtype, create_model
from jaxcifar.build.update_rule import UserRule, update_rule
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine import onednn
from jaxcifar.machine.sharing import AXIS
from jaxcifar.training import network
from jaxcifar.training.program import Program


def make_program(
    config: Config, num_classes: int, train_examples: int, devices: Sequence[jax.Device]
) -> Program:
    """Return the training program (network, update rule and devices) for the settings of a run.

    Args:
      config: settings of the run.
      num_classes: number of classes.
      train_examples: number of training images.
      devices: the devices that share each batch.

    Raises:
      UsageError: the batch size does not fit the images or devices, or user code can't be loaded.
    """
    _check_batch_size(config, train_examples, len(devices))
    dtype = compute_dtype(config, devices[0])
    is_bfloat16_on_cpu = dtype == jnp.bfloat16 and devices[0].platform == "cpu"
    # Without oneDNN, a CPU is fast at products of bfloat16, but slow at all other operations.
    only_products_are_fast = is_bfloat16_on_cpu and not onednn.is_on()
    model_dtype = jnp.float32 if only_products_are_fast else dtype
    begins_with_small_images = config.small_fraction > 0 and config.small_size < config.image_size
    optimizer = update_rule(config)
    model = create_model(config, num_classes, model_dtype, AXIS)
    # With `--dtype auto`, a network without a field `dtype` computes in float32.
    takes_model_dtype = network.dtype(model) == model_dtype
    rounds_products = is_bfloat16_on_cpu and takes_model_dtype
    augmentation = load_augmentation(config, num_classes)
    # In a notebook, an edit of another cell changes what equal functions compute.
    code_kinds = ("arch", "optimizer", "augmentation")
    digests_of_code = [user_code.digests(config, kind) for kind in code_kinds]
    network_identity = (
        config.arch,
        config.arch_args,
        *digests_of_code,
        config.dropout,
        num_classes,
        dtype,
    )
    return Program(
        model=model,
        optimizer=optimizer,
        augmentation=augmentation,
        keeps_average=config.average > 0,
        small_size=config.small_size if begins_with_small_images else None,
        batch_size=config.batch_size,
        steps_per_epoch=train_examples // config.batch_size,
        mesh=Mesh(np.asarray(devices), (AXIS,)),
        device_axis=AXIS,
        product_dtype=dtype if rounds_products else None,
        network_identity=network_identity,
        image_size=config.image_size,
        parts_per_batch=config.accumulate,
        rule_may_use_loss=isinstance(optimizer, UserRule),
    )


def _check_batch_size(config: Config, train_examples: int, device_count: int) -> None:
    """Raise UsageError if the batch size does not fit the training images or the devices."""
    option = f"--batch-size {config.batch_size}"
    if config.batch_size % device_count > 0:
        raise UsageError(
            f"{option}: the batch size must be a multiple of {device_count}, the number of devices"
        )
    if config.batch_size % (device_count * config.accumulate) > 0:
        raise UsageError(
            f"{option}: the batch size must be a multiple of --accumulate {config.accumulate} "
            f"times {device_count} devices"
        )
    if config.batch_size > train_examples:
        raise UsageError(
            f"{option}: the batch size is larger than the {train_examples} training images; use "
            f"{train_examples} or less"
        )
