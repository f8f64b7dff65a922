"""Two processes that belong together, of which the first aborts: COORDINATOR PROCESS_ID."""

import json
import os
import sys
import time

from jaxcifar.errors import UsageError
from jaxcifar.machine import processes

if __name__ == "__main__":
    _, coordinator, number = sys.argv
    processes.join_processes(coordinator, 2, int(number))
    texts = processes.gather_texts("of process 1 ⟳" if number == "1" else "")
    print(json.dumps(texts))
    in_some = processes.any_process(number == "0", number == "1", False)
    print(json.dumps(in_some))
    try:
        processes.require_same_settings({"network": "cnn", "images": number})
    except UsageError as error:
        print(error, flush=True)
    processes.wait_for_all("both are here")
    if processes.is_first_process():
        os.write(2, b"C++ says why\n")
        os.abort()
    time.sleep(60)
