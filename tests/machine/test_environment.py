"""How the machine is described, and shared."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from conftest import finish, start_program

from jaxcifar.data.prepare import default_data_dir
from jaxcifar.data.user_data import load_user_data
from jaxcifar.errors import UsageError
from jaxcifar.machine import environment


@pytest.mark.parametrize(
    ("cores", "batch_size", "flags", "devices"),
    [
        (1, 128, "", 1),
        (2, 128, "", 2),
        (3, 128, "", 2),  # three devices can't share a batch of 128
        (64, 128, "", 4),
        (2, 33, "", 1),
        (2, 128, "--xla_force_host_platform_device_count=3", 3),
    ],
)
def test_the_cores_share_a_batch(cores, batch_size, flags, devices):
    program = start_program("cpu_devices", cores, batch_size, env={"XLA_FLAGS": flags})
    assert finish(program).strip() == str(devices)


def test_compiled_programs_are_kept_in_the_users_cache(tmp_path):
    def folder(setting=None):
        env = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": setting}
        return finish(start_program("cache_folder", env=env)).strip()

    assert folder().startswith(str(tmp_path / "jaxcifar" / "compiled"))
    assert folder("/elsewhere") == "/elsewhere"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/jaxcifar/compiled"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/big"}, "/big/jaxcifar/compiled"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "~/big"}, "/home/me/big/jaxcifar/compiled"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "~nosuchuser/big"}, None),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="homes are named otherwise on Windows")
def test_the_cache_lies_in_the_users_home(monkeypatch, variables, expected):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = {}
    config = SimpleNamespace(update=settings.__setitem__)
    monkeypatch.setattr(environment, "value_of_setting", lambda name: None)
    monkeypatch.setattr(environment, "jax", SimpleNamespace(config=config))
    environment.use_compilation_cache()
    folder = settings.get("jax_compilation_cache_dir")
    assert folder is None if expected is None else str(Path(folder).parent) == expected


def test_versions_name_what_can_change_a_result():
    versions = environment.package_versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(versions[package] for package in ("jax", "flax", "optax", "numpy"))


def test_each_version_is_that_of_the_package_that_is_imported():
    found = environment.package_versions()
    modules = {"jax", "jaxlib", "flax", "optax", "numpy"}
    imported = {name: importlib.import_module(name).__version__ for name in modules}
    assert {name: found[name] for name in modules} == imported
    ours = environment.versions_to_match()
    assert ours == {name: found[name] for name in ours}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder in place of the checkout that this package lies in."""
    file = tmp_path / "jaxcifar" / "machine" / "environment.py"
    file.parent.mkdir(parents=True)
    file.write_text("x = 1\n")
    monkeypatch.setattr(environment, "__file__", str(file))
    return tmp_path


def git(folder, *arguments):
    who = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_commit_is_dirty_only_if_a_file_of_it_differs(checkout):
    assert environment.git_commit() is None  # outside git
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "first")
    commit = git(checkout, "rev-parse", "HEAD")
    assert environment.git_commit() == commit
    (checkout / "notes.txt").write_text("no file of the commit\n")
    assert environment.git_commit() == commit
    file = checkout / "jaxcifar" / "machine" / "environment.py"
    file.write_text("x = 2\n")
    assert environment.git_commit() == f"{commit}-dirty"
    git(checkout, "add", str(file))
    assert environment.git_commit() == f"{commit}-dirty"  # differs from HEAD all the same
    git(checkout, "commit", "-q", "-m", "second")
    assert environment.git_commit() == git(checkout, "rev-parse", "HEAD") != commit
    file.unlink()
    assert environment.git_commit().endswith("-dirty")


def test_the_digest_of_the_code_is_that_of_names_and_contents(checkout):
    package = checkout / "jaxcifar"
    digests = [environment.code_sha256()]
    (package / "more.py").write_text("")
    digests.append(environment.code_sha256())
    (package / "more.py").write_text("y = 1\n")
    digests.append(environment.code_sha256())
    (package / "more.py").rename(package / "other.py")
    digests.append(environment.code_sha256())
    assert len(set(digests)) == len(digests)
    (package / "other.py").unlink()
    (package / "notes.txt").write_text("no code\n")
    assert environment.code_sha256() == digests[0]


def test_the_commit_is_a_full_hash_or_unknown():
    commit = environment.git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40


@pytest.mark.skipif(sys.platform != "linux", reason="asked for on Linux only")
@pytest.mark.parametrize("set_by_user", [None, "glibc.malloc.perturb=0"])
def test_a_command_asks_for_huge_pages_once(set_by_user):
    program = start_program("huge_pages", "--lr", "a b", env={"GLIBC_TUNABLES": set_by_user})
    expected = set_by_user or "glibc.malloc.hugetlb=1"
    assert finish(program).strip() == f"{expected} ['--lr', 'a b']"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no numbers for users")
def test_a_missing_home_folder_is_reported_where_it_matters(monkeypatch):
    """As in a container that is run with the number of a user that has no name there."""
    import pwd

    def getpwuid(number):
        raise KeyError(number)

    for name in ("HOME", "TFDS_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    with pytest.raises(UsageError, match="--data-dir or TFDS_DATA_DIR"):
        default_data_dir()
    cache = jax.config.jax_compilation_cache_dir
    environment.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == cache


def test_the_home_of_an_unknown_user_is_reported_like_any_missing_folder(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="~nosuchuser/x: no such folder or file"):
        load_user_data("~nosuchuser/x", tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", "~nosuchuser/x")
    with pytest.raises(UsageError, match="knows no such home"):
        default_data_dir()
