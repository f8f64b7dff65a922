"""The training program: pure functions that JAX compiles.

A `Program` consists of a network, an update rule and the devices. Everything else in which runs of
one architecture differ (such as rates and seed) is data in `Hyperparameters`. So all these runs
share one compiled program.
"""

import dataclasses
from collections.abc import Hashable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcifar.array_types import Float32, Int, Int32, UInt8
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine import sharing
from jaxcifar.machine.compilations import SINGLE_CALL_OPTIONS
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import augment, network
from jaxcifar.training.augmented_batch import augmented_batch
from jaxcifar.training.batch_loss import Batch, BatchLoss
from jaxcifar.training.compiled_loops import compiles_loops
from jaxcifar.training.loss import total_weight, training_losses
from jaxcifar.training.mixing import LabelAugmentation
from jaxcifar.training.network import BatchPart, Dtype, Variables
from jaxcifar.training.next_state import first_state, next_state
from jaxcifar.training.optim import UpdateRule
from jaxcifar.training.state import Hyperparameters, TrainState


@dataclasses.dataclass(frozen=True)
class Program:
    """The functions that train a network, and everything that their compiled code depends on.

    Hyper-parameters and images are not part of a program: they are arguments of its functions.

    Attributes:
      model: the network; it maps normalised images to logits. A network with a field `axis_name`
        computes statistics over all devices itself.
      optimizer: function that returns the update rule for a learning rate (see `optim`).
      augmentation: the augmentation after shifts and flips (see `augment`).
      batch_size: number of training images in a step, over all devices.
      steps_per_epoch: number of full batches in the training set; an epoch leaves the rest out.
      mesh: the devices, along the axis `sharing.AXIS`.
      keeps_average: True to keep a moving average of the weights, which is used in evaluation.
      small_size: width to which images are reduced in the first steps of training, or None.
      device_axis: name of the mapped axis of devices that share batches; None: a device by itself.
      product_dtype: on a CPU, the inputs of matrix products are rounded to this dtype, unless None.
      network_identity: hashable, equal for equal networks and user code; by default the network.
      image_size: height and width of the images.
      steps_per_feed: most steps whose images `train_steps` gets at a time; None if it gets all.
      parts_per_batch: number of parts of a batch, computed one after another (`BatchLoss`).
      rule_may_use_loss: True for a user's update rule, which may use the loss (`loss_rules`).
    """

    model: nn.Module = dataclasses.field(compare=False)
    optimizer: UpdateRule
    augmentation: augment.Augmentation | LabelAugmentation
    batch_size: int
    steps_per_epoch: int
    mesh: Mesh
    keeps_average: bool = False
    small_size: int | None = None
    device_axis: str | None = None
    product_dtype: Dtype | None = None
    network_identity: Hashable = None
    image_size: int = IMAGE_SIZE
    steps_per_feed: int | None = None
    parts_per_batch: int = 1
    rule_may_use_loss: bool = False

    def __post_init__(self) -> None:
        if self.network_identity is None:
            object.__setattr__(self, "network_identity", self.model)

    @property
    def images_per_epoch(self) -> int:
        """Number of images that are trained on in an epoch: the images in its full batches."""
        return self.steps_per_epoch * self.batch_size

    @property
    def replicated(self) -> NamedSharding:
        """The device placement of arrays that every device has a full copy of."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype in which the network computes, such as bfloat16."""
        return jnp.dtype(self.product_dtype or network.dtype(self.model))

    @property
    def copy_for_one_device(self) -> "Program":
        """A copy of the program for a single device, which trains whole batches by itself."""
        model = network.copy_for_one_device(self.model)
        return dataclasses.replace(self, model=model, device_axis=None)

    @property
    def compiles_loops(self) -> bool:
        """True if compiled functions loop: over steps in training, or over chunks of images."""
        return compiles_loops(self)

    def replicate(self, tree: PyTree) -> PyTree:
        """Make every device hold a full copy of the arrays; for use inside compiled functions."""
        return jax.lax.with_sharding_constraint(tree, self.replicated)

    # `init` runs only once, so it is compiled with fewer optimisations, which saves seconds.
    @partial(jax.jit, static_argnums=0, compiler_options=SINGLE_CALL_OPTIONS)
    def init(
        self, hyper: Hyperparameters, images: UInt8[Array, "images height width 3"]
    ) -> TrainState:
        """Return the training state before the first step, with new random weights.

        `images` are training images; a network may compute weights from `init_image_count` of them.
        """
        first_images = images[: network.init_image_count(images.shape)]
        normalized = augment.normalize(augment.pixels(first_images), hyper.mean, hyper.std)
        variables = network.init(self.model, hyper.init_key, normalized)
        return self.replicate(first_state(variables, hyper, self.optimizer, self.keeps_average))

    @partial(jax.jit, static_argnums=0)
    def init_from_variables(self, hyper: Hyperparameters, variables: Variables) -> TrainState:
        """Return the training state before the first step, with the weights of `variables`."""
        split_variables = network.split_variables(variables)
        state = first_state(split_variables, hyper, self.optimizer, self.keeps_average)
        return self.replicate(state)

    @partial(jax.jit, static_argnums=(0, 3))
    def epoch_order(
        self, hyper: Hyperparameters, step: Int[Array, ""], image_count: int
    ) -> Int32[Array, "{image_count}"]:
        """Return the random order of `image_count` training images, in the epoch of this step."""
        epoch = step // self.steps_per_epoch
        epoch_key = jax.random.fold_in(hyper.order_key, epoch)
        order = jax.random.permutation(epoch_key, image_count)
        return self.replicate(order)

    def train_steps(
        self,
        state: TrainState,
        hyper: Hyperparameters,
        images: UInt8[Array, "rows height width 3"],
        labels: Int32[Array, "images"],
        order: Int32[Array, "images"],
        step_count: Int[Array, ""],
    ) -> tuple[TrainState, dict[str, Float32[Array, ""]]]:
        """Train for `step_count` steps within an epoch.

        If devices share batches, this function must be called inside a map over `device_axis`. Each
        device trains on its part of every batch, and all devices get the same state.

        Args:
          state: training state before the steps.
          hyper: the run's hyper-parameters.
          images: all training images or, if `steps_per_feed` is set, the images of the next steps
            in the order of the epoch.
          labels: labels of all training images.
          order: order of the images in this epoch, from `epoch_order`.
          step_count: number of steps; 1 if `compiles_loops` is False.

        Returns:
          the new state, and the mean loss and accuracy since the epoch began.
        """
        gets_all_images = self.steps_per_feed is None
        feed_start = 0 if gets_all_images else self._position_in_epoch(state.step)

        def train_next_batch(state: TrainState) -> TrainState:
            images_per_device = self.batch_size // sharing.device_count(self.device_axis)
            batch_start = self._position_in_epoch(state.step)
            positions_in_batch = sharing.batch_positions(
                images_per_device, self.device_axis, self.parts_per_batch
            )
            positions_in_epoch = batch_start + positions_in_batch
            indices = order[positions_in_epoch]  # in the training set
            rows = indices if gets_all_images else positions_in_epoch - feed_start  # of `images`
            batch_images = images[rows]
            batch_labels = hyper.training_labels(labels)[indices]
            arguments = state, hyper, batch_images, batch_labels, indices
            if self.small_size is None:
                return self.train_step(*arguments)
            is_small_step = state.step < hyper.small_steps
            train_small = partial(self.train_step, new_size=self.small_size)
            return jax.lax.cond(is_small_step, train_small, self.train_step, *arguments)

        if self.compiles_loops:
            state = jax.lax.fori_loop(
                0, step_count, lambda _, state: train_next_batch(state), state
            )
        else:
            state = train_next_batch(state)
        return state, state.sums.means()

    def _position_in_epoch(self, step: Int[Array, ""]) -> Int[Array, ""]:
        """Return the position of a step's first image in the order of the epoch."""
        return (step % self.steps_per_epoch) * self.batch_size

    def train_step(
        self,
        state: TrainState,
        hyper: Hyperparameters,
        images: UInt8[Array, "batch height width 3"],
        labels: Int32[Array, "batch"],
        indices: Int32[Array, "batch"],
        new_size: int | None = None,
    ) -> TrainState:
        """Train on this device's part of a batch, and return the new training state.

        `indices` has the images' positions in the training set. If `new_size` is not None, images
        are reduced to `new_size` x `new_size` pixels after shifts and flips.
        """
        axis, parts = self.device_axis, self.parts_per_batch
        augment_key, layer_key = jax.random.split(jax.random.fold_in(hyper.step_key, state.step))
        keys = sharing.example_keys(augment_key, len(images), axis, parts)
        epoch = state.step // self.steps_per_epoch
        flips = augment.alternating_flips(hyper.flip_key, indices, epoch)
        inputs, targets = augmented_batch(
            self.augmentation, hyper, keys, images, labels, flips, new_size, axis, parts
        )
        weight_of_batch = total_weight(targets, hyper.class_weights, self.batch_size, axis)

        def loss_fn(
            params: PyTree, batch: Batch, part: BatchPart | None
        ) -> tuple[Array, tuple[Array, Variables]]:
            variables = network.variables(params, state.batch_stats)
            logits, other_variables = network.forward(
                self.model, variables, batch.inputs, layer_key, axis, self.product_dtype, part
            )
            losses = training_losses(
                logits, batch.targets, hyper.label_smoothing, hyper.class_weights
            )
            return losses.sum() / weight_of_batch, (logits, other_variables)

        loss = BatchLoss(
            loss_fn,
            Batch(inputs, targets),
            parts_per_batch=self.parts_per_batch,
            compiles_loop=self.parts_per_batch > 1 and self.compiles_loops,
            device_axis=self.device_axis,
            averages_variables_over_devices=not hasattr(self.model, "axis_name"),
        )
        return next_state(
            state, hyper, loss, self.optimizer, self.steps_per_epoch, self.rule_may_use_loss
        )
