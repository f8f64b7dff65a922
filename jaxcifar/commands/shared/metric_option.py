"""The option `--metric`, and what its metrics came to."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.commands.shared.parser import OptionHolder, program

if TYPE_CHECKING:
    from jaxcifar.build.user_metrics import UserMetric
    from jaxcifar.runs.saved import Result


def add_metric(parser: OptionHolder) -> None:
    """`--metric`."""
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="FILE.py:NAME",
        help="measure this too: a Metric, a function of logits and labels, or one of the confusion "
        "matrix; may be given several times (default: none)",
    )


def show_metric(
    say: Callable[[str], None], result: "Result", user: "UserMetric", path: Path
) -> None:
    """Print what a metric of the user came to on the test images."""
    from jaxcifar.runs.metric_fields import spelled
    from jaxcifar.runs.saved import number

    metric = user.metric
    measured = [(line["name"], line.get("sha256")) for line in result.get("metrics", [])]
    if (metric.name, user.sha256) not in measured:
        say(
            f"{metric.title:15} not measured: the run was finished before; "
            f"{program('evaluate')} {path} --metric {user.code} measures it"
        )
    elif f"test_{metric.name}" not in result:
        say(f"{metric.title:15} not a finite number")
    else:
        say(f"{metric.title:15} {spelled(number(result, f'test_{metric.name}'), metric.unit)}")
