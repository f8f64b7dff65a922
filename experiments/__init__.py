"""Commands in a source checkout: `python -m experiments.NAME` runs `jaxcifar NAME`.

The subfolders hold example studies and networks to copy.
"""

import jaxcifar.commands  # noqa: F401 - prepares this process for a command
