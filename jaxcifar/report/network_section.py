"""The report's sections on one network: layers, training, best variation and mistakes."""

from typing import Any

from jaxcifar.diagram.drawing import plot_network
from jaxcifar.errors import RunError
from jaxcifar.report import alternative_texts, classes
from jaxcifar.report.architecture import read_architecture
from jaxcifar.report.choice import (
    candidate_cells,
    sentences_on_guessing_runs,
    winner_certainty_clause,
    winner_sentences,
)
from jaxcifar.report.evaluation_section import evaluation_context
from jaxcifar.report.figures import draw_curves
from jaxcifar.report.pictures import DrawPicture, Pictures
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.report.study_records import StudiedNetwork
from jaxcifar.report.wording import escape_markdown, unusual_settings_text
from jaxcifar.runs.file_formats import Source
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.image_sheets import plot_mistakes, plot_training_images


def network_context(network: StudiedNetwork, pictures: Pictures) -> dict[str, Any]:
    """Draw the pictures of a network's runs, and return the values for the report's template.

    `pictures` draws pictures, and gives them file names.
    """
    winner = network.winner
    best_run = winner.best_run
    draw = pictures.make_draw_function(winner.config.arch, network.data.name)
    title = f"{winner.name}\n{network.title}"
    winner_settings = unusual_settings_text(winner, network.variations)
    network_pictures = {
        "per_class": draw("classes", classes.plot_per_class, best_run, f"Test accuracy: {title}"),
        "confusion": draw("confusion", classes.plot_confusion, best_run, f"Test images: {title}"),
    }
    candidates = []
    if not network.converted:
        network_pictures |= draw_curves(draw, [best_run], title)
        candidates = [candidate_cells(variation, winner) for variation in network.ranked_variations]
    return {
        "title": escape_markdown(network.title),
        "winner": winner,
        "winner_settings": f" ({winner_settings})" if winner_settings else "",
        "best": best_run,
        "variations": network.variations,
        "converted": _origin_sentence(network.converted) if network.converted else "",
        "choice": "" if network.converted else winner_sentences(network),
        "short_choice": "" if network.converted else winner_certainty_clause(network),
        "collapses": sentences_on_guessing_runs(network),
        "architecture": _architecture_context(best_run, network.title, draw),
        "candidates": candidates,
        "mistakes_text": classes.hardest_and_easiest_class_text(best_run, winner.name),
        "confusions": classes.most_frequent_confusions(best_run),
        "evaluation": evaluation_context(best_run, title, draw),
        "mistakes": _mistakes_context(best_run, f"Confident mistakes of {title}", draw),
        "training_images": _training_images_context(best_run, f"Training images of {title}", draw),
        "pictures": network_pictures,
    }


def _origin_sentence(source: Source) -> str:
    """Return a sentence on the file from which a network's weights were converted."""
    return (
        f"Its weights were converted from {escape_markdown(source['file'])} (SHA-256 "
        f"`{source['sha256']}`), not trained here: there are no epochs to show, and it is compared "
        "with no other network."
    )


def _architecture_context(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, Any]:
    """Draw a run's network, and return its layers for the report's template.

    If the layers can't be read, the result has only "missing", the reason.

    Args:
      run: the run.
      title: title of the picture.
      draw: draws a picture and returns its path.
    """
    try:
        summary = read_architecture(run)
    except RunError as error:
        return {"missing": str(error)}
    try:
        picture = draw("model", plot_network, summary, title)
    except Exception:  # matplotlib can fail on unusual networks; the report goes on without
        picture = ""
    return {
        "missing": "",
        "params": summary.params,
        "flops": summary.flops,
        "table": summary.table(),
        "picture": picture,
    }


def _mistakes_context(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, str]:
    """Draw the run's most confident mistakes on test images, and return the picture's path.

    Args:
      run: the run.
      title: title of the picture.
      draw: draws a picture and returns its path.

    Returns:
      "missing", the reason why there is no picture, or ""; and "picture", the path if there is one.
    """
    folder = RunFolder(run.path)
    file = folder.mistakes_file
    if not file.exists():
        return {"missing": f"The run's folder has no {file.name}."}
    try:
        mistakes = folder.read_mistakes(len(run.class_names))
    except RunError:
        return {"missing": f"{file.name} in the run's folder can't be read."}
    picture = draw("mistakes", plot_mistakes, run.class_names, mistakes, title, has_photos=True)
    return {"missing": "", "picture": picture}


def _training_images_context(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, str]:
    """Draw the training images stored in a run's folder; return the path and alternative text.

    Args:
      run: the run.
      title: title of the picture.
      draw: draws a picture and returns its path.

    Returns:
      a dict with "picture", the path, and "text". If the images can't be read, the dict has only
      "missing", the reason. The dict is empty for a run of an older version, without stored images.
    """
    folder = RunFolder(run.path)
    file = folder.training_images_file
    if not file.exists():
        return {}
    try:
        images = folder.read_training_images(len(run.class_names))
    except RunError:
        return {"missing": f"{file.name} in the run's folder can't be read."}
    text = alternative_texts.describe_training_images(run.class_names, images["label"])
    arguments = (run.class_names, images, title)
    picture = draw("training-images", plot_training_images, *arguments, has_photos=True)
    return {"text": text, "picture": picture}
