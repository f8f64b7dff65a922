"""What `--dry-run` shows, that it leaves nothing behind, and what overrules what in a study."""

import re

from conftest import obeyed

NET = "tests/own/net.py:Net"
SHORT = ("--arch", NET, "--dataset", "shapes10", "--epochs", "3", "--batch-size", "500")


def cells(output):
    """Return setting -> (value, origin) of the table that a dry run prints."""
    return {
        name: (value, origin)
        for name, value, origin in re.findall(r"^ *(\w+) +(\S+) {2,}(\S.*?) *$", output, re.M)
    }


def test_a_run_is_shown_estimated_and_not_begun(tmp_path):
    """The images are not there: nothing is drawn, and noise stands for them."""
    file = tmp_path / "run.toml"
    file.write_text("learning_rate = 0.2\nepochs = 9\nfold = '1/4'\n")
    where = ("--run-dir", str(tmp_path / "run"), "--data-dir", str(tmp_path))
    done = obeyed("run", *SHORT, *where, "--config", str(file), "--dry-run", env={"COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run.toml"}
    shown = cells(done.stdout)
    assert shown["epochs"] == ("3", "the command line")
    assert shown["learning_rate"] == ("0.2", str(file))
    assert shown["optimizer"] == ("sgd", "recipe reference")
    assert shown["clip_norm"] == ("0", "default")
    assert "val_fraction" not in shown
    assert f"the command line overrules {file}: epochs 3 instead of 9" in done.stdout
    assert f"{file} overrules recipe reference: learning_rate 0.2 instead of 0.05" in done.stdout
    assert "shapes10 (synthetic, not CIFAR-10) is not prepared in" in done.stdout
    assert "7,500 to train, 2,500 to validate, 2,000 to test" in done.stdout
    assert "3 epochs of 15 steps of 500 images" in done.stdout
    [size, images] = re.findall(r"(\d+) MB", done.stdout)[:2]
    assert int(images) == round(7_500 * (32 * 32 * 3 + 4) / 1e6)  # the weights are few
    assert int(size) >= int(images)
    assert re.search(r"^time +≈ \d+ s for 1 run: .* ms a step \(mean of \d+\)", done.stdout, re.M)


def test_a_study_shows_rows_programs_and_what_is_overruled(tmp_path):
    words = ("--grid", "learning_rate=0.1,0.2", "batch_size=500,1000", *SHORT[:-2], "--folds", "2")
    where = ("--out", str(tmp_path / "out"), "--data-dir", str(tmp_path))
    done = obeyed("ablation", *words, *where, "--dry-run", env={"COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "Grid of learning rate x batch size: 8 runs" in done.stdout
    assert cells(done.stdout)["epochs"] == ("3", "the command line")
    assert "Settings that differ between rows" in done.stdout
    assert done.stdout.count("for 4 runs: ") == 2  # two rows of two folds have a program's speed
    assert "all together    ≈ " in done.stdout
    assert "for 8 runs" in done.stdout


def test_a_recipe_above_a_study_says_what_the_study_overrules(tmp_path):
    """The rows of the ablation set what the recipe sets; nothing is trained without images."""
    where = ("--out", str(tmp_path / "out"), "--data-dir", str(tmp_path))
    offline = {"https_proxy": "http://127.0.0.1:9", "COLUMNS": "1000"}
    words = ("--arch", "cnn", "--recipe", "strong", "--rows", "norm", "lr0.1")
    done = obeyed("ablation", *words, *where, env=offline)
    assert done.returncode == 1  # no images
    lines = done.stdout.splitlines()
    [by_options] = [line for line in lines if line.startswith("the command line overrules the")]
    assert by_options == "the command line overrules the study: arch cnn instead of resnet18"
    [by_study] = [line for line in lines if line.startswith("the study overrules recipe strong")]
    assert "optimizer sgd instead of muon" in by_study
    assert "learning_rate 0.01 instead of 0.06 in norm" in by_study
    [by_row] = [line for line in lines if line.startswith("the row overrules")]
    assert by_row == "the row overrules recipe strong: learning_rate 0.1 instead of 0.06 in lr0.1"
