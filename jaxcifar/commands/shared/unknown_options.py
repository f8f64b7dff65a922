"""Suggestions for options that a command does not have, such as those of other programs."""

from collections.abc import Iterable, Sequence

from jaxcifar.config.registry import did_you_mean

# Options of other programs and earlier versions, and for each the options of jaxcifar that a user
# may mean. The message suggests the first of these options that the command has, with the value
# after "=", if any.
_OPTIONS_BY_FOREIGN_NAME = {
    "a": "arch", "accumulate-grad-batches": "accumulate=N", "b": "batch-size", "bs": "batch-size",
    "balanced-sampling": "class-weights=balanced", "batch": "batch-size",
    "early-stopping": "patience=N", "early-stopping-patience": "patience=N",
    "gradient-accumulation-steps": "accumulate=N",
    "checkpoint": "run init run-dir", "ckpt": "run init run-dir", "d": "dataset",
    "data": "dataset data-dir", "data-path": "data-dir dataset", "e": "epochs",
    "f": "force overwrite", "gpus": "devices", "j": "at-once", "jobs": "at-once", "k": "top",
    "lr": "learning-rate", "m": "arch momentum", "model": "arch run",
    "n": "epochs rounds images top", "net": "arch", "network": "arch", "o": "out run-dir json",
    "output": "out run-dir json", "output-dir": "out run-dir", "opt": "optimizer",
    "precision": "dtype", "pretrained": "init run", "s": "seed seeds study",
    "save-dir": "run-dir out", "scheduler": "schedule", "sgd-rate": "non-kernel-rate",
    "small-part": "small-fraction", "wd": "weight-decay",
}  # fmt: skip
# Options of other programs that no option here replaces, and what to do instead.
_ADVICE_BY_FOREIGN_NAME = {
    **dict.fromkeys(
        ("resume", "resume-from", "continue"),
        "the same command resumes a stopped run; run --continue RUN trains a finished run further",
    ),
    **dict.fromkeys(
        ("gpu", "cuda", "cpu"),
        "a GPU is used if JAX finds one; JAX_PLATFORMS=cpu before the command chooses the CPU",
    ),
    **dict.fromkeys(
        ("j", "num-workers", "workers"),
        "none is needed, because images are prepared on the device",
    ),
}


def suggestion_for_unknown_option(option: str, known_options: Iterable[str]) -> str:
    """Return advice about an unknown option, such as "; did you mean --arch?".

    Return "" if none of the options that the command knows is similar.
    """
    long_options = [known for known in known_options if known.startswith("--")]
    name = option.lstrip("-").lower().replace("_", "-")
    intended_option = _equivalent_option(name, long_options)
    if intended_option is None:
        intended_option = _option_with_abbreviation(name, long_options)
    if intended_option is not None:
        return f"; did you mean {intended_option}?"
    if name in _ADVICE_BY_FOREIGN_NAME:
        return f"; {_ADVICE_BY_FOREIGN_NAME[name]}"
    question = did_you_mean(f"--{name}", long_options).strip()
    return f"; {question}" if question else ""


def _equivalent_option(foreign_name: str, known_options: Sequence[str]) -> str | None:
    """Return the known option that means the same as an option of another program.

    A value is added if the meaning needs one, as in "--class-weights balanced". Return None if no
    known option means the same.
    """
    for option_text in _OPTIONS_BY_FOREIGN_NAME.get(foreign_name, "").split():
        option, _, value = f"--{option_text}".partition("=")
        if option in known_options:
            return f"{option} {value}".rstrip()
    return None


def _option_with_abbreviation(name: str, known_options: Sequence[str]) -> str | None:
    """Return the first known option that begins with `name`, of at least two letters, or None."""
    if len(name) < 2:
        return None
    for option in known_options:
        if option.startswith(f"--{name}"):
            return option
    return None
