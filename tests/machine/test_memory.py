"""What is said where memory is short, before it is and when it is."""

import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import SMALL

import jaxcifar
from jaxcifar import RunError
from jaxcifar.bench import training_memory as bench_memory
from jaxcifar.commands import memory as memory_command
from jaxcifar.commands.shared.cli import exit_code_of
from jaxcifar.config.experiment import Config
from jaxcifar.machine import memory, system
from jaxcifar.machine.environment import first_devices
from jaxcifar.machine.failures import as_one_line_error
from jaxcifar.runs import training_loop
from jaxcifar.training import predicting

GB = 10**9
TOO_MANY = 10**17  # more than a system that overcommits memory gives


def fill_memory(*arguments, **options):
    """Ask XLA for more than any machine has."""
    return jax.block_until_ready(jnp.ones(TOO_MANY))  # or who waits for it would be told


@pytest.mark.parametrize("ask", [fill_memory, lambda: np.ones(TOO_MANY), lambda: bytearray(2**62)])
def test_what_allocators_raise_is_one_line(ask):
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        ask()
    assert "out of memory" in str(as_one_line_error(raised.value))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 4000012000000 bytes.", "4,000.0 GB"),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1.50GiB.", "1.6 GB"),
        ("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory", "there is not enough"),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.0G of 16.00G hbm.",
            "21.5 GB",
        ),
    ],
)
def test_the_amount_is_read(text, amount):
    assert amount in str(as_one_line_error(RuntimeError(text)))


