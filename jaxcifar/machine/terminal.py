"""Lines on the screen."""

from collections.abc import Callable

from rich.console import Console

from jaxcifar.errors import printable


def teller(console: Console) -> Callable[[str], None]:
    """What prints a line; text from outside in it is shown and not obeyed (`printable`)."""

    def say(line: str) -> None:
        console.print(printable(line), highlight=False, markup=False, emoji=False, soft_wrap=True)

    return say
