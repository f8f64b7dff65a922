"""Our networks in PyTorch, written from their description."""

import torch
from torch import nn
from torch.nn import functional as F


class ResBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> `[B, outputs, H / stride, W / stride]`."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet18(dropout: float) -> nn.Module:
    """ResNet-18 for 32x32 images; it has no dropout."""
    del dropout
    stem = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    blocks, inputs = [], 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [ResBlock(inputs, width, stride), ResBlock(width, width, 1)]
        inputs = width
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def cnn(dropout: float) -> nn.Module:
    """The small CNN."""
    layers, inputs = [], 3
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(2048, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(128, 10))


def fastnet(dropout: float) -> nn.Module:
    """FastNet, for its speed: the whitening is any fixed kernel, the logits are not scaled."""
    del dropout

    def norm(width: int) -> nn.Module:
        layer = nn.BatchNorm2d(width, momentum=0.4)
        layer.weight.requires_grad = False
        return layer

    whitening = nn.Conv2d(3, 24, 2)
    whitening.weight.requires_grad = False
    layers, inputs = [whitening, nn.GELU()], 24
    for width in (64, 256, 256):
        first = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        layers += [first, nn.MaxPool2d(2), norm(width), nn.GELU(), second, norm(width), nn.GELU()]
        inputs = width
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False))


NETWORKS = {"cnn": cnn, "resnet18": resnet18, "fastnet": fastnet}
