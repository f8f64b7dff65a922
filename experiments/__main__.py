"""List all commands: `python -m experiments`."""

from jaxcifar.commands.__main__ import main

if __name__ == "__main__":
    main()
