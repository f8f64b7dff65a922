"""Predict the classes of images: `python -m experiments.predict cat.jpg`."""

from jaxcifar.commands.predict import main
from jaxcifar.commands.shared.cli import run_as_program

if __name__ == "__main__":
    run_as_program(main)
