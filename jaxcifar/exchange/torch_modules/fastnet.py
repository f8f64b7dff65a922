"""FastNet for 32x32 images in PyTorch alone; `load` gives it the weights beside this file.

It takes pixels from 0 to 1 and normalises them itself. Do not train its whitening and the scales of
its normalisations, which are all 1. If it is MIRRORED, the last half of its features equals the
first half for the mirror image. Training in PyTorch would break this equality.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = (64, 256, 256)
DEPTHS = (2, 2, 2)
MIRRORED = False
BLURRED = False
CLASS_NAMES = tuple("0123456789")
MEAN = (0.0, 0.0, 0.0)
STD = (1.0, 1.0, 1.0)
WEIGHTS = Path(__file__).with_suffix(".pth")


def _norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def _pool(x: torch.Tensor, mirrored: bool, blurred: bool) -> torch.Tensor:
    """Return the maximum over 2x2 pixels, or over 2x3 in a mirrored network with an odd width.

    If `blurred`, windows along an odd height or width have 3 pixels and overlap. Then the result is
    the mean of the maxima over 2x2 pixels in each window.
    """
    if blurred:
        strides = [1 if extent % 2 else 2 for extent in x.shape[-2:]]
        means = [2 if extent % 2 else 1 for extent in x.shape[-2:]]
        return F.avg_pool2d(F.max_pool2d(x, 2, strides), means)
    columns = 3 if mirrored and x.shape[-1] % 2 else 2
    return F.max_pool2d(x, (2, columns), 2)


class Group(nn.Module):
    """`depth` 3x3 convolutions, with a pool after the first.

    Three or more convolutions also get a skip connection, which begins after the pool.
    """

    def __init__(self, inputs: int, width: int, depth: int, mirrored: bool, blurred: bool) -> None:
        super().__init__()
        self.depth, self.mirrored, self.blurred = depth, mirrored, blurred
        for number in range(1, depth + 1):
            conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", _norm(width))
            inputs = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features `[B, width, H // 2, W // 2]` of an input `[B, C, H, W]`."""
        conv, norm = self.get_submodule("conv1"), self.get_submodule("bn1")
        skip = F.gelu(norm(_pool(conv(x), self.mirrored, self.blurred)))
        x = skip
        for number in range(2, self.depth + 1):
            conv, norm = (self.get_submodule(f"{name}{number}") for name in ("conv", "bn"))
            x = norm(conv(x))
            has_skip = self.depth > 2 and number == self.depth
            x = F.gelu(x + skip if has_skip else x)
        return x


class Network(nn.Module):
    """FastNet, which maps pixels `[B, 3, H, W]` from 0 to 1 to logits `[B, classes]`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        mirrored: bool = MIRRORED,
        blurred: bool = BLURRED,
        classes: int = len(CLASS_NAMES),
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):  # not part of the state dict
            numbers = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, numbers.view(3, 1, 1), persistent=False)
        self.groups, self.blurred = len(widths), blurred
        inputs = 24
        self.whitening = nn.Conv2d(3, inputs, 2)
        self.whitening.weight.requires_grad = False
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            self.add_module(f"layer{number}", Group(inputs, width, depth, mirrored, blurred))
            inputs = width
        self.linear = nn.Linear(inputs, classes, bias=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits `[B, classes]` of pixels `[B, 3, H, W]` from 0 to 1."""
        x = F.gelu(self.whitening((pixels - self.mean) / self.std))
        for number in range(1, self.groups + 1):
            x = self.get_submodule(f"layer{number}")(x)
        x = F.max_pool2d(x, 2, 1).mean((2, 3)) if self.blurred else x.amax((2, 3))
        return self.linear(x) / 9


def load(path: str | Path = WEIGHTS) -> Network:
    """Return the network in evaluation mode, with weights from the state dict in a file."""
    network = Network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
