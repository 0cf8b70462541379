"""Agents as processes against a real etcd: what happens to nodes, to etcd and to the way between them."""

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.agents import AgentNode, agents, eventually
from tests.rig.etcd import Member, certificates, etcd
from tests.rig.gates import Gates

Make = Callable[..., AgentNode]


@pytest.fixture
def make(member: Member, tmp_path: Path) -> Iterator[Make]:
    with agents(tmp_path, member.endpoint) as made:
        yield made


def keys(member: Member, prefix: str) -> list[str]:
    """What stands below a prefix of the registry."""
    start = f"/nodepkg/{prefix}".encode()
    end = start[:-1] + bytes([start[-1] + 1])
    found = member.call("kv/range", key=_base64(start), range_end=_base64(end)).get("kvs", [])
    return [base64.b64decode(item["key"]).decode().removeprefix("/nodepkg/") for item in found]


def value(member: Member, key: str) -> str:
    (found,) = member.call("kv/range", key=_base64(f"/nodepkg/{key}".encode()))["kvs"]
    return base64.b64decode(found["value"]).decode()


def put(member: Member, key: str, value: str) -> None:
    member.call("kv/put", key=_base64(f"/nodepkg/{key}".encode()), value=_base64(value.encode()))


def _base64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_a_node_converges_when_what_it_needs_comes_and_leaves(make: Make, member: Member) -> None:
    www = make("i-www", group="www", requires=("api",))
    www.was_given(api=[])
    one, two = (make(name, provides=("api",)) for name in ("i-1", "i-2"))
    www.was_given(api=["host-i-1", "host-i-2"])
    assert one.end(signal.SIGTERM) == 0
    www.was_given(api=["host-i-2"])
    assert one.events("left")[0]["unacknowledged"] == {}
    assert keys(member, "services/") == ["services/api/i-2"]
    one.start()
    www.was_given(api=["host-i-1", "host-i-2"])
    assert not www.events("doubted")
    assert two.events("converging") == []


def test_an_agent_that_is_killed_is_gone_within_its_ttl_and_is_back_at_once(make: Make, member: Member) -> None:
    one = make("i-1", provides=("api",), ttl=2)
    one.said_that("announced")
    one.end(signal.SIGKILL)
    eventually(lambda: keys(member, "") == [])
    one.start()
    one.said_that("announced", 2)
    assert keys(member, "services/") == ["services/api/i-1"]


def test_the_last_provider_that_vanishes_is_doubted_and_then_believed(make: Make) -> None:
    one = make("i-1", provides=("api",), ttl=2)
    www = make("i-www", group="www", requires=("api",), doubt=3)
    www.was_given(api=["host-i-1"])
    one.end(signal.SIGKILL)
    doubted = www.said_that("doubted")
    assert (doubted["service"], doubted["left"], doubted["kept"]) == ("api", 0, 1)
    before = len(www.given)
    www.said_that("believed", providers=0)
    www.was_given(api=[])
    assert len(www.given) == before + 1


def test_a_provider_that_flaps_makes_nobody_converge(make: Make) -> None:
    one = make("i-1", provides=("api",), ttl=2)
    www = make("i-www", group="www", requires=("api",), doubt=60)
    www.was_given(api=["host-i-1"])
    before = len(www.given)
    for turn in range(1, 4):
        one.end(signal.SIGKILL)
        www.said_that("doubted", turn)
        one.start()
        www.said_that("believed", turn)
    assert len(www.given) == before


def test_what_a_node_does_not_need_does_not_reach_it(make: Make) -> None:
    www = make("i-www", group="www", requires=("api",))
    www.was_given(api=[])
    other = make("i-1", provides=("other",))
    other.said_that("announced")
    one = make("i-2", provides=("api",))
    www.was_given(api=["host-i-2"])
    assert all("other" not in given for given in www.given)
    assert len(www.given) <= 2 + len(www.events("converge failed"))
    assert other.end() == one.end() == 0


