"""What a run carries and what it is told: hyper-parameters, state, metrics, all of them arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from jaxcifar.array_types import Float32, Int32, Integer, Key, Shaped
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import network
from jaxcifar.training.augment import Augmenting
from jaxcifar.training.network import Variables


@struct.dataclass
class Hyperparameters:
    """What one run sets, as arrays.

    Attributes:
      key: random key of the run.
      learning_rate: the rate at each step of the run.
      rule: scalars by name, the update rule's arguments beside the learning rate (see `optim`).
      bias_rate, clip_norm: what is done to its updates and gradients.
      label_smoothing: part of the target that all classes share.
      average: what the average of weights keeps at a step.
      mean, std: what pixels in [0, 1] are normalised by.
      augment: how training images are shifted and flipped.
      augmentation: scalars by name, the arguments of `Program.augmentation` beside images and key.
      small_steps: how many steps train on smaller images.
    """

    key: Key[Array, ""]
    learning_rate: Float32[Array, "steps"]
    rule: dict[str, Shaped[Array, ""]]
    bias_rate: Float32[Array, ""]
    clip_norm: Float32[Array, ""]
    label_smoothing: Float32[Array, ""]
    average: Float32[Array, ""]
    mean: Float32[Array, "3"]
    std: Float32[Array, "3"]
    augment: Augmenting
    augmentation: dict[str, Shaped[Array, ""]]
    small_steps: Int32[Array, ""]

    @property
    def init_key(self) -> Key[Array, ""]:
        """For the first weights."""
        return jax.random.fold_in(self.key, 0)

    @property
    def order_key(self) -> Key[Array, ""]:
        """For the order of images."""
        return jax.random.fold_in(self.key, 1)

    @property
    def step_key(self) -> Key[Array, ""]:
        """For what is random in a step."""
        return jax.random.fold_in(self.key, 2)

    @property
    def flip_key(self) -> Key[Array, ""]:
        """For which images are flipped first."""
        return jax.random.fold_in(self.key, 3)


@struct.dataclass
class Metrics:
    """Sums over examples: of the loss, of those that are right, of all."""

    loss_sum: Float32[Array, ""]
    correct: Int32[Array, ""]
    count: Int32[Array, ""]

    @classmethod
    def zero(cls) -> "Metrics":
        """No examples yet."""
        return cls(jnp.float32(0), jnp.int32(0), jnp.int32(0))

    @classmethod
    def of(
        cls, logits: Float32[Array, "images classes"], labels: Integer[Array, "images"]
    ) -> "Metrics":
        """Of logits and labels."""
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        correct = logits.argmax(-1) == labels
        return cls(losses.sum(), correct.sum(dtype=jnp.int32), jnp.int32(len(labels)))

    def __add__(self, other: "Metrics") -> "Metrics":
        return jax.tree.map(jnp.add, self, other)

    def share_right(self) -> float:
        """Return the accuracy of arrays on a device or the host: a quotient in float64."""
        return int(self.correct) / max(int(self.count), 1)

    def means(self) -> dict[str, Float32[Array, ""]]:
        """Mean loss and accuracy (a fraction)."""
        count = jnp.maximum(self.count, 1)
        return {"loss": self.loss_sum / count, "accuracy": self.correct / count}


@struct.dataclass
class TrainState:
    """All that a run carries from step to step, and all that a checkpoint holds.

    `batch_stats` is what the network carries beside its parameters (see `network`); `metrics` sums
    over the training batches since the epoch began, so that a run can stop and resume at any step.
    `average` is that of `(params, batch_stats)` over the steps (see `averaged`), or None.
    """

    step: Int32[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    metrics: Metrics
    average: tuple[PyTree, PyTree] | None = None

    @property
    def variables(self) -> Variables:
        """What evaluating the network takes: the average, if there is one."""
        return network.variables(*(self.average or (self.params, self.batch_stats)))

    @property
    def parts(self) -> dict[str, PyTree]:
        """By name, without what a run does not have and older versions did not know."""
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: part for name, part in parts.items() if part is not None}


def averaged(
    average: tuple[PyTree, PyTree],
    new: tuple[PyTree, PyTree],
    keep: Float32[Array, ""],
    step: Int32[Array, ""],
) -> tuple[PyTree, PyTree]:
    """`average = keep * average + (1 - keep) * new`, of weights and of their statistics alike.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, in the
    exponential form of Tarvainen and Valpola, "Mean teachers are better role models", 2017. While
    few steps are over it keeps less, `(step + 1) / (step + 10)`, or the first weights would stay.

    Args:
      average: of the steps before.
      new: after this step; what is no floating-point number is taken as it is.
      keep: in [0, 1).
      step: from 0.
    """
    keep = jnp.minimum(keep, (step + 1) / (step + 10))

    def mean(old: Array, new: Array) -> Array:
        floats = jnp.issubdtype(new.dtype, jnp.floating)
        return (new + keep * (old - new)).astype(new.dtype) if floats else new

    return jax.tree.map(mean, average, new)
