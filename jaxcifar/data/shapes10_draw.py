"""Draw shapes10: an embedded stand-in for CIFAR-10, for when the real set can't be fetched.

Every image is 32x32 RGB and shows one of ten shapes. Place, size, stretch, turn, colours, light,
clutter and noise vary from image to image and say nothing of the class, so a linear classifier on
the pixels learns little where a small convolutional network learns nearly everything. Every shape
has a mirror axis and no two are turns of each other: an image flipped left to right in training is
still a fair example of its class.

A seed gives the same bytes on every platform and with every NumPy version:

- Random numbers are `RandomState`'s, whose stream is frozen, and only `permutation` and
  `random_sample`: the other methods call the mathematical library of the platform, or leave the
  compiler free to fuse a multiplication and an addition into one rounding.
- Pictures are made by NumPy calls that do one exactly rounded IEEE 754 operation each (+ - * /
  sqrt abs min max floor). The last bit of a sin or an exp depends on the library, that of a sum or
  a matrix product on the order of its additions.
"""

from collections.abc import Callable

import numpy as np

from jaxcifar.array_types import Float64, UInt8

SIDE = 32
BLOCK = 50  # images drawn at once, few enough to stay in cache; changes no image
NUMBERS = 42  # random numbers that an image takes besides its noise
STROKES_BEHIND = 2

# Pixel centres, measured from the middle of the image.
COLUMN = np.arange(SIDE) - (SIDE - 1) / 2
ROW = COLUMN[:, None]


def _radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sqrt(u * u + v * v)


