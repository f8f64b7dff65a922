"""Evaluate finished runs: `python -m experiments.evaluate RUN... [--on SET...]`."""

from jaxcifar.commands.evaluate import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
