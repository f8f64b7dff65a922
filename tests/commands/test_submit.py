"""`ablation --submit`: parts of a study as jobs, by stand-ins for Slurm and by processes here."""

import json
import os
import re
import shlex
import sys
import time
from importlib.util import find_spec

import pytest
import stand_in_slurm
from conftest import obeyed

from jaxcifar.commands import ablation
from jaxcifar.commands.shared import job_sending, job_waiting, submit_options
from jaxcifar.commands.shared.submit_options import job_options, without_submit_options
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine import job_queue
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Outcome
from jaxcifar.studies import conduct

if find_spec("submitit"):
    # Its import closes the handlers of all loggers. absl's would close the stream that pytest
    # captures, unless that stream is sys.stderr at that moment: so import it before any test.
    import submitit  # noqa: F401

needs = pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is missing")
on_posix = pytest.mark.skipif(os.name == "nt", reason="submitit needs Linux or macOS")

STUDY = """
[config]
arch = "cnn"
arch_args = { widths = [4], hidden = 8 }
dataset = "shapes10"
train_examples = 128
batch_size = 32
epochs = 1
[rows]
one = { learning_rate = 0.01 }
two = { learning_rate = 0.02 }
three = { learning_rate = 0.03 }
"""
# In place of the command that trains: notes its words, and writes the results of its shard.
TRAIN = """
import json, os, sys
from pathlib import Path

words = sys.argv[1:]
out, part = Path(words[words.index("--out") + 1]), int(words[words.index("--shard") + 1][0])
row = ["one", "two", "three"][part - 1]
with (out / "words").open("a") as file:
    print(json.dumps(words), file=file)
if (out / f"fail_{row}").exists():
    sys.exit(f"error: {row} has failed")
(out / row / "seed0").mkdir(parents=True, exist_ok=True)
(out / row / "seed0" / "result.json").write_text("{}")
"""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def submit(tmp_path, out, monkeypatch):
    """Call the command for the three rows. Jobs do not train, and nothing is reported."""
    (tmp_path / "study.toml").write_text(STUDY)

    def command(words, shard):
        return (sys.executable, "-c", TRAIN, *words, "--shard", str(shard))

    monkeypatch.setattr(job_sending, "_job_command", command)
    monkeypatch.setattr(job_waiting, "_POLL_SECONDS", 0.1)
    monkeypatch.setattr(ablation, "_write_report_and_return_unreadable_folders", lambda *_: ())
    monkeypatch.setattr(RunFolder, "require_usable", lambda *_: None)  # of folders without a config
    study = ["--study", tmp_path / "study.toml", "--out", out, "--data-dir", tmp_path]

    def submit(words):
        ablation.main([*map(str, study), *shlex.split(words)])

    return submit


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of the stand-ins for Slurm's programs, which are on the path."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    stand_in_slurm.install(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def words_of_jobs(out):
    return [json.loads(line) for line in (out / "words").read_text().splitlines()]


def shards(out):
    return [words[words.index("--shard") + 1] for words in words_of_jobs(out)]


def wait_for(happens):
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Options


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("1:30", 2),
        ("2:00:00", 120),
        ("0:00:01", 1),
        ("1-0", 1440),
        ("1-2:03", 1563),
        ("2-00:30:30", 2911),
    ],
)
def test_times_are_written_as_for_slurm(text, minutes):
    assert job_options("slurm", [("time", text)]) == (minutes, None, {})


def test_options_of_sbatch_are_passed_on():
    words = ["partition=gpu", "--gres=gpu:a100:1", "mail_type=END", "exclusive", "at-most=4"]
    options = job_options("slurm", [submit_options.parse_submit_option(word) for word in words])
    flags = {"partition": "gpu", "gres": "gpu:a100:1", "mail_type": "END", "exclusive": True}
    assert options == (None, 4, flags)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--wait", "--wait: has no effect without --submit"),
        ("--no-wait", "--no-wait: has no effect without --submit"),
        ("--parts 2", "--parts: has no effect without --submit"),
        ("--submit-options time=1", "--submit-options: has no effect without --submit"),
        ("--submit slrum", "did you mean slurm?"),
        ("--submit local --shard 1/2", "--shard: can't be used with --submit"),
        ("--submit local --parts 4", "--parts 4: the study has 3 runs"),
        ("--submit slurm --submit-options time=soon", "time=soon: must be minutes, H:MM:SS or"),
        ("--submit slurm --submit-options time=0:00", "longer than 0 minutes"),
        ("--submit slurm --submit-options at-most=0", "at-most=0: must be at least 1"),
        ("--submit slurm --submit-options at-most", "at-most=True: must be at least 1"),
        ("--submit local --submit-options gres=gpu:1", "gres: only Slurm has this option"),
        ("--submit slurm --submit-options array=1-9", "jaxcifar sets array itself"),
        (
            "--submit slurm --submit-options ntasks_per_node=2",
            "jaxcifar sets ntasks-per-node itself",
        ),
        ("--submit slurm --submit-options 'a b=1'", "must be NAME=VALUE"),
        ("--submit slurm --submit-options gres=", "must be one line of 1 to 200 characters"),
        ("--submit slurm --submit-options 'gres=a\nrm -rf x'", r"gres=a\nrm -rf x: the value must"),
    ],
)
def test_options_that_can_not_be_meant_are_refused(submit, out, words, problem):
    with pytest.raises(UsageError, match=re.escape(problem)):
        submit(words)
    assert not out.exists()


