"""Resize a data set's images to one size: how much memory that takes, and what to tell the user."""

import dataclasses
from collections.abc import Collection

from jaxcifar.config.python_number import python_number
from jaxcifar.data import binary_records
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE, LARGEST_IMAGE_SIZE, SMALLEST_IMAGE_SIZE
from jaxcifar.machine.system import available_memory
from jaxcifar.machine.terminal import PrintLine, format_bytes

_COPIES_WHILE_SORTING = 2  # records are sorted into a second array
_ANNOUNCED_BYTES = 2**30  # from here on, the memory is printed before the images are read


@dataclasses.dataclass
class Resizing:
    """The size that images get, and a set that collects the sizes that they had before.

    Attributes:
      size: height and width of the resized images.
      original_sizes: height and width of the middle squares of the images read so far.

    Raises:
      UsageError: the size is not in the allowed range.
    """

    size: int = IMAGE_SIZE
    original_sizes: set[int] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = python_number(self.size)
        sizes = range(SMALLEST_IMAGE_SIZE, LARGEST_IMAGE_SIZE + 1)
        if not isinstance(self.size, int) or self.size not in sizes:
            raise UsageError(
                f"image_size {self.size!r:.80}: must be in "
                f"[{SMALLEST_IMAGE_SIZE}, {LARGEST_IMAGE_SIZE}]"
            )

    def require_memory(
        self,
        image_count: int,
        class_count: int,
        print_line: PrintLine | None = None,
        *,
        are_prepared: bool = False,
    ) -> None:
        """Check that images fit into memory; print a line if they need at least `_ANNOUNCED_BYTES`.

        Args:
          image_count: number of images.
          class_count: number of classes, on which the length of a label depends.
          print_line: prints the line; None to print nothing.
          are_prepared: True for images that were prepared before, which need less memory.

        Raises:
          UsageError: the images need more memory than is free.
        """
        bytes_per_image = binary_records.bytes_per_record(class_count, self.size)
        copies_in_memory = 1 if are_prepared else _COPIES_WHILE_SORTING
        needed_bytes = image_count * bytes_per_image * copies_in_memory
        if needed_bytes < _ANNOUNCED_BYTES:
            return
        memory_text = (
            f"{image_count:,} images of {self.size}x{self.size} pixels take "
            f"{format_bytes(needed_bytes)} of memory"
        )
        if not are_prepared:
            memory_text += " while they are prepared"
        free_bytes = available_memory()
        if needed_bytes > free_bytes:
            raise UsageError(
                f"{memory_text}, and {format_bytes(free_bytes)} are free; choose a smaller "
                "--image-size, or give fewer images"
            )
        if print_line:
            print_line(f"{memory_text}.")

    def describe(self) -> str:
        """Return a line that says how the images were resized, and which option changes their size.

        The line is empty if all images had the right size.
        """
        return describe_resizing(self.original_sizes, self.size, with_option=True)


def describe_resizing(original_sizes: Collection[int], size: int, with_option: bool = False) -> str:
    """Return a line that says how images are resized; "" if all images have the right size.

    Args:
      original_sizes: height and width of the images, after they are cropped to squares.
      size: height and width that the images get.
      with_option: True to also name the option that changes the size (`--image-size`).
    """
    if all(original_size == size for original_size in original_sizes):
        return ""
    smallest, largest = min(original_sizes), max(original_sizes)
    if smallest == largest:
        line = f"images of {smallest}x{smallest} pixels are resized to {size}x{size}"
        option_text = f"--image-size {smallest} keeps their size"
        option_exists = SMALLEST_IMAGE_SIZE <= smallest <= LARGEST_IMAGE_SIZE
    else:
        line = f"images of {smallest} to {largest} pixels, as squares, are resized to {size}x{size}"
        option_text = f"--image-size chooses {SMALLEST_IMAGE_SIZE} to {LARGEST_IMAGE_SIZE}"
        option_exists = True
    if with_option and option_exists:
        return f"{line}; {option_text}"
    return line
