"""The sandbox's process, `python -m nodepkg.sandbox.server --state DIR`: moto on a free loopback port."""

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nodepkg.sandbox.front import Front, Layer

if TYPE_CHECKING:
    from nodepkg.sandbox.realistic import Realistic

# moto reads these when it is imported. Its 1301 stock images make every DescribeImages slow; without the checks it
# launches images, types and keys that do not exist; with its CORS headers any web page could read the answers.
MOTO_SETTINGS = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "true",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
}


def front(
    *,
    sandbox_id: str = "",
    stop: Callable[[], None] | None = None,
    layers: Sequence[Layer] = (),
    realistic: "Realistic | None" = None,
) -> Front:
    """moto with the sandbox's settings behind a Front. What of moto is imported already keeps the settings it read."""
    os.environ.update(MOTO_SETTINGS)
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from nodepkg.sandbox import moto_repairs

    moto_repairs.install()
    moto = DomainDispatcherApplication(create_backend_app)
    return Front(moto, sandbox_id=sandbox_id, stop=stop, layers=layers, realistic=realistic)


def serve(state: Path, *, realistic: bool = False) -> None:
    """Serve until SIGTERM or a stop request; DIR/sandbox.json tells where for as long as it lasts."""
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    sandbox_id = secrets.token_hex(16)
    app = front(
        sandbox_id=sandbox_id,
        stop=lambda: _in_background(server.shutdown),
        realistic=_in_time(realistic=realistic),
    )
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    signal.signal(signal.SIGTERM, lambda *_: _in_background(server.shutdown))
    place = state / "sandbox.json"
    about = {"pid": os.getpid(), "port": server.port, "id": sandbox_id, "started": time.time()}
    _write(place, about | {"realistic": realistic})
    try:
        server.serve_forever(poll_interval=0.05)
    finally:
        server.server_close()
        _remove(place, sandbox_id)


def _in_time(*, realistic: bool) -> "Realistic":
    """What answers for Auto Scaling; without `realistic` all happens at once there."""
    os.environ.update(MOTO_SETTINGS)
    from nodepkg.sandbox.realistic import AT_ONCE, Realism, Realistic

    return Realistic(realism=Realism() if realistic else AT_ONCE)


def _in_background(shutdown: Callable[[], None]) -> None:
    """shutdown() waits for the serving loop to end, so neither the loop's thread nor a request may call it."""
    threading.Thread(target=shutdown).start()


def _write(place: Path, document: dict[str, object]) -> None:
    draft = place.with_suffix(f".{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(document), encoding="utf-8")
    draft.replace(place)


def _remove(place: Path, sandbox_id: str) -> None:
    """Only while it is ours: after a lost state file a second sandbox may have written its own."""
    if place.exists() and json.loads(place.read_text(encoding="utf-8"))["id"] == sandbox_id:
        place.unlink()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="nodepkg.sandbox.server")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--realistic", action="store_true")
    os.umask(0o077)
    given = parser.parse_args(arguments)
    serve(given.state, realistic=given.realistic)


if __name__ == "__main__":
    main(sys.argv[1:])
