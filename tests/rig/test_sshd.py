"""The node is what it says: any key, root inside, nothing outside its folder, nothing left afterwards."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import sshd
from tests.rig.hosts import require
from tests.rig.sshd import Node, NodeError, node

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Node]:
    with node(tmp_path) as running:
        yield running


def run(*line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def output(*line: str, **environment: str) -> str:
    done = run(*line, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def say(host: Node, command: str) -> str:
    done = host.ssh(command)
    assert done.returncode == 0, done.stderr + host.log.read_text()
    return done.stdout


def new_key(folder: Path) -> Path:
    """A key as EC2 makes them: RSA, PEM."""
    output("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", str(folder / "ec2.pem"))
    return folder / "ec2.pem"


def traces(folder: Path) -> list[str]:
    """The processes, by any trace of the folder in their arguments or mounts; this one's own mounts included."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "mountinfo"):
            try:
                text = (process / name).read_text(errors="replace")
            except OSError:  # ended meanwhile, or another user's
                continue
            if f"{folder}/" in text:
                found.append(f"{process}/{name}")
    return found


def is_open(host: Node) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((host.address, host.port)) == 0


def test_any_key_runs_commands_as_root(host: Node, tmp_path: Path) -> None:
    line = ("ssh", "-i", str(new_key(tmp_path)), *host.options, f"{host.user}@{host.address}")
    first, second = output(*line, "id -u; sh -c 'command -v chef-solo'").splitlines()
    assert (first, second) == ("0", "/usr/local/bin/chef-solo")
    assert run(*line, "exit 7").returncode == 7
    assert "Accepted key RSA" in host.log.read_text()


def test_any_key_is_still_a_key(host: Node) -> None:
    refused = run("ssh", *host.options, "-o", "PubkeyAuthentication=no", f"{host.user}@{host.address}", "id")
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


def test_what_the_node_writes_stays_in_its_folder(host: Node) -> None:
    folders = ("", "/opt", "/var/lib", "/var/tmp", "/tmp", "/root", "/home", "/srv", "/run", "/etc", "/usr/local/bin")
    names = [f"{folder}/{host.root.parent.name}" for folder in folders]
    say(host, f"for name in {' '.join(names)}; do echo here > $name || exit 1; done")
    assert [host.path(name).read_text() for name in names] == ["here\n"] * len(names)
    # Path.exists raises where an ordinary user may not look
    assert [name for name in names if os.path.lexists(name)] == []


def test_the_machine_is_read_only_in_the_node(host: Node) -> None:
    for place in ("/usr/share", "/usr/bin", "/proc/sys/kernel"):
        assert host.ssh(f"echo x > {place}/{host.root.parent.name}").returncode != 0
    assert "/usr/bin/env" in say(host, "ls /usr/bin/env")


def test_no_secret_of_the_machine_is_copied_into_the_node(host: Node) -> None:
    own = {"/etc/shadow", "/etc/ssh/host_key"}
    closed = {path for path in host.path("/etc").rglob("*") if path.is_file() and not path.stat().st_mode & 0o004}
    assert {f"/{path.relative_to(host.root)}" for path in closed} == own
    assert "root:*:" in host.path("/etc/shadow").read_text()


def test_a_path_behind_a_link_out_of_the_node_is_refused(host: Node) -> None:
    say(host, "ln -s /usr/share /opt/link")
    assert host.path("/opt/link").is_symlink()
    with pytest.raises(ValueError, match="leads out"):
        host.path("/opt/link/x")


@pytest.mark.parametrize("protocol", ["-O", "-s"])
def test_scp_copies_folders_and_files(host: Node, tmp_path: Path, protocol: str) -> None:
    (tmp_path / "cookbooks/base/recipes").mkdir(parents=True)
    (tmp_path / "cookbooks/base/recipes/default.rb").write_text("log 'x'\n")
    target = f"{host.user}@{host.address}"
    output("scp", protocol, "-r", *host.options, str(tmp_path / "cookbooks"), f"{target}:/opt")
    output("scp", protocol, *host.options, str(tmp_path / "cookbooks/base/recipes/default.rb"), f"{target}:/opt/one.rb")
    output("scp", protocol, "-r", *host.options, f"{target}:/opt/cookbooks", str(tmp_path / "back"))
    copies = (host.path("/opt/cookbooks/base/recipes"), host.path("/opt"), tmp_path / "back/base/recipes")
    assert [
        (copy / name).read_text() for copy, name in zip(copies, ("default.rb", "one.rb", "default.rb"), strict=True)
    ]


