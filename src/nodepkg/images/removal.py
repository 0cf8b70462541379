"""Deleting images: the actions, and the world that they run in, which looks again before each of them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.clock import uptime
from nodepkg.clients.aws.images import Image, Images
from nodepkg.errors import AwsError, CredentialsError, NodepkgError
from nodepkg.images.clean import Judgement, Orphan, Verdict, shared
from nodepkg.images.usage import Usage, picture
from nodepkg.plan import Action, Report, execute

# No deletion may rest on a picture that is older than 60 s, and it may have to wait for its turn in EC2's bucket.
PICTURE_SECONDS, MOST_SECONDS = 55.0, 60.0
AT_ONCE = 16
TRIES = 3
# One image that AWS will not delete keeps no other from going; so many are no accident.
MOST_REFUSED = 3


class OutdatedError(AwsError):
    """What a deletion rests on became too old before AWS took it."""


class Removal:
    """What deletions run in, side by side: the account, and what of it was seen lately.

    `look` takes the picture of a region, `judge` says what follows from it, `clock` is the one that `Usage.taken`
    was read from. `done` has the reports of what was done, whoever still waits for them, `refused` what AWS said no to.
    """

    def __init__(
        self,
        account: Account,
        look: Callable[[str], Usage],
        judge: Callable[[Usage], Judgement],
        *,
        clock: Callable[[], float] = uptime,
    ) -> None:
        self.account = account
        self.done: list[Report] = []
        self.refused: list[AwsError] = []
        self._look = look
        self._judge = judge
        self._clock = clock
        self._judgements: dict[str, Judgement] = {}
        self._permissions: dict[str, tuple[float, list[str]]] = {}
        self._gone: set[str] = set()
        self._locks: dict[str, threading.Lock] = {}
        self._unreadable: NodepkgError | None = None

    @classmethod
    def of(cls, account: Account, judge: Callable[[Usage], Judgement], **asked: Any) -> Self:
        """That of an account; `asked` goes to `picture`."""
        return cls(account, lambda region: picture(account, region, **asked), judge)

    def judgement(self, region: str) -> Judgement:
        """What follows from a picture that is not too old. One thread takes a new one, while the others wait for it.

        Raises AwsError if it cannot be read, from then on at once: nothing may be deleted any more.
        """
        with self._locks.setdefault(region, threading.Lock()):
            known = self._judgements.get(region)
            if known and self._is_fresh(known.usage.taken):
                return known
            if self._unreadable:
                raise self._unreadable
            try:
                self._judgements[region] = self._judge(self._look(region))
            except NodepkgError as error:
                self._unreadable = error
                raise
            return self._judgements[region]

    def forget(self) -> None:
        """Whatever was seen is too old: a question may have stood while the machine slept, and its clock with it."""
        self._judgements.clear()
        self._permissions.clear()

    def permissions(self, region: str, image: str) -> list[str]:
        """Whom the image is shared with: one call, unless it was made just now."""
        at, known = self._permissions.get(image, (float("-inf"), []))
        if not self._is_fresh(at):
            at, known = self._clock(), Images(self.account, region).launch_permissions(image)
            self._permissions[image] = (at, known)
        return known

    def sharing(self, judgement: Judgement) -> dict[str, str]:
        """Those of the images to delete that are shared with others, each with whom, in words."""
        region, doomed = judgement.usage.region, [verdict.image.id for verdict in judgement.doomed]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(lambda image: self.permissions(region, image), doomed))
        return {image: shared(by) for image, by in zip(doomed, found, strict=True) if by}

    def verdict(self, region: str, image: str) -> Verdict | None:
        """What becomes of it as things are now; None if it is gone already."""
        verdict = self.judgement(region).of.get(image)
        if verdict is None or verdict.kept:
            return verdict
        if by := self.permissions(region, image):
            return replace(verdict, kept=True, why=shared(by))
        return self.judgement(region).of.get(image)  # the call may have waited for its turn

    @contextmanager
    def timely(self, region: str, goes: Callable[[Judgement], bool]) -> Iterator[None]:
        """For a deletion that was just judged: raises OutdatedError before a try that the newest picture forbids.

        It does if that is too old, or `goes` denies that it lets the thing go.
        """
        margin = MOST_SECONDS - PICTURE_SECONDS
        allowed = self._clock() + margin  # also where it takes longer than a minute to take a picture

        def check(_operation: str) -> None:
            judgement = self._judgements[region]
            if not goes(judgement) or self._clock() > max(judgement.usage.taken + MOST_SECONDS, allowed):
                raise OutdatedError(
                    f"AWS takes no deletion in {region} within {MOST_SECONDS:.0f} s", hint="run it again later"
                )

        with self.account.checked(check):
            yield

    def unused(self, region: str, gone: str, snapshots: Iterable[str]) -> list[str]:
        """Those snapshots of an image which is gone that no other one has, as far as the picture shows."""
        self._gone.add(gone)
        images = self._judgements[region].usage.images
        used = {one for image in images if image.id not in self._gone for one in image.snapshots}
        return [snapshot for snapshot in snapshots if snapshot not in used]

    def tolerate(self, error: AwsError) -> None:
        """Remembers it, and raises it if it is not about one image only."""
        self.refused.append(error)
        if isinstance(error, CredentialsError) or len(self.refused) > MOST_REFUSED:
            raise error

    def report(self, **said: Any) -> Report:
        self.done.append(said)
        return said

    def _is_fresh(self, at: float) -> bool:
        return self._clock() - at <= PICTURE_SECONDS


@dataclass(frozen=True)
class DeregisterImage:
    """An image to delete with its snapshots, but for those that another image has."""

    image: Image
    region: str

    def __str__(self) -> str:
        count = len(self.image.snapshots)
        return f"deregister {self.image.name} ({self.image.id}) and its {count} snapshot{'s' * (count != 1)}"

    def run(self, world: Removal, /) -> Report:
        """Reports `kept`, the reason, if it came into use since the plan was made, or AWS refuses."""
        return _tried_again(lambda: self._try(world))

    def _try(self, world: Removal) -> Report:
        told = {"image": self.image.id, "name": self.image.name, "region": self.region}
        verdict = world.verdict(self.region, self.image.id)
        if verdict is None:
            return world.report(**told, snapshots=[])
        if verdict.kept:
            return world.report(**told, kept=verdict.why)
        images = Images(world.account, self.region)
        try:
            with world.timely(self.region, self._goes):
                seen_to = images.deregister_image(self.image.id)
        except OutdatedError:
            raise
        except AwsError as error:
            world.tolerate(error)
            return world.report(**told, kept=error.message)
        unused = world.unused(self.region, self.image.id, self.image.snapshots)
        gone = [one for one in unused if one in seen_to or _deleted(images, one, world)]
        return world.report(**told, snapshots=gone)

    def _goes(self, judgement: Judgement) -> bool:
        verdict = judgement.of.get(self.image.id)
        return verdict is not None and not verdict.kept


@dataclass(frozen=True)
class DeleteSnapshot:
    """A snapshot that an image left behind."""

    orphan: Orphan

    def __str__(self) -> str:
        return f"delete {self.orphan.snapshot.id}: {self.orphan.why}"

    def run(self, world: Removal, /) -> Report:
        """Reports `kept`, the reason, if an image has it after all."""
        return _tried_again(lambda: self._try(world))

    def _try(self, world: Removal) -> Report:
        snapshot, region = self.orphan.snapshot.id, self.orphan.region
        told = {"snapshot": snapshot, "region": region}
        judgement = world.judgement(region)
        if all(one.id != snapshot for one in judgement.usage.snapshots):
            return world.report(**told)
        try:
            with world.timely(region, self._goes):
                if self._goes(judgement) and Images(world.account, region).delete_snapshot(snapshot):
                    return world.report(**told)
        except OutdatedError:
            raise
        except AwsError as error:
            world.tolerate(error)
            return world.report(**told, kept=error.message)
        return world.report(**told, kept="an image has it")

    def _goes(self, judgement: Judgement) -> bool:
        return any(one.snapshot.id == self.orphan.snapshot.id for one in judgement.orphans)


def _tried_again(attempt: Callable[[], Report]) -> Report:
    """Each time on a new picture, until AWS takes it."""
    for _ in range(TRIES - 1):
        with suppress(OutdatedError):
            return attempt()
    return attempt()


def _deleted(images: Images, snapshot: str, world: Removal) -> bool:
    try:
        return images.delete_snapshot(snapshot)
    except AwsError as error:
        world.tolerate(error)
        return False


def kept_too(judgement: Judgement, why: Mapping[str, str]) -> Judgement:
    """The same, but that these images stay, each for its reason."""
    verdicts = [
        replace(one, kept=True, why=why[one.image.id]) if one.image.id in why else one for one in judgement.verdicts
    ]
    return replace(judgement, verdicts=tuple(verdicts))


def plan_removal(judgement: Judgement) -> list[Action[Removal]]:
    """What there is to do, oldest first: an interrupted run leaves the newer images."""
    region = judgement.usage.region
    images = [DeregisterImage(verdict.image, region) for verdict in judgement.doomed]
    return [*images, *(DeleteSnapshot(orphan) for orphan in judgement.orphans)]


def remove(plan: Sequence[Action[Removal]], world: Removal, say: Callable[[str], None]) -> Iterator[Report]:
    """Carries it out, and raises AwsError in the end for what AWS refused to delete."""
    yield from execute(plan, world, dry_run=False, say=say, at_once=AT_ONCE)
    if world.refused:
        told = "\n".join(["AWS refuses to delete:", *(error.message for error in world.refused)])
        raise AwsError(told, hint="run it again: what is gone already does it no harm")
