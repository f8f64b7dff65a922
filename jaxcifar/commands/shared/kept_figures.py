"""The lines of `jaxcifar evaluate` about earlier figures that it did not replace."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxcifar.runs.evaluation_file import Evaluation, read_evaluation
from jaxcifar.runs.folder import RunFolder


def lines_about_kept_figures(run_folder: Path, evaluation: Evaluation) -> Iterator[str]:
    """Yield a line for each set whose earlier figures, from more images, were not replaced.

    Args:
      run_folder: folder of the run, with its `evaluation.json`.
      evaluation: the new evaluation.
    """
    written: Mapping[str, Any] = read_evaluation(RunFolder(run_folder)) or {"sets": {}}
    measured: Mapping[str, Any] = evaluation
    for section in ("sets", "corruption_sets"):
        for name, figures in measured.get(section, {}).items():
            written_images = written[section][name]["images"]
            if written_images > figures["images"]:
                yield (
                    f"{run_folder}: evaluation.json keeps the figures of {written_images:,} images "
                    f"of {name}"
                )
