"""Commands with names of nothing; prints those that imported JAX before they refused them."""

import importlib
import json
import sys

from jaxcifar.errors import UsageError

if __name__ == "__main__":
    slow = []
    for name, *words in json.loads(sys.argv[1]):
        try:
            importlib.import_module(f"jaxcifar.commands.{name}").main(words)
        except UsageError:
            pass
        else:
            slow.append(f"{name} refused nothing")
        if "jax" in sys.modules:
            slow.append(f"{name} {words} imported JAX")
            break
    print("\n".join(slow))
