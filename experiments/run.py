"""Train one network: `python -m experiments.run --arch resnet18`."""

from jaxcifar.commands.run import main
from jaxcifar.commands.shared.cli import run_as_program, use_huge_pages

if __name__ == "__main__":
    use_huge_pages()
    run_as_program(main)
