"""Values of a network that is traced with two batch sizes: constants, and tensors of the graph."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self, TypeGuard

import numpy as np

BATCH_SIZES = (2, 3)  # a batch of one image would look like an axis that is broadcast


class UnconvertibleError(Exception):
    """A part of a network can't be converted to ONNX nodes.

    The message says which part, and what the user can change.

    Attributes:
      layer: name of the layer that has the part; "" if it is not known.
    """

    layer = ""


class Size(NamedTuple):
    """The sizes of one axis in the traces for two and three images; equal if the size is fixed."""

    for_two_images: int
    for_three_images: int

    @property
    def is_fixed(self) -> bool:
        return self.for_two_images == self.for_three_images

    @property
    def fixed_value(self) -> int:
        """The size as one number. It has a meaning only if the size is fixed."""
        return self.for_two_images

    @property
    def for_one_image(self) -> int:
        """The size for each image. It has a meaning only if the size is not fixed."""
        return self.for_two_images // 2


Shape = tuple[Size, ...]
Order = tuple[int, ...]
ONE = Size(1, 1)


def fixed_shape(sizes: Iterable[int]) -> Shape:
    """Return a shape whose sizes do not depend on the batch."""
    return tuple(Size(size, size) for size in sizes)


def paired_shape(shape_for_two: Sequence[int], shape_for_three: Sequence[int]) -> Shape:
    """Combine an array's shapes for two and for three images; return a `Size` for each axis.

    Raises:
      UnconvertibleError: a size is neither fixed nor a multiple of the batch size.
    """
    if len(shape_for_two) != len(shape_for_three):
        raise UnconvertibleError(
            "an array whose number of axes depends on the number of images can't be converted; use "
            "the same axes for each batch"
        )
    shape = []
    for size_for_two, size_for_three in zip(shape_for_two, shape_for_three, strict=True):
        size = Size(int(size_for_two), int(size_for_three))
        size_proportional_to_batch = Size(2 * size.for_one_image, 3 * size.for_one_image)
        is_proportional_to_batch = size == size_proportional_to_batch
        if not size.is_fixed and not is_proportional_to_batch:
            raise UnconvertibleError(
                "an axis whose size depends on the number of images, but is not a multiple of it, "
                "can't be converted; use a fixed size"
            )
        shape.append(size)
    return tuple(shape)


def product(sizes: Iterable[Size]) -> Size:
    """Return the number of elements of an array whose axes have these sizes, as a `Size`."""
    sizes = list(sizes)
    elements_for_two = math.prod(size.for_two_images for size in sizes)
    elements_for_three = math.prod(size.for_three_images for size in sizes)
    return Size(elements_for_two, elements_for_three)


def require_elements(sizes: Iterable[Size]) -> None:
    """Raise UnconvertibleError if an axis has the size 0, which a reshape in ONNX can't express."""
    if any(size.for_two_images == 0 for size in sizes):
        raise UnconvertibleError(
            "a reshape of an array without elements can't be converted; remove the empty array"
        )


def order_of_jax(axis_count: int) -> Order:
    """Return the order of axes in which no axis is moved."""
    return tuple(range(axis_count))


def exported_dtype(dtype: Any) -> np.dtype:
    """Return the dtype that a value of dtype `dtype` has in the graph: float32 for all floats."""
    is_float = "float" in np.dtype(dtype).name  # bfloat16 too
    return np.dtype(np.float32) if is_float else np.dtype(dtype)


