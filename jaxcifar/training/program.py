"""Training and evaluation as pure functions: no file, no clock, no print.

A `Program` is what gets compiled: a network, an update rule and a placement. All that differs
between runs of one architecture (rates, decay, normalisation, augmentation, seed) is data in
`Hyperparameters`, so that one compiled program serves them all.
"""

import dataclasses
from collections.abc import Hashable
from functools import cache, partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcifar.array_types import Float32, Int, Int32, UInt8
from jaxcifar.machine import sharing
from jaxcifar.machine.compilations import SINGLE_CALL_OPTIONS
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import augment, network, optim
from jaxcifar.training.loss import smoothed_cross_entropy
from jaxcifar.training.network import Dtype, Variables
from jaxcifar.training.optim import UpdateRule
from jaxcifar.training.state import Hyperparameters, Metrics, TrainState, averaged

_INIT_IMAGES = 5000  # that a network may look at before the first step


@dataclasses.dataclass(frozen=True)
class Program:
    """What is computed for one network under one update rule on one mesh.

    Attributes:
      model: maps normalised images to logits. If it has a field
        `axis_name`, that is `axis`, and what it carries is the same on all devices.
      optimizer: update rule (see `optim`).
      augmentation: what is done to training images beside shifts and flips (see `augment`).
      batch_size: training images a step, over all devices together.
      averages: whether an average of the weights is kept, which is then what is evaluated.
      small_size: pixels of the images in the first steps (`Hyperparameters.small_steps`), if
        they are to be smaller; to the others they come as they are.
      steps_per_epoch: whole batches in the training set; the images that are left over are left
        out of that epoch, other ones in each.
      mesh: the devices, along the axis `sharing.AXIS`.
      axis: that axis where they share each batch, or None where each trains by itself.
      operands: see `adapted`.
      identity: what the model, which may hold a list without a hash, was made from.
    """

    model: nn.Module = dataclasses.field(compare=False)
    optimizer: UpdateRule
    augmentation: augment.Augmentation
    batch_size: int
    steps_per_epoch: int
    mesh: Mesh
    averages: bool = False
    small_size: int | None = None
    axis: str | None = None
    operands: Dtype | None = None
    identity: Hashable = None

    def __post_init__(self) -> None:
        if self.identity is None:
            object.__setattr__(self, "identity", self.model)

    @property
    def images_per_epoch(self) -> int:
        """Training images in the whole batches of an epoch."""
        return self.steps_per_epoch * self.batch_size

    @property
    def replicated(self) -> NamedSharding:
        """The placement of everything but batches."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def dtype(self) -> jnp.dtype:
        """What products are of, or what the network says that it computes in, or images are."""
        return jnp.dtype(self.operands or network.dtype(self.model))

    @property
    def alone(self) -> "Program":
        """The program of devices that train by themselves."""
        return dataclasses.replace(self, model=network.alone(self.model), axis=None)

    @property
    def looped(self) -> bool:
        """Whether several steps, or chunks of images, may be one dispatch.

        In a loop XLA's own convolution is an order of magnitude slower on a CPU.
        """
        return _is_looped(self)

    def everywhere(self, tree: PyTree) -> PyTree:
        """The same tree, within a program, on all devices."""
        return jax.lax.with_sharding_constraint(tree, self.replicated)

    # Compiled with less care: it takes seconds otherwise, and runs once.
    @partial(jax.jit, static_argnums=0, compiler_options=SINGLE_CALL_OPTIONS)
    def init(
        self, hp: Hyperparameters, images: UInt8[Array, "images height width 3"]
    ) -> TrainState:
        """The state before the first step, from the run's key and the first training images.

        Args:
          hp: the run's hyper-parameters.
          images: where the network takes nothing from them, they are not even moved to the devices.
        """
        first = augment.normalize(augment.pixels(images[:_INIT_IMAGES]), hp.mean, hp.std)
        return self._beginning(hp, *network.init(self.model, hp.init_key, first))

    @partial(jax.jit, static_argnums=0)
    def init_from(self, hp: Hyperparameters, variables: Variables) -> TrainState:
        """The state before the first step, with the weights and statistics of `variables`."""
        return self._beginning(hp, *network.split(variables))

    def _beginning(self, hp: Hyperparameters, params: PyTree, carried: PyTree) -> TrainState:
        state = TrainState(
            step=jnp.int32(0),
            params=params,
            batch_stats=carried,
            opt_state=self._update_rule(hp, 0).init(params),
            metrics=Metrics.zero(),
            average=(params, carried) if self.averages else None,
        )
        return self.everywhere(state)

    @partial(jax.jit, static_argnums=(0, 3))
    def epoch_order(
        self, hp: Hyperparameters, step: Int[Array, ""], examples: int
    ) -> Int32[Array, "{examples}"]:
        """The training examples' order in the epoch that `step` is in."""
        epoch = step // self.steps_per_epoch
        order = jax.random.permutation(jax.random.fold_in(hp.order_key, epoch), examples)
        return self.everywhere(order)

    def train_steps(
        self,
        state: TrainState,
        hp: Hyperparameters,
        images: UInt8[Array, "images height width 3"],
        labels: Int32[Array, "images"],
        order: Int32[Array, "images"],
        count: Int[Array, ""],
    ) -> tuple[TrainState, dict[str, Float32[Array, ""]]]:
        """Train `count` steps within an epoch.

        To be called where the axis of the devices that share batches is mapped, if there is one:
        each trains on its part of every batch, and all end up with the same state.

        Args:
          state: before the steps.
          hp: the run's hyper-parameters.
          images: the whole training set.
          labels: of these images.
          order: of this epoch, from `epoch_order`.
          count: within the epoch; it is one where the program is not `looped`.

        Returns:
          the new state, and the mean loss and accuracy of the epoch so far.
        """

        def step(state: TrainState) -> TrainState:
            count = self.batch_size // sharing.device_count(self.axis)
            start = state.step % self.steps_per_epoch * self.batch_size
            chosen = order[start + sharing.batch_positions(count, self.axis)]
            batch = hp, images[chosen], labels[chosen], chosen
            if self.small_size is None:
                return self.train_step(state, *batch)
            small = partial(self.train_step, size=self.small_size)
            return jax.lax.cond(state.step < hp.small_steps, small, self.train_step, state, *batch)

        loop = partial(jax.lax.fori_loop, 0, count, lambda _, state: step(state))
        state = loop(state) if self.looped else step(state)
        return state, state.metrics.means()

    def train_step(
        self,
        state: TrainState,
        hp: Hyperparameters,
        images: UInt8[Array, "batch height width 3"],
        labels: Int32[Array, "batch"],
        index: Int32[Array, "batch"],
        size: int | None = None,
    ) -> TrainState:
        """One step of the update rule on the cross-entropy of a batch.

        Args:
          state: before the step.
          hp: the run's hyper-parameters.
          images: this device's part of the batch.
          labels: of these images.
          index: the images' places in the training set.
          size: pixels to bring the images to, after shifts and flips; None leaves them.
        """
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(hp.step_key, state.step))
        keys = sharing.example_keys(augment_key, len(images), self.axis)
        turns = augment.flip_turns(hp.flip_key, index, state.step // self.steps_per_epoch)
        images = augment.shift_and_flip(keys, images, hp.augment, turns)
        images = augment.resize(images, size) if size else images
        own_key, pixels = augment.own_key(keys), augment.pixels(images)
        pixels = self.augmentation(own_key, pixels, **hp.augmentation)
        images = augment.normalize(pixels, hp.mean, hp.std)
        images = augment.cut_out(keys, images, hp.augment)

        def loss_fn(params: PyTree) -> tuple[Array, tuple[Array, Variables]]:
            given = network.variables(params, state.batch_stats), images, dropout_key
            logits, carried = network.forward(self.model, *given, self.axis, self.operands)
            losses = smoothed_cross_entropy(logits, labels, hp.label_smoothing)
            return losses.sum() / self.batch_size, (logits, carried)

        grads, (logits, carried) = jax.grad(loss_fn, has_aux=True)(state.params)
        summed = grads, Metrics.of(logits, labels)
        if hasattr(self.model, "axis_name"):
            grads, batch_metrics = sharing.sum_over_devices(summed, self.axis)
        else:
            (grads, batch_metrics), carried = sharing.sum_and_mean_over_devices(
                summed, carried, self.axis
            )
        rule, grads = self._update_rule(hp, state.step), optim.clip(grads, hp.clip_norm)
        updates, opt_state = rule.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, optim.scale_biases(updates, hp.bias_rate))
        average = state.average
        if self.averages:
            assert average is not None  # `init_state` has begun it
            average = averaged(average, (params, carried), hp.average, state.step)
        first = state.step % self.steps_per_epoch == 0
        so_far = jax.tree.map(lambda total: jnp.where(first, 0, total), state.metrics)
        return TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=carried,
            opt_state=opt_state,
            metrics=so_far + batch_metrics,
            average=average,
        )

    def _update_rule(self, hp: Hyperparameters, step: Array | int) -> optax.GradientTransformation:
        return self.optimizer(hp.learning_rate[step], **hp.rule)


@cache
def _is_looped(program: Program) -> bool:
    platform = program.mesh.devices.flat[0].platform
    return platform != "cpu" or not network.has_convolution(program.model, platform)
