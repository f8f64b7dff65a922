"""The training program: pure functions that JAX compiles.

A `Program` consists of a network, an update rule and the devices. Everything else in which runs of
one architecture differ (such as rates and seed) is data in `Hyperparameters`. So all these runs
share one compiled program.
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
from jaxcifar.training.augmented_batch import augmented_batch
from jaxcifar.training.loss import smoothed_cross_entropy
from jaxcifar.training.network import Dtype, Variables
from jaxcifar.training.optim import UpdateRule
from jaxcifar.training.state import Hyperparameters, TrainingSums, TrainState, averaged

_INIT_IMAGES = 5000  # images from which a network may compute its first weights


@dataclasses.dataclass(frozen=True)
class Program:
    """A network, an update rule and the devices, as a static argument of compiled functions.

    Attributes:
      model: the network; it maps normalised images to logits. A network with a field `axis_name`
        computes statistics over all devices itself.
      optimizer: the update rule (see `optim`).
      augmentation: the augmentation after shifts and flips (see `augment`).
      batch_size: number of training images in a step, over all devices.
      steps_per_epoch: number of full batches in the training set. Images that do not fill a batch
        are left out of an epoch; each epoch leaves out other images.
      mesh: the devices, along the axis `sharing.AXIS`.
      averages: True to keep a moving average of the weights, which is used in evaluation.
      small_size: width of the images in the first steps (`Hyperparameters.small_steps`), or None if
        all steps train on full images.
      axis: name of the axis of devices that share each batch; None if a device trains by itself.
      operands: dtype to which operands of matrix products are converted, or None.
      identity: a hashable value that is equal for equal networks; by default the network.
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
        """Number of training images in the full batches of an epoch."""
        return self.steps_per_epoch * self.batch_size

    @property
    def replicated(self) -> NamedSharding:
        """The device placement of arrays of which every device has a full copy."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype that the network computes in."""
        return jnp.dtype(self.operands or network.dtype(self.model))

    @property
    def for_one_device(self) -> "Program":
        """The program for a single device that trains whole batches by itself."""
        return dataclasses.replace(self, model=network.for_one_device(self.model), axis=None)

    @property
    def has_loops(self) -> bool:
        """True if compiled functions loop over several steps, or over several chunks of images.

        On a CPU, XLA's convolutions are ten times slower inside a loop.
        """
        return _has_loops(self)

    def replicate(self, tree: PyTree) -> PyTree:
        """Return arrays with a full copy on every device; for use inside compiled functions."""
        return jax.lax.with_sharding_constraint(tree, self.replicated)

    # `init` runs only once, so it is compiled with fewer optimisations, which saves seconds.
    @partial(jax.jit, static_argnums=0, compiler_options=SINGLE_CALL_OPTIONS)
    def init(
        self, hp: Hyperparameters, images: UInt8[Array, "images height width 3"]
    ) -> TrainState:
        """Return the training state before the first step, with new weights.

        The training images are moved to the devices only if they affect the first weights.
        """
        first_images = augment.normalize(augment.pixels(images[:_INIT_IMAGES]), hp.mean, hp.std)
        return self._first_state(hp, *network.init(self.model, hp.init_key, first_images))

    @partial(jax.jit, static_argnums=0)
    def init_from(self, hp: Hyperparameters, variables: Variables) -> TrainState:
        """Return the training state before the first step, with the weights of `variables`."""
        return self._first_state(hp, *network.split(variables))

    def _first_state(self, hp: Hyperparameters, params: PyTree, carried: PyTree) -> TrainState:
        state = TrainState(
            step=jnp.int32(0),
            params=params,
            batch_stats=carried,
            opt_state=self._update_rule(hp, 0).init(params),
            sums=TrainingSums.zero(),
            average=(params, carried) if self.averages else None,
        )
        return self.replicate(state)

    @partial(jax.jit, static_argnums=(0, 3))
    def epoch_order(
        self, hp: Hyperparameters, step: Int[Array, ""], examples: int
    ) -> Int32[Array, "{examples}"]:
        """Return the order of all `examples` training images in the epoch of a step."""
        epoch = step // self.steps_per_epoch
        order = jax.random.permutation(jax.random.fold_in(hp.order_key, epoch), examples)
        return self.replicate(order)

    def train_steps(
        self,
        state: TrainState,
        hp: Hyperparameters,
        images: UInt8[Array, "images height width 3"],
        labels: Int32[Array, "images"],
        order: Int32[Array, "images"],
        count: Int[Array, ""],
    ) -> tuple[TrainState, dict[str, Float32[Array, ""]]]:
        """Train for `count` steps within an epoch.

        If devices share batches, this function must be called inside a map over `axis`. Each device
        trains on its part of every batch, and all devices get the same state.

        Args:
          state: state before the steps.
          hp: the run's hyper-parameters.
          images: all training images.
          labels: labels of these images.
          order: order of the images in this epoch, from `epoch_order`.
          count: number of steps; 1 if the program has no loops.

        Returns:
          the new state, and the mean loss and accuracy since the epoch began.
        """

        def step(state: TrainState) -> TrainState:
            images_per_device = self.batch_size // sharing.device_count(self.axis)
            start = state.step % self.steps_per_epoch * self.batch_size
            chosen = order[start + sharing.batch_positions(images_per_device, self.axis)]
            batch = hp, images[chosen], labels[chosen], chosen
            if self.small_size is None:
                return self.train_step(state, *batch)
            small = partial(self.train_step, size=self.small_size)
            return jax.lax.cond(state.step < hp.small_steps, small, self.train_step, state, *batch)

        if self.has_loops:
            state = jax.lax.fori_loop(0, count, lambda _, state: step(state), state)
        else:
            state = step(state)
        return state, state.sums.means()

    def train_step(
        self,
        state: TrainState,
        hp: Hyperparameters,
        images: UInt8[Array, "batch height width 3"],
        labels: Int32[Array, "batch"],
        index: Int32[Array, "batch"],
        size: int | None = None,
    ) -> TrainState:
        """Train on this device's part of a batch, and return the new state.

        `index` has the indices of the images in the training set. After shifts and flips, the
        images are reduced to `size` x `size` pixels, unless `size` is None.
        """
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(hp.step_key, state.step))
        keys = sharing.example_keys(augment_key, len(images), self.axis)
        flips = augment.alternating_flips(hp.flip_key, index, state.step // self.steps_per_epoch)
        inputs = augmented_batch(self.augmentation, hp, keys, images, flips, size)

        def loss_fn(params: PyTree) -> tuple[Array, tuple[Array, Variables]]:
            given = network.variables(params, state.batch_stats), inputs, dropout_key
            logits, carried = network.forward(self.model, *given, self.axis, self.operands)
            losses = smoothed_cross_entropy(logits, labels, hp.label_smoothing)
            return losses.sum() / self.batch_size, (logits, carried)

        grads, (logits, carried) = jax.grad(loss_fn, has_aux=True)(state.params)
        of_device = grads, TrainingSums.of(logits, labels)
        if hasattr(self.model, "axis_name"):
            grads, batch_sums = sharing.sum_over_devices(of_device, self.axis)
        else:
            (grads, batch_sums), carried = sharing.sum_and_mean_over_devices(
                of_device, carried, self.axis
            )
        rule, grads = self._update_rule(hp, state.step), optim.clip(grads, hp.clip_norm)
        updates, opt_state = rule.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, optim.scale_biases(updates, hp.bias_rate))
        average = state.average
        if self.averages:
            assert average is not None  # `_first_state` has begun it
            average = averaged(average, (params, carried), hp.average, state.step)
        first = state.step % self.steps_per_epoch == 0
        epoch_sums = jax.tree.map(lambda total: jnp.where(first, 0, total), state.sums)
        return TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=carried,
            opt_state=opt_state,
            sums=epoch_sums + batch_sums,
            average=average,
        )

    def _update_rule(self, hp: Hyperparameters, step: Array | int) -> optax.GradientTransformation:
        return self.optimizer(hp.learning_rate[step], **hp.rule)


@cache
def _has_loops(program: Program) -> bool:
    platform = program.mesh.devices.flat[0].platform
    return platform != "cpu" or not network.has_convolution(program.model, platform)
