"""Two processes that belong together, of which the first aborts: COORDINATOR PROCESS_ID."""

import os
import sys
import time

from jaxcifar.machine import processes

if __name__ == "__main__":
    _, coordinator, number = sys.argv
    processes.join(coordinator, 2, int(number))
    processes.wait("both are here")
    if processes.first():
        os.abort()
    time.sleep(60)