def test_a_thread_that_cannot_be_started_is_one_line(monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("can't start new thread")  # what CPython raises where a limit is reached

    monkeypatch.setattr(threading, "_start_new_thread", refuse, raising=False)
    monkeypatch.setattr(threading, "_start_joinable_thread", refuse, raising=False)
    with pytest.raises(RuntimeError) as raised:
        threading.Thread(target=print).start()
    assert "ulimit -u" in str(as_one_line_error(raised.value))


def test_other_errors_stay_what_they_are():
    assert as_one_line_error(RuntimeError("some other failure")) is None
    assert as_one_line_error(ValueError("out of memory")) is None


def test_training_says_what_was_too_large(easy_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop._TrainingLoop, "_dispatch", fill_memory)
    with pytest.raises(RunError, match=r"training CNN with --batch-size 32: out of memory, .*use"):
        jaxcifar.train(
            "cnn", easy_dataset, run_dir=tmp_path, arch_args=SMALL, epochs=1, batch_size=32
        )


def test_predicting_says_how_many_images_were_too_many(easy_dataset, monkeypatch):
    classifier = jaxcifar.load()
    monkeypatch.setattr(predicting, "predict", fill_memory)
    with pytest.raises(RunError, match="predicting 40 images: out of memory"):
        classifier.predict(easy_dataset.test.images)


def test_a_command_ends_with_one_line(capsys):
    assert exit_code_of(lambda: np.ones(TOO_MANY)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory, ")


def compiled(**sizes):
    """A program of which XLA says that it takes this much."""
    names = ("argument", "output", "alias", "temp", "generated_code")
    texts = {f"{name}_size_in_bytes": sizes.get(name, 0) for name in names}
    return SimpleNamespace(memory_analysis=lambda: SimpleNamespace(**texts))


def device(platform, limit=None):
    """A device with that much memory."""
    stats = limit and {"bytes_limit": limit}
    return SimpleNamespace(platform=platform, device_kind="A100", memory_stats=lambda: stats)


def test_an_accelerator_that_is_too_small_is_refused():
    # Of the 3 GB of results, 1 GB replaces arguments.
    sizes = {"argument": 2 * GB, "temp": 7 * GB, "output": 3 * GB, "alias": 1 * GB}
    program = compiled(**sizes, generated_code=GB // 2)
    lines = []
    memory.check_memory(program, [device("gpu", 12 * GB)], "a step", lines.append)
    memory.check_memory(program, [device("gpu")], "a step", lines.append)  # it does not tell
    with pytest.raises(RunError, match=r"a step takes 11\.5 GB of memory, and A100 has 11\.0 GB"):
        memory.check_memory(program, [device("gpu", 11 * GB)], "a step", lines.append)
    assert lines == []


def test_a_line_warns_of_a_cpu_with_too_little_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 5 * GB)
    program, lines = compiled(argument=9 * GB, temp=3 * GB), []
    memory.check_memory(program, [device("cpu")], "a step", lines.append)
    assert lines == []
    memory.check_memory(program, [device("cpu")] * 2, "a step", lines.append)  # which share it
    [line] = lines
    assert line.startswith("a step takes 6.0 GB of memory, and 5.0 GB are free")


def test_a_program_of_unknown_size_is_not_judged():
    unknown = SimpleNamespace(memory_analysis=lambda: None)
    memory.check_memory(unknown, [device("gpu", GB)], "a step", pytest.fail)


def test_a_program_takes_its_results_but_for_those_that_replace_arguments():
    def replace_and_repeat(replaced, repeated):
        return replaced + 1, jnp.concatenate([repeated] * 3)

    replaced, repeated = jnp.zeros(10_000), jnp.zeros(7_000)
    replacing = jax.jit(replace_and_repeat, donate_argnums=0)
    sizes = replacing.lower(replaced, repeated).compile().memory_analysis()
    assert sizes.argument_size_in_bytes == 4 * (10_000 + 7_000)
    assert sizes.alias_size_in_bytes == 4 * 10_000
    more = memory.program_bytes(SimpleNamespace(memory_analysis=lambda: sizes))
    results = more - sizes.temp_size_in_bytes - sizes.generated_code_size_in_bytes
    # XLA also counts the list of the results.
    assert 4 * 3 * 7_000 <= results < 4 * 3 * 7_000 + 100


def test_a_lack_of_memory_is_reported_before_the_first_step(
    easy_dataset, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    settings = {"arch_args": SMALL, "epochs": 1, "batch_size": 32}
    jaxcifar.train("cnn", easy_dataset, run_dir=tmp_path, **settings)
    text = " ".join(capsys.readouterr().out.split())
    assert text.index("a training step with --batch-size 32 takes") < text.index("epoch 1/1")


def test_the_limit_of_a_container_counts(tmp_path):
    names, outer = tmp_path / "names", tmp_path / "groups" / "outer"
    (outer / "own").mkdir(parents=True)
    for group, limit in ((outer, "3000"), (outer / "own", "max")):
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text("2500\n")
        (group / "memory.stat").write_text("anon 2000\ninactive_file 400\n")
    names.write_text("4:memory:/older\n0::/outer/own\n")
    assert list(system.free_bytes_in_containers(names, tmp_path / "groups")) == [900]
    assert list(system.free_bytes_in_containers(tmp_path / "absent", tmp_path / "groups")) == []


def test_the_memory_of_training_contains_images_and_layers():
    batch_size, device = 32, first_devices(None)[0]
    config = Config.create("cnn", batch_size=batch_size, arch_args=SMALL, epochs=1)
    need = bench_memory.training_memory(config, device)
    images_and_labels = 45_000 * (32 * 32 * 3 + 4)
    assert images_and_labels < need.persistent_bytes < images_and_labels + 10**6
    first_layer = batch_size * 32 * 32 * SMALL["widths"][0] * 4  # what it gives, in float32
    assert first_layer < need.step_bytes < 100 * first_layer
    assert need.dtype == "float32"


def test_the_memory_of_training_is_what_xla_says_of_the_training_program(monkeypatch):
    program = compiled(argument=20_000, output=3_000, alias=1_000, temp=700, generated_code=50)
    lowered = SimpleNamespace(compile=lambda compiler_options: program)
    traced = SimpleNamespace(lower=lambda: lowered)
    parallel_runs = SimpleNamespace(trace=lambda *arguments: traced)
    monkeypatch.setattr(bench_memory, "ParallelRuns", lambda program, run_count: parallel_runs)
    config = Config.create("cnn", batch_size=32, arch_args=SMALL, dtype="bfloat16")
    need = bench_memory.training_memory(config, first_devices(None)[0])
    assert need == bench_memory.TrainingMemory(20_000, 2_000 + 700 + 50, "bfloat16")


def test_the_command_prints_a_table(monkeypatch, capsys):
    def training_memory(config, device):
        return bench_memory.TrainingMemory(
            persistent_bytes=10**8, step_bytes=config.batch_size * 10**7, dtype="float32"
        )

    monkeypatch.setattr(bench_memory, "training_memory", training_memory)
    memory_command.main(["--arch", "cnn", "--batch-size", "8", "200"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == [
        ["cnn", "8", "float32", "100", "MB", "80", "MB", "180", "MB"],
        ["cnn", "200", "float32", "100", "MB", "2.0", "GB", "2.1", "GB"],
    ]
