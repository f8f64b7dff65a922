"""CIFAR-10 experiments in pure-functional JAX."""

__version__ = "0.1.0"
