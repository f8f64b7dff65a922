"""Train one network: `python -m experiments.run --arch resnet18`."""

from jaxcifar.commands.run import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
