"""Compile training for absent devices: `python -m experiments.compile --target v5e:2x4`."""

from jaxcifar.commands.compile import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
