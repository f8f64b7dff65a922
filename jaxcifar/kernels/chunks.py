"""Divide a batch into equal chunks, which are computed one after another."""

from jax import Array

from jaxcifar.array_types import Shaped


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of a positive number that is at most `limit`, or 1."""
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    return max(divisor for divisor in divisors if divisor <= max(1, limit))


def split_into_chunks(
    x: Shaped[Array, "batch *rest"], max_images: int
) -> Shaped[Array, "chunks images *rest"]:
    """Divide a batch into as few equal chunks of at most `max_images` images as possible."""
    images_in_chunk = largest_divisor(len(x), max_images)
    return x.reshape(len(x) // images_in_chunk, images_in_chunk, *x.shape[1:])
