"""Draw shapes10, a synthetic data set that replaces CIFAR-10 if it can't be downloaded.

Each image is 32x32 RGB and shows one of ten shapes. Position, size, stretch, angle, colours, light,
clutter and noise are random and independent of the class. A linear classifier on the pixels
therefore learns little, but a small convolutional network learns nearly everything. Every shape
has a mirror axis, so an image that training flips still belongs to its class.

A seed gives the same bytes on every platform and with every NumPy version:

- Random numbers come from `RandomState`, whose stream is frozen, and only from `permutation` and
  `random_sample`. The other methods depend on the mathematical library or the compiler.
- Images are computed by NumPy functions that do one exactly rounded IEEE 754 operation (+ - * /
  sqrt abs min max floor). The last bit of a sin or exp depends on the library, and the last bit of
  a sum or matrix product on the order of its additions.
"""

from collections.abc import Callable

import numpy as np

from jaxcifar.array_types import Float64, UInt8
from jaxcifar.image_size import IMAGE_SIZE

IMAGES_PER_BLOCK = 50  # images drawn at a time, few enough for the cache; changes no image
NUMBERS_PER_IMAGE = 42  # random numbers of an image, without its noise
STROKES_BEHIND = 2

# Pixel centres, measured from the middle of the image.
COLUMN_OFFSETS = np.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2
ROW_OFFSETS = COLUMN_OFFSETS[:, None]


# Of angles in a pentagram, in degrees; written out, because the last bit of a sine may differ.
SIN_36, COS_36 = 0.5877853, 0.809017
SIN_72, COS_72 = 0.9510565, 0.309017


def _radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sqrt(u * u + v * v)