def test_the_jobs_get_the_words_of_the_command_without_those_that_send_it():
    kept = ["--rows", "a", "b", "--clip-norm", "-1", "--arch-args", "x=-1", "--no-augment"]
    sending = ["--submit", "slurm", "--parts=3", "--no-wait"]
    more = ["--submit-options", "gres=gpu:1", "--force", "a", "--observer=x.py:Y"]
    assert without_submit_options([*kept[:3], *sending, *kept[3:], *more]) == [*kept, *more[2:]]
    assert without_submit_options([*more, *kept], other_option="--force") == [more[-1], *kept]


def test_without_submitit_the_error_says_how_to_install_it(submit, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"--submit local: .*pip install submitit"):
        submit("--submit local")


@needs
@on_posix
def test_without_slurm_the_error_says_what_to_do(submit, out, monkeypatch):
    monkeypatch.setattr(job_queue.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"no program sbatch on the path; .* try --submit local"):
        submit("--submit slurm")
    assert not out.exists()


@needs
@on_posix
@pytest.mark.parametrize("name", ["50%a", "two\nlines"])
def test_a_folder_that_slurm_would_misread_is_refused(submit, slurm, tmp_path, name):
    with pytest.raises(
        UsageError, match="Slurm can't use a folder whose path has % or unprintable"
    ):
        submit(f"--submit slurm --out '{tmp_path / name}'")


# Sending


@needs
@on_posix
def test_each_row_is_a_job_of_an_array_and_failed_rows_are_sent_again(submit, slurm, out, capsys):
    out.mkdir()
    (slurm / "times_out").write_text("2")  # the last of the three
    (out / "fail_one").touch()
    asked = "--submit slurm --submit-options partition=gpu gres='gpu:1;touch x' time=2:00:00"
    with pytest.raises(
        RunError, match=r"2 of 3 parts failed: one seed 0 and three seed 0; .*slurm"
    ):
        submit(asked)
    text = " ".join(capsys.readouterr().out.split())
    assert "one seed 0: error: one has failed (logs: " in text
    assert "three seed 0: slurmstepd: error: *** STEP 4711 CANCELLED DUE TO TIME LIMIT" in text
    assert "job 4711_1 finished: two seed 0" in text
    given = json.loads((slurm / "4711.json").read_text())
    asked_for = {name: given[name] for name in ("partition", "gres", "time", "array", "job-name")}
    assert asked_for == {
        "partition": "gpu",
        "gres": "gpu:1;touch x",
        "time": "120",
        "array": "0-2%3",
        "job-name": "jaxcifar",
    }
    assert shards(out) == ["1/3", "2/3"]

    (out / "fail_one").unlink()
    (slurm / "times_out").unlink()
    submit("--submit slurm")
    assert "array" in json.loads((slurm / "4712.json").read_text())
    assert shards(out) == ["1/3", "2/3", "1/3", "3/3"]
    with pytest.raises(UsageError, match=r"all of 3 runs finished; leave it out to write"):
        submit("--submit slurm")
    with pytest.raises(UsageError, match="all of 3 runs finished"):
        submit("--submit slurm --no-wait")
    assert not (slurm / "4713.json").exists()


