"""One experiment, whole, in one frozen dataclass: everything that its numbers depend on."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from jaxcifar.config import registry, user_reference
from jaxcifar.config.fields import DEFAULTS, Fields
from jaxcifar.config.option_names import flag, reject
from jaxcifar.config.settings import (
    DEFAULT_ARCH,
    DERIVED,
    NAMED,
    applicable,
    defaults,
    frozen,
    idle,
    recipes_of,
    spelled,
    typed,
    why_not,
)
from jaxcifar.errors import UsageError

_MAX_NAME = 120
_MAX_NAME_BYTES = 200  # file systems take 255 bytes, and other scripts have 3 or 4 a letter
_TABLES = ("arch_args", "sources", "imports")
WEIGHTS = "weights.safetensors"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """A run is a function of its Config: same Config, same kind of device, same numbers.

    Make one with `Config.create`, which fills in the settings of a recipe. Where data and results
    lie is not part of it. The fields are described in `Fields`.

    Raises:
      UsageError: a value is out of range; the message names the option.
    """

    @classmethod
    def create(cls, arch: str = DEFAULT_ARCH, **overrides: Any) -> Self:
        """The Config of `arch` by a recipe (`recipe`, else its first), but for `overrides`.

        Raises:
          UsageError: also for an override that what it belongs to does not take.
        """
        if not isinstance(arch, str):
            raise UsageError(f"--arch {arch!r:.80}: is no name of a network")
        if isinstance(overrides.get("arch_args"), tuple):
            overrides["arch_args"] = dict(overrides["arch_args"])
        overrides = typed("settings", overrides, cls)
        settings = {"arch": arch, **overrides}
        by_recipe = defaults(arch, overrides.get("recipe"))
        for name in overrides.keys() - applicable(settings).keys():
            reject(name, overrides[name], why_not(name, by_recipe | settings))
        # What a recipe says of what has been replaced has no effect, and is not said.
        settings = {**DEFAULTS, **applicable({**by_recipe, **settings})}
        settings["arch_args"] = frozen(settings["arch_args"])
        settings["sources"] = tuple(
            (kind, user_reference.digest(kind, settings[kind]))
            for kind in NAMED
            if registry.is_own(settings[kind])
        )
        settings["imports"] = ()  # user code is not loaded yet
        scaled = settings["lr_scale"] != "none"
        settings["base_batch_size"] = by_recipe["batch_size"] if scaled else None
        if settings["init"]:
            settings["init_sha256"] = _init_digest(settings["init"])
        return cls(**settings)

    def __post_init__(self) -> None:
        for kind in NAMED:
            registry.entry(kind, getattr(self, kind))
        defaults(self.arch, self.recipe)
        if self.data_sha256 is None:
            registry.entry("dataset", self.dataset)
        self.require_in_range()
        if self.lr_scale != "none" and self.base_batch_size is None:
            reject("lr_scale", self.lr_scale, "says not of which batch; use Config.create")

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON values."""
        values = dataclasses.asdict(self)
        tables = {name: dict(values[name] or ()) for name in _TABLES}
        return json.loads(json.dumps(values | tables))  # with lists for tuples

    def to_json(self) -> str:
        """The config as JSON text, one field a line."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, there: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, which reads configs of older versions too.

        Raises:
          ValueError: it is not a config of this version.
        """
        try:
            for kind in NAMED:
                if not isinstance(there.get(kind, "" if kind != "arch" else None), str):
                    raise ValueError(f"it names no {kind}")
            # What an older version did not say yet had no effect then, nor had what does not apply.
            given = typed("config", applicable(there), cls)
            reference = {**defaults(there["arch"]), "arch_args": ()}
            settings = {**DEFAULTS, **applicable({**reference, **given})}
            if settings["lr_scale"] != "none":  # what it was measured by was not always said
                base = defaults(settings["arch"], settings["recipe"])["batch_size"]
                settings.setdefault("base_batch_size", base)
            for name in _TABLES:
                settings[name] = frozen(settings.get(name) or {})
            for field in ("sources", "imports"):
                for key, digest in settings[field]:
                    kind = key.partition(": ")[0]
                    if kind not in NAMED:
                        raise ValueError(f"{field}: {kind} is none of {', '.join(NAMED)}")
                    if not isinstance(digest, str):
                        raise ValueError(f"{field}: the digest of {key} is not text")
            return cls(**settings)
        except (ValueError, TypeError, UsageError) as error:
            raise ValueError(f"is not a config of this version of jaxcifar: {error}") from error

    def settings(self) -> dict[str, Any]:
        """All fields in one flat table: a network's own among them, and whose code was used.

        Code is named without the path to it, for its digest says which it is.
        """
        values = dataclasses.asdict(self)
        own, sources = values.pop("arch_args"), values.pop("sources") or ()
        imports = values.pop("imports") or ()
        values |= {kind: re.sub(r".*[/\\]", "", values[kind]) for kind, _ in sources}
        values["init"] = Path(values["init"]).name
        digests = {f"SHA-256 of {values[kind]}": digest for kind, digest in sources}
        for key, digest in imports:
            kind, _, file = key.partition(": ")
            digests[f"SHA-256 of {file}, imported by {values[kind]}"] = digest
        named = {name if name not in values else f"network's {name}": v for name, v in own}
        return values | named | digests

    def differences(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """The settings in which two configs differ: name -> (ours, theirs)."""
        ours, theirs = self.settings(), other.settings()
        return {
            name: (ours.get(name), theirs.get(name))
            for name in ours | theirs
            if name != "init"  # its digest says which weights they are, wherever they lie
            if ours.get(name) != theirs.get(name)
        }

    def shared_part(self) -> "Config":
        """What is left when hyper-parameters are blanked out.

        Runs with equal shared parts differ only in what enters the compiled program as arrays.
        """
        blanks = {
            field.name: blank(getattr(self, field.name)) if callable(blank) else blank
            for field in dataclasses.fields(self)
            if (blank := field.metadata.get("array")) is not None
        }
        blanks["recipe"] = recipes_of(self.arch)[0]  # all that it sets is said by the rest
        sources = tuple(pair for pair in self.sources or () if pair[0] not in blanks)
        return dataclasses.replace(self, **blanks, sources=sources)

    @property
    def alters_network(self) -> bool:
        """Whether the network's fields are others than its recipe's."""
        return self.arch_args != defaults(self.arch, self.recipe)["arch_args"]

    @property
    def network_title(self) -> str:
        """What tables and plots call the network, such as "CNN" or "Mixer (depth 4)"."""
        title = registry.entry("arch", self.arch).title
        own = ", ".join(
            name if value is True else f"{name} {spelled(value)}" for name, value in self.arch_args
        )
        return f"{title} ({own or 'plain'})" if self.alters_network else title

    def options(self) -> list[str]:
        """The command-line options that make this config."""
        words = ["--arch", self.arch]
        reference = {**defaults(self.arch, self.recipe), "seed": self.seed}
        values = dataclasses.asdict(self)
        meaning = applicable(values).keys() - idle(values)
        if self.recipe != recipes_of(self.arch)[0]:
            words += ["--recipe", self.recipe]
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            told = name in ("arch", "recipe") or name not in meaning
            if "help" not in field.metadata or told or value == reference[name]:
                continue
            if name == "arch_args":
                words += ["--arch-args", *(f"{k}={spelled(v)}" for k, v in value)]
            elif isinstance(value, bool):
                words.append(f"--{flag(name)}" if value else f"--no-{flag(name)}")
            else:
                words += [f"--{flag(name)}", str(value)]
        return words

    def run_name(self) -> str:
        """A readable folder name: the recipe, what differs from it, and the seed."""
        reference = defaults(self.arch, self.recipe)
        short = [registry.entry("arch", self.arch).title, Path(self.dataset).stem]
        parts = [self.arch if not registry.is_own(self.arch) else short[0], short[1]]
        if not self.alters_network:
            reference |= dict(self.arch_args)
        elif not self.arch_args:
            parts.append("plain")
        if self.recipe != recipes_of(self.arch)[0]:
            parts.append(self.recipe)
        without_effect = idle(dataclasses.asdict(self))
        for name, value in applicable(self.settings()).items():
            told = name in ("arch", "recipe", "dataset", "seed", *DERIVED)
            told = told or name.startswith("SHA-256") or name in without_effect
            if told or value == reference.get(name):
                continue
            dashed = flag(name)
            shown = ("" if value else "no-") + dashed if isinstance(value, bool) else None
            parts.append(shown or f"{dashed}{spelled(value).rpartition(':')[2]}")
        name = re.sub(r"[^\w.+-]+", "-", "_".join(parts))
        cut = name[:_MAX_NAME].encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
        return f"{cut}_seed{self.seed}"


def init_file(init: str) -> Path:
    """The file of weights that `--init` names, by itself or by its run's folder."""
    path = Path(init)
    return path / WEIGHTS if path.is_dir() else path


def _init_digest(init: str) -> str:
    path = init_file(init)
    try:
        if path.is_file():  # not of a pipe, which would be waited for
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reject("init", init, f"can't be read ({error.strerror}); give another file of weights")
    reject("init", init, f"there is no file {path}; give a finished run, or a file of weights")


ARCHS = tuple(registry.KINDS["arch"])
