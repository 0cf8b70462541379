"""Shell commands of the user's own, each within its seconds."""

import asyncio
import os
import signal
from contextlib import suppress


async def problem(command: str, timeout: float) -> str:
    """Runs a command; "" if it ends with 0, else why not, with the end of what it wrote."""
    try:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode == 0:
        return ""
    last = output.decode(errors="replace").strip().rpartition("\n")[2]
    return f"exit code {process.returncode}{f': {last[:200]}' if last else ''}"
