"""A run's config may not name code in the run's own folder, which may be a stranger's."""

import dataclasses
import json
from argparse import Namespace

import pytest

from jaxcifar.commands.shared.config_file import read_given_settings
from jaxcifar.config.code_in_run import require_no_user_code_in_run_folder
from jaxcifar.config.continued_folder import find_continued_run
from jaxcifar.config.experiment import Config
from jaxcifar.config.saved_config import config_of_begun_run
from jaxcifar.errors import UsageError
from jaxcifar.trained.same_code import require_same_code

REFUSED = r"is in the run's own folder, whose code is never executed"
CODE = """
from pathlib import Path

Path("executed").touch()


def Net(**fields):
    return None
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the folder of a stranger's run and a file outside of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sources = tmp_path / "theirs" / "sources" / "arch"
    sources.mkdir(parents=True)
    (sources / "net.py").write_text(CODE)
    for file in ("config.json", "metrics.jsonl", "weights.safetensors"):
        (tmp_path / "theirs" / file).touch()
    (tmp_path / "net.py").write_text(CODE)
    return tmp_path


@pytest.fixture
def config():
    """The config of a run whose network is the user's."""
    return Config.create("net.py:Net", dataset="shapes10")


def renamed(config, **names):
    """The config with other names of user code, and the digest of the file in its place."""
    digest = dict(config.sources)["arch"]
    return dataclasses.replace(config, **names, sources=tuple((kind, digest) for kind in names))


@pytest.mark.parametrize("kind", ["arch", "optimizer", "schedule", "augmentation"])
@pytest.mark.parametrize(
    "name", ["theirs/sources/arch/net.py:Net", "./theirs/../theirs/sources/arch/net.py:Net"]
)
def test_code_in_the_folder_of_a_run_is_not_executed(folder, config, kind, name):
    stranger = renamed(config, **{kind: name})
    with pytest.raises(UsageError, match=rf"theirs: its --{kind} .*{REFUSED}"):
        require_same_code(folder / "theirs", stranger, folder / "theirs" / "sources")
    with pytest.raises(UsageError, match=REFUSED):
        require_same_code(folder / "theirs" / "weights.safetensors", stranger)
    (folder / "theirs" / "config.json").unlink()  # weights that were converted and not tested
    with pytest.raises(UsageError, match=REFUSED):
        weights = folder / "theirs" / "weights.safetensors"
        require_same_code(weights, stranger, run_folder=folder / "theirs")
    assert not (folder / "executed").exists()


def test_a_package_in_the_folder_of_a_run_is_not_imported(folder, config):
    (folder / "theirs" / "__init__.py").write_text(CODE)
    for name in ("theirs.sources:Net", "theirs:Net"):
        with pytest.raises(UsageError, match=REFUSED):
            require_no_user_code_in_run_folder(folder / "theirs", renamed(config, arch=name))
    assert not (folder / "executed").exists()


def test_a_link_into_the_folder_is_followed(folder, config):
    (folder / "link.py").symlink_to(folder / "theirs" / "sources" / "arch" / "net.py")
    with pytest.raises(UsageError, match=REFUSED):
        require_no_user_code_in_run_folder(folder / "theirs", renamed(config, arch="link.py:Net"))


def test_code_elsewhere_is_the_users(folder, config):
    require_same_code(folder / "alone.safetensors", config)  # beside the code, not in a run
    require_same_code(folder / "theirs", config, folder / "theirs" / "sources")
    require_no_user_code_in_run_folder(folder / "theirs", renamed(config, arch="os.path:join"))
    require_no_user_code_in_run_folder(
        folder / "theirs", renamed(config, arch="missing.module:Net")
    )
    require_no_user_code_in_run_folder(folder / "theirs", renamed(config, arch="__main__:Net"))


def test_code_without_a_digest_is_not_executed(folder, config):
    without_digest = dataclasses.replace(config, sources=())
    with pytest.raises(
        UsageError, match=r"theirs: the config has no SHA-256 of the user code net\.py:Net"
    ):
        require_same_code(folder / "theirs", without_digest, folder / "theirs" / "sources")


def test_settings_of_a_run_do_not_name_its_own_code(folder, config):
    run = folder / "theirs"
    stranger = renamed(config, arch="theirs/sources/arch/net.py:Net")
    (run / "config.json").write_text(stranger.to_json())
    for given in (run, run / "config.json"):
        with pytest.raises(UsageError, match=REFUSED):
            read_given_settings({}, Namespace(config=given))
    with pytest.raises(UsageError, match=REFUSED):  # it may stand in for the run to continue
        config_of_begun_run(run, Config)
    (run / "config.json").write_text(config.to_json())
    assert config_of_begun_run(run, Config) == config
    assert read_given_settings({}, Namespace(config=run)).config.arch == "net.py:Net"
    (run / "result.json").write_text(json.dumps({"last_epoch": {"epoch": 1}}))
    (run / "config.json").write_text(stranger.to_json())
    with pytest.raises(UsageError, match=REFUSED):
        Config.create(continue_from="theirs", epochs=10**6)
    begun = {"continue_epochs": 1, "continue_sha256": "0" * 64, "continue_from": "theirs"}
    with pytest.raises(UsageError, match=REFUSED):  # nor does the config that stands in for it
        find_continued_run({"continue_from": "theirs"}, Config, renamed(stranger, **begun))
    assert not (folder / "executed").exists()
