"""Run a command whose life is tied to its parent's: ``python tied.py PARENT_PID[:UID:GID] COMMAND...``.

On Linux the kernel sends the command SIGTERM as soon as the parent dies, a ``kill -9`` included
(prctl(2), PR_SET_PDEATHSIG), so that no orphan is left. Elsewhere the command simply runs.
Imports next to nothing: it stands in front of every process that the demo starts.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(user: int, group: int) -> None:
    """Give up root for another account, in a directory that it may enter."""
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    os.chdir("/")


def tie(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent dies; exit at once if it is dead already.

    The kernel forgets the request at every change of account: call this after ``become``.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent process is gone")


if __name__ == "__main__":
    parent, *account = map(int, sys.argv[1].split(":"))
    if account:
        become(*account)
    tie(parent)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  (the whole point)
