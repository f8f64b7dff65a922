"""Choose the columns of a parquet file that hold images, labels and the names of the classes."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_USUAL_IMAGE_COLUMNS = ("img", "image", "images")
_USUAL_LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class")  # fine_label: CIFAR-100
_MAX_METADATA_BYTES = 2**24
_MAX_COLUMNS = 1000
_MAX_SHOWN_NAMES = 10  # of columns in a message
_MAX_NAME_LENGTH = 40  # characters of a name in a message


class _LabelFeature(msgspec.Struct):
    names: list[str] | None = None


class _DatasetInfo(msgspec.Struct):
    features: dict[str, Any]


class _HuggingFaceMetadata(msgspec.Struct):
    info: _DatasetInfo


@dataclasses.dataclass(frozen=True)
class ParquetColumns:
    """The columns to read from a parquet file.

    Attributes:
      image_column: name of the column of images.
      label_column: name of the column of labels.
      class_names: names of the classes, by label; None if the file does not say.
    """

    image_column: str
    label_column: str
    class_names: tuple[str, ...] | None

    def image_files_in(self, column_part: Any) -> Any:
        """Return the bytes of the image files in `column_part`, a part of the column of images.

        If `column_part` has structures, the bytes are in the field "bytes" of each structure.
        """
        import pyarrow as pa

        has_structures = pa.types.is_struct(column_part.type)
        return column_part.field("bytes") if has_structures else column_part


def length_of_longest_string(column: Any) -> int:
    """Return the length of the longest string in a column; 0 for a column of integers."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return 0
    return max(map(len, column.to_pylist()), default=0)


def find_parquet_columns(schema: "pa.Schema") -> ParquetColumns:
    """Choose the columns of a parquet file that hold images and labels, and read the class names.

    Raises:
      UsageError: there are no such columns, or several.
    """
    if len(schema) > _MAX_COLUMNS:
        raise UsageError(f"the file has {len(schema):,} columns; keep only images and labels")
    image_columns = [field.name for field in schema if _holds_images(field.type)]
    label_columns = [field.name for field in schema if _holds_labels(field.type)]
    image_column = _choose_column(
        schema, image_columns, _USUAL_IMAGE_COLUMNS, "images (with the bytes of files)"
    )
    label_column = _choose_column(
        schema, label_columns, _USUAL_LABEL_COLUMNS, "labels (integers or strings)"
    )
    class_names = _class_names_in_metadata(schema.metadata or {}, label_column)
    return ParquetColumns(image_column, label_column, class_names)


def _holds_images(column_type: Any) -> bool:
    """Return True if a column of this type can hold image files: bytes, or structures of bytes."""
    import pyarrow as pa

    if pa.types.is_struct(column_type):
        fields = {field.name: field.type for field in column_type}
        column_type = fields.get("bytes", column_type)
    return pa.types.is_binary(column_type) or pa.types.is_large_binary(column_type)


def _holds_labels(column_type: Any) -> bool:
    """Return True if a column of this type can hold labels: integers or strings."""
    import pyarrow as pa

    is_text = pa.types.is_string(column_type) or pa.types.is_large_string(column_type)
    return is_text or pa.types.is_integer(column_type)


def _choose_column(
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
    shown_names = []
    for name in schema.names[:_MAX_SHOWN_NAMES]:
        name_in_quotes = ascii(name[:_MAX_NAME_LENGTH])
        shown_names.append(name_in_quotes[1:-1])
    raise UsageError(
        f"the parquet file has no clear column of {meaning} among {', '.join(shown_names)}; rename "
        f"the right column to {usual_names[0]}"
    )


def _class_names_in_metadata(
    metadata: dict[bytes, bytes], label_column: str
) -> tuple[str, ...] | None:
    """Return the class names in the metadata that Hugging Face's `datasets` writes.

    `label_column` is the name of the column of labels. Return None if the metadata has no class
    names.
    """
    json_text = metadata.get(b"huggingface", b"")
    if not 0 < len(json_text) <= _MAX_METADATA_BYTES:
        return None
    try:
        features = msgspec.json.decode(json_text, type=_HuggingFaceMetadata).info.features
        names = msgspec.convert(features.get(label_column), type=_LabelFeature).names
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the metadata of another program; class names are optional
    if names is None or not 0 < len(names) <= MAX_CLASSES:
        return None
    return tuple(names)
