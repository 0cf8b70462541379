"""A Packer that builds nothing: it says, and does, what its template tells it to, in the words of the real one."""

import json
import sys
from pathlib import Path
from typing import Any

from nodepkg.clients.packer import Packer, find

_PROGRAM = """#!{python} -IS
import json, os, pathlib, signal, sys, time
if sys.argv[1] == "version":
    sys.exit(print("Packer v1.6.6"))
sys.stdout.reconfigure(line_buffering=True)
for what, *values in json.load(open(sys.argv[-1]))["does"]:
    if what == "say":
        print(f"1700000000,,ui,say,==> amazon-ebs: {{values[0]}}")
    elif what == "raw":
        os.write(1, values[0].encode("latin-1"))
    elif what == "touch":
        open(values[0], "w").close()
    elif what == "await":
        while not os.path.exists(values[0]):
            time.sleep(0.01)
    elif what == "cleans up":
        def clean(*_):
            print("1700000000,,ui,say,==> amazon-ebs: Terminating the source AWS instance...")
            sys.exit(1)
        signal.signal(signal.SIGINT, clean)
    elif what == "ignores SIGINT":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    elif what == "leaves a child":
        child = os.fork()
        if child == 0:
            time.sleep(600)
        pathlib.Path(values[0]).write_text(str(child))
    elif what == "dies, and its child goes on":
        # Python forgets the signals that reach a child before its fork is over: the parent waits for that.
        alive, born = os.pipe()
        if os.fork():
            os.read(alive, 1)
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(born, b"x")
    elif what == "fail":
        print(f"1700000000,,error-count,1\\n1700000000,amazon-ebs,error,{{values[0]}}")
        sys.exit(1)
    elif what == "made":
        print(f"1700000000,amazon-ebs,artifact,0,id,us-east-1:{{values[0]}}")
"""


def stub(folder: Path) -> Packer:
    """The stub as a program in this folder."""
    path = folder / "stub-packer"
    path.write_text(_PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    return find({"NODEPKG_PACKER": str(path), "PATH": "/usr/bin:/bin"})


def template(path: Path, *does: tuple[Any, ...]) -> Path:
    """A template that makes the stub do this: say, raw, touch, await, cleans up, ignores SIGINT, leaves a child, dies
    and its child goes on, fail, made; each with its value.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"variables": {"nodepkg_build": "", "nodepkg_key_pair": ""}, "does": does}))
    return path
