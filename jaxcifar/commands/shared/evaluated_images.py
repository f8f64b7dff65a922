"""The lines of `jaxcifar evaluate` that list single images: mistakes and likely label errors."""

from jaxcifar.evaluation.user_images import SPLIT_TITLES
from jaxcifar.runs.evaluation_file import Figures, Mistake

_MAX_LISTED_MISTAKES = 5  # of each set of images


def list_mistakes(run: str, figures: Figures) -> list[str]:
    """Return lines that list a run's most confident mistakes on one set of images.

    If these are training images, the lines list the likeliest label errors instead.
    """
    if "label_errors" in figures:
        return _list_label_errors(run, figures)
    lines = [
        f"  {_file_or_position(figures, mistake)} is {mistake['label']}, classified as "
        f"{mistake['predicted']} ({mistake['confidence']:.2%})"
        for mistake in figures["mistakes"][:_MAX_LISTED_MISTAKES]
    ]
    return [f"{run}, {figures['title']}: most confident mistakes", *lines] if lines else []


def _file_or_position(figures: Figures, mistake: Mistake) -> str:
    """Return the file of a listed image, else its position, such as "test image 41"."""
    if mistake.get("file"):
        return mistake["file"]
    split_title = SPLIT_TITLES.get(figures.get("split", ""), "")
    return f"{split_title} image {mistake['index']:,}".strip()


def _list_label_errors(run: str, figures: Figures) -> list[str]:
    """Return lines that list the training images whose labels are least probable."""
    title = f"{run}, {figures['title']}"
    errors = figures["label_errors"]
    if not errors:
        return [f"{title}: every image is classified as its label, so no label looks wrong"]
    lines = [
        f"  {_file_or_position(figures, error)} is labelled "
        f"{error['label']} ({error['label_probability']:.2%}), classified as "
        f"{error['predicted']} ({error['confidence']:.2%})"
        for error in errors
    ]
    return [f"{title}: labels most likely to be wrong", *lines]
