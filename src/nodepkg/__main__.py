"""`python -m nodepkg`, and what the commands `package` and `nodepkg` start."""

import sys


def main() -> None:
    from nodepkg.cli import commands  # noqa: F401 - importing it is what adds the commands
    from nodepkg.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
