"""Parts of a study that were sent: the record, their states, and why they failed."""

import json
import os

import pytest

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.job_queue import Job
from jaxcifar.runs.task import Task
from jaxcifar.studies import job_failures
from jaxcifar.studies.job_failures import failure_reason
from jaxcifar.studies.submitted_parts import (
    SentPart,
    earlier_results,
    jobs_folder,
    lock_jobs,
    make_job_folder,
    progress_of,
    read_parts,
    record_parts,
)
from jaxcifar.studies.waiting import earlier_failure, needs_training


@pytest.fixture
def tasks(tmp_path):
    """Six runs: done a and b, diverged c, nothing of the others."""
    config = Config.create(arch="cnn")
    made = [Task(config, tmp_path / name, f"{name} seed 0") for name in "abcdef"]
    for task in made[:3]:
        task.path.mkdir()
    for task in made[:2]:
        (task.path / "result.json").write_text("{}")
    (made[2].path / "failure.txt").write_text("the loss became nan in epoch 2")
    return made


def part(folder, identity, *names):
    return SentPart(Job("slurm", identity, folder), tuple(f"{name} seed 0" for name in names), {})


def write_logs(job, errors, output):
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / f"{job.identity}_0_log.err").write_text(errors)
    (job.folder / f"{job.identity}_0_log.out").write_text(output)


def test_what_is_left_has_no_result_and_no_diverged_loss(tasks):
    assert [task.name[0] for task in tasks if needs_training(task)] == ["d", "e", "f"]


def test_a_run_that_diverged_once_and_was_finished_later_is_finished(tasks):
    diverged = tasks[2]
    assert "nan" in str(earlier_failure(diverged))
    (diverged.path / "result.json").write_text("{}")
    assert earlier_failure(diverged) is None


def test_a_part_is_finished_if_all_its_runs_are_and_open_until_its_job_is_over(tasks, tmp_path):
    sent = [part(tmp_path, str(i), *names) for i, names in enumerate(["ab", "ac", "d", "e", "b"])]
    progress = progress_of(sent, tasks, lambda job: job.identity in {"0", "1", "2"})
    identities = [[part.job.identity for part in group] for group in progress]
    assert identities == [["0"], ["1", "2"], ["3", "4"]]


def test_a_part_that_did_not_replace_an_earlier_result_has_failed(tasks, tmp_path):
    """A forced run can fail before it begins, and then leaves the result from before."""
    runs = ("a seed 0", "b seed 0")
    forced = SentPart(Job("slurm", "5", make_job_folder(tmp_path)), runs, earlier_results(tasks))
    assert set(forced.earlier_results) == set(runs)
    record_parts(tmp_path, [forced])
    assert read_parts(tmp_path) == [forced]
    for new_results, group in ((1, "failed"), (2, "finished")):
        result_file = tasks[new_results - 1].path / "result.json"
        os.utime(result_file, (new_results, new_results))
        progress = progress_of(read_parts(tmp_path), tasks, lambda job: True)
        assert getattr(progress, group) == [forced]


def test_the_record_keeps_the_latest_job_of_each_run(tmp_path):
    folders = [make_job_folder(tmp_path) for _ in range(2)]
    assert len(set(folders)) == 2
    assert read_parts(tmp_path) == []
    first = [part(folders[0], "7_0", "a", "b"), part(folders[0], "7_1", "c")]
    record_parts(tmp_path, first)
    assert read_parts(tmp_path) == first
    second = [part(folders[1], "8", "b"), part(folders[1], "9", "c")]
    record_parts(tmp_path, second)
    assert read_parts(tmp_path) == [part(folders[0], "7_0", "a"), *second]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job", "7; rm -rf x"),
        ("job", "--all"),
        ("job", "7\n"),
        ("folder", "../elsewhere"),
        ("folder", "/etc"),
        ("executor", "debug"),
        ("more", 1),
    ],
)
def test_a_record_from_a_stranger_is_checked(tmp_path, field, value):
    record_parts(tmp_path, [part(make_job_folder(tmp_path), "7", "a")])
    file = jobs_folder(tmp_path) / "jobs.json"
    [content] = json.loads(file.read_text())
    file.write_text(json.dumps([content | {field: value}]))
    with pytest.raises(RunError, match=r"jobs\.json: .*; delete it if no job"):
        read_parts(tmp_path)


def test_a_local_job_is_the_number_of_a_process(tmp_path):
    """Python would read 4711_0 as 47110, which is another process."""
    record_parts(tmp_path, [part(make_job_folder(tmp_path), "4711_0", "a")])
    file = jobs_folder(tmp_path) / "jobs.json"
    [content] = json.loads(file.read_text())
    file.write_text(json.dumps([content | {"executor": "local"}]))
    with pytest.raises(RunError, match=r"a local job must be the number of.*; delete it if"):
        read_parts(tmp_path)


def test_a_link_in_place_of_the_folder_of_jobs_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "jobs.json").write_text("[]")
    jobs_folder(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="symbolic link"):
        read_parts(tmp_path)
    with pytest.raises(RunError, match="symbolic link"), lock_jobs(tmp_path):
        pass


TRACEBACK = "Traceback (most recent call last):\n  File x\nRunError: the command has ended\n"


@pytest.mark.parametrize(
    ("errors", "output", "reason"),
    [
        (f"error: --data-dir x: no such folder\n{TRACEBACK}", "begin\n", "error: --data-dir x: no"),
        ("slurmstepd: error: Detected 1 oom_kill event.\n", "", "slurmstepd: error: Detected 1"),
        (
            "error: 1 of 1 run failed: d seed 0\n",
            "d seed 0: out of memory\n",
            "d seed 0: out of memory",
        ),
        (
            f"error: 1 of 1 runs failed: d seed 0\n{TRACEBACK}",
            "d seed 0: old\nd seed 0: out of memory, so use\n  --batch-size 64\nreport: x\n",
            "d seed 0: out of memory, so use --batch-size 64",
        ),
        ("Segmentation fault\n\n", "", "Segmentation fault"),
        ("", "first\nthe last line\n", "the last line"),
        ("", "", "the job has written no log"),
        ("error: \x1b[2Jclear\n", "", r"error: \x1b[2Jclear"),
    ],
)
def test_the_reason_is_the_last_error_in_the_logs(tasks, tmp_path, errors, output, reason):
    failed = part(tmp_path / "logs", "7_3", "d")
    write_logs(failed.job, errors, output)
    assert failure_reason(failed, tasks).startswith(reason)


def test_the_reason_of_a_diverged_run_is_its_own(tasks, tmp_path):
    failed = part(tmp_path / "logs", "7", "a", "c")
    write_logs(failed.job, "error: 1 of 2 runs failed\n", "")
    assert failure_reason(failed, tasks) == "the loss became nan in epoch 2"


def test_only_the_end_of_a_log_is_read_and_no_link_followed(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr(job_failures, "_MAX_LOG_BYTES", 20)
    failed = part(tmp_path / "logs", "7", "d")
    write_logs(failed.job, "error: the first\n" + "x" * 30 + "\nlast\n", "")
    assert failure_reason(failed, tasks) == "last"
    (tmp_path / "secret").write_text("secret")
    failed.job.logs[0].unlink()
    failed.job.logs[0].symlink_to(tmp_path / "secret")
    assert failure_reason(failed, tasks) == "the job has written no log"
