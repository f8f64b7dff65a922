"""The line of `jaxcifar run` with the value of a user's metric."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import PrintLine

if TYPE_CHECKING:
    from jaxcifar.build.user_metrics import UserMetric
    from jaxcifar.runs.file_formats import Result


def show_metric(
    print_line: PrintLine, result: "Result", user_metric: "UserMetric", path: Path
) -> None:
    """Print the value of a user's metric on the test images, or why there is no value.

    `result` is the result of the run whose folder is `path`.
    """
    from jaxcifar.runs.file_formats import get_number
    from jaxcifar.runs.metric_fields import format_value

    metric = user_metric.metric
    measured = [(line["name"], line.get("sha256")) for line in result.get("metrics", [])]
    if (metric.name, user_metric.sha256) not in measured:
        value = (
            "not measured, because the run was finished before; measure it with "
            f"{shell_command('evaluate')} {path} --metric {user_metric.code}"
        )
    elif f"test_{metric.name}" not in result:
        value = "not a finite number"
    else:
        value = format_value(get_number(result, f"test_{metric.name}"), metric.unit)
    print_line(f"{metric.title:15} {value}")
