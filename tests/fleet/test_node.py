"""The node's script, as processes of this machine, with both shells that nodes have as sh."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from nodepkg.clients.supervised import HOME
from nodepkg.fleet.node import BEGAN, ENDED, SEND, End, Line, Lines, Output, Run, command, end, script
from nodepkg.fleet.transport import Result

ENTRIES = ("cookbooks", "solo.rb", "dna.json")


@dataclass(frozen=True)
class Said:
    """What came of a session."""

    end: End | None
    output: bytes
    words: tuple[str, ...]
    noise: str
    code: int


@dataclass
class Session:
    """A session that has begun."""

    process: subprocess.Popen[bytes]
    run: Run
    errors: bytes = b""

    def serve(self, text: bytes, archive: bytes, *, whole: bool = True) -> None:
        """Sends the script, and the archive if it is asked for; an end of file only if that is the whole."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.write(text)
            self.process.stdin.flush()
            if self._first_word() == SEND:
                self.process.stdin.write(archive)
                self.process.stdin.flush()
        if whole:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.stdin = None

    def _first_word(self) -> str:
        assert self.process.stderr
        lines = Lines(self.run.token)
        for line in self.process.stderr:
            self.errors += line
            for told in lines.read(line):
                return told.word
        return ""

    def until(self, word: str) -> "Session":
        """Returns when the script has said the word."""
        mark = f"nodepkg-{self.run.token} {word}".encode()
        assert self.process.stderr
        while mark not in self.errors:
            line = self.process.stderr.readline()
            assert line, f"it ended without {word}: {self.errors!r}"
            self.errors += line
        return self

    def kill(self) -> None:
        """As if sshd had died with all that belongs to the session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def said(self) -> Said:
        out, errors = self.process.communicate(timeout=60)
        lines, output = Lines(self.run.token), Output(self.run.token)
        told = list(lines.read(self.errors + errors))
        ends = [end(line) for line in told if line.word == ENDED]
        words = tuple(line.word for line in told)
        return Said(ends[0] if ends else None, output.read(out), words, lines.noise, self.process.returncode)


@dataclass
class Machine:
    """A node: folders of its own, and one of the shells."""

    folder: Path
    shell: str
    archive: bytes
    wrappers: Path
    started: list[Session] = field(default_factory=list)

    def run(self, deploy: str, line: str, token: str = "one", digest: str = "digest", timeout: float = 60.0) -> Run:
        home, path = str(self.folder / "state"), str(self.folder / "opt" / "bundle")
        return Run(deploy, token, digest, path, line, timeout, home=home)

    def begin(self, run: Run, *, sent: int | None = None, root: bool = True) -> Session:
        """`sent`: so much of the archive comes, and then nothing more, not even its end."""
        text = script(run)
        line = command(text, root=root).replace("exec sh", f"exec {self.shell}")
        process = subprocess.Popen(
            ["sh", "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": f"{self.wrappers}:{os.environ['PATH']}"},
            start_new_session=True,
        )
        session = Session(process, run)
        self.started.append(session)
        session.serve(text, self.archive if sent is None else self.archive[:sent], whole=sent is None)
        return session

    def converge(self, run: Run) -> Said:
        return self.begin(run).said()

    def wrap(self, program: str, text: str) -> None:
        """Puts a script in place of a program."""
        (self.wrappers / program).write_text(f"#!/bin/sh\n{text}\n")
        (self.wrappers / program).chmod(0o755)

    def deploys(self) -> Path:
        return self.folder / "state" / "deploys"

    def waits_for(self, fifo: str) -> str:
        """A command that says that it runs, and goes on when somebody writes to the fifo."""
        os.mkfifo(self.folder / fifo)
        return f"echo runs >>{self.folder}/ran; echo before; read go <{self.folder}/{fifo}; echo after"

    def release(self, fifo: str) -> None:
        (self.folder / fifo).write_text("go\n")

    def ran(self) -> int:
        return (self.folder / "ran").read_text().count("runs")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "cookbooks").mkdir()
    (folder / "cookbooks" / "one.rb").write_bytes(os.urandom(200_000))
    (folder / "solo.rb").write_text("solo")
    (folder / "dna.json").write_text('{"of": "group"}')
    line = ["tar", "--mtime=2001-01-01", "-czf", "-", "-C", str(folder), *ENTRIES]
    return subprocess.run(line, check=True, capture_output=True).stdout


@pytest.fixture(params=["dash", "bash --posix"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, archive: bytes) -> Iterator[Machine]:
    (tmp_path / "wrappers").mkdir()
    made = Machine(tmp_path, request.param, archive, tmp_path / "wrappers")
    yield made
    for session in made.started:
        session.kill()


def test_a_converge_unpacks_the_bundle_runs_and_records(machine: Machine) -> None:
    said = machine.converge(machine.run("d1", "cat {path}/solo.rb; echo; echo oops >&2; exit 7"))
    assert said == Said(End(Result.FAILED, 7, "exit code 7"), b"solo\noops\n", (SEND, BEGAN, ENDED), "", 7)
    log = machine.deploys() / "d1" / "one.log"
    assert log.read_bytes() == b"solo\noops\n"
    assert (log.stat().st_mode & 0o777, machine.deploys().stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_has_succeeded_is_not_run_again(machine: Machine) -> None:
    line = f"echo runs >>{machine.folder}/ran"
    assert machine.converge(machine.run("d1", line)).end == End(Result.SUCCEEDED, 0, "")
    said = machine.converge(machine.run("d1", line, "two"))
    assert (said.end, said.words, said.code) == (End(Result.SUCCEEDED, 0, "", again=True), (ENDED,), 0)
    assert machine.ran() == 1


def test_what_has_failed_is_run_again_by_another_client_and_told_again_to_the_same(machine: Machine) -> None:
    line = f"echo runs >>{machine.folder}/ran; echo {{path}}; exit 4"
    machine.converge(machine.run("d1", line))
    told = machine.converge(machine.run("d1", line))
    assert (told.end, told.words) == (End(Result.FAILED, 4, "exit code 4"), (ENDED,))
    assert told.output == f"{machine.folder}/opt/bundle\n".encode()
    assert machine.ran() == 1
    assert machine.converge(machine.run("d1", line, "two")).words == (BEGAN, ENDED)
    assert machine.ran() == 2


def test_another_deploy_that_runs_is_not_disturbed(machine: Machine) -> None:
    first = machine.begin(machine.run("d1", machine.waits_for("fifo"))).until(BEGAN)
    said = machine.converge(machine.run("d2", "echo runs", "two"))
    assert said.end == End(Result.REFUSED, None, "deploy d1 runs there")
    assert said.code == 75
    machine.release("fifo")
    assert first.said().end == End(Result.SUCCEEDED, 0, "")
    assert machine.converge(machine.run("d2", "true", "two")).end == End(Result.SUCCEEDED, 0, "")


def test_a_converge_of_the_node_s_agent_is_waited_for(machine: Machine) -> None:
    agent = machine.begin(machine.run("services", machine.waits_for("fifo"))).until(BEGAN)
    second = machine.begin(machine.run("d1", "exit 1", "two")).until("waits")
    machine.release("fifo")
    assert agent.said().end == End(Result.SUCCEEDED, 0, "")
    said = second.said()
    assert (said.end, said.words) == (End(Result.FAILED, 1, "exit code 1"), ("waits", BEGAN, ENDED))


def test_the_agent_is_not_waited_for_for_longer_than_a_converge_may_take(machine: Machine) -> None:
    agent = machine.begin(machine.run("services", machine.waits_for("fifo"))).until(BEGAN)
    said = machine.converge(machine.run("d1", "true", "two", timeout=1))
    assert (said.code, said.words) == (75, ("waits", ENDED))
    assert re.fullmatch(r"waited \d+ s for its agent, which still converges it", _why(said))
    machine.release("fifo")
    assert agent.said().end == End(Result.SUCCEEDED, 0, "")


def test_who_cannot_follow_has_the_wait_taken_off_its_time(machine: Machine) -> None:
    machine.wrap("timeout", 'echo "$3"; PATH=${PATH#*:} exec timeout "$@"')
    agent = machine.begin(machine.run("services", machine.waits_for("fifo"))).until(BEGAN)
    slept = machine.folder / "slept"
    third = f"echo $1 >>{slept}; [ $(grep -c 0.5 {slept}) != 3 ] || echo go >{machine.folder}/fifo"
    machine.wrap("sleep", f'{third}; PATH=${{PATH#*:}} exec sleep "$@"')
    said = machine.converge(replace(machine.run("d1", "true", "two", timeout=600), follow=False))
    assert agent.said().end == End(Result.SUCCEEDED, 0, "")
    assert said.end == End(Result.SUCCEEDED, 0, "")
    assert 0 < int(said.output) < 600


def test_a_deploy_that_runs_is_followed_and_runs_once(machine: Machine) -> None:
    line = machine.waits_for("fifo")
    first = machine.begin(machine.run("d1", line)).until(BEGAN)
    second = machine.begin(machine.run("d1", line, "two")).until(BEGAN)
    machine.release("fifo")
    for said in (first.said(), second.said()):
        assert (said.end, said.output) == (End(Result.SUCCEEDED, 0, ""), b"before\nafter\n")
    assert machine.ran() == 1


def test_a_session_that_is_cut_off_leaves_the_converge_running_and_is_followed_up(machine: Machine) -> None:
    run = machine.run("d1", machine.waits_for("fifo"))
    _started(machine, run).kill()
    again = machine.begin(replace(run, offset=len(b"before\n"))).until(BEGAN)
    machine.release("fifo")
    said = again.said()
    assert (said.end, said.output) == (End(Result.SUCCEEDED, 0, ""), b"after\n")
    assert machine.ran() == 1


def test_a_result_that_was_missed_is_told_with_the_rest_of_the_output(machine: Machine) -> None:
    run = machine.run("d1", "echo before; echo after")
    machine.converge(run)
    said = machine.converge(replace(run, offset=len(b"before\n")))
    assert (said.end, said.output) == (End(Result.SUCCEEDED, 0, ""), b"after\n")


def _processes(machine: Machine, deploy: str) -> tuple[int, int]:
    """The leader of the command, and its supervisor."""
    leader = int((machine.deploys() / deploy / "record").read_text().split()[3])
    status = Path(f"/proc/{leader}/status").read_text()
    found = re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)
    assert found
    return leader, int(found[1])


def _group(leader: int) -> list[int]:
    found = subprocess.run(["pgrep", "-g", str(leader)], capture_output=True, text=True, check=False)
    return [int(process) for process in found.stdout.split()]


def _started(machine: Machine, run: Run) -> Session:
    """A session whose command has written its first line."""
    session = machine.begin(run).until(BEGAN)
    assert session.process.stdout
    while (line := session.process.stdout.readline()) != b"before\n":
        assert line
    return session


def test_without_its_supervisor_a_command_still_runs_alone(machine: Machine) -> None:
    _started(machine, machine.run("d1", machine.waits_for("fifo")))
    os.kill(_processes(machine, "d1")[1], signal.SIGKILL)
    said = machine.converge(machine.run("d2", "true", "two"))
    assert said.end == End(Result.REFUSED, None, "deploy d1 runs there")
    follower = machine.begin(machine.run("d1", "true", "three")).until(BEGAN)
    machine.release("fifo")
    said = follower.said()
    assert said.end
    assert said.end.rerun
    assert machine.converge(machine.run("d1", "echo again", "three")).output == b"again\n"


def _why(said: Said) -> str:
    assert said.end
    return said.end.why


def test_a_command_whose_leader_is_killed_does_not_go_on_behind_it(machine: Machine) -> None:
    session = _started(machine, machine.run("d1", machine.waits_for("fifo")))
    leader, _ = _processes(machine, "d1")
    os.kill(leader, signal.SIGKILL)
    assert session.said().end == End(Result.FAILED, 137, "exit code 137")
    assert all(_is_dead(process) for process in _group(leader))


@pytest.mark.parametrize("sent", [0, 100_000])
def test_a_bundle_that_stops_coming_is_taken_over_by_the_next_session(machine: Machine, sent: int) -> None:
    machine.begin(machine.run("d1", "true"), sent=sent).until(SEND)
    busy = machine.converge(machine.run("d2", "true", "two"))
    assert busy.end == End(Result.REFUSED, None, "deploy d1 runs there")
    said = machine.converge(machine.run("d1", "cat {path}/solo.rb", "three"))
    assert (said.words, said.output) == ((SEND, BEGAN, ENDED), b"solo")


def test_half_a_bundle_is_none(machine: Machine) -> None:
    session = machine.begin(machine.run("d1", "true"), sent=100_000).until(SEND)
    assert session.process.stdin
    session.process.stdin.close()
    session.process.stdin = None
    said = session.said()
    assert said.end
    assert (said.end.result, said.code) == (Result.FAILED, 70)
    assert said.end.why.startswith("the bundle could not be unpacked: ")
    assert machine.converge(machine.run("d1", "cat {path}/solo.rb")).output == b"solo"
    assert [one.name for one in (machine.folder / "opt").iterdir()] == ["bundle"]


def test_a_tar_that_says_nothing_is_told_by_its_code(machine: Machine) -> None:
    machine.wrap("tar", "cat >/dev/null; exit 3")
    said = machine.converge(machine.run("d1", "true"))
    assert said.end
    assert said.end.why == "the bundle could not be unpacked: tar ended with code 3"


@pytest.mark.parametrize("program", ["tar", "rm", "mv", "sync", "setsid"])
def test_a_crash_at_any_step_is_made_good_by_the_next_session(machine: Machine, program: str) -> None:
    machine.converge(machine.run("d0", "true", digest="older"))
    machine.wrap(program, "kill -9 -$(ps -o sid= -p $$ | tr -d ' ')")
    machine.begin(machine.run("d1", f"echo runs >>{machine.folder}/ran")).said()
    (machine.wrappers / program).unlink()
    said = machine.converge(machine.run("d1", f"cat {{path}}/solo.rb; echo runs >>{machine.folder}/ran", "two"))
    assert said.end == End(Result.SUCCEEDED, 0, "")
    assert said.output == b"solo"
    assert {one.name for one in (machine.folder / "opt" / "bundle").iterdir()} == set(ENTRIES)
    assert machine.ran() == 1


def test_a_daemon_that_stays_holds_neither_lock_nor_session(machine: Machine) -> None:
    said = machine.converge(machine.run("d1", "sleep 1000 & echo $!"))
    daemon = int(said.output)
    try:
        assert said.end == End(Result.SUCCEEDED, 0, "")
        assert machine.converge(machine.run("d2", "true", "two")).end == End(Result.SUCCEEDED, 0, "")
        os.kill(daemon, 0)
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_command_has_the_signals_of_any_other(machine: Machine) -> None:
    said = machine.converge(machine.run("d1", "grep SigIgn /proc/self/status"))
    label, ignored = said.output.split()
    # 32 and 33 are the C library's own, which posix_spawn has ignored (make starts the tests with it).
    own = 0b11 << 31
    assert (label, int(ignored, 16) & ~own) == (b"SigIgn:", 0)


def test_ten_megabytes_of_any_bytes_come_as_they_were(machine: Machine) -> None:
    (machine.folder / "bytes").write_bytes(bytes(range(256)) * 40_000)
    said = machine.converge(machine.run("d1", f"cat {machine.folder}/bytes"))
    assert said.output == bytes(range(256)) * 40_000


def test_a_command_past_its_time_is_ended_with_all_that_it_runs(machine: Machine) -> None:
    said = machine.converge(machine.run("d1", "sleep 1000 & echo $!; wait", timeout=0.3))
    assert said.end == End(Result.TIMED_OUT, 124, "it took longer than 0.300 s and was ended")
    assert _is_dead(int(said.output))


def _is_dead(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_code_of_124_in_time_is_no_timeout(machine: Machine) -> None:
    assert machine.converge(machine.run("d1", "exit 124")).end == End(Result.FAILED, 124, "exit code 124")


def test_after_a_reboot_it_is_run_again(machine: Machine) -> None:
    run = replace(machine.run("d1", machine.waits_for("fifo")), boot="first")
    session = _started(machine, run)
    leader, supervisor = _processes(machine, "d1")
    os.kill(supervisor, signal.SIGKILL)
    os.killpg(leader, signal.SIGKILL)
    session.kill()
    said = machine.converge(replace(run, boot="second", offset=7, command="echo anew"))
    assert (said.end, said.output, said.words) == (End(Result.SUCCEEDED, 0, ""), b"anew\n", (BEGAN, ENDED))


def test_a_bundle_of_the_same_digest_is_not_asked_for_unless_it_was_changed(machine: Machine) -> None:
    machine.converge(machine.run("d1", "true"))
    assert SEND not in machine.converge(machine.run("d2", "true")).words
    (machine.folder / "opt" / "bundle" / "dna.json").write_text("changed")
    assert SEND in machine.converge(machine.run("d3", "true")).words
    assert SEND in machine.converge(machine.run("d4", "true", digest="another")).words


def test_a_node_may_have_dna_of_its_own(machine: Machine) -> None:
    own = replace(machine.run("d1", "cat {path}/dna.json"), dna=b'{"of": "the node"}')
    assert machine.converge(own).output == b'{"of": "the node"}'
    again = machine.converge(replace(own, deploy="d2", dna=b'{"of": "it"}'))
    assert (again.output, SEND in again.words) == (b'{"of": "it"}', False)
    without = machine.converge(machine.run("d3", "cat {path}/dna.json"))
    assert (without.output, SEND in without.words) == (b'{"of": "group"}', True)


def test_of_the_deploys_the_last_ten_are_kept(machine: Machine) -> None:
    for number in range(10, 23):
        machine.converge(machine.run(f"d{number}", "true"))
    assert sorted(one.name for one in machine.deploys().iterdir()) == [f"d{number}" for number in range(13, 23)]


def test_other_entries_of_the_folder_stay(machine: Machine) -> None:
    mine = machine.folder / "opt" / "bundle" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    machine.converge(machine.run("d1", "true"))
    assert mine.read_text() == "mine"


def test_a_path_and_a_command_reach_no_shell_unquoted(machine: Machine) -> None:
    odd = f"{machine.folder}/$(touch {machine.folder}/hit) 'a' \"b\" *;\\"
    run = replace(machine.run("d1", "cat {path}/solo.rb; echo \"it's\" '$HOME'"), path=odd)
    assert machine.converge(run).output == b"soloit's $HOME\n"
    assert not (machine.folder / "hit").exists()


def test_what_is_no_id_is_refused(machine: Machine) -> None:
    with pytest.raises(ValueError, match="not the id of a deploy"):
        script(machine.run("../d1", "true"))


def _apart(machine: Machine, run: Run, prepare: str) -> Said:
    """In a mount namespace of its own, after `prepare`."""
    text = script(run)
    line = command(text, root=True).replace("exec sh", f"exec {machine.shell}")
    process = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f"{prepare}\n{line}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    session = Session(process, run)
    session.serve(text, machine.archive)
    return session.said()


@pytest.mark.parametrize("program", ["tar", "flock", "setsid"])
def test_a_program_that_the_node_has_not_is_named(machine: Machine, program: str) -> None:
    hidden = f"for one in $(which -a {program}); do mount --bind /dev/null $one; done"
    said = _apart(machine, machine.run("d1", "true"), hidden)
    assert said.end == End(Result.FAILED, None, f"the node has no {program}")


@pytest.mark.parametrize("place", ["opt", "state"])
def test_a_full_disk_is_told(machine: Machine, place: str) -> None:
    (machine.folder / place).mkdir()
    full = f"mount -t tmpfs -o size=64k none {machine.folder}/{place}"
    filled = f"{full}; head -c 100000 /dev/zero >{machine.folder}/{place}/filled 2>/dev/null"
    said = _apart(machine, machine.run("d1", "echo runs"), filled)
    assert said.end
    assert said.end.result == Result.FAILED
    assert re.search("o space left|cannot be written|is the disk full", said.end.why)


def test_without_the_right_to_become_root_it_says_why(machine: Machine) -> None:
    machine.wrap("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    said = machine.begin(machine.run("d1", "true"), root=False).said()
    assert (said.end, said.noise, said.code) == (None, "sudo: a password is required", 1)


def test_noise_of_start_up_files_is_no_output(machine: Machine) -> None:
    output = Output("one")
    noise = b"Welcome!\nnodepkg-two output 5\n" + b"x" * 1000
    assert [output.read(part) for part in (noise, b"nodepkg-one out", b"put 12\nit", b"self\n")] == [
        b"",
        b"",
        b"it",
        b"self\n",
    ]
    assert output.offset == 12
    lines = Lines("one")
    assert list(lines.read(b"Last login\nnoisenodepkg-one began fresh\nrest")) == [Line(BEGAN, "fresh")]
    assert lines.noise == "rest"


@pytest.fixture
def server(machine: Machine) -> Iterator[str]:
    (machine.folder / "served").mkdir()
    (machine.folder / "served" / "b.tgz").write_bytes(machine.archive)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(machine.folder / "served")))
    thread = Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_address[1]}/b.tgz?signature=secret%2F1&x=1"
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_a_bundle_may_be_fetched_and_its_address_is_no_argument(machine: Machine, server: str) -> None:
    machine.wrap("curl", f'echo "$@" >>{machine.folder}/arguments; PATH=${{PATH#*:}} exec curl "$@"')
    run = replace(machine.run("d1", "cat {path}/solo.rb; echo; seq 300"), url=server, follow=False, lines=3)
    said = machine.converge(run)
    assert (said.end, said.words) == (End(Result.SUCCEEDED, 0, ""), (BEGAN, ENDED))
    assert said.output == b"298\n299\n300\n"
    assert "secret" not in (machine.folder / "arguments").read_text()


def test_a_bundle_that_cannot_be_fetched_is_told(machine: Machine, server: str) -> None:
    said = machine.converge(replace(machine.run("d1", "true"), url=server.replace("b.tgz", "none"), follow=False))
    assert "404" in _why(said)


def test_the_command_does_not_see_the_variables_of_the_script(machine: Machine) -> None:
    said = machine.converge(replace(machine.run("d1", "env"), dna=b"{}"))
    assert b"np_" not in said.output
    assert HOME not in said.output.decode()