@dataclasses.dataclass(frozen=True)
class Constant:
    """A value that does not depend on the images.

    Attributes:
      for_two_images: the array in the trace for two images.
      for_three_images: the array in the trace for three images.
    """

    for_two_images: Any
    for_three_images: Any

    @property
    def shape(self) -> Shape:
        return paired_shape(np.shape(self.for_two_images), np.shape(self.for_three_images))

    @property
    def has_one_array(self) -> bool:
        """True if both traces have the same array object."""
        return self.for_two_images is self.for_three_images

    def map(self, function: Callable[[Any], Any]) -> Self:
        """Apply a function to the array of each of the two traces; return the new constant."""
        result_for_two = function(self.for_two_images)
        result_for_three = result_for_two
        if not self.has_one_array:
            result_for_three = function(self.for_three_images)
        return dataclasses.replace(
            self, for_two_images=result_for_two, for_three_images=result_for_three
        )

    def array_for_any_batch(self) -> np.ndarray:
        """Return the constant as one array for any number of images, in the graph's dtype.

        An axis whose size depends on the number of images gets the size 1. This is possible if
        the values repeat along the axis, because ONNX broadcasts.

        Raises:
          UnconvertibleError: the values depend on the number of images.
        """
        array_for_two = np.asarray(self.for_two_images)
        array_for_three = np.asarray(self.for_three_images)
        batch_axes = [axis for axis, size in enumerate(self.shape) if not size.is_fixed]
        for axis in batch_axes:
            array_for_two = _shorten_axis_if_repeating(array_for_two, axis)
            array_for_three = _shorten_axis_if_repeating(array_for_three, axis)
        may_have_nan = array_for_two.dtype.kind == "f"
        is_same_for_any_batch = self.has_one_array or np.array_equal(
            array_for_two, array_for_three, equal_nan=may_have_nan
        )
        if not is_same_for_any_batch:
            raise UnconvertibleError(
                "numbers that depend on the number of images can't be converted; compute "
                "without the number of images"
            )
        return array_for_two.astype(exported_dtype(array_for_two.dtype))


def fixed_constant(array: Any) -> Constant:
    """Return a constant that is the same array for any number of images."""
    return Constant(array, array)


def shorten_repeating_axes(array: np.ndarray) -> np.ndarray:
    """Shorten an array to the size 1 along each axis along which its values only repeat."""
    for axis in range(array.ndim):
        if array.shape[axis] > 1 and repeats_along(array, axis):
            array = array.take([0], axis)
    return array


def repeats_along(array: np.ndarray, axis: int) -> bool:
    """Return True if an array has the same values at all positions along an axis."""
    first_slice = array.take([0], axis)
    are_both_nan = (array != array) & (first_slice != first_slice)
    are_equal = (array == first_slice) | are_both_nan
    return bool(are_equal.all())


def _shorten_axis_if_repeating(array: np.ndarray, axis: int) -> np.ndarray:
    """Shorten an array to the size 1 along an axis, if its values only repeat along the axis."""
    return array.take([0], axis) if repeats_along(array, axis) else array


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value of the ONNX graph that depends on the images.

    The axes of the graph's tensor may have another order than the axes in JAX, so that a network
    with channels last needs few transpositions. Axes along which values only repeat may have the
    size 1 in the graph, because ONNX broadcasts. These are the tensor's broadcast axes.

    Attributes:
      name: the tensor's name in the graph.
      shape: sizes of the axes in JAX.
      sizes_in_graph: sizes of the same axes in the graph, in JAX's order; 1 for a broadcast axis.
      order: for each axis of the graph's tensor, the number of this axis in JAX.
      dtype: dtype in the graph.
    """

    name: str
    shape: Shape
    sizes_in_graph: Shape
    order: Order
    dtype: np.dtype

    @classmethod
    def without_broadcast_axes(cls, name: str, shape: Shape, order: Order, dtype: np.dtype) -> Self:
        """Return a tensor that has the same sizes in the graph as in JAX."""
        return cls(name, shape, shape, order, dtype)

    @property
    def shape_in_graph(self) -> Shape:
        """The sizes in the graph, in the graph's order."""
        return tuple(self.sizes_in_graph[axis] for axis in self.order)

    def axis_in_graph(self, axis: int) -> int:
        """Return the number in the graph of the axis that has the number `axis` in JAX."""
        return self.order.index(axis)

    @property
    def axes_larger_than_one(self) -> list[int]:
        """The axes (numbers in JAX) whose size in the graph is not 1, in the graph's order."""
        return [axis for axis in self.order if self.sizes_in_graph[axis] != ONE]


Value = Constant | Tensor


def is_tensor_of_shape(value: Value, shape: Shape) -> TypeGuard[Tensor]:
    """Return True if a value depends on the images and has the shape `shape`."""
    return isinstance(value, Tensor) and value.shape == shape


def rank(value: Value) -> int:
    """Return the number of axes of a value."""
    return len(value.shape)
