"""Several images in one run, with the real Packer: order, side by side, what is due, failures."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from nodepkg.sandbox import process
from tests.e2e.program import Program
from tests.e2e.test_build import client, reach, seed
from tests.packers import each_packer
from tests.rig.sshd import node


def converges(project: Path, **commands: str) -> None:
    """What the groups (`_` for `-` in their names) run in place of Chef."""
    path = project / "nodes.json"
    nodes = json.loads(path.read_text())
    for name, command in commands.items():
        nodes[name.replace("ftp_", "ftp-").replace("g12_04_", "12_04-")]["packer"] = {"chef": {"command": command}}
    path.write_text(json.dumps(nodes))


def results(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return {report["group"]: report for report in json.loads(done.stdout)["images"]}


def words(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    return {name: report["result"] for name, report in results(done).items()}


def until(path: Path, *, running: "subprocess.Popen[str] | None" = None, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        assert running is None or running.poll() is None
        time.sleep(0.05)


@each_packer
def test_two_groups_are_built_side_by_side_on_the_base_of_the_same_run(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    """Each of the two ends only if the other one runs at the same time."""
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        meet = "touch /tmp/{0}; n=0; while [ ! -e /tmp/{1} ]; do n=$((n+1)); [ $n -lt 900 ] || exit 9; sleep 0.1; done"
        converges(on_aws.folder, ftp_listener=meet.format("one", "two"), ftp_processor=meet.format("two", "one"))
        on_aws("group:create")
        done = on_aws("packer:run", "ftp-*", "12_04-base", "--json", NODEPKG_PACKER=packer)
    made = results(done)
    assert list(made) == ["12_04-base", "ftp-listener", "ftp-processor"]
    assert {report["result"] for report in made.values()} == {"built"}
    images = client(aws).describe_images(Owners=["self"])["Images"]
    tags = {image["ImageId"]: {tag["Key"]: tag["Value"] for tag in image["Tags"]} for image in images}
    for name in ("ftp-listener", "ftp-processor"):
        assert tags[made[name]["image"]]["nodepkg:source_ami"] == made["12_04-base"]["image"]
        log = (on_aws.folder / made[name]["log"]).read_text()
        assert "Provisioning with shell script" in log
        assert made[name]["name"] in log


@each_packer
def test_a_base_that_fails_skips_what_is_built_on_it_and_the_others_go_on(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        converges(on_aws.folder, g12_04_base="exit 3")
        on_aws("group:create")
        groups = ("ftp-listener", "12_04-base", "12_04-bee")
        done = on_aws("packer:run", *groups, "--json", code=6, NODEPKG_PACKER=packer)
    assert words(done) == {"12_04-base": "failed", "ftp-listener": "skipped", "12_04-bee": "built"}
    errors = [line for line in map(json.loads, done.stderr.splitlines()) if line["level"] == "error"]
    assert len(errors) == 1
    assert "Script exited with non-zero exit status: 3" in errors[0]["message"]
    assert results(done)["12_04-base"]["log"] in errors[0]["hint"]
    assert {"level": "progress", "group": "ftp-listener", "message": "skipped, since 12_04-base failed"} in map(
        json.loads, done.stderr.splitlines()
    )


def test_what_is_up_to_date_is_not_built_again(package: Program) -> None:
    package("group:create")
    first = package("packer:run", "12_04-base", "ftp-listener", "--sandbox", "--json")
    again = package("packer:run", "12_04-base", "ftp-listener", "--sandbox", "--json")
    assert words(again) == {"12_04-base": "up to date", "ftp-listener": "up to date"}
    for name, report in results(again).items():
        assert {key: report[key] for key in ("image", "name", "digest", "commit")} == {
            key: results(first)[name][key] for key in ("image", "name", "digest", "commit")
        }
    third = package("packer:run", "12_04-base", "--sandbox", NODEPKG_PACKER="none")
    assert "12_04-base  up to date  ami-" in third.stdout

    time.sleep(1.1)  # the name of an image holds the second in which it was built
    forced = package("packer:run", "12_04-base", "--sandbox", "--json", "--force")
    assert words(forced) == {"12_04-base": "built"}
    (status,) = json.loads(package("group:status", "ftp-listener", "--sandbox", "--json").stdout)
    assert (status["due"], status["next"]) == ("its base image has changed", "package packer:run ftp-listener")
    told = package("packer:run", "ftp-listener", "--sandbox", "--dry-run").stderr
    assert "would build an image of ftp-listener from packer/ftp-listener.json: its base image has changed" in told


def test_a_dry_run_tells_why(package: Program) -> None:
    package("group:create")
    package("packer:run", "12_04-base", "12_04-bee", "--sandbox")
    path = package.folder / "nodes.json"
    nodes = json.loads(path.read_text())
    nodes["12_04-base"]["run_list"].append("recipe[python]")
    path.write_text(json.dumps(nodes))
    package("group:create")
    told = package("packer:run", "12_04-base", "12_04-bee", "ftp-listener", "--sandbox", "--dry-run", "--json")
    document = json.loads(told.stdout)
    assert {entry["group"]: entry["why"] for entry in document["plan"]} == {
        "12_04-base": "the digest has changed",
        "ftp-listener": "no image yet",
    }
    assert document["up_to_date"] == ["12_04-bee"]


def test_all_groups_that_are_stale_are_told_as_one_error(package: Program) -> None:
    done = package("packer:run", "12_04-base", "12_04-bee", "--sandbox", code=4).stderr
    assert done.count("error:") == 1
    assert done.count(": not what nodes.json says (stale or missing): ") == 2
    assert done.endswith("  hint: package group:create 12_04-base 12_04-bee\n")


def test_of_several_failures_the_highest_code_counts_and_each_is_told(package: Program) -> None:
    path = package.folder / "nodes.json"
    nodes = json.loads(path.read_text())
    nodes["12_04-www"]["packer"] = {"builder": {"no_such_key": True}}
    path.write_text(json.dumps(nodes))
    package("group:create")
    (package.folder / "roles" / "12_04-bee.json").unlink()
    groups = ("12_04-bee", "12_04-www", "12_04-base", "ftp-listener")
    done = package("packer:run", *groups, "--sandbox", "--json", code=6)
    assert words(done) == {
        "12_04-bee": "failed",
        "12_04-www": "failed",
        "12_04-base": "built",
        "ftp-listener": "built",
    }
    errors = [line for line in map(json.loads, done.stderr.splitlines()) if line["level"] == "error"]
    assert [error["exit_code"] for error in errors] == [4, 6]
    assert errors[0]["hint"] == "package group:create 12_04-bee"
    assert "no_such_key" in errors[1]["message"]


def test_fail_fast_builds_nothing_after_a_refusal(package: Program) -> None:
    package("group:create")
    (package.folder / "roles" / "12_04-bee.json").unlink()
    done = package("packer:run", "12_04-bee", "12_04-base", "--sandbox", "--fail-fast", "--json", code=4)
    assert words(done) == {"12_04-bee": "failed", "12_04-base": "skipped"}


def test_source_images_that_are_not_there_are_told_before_any_build(on_aws: Program) -> None:
    path = on_aws.folder / "nodes.json"
    nodes = json.loads(path.read_text())
    nodes["12_04-base"] |= {"source_ami_filter": {"name": "no-such-*", "owners": ["self"]}}
    nodes["__base__"]["packer"]["builder"] = {"custom_endpoint_ec2": on_aws.environ["AWS_ENDPOINT_URL"]}
    path.write_text(json.dumps(nodes))
    on_aws("group:create")
    (on_aws.folder / "roles" / "12_04-www.json").unlink()
    done = on_aws("packer:run", "12_04-*", "ftp-listener", "--json", code=5)
    assert words(done) == dict.fromkeys(("12_04-base", "12_04-bee", "12_04-www", "ftp-listener"), "failed") | {
        "ftp-listener": "skipped"
    }
    assert "source_ami ami-1ebb2077: there is no such image in us-east-1" in done.stderr
    assert "source_ami_filter 'no-such-*' of self: no image matches in us-east-1" in done.stderr


def test_missing_credentials_are_told_once_for_all_groups(package: Program) -> None:
    package("group:create")
    done = package("packer:run", code=5)
    assert done.stderr.count("error:") == 1
    assert "no AWS credentials" in done.stderr
    assert "--profile" in done.stderr


@each_packer
def test_a_template_that_packer_refuses_is_an_error_of_packer(package: Program, packer: str) -> None:
    path = package.folder / "nodes.json"
    nodes = json.loads(path.read_text())
    nodes["12_04-bee"]["packer"] = {"builder": {"no_such_key": True}}
    path.write_text(json.dumps(nodes))
    package("group:create")
    done = package("packer:run", "12_04-bee", "12_04-base", "--sandbox", code=6, NODEPKG_PACKER=packer)
    assert "no_such_key" in done.stderr.split("error:")[-1]
    assert ".nodepkg/logs/12_04-bee-" in done.stderr.split("error:")[-1]


@each_packer
def test_a_killed_run_leaves_nothing_since_packer_is_told(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        converges(on_aws.folder, g12_04_bee="touch /tmp/began; sleep 60")
        on_aws("group:create")
        command = [sys.executable, "-m", "nodepkg", "packer:run", "12_04-bee", "--quiet"]
        environ = {**on_aws.environ, "NODEPKG_PACKER": packer}
        with subprocess.Popen(command, cwd=on_aws.folder, env=environ, text=True) as running:
            until(host.path("/tmp/began"), running=running)
            running.kill()
        deadline = time.monotonic() + 120
        while left := leftovers(aws):
            assert time.monotonic() < deadline, left
            time.sleep(0.2)


@each_packer
def test_what_a_packer_that_was_killed_left_behind_is_listed(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        converges(on_aws.folder, g12_04_bee="touch /tmp/began; sleep 60")
        on_aws("group:create")
        command = [sys.executable, "-m", "nodepkg", "packer:run", "12_04-bee", "--poll", "0.1"]
        environ = {**on_aws.environ, "NODEPKG_PACKER": packer}
        with subprocess.Popen(command, cwd=on_aws.folder, env=environ, stderr=subprocess.PIPE, text=True) as running:
            until(host.path("/tmp/began"), running=running)
            (child,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
            os.killpg(int(child), signal.SIGKILL)
            _, told = running.communicate(timeout=120)
    assert running.returncode == 6, told
    assert "ended by signal 9" in told
    left = leftovers(aws)
    assert len(left) == 3
    warnings = [line for line in told.splitlines() if line.startswith("warning: 12_04-bee left behind: ")]
    assert len(warnings) == 3
    assert all(any(name in line for line in warnings) for name in left)
    assert "to remove that: package packer:sweep --build " in told


def leftovers(aws: process.Sandbox) -> list[str]:
    """What there is in EC2 that a build should have removed."""
    ec2 = client(aws)
    instances = [one for found in ec2.describe_instances()["Reservations"] for one in found["Instances"]]
    alive = [one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"]
    pairs = [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]]
    groups = [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]]
    return [*alive, *pairs, *(name for name in groups if name != "default")]


def on_a_terminal(
    program: Program, *arguments: str, columns: int, interrupt: bool = False, term: str = "xterm"
) -> tuple[int, str]:
    """The exit code, and what the terminal was sent."""
    ours, theirs = pty.openpty()
    environ = {**program.environ, "TERM": term, "COLUMNS": str(columns), "LINES": "24"}
    command = [sys.executable, "-m", "nodepkg", *arguments]
    shown = b""
    with subprocess.Popen(
        command, cwd=program.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    ) as running:
        os.close(theirs)
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
                if interrupt and b"1 building" in shown:
                    running.send_signal(signal.SIGINT)
                    interrupt = False
        except OSError:  # how Linux says that the other end of a terminal is gone
            pass
    os.close(ours)
    return running.returncode, shown.decode()


def screen(shown: str, columns: int) -> list[str]:
    import pyte

    made = pyte.Screen(columns, 200)
    pyte.Stream(made).feed(shown)
    return [line.rstrip() for line in made.display if line.strip()]


def test_a_terminal_shows_a_live_line_for_each_build_and_nothing_of_it_at_the_end(package: Program) -> None:
    package("group:create")
    for columns in (60, 120):
        code, shown = on_a_terminal(
            package, "packer:run", "12_04-base", "12_04-bee", "--sandbox", "--force", columns=columns
        )
        assert code == 0, shown
        assert "2 building" in shown or "1 building" in shown
        left = screen(shown, columns)
        assert not [line for line in left if "building" in line or "…" in line]
        assert [line.split(":")[0] for line in left if ": built ami-" in line] in (
            ["12_04-base", "12_04-bee"],
            ["12_04-bee", "12_04-base"],
        )
        assert all(len(line) <= columns for line in left)
        assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(package: Program) -> None:
    package("group:create")
    code, shown = on_a_terminal(package, "packer:run", "12_04-bee", "--sandbox", columns=80, term="dumb")
    assert code == 0, shown
    assert "\x1b" not in shown
    assert "[12_04-bee] ==> amazon-ebs: Launching a source AWS instance..." in shown


def test_ctrl_c_leaves_a_terminal_in_order(package: Program) -> None:
    package("group:create")
    code, shown = on_a_terminal(package, "packer:run", "12_04-bee", "--sandbox", columns=60, interrupt=True)
    assert code == 130, shown
    left = screen(shown, 60)
    assert left[-1] == "error: interrupted"
    assert not [line for line in left if "1 building" in line]
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
