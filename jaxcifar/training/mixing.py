"""Mixed images: mixup, CutMix, and augmentations of the user that change labels.

A mixed image belongs to several classes. Its target is a distribution over the classes, and no
longer a label.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxcifar.array_types import Float32, Int32, Integer, Key
from jaxcifar.machine import sharing
from jaxcifar.training.augment import MIXING_STREAM, Pixels

Distributions = Float32[Array, "batch classes"]
Targets = Integer[Array, "batch"] | Distributions  # labels, or distributions over the classes


@struct.dataclass
class MixingSettings:
    """The settings of mixup and CutMix.

    Attributes:
      mixup: alpha of mixup's distribution Beta(alpha, alpha), or None without mixup.
      cutmix: alpha of CutMix's distribution Beta(alpha, alpha), or None without CutMix.
      num_classes: number of classes; another number needs another compiled program.
    """

    mixup: Float32[Array, ""] | None
    cutmix: Float32[Array, ""] | None
    num_classes: int = struct.field(pytree_node=False)


@dataclasses.dataclass(frozen=True)
class LabelAugmentation:
    """A user's augmentation that takes and returns labels too, as distributions over the classes.

    Attributes:
      function: called as `function(key, images, labels=distributions)`; returns images and
        distributions of the same shapes.
      num_classes: number of classes.
    """

    function: Callable[..., Any]
    num_classes: int

    def __call__(self, key: Key[Array, ""], images: Pixels, labels: Integer[Array, "batch"]) -> Any:
        """Call the user's function with labels as distributions; return its images and targets.

        The returned values are not checked here.
        """
        return self.function(key, images, labels=distributions(labels, self.num_classes))


def distributions(targets: Targets, num_classes: int) -> Distributions:
    """Convert labels to one-hot distributions over the classes; return distributions unchanged."""
    return jax.nn.one_hot(targets, num_classes) if targets.ndim == 1 else targets


def main_labels(targets: Targets) -> Int32[Array, "batch"]:
    """Return the label of each image; for a mixed image, the class with the largest share."""
    return targets if targets.ndim == 1 else targets.argmax(-1).astype(jnp.int32)


def mix(
    keys: Key[Array, "batch"],
    inputs: Pixels,
    targets: Targets,
    settings: MixingSettings,
    device_axis: str | None,
    parts_per_batch: int = 1,
) -> tuple[Pixels, Distributions]:
    """Mix each image of a batch, and its target, with the next image (mixup or CutMix).

    Batches are in random order, so the next image is a random image. Each image gets its own random
    share; the papers draw one share for a whole batch. With both mixup and CutMix, each image gets
    one of the two with probability 1/2.

    Args:
      keys: a random key for each image; the keys passed to `shift_and_flip` may be used again.
      inputs: this device's part of the batch, normalised.
      targets: labels of these images, or distributions over the classes.
      settings: the settings of mixup and CutMix; at least one of the two is used.
      device_axis: name of the mapped axis of the devices that share the batch, or None for a single
        device.
      parts_per_batch: number of parts of the batch that are computed one after another, to save
        memory; it tells which image of the batch is the next one.

    Returns:
      the mixed images, and the distribution over the classes of each.
    """
    targets = distributions(targets, settings.num_classes)
    partner_inputs, partner_targets = sharing.next_examples(
        (inputs, targets), device_axis, parts_per_batch
    )
    _, height, width, _ = inputs.shape

    def draw_shares_of_one_image(key: Array) -> Array:
        mixing_key = jax.random.fold_in(key, MIXING_STREAM)
        choice_key, mixup_key, cutmix_key = jax.random.split(mixing_key, 3)
        if settings.mixup is None:
            assert settings.cutmix is not None
            return cutmix_shares(cutmix_key, settings.cutmix, height, width)
        shares_with_mixup = mixup_shares(mixup_key, settings.mixup, height, width)
        if settings.cutmix is None:
            return shares_with_mixup
        shares_with_cutmix = cutmix_shares(cutmix_key, settings.cutmix, height, width)
        uses_mixup = jax.random.bernoulli(choice_key)
        return jnp.where(uses_mixup, shares_with_mixup, shares_with_cutmix)

    shares = jax.vmap(draw_shares_of_one_image)(keys)  # `[batch, height, width]`
    pixel_shares = shares[..., None]  # with an axis for the channels
    rows_and_columns = (1, 2)
    image_shares = shares.mean(rows_and_columns)[:, None]  # with an axis for the classes
    mixed_inputs = pixel_shares * inputs + (1 - pixel_shares) * partner_inputs
    mixed_targets = image_shares * targets + (1 - image_shares) * partner_targets
    return mixed_inputs, mixed_targets


def mixup_shares(
    key: Key[Array, ""], alpha: Float32[Array, ""], height: int, width: int
) -> Float32[Array, "{height} {width}"]:
    """Return an image's share (0 to 1) in each pixel of a mixed image, for mixup.

    All pixels have the same share, drawn from Beta(alpha, alpha). Zhang et al., "mixup: beyond
    empirical risk minimization", 2018.
    """
    return jnp.full((height, width), jax.random.beta(key, alpha, alpha))


def cutmix_shares(
    key: Key[Array, ""], alpha: Float32[Array, ""], height: int, width: int
) -> Float32[Array, "{height} {width}"]:
    """Return an image's share in each pixel of a mixed image, for CutMix: 0 or 1.

    The share is 0 in a rectangle with the proportions of the image, and 1 outside. The rectangle's
    area is the fraction 1 - x of the image, with x drawn from Beta(alpha, alpha). The rectangle's
    centre can be any pixel, so a part of the rectangle may be outside the image. Yun et al.,
    "CutMix: regularization strategy to train strong classifiers with localizable features", 2019.
    """
    share_key, centre_key = jax.random.split(key)
    side_fraction = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))
    image_extents = jnp.asarray([height, width])
    centre = jax.random.randint(centre_key, (2,), 0, image_extents)
    half_extents = (side_fraction * image_extents).astype(jnp.int32) // 2
    top_left = centre - half_extents
    bottom_right = centre + half_extents
    rows, columns = jnp.arange(height), jnp.arange(width)
    is_in_rows = (rows >= top_left[0]) & (rows < bottom_right[0])
    is_in_columns = (columns >= top_left[1]) & (columns < bottom_right[1])
    is_in_rectangle = is_in_rows[:, None] & is_in_columns[None, :]
    return jnp.where(is_in_rectangle, 0.0, 1.0)
