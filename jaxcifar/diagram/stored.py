"""Types of the values in a stored summary, with limits that are checked when it is read."""

from typing import Annotated

from msgspec import Meta

from jaxcifar.machine.reading import MEGABYTE

MOST_BYTES = 8 * MEGABYTE
MOST_LAYERS, MOST_NODES = 5_000, 3_000
Number = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(max_length=200)]
StoredShape = Annotated[tuple[Number, ...], Meta(max_length=12)]
ModulePath = Annotated[tuple[Text, ...], Meta(max_length=64)]
