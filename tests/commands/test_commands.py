"""Exit codes and last lines of the commands, as a shell sees them: 0, 1 and 2."""

import json
import re
import tomllib

import invented
import numpy as np
import pytest
from conftest import ROOT, assert_one_line_error, command, obeyed
from PIL import Image

import jaxcifar
from jaxcifar.commands import run
from jaxcifar.commands.__main__ import COMMANDS
from jaxcifar.studies.study import Study


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_exits_2_and_help_exits_0(name):
    assert_one_line_error(obeyed(name, "--no-such-option"), 2, "error: ", "--no-such-option")
    done = obeyed(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_shows_the_version(name):
    done = obeyed(name, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"jaxcifar {jaxcifar.__version__}\n",
        "",
    )


@pytest.mark.parametrize("name", ["run", "convert", "compare"])
def test_commands_are_programs_of_the_checkout(name):
    done = command(name, "--version")
    assert (done.returncode, done.stdout) == (0, f"jaxcifar {jaxcifar.__version__}\n")


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert jaxcifar.__version__ == project["version"]


def test_help_of_a_run_shows_the_common_options_and_help_all_every_option():
    options = {name for action in run.parser()._actions for name in action.option_strings}
    shown = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", obeyed("run", "--help").stdout, re.M))
    assert shown == {*run.COMMON_OPTIONS, "--help", "--help-all", "--version"}
    assert len(run.COMMON_OPTIONS) == 12
    everything = obeyed("run", "--help-all").stdout
    assert options <= set(re.findall(r"-[a-z-]+", everything))


@pytest.mark.parametrize(
    ("option", "advice"),
    [("--resume", "the same command resumes"), ("--gpu", "JAX_PLATFORMS=cpu")],
)
def test_options_of_other_programs_get_advice(option, advice):
    assert_one_line_error(obeyed("run", option), 2, f"there is no option {option}", advice)


def test_the_list_of_commands_exits_0_and_another_name_2():
    done = command("__main__", env={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[:-1]] == list(COMMANDS)
    assert_one_line_error(command("__main__", "studdy"), 2, "there is no command studdy")


NET = "tests/own/net.py:Net"


def test_summary_as_a_program_prints_the_layers_and_exits_0():
    done = command("summary", "--arch", NET, "--classes", "7")
    assert (done.returncode, done.stderr) == (0, "")
    body, head = 3 * 4 + 4, 4 * 7 + 7
    layers = re.findall(r"(\S+)-(\d) +\[-1, (\d+)\] +(\d+)$", done.stdout, re.M)
    assert layers == [("Linear", "1", "4", str(body)), ("Linear", "2", "7", str(head))]
    assert f"Total params: {body + head}\n" in done.stdout
    assert_one_line_error(command("summary", "--arch", "tests/own/net.py:Nett"), 2, "Nett")


def test_memory_as_a_program_prints_a_row_for_each_batch_size_and_exits_0():
    done = command(
        "memory", "--arch", NET, "--batch-size", "45000", "30000", env={"COLUMNS": "200"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()[-2:]]
    assert [row[:3] for row in rows] == [[NET, "45,000", "float32"], [NET, "30,000", "float32"]]
    for row, images in zip(rows, (45_000, 30_000), strict=True):
        persistent, step, total = (megabytes(*row[k : k + 2]) for k in (3, 5, 7))
        assert persistent >= 45_000 * (32 * 32 * 3 + 4) // 10**6
        assert step >= images * 32 * 32 * 3 * 4 // 10**6  # the batch in float32
        assert abs(persistent + step - total) <= 100  # each is rounded


def megabytes(number, unit):
    return float(number) * {"MB": 1, "GB": 1000}[unit]


def write_photos(folder):
    """Write two noisy images in the folder of each of two classes, and return all images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    for number, image in enumerate(images):
        name = "truck" if number < 2 else "cat"
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name / f"{number}.png")
    return images


def test_predict_as_a_program_names_the_likeliest_class_and_exits_0(tmp_path):
    images = write_photos(tmp_path)
    done = command("predict", str(tmp_path / "cat" / "3.png"), "--top", "1")
    assert done.returncode == 0
    [remark] = done.stderr.splitlines()  # standard output has a line for each image, for programs
    assert remark.startswith("The network can only answer with one of its 10 classes")
    classifier = jaxcifar.load()
    odds = classifier.predict(images[3:]).probabilities[0]
    [line] = done.stdout.splitlines()
    assert line.split()[-2] == classifier.class_names[odds.argmax()]
    assert float(line.split()[-1].rstrip("%")) == pytest.approx(100 * odds.max(), abs=0.3)
    gone = str(tmp_path / "gone.png")
    assert_one_line_error(command("predict", gone), 2, f"{gone}: no such file or folder")


def test_evaluate_as_a_program_prints_the_accuracy_and_exits_0(tmp_path):
    images = write_photos(tmp_path / "lab" / "photos")
    (tmp_path / "data").mkdir()
    weights = ROOT / "jaxcifar" / "trained" / "shipped" / "cnn.safetensors"
    where = ("--on", tmp_path / "lab" / "photos", "--data-dir", tmp_path / "data")
    json_file = tmp_path / "all.json"
    words = ("evaluate", weights, *where, "--json", json_file)
    # The network's validation images must not be downloaded; only the temperature needs them.
    offline = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = command(*map(str, words), env={"COLUMNS": "300", **offline})
    assert (done.returncode, done.stderr) == (0, "")
    classifier = jaxcifar.load()
    labels = [classifier.class_names.index(name) for name in ("truck", "truck", "cat", "cat")]
    odds = classifier.predict(images).probabilities
    expected = np.mean(odds.argmax(-1) == labels)
    assert expected not in (0, 0.5, 1)  # nor could it be taken for the share of mistakes
    [shown] = re.findall(r"cnn\.safetensors +lab/photos +4 +([\d.]+%)", done.stdout)[:1]
    assert shown == f"{expected:.2%}"
    [run] = json.loads(json_file.read_text())["runs"]
    assert run["sets"]["own:lab/photos"]["accuracy"] == expected


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run, without its weights."""
    path = tmp_path_factory.mktemp("run") / "run"
    invented.write_run(path, "winner", 8)
    return path


def options_of(row, seed):
    config = invented.STUDY.config_of(invented.STUDY.select([row])[0], seed)
    return [*config.options(), "--seed", str(seed)]


def test_a_finished_runs_lines_are_the_figures_of_the_epoch_that_validation_chose(finished):
    done = obeyed("run", *options_of("winner", 8), "--run-dir", finished, env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    run = invented.RUNS["winner"][8]
    rate = np.dot(run.seconds, run.rate) / np.sum(run.seconds)
    output = dict(re.findall(r"^(\S[\w ]{13}) {2}(.*)$", done.stdout, re.M))
    output = {name.strip(): line for name, line in output.items()}
    assert output == {
        "test accuracy": f"{run.test:.2%} on CIFAR-10",
        "with flips": f"{run.flip:.2%}, by both an image and its mirror image",
        "chosen": f"epoch 4, validation accuracy {run.val[3]:.2%} (highest)",
        "last epoch": f"{run.last_test:.2%} after epoch 5",
        "time": f"140 s, {rate:,.0f} images/s on a device of winner, float32",
        "files": "result.json, weights.safetensors, metrics.jsonl, accuracy.png, loss.png, "
        f"model.png in {finished}/",
    }
    assert done.stdout.splitlines()[-1].startswith("files ")


def test_a_seed_that_differs_from_the_run_folders_seed_exits_2(finished):
    done = obeyed("run", *options_of("winner", 8)[:-1], "7", "--run-dir", finished)
    assert_one_line_error(done, 2, "seed 8 there, 7 asked for")


@pytest.mark.parametrize("name", ["predict", "evaluate", "export"])
def test_a_run_that_is_damaged_exits_1_and_one_that_is_not_finished_2(tmp_path, name):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photo.png")
    run = tmp_path / "run"
    invented.write_run(run, "winner", 8)
    words = {
        "predict": (tmp_path / "photo.png", "--run", run),
        "evaluate": (run, "--data-dir", tmp_path),
        "export": (run, "--to", "safetensors", tmp_path / "x.safetensors"),
    }[name]
    (run / "result.json").write_text("{")
    assert_one_line_error(obeyed(name, *words), 1, f"{run}/result.json: ")
    (run / "result.json").unlink()
    assert_one_line_error(obeyed(name, *words), 2, f"{run}: is not a finished run")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_copied_study_takes_its_network_with_it(tmp_path):
    done = obeyed("copy", "own_network", str(tmp_path / "mine.toml"))
    assert done.returncode == 0, done.stderr
    study = Study.read(tmp_path / "mine.toml")
    for row in study.rows:
        config = study.config_of(row, seed=0)
        assert config.arch == f"{tmp_path / 'mixer.py'}:Mixer"
    original = ROOT / "experiments" / "networks" / "mixer.py"
    assert (tmp_path / "mixer.py").read_text() == original.read_text()

    (tmp_path / "mixer.py").write_text(original.read_text() + "# mine\n")
    done = obeyed("copy", "own_network", str(tmp_path / "another.toml"), env={"COLUMNS": "300"})
    assert "mixer.py: exists already and is used by the study" in done.stdout
    assert (tmp_path / "mixer.py").read_text().endswith("# mine\n")


def test_copying_a_network_says_how_to_train_it(tmp_path):
    done = obeyed("copy", "wide_resnet", str(tmp_path / "net.py"), env={"COLUMNS": "300"})
    assert f"run --arch {tmp_path / 'net.py'}:WideResNet" in done.stdout