def _box(u: np.ndarray, v: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _star_distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # The lines of a pentagram bound five half-planes. Its core lies in all of them, its points in
    # all but one, the rest of the plane in fewer: the second largest distance decides.
    steep_u, steep_v = SIN_72 * u, COS_72 * v
    flat_u, flat_v = SIN_36 * u, COS_36 * v
    steep_distances = [steep_u - steep_v, -steep_u - steep_v]
    distances = [-v, *steep_distances, flat_u + flat_v, -flat_u + flat_v]
    second_largest = np.sort(distances, axis=0)[3]
    return second_largest - 0.36


# Signed distances from a shape, negative inside it, of points (u, v) with v pointing down. Every
# shape has about the size of the unit disc, so that its size does not reveal the class.
_Pixels = Float64[np.ndarray, "images size size"]
SIGNED_DISTANCES: dict[str, Callable[[_Pixels, _Pixels], _Pixels]] = {
    "circle": lambda u, v: _radius(u, v) - 0.88,
    "ring": lambda u, v: np.abs(_radius(u, v) - 0.72) - 0.2,
    "square": lambda u, v: _box(u, v, 0.78, 0.78),
    "frame": lambda u, v: np.abs(_box(u, v, 0.64, 0.64)) - 0.18,
    "triangle": lambda u, v: np.maximum(v, 0.8660254 * np.abs(u) - 0.5 * v) - 0.53,
    "star": _star_distance,
    "cross": lambda u, v: np.minimum(_box(u, v, 0.95, 0.27), _box(u, v, 0.27, 0.95)),
    "tee": lambda u, v: np.minimum(_box(u, v + 0.6, 0.9, 0.27), _box(u, v - 0.15, 0.27, 0.75)),
    "crescent": lambda u, v: np.maximum(_radius(u, v) - 0.95, 0.75 - _radius(u, v + 0.55)),
    "hourglass": lambda u, v: np.maximum(
        0.8 * np.abs(u) - 0.6 * np.abs(v) - 0.08, np.abs(v) - 0.85
    ),
}
CLASS_NAMES: tuple[str, ...] = tuple(SIGNED_DISTANCES)


class _RandomNumbers:
    """Random numbers for n images, taken column by column from a table.

    The table is `[n, NUMBERS_PER_IMAGE] float64`.
    """

    def __init__(self, table: np.ndarray) -> None:
        self._columns = iter(table.T[:, :, None, None])

    def between(self, low: float, high: float) -> np.ndarray:
        """Return a random number for each image, `[n, 1, 1] float64` in [low, high)."""
        return low + (high - low) * next(self._columns)

    def per_channel(self) -> np.ndarray:
        """Return a random number for each image and channel, `[n, 3, 1, 1] float64` in [0, 1)."""
        return np.stack([next(self._columns) for _ in range(3)], axis=1)


def _random_coordinates(
    numbers: _RandomNumbers, largest_shift: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the x and y of each pixel in coordinates shifted and rotated at random for each image.

    Each axis is shifted by up to `largest_shift` pixels. Both results are `[n, 32, 32]`.
    """
    shifted_x = COLUMN_OFFSETS - largest_shift * numbers.between(-1, 1)
    shifted_y = ROW_OFFSETS - largest_shift * numbers.between(-1, 1)
    tan_of_half_angle = numbers.between(-0.6, 0.6)  # cos and sin follow from it by + - * / alone
    squared_tan = tan_of_half_angle * tan_of_half_angle
    cos = (1 - squared_tan) / (1 + squared_tan)
    sin = 2 * tan_of_half_angle / (1 + squared_tan)
    rotated_x = cos * shifted_x + sin * shifted_y
    rotated_y = cos * shifted_y - sin * shifted_x
    return rotated_x, rotated_y


def _paint_shape(canvas: np.ndarray, distance: np.ndarray, colour: np.ndarray) -> None:
    """Colour the pixels of a canvas `[n, 3, 32, 32]` that are inside a shape, in place.

    `distance`, `[n, 32, 32]`, is each pixel's distance from the shape in pixels, negative inside.
    `colour` is the shape's colour in each image, `[n, 3, 1, 1]`.
    """
    opacity = np.clip(0.5 - distance, 0, 1)[:, None]  # a ramp one pixel wide smooths the edge
    canvas += opacity * (colour - canvas)


def _paint_stroke(canvas: np.ndarray, numbers: _RandomNumbers, max_half_width: float) -> None:
    """Paint a random line with round ends, or a dot, on each image of a canvas, in place.

    `max_half_width` is half the width, in pixels, of the thickest line.
    """
    along_line, across_line = _random_coordinates(numbers, largest_shift=IMAGE_SIZE / 2)
    half_length = np.maximum(numbers.between(-3, 6), 0)  # a third of the strokes are dots
    length_past_end = np.maximum(np.abs(along_line) - half_length, 0)
    half_width = numbers.between(0.3, max_half_width)
    distance = _radius(length_past_end, across_line) - half_width
    colour = numbers.per_channel()
    _paint_shape(canvas, distance, colour)


def _draw_shapes(labels: np.ndarray, random_table: np.ndarray) -> np.ndarray:
    """Draw a 32x32 image of one shape for each label; return `[n, 32, 32, 3] uint8`.

    `random_table` has random numbers in [0, 1) for each image, `[n, NUMBERS_PER_IMAGE + 3072]
    float64`.
    """
    numbers = _RandomNumbers(random_table[:, :NUMBERS_PER_IMAGE])
    noise = random_table[:, NUMBERS_PER_IMAGE:].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)

    background_colour = numbers.per_channel()
    slope_x = 0.02 * (numbers.per_channel() - 0.5)  # change of each channel from pixel to pixel
    slope_y = 0.02 * (numbers.per_channel() - 0.5)
    canvas = background_colour + slope_x * COLUMN_OFFSETS + slope_y * ROW_OFFSETS
    for _ in range(STROKES_BEHIND):
        _paint_stroke(canvas, numbers, max_half_width=1.6)

    shape_radius = numbers.between(8, 13)
    shape_x, shape_y = _random_coordinates(numbers, largest_shift=14 - shape_radius)
    stretch = numbers.between(0.9, 1.1)
    # Coordinates in which the shape has about the size of the unit disc.
    unit_x, unit_y = shape_x / shape_radius, shape_y / (shape_radius * stretch)
    distance = np.empty_like(unit_x)
    for label, signed_distance in enumerate(SIGNED_DISTANCES.values()):
        has_label = labels == label
        distance[has_label] = signed_distance(unit_x[has_label], unit_y[has_label])
    # The shape's colour differs from the background by 0.2 to 0.8 modulo 1. So it is as evenly
    # distributed as the background's colour.
    colour_difference = 0.6 * numbers.per_channel()
    shape_colour = background_colour + 0.2 + colour_difference
    shape_colour_modulo_1 = shape_colour - np.floor(shape_colour)
    _paint_shape(canvas, shape_radius * distance, shape_colour_modulo_1)
    _paint_stroke(canvas, numbers, max_half_width=3)

    noise_level = numbers.between(0.1, 0.6)[:, None]
    # Squared, so that many images are clear and some are hard to read.
    canvas += noise_level * noise_level * (noise - 0.5)
    pixels = np.floor(255 * np.clip(canvas, 0, 1) + 0.5).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)


def draw_images(
    image_count: int, seed: int
) -> tuple[UInt8[np.ndarray, "{image_count} size size 3"], UInt8[np.ndarray, "{image_count}"]]:
    """Draw the images of shapes10, the same number of each class, in random order.

    Args:
      image_count: number of images, a multiple of ten.
      seed: seed of all random numbers; with another `image_count` all images differ.

    Returns:
      images and labels; a label is an index into `CLASS_NAMES`.

    Raises:
      ValueError: `image_count` is not a multiple of ten.
    """
    if image_count % len(SIGNED_DISTANCES):
        raise ValueError(
            f"image_count must be a multiple of {len(SIGNED_DISTANCES)}, not {image_count}"
        )
    random_state = np.random.RandomState(seed)
    labels_in_turn = np.arange(image_count) % len(SIGNED_DISTANCES)
    labels = random_state.permutation(labels_in_turn).astype(np.uint8)
    images = np.empty((image_count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for first_index in range(0, image_count, IMAGES_PER_BLOCK):
        block = slice(first_index, min(first_index + IMAGES_PER_BLOCK, image_count))
        # A row for each image, so that an image does not depend on the size of the block.
        numbers_and_noise = NUMBERS_PER_IMAGE + 3 * IMAGE_SIZE * IMAGE_SIZE
        random_table = random_state.random_sample((block.stop - first_index, numbers_and_noise))
        images[block] = _draw_shapes(labels[block], random_table)
    return images, labels
