"""A process that runs commands, and what is wrong with how one ended."""

import dataclasses
import json
import os
import select
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30
MEMORY = 2**30
_STALE = 600 * 2**20  # a process that has grown so far is replaced
_LONGEST = 2000
_REMARK = "The network can only answer with"  # of predict, after its answers


@dataclasses.dataclass
class Answer:
    """How a command ended; `code` is its exit code, "traceback", "hung" or "died"."""

    code: int | str
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    before: int = 0
    peak: int = 0

    def complaints(self):
        """What no input may bring about."""
        lines = [line for line in self.err.splitlines() if not line.startswith(_REMARK)]
        wrong = {
            f"it {self.code}": self.code in ("hung", "died"),
            "a traceback": self.code == "traceback" or "Traceback" in self.err,
            f"exit code {self.code}": self.code not in (0, 1, 2, 130) and type(self.code) is int,
            f"{len(lines)} lines on stderr": len(lines) > 1 and self.code != "traceback",
            "it fails in silence": self.code in (1, 2, 130) and not lines,
            "a line that goes on and on": any(len(line) > _LONGEST for line in lines),
            "control characters": any(_is_control(c) for c in self.out + self.err),
            f"it took {self.seconds:.0f} s": self.seconds > SECONDS,
            f"it took {self.peak / 2**20:.0f} MiB": self.peak
            > max(MEMORY, self.before + MEMORY // 2),
        }
        return [what for what, is_so in wrong.items() if is_so]


def _is_control(character):
    return (ord(character) < 32 and character not in "\n\t") or 127 <= ord(character) < 160


class Worker:
    """Runs commands in a process of its own, which is started anew when it has to be."""

    def __init__(self):
        self._process = None

    def run(self, name, *arguments, folder, env=None, patience=2 * SECONDS):
        """A command's `Answer`; the command runs in `folder`, and hangs if it takes too long."""
        process = self._process = self._process or self._start()
        request = [name, list(map(str, arguments)), str(folder), env or {}]
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], patience)
        line = process.stdout.readline() if ready else ""
        if not line:
            self.close()
            return Answer("died" if ready else "hung")
        answer = Answer(**json.loads(line))
        if answer.peak > _STALE:
            self.close()
        return answer

    def close(self):
        """End the process, if there is one."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self):
        paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
        return subprocess.Popen(
            [sys.executable, "-m", "programs.obey"],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
