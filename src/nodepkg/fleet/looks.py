"""What AWS has shown of the groups of a deploy so far, and for how long that decides."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nodepkg.errors import CredentialsError, NodepkgError
from nodepkg.fleet import course as courses
from nodepkg.fleet.course import Order
from nodepkg.fleet.sight import Sight
from nodepkg.fleet.world import World

CHECKS_SECONDS = 60.0  # EC2 looks at an instance once a minute
BLIND_LOOKS = 10
NEVER = float("-inf")


@dataclass
class Looks:
    """`sights` are the last ones of each group, `looked` when the looks at them began, `count` how many there were.

    `next` is when another one may be, `blind` how many have failed one after the other.
    """

    world: World
    order: Order
    sights: dict[str, Sight] = field(default_factory=dict)
    looked: dict[str, float] = field(default_factory=dict)
    count: int = 0
    next: float = NEVER
    blind: int = 0
    _lasts: dict[str, float] = field(default_factory=dict)

    def began(self, group: str) -> float:
        """When the last look at a group began."""
        return self.looked.get(group, NEVER)

    def is_stale(self, group: str, now: float) -> bool:
        """Whether what is known of a group is too old for a start."""
        return now - self.began(group) > self._lasts.get(group, 0.0)

    def look(self, groups: Collection[str]) -> Mapping[str, Sight]:
        """Looks at these groups. Raises NodepkgError if AWS does not answer; then nothing has changed."""
        began = self.world.now()
        seen = self.world.look(groups)
        self.blind = 0
        self.next = self.world.now() + self.order.poll
        self.sights.update(seen)
        self.looked |= dict.fromkeys(seen, began)
        self._lasts |= {group: self._freshness(group, sight) for group, sight in seen.items()}
        self.count += 1
        return seen

    def failed(self, error: NodepkgError) -> bool:
        """To be called after a look that failed; whether it makes no sense to try it again."""
        self.blind += 1
        self.next = self.world.now() + self.order.poll
        return self.blind >= BLIND_LOOKS or isinstance(error, CredentialsError)

    def _freshness(self, group: str, sight: Sight) -> float:
        """For how many seconds a look decides: status checks alone are seldom made, and seldom change."""
        slow = not self.order.terms[group].health.url and not sight.targets
        if slow and not courses.below(self.order.terms, {group: sight}, ()):
            return max(CHECKS_SECONDS, self.order.poll)
        return self.order.poll
