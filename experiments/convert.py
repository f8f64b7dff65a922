"""Convert a PyTorch network to a run: `python -m experiments.convert FILE.pth --run-dir RUN`."""

from jaxcifar.commands.convert import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