@needs
@on_posix
def test_jobs_in_the_queue_are_neither_sent_twice_nor_trained_here(
    submit, slurm, out, capsys, monkeypatch
):
    (slurm / "hold").touch()
    submit("--submit slurm --no-wait --rows one two --parts 1")
    assert "array" not in json.loads((slurm / "4711.json").read_text())
    submit("--submit slurm --no-wait --submit-options at-most=2")
    text = " ".join(capsys.readouterr().out.split())
    assert "in the queue or running: one seed 0 and two seed 0" in text
    assert len(list(slurm.glob("*.json"))) == 2
    with pytest.raises(RunError, match=r"2 of 2 parts not over yet: .* --shard 1/1 to train"):
        submit("")
    text = " ".join(capsys.readouterr().out.split())
    assert "one seed 0 and two seed 0: job 4711 is PENDING" in text
    assert "three seed 0: job 4712 is PENDING" in text

    trained = []
    monkeypatch.setattr(ablation, "_train_and_report", lambda tasks, *_: trained.append(len(tasks)))
    submit("--shard 1/1")
    assert trained == [3]


@needs
@on_posix
def test_a_second_command_sends_only_the_rows_that_were_never_sent(submit, slurm, out, capsys):
    from submitit.core.utils import DelayedSubmission

    (slurm / "hold").touch()
    submit("--submit slurm --no-wait --rows one")
    with pytest.raises(RunError, match="1 of 1 part not over yet: one seed 0; repeat"):
        submit("")
    text = " ".join(capsys.readouterr().out.split())
    assert "never sent: two seed 0 and three seed 0; add --submit to send them" in text
    submit("--submit slurm --no-wait")
    text = " ".join(capsys.readouterr().out.split())
    assert "in the queue or running: one seed 0 sent 2 parts as jobs 4712_0 to 4712_1: two" in text
    assert "4712_1: two seed 0 and three seed 0; logs: " in text
    pickles = sorted(out.glob("_jobs/sent-1/*_submitted.pkl"))
    commands = [DelayedSubmission.load(file).function.command for file in pickles]
    assert [words[-2:] for words in commands] == [("--shard", "2/3"), ("--shard", "3/3")]
    with pytest.raises(RunError, match="3 of 3 parts not over yet"):
        submit("")
    assert "never sent" not in capsys.readouterr().out


@needs
@on_posix
def test_ctrl_c_stops_waiting_and_leaves_the_jobs(submit, slurm, out, monkeypatch):
    def press_ctrl_c(seconds):
        raise KeyboardInterrupt

    (slurm / "hold").touch()
    with monkeypatch.context() as patch:
        patch.setattr(job_waiting.time, "sleep", press_ctrl_c)
        with pytest.raises(
            Interrupted,
            match=r"repeat the same command to wait again, .* the report; scancel 4711 cancels",
        ):
            submit("--submit slurm")
        with pytest.raises(Interrupted, match=r"repeat the same command without --force to wait"):
            submit("--submit slurm --force one")
    assert not (out / "words").exists()


@needs
@on_posix
def test_the_error_of_sbatch_is_one_line(submit, slurm, out, capsys):
    for words, problem in {
        "partition=cpu": "invalid partition specified: cpu",
        "partitoin=gpu": "unrecognized option '--partitoin'",
    }.items():
        with pytest.raises(RunError, match=rf"can't be sent \(sbatch: error: {problem}"):
            submit(f"--submit slurm --submit-options {words}")
    assert capsys.readouterr().err == ""
    assert not (out / "_jobs").exists()


@needs
@on_posix
def test_forced_rows_are_overwritten_once(submit, slurm, out, capsys):
    from submitit.core.utils import DelayedSubmission

    (slurm / "hold").touch()
    for row in ("one", "two"):
        (out / row / "seed0").mkdir(parents=True)
        (out / row / "seed0" / "result.json").write_text("{}")
    submit("--rows one two --submit slurm --no-wait --force two")
    [pickled] = out.glob("_jobs/sent/*_submitted.pkl")
    command = DelayedSubmission.load(pickled).function
    assert command.command[-4:] == ("--force", "two", "--shard", "2/2")
    text = " ".join(capsys.readouterr().out.split())
    assert "leave out --submit: the same command without --force writes the report" in text
    assert "--force" not in command.command_again
    assert command.command_again[-2:] == ("--shard", "2/2")


@needs
@on_posix
def test_a_forced_row_whose_job_fails_is_not_taken_for_finished(submit, slurm, out):
    """Its earlier result is still there."""
    for row in ("one", "two", "three"):
        (out / row / "seed0").mkdir(parents=True)
        (out / row / "seed0" / "result.json").write_text("{}")
    (out / "fail_two").touch()
    error = r"1 of 1 part failed: two seed 0; .* --force two only, and --submit slurm, sends them"
    with pytest.raises(RunError, match=error):
        submit("--submit slurm --force two")
    with pytest.raises(RunError, match=error):
        submit("")
    with pytest.raises(
        UsageError, match=r"the jobs of two seed 0 failed before .* --force two only"
    ):
        submit("--submit slurm")
    (out / "fail_two").unlink()
    submit("--submit slurm --force two")


