"""Become a server that ends with the job: `python -m selflong.llm.server_process JOB_PID COMMAND...`.

The kernel ends this process when the thread that started it ends, by whatever way, SIGKILL included; the
setting outlives `exec`, so any command can be tied to the job like this.

A server of our own tells the job its port by `say_port`, through a pipe that only the two of them hold.
"""

import os
import sys

from selflong.job import end_with_parent

PORT_VARIABLE = "SELFLONG_PORT_TO"
"""Environment variable with the file descriptor that the job reads the port from."""


def say_port(port: int) -> None:
    """Tell the job that the server is up, and where."""
    with os.fdopen(int(os.environ[PORT_VARIABLE]), "w") as pipe:
        print(port, file=pipe)


def main() -> None:
    job, command = int(sys.argv[1]), sys.argv[2:]
    end_with_parent()
    if os.getppid() != job:  # it ended before the kernel was asked
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
