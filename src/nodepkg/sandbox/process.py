"""The sandbox from outside: start it, find it, tell it what to do, stop it. Imports no moto."""

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodepkg
from nodepkg.durable import private_folder
from nodepkg.errors import RefusedError, ToolError
from nodepkg.sandbox.environment import without_credentials
from nodepkg.sandbox.seed import Seed

START_SECONDS = 30.0
_STOP_SECONDS = 3.0
_REQUEST_SECONDS = 30.0
_HEALTH_SECONDS = 2.0
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox. `started` is in Unix time; in a `realistic` one things take their time."""

    pid: int
    port: int
    id: str
    started: float
    realistic: bool = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def start(state: Path, *, realistic: bool = False) -> Sandbox:
    """The sandbox of this state directory: the one that runs, or else a new one.

    Raises RefusedError if one runs that is not `realistic`, but shall be; ToolError if moto is missing, or the new
    process does not answer within START_SECONDS.
    """
    if not all(importlib.util.find_spec(module) for module in ("moto", "flask", "flask_cors")):
        raise ToolError("the sandbox needs moto", hint="pip install 'nodepkg[sandbox]'")
    try:
        private_folder(state)
        with _locked(state):
            found = running(state)
            if found and realistic and not found.realistic:
                told = f"the sandbox that runs (pid {found.pid}) is not realistic"
                raise RefusedError(told, hint="end it first, with everything in it: package sandbox:stop")
            return found or _launch(state, realistic=realistic)
    except OSError as error:
        raise ToolError(f"{error.filename or state}: {error.strerror}: the sandbox keeps its state there") from error


def running(state: Path) -> Sandbox | None:
    """The sandbox of this state directory if it answers with the id that its state file gives.

    Raises ToolError for one that lives and does not answer: to start another one would leave it without an owner.
    """
    try:
        sandbox = Sandbox(**json.loads((state / "sandbox.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    try:
        health = _ask(sandbox, "GET", "health", timeout=_HEALTH_SECONDS)
    except (OSError, http.client.HTTPException, ValueError, ToolError) as error:
        if _serves(sandbox.pid, state):
            told = f"the sandbox (pid {sandbox.pid}) lives and does not answer: {error}"
            raise ToolError(told, hint=f"try again, or end it: kill {sandbox.pid}") from error
        return None
    return sandbox if health == {"id": sandbox.id, "pid": sandbox.pid} else None


def stop(state: Path) -> bool:
    """Stop the sandbox of this state directory; False if none runs. Signals go only to a pid that proved its id."""
    if not state.is_dir():
        return False
    try:
        with _locked(state):
            sandbox = running(state)
            if sandbox:
                _end(sandbox)
            (state / "sandbox.json").unlink(missing_ok=True)
            return sandbox is not None
    except OSError as error:
        raise ToolError(f"{error.filename or state}: {error.strerror}") from error


def seed(sandbox: Sandbox, seed: Seed) -> None:
    """Make what the seed names exist; what exists already stays. A later reset comes back to this seed."""
    _tell(sandbox, "seed", seed.to_json())


def reset(sandbox: Sandbox) -> None:
    """Forget everything but the last seed."""
    _tell(sandbox, "reset")


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    """One command at a time; the system lets go of the lock when its holder dies."""
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _wait_until(lambda: _try_lock(descriptor), START_SECONDS + 10):
            raise ToolError(f"another command holds {state / 'lock'}")
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _launch(state: Path, *, realistic: bool) -> Sandbox:
    (state / "sandbox.json").unlink(missing_ok=True)
    log = state / "server.log"
    log.unlink(missing_ok=True)
    log.touch(mode=0o600)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "nodepkg.sandbox.server", "--state", str(state.resolve())),
                *(["--realistic"] if realistic else []),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_server_environment(os.environ),
            start_new_session=True,
        )
    try:
        sandbox = _first_answer(state, process)
    except BaseException:
        process.kill()
        process.wait()
        raise
    # A parent that lives long must collect its child, or a stopped sandbox stays as a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    return sandbox


def _first_answer(state: Path, process: "subprocess.Popen[bytes]") -> Sandbox:
    found: Sandbox | None = None

    def answers_or_ended() -> bool:
        nonlocal found
        found = running(state)
        return found is not None or process.poll() is not None

    _wait_until(answers_or_ended, START_SECONDS)
    if found and found.pid == process.pid:
        return found
    tail = "\n".join((state / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
    what = "did not answer in time" if process.returncode is None else f"ended with {process.returncode}"
    raise ToolError(f"the sandbox {what}\n{tail}".rstrip(), hint=f"see {state / 'server.log'}")


def _server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Without what changes how Python or moto work; the child, whose directory is /, finds nodepkg where we do."""
    kept = {
        name: value for name, value in without_credentials(environ).items() if not name.startswith(("MOTO_", "PYTHON"))
    }
    paths = [str(Path(path).resolve()) for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    package_root = Path(nodepkg.__file__).resolve().parent.parent
    if package_root.name not in ("site-packages", "dist-packages"):
        paths.append(str(package_root))
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def _end(sandbox: Sandbox) -> None:
    for end in (_request_stop, _send(signal.SIGTERM), _send(signal.SIGKILL)):
        if end(sandbox) and _wait_until(lambda: not _is_alive(sandbox.pid), _STOP_SECONDS):
            return
    raise ToolError(f"the sandbox (pid {sandbox.pid}) does not end")


def _request_stop(sandbox: Sandbox) -> bool:
    try:
        _ask(sandbox, "POST", "stop", timeout=_HEALTH_SECONDS)
    except (OSError, http.client.HTTPException, ValueError, ToolError):
        return False
    return True


def _send(number: signal.Signals) -> Callable[[Sandbox], bool]:
    def send(sandbox: Sandbox) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(sandbox.pid, number)
        return True

    return send


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return False
    except OSError:
        return True
    # A zombie has ended; that its parent has not collected it yet is not ours to wait for.
    return status.rpartition(")")[2].split()[0] != "Z"


def _serves(pid: int, state: Path) -> bool:
    """Whether this process is the server of this state directory (never, where the system does not tell)."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"nodepkg.sandbox.server" in arguments and os.fsencode(state.resolve()) in arguments


def _tell(sandbox: Sandbox, what: str, document: dict[str, Any] | None = None) -> None:
    try:
        _ask(sandbox, "POST", what, document, timeout=_REQUEST_SECONDS)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ToolError(f"the sandbox at {sandbox.endpoint} does not answer: {error}") from error


def _ask(
    sandbox: Sandbox, method: str, what: str, document: dict[str, Any] | None = None, *, timeout: float
) -> dict[str, Any]:
    """http.client knows no proxies, which is why it is used here."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=timeout)
    try:
        connection.request(method, f"/_nodepkg/{what}", json.dumps(document or {}))
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise ToolError(f"the sandbox refuses {what}: {answer.get('error', response.status)}")
    return answer


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True
