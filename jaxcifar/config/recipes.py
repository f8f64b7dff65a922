"""Recipes: the settings that `--recipe` chooses. Any option overrides them.

A setting that a recipe leaves out has the default of its field (`fields.py`).
docs/measurements/recipes.md gives the reason for each setting, and what was tried and left out.
"""

from typing import Any

Settings = dict[str, Any]

# The best settings of the reference report for its two networks, and a starting point for others.
_REFERENCE = {
    "cnn": {
        "epochs": 100,
        "batch_size": 128,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "schedule": "none",
        "dropout": 0.5,
    },
    "resnet18": {
        "epochs": 50,
        "batch_size": 512,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "schedule": "cosine",
    },
}
_REFERENCE_FOR_ANY_NETWORK = {
    "epochs": 20,
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "weight_decay": 5e-4,
    "schedule": "cosine",
}

# A one-cycle schedule, label smoothing and an average of the weights. The update rule is SGD with
# Nesterov momentum, for networks on which Muon has not been measured. With Muon, the CNN is as
# accurate without warm-up and without dropout.
_STRONG = {
    "epochs": 20,
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.15,
    "nesterov": True,
    "weight_decay": 5e-4,
    "bias_decay": False,
    "schedule": "linear",
    "warmup": 0.2,
    "label_smoothing": 0.1,
    "average": 0.99,
    "border": "reflect",
    "flip": "alternate",
}

# Muon makes orthogonal steps for kernels. In our networks a BatchNorm follows each kernel.
_MUON = {"optimizer": "muon", "momentum": 0.6, "nesterov": False}

# A wider and deeper form of the network, with blurred pools. It gives the same logits for an image
# and its mirror image, so flips change nothing; they are for the plain form of the network.
# The learning rates are converted from Jordan's airbench94_muon:
# - Kernels: 0.24 at batch size 2,000 is 0.12 at 500 by the square-root rule; ours is 25% higher.
# - Head: 0.67, for a summed loss, logits divided by 256 and momentum 0.85. For a mean over 500
#   images, logits divided by 9 and momentum 0.6, this is 8.8 * 0.12. We use half of it, because two
#   mirrored kernels share each parameter: 8.8 * 0.12 / 2 = 3.52 * 0.15.
# - Biases: 0.053, which is 64 times the head's rate after the same conversion.
_FAST = {
    "arch_args": (
        ("blurred", True),
        ("depths", (2, 2, 3)),
        ("mirrored", True),
        ("widths", (64, 256, 384)),
    ),
    "epochs": 11,
    "batch_size": 500,
    "optimizer": "muon",
    "learning_rate": 0.15,
    "non_kernel_rate": 3.52,
    "momentum": 0.6,
    "weight_decay": 2.5e-3,
    "bias_decay": False,
    "bias_rate": 64.0,
    "schedule": "linear",
    "label_smoothing": 0.2,
    "average": 0.99,
    "shift": 3,
    "border": "reflect",
    "flip": "alternate",
    "cutout": 8,
}

# Settings by the recipe's name and then by network. `ANY_NETWORK` stands for all networks that no
# recipe mentions.
ANY_NETWORK = ""
RECIPES: dict[str, dict[str, Settings]] = {
    "reference": {**_REFERENCE, ANY_NETWORK: _REFERENCE_FOR_ANY_NETWORK},
    "strong": {
        "cnn": {
            **_STRONG,
            **_MUON,
            "learning_rate": 0.06,
            "non_kernel_rate": 1.6,
            "warmup": 0.0,
            "label_smoothing": 0.05,
            "shift": 3,
        },
        "resnet18": {
            **_STRONG,
            **_MUON,
            "epochs": 10,
            "batch_size": 512,
            "learning_rate": 0.12,
            "non_kernel_rate": 3.3,
        },
        ANY_NETWORK: _STRONG,
    },
    "fast": {"fastnet": _FAST},
}


def recipe_settings(arch: str, recipe: str) -> Settings:
    """Return the settings of a recipe for a network; {} if the network has no such recipe."""
    settings_by_network = RECIPES[recipe]
    return settings_by_network.get(arch, settings_by_network.get(ANY_NETWORK, {}))


def base_batch_size(settings: Settings) -> int | None:
    """Return the batch size of a run's recipe, or None if the setting `lr_scale` is off.

    The rule `lr_scale` adapts the learning rate of the recipe to a batch size other than the
    recipe's. `settings` are all settings of the run.
    """
    if settings["lr_scale"] == "none":
        return None
    return recipe_settings(settings["arch"], settings["recipe"])["batch_size"]
