"""The sandbox's life: one per state directory, found by what it answers, ended for good."""

import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.durable import private_folder
from nodepkg.errors import RefusedError, ToolError
from nodepkg.sandbox import process
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "project" / ".nodepkg" / "sandbox"
    yield directory
    process.stop(directory)


def is_alive(pid: int) -> bool:
    return process._is_alive(pid)


def run_python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


START = """import sys; from pathlib import Path; from nodepkg.sandbox import process
print(process.start(Path(sys.argv[1])).pid, flush=True)
"""


def test_start_is_idempotent_and_stop_ends_it(home: Path) -> None:
    assert process.running(home) is None
    sandbox = process.start(home)
    assert sandbox.endpoint == f"http://127.0.0.1:{sandbox.port}"
    assert abs(time.time() - sandbox.started) < 60
    assert process.start(home) == sandbox
    assert process.running(home) == sandbox
    assert process.stop(home) is True
    assert not is_alive(sandbox.pid)
    assert not (home / "sandbox.json").exists()
    assert process.running(home) is None
    assert process.stop(home) is False


def test_stop_makes_no_directory(tmp_path: Path) -> None:
    assert process.stop(tmp_path / "nothing") is False
    assert not (tmp_path / "nothing").exists()


def test_the_directory_is_private_and_out_of_git(home: Path) -> None:
    process.start(home)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, home / "sandbox.json", home / "server.log")
    }
    assert modes == {"sandbox": 0o700, "sandbox.json": 0o600, "server.log": 0o600}
    assert (home / ".gitignore").read_text() == "*\n"


def test_two_commands_at_once_start_one(home: Path) -> None:
    commands = [run_python(START, str(home)) for _ in range(3)]
    pids = {command.communicate(timeout=60)[0].strip() for command in commands}
    sandbox = process.running(home)
    assert sandbox and pids == {str(sandbox.pid)}


def test_two_threads_at_once_start_one(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(process.start, [home] * 4))) == 1


def test_it_survives_the_parent_and_ctrl_c(home: Path) -> None:
    code = START + "import time; time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True, process_group=0
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        parent.wait(timeout=10)
    sandbox = process.running(home)
    assert sandbox and sandbox.pid == pid


def test_sigterm_ends_it_and_removes_the_state_file(home: Path) -> None:
    sandbox = process.start(home)
    os.kill(sandbox.pid, signal.SIGTERM)
    assert process._wait_until(lambda: not is_alive(sandbox.pid), 5)
    assert not (home / "sandbox.json").exists()


def test_the_state_file_of_a_killed_one_counts_for_nothing(home: Path) -> None:
    first = process.start(home)
    os.kill(first.pid, signal.SIGKILL)
    assert process._wait_until(lambda: not is_alive(first.pid), 5)
    assert (home / "sandbox.json").exists()
    assert process.running(home) is None
    second = process.start(home)
    assert second.id != first.id
    assert process.running(home) == second


def test_a_reused_pid_is_not_running_and_is_left_alone(home: Path) -> None:
    home.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        write_state(home, pid=stranger.pid, port=free_port())
        assert process.running(home) is None
        assert process.stop(home) is False
        assert is_alive(stranger.pid)
        stranger.kill()


def test_another_sandbox_on_the_port_is_not_this_one(home: Path, tmp_path: Path) -> None:
    other = process.start(home)
    mine = tmp_path / "mine"
    mine.mkdir()
    write_state(mine, pid=other.pid, port=other.port)
    assert process.running(mine) is None
    assert process.stop(mine) is False
    assert process.running(home) == other


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"pid": "x"}', "nonsense", '{"pid":1,"port":"a","id":"b","started":1}']
)
def test_a_state_file_of_nonsense_is_not_running(home: Path, text: str) -> None:
    home.mkdir(parents=True)
    (home / "sandbox.json").write_text(text)
    assert process.running(home) is None


def test_one_that_hangs_is_killed(home: Path) -> None:
    sandbox = process.start(home)
    os.kill(sandbox.pid, signal.SIGSTOP)
    process._end(sandbox)
    assert not is_alive(sandbox.pid)


def test_a_failed_start_tells_the_log_and_leaves_nothing(home: Path) -> None:
    code = START.replace("print(", "sys.executable = sys.argv[2]; print(")
    broken = home.parent.parent / "python"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    broken.chmod(0o700)
    report = subprocess.run(
        [sys.executable, "-c", code, str(home), str(broken)], check=False, capture_output=True, text=True
    )
    assert "ToolError: the sandbox ended with 3\nno such luck" in report.stderr
    assert not (home / "sandbox.json").exists()


