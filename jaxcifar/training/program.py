"""Training and evaluation as pure functions: no file, no clock, no print.

A `Program` is what gets compiled: a network, an update rule and a placement. All that differs
between runs of one architecture (rates, decay, normalisation, augmentation, seed) is data in
`Hyperparameters`, so that one compiled program serves them all.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcifar.machine import sharing
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import augment
from jaxcifar.training.optim import Rule

Variables = dict[str, PyTree]
# By default XLA computes on a CPU whatever it can as early as it can, here the transformed kernels
# of all layers before the first layer, which doubles the memory that a step takes. On accelerators
# the option is without effect.
CPU_OPTIONS = (
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    if jax.__version_info__ >= (0, 10)
    else {"xla_cpu_enable_concurrency_optimized_scheduler": False}  # its name until then
)
EVAL_BATCH = 500  # images at a time, over all devices; divides CIFAR-10's splits on one device


@struct.dataclass
class Hyperparameters:
    """What one run sets, as arrays.

    Attributes:
      key: random key of the run.
      learning_rate: `[T] float32`, the rate at each step of the run.
      weight_decay, momentum: scalars (see `optim`).
      mean, std: `[3] float32`, what pixels in [0, 1] are normalised by.
      augment: boolean scalar.
    """

    key: jax.Array
    learning_rate: jax.Array
    weight_decay: jax.Array
    momentum: jax.Array
    mean: jax.Array
    std: jax.Array
    augment: jax.Array


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

    def means(self) -> dict[str, jax.Array]:
        """Mean loss and accuracy (a fraction)."""
        count = jnp.maximum(self.count, 1)
        return {"loss": self.loss_sum / count, "accuracy": self.correct / count}


@struct.dataclass
class TrainState:
    """All that a run carries from step to step, and all that a checkpoint holds.

    `metrics` sums over the training batches since the epoch began, so that a run can stop and
    resume at any step.
    """

    step: jax.Array
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    metrics: Metrics

    @property
    def variables(self) -> Variables:
        """What evaluating the network takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@dataclasses.dataclass(frozen=True)
