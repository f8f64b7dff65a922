"""ResNet-18 for 32x32 images in PyTorch alone; `load` gives it the weights beside this file.

Its layers have the usual names of ResNets for CIFAR (kuangliu's pytorch-cifar), so the state dict
fits other such networks too. This network takes pixels from 0 to 1 and normalises them itself;
other networks need `(pixels - MEAN) / STD`.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = (64, 128, 256, 512)
BLOCKS = (2, 2, 2, 2)
CLASS_NAMES = tuple("0123456789")
MEAN = (0.0, 0.0, 0.0)
STD = (1.0, 1.0, 1.0)
WEIGHTS = Path(__file__).with_suffix(".pth")


class Block(nn.Module):
    """Two 3x3 convolutions and a skip connection, which is projected if the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features `[B, out_channels, H / stride, W / stride]` of inputs `[B, C, H, W]`."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Network(nn.Module):
    """ResNet-18, which maps pixels `[B, 3, H, W]` from 0 to 1 to logits `[B, classes]`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        blocks: Sequence[int] = BLOCKS,
        classes: int = len(CLASS_NAMES),
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):  # not part of the state dict
            numbers = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, numbers.view(3, 1, 1), persistent=False)
        self.stage_count = len(widths)
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        in_channels = widths[0]
        for stage, (width, block_count) in enumerate(zip(widths, blocks, strict=True), start=1):
            first_block = Block(in_channels, width, stride=1 if stage == 1 else 2)
            other_blocks = [Block(width, width, stride=1) for _ in range(block_count - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first_block, *other_blocks))
            in_channels = width
        self.linear = nn.Linear(in_channels, classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits `[B, classes]` of pixels `[B, 3, H, W]` from 0 to 1."""
        images = (pixels - self.mean) / self.std
        x = F.relu(self.bn1(self.conv1(images)))
        for stage in range(1, self.stage_count + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.linear(x.mean((2, 3)))


def load(path: str | Path = WEIGHTS) -> Network:
    """Return the network in evaluation mode, with weights from the state dict in a file."""
    network = Network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
