"""Check that the user code of a trained network is the code that it was trained with."""

from pathlib import Path

from jaxcifar.config import user_code, user_reference
from jaxcifar.config.code_in_run import (
    require_no_user_code_in_run_folder,
    run_folder_of,
    user_code_names,
)
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError


def require_same_code(
    path: Path, config: Config, code_copies: Path | None = None, run_folder: Path | None = None
) -> None:
    """Check that user code has not changed since a network was trained with it.

    Args:
      path: path of the run, or of the file of weights.
      config: the run's config, with the names and digests of its user code.
      code_copies: the run's folder with copies of its user code; None for a file of weights.
      run_folder: folder of the run that the weights in the file `path` belong to, if it is known.

    Raises:
      UsageError: a file of the user code has changed, is missing, lies in the run's folder, or has
        no digest in the config.
    """
    require_no_user_code_in_run_folder(run_folder or run_folder_of(path), config)
    digests = dict(config.sources or ())
    for kind, name in user_code_names(config).items():
        recorded_digest = digests.get(kind)
        if recorded_digest is None:
            raise UsageError(
                f"{path}: the config has no SHA-256 of the user code {name}, so the code can't be "
                "checked and is not run; train again"
            )
        remedy = _remedy_for_changed_code(code_copies, kind)
        try:
            is_same = user_reference.read_and_hash(kind, name) == recorded_digest
        except UsageError as error:
            raise UsageError(f"{path}: {error}; {remedy}") from error
        was_defined_in_script = name.startswith("__main__:")
        if not is_same and was_defined_in_script:
            raise UsageError(
                f"{path}: {name} was defined in the script that trained the network; load it in "
                "that script, or move the network to a separate file and train it again"
            )
        if not is_same:
            raise UsageError(f"{path}: {name} has been edited since training; {remedy}")
    _require_same_imports(path, config, code_copies)


def _remedy_for_changed_code(code_copies: Path | None, kind: str) -> str:
    """Return the end of an error message: what to do about missing or changed user code.

    `code_copies` is the run's folder of copies of user code; None for a file of weights. `kind` is
    the kind of user code, such as "arch" for a network.
    """
    if code_copies is None:
        return "get that file from the person who trained the network, or train again"
    return (
        f"the run was trained with the copy in {code_copies / kind}; restore that file if you "
        "trust it, or train again"
    )


def _require_same_imports(path: Path, config: Config, code_copies: Path | None) -> None:
    """Check that the files that user code imports have not changed since training.

    Args:
      path: path of the run, or of the file of weights.
      config: the run's config; it has no imports if an older version wrote it.
      code_copies: the run's folder of copies of its user code; None for a file of weights.

    Raises:
      UsageError: an imported file has changed, or is missing.
    """
    if not config.imports:
        return
    # The run's config is the config to update, and also has the list of the files to read.
    current_config = user_code.with_imports_on_disk(config, recorded=config)
    imports_in_training = set(config.imports)
    current_imports = set(current_config.imports or ())
    changed_imports = imports_in_training.symmetric_difference(current_imports)
    if changed_imports:
        first_changed_import = min(changed_imports)
        kind_and_file, _digest = first_changed_import
        kind, _, file = kind_and_file.partition(": ")
        importer = getattr(config, kind)
        raise UsageError(
            f"{path}: {file}, which {importer} imports, is missing or has been edited since "
            f"training; {_remedy_for_changed_code(code_copies, kind)}"
        )