class Program:
    """What is computed for one network under one update rule on one mesh.

    Attributes:
      model: maps images `[B, 32, 32, 3] float32` to logits `[B, 10]`. Its `axis_name` is the axis
        of the mesh whose devices share a batch, or None where each trains by itself.
      optimizer: update rule (see `optim`).
      augmentation: what is done to training images beside shifts and flips (see `augment`).
      batch_size: training images a step, over all devices together.
      steps_per_epoch: whole batches in the training set; the remainder of an epoch's
        permutation, other images each time, sits that epoch out.
      mesh: the devices, along the axis `sharing.AXIS`.
    """

    model: nn.Module
    optimizer: Rule
    augmentation: augment.Augmentation
    batch_size: int
    steps_per_epoch: int
    mesh: Mesh

    @property
    def images_per_epoch(self) -> int:
        """Training images in the whole batches of an epoch."""
        return self.steps_per_epoch * self.batch_size

    @property
    def replicated(self) -> NamedSharding:
        """The placement of everything but batches."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def _axis(self) -> str | None:
        return self.model.axis_name

    def _everywhere(self, tree: PyTree) -> PyTree:
        return jax.lax.with_sharding_constraint(tree, self.replicated)

    # Compiled with less care: it takes seconds otherwise, and runs once.
    @partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 1})
    def init(self, hp: Hyperparameters) -> TrainState:
        """The state before the first step, from the run's key."""
        images = jnp.zeros((1, 32, 32, 3))
        variables = self.model.init(_init_key(hp), images, train=False)
        state = TrainState(
            step=jnp.int32(0),
            params=variables["params"],
            batch_stats=variables["batch_stats"],
            opt_state=self._update_rule(hp, 0).init(variables["params"]),
            metrics=Metrics.zero(),
        )
        return self._everywhere(state)

    @partial(jax.jit, static_argnums=(0, 3))
    def epoch_order(self, hp: Hyperparameters, step: jax.Array, examples: int) -> jax.Array:
        """The training examples' order in the epoch that `step` is in, `[examples] int32`."""
        epoch = step // self.steps_per_epoch
        order = jax.random.permutation(jax.random.fold_in(_order_key(hp), epoch), examples)
        return self._everywhere(order)

    def train_steps(
        self,
        state: TrainState,
        hp: Hyperparameters,
        images: jax.Array,
        labels: jax.Array,
        order: jax.Array,
        count: jax.Array,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Train `count` steps within an epoch.

        To be called where the axis of the devices that share batches is mapped, if there is one:
        each trains on its part of every batch, and all end up with the same state.

        Args:
          state: before the steps.
          hp: the run's hyper-parameters.
          images: the whole training set, `[N, 32, 32, 3] uint8`.
          labels: `[N] int32`.
          order: of this epoch, from `epoch_order`.
          count: int32 scalar; steps must not run past the epoch's end.

        Returns:
          the new state, and the mean loss and accuracy of the epoch so far.
        """

        def step(state: TrainState) -> TrainState:
            count = self.batch_size // sharing.devices(self._axis)
            start = state.step % self.steps_per_epoch * self.batch_size
            chosen = order[start + sharing.places(count, self._axis)]
            return self.train_step(state, hp, images[chosen], labels[chosen])

        state = jax.lax.fori_loop(0, count, lambda _, s: step(s), state)
        return state, state.metrics.means()

    def train_step(
        self, state: TrainState, hp: Hyperparameters, images: jax.Array, labels: jax.Array
    ) -> TrainState:
        """One step of the update rule on the cross-entropy of a batch.

        Args:
          state: before the step.
          hp: the run's hyper-parameters.
          images: `[B, 32, 32, 3] uint8`, this device's part of the batch.
          labels: `[B] int32`.
        """
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(_step_key(hp), state.step))
        keys = sharing.example_keys(augment_key, len(images), self._axis)
        images = augment.shift_and_flip(keys, images, hp.augment)
        pixels = self.augmentation(jax.random.fold_in(keys[0], 0), augment.pixels(images))
        images = augment.normalize(pixels, hp.mean, hp.std)

        def loss_fn(params: PyTree) -> tuple[jax.Array, tuple[jax.Array, Variables]]:
            logits, updated = self.model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.sum() / self.batch_size, (logits, updated)

        grads, (logits, updated) = jax.grad(loss_fn, has_aux=True)(state.params)
        grads, batch_metrics = sharing.total((grads, Metrics.of(logits, labels)), self._axis)
        rule = self._update_rule(hp, state.step)
        updates, opt_state = rule.update(grads, state.opt_state, state.params)
        first = state.step % self.steps_per_epoch == 0
        so_far = jax.tree.map(lambda total: jnp.where(first, 0, total), state.metrics)
        return TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=updated["batch_stats"],
            opt_state=opt_state,
            metrics=so_far + batch_metrics,
        )

    @partial(jax.jit, static_argnums=0, compiler_options=CPU_OPTIONS)
    def predict(self, variables: Variables, hp: Hyperparameters, images: jax.Array) -> jax.Array:
        """Logits `[N, 10] float32` of images `[N, 32, 32, 3] uint8`, in evaluation mode."""
        size = -(-min(EVAL_BATCH, len(images)) // self.mesh.size) * self.mesh.size
        missing = -len(images) % size
        padded = jnp.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        chunks = padded.reshape(-1, size, *images.shape[1:])
        logits = jax.lax.map(partial(self._predict_chunk, variables, hp), chunks)
        return self._everywhere(logits.reshape(len(padded), -1)[: len(images)])

    def _predict_chunk(
        self, variables: Variables, hp: Hyperparameters, images: jax.Array
    ) -> jax.Array:
        def logits(variables: Variables, hp: Hyperparameters, images: jax.Array) -> jax.Array:
            images = augment.normalize(augment.pixels(images), hp.mean, hp.std)
            return self.model.apply(variables, images, train=False)

        everywhere, shared_out = PartitionSpec(), PartitionSpec(sharing.AXIS)
        return jax.shard_map(
            logits,
            mesh=self.mesh,
            in_specs=(everywhere, everywhere, shared_out),
            out_specs=shared_out,
            check_vma=False,
        )(variables, hp, images)

    def _update_rule(
        self, hp: Hyperparameters, step: jax.Array | int
    ) -> optax.GradientTransformation:
        return self.optimizer(hp.learning_rate[step], hp.momentum, hp.weight_decay)


@jax.jit
def evaluate(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Mean loss, accuracy and confusion matrix of logits `[N, K]` and labels `[N]`.

    The matrix `[K, K] int32` counts images by true class (row) and predicted class (column).
    """
    classes = logits.shape[-1]
    confusion = jnp.zeros((classes, classes), jnp.int32).at[labels, logits.argmax(-1)].add(1)
    return Metrics.of(logits, labels).means() | {"confusion": confusion}


def _init_key(hp: Hyperparameters) -> jax.Array:
    return jax.random.fold_in(hp.key, 0)


def _order_key(hp: Hyperparameters) -> jax.Array:
    return jax.random.fold_in(hp.key, 1)


def _step_key(hp: Hyperparameters) -> jax.Array:
    return jax.random.fold_in(hp.key, 2)
