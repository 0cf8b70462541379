"""HTTP on the nodes of a rig: each running node listens on its loopback addresses, all on one port."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nodepkg.sandbox.addresses import loopback
from nodepkg.sandbox.realistic import Realistic, World
from nodepkg.sandbox.realistic.records import Group, Node

_REQUEST_SECONDS = 5


class Answers:
    """`statuses`: what an instance, or every node of an image, answers; 200 unless it is told. None: it takes the
    request and never answers. `requests` are those that came: (instance, path)."""

    def __init__(self, realistic: Realistic) -> None:
        self.statuses: dict[str, int | None] = {}
        self.requests: list[tuple[str, str]] = []
        self.port = _free_port()
        self._realistic = realistic
        self._sockets: dict[str, list[socket.socket]] = {}
        self._held: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        with realistic.lock:
            realistic.whenever_made(self._listen_to)
            for world in realistic.worlds:
                self._listen_to(world)

    def _listen_to(self, world: World) -> None:
        world.listeners.append(self._follow)
        for group in world.groups.values():
            self._follow(world, group)

    def _follow(self, world: World, group: Group) -> None:
        """Whoever runs listens, nobody else."""
        running = {node.id for node in group.nodes.values() if node.ec2 == "running"}
        with self._lock:
            for node in running - self._sockets.keys():
                self._sockets[node] = []
                for address in _addresses(world, node):
                    # moto may give a public address twice; the first node keeps it.
                    with contextlib.suppress(OSError):
                        self._sockets[node].append(self._listen(address, node))
            others = {node.id for other in world.groups.values() for node in other.nodes.values() if other is not group}
            for node in self._sockets.keys() - running - others:
                for listener in self._sockets.pop(node):
                    self._selector.unregister(listener)
                    listener.close()

    def _listen(self, address: str, node: str) -> socket.socket:
        listener = socket.create_server((address, self.port), backlog=16)
        self._selector.register(listener, selectors.EVENT_READ, node)
        return listener

    def serve(self) -> None:
        """Until `end`."""
        while not self._ended.is_set():
            for key, _ in self._selector.select(timeout=0.02):
                with contextlib.suppress(OSError):
                    self._answer(key.fileobj, key.data)  # type: ignore[arg-type]

    def _answer(self, listener: socket.socket, instance: str) -> None:
        connection, _ = listener.accept()
        connection.settimeout(_REQUEST_SECONDS)
        request = connection.recv(65536).decode("latin-1")
        self.requests.append((instance, request.split(" ")[1] if " " in request else ""))
        status = self._status(instance)
        if status is None:
            self._held.append(connection)
            return
        connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        connection.close()

    def _status(self, instance: str) -> int | None:
        if instance in self.statuses:
            return self.statuses[instance]
        node = self._node(instance)
        return self.statuses.get(node.image, 200) if node else 200

    def _node(self, instance: str) -> Node | None:
        found = [world.node(instance) for world in self._realistic.worlds]
        return next((one[1] for one in found if one), None)

    def end(self) -> None:
        """`serve` comes back."""
        self._ended.set()

    def close(self) -> None:
        for listeners in self._sockets.values():
            for listener in listeners:
                listener.close()
        for connection in self._held:
            connection.close()


@contextmanager
def answers_of(realistic: Realistic) -> Iterator[Answers]:
    """Answers, from a thread of their own."""
    answers = Answers(realistic)
    thread = threading.Thread(target=answers.serve, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        answers.end()
        thread.join()
        answers.close()


def _addresses(world: World, instance: str) -> set[str]:
    found = world.instance(instance)
    return {loopback(address) for address in (found.private_ip, found.public_ip) if address}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
