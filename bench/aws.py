"""How long it takes from the start of the process until the first request arrives at AWS: here, a local server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from measure import Command, Figure, run
from workplace import Workplace

DENIED = b"<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>"


@dataclass
class Door:
    """Says no to everything, and remembers what came and when."""

    address: str = ""
    came: list[tuple[float, str]] = field(default_factory=list)


@contextmanager
def door() -> Iterator[Door]:
    made = Door()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            now = time.perf_counter()
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.came.append((now, body.partition("&")[0]))
            self.send_response(403)
            self.send_header("Content-Length", str(len(DENIED)))
            self.end_headers()
            self.wfile.write(DENIED)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()


def figures(place: Workplace, times: int) -> Iterator[Figure]:
    with door() as aws:
        environ = {
            "AWS_ENDPOINT_URL": aws.address,
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        for script, arguments in (
            ("bare-groups", ["autoscale:run", "12_04-bee"]),
            ("bare-images", ["packer:clean", "12_04-bee"]),
            ("bare-images", ["group:status", "12_04-bee"]),
        ):
            ours = Command([place.script("package"), *arguments], place.example, environ, exit_code=5)
            peer = Command([place.script(script)], place.example, environ, exit_code=1)
            done = [(first(ours, aws), first(peer, aws)) for _ in range(times + 1)][1:]
            # packer:clean reads six lists at the same time: any of them may come first.
            assert all(call.startswith("Action=Describe") for pair in done for _, call in pair), "no list comes first"
            seconds = [[one[0] for one in side] for side in zip(*done, strict=True)]
            yield Figure(f"first call of `{' '.join(arguments)}` : boto3", *seconds, limit=1.3)


def first(command: Command, aws: Door) -> tuple[float, str]:
    """Seconds until the first request of the command arrived, and which action it asked for."""
    aws.came.clear()
    begin = time.perf_counter()
    run(command)
    at, action = aws.came[0]
    return at - begin, action
