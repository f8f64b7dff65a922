"""The lines of `jaxcifar evaluate` that list single images: mistakes and likely label errors."""

from jaxcifar.evaluation.user_images import SPLIT_TITLES
from jaxcifar.runs.evaluation_file import Figures, Mistake

_MAX_MISTAKES = 5  # of each set of images


def list_mistakes(run: str, figures: Figures) -> list[str]:
    """Return lines that list a run's most confident mistakes on one set of images.

    If these are training images, the lines list the likeliest label errors instead.
    """
    if "label_errors" in figures:
        return _label_errors(run, figures)
    lines = [
        f"  {_image_name(figures, mistake)} is {mistake['label']}, classified as "
        f"{mistake['predicted']} ({mistake['confidence']:.2%})"
        for mistake in figures["mistakes"][:_MAX_MISTAKES]
    ]
    return [f"{run}, {figures['title']}: most confident mistakes", *lines] if lines else []


def _image_name(figures: Figures, mistake: Mistake) -> str:
    """Return the file of a listed image, else its position, such as "test image 41"."""
    split = SPLIT_TITLES.get(figures.get("split", ""), "")
    return mistake.get("file") or f"{split} image {mistake['index']:,}".strip()


def _label_errors(run: str, figures: Figures) -> list[str]:
    """Return lines that list the training images whose labels are least probable."""
    title = f"{run}, {figures['title']}"
    errors = figures["label_errors"]
    if not errors:
        return [f"{title}: every image is classified as its label, so no label looks wrong"]
    lines = [
        f"  {_image_name(figures, error)} is labelled "
        f"{error['label']} ({error['label_probability']:.2%}), classified as "
        f"{error['predicted']} ({error['confidence']:.2%})"
        for error in errors
    ]
    return [f"{title}: labels most likely to be wrong", *lines]
