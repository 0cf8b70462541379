"""Whether the services of this node are well: each has its check, and rises and falls by it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nodepkg.clients import shell
from nodepkg.services.terms import Check, Offer, Terms
from nodepkg.services.told import Tell


@dataclass
class Pulse:
    """How a service does, by the answers of its check. Pure."""

    rise: int
    fall: int
    well: bool = False
    in_a_row: int = 0
    """So many answers in a row have said the opposite of `well`."""

    def hear(self, good: bool) -> bool:
        """Takes an answer; whether `well` has changed by it."""
        if good == self.well:
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        if self.in_a_row < (self.rise if good else self.fall):
            return False
        self.well, self.in_a_row = good, 0
        return True


class Health:
    """Asks the checks of all services, each in its own time. `changed` is called with the services that are well."""

    def __init__(
        self, terms: Terms, changed: Callable[[set[str]], None], tell: Tell, *, before: "Health | None" = None
    ) -> None:
        self._offers = terms.provides
        self._changed = changed
        self._tell = tell
        known = before.well if before else set[str]()  # until another check has said otherwise
        self._pulses = {
            offer.name: Pulse(offer.check.rise, offer.check.fall, offer.name in known)
            for offer in terms.provides
            if offer.check
        }
        for offer in before._offers if before else ():  # what was found out of those whose check is the same
            if before and offer.check and offer in terms.provides:
                self._pulses[offer.name] = before._pulses[offer.name]
        self._event = asyncio.Event()

    @property
    def well(self) -> set[str]:
        """A service without a check is."""
        return {offer.name for offer in self._offers if offer.check is None or self._pulses[offer.name].well}

    async def run(self) -> None:
        """Never returns."""
        self._changed(self.well)
        async with asyncio.TaskGroup() as tasks:
            for offer in self._offers:
                if offer.check:
                    tasks.create_task(self._keep(offer, offer.check))
            await asyncio.Event().wait()

    async def all_well(self) -> None:
        """Returns when all services are well: at first after as many answers as it takes to fall."""
        checks = [offer.check for offer in self._offers if offer.check]
        await asyncio.sleep(max((check.interval * check.fall for check in checks), default=0.0))
        while self.well != {offer.name for offer in self._offers}:
            self._event.clear()
            await self._event.wait()

    async def _keep(self, offer: Offer, check: Check) -> None:
        pulse = self._pulses[offer.name]
        while True:
            problem = await ask(check)
            if pulse.hear(not problem):
                self._tell(
                    "well" if pulse.well else "unwell", service=offer.name, **({"why": problem} if problem else {})
                )
                self._changed(self.well)
                self._event.set()
            await asyncio.sleep(check.interval)


async def ask(check: Check) -> str:
    """What is wrong, "" for nothing."""
    if check.command:
        return await shell.problem(check.command, check.timeout)
    from nodepkg.clients import web  # it brings an HTTP client, and most agents have no url to ask

    answers = await asyncio.to_thread(web.answering, [check.url], timeout=check.timeout, loopback_only=False)
    return answers[check.url]
