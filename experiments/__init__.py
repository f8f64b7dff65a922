"""The commands in a checkout: `python -m experiments.NAME` is `jaxcifar NAME`.

Beside them are studies and networks to copy from.
"""

import jaxcifar.commands  # noqa: F401 - prepares this process for a command
