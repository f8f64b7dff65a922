"""Run a study, the ten-row ablation by default: `python -m experiments.ablation`."""

from jaxcifar.commands.ablation import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
