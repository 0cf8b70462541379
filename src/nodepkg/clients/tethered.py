"""Becomes another program that is told to end when the process that started it dies, also if that was killed.

Run as a file of its own, in a bare Python: `python -I -S tethered.py PARENT PROGRAM ARGUMENT…`. It is Linux that
keeps the promise; elsewhere the program is simply started.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    # Whoever started us may ignore them, and that would be handed down.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        # SIGTERM, since Packer wraps itself in a process that passes this signal on, and heeds no SIGINT.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died before it was promised
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 - there is no shell in it
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
