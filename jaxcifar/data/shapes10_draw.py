"""Draw shapes10: an embedded stand-in for CIFAR-10, for when the real set cannot be fetched.

Every image is 32x32 RGB and shows one of ten geometric shapes. Position, size, stretch, turn,
colours, lighting, clutter and noise all vary and say nothing about the class, so a linear
classifier on the pixels learns next to nothing, while a small convolutional network does well.
Each shape has a mirror axis: flipping an image left to right only turns its shape, which the
generator does anyway, so a flipped image is still a fair example of its class.

A seed gives the same bytes on every platform and NumPy version. The random numbers come from
`RandomState`, whose stream is frozen, and only as `random_sample` and `permutation`: other methods
go through a mathematical library, or leave the compiler free to fuse a multiplication with an
addition. The pictures are made of operations that IEEE 754 rounds exactly (+ - * / sqrt abs
min max floor), each a NumPy call of its own: there is no sin, cos, exp or power, whose last bit
depends on the library, and no sum or matrix product, whose order of additions does.
"""

from collections.abc import Callable

import numpy as np

SIDE = 32
BLOCK = 250  # images drawn at once; bounds the memory and has no effect on the images
NUMBERS = 55  # random numbers that one image takes, its noise aside
STROKES_BEHIND = 3

# Pixel centres, measured from the middle of the image.
COLUMN = np.arange(SIDE) - (SIDE - 1) / 2
ROW = COLUMN[:, None]


def _radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sqrt(u * u + v * v)


def _box(u: np.ndarray, v: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


# A shape maps local coordinates (u, v) to a signed distance, negative inside the shape. Each fits
# roughly in the unit disc, so that size gives no shape away.


def _circle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _radius(u, v) - 0.88


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(_radius(u, v) - 0.72) - 0.2


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _box(u, v, 0.78, 0.78)


def _frame(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(_box(u, v, 0.64, 0.64)) - 0.18


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(-v, 0.5 * v + 0.8660254 * np.abs(u)) - 0.53


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # The five lines of a pentagram bound half-planes. Its core lies in all five, its points in
    # all but one, the rest of the plane in fewer: so the second largest distance decides.
    right, left = 0.9510565 * u, -0.9510565 * u
    low_right, low_left = 0.5877853 * u, -0.5877853 * u
    sides = [-v, right - 0.309017 * v, left - 0.309017 * v, low_right + 0.809017 * v]
    sides.append(low_left + 0.809017 * v)
    return np.sort(sides, axis=0)[3] - 0.36


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.minimum(_box(u, v, 0.95, 0.27), _box(u, v, 0.27, 0.95))


def _tee(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.minimum(_box(u, v - 0.6, 0.9, 0.27), _box(u, v + 0.15, 0.27, 0.75))


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(_radius(u, v) - 0.95, 0.75 - _radius(u - 0.55, v))


def _hourglass(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(0.8 * np.abs(u) - 0.6 * np.abs(v) - 0.08, np.abs(v) - 0.85)


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "tee": _tee,
    "crescent": _crescent,
    "hourglass": _hourglass,
}
CLASS_NAMES: tuple[str, ...] = tuple(SHAPES)


class _Dice:
    """Hands out the columns of a table of random numbers, float64 [n, NUMBERS], one by one."""

    def __init__(self, table: np.ndarray) -> None:
        self._columns = iter(table.T[:, :, None, None])

    def between(self, low: float, high: float) -> np.ndarray:
        """A number per image in [low, high), float64 [n, 1, 1]."""
        return low + (high - low) * next(self._columns)

    def colour(self) -> np.ndarray:
        """Three numbers per image in [0, 1), float64 [n, 3, 1, 1]."""
        return np.stack([next(self._columns) for _ in range(3)], axis=1)


def _place(dice: _Dice, spread: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions seen from a random centre, randomly turned: u and v, float64 [n, 32, 32]."""
    x = COLUMN - spread * dice.between(-1, 1)
    y = ROW - spread * dice.between(-1, 1)
    # The rational form of a rotation; t in [-1, 1) makes half a turn, the sign the other half.
    t = dice.between(-1, 1)
    sign = np.where(dice.between(-1, 1) < 0, -1.0, 1.0)
    cos = sign * (1 - t * t) / (1 + t * t)
    sin = sign * (2 * t) / (1 + t * t)
    return cos * x + sin * y, cos * y - sin * x


def _paint(canvas: np.ndarray, distance: np.ndarray, colour: np.ndarray) -> None:
    """Colour the canvas [n, 3, 32, 32] where distance [n, 32, 32], in pixels, is negative."""
    cover = np.clip(0.5 - distance, 0, 1)[:, None]  # a ramp one pixel wide: no jagged edges
    canvas += cover * (colour - canvas)


def _paint_stroke(canvas: np.ndarray, dice: _Dice, half_width: np.ndarray) -> None:
    """Paint clutter: a round-ended stroke, from a dot to a line across much of the image."""
    u, v = _place(dice, SIDE / 2)
    half_length = dice.between(-3, 9)
    beyond = np.maximum(np.abs(u) - np.maximum(half_length, 0), 0)
    _paint(canvas, _radius(beyond, v) - half_width, dice.colour())


def _draw_block(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Images uint8 [n, 32, 32, 3] for labels [n] from random numbers [n, NUMBERS + 3 * 32 * 32]."""
    dice = _Dice(table[:, :NUMBERS])
    noise = table[:, NUMBERS:].reshape(-1, 3, SIDE, SIDE)

    background = dice.colour()
    slopes = 0.02 * (dice.colour() - 0.5), 0.02 * (dice.colour() - 0.5)
    canvas = background + slopes[0] * COLUMN + slopes[1] * ROW
    for _ in range(STROKES_BEHIND):
        _paint_stroke(canvas, dice, dice.between(0.4, 2.2))

    size = dice.between(6, 12)
    u, v = _place(dice, 15 - size)
    u, v = u / size, v / (size * dice.between(0.8, 1.2))
    distance = np.empty_like(u)
    for label, shape in enumerate(SHAPES.values()):
        rows = labels == label
        distance[rows] = shape(u[rows], v[rows])
    # Stepping around the circle of shades leaves the foreground as evenly spread as the background,
    # yet keeps the two apart: by little in some images, by much in others.
    foreground = background + 0.15 + 0.7 * dice.colour()
    _paint(canvas, distance * size, foreground - np.floor(foreground))
    _paint_stroke(canvas, dice, dice.between(0.3, 0.8))

    canvas += dice.between(0.02, 0.2)[:, None] * (noise - 0.5)
    shades = np.floor(255 * np.clip(canvas, 0, 1) + 0.5).astype(np.uint8)
    return shades.transpose(0, 2, 3, 1)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a balanced set: images uint8 [count, 32, 32, 3] and labels uint8 [count], shuffled."""
    if count % len(SHAPES):
        raise ValueError(f"count must be a multiple of {len(SHAPES)}, not {count}")
    random = np.random.RandomState(seed)
    labels = random.permutation(np.arange(count) % len(SHAPES)).astype(np.uint8)
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        # One row per image, so that the numbers an image gets do not depend on BLOCK.
        table = random.random_sample((block.stop - start, NUMBERS + 3 * SIDE * SIDE))
        images[block] = _draw_block(labels[block], table)
    return images, labels
