"""Export a trained network: `python -m experiments.export RUN --to onnx FILE`."""

from jaxcifar.commands.export import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