def test_etcd_is_killed_and_restarted(tmp_path: Path) -> None:
    """The last good list stays in use meanwhile, and nothing is announced twice or lost after."""
    with etcd(tmp_path) as [member], agents(tmp_path, member.endpoint) as make:
        one, www = make("i-1", provides=("api",)), make("i-www", group="www", requires=("api",))
        www.was_given(api=["host-i-1"])
        before = len(www.given)
        member.kill()
        www.said_that("registry lost")
        collected = www.command("service:collect")
        assert collected.returncode == 0
        assert json.loads(collected.stdout)["nodepkg"]["services"] == {"api": [{"host": "host-i-1", "port": 8080}]}
        assert "etcd does not answer" in collected.stderr
        member.start()
        member.ready()
        www.said_that("registry back")
        two = make("i-2", provides=("api",))
        www.was_given(api=["host-i-1", "host-i-2"])
        assert len(www.given) == before + 1
        assert [one.end(), two.end(), www.end()] == [0, 0, 0]


def test_etcd_that_is_set_up_anew_is_filled_again(tmp_path: Path) -> None:
    with etcd(tmp_path) as [member], agents(tmp_path, member.endpoint) as make:
        one = make("i-1", provides=("api",))
        www = make("i-www", group="www", requires=("api",), doubt=60)
        www.was_given(api=["host-i-1"])
        before = len(www.given)
        member.wipe()
        member.start()
        member.ready()
        eventually(lambda: keys(member, "services/") == ["services/api/i-1"])
        two = make("i-2", provides=("api",))
        www.was_given(api=["host-i-1", "host-i-2"])
        assert len(www.given) == before + 1
        assert [one.end(), two.end()] == [0, 0]


def test_changes_that_were_compacted_while_the_way_was_cut_are_listed(member: Member, tmp_path: Path) -> None:
    with Gates() as gates:
        gate = gates.gate("127.0.0.1", member.port + 1, behind=member.port, elsewhere=member.port)
        gate.open()
        with agents(tmp_path, member.endpoint) as make:
            one = make("i-1", provides=("api",))
            www = make("i-www", group="www", requires=("api",), endpoints=(f"http://127.0.0.1:{gate.port}",))
            www.was_given(api=["host-i-1"])
            gate.refuse()
            gate.cut()
            two = make("i-2", provides=("api",))
            two.said_that("announced")
            assert one.end() == 0
            member.compact(int(member.call("kv/range", key="AA==")["header"]["revision"]))
            gate.open()
            www.was_given(api=["host-i-2"])


def test_a_partition_lets_a_lease_run_out_and_its_end_brings_all_back(member: Member, tmp_path: Path) -> None:
    with Gates() as gates:
        gate = gates.gate("127.0.0.1", member.port + 2, behind=member.port, elsewhere=member.port)
        gate.open()
        with agents(tmp_path, member.endpoint) as make:
            one = make("i-1", provides=("api",), ttl=2, endpoints=(f"http://127.0.0.1:{gate.port}",))
            one.said_that("announced")
            gate.hang()
            gate.freeze()
            eventually(lambda: keys(member, "") == [])
            one.said_that("lease not renewed")
            gate.open()
            gate.cut()
            one.said_that("announced", 2)
            one.said_that("lease gone")
            assert keys(member, "services/") == ["services/api/i-1"]


