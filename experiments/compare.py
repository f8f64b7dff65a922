"""Compare trained runs in a table: `python -m experiments.compare RUN RUN... [--plot FILE]`."""

from jaxcifar.commands.compare import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
