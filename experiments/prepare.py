"""Prepare a data set once: `python -m experiments.prepare [--dataset NAME] [--archive PATH]`."""

from jaxcifar.commands.prepare import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
