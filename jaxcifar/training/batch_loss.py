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
from jaxcifar.training.network import BatchPart
from jaxcifar.training.state import TrainingSums


class Batch(NamedTuple):
    """The training examples of a batch (or of a part of a batch) on one device."""

    inputs: Float32[Array, "batch height width 3"]
    targets: Targets


# (parameters, examples, part) -> (their share of the batch's mean loss, (logits, other variables))
LossFunction = Callable[
    [PyTree, Batch, BatchPart | None],
    tuple[Float32[Array, ""], tuple[Float32[Array, "batch classes"], PyTree]],
]


class PartResults(NamedTuple):
    """Results of a part of a batch, or of all parts together.

    Attributes:
      to_sum: arrays that are summed over the parts.
      to_average: arrays that are averaged over the parts. Arrays that can't be averaged, because
        they are not floats, are taken from the last part.
    """

    to_sum: PyTree
    to_average: PyTree


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
      parts_per_batch: number of parts, which divides the number of examples.
      compiles_loop: True if the parts are computed in a compiled loop.
      device_axis: name of the mapped axis of the devices that share the batch, or None.
      averages_variables_over_devices: True if the variables other than parameters differ between
        devices and must be averaged; False if the network computes them over all devices itself.
    """

    loss_fn: LossFunction
    batch: Batch
    parts_per_batch: int
    compiles_loop: bool
    device_axis: str | None
    averages_variables_over_devices: bool

    def gradients(self, params: PyTree) -> BatchGradients:
        """Return the gradients of the batch's mean loss with respect to the parameters."""

        def gradients_of_part(examples: Batch, part: BatchPart | None) -> PartResults:
            compute_loss_and_gradients = jax.value_and_grad(self.loss_fn, has_aux=True)
            forward_results, grads = compute_loss_and_gradients(params, examples, part)
            loss, (logits, other_variables) = forward_results
            image_sums = TrainingSums.of(logits, examples.targets)
            return PartResults(to_sum=(loss, grads, image_sums), to_average=other_variables)

        results_on_device = self._combine_parts(gradients_of_part)
        loss_on_device, grads_on_device, image_sums_on_device = results_on_device.to_sum
        other_variables = results_on_device.to_average
        sums_on_device = grads_on_device, image_sums_on_device
        if self.averages_variables_over_devices:
            (grads, image_sums), other_variables = sharing.sum_and_mean_over_devices(
                sums_on_device, other_variables, self.device_axis
            )
        else:
            grads, image_sums = sharing.sum_over_devices(sums_on_device, self.device_axis)
        return BatchGradients(loss_on_device, grads, image_sums, other_variables)

    def differentiable_loss(self, params: PyTree) -> Float32[Array, ""]:
        """Return the batch's mean loss over all devices; JAX can differentiate this method.

        The same parameters give the same value, because augmentation and dropout are fixed.
        """
        compute_loss = _with_custom_derivative(self._mean_loss, self._mean_loss_and_gradients)
        return compute_loss(params)

    def _mean_loss(self, params: PyTree) -> Array:
        def share_of_part(examples: Batch, part: BatchPart | None) -> PartResults:
            share_of_mean_loss, _ = self.loss_fn(params, examples, part)
            return PartResults(to_sum=share_of_mean_loss, to_average=())

        share_of_device = self._combine_parts(share_of_part).to_sum
        mean_loss = sharing.sum_over_devices(share_of_device, self.device_axis)
        return mean_loss

    def _mean_loss_and_gradients(self, params: PyTree) -> tuple[Array, PyTree]:
        def loss_and_gradients_of_part(examples: Batch, part: BatchPart | None) -> PartResults:
            compute_loss_and_gradients = jax.value_and_grad(self.loss_fn, has_aux=True)
            (share_of_mean_loss, _), grads = compute_loss_and_gradients(params, examples, part)
            return PartResults(to_sum=(share_of_mean_loss, grads), to_average=())

        results_on_device = self._combine_parts(loss_and_gradients_of_part)
        shares_of_device = results_on_device.to_sum
        mean_loss, grads = sharing.sum_over_devices(shares_of_device, self.device_axis)
        return mean_loss, grads

    def _combine_parts(
        self, compute_part: Callable[[Batch, BatchPart | None], PartResults]
    ) -> PartResults:
        """Compute the results of each part of the batch, and return the results of the whole batch.

        `compute_part` takes the examples of a part and the part's position in the batch, and
        returns the results of the part. If the whole batch is one part, the position is None.
        """
        if self.parts_per_batch == 1:
            return compute_part(self.batch, None)
        part_size_on_device = len(self.batch.targets) // self.parts_per_batch
        part_size_on_all_devices = part_size_on_device * sharing.device_count(self.device_axis)
        stacked_parts = jax.tree.map(
            lambda array: array.reshape(
                self.parts_per_batch, part_size_on_device, *array.shape[1:]
            ),
            self.batch,
        )

        def add_part(totals: PartResults, number: Array, examples: Batch) -> PartResults:
            part = BatchPart(number, first_position=number * part_size_on_all_devices)
            results = compute_part(examples, part)
            return PartResults(
                to_sum=jax.tree.map(jnp.add, totals.to_sum, results.to_sum),
                to_average=jax.tree.map(_add_if_float, totals.to_average, results.to_average),
            )

        first_part = BatchPart(jnp.int32(0), jnp.int32(0))
        first_examples = _examples_of_part(stacked_parts, 0)
        result_shapes = jax.eval_shape(compute_part, first_examples, first_part)
        totals = jax.tree.map(lambda array: jnp.zeros(array.shape, array.dtype), result_shapes)

        if self.compiles_loop:

            def add_next_part(
                totals: PartResults, number_and_examples: tuple[Array, Batch]
            ) -> tuple[PartResults, None]:
                return add_part(totals, *number_and_examples), None

            numbers = jnp.arange(self.parts_per_batch, dtype=jnp.int32)
            totals, _ = lax.scan(add_next_part, totals, (numbers, stacked_parts))
        else:
            for number in range(self.parts_per_batch):
                examples = _examples_of_part(stacked_parts, number)
                delayed_inputs = _delay_until_computed(examples.inputs, totals)
                examples = examples._replace(inputs=delayed_inputs)
                totals = add_part(totals, jnp.int32(number), examples)
        averages = jax.tree.map(self._divide_if_float, totals.to_average)
        return PartResults(totals.to_sum, averages)

    def _divide_if_float(self, total: Array) -> Array:
        """Return the mean over the parts for arrays of floats, and other arrays unchanged."""
        is_float = jnp.issubdtype(total.dtype, jnp.floating)
        return (total / self.parts_per_batch).astype(total.dtype) if is_float else total


