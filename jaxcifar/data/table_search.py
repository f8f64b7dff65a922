"""Find the table that has the labels of the images in a folder."""

from pathlib import Path

from jaxcifar.data.labelled_files import LabelledFiles, label_files
from jaxcifar.data.table_columns import NoImageNamedError
from jaxcifar.errors import RunError
from jaxcifar.machine.paths import TABLE_SUFFIXES

_MAX_TABLES = 20  # that are tried in a folder


def find_labelled_files(folder: Path) -> LabelledFiles | None:
    """Find a table of labels in a folder of images or beside the folder, and apply it.

    Returns:
      the images with their labels; None if there is no table.

    Raises:
      RunError: no table can be used, or several can; the message says what to do.
    """
    for place in (folder, folder.parent):
        usable: list[LabelledFiles] = []
        errors: list[RunError] = []
        for table in _tables_in(place):
            try:
                usable.append(label_files(table, folder))
            except RunError as error:
                errors.append(error)
        if len(usable) > 1:
            tables = [files.table for files in usable]
            training_tables = [table for table in tables if "train" in table.name.lower()]
            example = training_tables[0] if training_tables else tables[0]
            names = ", ".join(table.name for table in tables)
            raise RunError(
                f"{folder}: has several tables of labels ({names}); name the right one, such as "
                f"--dataset {example}"
            )
        if usable:
            return usable[0]
        if errors and place == folder:  # other tables may lie beside the folder
            raise errors[0]
    return None


def _tables_in(folder: Path) -> list[Path]:
    """Return up to `_MAX_TABLES` .csv and .tsv files of a folder, sorted by name; [] if unreadable.

    Hidden files, and Kaggle's example of a submission with made-up labels, are left out.
    """
    try:
        tables = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in TABLE_SUFFIXES
            and not path.name.startswith(".")
            and "submission" not in path.name.lower()
            and path.is_file()
        )
    except OSError:
        return []
    return tables[:_MAX_TABLES]


def describe_unusable_table(folder: Path) -> str:
    """Return why a table of labels beside a folder can't be used; "" if there is no table.

    Of several tables it is the first, but one that names images of the folder comes first.
    """
    problems: list[str] = []
    for table in _tables_in(folder.parent):
        try:
            label_files(table, folder)
        except RunError as error:
            reason = str(error).removeprefix(f"{table}: ")
            problem = f"{table.name} beside it can't be used: {reason}"
            is_about_others = isinstance(error, NoImageNamedError)
            problems.insert(len(problems) if is_about_others else 0, problem)
    return problems[0] if problems else ""
