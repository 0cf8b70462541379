"""Runs a command for which setgroups(2) succeeds and does nothing.

A user namespace of an ordinary user refuses setgroups, and sshd as uid 0 gives up when it is refused.
"""

import ctypes
import os
import platform
import struct
import sys

AUDIT_ARCH_AND_SETGROUPS = {
    "x86_64": (0xC000003E, 116),
    "aarch64": (0xC00000B7, 159),
    "riscv64": (0xC00000F3, 159),
}  # linux/audit.h and the system call tables of the kernel
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
SUCCEED, ALLOW = 0x00050000, 0x7FFF0000  # SECCOMP_RET_ERRNO with errno 0, SECCOMP_RET_ALLOW


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter() -> bytes:
    architecture, setgroups = AUDIT_ARCH_AND_SETGROUPS[platform.machine()]
    instructions = [  # code, jump when equal, jump otherwise, operand; offsets 4 and 0 of struct seccomp_data
        (LOAD, 0, 0, 4),
        (JUMP_IF_EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, setgroups),
        (RETURN, 0, 0, SUCCEED),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def _prctl(option: int, *arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, *arguments) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def refuse_nothing() -> None:
    """From now on setgroups succeeds, in this process and in what it starts."""
    code = _filter()
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(code) // 8, code)))


def main() -> None:
    refuse_nothing()
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
