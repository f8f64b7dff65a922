"""The loss of a batch and its gradients, computed part by part and over several devices."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxcifar.array_types import Float32
from jaxcifar.machine import sharing
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training.mixing import Targets
from jaxcifar.training.network import Part
from jaxcifar.training.state import TrainingSums


class Batch(NamedTuple):
    """The training examples of a batch (or of a part of a batch) on one device."""

    inputs: Float32[Array, "batch height width 3"]
    targets: Targets


# (parameters, examples, part) -> (their share of the batch's mean loss, (logits, other variables))
LossFunction = Callable[
    [PyTree, Batch, Part | None],
    tuple[Float32[Array, ""], tuple[Float32[Array, "batch classes"], PyTree]],
]


class BatchGradients(NamedTuple):
    """The gradients of a batch's mean loss, and other results of the forward pass.

    Attributes:
      device_loss: this device's share of the mean loss; the sum over devices is the mean loss.
      grads: the gradients, summed over all devices.
      sums: sums over all images of the batch, such as the number of correct predictions.
      other_variables: the network's variables other than parameters after the step.
    """

    device_loss: Float32[Array, ""]
    grads: PyTree
    sums: TrainingSums
    other_variables: PyTree


@dataclasses.dataclass(frozen=True)
class BatchLoss:
    """The mean loss of a batch as a function of the parameters, and its gradients.

    To save memory, the batch can be computed in parts, one after another (gradient accumulation).
    Each part begins with the same variables other than parameters, such as running statistics.
    Afterwards the float variables are averaged over the parts, as they are over devices.

    Attributes:
      loss_fn: computes the share of some examples in the mean loss.
      batch: this device's examples, in the order of the parts.
      parts: number of parts, which divides the number of examples.
      loops: True if the parts are computed in a compiled loop.
      axis: name of the mapped axis of the devices that share the batch, or None.
      averages_devices: True if the variables other than parameters differ between devices and must
        be averaged; False if the network computes them over all devices itself.
    """

    loss_fn: LossFunction
    batch: Batch
    parts: int
    loops: bool
    axis: str | None
    averages_devices: bool

    def gradients(self, params: PyTree) -> BatchGradients:
        """Return the gradients of the batch's mean loss with respect to the parameters."""

        def gradients_of_part(batch: Batch, part: Part | None) -> tuple[PyTree, PyTree]:
            compute = jax.value_and_grad(self.loss_fn, has_aux=True)
            (loss, (logits, other_variables)), grads = compute(params, batch, part)
            return (loss, grads, TrainingSums.of(logits, batch.targets)), other_variables

        (loss, grads, sums), other_variables = self._sum_over_parts(gradients_of_part)
        device_sums = grads, sums
        if self.averages_devices:
            (grads, sums), other_variables = sharing.sum_and_mean_over_devices(
                device_sums, other_variables, self.axis
            )
        else:
            grads, sums = sharing.sum_over_devices(device_sums, self.axis)
        return BatchGradients(loss, grads, sums, other_variables)

    def value(self, params: PyTree) -> Float32[Array, ""]:
        """Return the batch's mean loss over all devices; JAX can differentiate this method.

        The same parameters give the same value, because augmentation and dropout are fixed.
        """
        return _differentiable(self._mean_loss, self._mean_loss_and_gradients)(params)

    def _mean_loss(self, params: PyTree) -> Array:
        def loss_of_part(batch: Batch, part: Part | None) -> tuple[PyTree, PyTree]:
            loss, _ = self.loss_fn(params, batch, part)
            return loss, ()

        loss, _ = self._sum_over_parts(loss_of_part)
        return sharing.sum_over_devices(loss, self.axis)

    def _mean_loss_and_gradients(self, params: PyTree) -> tuple[Array, PyTree]:
        def loss_and_gradients_of_part(batch: Batch, part: Part | None) -> tuple[PyTree, PyTree]:
            compute = jax.value_and_grad(self.loss_fn, has_aux=True)
            (loss, _), grads = compute(params, batch, part)
            return (loss, grads), ()

        sums, _ = self._sum_over_parts(loss_and_gradients_of_part)
        return sharing.sum_over_devices(sums, self.axis)

    def _sum_over_parts(
        self, compute_part: Callable[[Batch, Part | None], tuple[PyTree, PyTree]]
    ) -> tuple[PyTree, PyTree]:
        """Call `compute_part` for each part of the batch, and combine the results.

        `compute_part` gets the examples of a part and the part's position, and returns two pytrees.
        Arrays of the first pytree are summed over the parts, and arrays of the second are averaged.
        Arrays that can't be averaged, because they are not floats, are taken from the last part.
        """
        if self.parts == 1:
            return compute_part(self.batch, None)
        part_size = len(self.batch.targets) // self.parts  # on this device
        examples_in_part = part_size * sharing.device_count(self.axis)
        batches = jax.tree.map(
            lambda array: array.reshape(self.parts, part_size, *array.shape[1:]), self.batch
        )

        def add_part(totals: tuple[PyTree, PyTree], number: Array, batch: Batch) -> PyTree:
            total_to_sum, total_to_average = totals
            part = Part(number, number * examples_in_part)
            to_sum, to_average = compute_part(batch, part)
            new_total_to_sum = jax.tree.map(jnp.add, total_to_sum, to_sum)
            new_total_to_average = jax.tree.map(_add_floats, total_to_average, to_average)
            return new_total_to_sum, new_total_to_average

        first_batch = jax.tree.map(lambda array: array[0], batches)
        shapes = jax.eval_shape(compute_part, first_batch, Part(jnp.int32(0), jnp.int32(0)))
        totals = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def scan_step(
            totals: tuple[PyTree, PyTree], numbered_batch: tuple[Array, Batch]
        ) -> tuple[PyTree, None]:
            number, batch = numbered_batch
            return add_part(totals, number, batch), None

        if self.loops:
            numbers = jnp.arange(self.parts, dtype=jnp.int32)
            totals, _ = lax.scan(scan_step, totals, (numbers, batches))
        else:
            for number in range(self.parts):
                batch = jax.tree.map(lambda array, number=number: array[number], batches)
                batch = batch._replace(inputs=_after(totals, batch.inputs))
                totals = add_part(totals, jnp.int32(number), batch)
        sums, total_to_average = totals
        return sums, jax.tree.map(self._mean_of_floats, total_to_average)

    def _mean_of_floats(self, total: Array) -> Array:
        is_float = jnp.issubdtype(total.dtype, jnp.floating)
        return (total / self.parts).astype(total.dtype) if is_float else total


