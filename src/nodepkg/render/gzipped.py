"""A gzip stream whose bytes depend on nothing but its content, compressed by several threads."""

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

LEVEL = 6  # as gzip's own
# Each block is compressed by itself, so their size decides the bytes; it may not depend on the machine.
BLOCK = 1 << 19
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, no system


class Writer:
    """What is written here goes to `file`, compressed."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file, self._pool = file, pool
        self._waiting: deque[Future[bytes]] = deque()
        self._pieces: list[bytes] = []
        self._gathered = self._size = self._sum = 0
        file.write(_HEADER)

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        self._gathered += len(data)
        if self._gathered >= BLOCK:
            self._cut()
        return len(data)

    def tell(self) -> int:
        """Where the content is, for tarfile."""
        return self._size + self._gathered

    def finish(self) -> None:
        self._cut(everything=True)
        while self._waiting:
            self._file.write(self._waiting.popleft().result())
        self._file.write(_END + struct.pack("<LL", self._sum, self._size & 0xFFFFFFFF))

    def _cut(self, *, everything: bool = False) -> None:
        content = b"".join(self._pieces)
        whole = len(content) if everything else len(content) - len(content) % BLOCK
        for begin in range(0, whole, BLOCK):
            if len(self._waiting) > 2 * _THREADS:
                self._file.write(self._waiting.popleft().result())
            self._waiting.append(self._pool.submit(_deflated, content[begin : min(begin + BLOCK, whole)]))
        self._sum = zlib.crc32(memoryview(content)[:whole], self._sum)
        self._size += whole
        self._pieces, self._gathered = [content[whole:]], len(content) - whole


_THREADS = min(4, os.cpu_count() or 1)
_END = b"\x03\x00"  # the last block of the stream, an empty one


def _deflated(block: bytes) -> bytes:
    """The block as a part of a raw deflate stream that ends at a byte, and that no other part refers to."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)


@contextmanager
def gzipped(file: BinaryIO) -> Iterator[Writer]:
    """What is written to it is whole in `file` at the end, unless an error went through."""
    with ThreadPoolExecutor(_THREADS) as pool:
        writer = Writer(file, pool)
        yield writer
        writer.finish()
