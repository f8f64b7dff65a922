"""Makes `import jaxcifar` work in the folder that holds this clone, which is called jaxcifar too.

There Python would take the clone's folder for an empty package. An editable install prevents that,
but only in processes that start after it: not in the notebook that has just installed. This file is
no part of the package. It loads the real package in its own place.
"""

import importlib.util
import sys
from pathlib import Path

if __name__ == "jaxcifar":
    _folder = Path(__file__).with_name("jaxcifar")
    _spec = importlib.util.spec_from_file_location(
        __name__, _folder / "__init__.py", submodule_search_locations=[str(_folder)]
    )
    sys.modules[__name__] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
