"""`true` on many hosts over SSH: instance:deploy, plain parallel ssh, Ansible and pyinfra, in turn."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from workplace import ROOT, Workplace, pip, venv

SIZES = {100: 3, 500: 1}  # hosts -> rounds
AT_ONCE = 50
OURS = "instance:deploy, bundle there"
FIRST = "instance:deploy, bundle sent"
SETTINGS = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR", "BatchMode": "yes"}


@dataclass(frozen=True)
class Used:
    """What one call took: seconds on the clock, and of CPU, its own and its children's."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Call:
    """A command that reaches all hosts; `given` is its standard input."""

    arguments: Sequence[str]
    environ: Mapping[str, str]
    folder: Path
    given: str = ""

    def run(self) -> Used:
        log = self.folder / "output"
        with log.open("wb") as output:
            begin = time.perf_counter()
            process = subprocess.Popen(
                self.arguments,
                cwd=self.folder,
                env=dict(self.environ),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
            assert process.stdin
            process.stdin.write(self.given.encode())
            process.stdin.close()
            _, status, used = os.wait4(process.pid, 0)  # of the process and all descendants that were waited for
            wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{self.arguments[0]}: exit {process.returncode}: {log.read_text()[-2000:]}")
        return Used(wall, used.ru_utime + used.ru_stime)


@contextmanager
def standing(place: Workplace, hosts: int) -> Iterator[dict[str, Any]]:
    command = [place.script("python"), str(ROOT / "bench" / "many_hosts.py"), str(place.folder), str(hosts)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield json.loads(process.stdout.readline())
        process.communicate("")


def tables(place: Workplace) -> Iterator[str]:
    pip(place.folder / "venv", f"{ROOT}[sandbox]")
    venv(place.folder / "ssh peers", "ansible-core", "pyinfra", constrained=False)
    listed = subprocess.run([peer(place, "pip"), "freeze"], capture_output=True, text=True, check=True).stdout.split()
    versions = [one.replace("==", " ") for one in listed if one.startswith(("ansible-core=", "pyinfra=", "paramiko="))]
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.partition(",")[0]
    yield f"\n({', '.join([*versions, ssh])})\n"
    yield "| hosts | | wall | client CPU | wall: of parallel ssh | CPU: of the best peer |"
    yield "|---|---|---|---|---|---|"
    for hosts, rounds in SIZES.items():
        with standing(place, hosts) as about:
            yield from rows(hosts, measured(place, about, rounds))


def rows(hosts: int, found: Mapping[str, list[Used]]) -> Iterator[str]:
    wall = {name: median(one.wall for one in runs) for name, runs in found.items()}
    cpu = {name: median(one.cpu for one in runs) for name, runs in found.items()}
    best = min(cpu[name] for name in cpu if name not in (OURS, FIRST))
    for name in found:
        yield (
            f"| {hosts} | {name} | {wall[name]:.1f} s | {cpu[name]:.1f} s "
            f"| {wall[name] / wall['xargs -P 50 ssh']:.2f} | {cpu[name] / best:.2f} |"
        )


def measured(place: Workplace, about: dict[str, Any], rounds: int) -> dict[str, list[Used]]:
    """The first deploy sends the bundle; then all take turns."""
    calls = {OURS: ours(place, about), "xargs -P 50 ssh": xargs(place, about)}
    calls |= {"ansible -m raw -f 50": ansible(place, about), "pyinfra": pyinfra(place, about)}
    found: dict[str, list[Used]] = {FIRST: [calls[OURS].run()]} | {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(call.run())
            print(f"{len(about['addresses'])} hosts, {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    return found


def peer(place: Workplace, name: str) -> str:
    return str(place.folder / "ssh peers" / "bin" / name)


def folder_of(place: Workplace, name: str) -> Path:
    folder = place.folder / f"{name} {time.time_ns()}"
    folder.mkdir()
    return folder


def environ_of(folder: Path, about: dict[str, Any]) -> dict[str, str]:
    """With a home of its own, in which the key lies where all look for it, and no configuration."""
    (folder / "home" / ".ssh").mkdir(mode=0o700, parents=True)
    shutil.copy(about["key"], folder / "home" / ".ssh" / "id_ed25519")
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"}


def ssh_options(about: dict[str, Any]) -> list[str]:
    return ["-F", "none", "-i", about["key"], *(f"-o{name}={value}" for name, value in SETTINGS.items())]


def ours(place: Workplace, about: dict[str, Any]) -> Call:
    """On an AWS that shows at once what is so, as with --sandbox; the bundle is that of the example."""
    folder = folder_of(place, "ours")
    for part in ("cookbooks", "data_bags"):
        shutil.copytree(ROOT / part, folder / part)
    deploy = {"address": "{tag:address}", "port": about["port"], "user": "root", "command": "true"}
    group = {"run_list": ["recipe[base]"], "source_ami": "ami-1ebb2077", "region": "us-east-1", "deploy": deploy}
    (folder / "nodes.json").write_text(json.dumps({"bee": group}))
    environ = environ_of(folder, about) | {
        **{"AWS_ENDPOINT_URL": about["endpoint"], "AWS_EC2_METADATA_DISABLED": "true"},
        **{"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"},
        **{"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"},
        "NODEPKG_CONSISTENCY_SECONDS": "0",
    }
    return Call([place.script("package"), "instance:deploy", "-n", str(AT_ONCE), "--yes"], environ, folder)


def xargs(place: Workplace, about: dict[str, Any]) -> Call:
    folder = folder_of(place, "xargs")
    ssh = ["ssh", *ssh_options(about), "-p", str(about["port"]), "root@{}", "true"]
    given = "\n".join(about["addresses"])
    return Call(["xargs", "-P", str(AT_ONCE), "-I{}", *ssh], environ_of(folder, about), folder, given)


def ansible(place: Workplace, about: dict[str, Any]) -> Call:
    """Without ControlPersist: its masters stay behind, so that their CPU would not be counted, nor a second login."""
    folder = folder_of(place, "ansible")
    (folder / "hosts").write_text("\n".join(["[all]", *about["addresses"]]) + "\n")
    environ = environ_of(folder, about) | {
        "ANSIBLE_SSH_ARGS": shlex.join([*ssh_options(about), "-oControlMaster=no", "-oControlPersist=no"]),
        "ANSIBLE_REMOTE_PORT": str(about["port"]),
        "ANSIBLE_HOST_KEY_CHECKING": "False",
    }
    arguments = [
        peer(place, "ansible"),
        "all",
        "-i",
        "hosts",
        "-u",
        "root",
        "-m",
        "raw",
        "-f",
        str(AT_ONCE),
        "-a",
        "true",
    ]
    return Call(arguments, environ, folder)


def pyinfra(place: Workplace, about: dict[str, Any]) -> Call:
    folder = folder_of(place, "pyinfra")
    data = {
        **{"ssh_user": "root", "ssh_key": about["key"], "ssh_port": about["port"]},
        **{"ssh_strict_host_key_checking": "no", "ssh_known_hosts_file": str(folder / "known_hosts")},
    }
    inventory = f"hosts = ({about['addresses']!r}, {data!r})\n"
    (folder / "inventory.py").write_text(inventory)
    arguments = [peer(place, "pyinfra"), "-y", "--parallel", str(AT_ONCE), "inventory.py", "exec", "--", "true"]
    return Call(arguments, environ_of(folder, about), folder)
