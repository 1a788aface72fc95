"""Become a server that ends with the job: `python -m selflong.llm.child JOB_PID COMMAND...`.

The kernel ends this process when the thread that started it ends, by whatever way, SIGKILL included; the
setting outlives `exec`, so any command can be tied to the job like this.
"""

import os
import sys

from selflong.job import end_with_parent


def main() -> None:
    job, command = int(sys.argv[1]), sys.argv[2:]
    end_with_parent()
    if os.getppid() != job:  # it ended before the kernel was asked
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
