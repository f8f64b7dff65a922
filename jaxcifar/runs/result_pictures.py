"""Write tables and pictures of a run: the network, and curves by epoch."""

from collections.abc import Sequence

from jaxcifar.diagram.drawing import plot_network
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.errors import first_line
from jaxcifar.machine import processes
from jaxcifar.machine.files import atomic_write, write_text
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.epoch_selection import best_epoch
from jaxcifar.runs.file_formats import Row
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.picture_cache import draw_once
from jaxcifar.runs.plots import plot_curves


def write_network(folder: RunFolder, title: str, summary: Summary, print_line: PrintLine) -> None:
    """Write `summary.txt`, `model.png` and `network.json`, which describe a run's network.

    Existing files are kept, and only the first process writes. If the picture can't be drawn, a
    line is printed.

    Raises:
      OSError: a file other than the picture can't be written.
    """
    if folder.network_file.exists() or not processes.is_first_process():
        return
    try:
        picture = draw_once(plot_network, (summary, title))
        with atomic_write(folder.model_plot) as file:
            file.write(picture)
    except Exception as error:  # the drawing of a user's network may fail anywhere
        print_line(
            f"the network can't be drawn ({first_line(error)}); the run goes on without its picture"
        )
    write_text(folder.summary_file, summary.table())
    write_text(folder.network_file, summary.to_json())


def write_curves(folder: RunFolder, title: str, history: Sequence[Row]) -> None:
    """Draw accuracy and loss by epoch to `accuracy.png` and `loss.png`, in the first process only.

    Raises:
      OSError: a picture can't be written.
    """
    if not processes.is_first_process():
        return
    best_epochs = [best_epoch(history)]
    for quantity, path in (("accuracy", folder.accuracy_plot), ("loss", folder.loss_plot)):
        with atomic_write(path) as file:
            plot_curves([history], best_epochs, quantity, title, file)
