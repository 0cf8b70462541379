"""A real ssh-agent: `with agent(folder, key) as socket:` has that private key, and ends with the block."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.hosts import require


@contextmanager
def agent(folder: Path, key: Path) -> Iterator[Path]:
    """The socket, which is what SSH_AUTH_SOCK names; `folder` has to be of a short name, as sockets demand."""
    socket = folder / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        try:
            require(socket.exists, "the agent listens")
            environ = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
            subprocess.run(["ssh-add", "-q", str(key)], env=environ, check=True)
            yield socket
        finally:
            process.terminate()