def _after(results: PyTree, inputs: Array) -> Array:
    """Return `inputs` unchanged, in a way that makes XLA compute `results` first.

    Otherwise XLA may compute all parts of a batch at the same time, which needs more memory. Adding
    0 that depends on `results` works; XLA removes `optimization_barrier` too early.
    """
    numbers = [leaf.ravel()[0].astype(jnp.float32) for leaf in jax.tree.leaves(results)]
    zero = jnp.minimum(jnp.abs(sum(numbers, jnp.float32(0))), 0)
    return inputs + zero.astype(inputs.dtype)


def _add_floats(total: Array, new: Array) -> Array:
    """Return `total + new` for arrays of floats, and `new` for other arrays."""
    return total + new if jnp.issubdtype(new.dtype, jnp.floating) else new


def _differentiable(
    value: Callable[[PyTree], Array],
    value_and_gradients: Callable[[PyTree], tuple[Array, PyTree]],
) -> Callable[[PyTree], Array]:
    """Return the function `value`, with derivatives that `value_and_gradients` computes.

    By itself JAX would differentiate a sum over devices once on each device. It would also keep the
    activations of all parts of a batch in memory.
    """
    function = jax.custom_jvp(value)

    @function.defjvp
    def directional_derivative(
        primals: tuple[PyTree], tangents: tuple[PyTree]
    ) -> tuple[Array, Array]:
        loss, grads = value_and_gradients(*primals)
        [direction] = tangents
        return loss, jnp.asarray(optax.tree.vdot(grads, direction))

    return function
