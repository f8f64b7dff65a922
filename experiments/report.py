"""Write the report of the runs in a folder: `python -m experiments.report DIR`."""

from jaxcifar.commands.report import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