def _examples_of_part(stacked_parts: Batch, number: int) -> Batch:
    return jax.tree.map(lambda array: array[number], stacked_parts)


def _delay_until_computed(inputs: Array, results: PyTree) -> Array:
    """Return `inputs` unchanged, but make XLA compute `results` before it uses them.

    Otherwise XLA may compute all parts of a batch at the same time, which needs more memory. The
    function adds a 0 that depends on `results`. JAX's `optimization_barrier` does not help, because
    XLA removes it too early.
    """
    arrays = jax.tree.leaves(results)
    first_elements = [array.ravel()[0].astype(jnp.float32) for array in arrays]
    sum_of_results = sum(first_elements, jnp.float32(0))
    zero_from_results = jnp.minimum(jnp.abs(sum_of_results), 0)
    return inputs + zero_from_results.astype(inputs.dtype)


def _add_if_float(total: Array, new: Array) -> Array:
    """Return `total + new` for arrays of floats, and `new` for other arrays."""
    return total + new if jnp.issubdtype(new.dtype, jnp.floating) else new


def _with_custom_derivative(
    compute_loss: Callable[[PyTree], Array],
    compute_loss_and_gradients: Callable[[PyTree], tuple[Array, PyTree]],
) -> Callable[[PyTree], Array]:
    """Return a function equal to `compute_loss` that JAX differentiates by the second argument.

    The second argument, `compute_loss_and_gradients`, is a function that returns the loss and its
    gradients. JAX's own differentiation of `compute_loss` would differentiate a sum over devices
    once on each device. It would also keep the activations of all parts of a batch in memory.
    """
    differentiable_loss = jax.custom_jvp(compute_loss)

    @differentiable_loss.defjvp
    def loss_and_directional_derivative(
        primals: tuple[PyTree], tangents: tuple[PyTree]
    ) -> tuple[Array, Array]:
        [params] = primals
        [direction] = tangents
        loss, grads = compute_loss_and_gradients(params)
        derivative = jnp.asarray(optax.tree.vdot(grads, direction))
        return loss, derivative

    return differentiable_loss
