"""The lines of `jaxcifar evaluate` about earlier figures that it did not replace."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxcifar.runs.evaluation_file import Evaluation, read_evaluation
from jaxcifar.runs.folder import RunFolder


def lines_about_kept_figures(run_folder: Path, evaluation: Evaluation) -> Iterator[str]:
    """Yield a line for each set of images whose earlier results stay in `evaluation.json`.

    Results from more images are not replaced by results from fewer images of the same set.

    Args:
      run_folder: folder of the run, with its `evaluation.json`.
      evaluation: the new evaluation, which `save_evaluation` has added to `evaluation.json`.
    """
    new_evaluation: Mapping[str, Any] = evaluation
    saved_evaluation: Mapping[str, Any] = read_evaluation(RunFolder(run_folder)) or {"sets": {}}
    for section in ("sets", "corruption_sets"):
        for set_name, new_results in new_evaluation.get(section, {}).items():
            saved_results = saved_evaluation[section][set_name]
            saved_image_count = saved_results["images"]
            are_earlier_results_kept = saved_image_count > new_results["images"]
            if are_earlier_results_kept:
                yield (
                    f"{run_folder}: evaluation.json keeps the figures of {saved_image_count:,} "
                    f"images of {set_name}"
                )
