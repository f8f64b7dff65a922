"""Copy an example study or network of the package: `python -m experiments.copy ablation`."""

from jaxcifar.commands.copy import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
