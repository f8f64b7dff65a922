"""What a run carries and what it is told: hyper-parameters, state, metrics, all of them arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import network
from jaxcifar.training.augment import Augmenting
from jaxcifar.training.network import Variables


@struct.dataclass
class Hyperparameters:
    """What one run sets, as arrays.

    Attributes:
      key: random key of the run.
      learning_rate: `[T] float32`, the rate at each step of the run.
      rule: scalars by name, the update rule's arguments beside the learning rate (see `optim`).
      bias_rate, clip_norm: float32 scalars, what is done to its updates and gradients.
      label_smoothing: float32 scalar, part of the target that all classes share.
      average: float32 scalar, what the average of weights keeps at a step.
      mean, std: `[3] float32`, what pixels in [0, 1] are normalised by.
      augment: how training images are shifted and flipped.
      augmentation: scalars by name, the arguments of `Program.augmentation` beside images and key.
      small_steps: int32 scalar, how many steps train on smaller images.
    """

    key: jax.Array
    learning_rate: jax.Array
    rule: dict[str, jax.Array]
    bias_rate: jax.Array
    clip_norm: jax.Array
    label_smoothing: jax.Array
    average: jax.Array
    mean: jax.Array
    std: jax.Array
    augment: Augmenting
    augmentation: dict[str, jax.Array]
    small_steps: jax.Array

    @property
    def init_key(self) -> jax.Array:
        """For the first weights."""
        return jax.random.fold_in(self.key, 0)

    @property
    def order_key(self) -> jax.Array:
        """For the order of images."""
        return jax.random.fold_in(self.key, 1)

    @property
    def step_key(self) -> jax.Array:
        """For what is random in a step."""
        return jax.random.fold_in(self.key, 2)

    @property
    def flip_key(self) -> jax.Array:
        """For which images are flipped first."""
        return jax.random.fold_in(self.key, 3)


@struct.dataclass
class Metrics:
    """Sums over examples: `loss_sum` float32, `correct` and `count` int32 scalars."""

    loss_sum: jax.Array
    correct: jax.Array
    count: jax.Array

    @classmethod
    def zero(cls) -> "Metrics":
        """No examples yet."""
        return cls(jnp.float32(0), jnp.int32(0), jnp.int32(0))

    @classmethod
    def of(cls, logits: jax.Array, labels: jax.Array) -> "Metrics":
        """Of logits `[N, K]` and labels `[N]`."""
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        correct = logits.argmax(-1) == labels
        return cls(losses.sum(), correct.sum(dtype=jnp.int32), jnp.int32(len(labels)))

    def __add__(self, other: "Metrics") -> "Metrics":
        return jax.tree.map(jnp.add, self, other)

    def share_right(self) -> float:
        """Return the accuracy of arrays on a device or the host: a quotient in float64."""
        return int(self.correct) / max(int(self.count), 1)

    def means(self) -> dict[str, jax.Array]:
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

    step: jax.Array
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
    average: tuple[PyTree, PyTree], new: tuple[PyTree, PyTree], keep: jax.Array, step: jax.Array
) -> tuple[PyTree, PyTree]:
    """`average = keep * average + (1 - keep) * new`, of weights and of their statistics alike.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, in the
    exponential form of Tarvainen and Valpola, "Mean teachers are better role models", 2017. While
    few steps are over it keeps less, `(step + 1) / (step + 10)`, or the first weights would stay.

    Args:
      average: of the steps before.
      new: after this step; what is no floating-point number is taken as it is.
      keep: scalar in [0, 1).
      step: from 0.
    """
    keep = jnp.minimum(keep, (step + 1) / (step + 10))

    def mean(old: jax.Array, new: jax.Array) -> jax.Array:
        floats = jnp.issubdtype(new.dtype, jnp.floating)
        return (new + keep * (old - new)).astype(new.dtype) if floats else new

    return jax.tree.map(mean, average, new)
