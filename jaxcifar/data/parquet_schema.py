"""Choose the columns of a parquet file that hold images, labels and the names of the classes."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_IMAGE_COLUMNS = ("img", "image", "images")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class")  # fine_label: CIFAR-100
_MAX_METADATA_BYTES = 2**24
_MAX_COLUMNS = 1000


class _Feature(msgspec.Struct):
    names: list[str] | None = None


class _Info(msgspec.Struct):
    features: dict[str, Any]


class _Metadata(msgspec.Struct):
    info: _Info


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns to read from a parquet file.

    Attributes:
      image: name of the column of images.
      label: name of the column of labels.
      class_names: names of the classes, by label; None if the file does not say.
    """

    image: str
    label: str
    class_names: tuple[str, ...] | None

    def image_bytes(self, column: Any) -> Any:
        """Return the bytes of the image files in `column`, a part of the column of images.

        If `column` has structures, the bytes are in the field "bytes" of each structure.
        """
        import pyarrow as pa

        return column.field("bytes") if pa.types.is_struct(column.type) else column


def longest_string(column: Any) -> int:
    """Return the length of the longest string in a column; 0 for a column of integers."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return 0
    return max(map(len, column.to_pylist()), default=0)


def find_columns(schema: "pa.Schema") -> Columns:
    """Choose the columns of a parquet file that hold images and labels, and read the class names.

    Raises:
      UsageError: there are no such columns, or several.
    """
    import pyarrow as pa

    if len(schema) > _MAX_COLUMNS:
        raise UsageError(f"the file has {len(schema):,} columns; keep an image and a label column")
    image_columns = [field.name for field in schema if _holds_images(field.type)]
    label_columns = [
        field.name
        for field in schema
        if pa.types.is_integer(field.type)
        or pa.types.is_string(field.type)
        or pa.types.is_large_string(field.type)
    ]
    image = _choose(schema, image_columns, _IMAGE_COLUMNS, "images (with the bytes of files)")
    label = _choose(schema, label_columns, _LABEL_COLUMNS, "labels (integers or strings)")
    return Columns(image, label, _class_names(schema.metadata or {}, label))


def _holds_images(column_type: Any) -> bool:
    """Return True if a column of this type can hold image files: bytes, or structures of bytes."""
    import pyarrow as pa

    if pa.types.is_struct(column_type):
        fields = {field.name: field.type for field in column_type}
        column_type = fields.get("bytes", column_type)
    return pa.types.is_binary(column_type) or pa.types.is_large_binary(column_type)


def _choose(
    schema: "pa.Schema", candidates: Sequence[str], usual_names: Sequence[str], meaning: str
) -> str:
    """Return the column with the first of the usual names, or else the only candidate.

    Args:
      schema: names and types of all columns, for the error message.
      candidates: names of the columns that have a suitable type.
      usual_names: names that such columns usually have, the most usual first.
      meaning: what the column is for, for the error message.

    Raises:
      UsageError: there is no clear choice.
    """
    for name in usual_names:
        if candidates.count(name) == 1 and schema.names.count(name) == 1:
            return name
    if len(candidates) == 1:
        return candidates[0]
    quoted_names = [ascii(name[:40]) for name in schema.names[:10]]
    shown = ", ".join(quoted[1:-1] for quoted in quoted_names)
    raise UsageError(
        f"the parquet file has no clear column of {meaning} among {shown}; rename the right column "
        f"to {usual_names[0]}"
    )


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    """Return the class names in the metadata that Hugging Face's `datasets` writes.

    `label` is the name of the column of labels. Return None if the metadata has no class names.
    """
    content = metadata.get(b"huggingface", b"")
    if not 0 < len(content) <= _MAX_METADATA_BYTES:
        return None
    try:
        features = msgspec.json.decode(content, type=_Metadata).info.features
        names = msgspec.convert(features.get(label), type=_Feature).names
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the metadata of another program; class names are optional
    if names is None or not 0 < len(names) <= MAX_CLASSES:
        return None
    return tuple(names)
