"""Measure training and evaluation here: `python -m experiments.bench --peer torch`."""

from jaxcifar.commands.bench import main
from jaxcifar.commands.shared.cli import run_as_program, use_huge_pages

if __name__ == "__main__":
    use_huge_pages()
    run_as_program(main)
