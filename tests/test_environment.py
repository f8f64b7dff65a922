"""How the machine is described, and shared."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar.machine import environment

SCRIPT = """
import jax
from jaxcifar.machine import environment
environment._cpu_cores = lambda: {cores}
environment.use_cpu_cores({batch_size})
print(jax.device_count())
"""


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
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(cores=cores, batch_size=batch_size)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == str(devices), done.stderr


def test_compiled_programs_are_kept_in_the_users_cache(tmp_path):
    script = (
        "import jax; from jaxcifar.machine.environment import use_compilation_cache as use; use(); "
        "print(jax.config.jax_compilation_cache_dir)"
    )

    def folder(**settings):
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment | settings,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert folder().startswith(str(tmp_path / "jaxcifar" / "compiled"))
    assert folder(JAX_COMPILATION_CACHE_DIR="/elsewhere") == "/elsewhere"


def test_versions_name_what_can_change_a_result():
    versions = environment.versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(versions[package] for package in ("jax", "flax", "optax", "numpy"))


def test_the_commit_is_a_full_hash_or_unknown():
    commit = environment.git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40


@pytest.mark.skipif(sys.platform != "linux", reason="asked for on Linux only")
@pytest.mark.parametrize("set_by_user", [None, "glibc.malloc.perturb=0"])
def test_a_command_asks_for_huge_pages_once(set_by_user):
    script = (
        "import os, sys; from experiments.cli import use_huge_pages; use_huge_pages(); "
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:])"
    )
    own = {"GLIBC_TUNABLES": set_by_user} if set_by_user else {}
    done = subprocess.run(
        [sys.executable, "-c", script, "--lr", "a b"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | own,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{set_by_user or 'glibc.malloc.hugetlb=1'} ['--lr', 'a b']"
