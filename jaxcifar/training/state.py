"""The arrays of a run: hyper-parameters, training state and training sums."""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from jaxcifar.array_types import Float32, Int32, Key, Shaped
from jaxcifar.machine.sharing import AnyArray, PyTree
from jaxcifar.training import network, schedule_free
from jaxcifar.training.augment import AugmentationSettings
from jaxcifar.training.metrics import is_correct
from jaxcifar.training.mixing import MixingSettings, Targets, main_labels
from jaxcifar.training.network import Variables

# Numbers that a run's key is folded with, to get independent random streams.
_INIT_STREAM, _ORDER_STREAM, _STEP_STREAM, _FLIP_STREAM, _PREVIEW_STREAM = range(5)


@struct.dataclass
class Hyperparameters:
    """The hyper-parameters of a run, as arrays.

    Attributes:
      key: random key of the run.
      learning_rate: the learning rate at each step. The array may be longer than the run.
      rule: arguments of the update rule by name, without the learning rate.
      bias_rate: factor by which the updates of biases are multiplied (`optim.scale_biases`).
      clip_norm: largest norm of the gradients, 0 for no limit (`optim.clip`).
      label_smoothing: amount of label smoothing (`smoothed_cross_entropy`).
      average: decay of the moving average of the weights (`update_average`).
      mean, std: mean and standard deviation of each channel, for pixels in [0, 1].
      augment: settings of shifts, flips and cutout.
      augmentation: arguments of `Program.augmentation` by name, without key and images.
      small_steps: number of steps, from the first, that train on images of reduced size.
      mixing: settings of mixup and CutMix, or None if images are not mixed.
      class_weights: weight of each class in the loss, or None if all weights are 1.
      labels: labels to train on; None for the labels of the data set.
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
    augment: AugmentationSettings
    augmentation: dict[str, Shaped[Array, ""]]
    small_steps: Int32[Array, ""]
    mixing: MixingSettings | None = None
    class_weights: Float32[Array, "classes"] | None = None
    labels: Int32[Array, "images"] | None = None

    def training_labels(
        self, data_set_labels: Int32[AnyArray, "images"]
    ) -> Int32[AnyArray, "images"]:
        """Return the training labels of this run if it has its own, else those of the data set."""
        return data_set_labels if self.labels is None else self.labels

    @property
    def init_key(self) -> Key[Array, ""]:
        """The random key for the weights before the first step."""
        return jax.random.fold_in(self.key, _INIT_STREAM)

    @property
    def order_key(self) -> Key[Array, ""]:
        """The random key for the order of the training images."""
        return jax.random.fold_in(self.key, _ORDER_STREAM)

    @property
    def step_key(self) -> Key[Array, ""]:
        """The random key for augmentation and dropout."""
        return jax.random.fold_in(self.key, _STEP_STREAM)

    @property
    def flip_key(self) -> Key[Array, ""]:
        """The random key that chooses the images to flip in even epochs, if flips alternate."""
        return jax.random.fold_in(self.key, _FLIP_STREAM)

    @property
    def preview_key(self) -> Key[Array, ""]:
        """The random key for augmented images in pictures, which are not used for training."""
        return jax.random.fold_in(self.key, _PREVIEW_STREAM)


@struct.dataclass
class TrainingSums:
    """Sums over training images: loss (nats), number of correct predictions, number of images."""

    loss_sum: Float32[Array, ""]
    correct: Int32[Array, ""]
    count: Int32[Array, ""]

    @classmethod
    def zero(cls) -> "TrainingSums":
        """Return sums that are all 0, as before the first image of an epoch."""
        return cls(jnp.float32(0), jnp.int32(0), jnp.int32(0))

    @classmethod
    def of(cls, logits: Float32[Array, "images classes"], targets: Targets) -> "TrainingSums":
        """Return the sums of loss and correct predictions over a batch of images.

        For a mixed image, the class with the largest share counts as its label.
        """
        labels = main_labels(targets)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        correct = is_correct(logits, labels)
        return cls(losses.sum(), correct.sum(dtype=jnp.int32), jnp.int32(len(labels)))

    def __add__(self, other: "TrainingSums") -> "TrainingSums":
        return jax.tree.map(jnp.add, self, other)

    def accuracy(self) -> float:
        """Return the accuracy (0 to 1) as a Python float; not for use in a compiled function."""
        return int(self.correct) / max(int(self.count), 1)

    def means(self) -> dict[str, Float32[Array, ""]]:
        """Return the mean `loss` (nats) and the `accuracy` (0 to 1)."""
        count = jnp.maximum(self.count, 1)
        return {"loss": self.loss_sum / count, "accuracy": self.correct / count}


@struct.dataclass
class TrainState:
    """The training state: the arrays that a step changes, and that a checkpoint contains.

    Attributes:
      step: number of steps so far.
      params: parameters of the network.
      batch_stats: all variables of the network that are not parameters.
      opt_state: state of the update rule.
      sums: sums over the training images since the epoch began.
      average: moving average of `(params, batch_stats)`, or None if the run keeps no average.
    """

    step: Int32[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    sums: TrainingSums
    average: tuple[PyTree, PyTree] | None = None

    @property
    def variables(self) -> Variables:
        """The network's weights and other variables for evaluation.

        If the run keeps a moving average, the average is returned. If the update rule is
        schedule-free, `optax.contrib.schedule_free_eval_params` computes the parameters.
        """
        if self.average is not None:
            return network.variables(*self.average)
        params = schedule_free.evaluation_params(self.opt_state, self.params)
        return network.variables(params, self.batch_stats)

    def to_dict(self) -> dict[str, PyTree]:
        """Return the arrays of the state by name, as a checkpoint stores them.

        `sums` is stored as `metrics`, and `average` only if there is one.
        """
        content = {
            "step": self.step,
            "params": self.params,
            "batch_stats": self.batch_stats,
            "opt_state": self.opt_state,
            "metrics": self.sums,
        }
        return content if self.average is None else {**content, "average": self.average}

    @classmethod
    def from_dict(cls, content: dict[str, PyTree]) -> "TrainState":
        """Return the training state whose arrays a checkpoint stores; the inverse of `to_dict`."""
        fields = {name: tree for name, tree in content.items() if name != "metrics"}
        return cls(sums=content["metrics"], **fields)


def update_average(
    average: tuple[PyTree, PyTree],
    new_variables: tuple[PyTree, PyTree],
    decay: Float32[Array, ""],
    step: Int32[Array, ""],
) -> tuple[PyTree, PyTree]:
    """Return the moving average of a network's variables after a training step.

    The result is `decay * average + (1 - decay) * new_variables`; each pair has the parameters and
    the other variables. Integer arrays can't be averaged; they are taken from `new_variables`. The
    decay is in [0, 1). In the first steps, a large decay is replaced by `(step + 1) / (step + 10)`,
    where `step` counts from 0. So the first weights are soon forgotten.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, in the
    exponential form of Tarvainen and Valpola, "Mean teachers are better role models", 2017.
    """
    decay_in_first_steps = (step + 1) / (step + 10)
    decay = jnp.minimum(decay, decay_in_first_steps)

    def average_of_array(old_average: Array, new_array: Array) -> Array:
        can_be_averaged = jnp.issubdtype(new_array.dtype, jnp.floating)
        if not can_be_averaged:
            return new_array
        new_average = new_array + decay * (old_average - new_array)
        return new_average.astype(new_array.dtype)

    return jax.tree.map(average_of_array, average, new_variables)