def test_sftp_copies(host: Node, tmp_path: Path) -> None:
    (tmp_path / "batch").write_text(f"put {tmp_path}/batch /srv/batch\n")
    output("sftp", *host.options, "-b", str(tmp_path / "batch"), f"{host.user}@{host.address}")
    assert host.path("/srv/batch").read_text().startswith("put ")


def test_recordings_hold_arguments_and_files(host: Node) -> None:
    say(host, "mkdir -p /opt/chef/roles && cd /opt/chef && echo solo > solo.rb && echo role > 'roles/a b.json'")
    say(host, "echo '{}' > /tmp/dna.json && cd /opt && chef-solo -c chef/solo.rb -j /tmp/dna.json -o 'a b' ''")
    say(host, "cd /opt && sh -c 'chef-solo --config=chef/solo.rb'")
    first, second = host.recordings()
    assert first.argv == ("chef-solo", "-c", "chef/solo.rb", "-j", "/tmp/dna.json", "-o", "a b", "")
    assert (first.cwd, first.uid, first.code) == ("/opt", 0, 0)
    folder = {"/opt/chef/solo.rb": b"solo\n", "/opt/chef/roles/a b.json": b"role\n"}
    assert first.files == {**folder, "/tmp/dna.json": b"{}\n"}
    assert second.files == folder


def test_the_recorder_fails_as_told(tmp_path: Path) -> None:
    with node(tmp_path, chef_exit=3) as host:
        assert host.ssh("chef-solo").returncode == 3
        (host.recorded / "exit").write_text("0\n")
        assert host.ssh("chef-solo").returncode == 0
        assert [recording.code for recording in host.recordings()] == [3, 0]


def test_the_recorder_fails_without_its_files(host: Node) -> None:
    failed = host.ssh("chef-solo -c /opt/none.rb")
    assert (failed.returncode, failed.stderr) == (1, "chef-solo: /opt/none.rb: no such file\n")
    assert host.recordings()[0].argv == ("chef-solo", "-c", "/opt/none.rb")


def test_another_chef_solo_and_its_folder_take_the_recorders_place(tmp_path: Path) -> None:
    chef = tmp_path / "chef"
    chef.mkdir()
    (chef / "version").write_text("18\n")
    (chef / "chef-solo").write_text(f"#!/bin/sh\ncat {chef}/version\n")
    (chef / "chef-solo").chmod(0o755)
    with node(tmp_path, chef_solo=chef / "chef-solo", shows=[chef]) as host:
        assert say(host, "chef-solo") == "18\n"
        assert host.ssh(f"touch {chef}/x /usr/local/bin/chef-solo").returncode != 0
        assert host.recordings() == []


def test_nodes_on_several_addresses_share_a_port(tmp_path: Path) -> None:
    with node(tmp_path, address="127.0.3.1") as one, node(tmp_path, address="127.0.3.2", port=one.port) as two:
        say(one, "echo one > /opt/name")
        say(two, "echo two > /opt/name")
        assert (say(one, "cat /opt/name"), say(two, "cat /opt/name")) == ("one\n", "two\n")


def test_a_taken_port_is_an_error(host: Node, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="Address already in use"), node(tmp_path, port=host.port):
        pass


def test_everything_is_gone_afterwards_also_after_a_failure(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    with pytest.raises(RuntimeError, match="of the test"), node(tmp_path) as host:
        say(host, f"nohup tail -f /dev/null {host.root}/ >/dev/null 2>&1 & sleep 0.1")
        assert len(traces(tmp_path)) > 2
        raise RuntimeError("of the test")
    assert traces(tmp_path) == []
    assert not is_open(host)
    assert Path("/proc/self/mountinfo").read_text() == mounts


def require_end_with_its_starter(block: str, folder: Path) -> None:
    """What such a `with` block has started is gone once the process that is in it is killed; `folder` is its own."""
    code = f"import sys, time, pathlib\nfrom tests.rig import hosts, sshd\nfolder = pathlib.Path(sys.argv[1])\n{block}"
    line = [sys.executable, "-c", f"{code} as up: print(up.port, flush=True); time.sleep(300)", f"{folder}/"]
    with subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        assert starter.stdout.readline().strip().isdigit(), "it did not start"
        starter.send_signal(signal.SIGKILL)
    require(lambda: traces(folder) == [], "all processes have ended")


def test_a_node_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    require_end_with_its_starter("with sshd.node(folder)", tmp_path)


def test_a_missing_program_is_an_error_that_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sshd.PACKAGES, "no-such-sshd", "openssh-server")
    with pytest.raises(NodeError, match=r"no-such-sshd \(Debian: apt-get install openssh-server\)"), node(tmp_path):
        pass


