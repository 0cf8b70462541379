"""A real ssh-agent: `with agent(key) as socket:` has that private key, and ends with the block."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.hosts import require


@contextmanager
def agent(key: Path) -> Iterator[Path]:
    """The socket, which is what SSH_AUTH_SOCK names; its path has to be short."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "agent")
        with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
            try:
                require(socket.exists, "the agent listens")
                environ = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
                subprocess.run(["ssh-add", "-q", str(key)], env=environ, check=True)
                yield socket
            finally:
                process.terminate()