def test_without_moto_nothing_is_started(home: Path) -> None:
    code = "import sys; sys.modules['moto'] = None; " + START
    report = subprocess.run([sys.executable, "-c", code, str(home)], check=False, capture_output=True, text=True)
    assert "ToolError: the sandbox needs moto" in report.stderr
    assert not home.exists()


def test_a_sandbox_that_is_gone_is_a_tool_error(home: Path) -> None:
    sandbox = process.start(home)
    process.stop(home)
    with pytest.raises(ToolError, match="does not answer"):
        process.reset(sandbox)


def test_the_lock_is_free_once_its_holder_is_dead(home: Path) -> None:
    private_folder(home)
    hold = (
        "import sys, time; from pathlib import Path; from nodepkg.sandbox import process\n"
        "with process._locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with run_python(hold, str(home)) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        descriptor = os.open(home / "lock", os.O_RDWR)
        assert process._try_lock(descriptor) is False
        holder.kill()
        holder.wait()
        assert process._try_lock(descriptor) is True
        os.close(descriptor)


@pytest.mark.parametrize("module", ["process", "environment", "packer", "seed"])
def test_starting_up_imports_no_moto(module: str) -> None:
    code = f"import sys, nodepkg.sandbox.{module}; assert not {{'moto', 'werkzeug', 'boto3'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def write_state(home: Path, *, pid: int, port: int) -> None:
    (home / "sandbox.json").write_text(json.dumps({"pid": pid, "port": port, "id": "0" * 32, "started": 1.0}))


def free_port() -> int:
    import socket

    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "attacker.example"}, 403),
        ({"Host": "127.0.0.1.attacker.example"}, 403),
        ({"Origin": "https://attacker.example"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/_nodepkg/health", "/moto-api/data.json"])
def test_controls_are_for_this_machine(
    sandbox: process.Sandbox, headers: dict[str, str], status: int, path: str
) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", sandbox.port)) as connection:
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().status == status


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "stop", "", 405),
        ("POST", "nothing", "", 404),
        ("POST", "seed", "nonsense", 400),
        ("POST", "seed", "[]", 400),
        ("POST", "seed", '{"us-east-1": {"unknown": []}}', 400),
        ("POST", "seed", '{"atlantis-1": {}}', 400),
    ],
)
def test_wrong_controls_are_answered(sandbox: process.Sandbox, method: str, path: str, body: str, status: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", sandbox.port)) as connection:
        connection.request(method, f"/_nodepkg/{path}", body)
        response = connection.getresponse()
        assert response.status == status
        assert json.loads(response.read())["error"]
    assert process._ask(sandbox, "GET", "health", timeout=5) == {"id": sandbox.id, "pid": sandbox.pid}


def test_a_realistic_sandbox_says_so_and_another_kind_is_not_taken_for_it(tmp_path: Path) -> None:
    plain = process.start(tmp_path)
    try:
        with pytest.raises(RefusedError, match="is not realistic"):
            process.start(tmp_path, realistic=True)
        assert (plain.realistic, process.running(tmp_path)) == (False, plain)
    finally:
        process.stop(tmp_path)
    realistic, image = process.start(tmp_path, realistic=True), SeedImage("ami-1ebb2077", "precise")
    try:
        assert realistic.realistic
        assert process.start(tmp_path) == process.start(tmp_path, realistic=True) == realistic
        process.seed(realistic, Seed({"us-east-1": SeedRegion(images=(image,), instance_types=("m1.large",))}))
        account = Account(endpoint=realistic.endpoint)
        scaling = account.client("autoscaling", "us-east-1")
        data = {"ImageId": image.id, "InstanceType": "m1.large"}
        account.client("ec2", "us-east-1").create_launch_template(LaunchTemplateName="bee", LaunchTemplateData=data)
        scaling.create_auto_scaling_group(
            AutoScalingGroupName="bee-v001",
            MinSize=1,
            MaxSize=1,
            AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": "bee", "Version": "1"},
        )
        (group,) = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        assert [node["LifecycleState"] for node in group["Instances"]] == ["Pending"]
        process.reset(realistic)
        assert scaling.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    finally:
        process.stop(tmp_path)
