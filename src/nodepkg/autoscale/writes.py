"""What a process has changed within the last consistency window: an observation that lacks any of it is too old."""

from dataclasses import dataclass

from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.view import View


@dataclass(frozen=True)
class Writes:
    """Changes with their moments, in seconds by AWS's clock. Of two to one thing the later alone has to show."""

    made: tuple[tuple[Change, float], ...] = ()

    def and_also(self, change: Change, now: float) -> "Writes":
        others = tuple(one for one in self.made if one[0].changes != change.changes)
        return Writes((*others, (change, now)))

    def after(self, moment: float) -> "Writes":
        """Without those that are older: by then everybody sees them."""
        return Writes(tuple(one for one in self.made if one[1] > moment))

    def show_in(self, view: View) -> bool:
        return all(change.shows_in(view) for change, _ in self.made)
