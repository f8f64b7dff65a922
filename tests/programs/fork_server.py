"""Start programs by forking a process that has imported what they need: `fork_server SOCKET`.

Importing JAX and the rest takes as long as half of a small training. Each connection to the socket
starts one program: its request names the module, arguments, folder and environment, and brings the
files for its output and errors. The answers are the program's process ID and, once it has ended,
its status as `os.waitpid` gives it. The server starts neither JAX's devices nor a thread, which
would not survive the fork. It ends when its standard input is closed.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys

_MOST_BYTES = 2**20
ANSWER_BYTES = 8


def main():
    import_what_commands_need()
    gc.freeze()  # memory that the garbage collector leaves alone stays shared after a fork
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(sys.argv[1])
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system removes what has ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C of pytest is for pytest
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            request = fork_program(connection)
            run_program(request)
            return
        connection.close()


def import_what_commands_need():
    """Import what a training and its pictures import."""
    import small  # noqa: F401

    import jaxcifar.commands.ablation
    import jaxcifar.commands.run
    import jaxcifar.report
    import jaxcifar.runs.fit  # noqa: F401


def fork_program(connection):
    """Fork the process of a program; in that process, return the program's request.

    The calling process answers with the process ID and, at the program's end, its status. Then it
    ends.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, _, _ = socket.recv_fds(connection, _MOST_BYTES, 2)
    request = json.loads(message)
    process_id = os.fork()
    if process_id == 0:
        connection.close()
        empty_input = os.open(os.devnull, os.O_RDONLY)
        for stream, file in enumerate([empty_input, *files]):
            os.dup2(file, stream)
            os.close(file)
        return request
    for file in files:
        os.close(file)
    connection.sendall(process_id.to_bytes(ANSWER_BYTES, "big"))
    _, status = os.waitpid(process_id, 0)
    connection.sendall(status.to_bytes(ANSWER_BYTES, "big"))
    os._exit(0)


def run_program(request):
    """Run a module in this process as `python -m MODULE ARGUMENTS` does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
