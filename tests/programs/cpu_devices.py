"""How many devices a CPU is taken for: CORES BATCH_SIZE."""

import sys

import jax

from jaxcifar.machine import environment

if __name__ == "__main__":
    cores, batch_size = map(int, sys.argv[1:])
    environment.cpu_cores = lambda: cores
    environment.use_cpu_cores(batch_size)
    print(jax.device_count())
