"""A small CNN in PyTorch alone; `load` gives it the weights beside this file.

It takes pixels from 0 to 1 and normalises them itself.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

WIDTHS = (32, 64, 128)
HIDDEN = 128
DROPOUT = 0.5
IMAGE_SIZE = 32  # height and width of the images
CLASS_NAMES = tuple("0123456789")
MEAN = (0.0, 0.0, 0.0)
STD = (1.0, 1.0, 1.0)
WEIGHTS = Path(__file__).with_suffix(".pth")


class Network(nn.Module):
    """A small CNN, which maps pixels `[B, 3, H, W]` from 0 to 1 to logits `[B, classes]`.

    H and W are `image_size`.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        hidden: int = HIDDEN,
        dropout: float = DROPOUT,
        classes: int = len(CLASS_NAMES),
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):  # not part of the state dict
            numbers = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, numbers.view(3, 1, 1), persistent=False)
        layers: list[nn.Module] = []
        in_channels = 3
        for width in widths:
            for conv_channels in (in_channels, width):
                layers.append(nn.Conv2d(conv_channels, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            in_channels = width
        self.features = nn.Sequential(*layers)
        pooled_size = image_size // 2 ** len(widths)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * pooled_size**2, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits `[B, classes]` of pixels `[B, 3, H, W]` from 0 to 1."""
        images = (pixels - self.mean) / self.std
        return self.classifier(self.features(images))


def load(path: str | Path = WEIGHTS) -> Network:
    """Return the network in evaluation mode, with weights from the state dict in a file."""
    network = Network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
