"""Show the data that devices exchange in a training step: `python -m experiments.scaling`."""

from jaxcifar.commands.scaling import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
