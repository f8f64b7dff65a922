"""Convert pools: maxima and sums over windows."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.axis_groups import axis_groups
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Shape, Tensor, UnconvertibleError, product
from jaxcifar.exchange.onnx.traced_step import Step, only_input

# The pool that computes a reduction over windows that lie side by side.
_POOLS = {"ReduceMax": "MaxPool", "ReduceSum": "AveragePool"}
_MOST_SPATIAL_AXES = 3  # of ONNX Runtime's pools


def max_window(graph: OnnxBuilder, step: Step) -> Tensor:
    return _window(graph, step, "MaxPool")


def min_window(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return minima over windows: the negative maxima of the negative values."""
    return _window(graph, step, "MaxPool", is_negated=True)


def sum_window(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return sums over windows: their means times the number of elements in a window."""
    return _window(graph, step, "AveragePool")


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of a pool; each attribute has an entry for every axis of the array.

    Attributes:
      size: number of elements in a window.
      strides: distance between windows.
      padding: numbers of elements that are added before and after the array.
      dilation: distance between the elements of a window.
    """

    size: Sequence[int]
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    dilation: Sequence[int]

    @property
    def axes(self) -> list[int]:
        """The axes along which windows are larger than one element or do not start at each."""
        axes = range(len(self.size))
        return [axis for axis in axes if self.size[axis] != 1 or self.strides[axis] != 1]

    def check(self) -> None:
        """Raise UnconvertibleError for padding that ONNX Runtime does not take."""
        for size, dilation, zeros in zip(self.size, self.dilation, self.padding, strict=True):
            extent = (size - 1) * dilation + 1
            if min(zeros) < 0 or max(zeros) >= extent:
                raise UnconvertibleError("a pool with as much padding as a window")


def _window(graph: OnnxBuilder, step: Step, operation: str, is_negated: bool = False) -> Tensor:
    x = only_input(step)
    params = step.params
    windows = Windows(
        size=params["window_dimensions"],
        strides=params["window_strides"],
        padding=params["padding"],
        dilation=params["window_dilation"],
    )
    windows.check()
    if x.dtype != np.float32:
        raise UnconvertibleError("a pool of integers")
    if set(params["base_dilation"]) != {1}:
        raise UnconvertibleError("a pool with dilated inputs")
    if operation == "AveragePool" and set(windows.dilation) != {1}:
        raise UnconvertibleError("sums over windows with gaps")
    if not windows.axes:
        return x
    if not is_negated:
        return _pool(graph, x, operation, windows, step.shape)
    negative = dataclasses.replace(x, name=graph.add("Neg", x.name))
    maxima = _pool(graph, negative, operation, windows, step.shape)
    return dataclasses.replace(maxima, name=graph.add("Neg", maxima.name))


def _pool(graph: OnnxBuilder, x: Tensor, operation: str, windows: Windows, shape: Shape) -> Tensor:
    """Add a node "MaxPool", or "AveragePool" times the windows' size; `shape` is the result's."""
    axes = range(len(shape))
    others = [axis for axis in axes if axis not in windows.axes]
    if len(others) < 2:
        raise UnconvertibleError("a pool of an array without batch and channels")
    # ONNX pools over all axes but two, for example over height and width.
    spatial_axes = [axis for axis in axes if axis not in (others[0], others[-1])]
    is_joined = len(spatial_axes) > _MOST_SPATIAL_AXES
    if is_joined:  # all other axes but the last are joined with the batch
        spatial_axes = windows.axes
    if len(spatial_axes) > _MOST_SPATIAL_AXES:
        raise UnconvertibleError(f"a pool along more than {_MOST_SPATIAL_AXES} axes")
    attributes = {
        "kernel_shape": [windows.size[axis] for axis in spatial_axes],
        "strides": [windows.strides[axis] for axis in spatial_axes],
    }
    befores = [windows.padding[axis][0] for axis in spatial_axes]
    afters = [windows.padding[axis][1] for axis in spatial_axes]
    if any(befores + afters):
        attributes["pads"] = befores + afters
    if set(windows.dilation) != {1}:
        attributes["dilations"] = [windows.dilation[axis] for axis in spatial_axes]
    order = (*others, *spatial_axes) if is_joined else (others[0], others[-1], *spatial_axes)
    name = graph.whole(x, order).name
    if is_joined:
        joined = product(x.shape[axis] for axis in others[:-1])
        sizes = [x.shape[axis] for axis in (others[-1], *spatial_axes)]
        name = graph.reshape(name, [joined, *sizes])
    if operation == "MaxPool":
        name = graph.add("MaxPool", name, **attributes)
    else:
        means = graph.add("AveragePool", name, count_include_pad=1, **attributes)
        name = graph.add("Mul", means, graph.scalar(math.prod(windows.size)))
    if is_joined:
        name = graph.reshape(name, [shape[axis] for axis in order])
    return Tensor(name, shape, shape, order, x.dtype)


def pooled_blocks(
    graph: OnnxBuilder, x: Tensor, axes: Sequence[int], operation: str, shape: Shape
) -> Tensor | None:
    """Return a reduction as a pool, if `x` was reshaped into blocks that are reduced; else None.

    For example, `images.reshape(B, H // 2, 2, W // 2, 2, C).max((2, 4))` is a max pool.

    Args:
      graph: the graph.
      x: the array that is reduced.
      axes: the axes over which it is reduced.
      operation: the reduction, such as "ReduceMax".
      shape: shape of the result.
    """
    source = graph.reshaped.get(x)
    if source is None or operation not in _POOLS or x.dtype != np.float32:
        return None
    if source.stored != source.shape:
        return None
    size = [1] * len(source.shape)
    for group in axis_groups(source.shape, x.shape):
        if not group.changes and group.after[0] not in axes:
            continue
        is_block = len(group.before) == 1 and len(group.after) == 2
        if not is_block or group.after[0] in axes or group.after[1] not in axes:
            return None
        if not x.shape[group.after[1]].is_fixed:  # the size of a window is a number in the graph
            return None
        [axis] = group.before
        size[axis] = x.shape[group.after[1]].for_two
    windows = Windows(size, size, [(0, 0)] * len(size), [1] * len(size))
    if len(size) - len(windows.axes) < 2 or len(windows.axes) > _MOST_SPATIAL_AXES:
        return None
    whole = graph.uncropped.get(source)
    if whole is not None and _has_as_many_windows(whole.shape, size, shape):
        source = whole  # the pool leaves the last rows and columns out by itself
    return _pool(graph, source, _POOLS[operation], windows, shape)


def _has_as_many_windows(whole: Shape, size: Sequence[int], shape: Shape) -> bool:
    """Return True if windows side by side over an uncropped array give an array of this shape."""
    for axis, window in enumerate(size):
        windows = (whole[axis].for_two // window, whole[axis].for_three // window)
        if windows != shape[axis]:
            return False
    return True
