"""A process that has imported the command line once and forks for each command asked of it.

A command is then a process of its own, as an operator's is, without the second of imports. One question a line on
standard input (JSON: arguments, environment, files for its output), one answer a line: the exit status.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

from service.cli.app import main


def command(arguments: Sequence[str], environment: dict[str, str], out: str, err: str) -> int:
    """Run in the child; never returns to the loop of questions. The exit status a shell would see."""
    for path, descriptor in ((os.devnull, 0), (out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_RDWR), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["paperround", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        raise
    return 0


def answer() -> None:
    """Fork for every line of standard input until it is closed."""
    for line in sys.stdin:
        question = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = command(**question)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    answer()
