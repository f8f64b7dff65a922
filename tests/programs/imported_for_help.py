"""What `python -m MODULE --help` imports, a name a line: MODULE."""

import contextlib
import io
import runpy
import sys

if __name__ == "__main__":
    module = sys.argv[1]
    sys.argv = [module, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        runpy.run_module(module, run_name="__main__")
    print("\n".join(sys.modules))
