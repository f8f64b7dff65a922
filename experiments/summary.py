"""Show the layers of a network: `python -m experiments.summary --arch resnet18`."""

from jaxcifar.commands.shared.cli import run_as_program
from jaxcifar.commands.summary import main

if __name__ == "__main__":
    run_as_program(main)
