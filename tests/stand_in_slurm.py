"""Stand-ins for Slurm's programs: sbatch checks its script and runs it, sacct tells the states.

They keep their notes in the folder of the programs: `ID.json` is what sbatch was given, `states`
the state of each job. If there is a file `hold`, jobs stay in the queue. A job whose index is in
the file `times_out` ends as if its time were over.
"""

import sys

COMMON = f"""#!{sys.executable}
import json, os, re, shlex, subprocess, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATES = HERE / "states"

def note(job, state):
    states = json.loads(STATES.read_text()) if STATES.exists() else {{}}
    states[job] = state
    STATES.with_suffix(".new").write_text(json.dumps(states))
    STATES.with_suffix(".new").replace(STATES)
"""
SBATCH = """
def refuse(why):
    sys.exit(f"sbatch: error: {why}")

def given(text):
    options = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            [word] = shlex.split(line.removeprefix("#SBATCH "))
            name, _, value = word.removeprefix("--").partition("=")
            if name in options:
                refuse(f"{name} is given twice")
            options[name] = value
    return options

if sys.argv[1] == "--run":  # in the background: all tasks of a job, one after the other
    _, _, job, script, *indices = sys.argv
    for index in indices:
        variables = {"SLURM_JOB_ID": job, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
        variables |= {f"SLURM_{name}": "0" for name in ("NODEID", "PROCID", "LOCALID")}
        name = job
        if index != "-":
            name = f"{job}_{index}"
            variables |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index}
        note(name, "RUNNING")
        done = subprocess.run(["bash", script], env={**os.environ, **variables})
        note(name, "FAILED" if done.returncode else "COMPLETED")
    sys.exit()

script = Path(sys.argv[1])
options = given(script.read_text())
known = {"array", "error", "gres", "job-name", "nodes", "open-mode", "output", "partition"}
known |= {"requeue", "signal", "time", "wckey"}
if len(sys.argv) != 2:
    refuse("one script is expected")
for name in options.keys() - known:
    refuse(f"unrecognized option '--{name}'")
if options.get("partition", "gpu") != "gpu":
    refuse("invalid partition specified: " + options["partition"])
if not Path(options["output"]).parent.is_dir() or not int(options["time"]) > 0:
    refuse("the folder of the log or the time is missing")
last = re.fullmatch(r"0-(\\d+)%(\\d+)", options.get("array", "0-0%1"))
indices = [str(i) for i in range(int(last[1]) + 1)] if "array" in options else ["-"]
job = str(4711 + len(list(HERE.glob("*.json"))))
(HERE / f"{job}.json").write_text(json.dumps(options))
for index in indices:
    note(job if index == "-" else f"{job}_{index}", "PENDING")
print(f"Submitted batch job {job}")
if not (HERE / "hold").exists():
    log = (HERE / "log").open("a")
    command = [sys.executable, __file__, "--run", job, str(script.resolve()), *indices]
    subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
"""
SRUN = """
arguments = sys.argv[1:]
streams = {"--output": "", "--error": ""}
while arguments[0].startswith("-"):
    option = arguments.pop(0)
    if option in streams:
        path = arguments.pop(0)
        marks = {"%j": os.environ["SLURM_JOB_ID"], "%t": "0"}
        marks["%A"] = os.environ.get("SLURM_ARRAY_JOB_ID", "")
        marks["%a"] = os.environ.get("SLURM_ARRAY_TASK_ID", "")
        for mark, value in marks.items():
            path = path.replace(mark, value)
        streams[option] = path
    elif option != "--unbuffered":
        sys.exit(f"srun: unrecognized option {option}")
late = HERE / "times_out"
with Path(streams["--output"]).open("a") as output, Path(streams["--error"]).open("a") as error:
    if late.exists() and os.environ.get("SLURM_ARRAY_TASK_ID") in late.read_text().split():
        error.write("slurmstepd: error: *** STEP 4711 CANCELLED DUE TO TIME LIMIT ***\\n")
        sys.exit(1)
    sys.exit(subprocess.run(arguments, stdout=output, stderr=error).returncode)
"""
SACCT = """
print("JobID|State|NodeList")
asked = {word for word in sys.argv if word.isdecimal()}
for job, state in (json.loads(STATES.read_text()) if STATES.exists() else {}).items():
    if job.partition("_")[0] in asked:
        print(f"{job}|{state}|here")
"""


def install(folder):
    """Write the programs into a folder, which is to be on the path."""
    for name, program in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        file = folder / name
        file.write_text(COMMON + program)
        file.chmod(0o755)
