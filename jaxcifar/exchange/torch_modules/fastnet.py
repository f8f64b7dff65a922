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
_LOGIT_DIVISOR = 9


def _norm_with_fixed_scale(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def _pool(x: torch.Tensor, mirrored: bool, blurred: bool) -> torch.Tensor:
    """Return the maximum over 2x2 pixels, or over 2x3 in a mirrored network with an odd width.

    If `blurred`, an odd height or width is pooled in two steps: maxima over 2x2 pixels at every
    position, and then means over 2 neighbouring maxima.
    """
    height, width = x.shape[-2:]
    if blurred:
        are_odd = [side % 2 == 1 for side in (height, width)]
        strides = [1 if is_odd else 2 for is_odd in are_odd]
        mean_windows = [2 if is_odd else 1 for is_odd in are_odd]
        maxima = F.max_pool2d(x, 2, strides)
        return F.avg_pool2d(maxima, mean_windows)
    has_odd_width = width % 2 == 1
    window_columns = 3 if mirrored and has_odd_width else 2
    return F.max_pool2d(x, (2, window_columns), 2)


class Group(nn.Module):
    """`depth` 3x3 convolutions, with a pool after the first.

    Three or more convolutions also get a skip connection, which begins after the pool.
    """

    def __init__(
        self, in_channels: int, width: int, depth: int, mirrored: bool, blurred: bool
    ) -> None:
        super().__init__()
        self.depth, self.mirrored, self.blurred = depth, mirrored, blurred
        for number in range(1, depth + 1):
            conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", _norm_with_fixed_scale(width))
            in_channels = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features `[B, width, H // 2, W // 2]` of an input `[B, C, H, W]`."""
        conv, norm = self.get_submodule("conv1"), self.get_submodule("bn1")
        skip = F.gelu(norm(_pool(conv(x), self.mirrored, self.blurred)))
        x = skip
        for number in range(2, self.depth + 1):
            conv, norm = self.get_submodule(f"conv{number}"), self.get_submodule(f"bn{number}")
            x = norm(conv(x))
            has_skip = self.depth > 2 and number == self.depth
            if has_skip:
                x = x + skip
            x = F.gelu(x)
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
        self.group_count, self.blurred = len(widths), blurred
        in_channels = 24
        self.whitening = nn.Conv2d(3, in_channels, 2)
        self.whitening.weight.requires_grad = False
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            self.add_module(f"layer{number}", Group(in_channels, width, depth, mirrored, blurred))
            in_channels = width
        self.linear = nn.Linear(in_channels, classes, bias=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits `[B, classes]` of pixels `[B, 3, H, W]` from 0 to 1."""
        images = (pixels - self.mean) / self.std
        x = F.gelu(self.whitening(images))
        for number in range(1, self.group_count + 1):
            x = self.get_submodule(f"layer{number}")(x)
        x = F.max_pool2d(x, 2, 1).mean((2, 3)) if self.blurred else x.amax((2, 3))
        return self.linear(x) / _LOGIT_DIVISOR


def load(path: str | Path = WEIGHTS) -> Network:
    """Return the network in evaluation mode, with weights from the state dict in a file."""
    network = Network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
