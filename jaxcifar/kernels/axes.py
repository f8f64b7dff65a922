"""The axes of arrays by name."""

from jax import Array

from jaxcifar.array_types import Shaped


def reorder_axes(x: Shaped[Array, "..."], named_orders: str) -> Shaped[Array, "..."]:
    """Return an array with its axes in another order.

    Args:
      x: the array.
      named_orders: names of the axes in their old and new order, such as "row column image ->
        image row column".
    """
    old_order, new_order = named_orders.split("->")
    old_names = old_order.split()
    old_positions = [old_names.index(name) for name in new_order.split()]
    return x.transpose(old_positions)