@pytest.mark.parametrize("jump", ["+100000000", "-100000000"])
def test_a_clock_that_jumps_changes_nothing(make: Make, member: Member, tmp_path: Path, jump: str) -> None:
    """Three years at once, to and fro: a lease is renewed by a clock that does not jump."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    fake = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    www = make("i-www", group="www", requires=("api",), provides=("web",), ttl=6, environ=fake)
    www.was_given(api=[], web=["host-i-www"])
    offset.write_text(jump)
    renewed = time.monotonic() + 7
    before = len(www.given)
    one = make("i-1", provides=("api",))
    www.was_given(api=["host-i-1"], web=["host-i-www"])
    one.said_that("announced")
    assert len(www.given) == before + 1
    year = int(www.said_that("converged", before + 1)["time"][:4])
    assert year == (2030 if jump.startswith("+") else 2023)
    eventually(lambda: time.monotonic() > renewed)
    assert not www.events("lease gone")
    assert keys(member, "services/web/") == ["services/web/i-www"]


def test_a_service_follows_its_check(make: Make, member: Member, tmp_path: Path) -> None:
    well = tmp_path / "well"
    check = {"command": f"test -e {well}", "interval": 0.1, "timeout": 5, "rise": 2, "fall": 2}
    one = make("i-1", provides=("api",), checks={"api": check})
    eventually(lambda: keys(member, "nodes/") == ["nodes/bee/i-1"])
    assert keys(member, "services/") == []
    well.touch()
    one.said_that("well")
    one.said_that("announced")
    one.write(ttl=4)  # another services.json, the same check: what was found out stays
    one.said_that("started", 2)
    assert keys(member, "services/") == ["services/api/i-1"]
    well.unlink()
    one.said_that("retracted")
    assert one.events("unwell")[0]["why"] == "exit code 1"
    assert keys(member, "services/") == []


def test_withdraw_and_announce_take_a_node_out_and_put_it_back(make: Make, member: Member) -> None:
    one, two = make("i-1", provides=("api",)), make("i-2", provides=("api",))
    www = make("i-www", group="www", requires=("api",))
    www.was_given(api=["host-i-1", "host-i-2"])
    withdrawn = one.command("service:withdraw", "--timeout", "30s")
    assert (withdrawn.returncode, withdrawn.stderr, withdrawn.stdout) == (0, "", "withdrew api\n")
    assert www.given[-1] == {"api": ["host-i-2"]}
    assert keys(member, "services/") == ["services/api/i-2"]
    announced = one.command("service:announce")
    assert announced.stdout == "announced api on host-i-1 for as long as the agent runs\n"
    www.was_given(api=["host-i-1", "host-i-2"])
    assert two.end() == 0


def test_a_withdrawn_node_stays_out_when_its_agent_is_restarted(make: Make, member: Member) -> None:
    one = make("i-1", provides=("api",), ttl=2)
    one.said_that("announced")
    assert one.command("service:withdraw").returncode == 0
    one.end(signal.SIGKILL)
    one.start()
    one.said_that("started", 2)
    eventually(lambda: keys(member, "nodes/"))
    assert keys(member, "services/") == []


def test_what_is_announced_tells_the_bundle_that_a_deploy_has_left(make: Make, member: Member) -> None:
    one = make("i-1", provides=("api",))
    one.said_that("announced")
    (one.home / "bundle").write_text("d1g35t .\n")
    one.said_that("announced", 2)
    assert json.loads(value(member, "services/api/i-1"))["digest"] == "d1g35t"


def test_where_it_is_started_does_not_matter(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    www = make("i-www", run=False, group="www", requires=("api",))
    monkeypatch.chdir(www.folder)
    www.file, www.home = Path("services.json"), Path("home")
    www.start()
    www.was_given(api=[])


def test_a_second_agent_and_a_twin_are_refused(make: Make, member: Member) -> None:
    one = make("i-1", provides=("api",))
    one.said_that("announced")
    second = one.command("service:agent")
    assert second.returncode == 4
    assert "another agent runs on this node" in second.stderr
    twin = make("twin", provides=("api",), run=False)
    twin.name = "i-1"
    refused = twin.command("service:announce")
    assert refused.returncode == 4
    assert "another node that calls itself i-1 (host-i-1)" in refused.stderr


def test_a_service_that_leaves_the_run_list_is_withdrawn_then_deleted_then_forgotten(
    make: Make, member: Member
) -> None:
    www = make("i-www", group="www", requires=("api",))
    one = make("i-1", provides=("api", "web"))
    www.was_given(api=["host-i-1"])
    one.write(provides=("web",))
    assert one.process
    one.process.send_signal(signal.SIGHUP)
    www.was_given(api=[])
    one.said_that("retiring", services=["api"])
    eventually(lambda: one.ran.exists() and one.ran.read_text().count("\n") == 1)
    (run,) = map(json.loads, one.ran.read_text().splitlines())
    assert run["run_list"] == ["role[i-1]", "recipe[svc::delete-api]"]
    assert run["nodepkg"]["available"] == {"api": False, "web": True}
    one.said_that("converged")
    eventually(lambda: json.loads((one.folder / "dna.json").read_text())["run_list"] == ["role[i-1]"])
    eventually(lambda: keys(member, "leaving/") == [])
    assert keys(member, "services/") == ["services/web/i-1"]
    one.end(signal.SIGKILL)
    one.start()
    one.said_that("started", 3)
    assert not www.events("doubted")
    assert one.ran.read_text().count("\n") == 1


def test_while_a_service_retires_the_others_stay_announced(make: Make, member: Member) -> None:
    """Somebody who uses it does not acknowledge for longer than a lease lives."""
    one = make("i-1", provides=("api", "web"), ttl=6)
    one.said_that("announced", 2)
    put(member, "consumers/api/i-9", "1")
    one.write(provides=("web",))
    one.said_that("retiring")
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert keys(member, "services/") == ["services/api/i-1", "services/web/i-1"]
        time.sleep(0.2)
    put(member, "consumers/api/i-9", str(10**9))
    eventually(lambda: keys(member, "services/") == ["services/web/i-1"])


def test_a_converge_goes_on_without_its_agent_and_counts_for_the_next_one(make: Make) -> None:
    www = make("i-www", run=False, group="www", requires=("api",))
    began = www.folder / "began"
    www.write(command=www.recording(seconds=2, shared=began))
    www.start()
    eventually(began.exists)
    www.end(signal.SIGKILL)
    www.start()
    www.said_that("converge of before", result="succeeded")
    assert len(www.given) == 1
    one = make("i-1", provides=("api",))
    www.was_given(api=["host-i-1"])
    assert len(www.given) == 2
    assert one.end() == 0


def test_a_converge_that_fails_is_told_and_tried_again_with_what_is_so_then(make: Make) -> None:
    www = make("i-www", run=False, group="www", requires=("api",))
    www.write(command=www.recording(code=3))
    www.start()
    failed = www.said_that("converge failed")
    assert "exit code 3" in failed["why"]
    www.write(command=www.recording())
    www.said_that("converged")


def test_an_agent_loads_no_library_that_it_may_not_need() -> None:
    spared = {"botocore", "jinja2", "prometheus_client", "pydantic", "typer", "urllib3"}
    code = f"import sys, nodepkg.services.agent; print(*{spared} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == []


def test_first_a_registry_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """Never is anything converged with nothing."""
    with etcd(tmp_path) as [member]:
        member.kill()
        with agents(tmp_path, member.endpoint) as make:
            www = make("i-www", group="www", requires=("api",))
            www.said_that("registry lost")
            assert www.command("service:collect").returncode == 6
            assert www.given == []
            member.start()
            member.ready()
            www.was_given(api=[])


def test_an_etcd_that_wants_certificates_and_passwords_is_used_with_both(tmp_path: Path) -> None:
    """The password comes from a file or the environment, and is in no log."""
    made, secret = certificates(tmp_path, client="nodes"), "pass word"
    tls = {"ca": str(made.authority), "cert": str(made.client[0]), "key": str(made.client[1])}
    password = tmp_path / "password"
    password.write_text(f"{secret}\n")
    with etcd(tmp_path, certificates=made) as [member], agents(tmp_path, member.endpoint) as make:
        member.protect("root secret", "nodes", secret, "/nodepkg/")
        said = {"tls": tls, "user": "nodes", "ttl": 5}
        one = make("i-1", provides=("api",), password_file=str(password), **said)
        www = make("i-www", group="www", requires=("api",), environ={"NODEPKG_ETCD_PASSWORD": secret}, **said)
        www.was_given(api=["host-i-1"])
        wrong = make("i-2", run=False, provides=("api",), environ={"NODEPKG_ETCD_PASSWORD": "wrong"}, **said)
        refused = wrong.command("service:announce")
        assert refused.returncode == 6
        assert "authentication failed" in refused.stderr
        assert "wrong" not in refused.stderr
        assert [one.end(), www.end()] == [0, 0]
        logs = "".join((node.folder / "log").read_text() for node in (one, www))
        assert secret not in logs
