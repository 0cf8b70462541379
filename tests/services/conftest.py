"""One etcd for the tests of services, empty for each."""

from collections.abc import Iterator

import pytest

from tests.rig.etcd import Member, etcd


@pytest.fixture(scope="session")
def _member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    with etcd(tmp_path_factory.mktemp("etcd")) as [member]:
        yield member


@pytest.fixture
def member(_member: Member) -> Member:
    """An etcd without keys. Its revision is anything."""
    _member.empty()
    return _member
