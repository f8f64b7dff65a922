"""Measure the speed of training on this machine: `python -m experiments.bench --peer torch`."""

from jaxcifar.commands.bench import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
