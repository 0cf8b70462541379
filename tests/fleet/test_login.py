"""The ssh command of a node."""

from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import RefusedError
from nodepkg.fleet.host import Host
from nodepkg.fleet.login import login_of, require_loopback, ssh_command
from tests.fleet.creations import group

ROOT = Path("/project")


def there(address: str = "10.1.2.3") -> Host:
    return Host("i-1", "bee", "us-east-1", "us-east-1a", "one-off", "", address, "" if address else "no address")


def words(*command: str, key: Path | None = None, **deploy: Any) -> list[str]:
    return ssh_command(there(), login_of(group(deploy=deploy)), ROOT, key=key, command=command)


def test_host_keys_are_remembered_by_instance_id() -> None:
    assert words() == [
        *("ssh", "-o", "HostKeyAlias=i-1"),
        *("-o", 'UserKnownHostsFile="/project/.nodepkg/known_hosts" ~/.ssh/known_hosts ~/.ssh/known_hosts2'),
        *("-o", "HashKnownHosts=no", "-o", "StrictHostKeyChecking=accept-new", "-l", "ubuntu", "--", "10.1.2.3"),
    ]


def test_deploy_says_user_port_and_whether_new_keys_are_taken() -> None:
    told = words("uptime", "-p", user="ops", port=2222, host_keys="strict")
    assert told[-8:] == ["-p", "2222", "-l", "ops", "--", "10.1.2.3", "uptime", "-p"]
    assert "StrictHostKeyChecking=accept-new" not in told


def test_a_key_is_the_only_one_that_is_offered() -> None:
    told = words(key=Path("/keys/100%.pem"))
    assert told[told.index("-i") + 1] == "/keys/100%%.pem"
    assert "IdentitiesOnly=yes" in told


def test_a_group_that_nodes_json_has_no_more_is_logged_in_to_as_the_user_s_ssh_does() -> None:
    told = ssh_command(there(), login_of(None), ROOT)
    assert told[-2:] == ["--", "10.1.2.3"]
    assert not {"-l", "-p", "-i"} & set(told)


def test_without_an_address_there_is_no_command() -> None:
    with pytest.raises(RefusedError, match="i-1 cannot be reached: no address"):
        ssh_command(there(""), login_of(group()), ROOT)


def test_the_sandbox_s_nodes_are_on_loopback() -> None:
    for address in ("127.1.2.3", "::1"):
        require_loopback(there(address))
    for address in ("10.1.2.3", "example.org", "localhost"):
        with pytest.raises(RefusedError, match="is no loopback address"):
            require_loopback(there(address))
