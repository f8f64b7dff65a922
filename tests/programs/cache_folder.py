"""Where compiled programs are kept."""

import jax

from jaxcifar.machine.environment import use_compilation_cache

if __name__ == "__main__":
    use_compilation_cache()
    print(jax.config.jax_compilation_cache_dir)
