"""Show how much memory training takes: `python -m experiments.memory --arch resnet18`."""

from jaxcifar.commands.memory import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
