"""Recipes: all that `--recipe` sets, each a piece of config that any option overrides.

A setting that a recipe leaves out has the default of its field (`fields.py`). docs/recipes.md gives
the reason for each setting, and what was tried and left out.
"""

from typing import Any

Settings = dict[str, Any]

# The best settings that the reference report found for its two networks, and a beginning for ours.
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
_OWN_REFERENCE = {
    "epochs": 20,
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "weight_decay": 5e-4,
    "schedule": "cosine",
}

# One cycle, softened targets, an average of the weights; of SGD with Nesterov's momentum where
# Muon has not been measured. With Muon the CNN does as well without the rise, and without dropout.
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

# Orthogonal steps for kernels, which BatchNorm follows in our networks.
_MUON = {"optimizer": "muon", "momentum": 0.6, "nesterov": False}

# A wider, deeper form of the network, with blurred pools, which sees both sides of an image alike,
# so that flips change nothing; they are for its plain form. Rates are those of Jordan's
# airbench94_muon. Muon's, 0.24 at batches of 2,000, comes to 0.12 at ones of 500 by the square
# root; ours is a quarter higher. The head's is 0.67, of a summed loss, logits divided by 256 and a
# momentum of 0.85; of a mean of 500, a division by 9 and 0.6 it comes to 8.8 times 0.12. Here it
# is half of that, as two partners share each parameter: 8.8 * 0.12 / 2 = 3.52 * 0.15. The biases'
# is 0.053, which comes to 64 times the head's.
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
    "sgd_rate": 3.52,
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

# By name, then by network; `OWN` is any network that has no recipe of its own.
OWN = ""
RECIPES: dict[str, dict[str, Settings]] = {
    "reference": {**_REFERENCE, OWN: _OWN_REFERENCE},
    "strong": {
        "cnn": {
            **_STRONG,
            **_MUON,
            "learning_rate": 0.06,
            "sgd_rate": 1.6,
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
            "sgd_rate": 3.3,
        },
        OWN: _STRONG,
    },
    "fast": {"fastnet": _FAST},
}
