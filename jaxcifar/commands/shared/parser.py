"""A command-line parser with examples in its help and suggestions in its error messages."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from jaxcifar import __version__
from jaxcifar.commands.shared.unknown_options import suggestion_for_unknown_option
from jaxcifar.config.registry import KINDS, did_you_mean
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command

_ALWAYS_SHOWN_OPTIONS = ("--help", "--help-all", "--version")
_SUGGESTED_NAMES_ATTRIBUTE = "suggested_names"  # the attribute of an argparse action
OptionHolder = argparse.ArgumentParser | argparse._ArgumentGroup  # options can be added to both


def suggest(action: argparse.Action, names: Iterable[str]) -> None:
    """Set the names that the shell suggests for an option's value; other values are allowed too."""
    setattr(action, _SUGGESTED_NAMES_ATTRIBUTE, tuple(names))


def suggested_names(action: argparse.Action) -> tuple[str, ...]:
    """Return the names that the shell suggests for an option's value, as `suggest` has set them."""
    names: tuple[str, ...] = getattr(action, _SUGGESTED_NAMES_ATTRIBUTE, ())
    return names


class Parser(argparse.ArgumentParser):
    """An argument parser that raises one-line errors and accepts no abbreviated options.

    Args:
      command: name of the command.
      description: what the command does, in a sentence.
      examples: (arguments, explanation) of example calls; shown below the options.
      common_options: the options that `--help` shows, such as "--arch", while `--help-all` shows
        all. By default `--help` shows all options.
    """

    def __init__(
        self,
        command: str,
        description: str,
        examples: Sequence[tuple[str, str]] = (),
        common_options: Sequence[str] = (),
    ) -> None:
        program_and_command = shell_command(command)
        example_lines = ["examples:"]
        for arguments, explanation in examples:
            example_lines.append(f"  {program_and_command} {arguments}".rstrip())
            example_lines.append(f"      {explanation}")
        super().__init__(
            prog=program_and_command,
            description=description,
            epilog="\n".join(example_lines) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._common_options = common_options
        self._positionals.title = "arguments"
        version = f"jaxcifar {__version__}"
        self.add_argument(
            "--version", action="version", version=version, help="show the version and exit"
        )
        if common_options:
            self.add_argument("--help-all", action=_ShowAllHelp, help="show all options and exit")

    def show_all_options(self) -> None:
        """Make the help show all options, not only the common ones."""
        self._common_options = ()

    def format_usage(self) -> str:
        """Return the usage line, which shows the required arguments but not the options."""
        required_arguments = []
        for action in self._actions:
            is_option = bool(action.option_strings)
            if is_option and action.required:
                required_arguments.append(f"{action.option_strings[0]} {action.metavar}")
            elif not is_option and action.nargs == "+":
                required_arguments.append(f"{action.metavar} ...")
            elif not is_option and action.nargs == "?":
                required_arguments.append(f"[{action.metavar}]")
            elif not is_option:
                required_arguments.append(str(action.metavar))
        return " ".join(["usage:", self.prog, *required_arguments, "[options]\n"])

    def format_help(self) -> str:
        """Return the usage line, the options in groups, and the examples."""
        hidden_actions = self._uncommon_actions()
        help_text_of_action = {action: action.help for action in hidden_actions}
        for action in hidden_actions:
            action.help = argparse.SUPPRESS
        _, _, help_after_usage = super().format_help().partition("\n\n")
        for action, help_text in help_text_of_action.items():
            action.help = help_text
        return f"{self.format_usage()}\n{help_after_usage}"

    def _uncommon_actions(self) -> list[argparse.Action]:
        """Return the arguments and options that only `--help-all` shows, not `--help`."""
        if not self._common_options:
            return []
        shown_options = {*self._common_options, *_ALWAYS_SHOWN_OPTIONS}
        return [
            action for action in self._actions if shown_options.isdisjoint(action.option_strings)
        ]

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` with this message."""
        raise UsageError(f"{message.removeprefix('argument ')} (see --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments, and report unknown options before missing ones."""
        words = list(sys.argv[1:] if args is None else args)
        messages = []
        for word in words:
            option, _, _ = word.partition("=")
            are_next_words_values = word == "--" or option in self._options_that_take_the_rest()
            if are_next_words_values:
                break
            if _looks_like_option(word) and option not in self._option_string_actions:
                suggestion = suggestion_for_unknown_option(option, self._option_string_actions)
                messages.append(f"there is no option {option}{suggestion}")
        if messages:
            distinct_messages = dict.fromkeys(messages)
            self.error(" ".join(distinct_messages))
        return super().parse_known_args(words, namespace)

    def _options_that_take_the_rest(self) -> set[str]:
        """Return the names of options that take all words after them as values."""
        actions = [action for action in self._actions if action.nargs == argparse.REMAINDER]
        return {option for action in actions for option in action.option_strings}

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; for a network's name without an option, suggest `--arch`."""
        options, unused_words = self.parse_known_args(args, namespace)
        if unused_words:
            word = unused_words[0]
            is_network = "--arch" in self._option_string_actions and word in KINDS["arch"]
            advice = f"did you mean --arch {word}?" if is_network else "remove it"
            self.error(f"{word}: belongs to no option; {advice}")
        return options

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """If `value` is not an allowed choice, raise an error that suggests the nearest choice."""
        if action.choices is not None and value not in action.choices:
            suggestion = did_you_mean(str(value), action.choices)
            choices = ", ".join(map(str, action.choices))
            raise argparse.ArgumentError(action, f"{value}: {suggestion}choose one of {choices}")

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        """Convert the text of an option; errors say "a whole number" instead of "int"."""
        type_descriptions: dict[Any, str] = {int: "a whole number", float: "a number"}
        try:
            return super()._get_value(action, text)
        except argparse.ArgumentError:
            if action.type not in type_descriptions:
                raise
            message = f"{text}: must be {type_descriptions[action.type]}"
            raise argparse.ArgumentError(action, message) from None


class _ShowAllHelp(argparse.Action):
    """The option `--help-all`: print all options and end the program."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the help with all options, and end the program with exit code 0."""
        assert isinstance(parser, Parser)
        parser.show_all_options()
        parser.print_help()
        parser.exit()


def _looks_like_option(word: str) -> bool:
    """Return whether argparse takes a word of the command line for an option, not for a value."""
    if not word.startswith("-") or word == "-":
        return False
    is_value = _is_number(word) or " " in word
    return not is_value


def _is_number(word: str) -> bool:
    """Return whether a word of the command line is a number, such as "-1e-3"."""
    try:
        float(word)
    except ValueError:
        return False
    return True
