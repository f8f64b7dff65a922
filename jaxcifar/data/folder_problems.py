"""Refuse a folder in which files can't be used."""

from collections.abc import Sequence
from pathlib import Path

from jaxcifar.errors import RunError


def raise_problems(root: Path, problems: Sequence[str], advice: str = "") -> None:
    """Raise an error about the first problem found in a folder, if there is one.

    Args:
      root: the user's folder, which begins the error message.
      problems: a message about each unusable file.
      advice: what to do about the first problem; "" for the advice that fits most files.

    Raises:
      RunError: there is at least one problem.
    """
    if problems:
        others = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        advice = advice or "correct this, or move the file out of the folder"
        raise RunError(f"{root}: {problems[0]}{others}; {advice}")
