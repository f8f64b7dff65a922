"""Starts once more to have huge pages; prints the setting and its arguments."""

import os
import sys

from jaxcifar.commands.shared.cli import use_huge_pages

if __name__ == "__main__":
    use_huge_pages()
    print(os.environ["GLIBC_TUNABLES"], sys.argv[1:])
