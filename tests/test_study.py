"""Studies: what their files say, and what is refused."""

import json

import pytest
from conftest import ROOT, assert_one_line_error, obeyed

from jaxcifar.errors import UsageError
from jaxcifar.studies.study import Study

ABLATION = ROOT / "experiments" / "studies" / "ablation.toml"

# The reference's table: normalisation, augmentation, learning rate, schedule, test accuracies.
REFERENCE = {
    "baseline": (False, False, 0.01, "none", (0.2307,)),
    "norm": (True, False, 0.01, "none", (0.7973,)),
    "aug": (False, True, 0.01, "none", (0.5411,)),
    "both": (True, True, 0.01, "none", (0.8841,)),
    "lr0.1": (True, True, 0.1, "none", (0.8789,)),
    "lr0.001": (True, True, 0.001, "none", (0.8388,)),
    "lr0.01-step": (True, True, 0.01, "step", (0.8132,)),
    "lr0.01-cosine": (True, True, 0.01, "cosine", (0.9060,)),
    "lr0.1-step": (True, True, 0.1, "step", (0.6575,)),
    "lr0.1-cosine": (True, True, 0.1, "cosine", (0.9217, 0.9248)),
}


def test_the_ablation_is_the_references():
    study = Study.read(ABLATION)
    assert [row.name for row in study.rows] == list(REFERENCE)
    for row in study.rows:
        config = study.config_of(row, seed=3)
        got = (config.normalize, config.augment, config.learning_rate, config.schedule)
        assert (*got, row.reference) == REFERENCE[row.name]
        assert (config.arch, config.epochs, config.batch_size) == ("resnet18", 50, 512)
        assert (config.optimizer, config.momentum, config.weight_decay) == ("sgd", 0.9, 5e-4)
        assert config.seed == 3


@pytest.mark.parametrize("path", sorted(ABLATION.parent.glob("*.toml")), ids=lambda p: p.stem)
def test_every_study_survives_its_json(path, tmp_path):
    study = Study.read(path)
    study.check()
    assert Study.from_dict(json.loads(study.to_json())) == study
    (tmp_path / "study.json").write_text(study.to_json())
    assert Study.read(tmp_path / "study.json") == study


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = 'x'", "missing required field `rows`"),
        ("[rows]\na = 1", "row a: write a ="),
        ("[rows]\na = { rate = 1 }", "row a: rate is no setting"),
        ("[rows]\na = { learning_rate = 'fast' }", "row a: learning_rate = 'fast' is not"),
        ("[rows]\na = { epochs = true }", "row a: epochs = True is not of type int"),
        ("[rows]\na = { learning_rate = -1 }", "row a: --learning-rate -1.0: must be above 0"),
        ("[rows]\na = { seed = 1 }", "row a: seed is no setting"),
        ("[rows]\na = { reference = [92] }", "row a, reference, [0]: Expected `float` <= 1.0"),
        ("[rows]\n'a/b' = {}", "row 'a/b': a name has letters"),
        ("[config]\narch = 'vgg'\n[rows]\na = {}", "no such network"),
        ("[columns]\n[rows]\na = {}", "unknown field `columns`"),
        ("[rows", "at end of document"),
        ("[rows]\n" + "\n".join(f"r{n} = {{}}" for n in range(1001)), "length <= 1000"),
    ],
)
def test_bad_files_are_refused(text, words, tmp_path):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        Study.read(tmp_path / "bad.toml").check()
    assert words in str(error.value)


def test_whole_numbers_stand_for_fractions(tmp_path):
    (tmp_path / "s.toml").write_text("[rows]\na = { learning_rate = 1, train_examples = 500 }")
    study = Study.read(tmp_path / "s.toml")
    config = study.config_of(study.rows[0], seed=0)
    assert (config.learning_rate, config.train_examples) == (1.0, 500)
    assert type(config.learning_rate) is float


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "nowhere.toml"], ["nowhere.toml", "No such file"]),
        (["--rows", "norm", "nothing"], ["no row nothing here", "baseline"]),
        (["--rows", "norm", "--force", "aug"], ["--force aug", "not among"]),
        (["--at-once", "0"], ["--at-once", "0: must be at least 1"]),
        (["--epochs", "0"], ["--epochs 0", "at least 1"]),
        (["--seeds", "-1"], ["--seeds", "-1"]),
        (["--seed", "1"], ["--seed"]),
    ],
)
def test_bad_options_are_one_line_and_exit_2(arguments, words, tmp_path):
    done = obeyed("ablation", *arguments, "--out", str(tmp_path / "out"))
    assert_one_line_error(done, 2, *words)
    assert not (tmp_path / "out").exists()
