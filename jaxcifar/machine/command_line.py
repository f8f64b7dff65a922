"""How the user starts commands, for the commands that messages name."""

import sys
from pathlib import Path


def shell_command(command_name: str = "") -> str:
    """Return the words that start one of this package's commands, for messages to the user.

    Args:
      command_name: name of the command, such as "run"; "" for the words that list all commands.

    Returns:
      `python -m experiments.COMMAND` if this process was started in that way, else
      `jaxcifar COMMAND`.
    """
    if _is_started_in_checkout():
        return f"python -m experiments.{command_name}".rstrip(".")
    return f"jaxcifar {command_name}".rstrip()


def same_command() -> str:
    """Return "the same command" for a message that tells the user to run the command again.

    If the command has an option that deletes earlier runs, a note tells when to leave it out. After
    the earlier runs are deleted, the option would delete what this command has trained.
    """
    given_options = {word.partition("=")[0] for word in sys.argv}  # also of --force=ROW
    if "--overwrite" in given_options:
        return "the same command (without --overwrite if it has deleted the earlier run)"
    if "--force" in given_options:
        return "the same command (with --force only for rows that it has not begun to train)"
    return "the same command"


def _is_started_in_checkout() -> bool:
    """Return whether this process runs a module of `experiments`, as in a checkout."""
    if sys.argv[0] == "-m":  # Python has not found the file of the module yet
        return any(word.partition(".")[0] == "experiments" for word in sys.orig_argv)
    return Path(sys.argv[0]).parent.name == "experiments"
