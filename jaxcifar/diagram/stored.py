"""Types of the values in a stored summary, with limits that are checked when it is read."""

from typing import Annotated

from msgspec import Meta

from jaxcifar.machine.reading import MEGABYTE

MAX_SUMMARY_BYTES = 8 * MEGABYTE
MAX_LAYERS, MAX_NODES = 5_000, 3_000
StoredCount = Annotated[int, Meta(ge=0)]
StoredText = Annotated[str, Meta(max_length=200)]
StoredShape = Annotated[tuple[StoredCount, ...], Meta(max_length=12)]
ModulePath = Annotated[tuple[StoredText, ...], Meta(max_length=64)]
