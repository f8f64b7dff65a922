"""Run a study, the ten-row ablation by default: `python -m experiments.ablation`."""

from jaxcifar.commands.ablation import main
from jaxcifar.commands.shared.cli import run_as_program, use_huge_pages

if __name__ == "__main__":
    use_huge_pages()
    run_as_program(main)