@needs
@on_posix
def test_a_job_that_is_queued_again_trains_the_forced_runs_it_has_not_come_to(submit, slurm, out):
    """Without `--force`, it would take their earlier results for its own."""
    from submitit.core.utils import DelayedSubmission

    (slurm / "hold").touch()
    folders = [out / "two" / f"seed{seed}" for seed in (0, 1)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        os.utime(folder / "config.json", (1, 1))
        (folder / "result.json").write_text("{}")
    submit("--rows one two --seeds 0 1 --submit slurm --no-wait --force two")
    begun, waiting = folders
    (begun / "config.json").write_text("{}")  # the job has deleted this run and begun it anew
    for pickled in out.glob("_jobs/sent/*_submitted.pkl"):
        DelayedSubmission.load(pickled).function.before_again()
    assert (begun / "result.json").exists()
    assert not (waiting / "result.json").exists() and not (waiting / "config.json").exists()


@pytest.mark.parametrize(
    ("begins", "words"),
    [(False, ", but with --force one only, goes on"), (True, " without --force goes on")],
)
def test_after_a_failure_the_command_forces_rows_that_had_not_begun(
    submit, out, monkeypatch, begins, words
):
    """A row that fails before its earlier run is deleted still has the earlier result."""
    config = out / "one" / "seed0" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    os.utime(config, (1, 1))

    def fail(tasks, *_):
        if begins:
            config.write_text("{}")
        return [Outcome(tasks[0], error=RunError("no memory"))]

    monkeypatch.setattr(conduct, "conduct", fail)
    with pytest.raises(RunError, match=f"the same command{words} with them"):
        submit("--rows one --force one")


@needs
@on_posix
def test_local_jobs_run_at_once_and_another_process_collects(submit, out, capsys):
    out.mkdir()
    (out / "fail_two").touch()
    with pytest.raises(
        RunError, match=r"1 of 3 parts failed: two seed 0; .* --submit local, sends"
    ):
        submit("--submit local")
    assert sorted(shards(out)) == ["1/3", "2/3", "3/3"]
    assert "two seed 0: error: two has failed" in " ".join(capsys.readouterr().out.split())
    (out / "fail_two").unlink()
    submit("--submit local --no-wait --parts 3")
    wait_for((out / "two" / "seed0" / "result.json").exists)
    assert sorted(shards(out)) == ["1/3", "2/3", "2/3", "3/3"]


def test_a_finished_row_that_jobs_trained_can_be_forced_here(submit, out, monkeypatch):
    """`--force` must not be ignored because the record of the jobs names the run."""
    result = out / "two" / "seed0" / "result.json"
    result.parent.mkdir(parents=True)
    sent_runs = '[{"executor": "local", "job": "1", "folder": "sent", "runs": ["two seed 0"]}]'
    (out / "_jobs").mkdir()
    (out / "_jobs" / "jobs.json").write_text(sent_runs)
    forced = []

    def train(tasks, *_):
        forced.extend(task.name for task in tasks if task.overwrite)

    monkeypatch.setattr(ablation, "_train_and_report", train)
    result.write_text("{}")
    submit("--rows two --force two")
    assert forced == ["two seed 0"]


@needs
@on_posix
def test_a_study_through_slurm_is_a_study(tmp_path, slurm, out, shapes_dir):
    """Two real trainings by the stand-ins, in the environment and with the options of here."""
    (tmp_path / "study.toml").write_text(STUDY)
    words = ["--study", str(tmp_path / "study.toml"), "--out", str(out), "--data-dir", shapes_dir]
    words += ["--rows", "one", "two", "--at-once", "1"]
    variables = {"PATH": os.environ["PATH"]}
    done = obeyed("ablation", *words, "--submit", "slurm", env=variables)
    text = " ".join(done.stdout.split())
    assert done.returncode == 0, text + done.stderr
    assert "sent 2 parts as jobs 4711_0 to 4711_1" in text
    assert (out / "report.html").exists() and "report: " in text
    for row, rate in {"one": 0.01, "two": 0.02}.items():
        config = json.loads((out / row / "seed0" / "config.json").read_text())
        assert config["learning_rate"] == rate and config["arch_args"]["hidden"] == 8
        assert json.loads((out / row / "seed0" / "result.json").read_text())["at_once"] == 1
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/seed0/result.json")}
    assert "0 runs done now" in obeyed("ablation", *words).stdout
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/seed0/result.json")} == before
