"""What the PyTorch twin and the tests of ours agree on: weights, images and settings by number."""

from collections.abc import Iterator

import numpy as np

from jaxcifar.config.experiment import Config

# By network, the settings that differ from its recipe's.
ARCHS = {"cnn": {"dropout": 0.0}, "resnet18": {}}
BATCH, STEPS = 8, 10
# At higher rates rounding decides: a gradient jumps where a unit is at 0, and steps enlarge that.
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.0005, 0.9, 5e-4


def config(arch: str) -> Config:
    """The config of a network whose steps draw nothing at random."""
    return Config.create(arch, **ARCHS[arch])


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images `[BATCH, 32, 32, 3] uint8` and labels `[BATCH]`, the same few again and again."""
    rng = np.random.RandomState(1)
    images = rng.randint(0, 256, (2, BATCH, 32, 32, 3)).astype(np.uint8)
    labels = rng.randint(0, 10, (2, BATCH))
    for step in range(STEPS):
        yield images[step % 2], labels[step % 2]


class Weights:
    """Arrays drawn one after the other: the layers of both twins take them in table order."""

    def __init__(self) -> None:
        self._rng = np.random.RandomState(0)

    def conv(self, size: int, inputs: int, outputs: int, bias: bool) -> dict[str, np.ndarray]:
        """Kernel `[size, size, inputs, outputs]`."""
        bound = (size * size * inputs) ** -0.5
        arrays = {"kernel": self._rng.uniform(-bound, bound, (size, size, inputs, outputs))}
        return arrays | ({"bias": self._rng.uniform(-bound, bound, outputs)} if bias else {})

    def dense(self, inputs: int, outputs: int) -> dict[str, np.ndarray]:
        """Kernel `[inputs, outputs]`; inputs from an image are in the order H, W, C."""
        arrays = self.conv(1, inputs, outputs, bias=True)
        return arrays | {"kernel": arrays["kernel"][0, 0]}

    def norm(self, features: int) -> dict[str, np.ndarray]:
        """Scale, bias and running statistics, none of them at its initial value."""
        low_high = {
            "scale": (0.5, 1.5),
            "bias": (-0.2, 0.2),
            "mean": (-0.2, 0.2),
            "var": (0.5, 1.5),
        }
        return {name: self._rng.uniform(*lh, features) for name, lh in low_high.items()}