def _box(u: np.ndarray, v: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # The lines of a pentagram bound five half-planes. Its core lies in all of them, its points in
    # all but one, the rest of the plane in fewer: the second largest distance decides.
    x, y = 0.9510565 * u, 0.309017 * v
    i, j = 0.5877853 * u, 0.809017 * v
    return np.sort([-v, x - y, -x - y, i + j, -i + j], axis=0)[3] - 0.36


# Signed distances, negative inside the shape, of points (u, v) with v pointing down. Every shape
# about fills the unit disc, so that its extent doesn't give it away.
_Pixels = Float64[np.ndarray, "images 32 32"]
SHAPES: dict[str, Callable[[_Pixels, _Pixels], _Pixels]] = {
    "circle": lambda u, v: _radius(u, v) - 0.88,
    "ring": lambda u, v: np.abs(_radius(u, v) - 0.72) - 0.2,
    "square": lambda u, v: _box(u, v, 0.78, 0.78),
    "frame": lambda u, v: np.abs(_box(u, v, 0.64, 0.64)) - 0.18,
    "triangle": lambda u, v: np.maximum(v, 0.8660254 * np.abs(u) - 0.5 * v) - 0.53,
    "star": _star,
    "cross": lambda u, v: np.minimum(_box(u, v, 0.95, 0.27), _box(u, v, 0.27, 0.95)),
    "tee": lambda u, v: np.minimum(_box(u, v + 0.6, 0.9, 0.27), _box(u, v - 0.15, 0.27, 0.75)),
    "crescent": lambda u, v: np.maximum(_radius(u, v) - 0.95, 0.75 - _radius(u, v + 0.55)),
    "hourglass": lambda u, v: np.maximum(
        0.8 * np.abs(u) - 0.6 * np.abs(v) - 0.08, np.abs(v) - 0.85
    ),
}
CLASS_NAMES: tuple[str, ...] = tuple(SHAPES)


class _Dice:
    """Hands out the columns of a table of random numbers, `[n, NUMBERS] float64`, in turn."""

    def __init__(self, table: np.ndarray) -> None:
        self._columns = iter(table.T[:, :, None, None])

    def between(self, low: float, high: float) -> np.ndarray:
        """A number per image, `[n, 1, 1] float64` in [low, high)."""
        return low + (high - low) * next(self._columns)

    def colour(self) -> np.ndarray:
        """Three numbers per image, `[n, 3, 1, 1] float64` in [0, 1)."""
        return np.stack([next(self._columns) for _ in range(3)], axis=1)


def _centre(dice: _Dice, spread: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions seen from a random centre at a random angle: two `[n, 32, 32] float64`."""
    x = COLUMN - spread * dice.between(-1, 1)
    y = ROW - spread * dice.between(-1, 1)
    t = dice.between(-0.6, 0.6)  # tangent of half the angle: cos and sin are rational in it
    cos = (1 - t * t) / (1 + t * t)
    sin = 2 * t / (1 + t * t)
    return cos * x + sin * y, cos * y - sin * x


def _paint(canvas: np.ndarray, distance: np.ndarray, colour: np.ndarray) -> None:
    """Colour the canvas, `[n, 3, 32, 32]`, where the distance in pixels, `[n, 32, 32]`, is < 0."""
    cover = np.clip(0.5 - distance, 0, 1)[:, None]  # a ramp one pixel wide smooths the edge
    canvas += cover * (colour - canvas)


def _paint_stroke(canvas: np.ndarray, dice: _Dice, widest: float) -> None:
    """Paint clutter: a line with round ends, or a dot, of at most `widest` pixels half across."""
    u, v = _centre(dice, SIDE / 2)
    half_length = np.maximum(dice.between(-3, 6), 0)  # a third of the strokes are dots
    past_the_end = np.maximum(np.abs(u) - half_length, 0)
    _paint(canvas, _radius(past_the_end, v) - dice.between(0.3, widest), dice.colour())


def _draw_block(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Draw a row of random numbers, `[n, NUMBERS + 3072] float64`, as `[n, 32, 32, 3] uint8`."""
    dice = _Dice(table[:, :NUMBERS])
    noise = table[:, NUMBERS:].reshape(-1, 3, SIDE, SIDE)

    background = dice.colour()
    slope_x, slope_y = 0.02 * (dice.colour() - 0.5), 0.02 * (dice.colour() - 0.5)
    canvas = background + slope_x * COLUMN + slope_y * ROW
    for _ in range(STROKES_BEHIND):
        _paint_stroke(canvas, dice, widest=1.6)

    size = dice.between(8, 13)
    u, v = _centre(dice, 14 - size)
    u, v = u / size, v / (size * dice.between(0.9, 1.1))
    distance = np.empty_like(u)
    for label, shape in enumerate(SHAPES.values()):
        rows = labels == label
        distance[rows] = shape(u[rows], v[rows])
    # A step around the circle of shades leaves the shape's colour as evenly spread as the
    # background's, and keeps the two apart, by more in some images than in others.
    shade = background + 0.2 + 0.6 * dice.colour()
    _paint(canvas, size * distance, shade - np.floor(shade))
    _paint_stroke(canvas, dice, widest=3)

    grain = dice.between(0.1, 0.6)[:, None]
    canvas += grain * grain * (noise - 0.5)  # squared: many images are clear, some hard to read
    pixels = np.floor(255 * np.clip(canvas, 0, 1) + 0.5).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)


def draw(
    count: int, seed: int
) -> tuple[UInt8[np.ndarray, "{count} 32 32 3"], UInt8[np.ndarray, "{count}"]]:
    """Draw a balanced set in shuffled order.

    Args:
      count: number of images, a multiple of ten.
      seed: decides everything; a shorter set is not the beginning of a longer one.

    Returns:
      images and labels, which are indices into `CLASS_NAMES`.

    Raises:
      ValueError: the classes can't be balanced.
    """
    if count % len(SHAPES):
        raise ValueError(f"count must be a multiple of {len(SHAPES)}, not {count}")
    random = np.random.RandomState(seed)
    labels = random.permutation(np.arange(count) % len(SHAPES)).astype(np.uint8)
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        # A row per image: what an image gets doesn't depend on the size of the block.
        table = random.random_sample((block.stop - start, NUMBERS + 3 * SIDE * SIDE))
        images[block] = _draw_block(labels[block], table)
    return images, labels
