"""The sections on one network: what it is, its training, how it was chosen, what it gets wrong."""

from typing import Any

from jaxcifar.diagram.drawing import plot_network
from jaxcifar.errors import RunError
from jaxcifar.report import classes
from jaxcifar.report.architecture import read_architecture
from jaxcifar.report.choice import candidate, choice, collapses
from jaxcifar.report.evaluation_section import evaluation_context
from jaxcifar.report.figures import draw_curves
from jaxcifar.report.pictures import Draw, Pictures
from jaxcifar.report.run_records import FinishedRun, StudiedNetwork
from jaxcifar.report.wording import plain, settings_among
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.plots import plot_mistakes


def network_context(network: StudiedNetwork, pictures: Pictures) -> dict[str, Any]:
    """What the template says of a network; draws its pictures."""
    winner, best, title = network.winner, network.winner.best_run, network.title
    draw = pictures.of(winner.config.arch, network.data.name)
    what = f"{winner.name}\n{title}"
    what_it_is = settings_among(winner, network.variations)
    return {
        "title": plain(title),
        "winner": winner,
        "winner_settings": f" ({what_it_is})" if what_it_is else "",
        "best": best,
        "variations": network.variations,
        "converted": network.converted and _origin(network),
        "choice": "" if network.converted else choice(network),
        "collapses": collapses(network),
        "architecture": _architecture(best, title, draw),
        "candidates": [] if network.converted else _candidates(network),
        "mistakes_sentence": classes.mistakes_sentence(best, winner.name),
        "confusions": classes.worst_confusions(best),
        "evaluation": evaluation_context(best, what, draw),
        "mistakes": _mistakes(best, f"Confident mistakes of {what}", draw),
        "pictures": {
            **({} if network.converted else draw_curves(draw, [best], what)),
            "per_class": draw("classes", classes.plot_per_class, best, f"Test accuracy: {what}"),
            "confusion": draw("confusion", classes.plot_confusion, best, f"Test images: {what}"),
        },
    }


def _origin(network: StudiedNetwork) -> str:
    """Where the weights of a converted network are from."""
    source = network.converted
    assert source is not None  # it is converted
    return (
        f"Its weights were converted from {plain(source['file'])} (SHA-256 `{source['sha256']}`), "
        "not trained here: there are no epochs to show, and it is compared with no other network."
    )


def _candidates(network: StudiedNetwork) -> list[dict[str, Any]]:
    return [candidate(variation, network.winner) for variation in network.by_validation]


def _architecture(run: FinishedRun, title: str, draw: Draw) -> dict[str, Any]:
    """Table, sizes and drawing of a run's network; `missing` says why there is none.

    A picture that fails is left out, as it is in the run's own folder.
    """
    try:
        found = read_architecture(run)
    except RunError as error:
        return {"missing": str(error)}
    try:
        picture = draw("model", plot_network, found, title)
    except Exception:  # of matplotlib, on a network that nobody thought of
        picture = ""
    return {
        "missing": "",
        "params": found.params,
        "flops": found.flops,
        "table": found.table(),
        "picture": picture,
    }


def _mistakes(run: FinishedRun, title: str, draw: Draw) -> dict[str, str]:
    """The picture of the surest mistakes; `missing` says why there is none."""
    file = RunFolder(run.path).mistakes
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
