"""What stands of a node in the registry, and the end of that."""

import asyncio

import pytest

from nodepkg.clients.etcd.client import Etcd
from nodepkg.services.presence import Presence
from tests.rig.etcd import Member
from tests.services.nodes import node, terms


@pytest.mark.parametrize("turns", range(4))
def test_it_ends_also_when_it_is_told_so_in_the_moment_of_a_change(member: Member, turns: int) -> None:
    """So many turns of the loop after it: whoever waited for the change does not know of it yet, or just does."""

    async def work() -> None:
        async with Etcd([member.endpoint], timeout=30) as etcd:
            presence = Presence(etcd, node("i-1"), terms(provides=("api",)), lambda _: False, lambda *_, **__: None)
            presence.well = {"api"}
            running = asyncio.create_task(presence.run())
            async with asyncio.timeout(60):
                while not await etcd.get("/nodepkg/services/api/i-1"):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            presence.put_right()
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running], timeout=1)
            assert running.cancelled()

    asyncio.run(work())
