"""The file of weights that a run starts from (`--init`): its path and its SHA-256."""

import hashlib
from pathlib import Path

from jaxcifar.config.fields import Fields
from jaxcifar.config.option_names import reject

WEIGHTS = "weights.safetensors"


def init_file(init: str) -> Path:
    """Return the path of a file of weights; `init` is this path, or the folder of its run."""
    path = Path(init)
    return path / WEIGHTS if path.is_dir() else path


def init_digest(init: str, earlier_config: Fields | None = None) -> str:
    """Return the SHA-256 of the file of weights for `init`.

    Args:
      init: the path of the file, or of its run's folder.
      earlier_config: config of the run that starts from the weights, if an earlier command began
        this run. Its SHA-256 is returned if the file is gone.

    Raises:
      UsageError: there is no such file, or it can't be read.
    """
    path = init_file(init)
    recorded_digest = None
    if earlier_config is not None and earlier_config.init == init:
        recorded_digest = earlier_config.init_sha256
    if recorded_digest is not None and not path.exists():
        return recorded_digest
    try:
        if path.is_file():  # reading a pipe would wait forever
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reject("init", init, f"can't be read ({error.strerror}); give another file of weights")
    reject("init", init, f"there is no file {path}; give a finished run, or a file of weights")
