"""The system's ssh."""

import os
import shutil
from collections.abc import Callable
from typing import NoReturn

from nodepkg.errors import ToolError


def become(words: list[str], execvp: Callable[[str, list[str]], NoReturn] = os.execvp) -> NoReturn:
    """This process becomes the program that the first word names; raises ToolError if there is none."""
    if shutil.which(words[0]) is None:
        raise ToolError(f"there is no {words[0]} on this machine", hint="apt-get install openssh-client")
    execvp(words[0], words)
