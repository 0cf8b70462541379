"""`python -m nodepkg`, and what the commands `package` and `nodepkg` start."""

import gc
import sys


def main() -> None:
    # A command keeps what it makes until it ends: to look for garbage in between took a tenth of its time and more.
    gc.set_threshold(1_000_000)
    try:
        from nodepkg.cli import commands  # noqa: F401 - importing it is what adds the commands
        from nodepkg.cli.app import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # while the program itself is still being read
        sys.exit(130)


if __name__ == "__main__":
    main()
