"""The report's sections on one network: layers, training, best variation and mistakes."""

from typing import Any

from jaxcifar.diagram.drawing import plot_network
from jaxcifar.errors import RunError
from jaxcifar.report import alternative_texts, classes
from jaxcifar.report.architecture import read_architecture
from jaxcifar.report.choice import candidate, choice_text, collapses, short_choice
from jaxcifar.report.evaluation_section import evaluation_context
from jaxcifar.report.figures import draw_curves
from jaxcifar.report.pictures import DrawPicture, Pictures
from jaxcifar.report.run_records import FinishedRun, StudiedNetwork
from jaxcifar.report.wording import escape_markdown, unusual_settings
from jaxcifar.runs.file_formats import Source
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.plots import plot_mistakes, plot_training_images


def network_context(network: StudiedNetwork, pictures: Pictures) -> dict[str, Any]:
    """Draw the pictures of a network's runs, and return the values for the report's template."""
    winner, best = network.winner, network.winner.best_run
    draw = pictures.section(winner.config.arch, network.data.name)
    title = f"{winner.name}\n{network.title}"
    settings = unusual_settings(winner, network.variations)
    network_pictures = {
        "per_class": draw("classes", classes.plot_per_class, best, f"Test accuracy: {title}"),
        "confusion": draw("confusion", classes.plot_confusion, best, f"Test images: {title}"),
    }
    candidates = []
    if not network.converted:
        network_pictures |= draw_curves(draw, [best], title)
        candidates = [candidate(variation, winner) for variation in network.by_validation]
    return {
        "title": escape_markdown(network.title),
        "winner": winner,
        "winner_settings": f" ({settings})" if settings else "",
        "best": best,
        "variations": network.variations,
        "converted": _origin(network.converted) if network.converted else "",
        "choice": "" if network.converted else choice_text(network),
        "short_choice": "" if network.converted else short_choice(network),
        "collapses": collapses(network),
        "architecture": _architecture(best, network.title, draw),
        "candidates": candidates,
        "mistakes_text": classes.mistakes_text(best, winner.name),
        "confusions": classes.worst_confusions(best),
        "evaluation": evaluation_context(best, title, draw),
        "mistakes": _mistakes(best, f"Confident mistakes of {title}", draw),
        "training_images": _training_images(best, f"Training images of {title}", draw),
        "pictures": network_pictures,
    }


def _origin(source: Source) -> str:
    """Return a sentence on the file from which a network's weights were converted."""
    return (
        f"Its weights were converted from {escape_markdown(source['file'])} (SHA-256 "
        f"`{source['sha256']}`), not trained here: there are no epochs to show, and it is compared "
        "with no other network."
    )


def _architecture(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, Any]:
    """Return the layers and drawing of a run's network; if there are none, `missing` says why."""
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


def _mistakes(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, str]:
    """Return the picture of the most confident mistakes; if there is none, `missing` says why."""
    file = RunFolder(run.path).mistakes_file
    if not file.exists():
        return {"missing": f"The run's folder has no {file.name}."}
    try:
        mistakes = RunFolder(run.path).read_mistakes(len(run.class_names))
    except RunError:
        return {"missing": f"{file.name} in the run's folder can't be read."}
    return {
        "missing": "",
        "picture": draw("mistakes", plot_mistakes, run.class_names, mistakes, title, photos=True),
    }


def _training_images(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, str]:
    """Return the picture of training images and its text; if a file is damaged, the reason.

    The result is empty if the run stored no such images, as older versions did not.
    """
    folder = RunFolder(run.path)
    if not folder.training_images_file.exists():
        return {}
    try:
        sample = folder.read_training_images(len(run.class_names))
    except RunError:
        return {"missing": f"{folder.training_images_file.name} in the run's folder can't be read."}
    text = alternative_texts.training_images(run.class_names, sample["label"])
    arguments = (run.class_names, sample, title)
    return {
        "text": text,
        "picture": draw("training-images", plot_training_images, *arguments, photos=True),
    }
