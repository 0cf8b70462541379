"""`python -m nodepkg`, and what the commands `package` and `nodepkg` start."""

import gc
import os
import sys


def main() -> None:
    # A command keeps what it makes until it ends: to look for garbage in between took a tenth of its time and more.
    gc.set_threshold(1_000_000)
    try:
        if os.environ.get("_PACKAGE_COMPLETE"):
            _complete()
        from nodepkg.cli.app import has_read, run

        if not has_read(sys.argv[1:2]):
            from nodepkg.cli import commands  # noqa: F401 - importing it is what adds the commands

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # while the program itself is still being read
        sys.exit(130)
    finally:
        gc.freeze()  # or Python looks through all that was made once more before it ends


def _complete() -> None:
    """Answers a shell that completes a command line, and ends: somebody waits for it with a finger on the key."""
    try:
        import gc

        gc.disable()  # for a tenth of a second nothing has to be collected
        from nodepkg.cli.candidates import complete

        complete(sys.argv[1:], sys.stdout.buffer.write)
        sys.stdout.flush()
    finally:
        os._exit(0)  # without taking everything down first, and without a word of what went wrong


if __name__ == "__main__":
    main()
