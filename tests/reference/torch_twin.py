"""What the PyTorch modules that users get exported compute, to compare ours with.

`python tests/reference/torch_twin.py` writes `expected.json`, computed in float64: the numbers, and
by how much they move if weights are off by the error of float32's longest sum.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from jaxcifar.build.model import create_model
from jaxcifar.exchange.torch_modules import torch_network

if __name__ == "__main__":
    import common

    sys.path.append(str(Path(__file__).parent.parent))
else:
    from reference import common

from rounding import error_of_sum

LONGEST_SUM = common.BATCH * 32 * 32  # the first normalisation's, over the pixels of a batch
DRAWS = 4


def move(network, most, seed):
    """Change every weight and statistic by a share of up to `most`."""
    generator = torch.Generator().manual_seed(seed)
    for array in network.state_dict().values():
        if array.is_floating_point():
            factors = torch.rand(array.shape, generator=generator, dtype=array.dtype)
            array.mul_(1 + most * (2 * factors - 1))


def fill(network):
    """Give every layer its weights, in order."""
    weights = common.Weights()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            arrays = weights.conv(
                module.kernel_size[0],
                module.in_channels,
                module.out_channels,
                module.bias is not None,
            )
            assign(module, weight=arrays["kernel"].transpose(3, 2, 0, 1), bias=arrays.get("bias"))
        elif isinstance(module, nn.Linear):
            arrays = weights.dense(module.in_features, module.out_features)
            kernel = arrays["kernel"]
            if module.in_features == 2048:  # inputs come in the order C, H, W here
                kernel = kernel.reshape(4, 4, 128, -1).transpose(2, 0, 1, 3).reshape(2048, -1)
            assign(module, weight=kernel.T, bias=arrays["bias"])
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            arrays = weights.norm(module.num_features)
            assign(
                module,
                weight=arrays["scale"],
                bias=arrays["bias"],
                running_mean=arrays["mean"],
                running_var=arrays["var"],
            )


def assign(module, **arrays):
    for name, array in arrays.items():
        if array is not None:
            getattr(module, name).data.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def to_input(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float64) / 255)


def losses_in_bfloat16(arch):
    """Return the losses of the first steps, computed in bfloat16 by PyTorch's autocast."""
    # The cache would keep the weights of the first step in bfloat16.
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        return run(arch, network_dtype=torch.float32)["losses"]


def run(arch, moved=0.0, seed=0, steps=common.STEPS, network_dtype=torch.float64):
    """Return logits in both modes, the losses of the first steps, and logits after them.

    Weights are first changed by a share of up to `moved`.
    """
    network = torch_network(arch, create_model(common.config(arch), 10)).to(network_dtype)
    fill(network)
    move(network, moved, seed)
    first = to_input(next(common.batches())[0]).to(network_dtype)
    with torch.no_grad():
        before = network.eval()(first)
    optimizer = torch.optim.SGD(
        network.parameters(),
        common.LEARNING_RATE,
        momentum=common.MOMENTUM,
        weight_decay=common.WEIGHT_DECAY,
    )
    losses, train_logits, network = [], None, network.train()
    for images, labels in itertools.islice(common.batches(), steps):
        logits = network(to_input(images).to(network_dtype))
        loss = F.cross_entropy(logits, torch.from_numpy(labels))
        train_logits = logits.detach() if train_logits is None else train_logits
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        after = network.eval()(first)
    return {
        "eval_logits": before.tolist(),
        "train_logits": train_logits.tolist(),
        "losses": losses,
        "eval_logits_after": after.tolist(),
    }


def largest_movements(arch, exact):
    """Of each step's loss, and of each array of logits."""
    most = error_of_sum(LONGEST_SUM)
    draws = [run(arch, most, seed) for seed in range(DRAWS)]
    movements = {}
    for name, numbers in exact.items():
        differences = np.abs([np.subtract(draw[name], numbers) for draw in draws])
        every_step = name == "losses"
        movements[name] = differences.max(0).tolist() if every_step else float(differences.max())
    return movements


if __name__ == "__main__":
    expected = {"torch": torch.__version__}
    for arch in common.ARCHS:
        exact = run(arch)
        expected[arch] = exact | {"movements": largest_movements(arch, exact)}
    path = Path(__file__).with_name("expected.json")
    path.write_text(json.dumps(expected, indent=1) + "\n")