def test_a_system_without_namespaces_is_an_error_that_says_so(tmp_path: Path) -> None:
    code = (
        "import ctypes, sys, pathlib, tests.rig.sshd as s\n"
        "assert ctypes.CDLL(None).unshare(0x10000000) == 0  # CLONE_NEWUSER: a place where the limit can be set\n"
        "pathlib.Path('/proc/sys/user/max_user_namespaces').write_text('0')\n"
        "with s.node(pathlib.Path(sys.argv[1])): pass"
    )
    refused = run(sys.executable, "-c", code, str(tmp_path), PYTHONPATH=str(REPOSITORY))
    assert "NodeError: the system allows no mounts in a user namespace: unshare: unshare failed" in refused.stderr


@pytest.mark.parametrize("execute_command", ["", "chmod +x {{.Path}}; {{.Vars}} sh {{.Path}} && rm {{.Path}}"])
def test_packer_provisions_it(host: Node, tmp_path: Path, execute_command: str) -> None:
    packer = shutil.which("packer")
    assert packer, "packer is missing (Debian: apt-get install packer)"
    (tmp_path / "cookbooks/base").mkdir(parents=True)
    (tmp_path / "cookbooks/base/metadata.rb").write_text("name 'base'\n")
    (tmp_path / "role.json").write_text("{}\n")
    inline = ["cd /opt/chef", "echo solo > solo.rb", "echo dna > dna.json", "chef-solo -c solo.rb -j dna.json"]
    builder = {"type": "null", "ssh_host": host.address, "ssh_port": host.port, "ssh_username": host.user}
    template = {
        "builders": [builder | {"ssh_private_key_file": str(new_key(tmp_path))}],
        "provisioners": [
            {"type": "shell", "inline": ["mkdir -p /opt/chef/cookbooks /opt/chef/roles"]},
            {"type": "file", "source": f"{tmp_path}/cookbooks/", "destination": "/opt/chef/cookbooks"},
            {"type": "file", "source": f"{tmp_path}/role.json", "destination": "/opt/chef/roles/bee.json"},
            {"type": "shell", "inline": inline} | ({"execute_command": execute_command} if execute_command else {}),
        ],
    }
    (tmp_path / "template.json").write_text(json.dumps(template))
    output(packer, "build", str(tmp_path / "template.json"), HOME=str(tmp_path), CHECKPOINT_DISABLE="1")
    (recording,) = host.recordings()
    names = ("cookbooks/base/metadata.rb", "dna.json", "roles/bee.json", "solo.rb")
    assert sorted(recording.files) == [f"/opt/chef/{name}" for name in names]
    assert (recording.cwd, recording.uid) == ("/opt/chef", 0)


def as_nobody(folder: Path) -> list[str]:
    """A prefix that runs a command as an ordinary user.

    Where the interpreter or the project lie in a closed folder (/root), that user gets the right to read, and no other.
    """
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # setpriv keeps its rights until exec has found the file, so a shell in between does the finding.
    probe = ("sh", "-c", 'cd "$2" && cat "$1" >/dev/null && "$0" -c "import pytest"')
    if run(*prefix, *probe, sys.executable, __file__, str(folder)).returncode != 0:
        prefix += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return prefix


def test_an_ordinary_user_gets_the_same() -> None:
    if os.geteuid() != 0:
        return  # then all tests above are about an ordinary user
    folder = Path(tempfile.mkdtemp(prefix="nobody-"))
    try:
        os.chown(folder, NOBODY, NOBODY)
        ordinary = as_nobody(folder)
        assert output(*ordinary, "id", "-u") == f"{NOBODY}\n"
        pytest_again = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(REPOSITORY))
        this = ("-k", "not ordinary_user", f"--basetemp={folder}/tests", __file__)
        output(*ordinary, *pytest_again, *this, HOME=str(folder), PYTHONDONTWRITEBYTECODE="1")
    finally:
        shutil.rmtree(folder)
