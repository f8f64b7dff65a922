"""How a convolution or a pool is computed on each kind of device."""
