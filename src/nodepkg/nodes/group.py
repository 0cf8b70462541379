"""A group: one entry of nodes.json, merged with its layers and checked."""

from dataclasses import dataclass
from typing import Any

from nodepkg.nodes.schema import BlockDevice, Settings


@dataclass(frozen=True)
class Group:
    """A kind of machine.

    `layers` are its parents in the order of the merge, `merged` the entry as the merge leaves it
    (with its `x-` keys, without defaults), `settings` the same with types and defaults.
    """

    name: str
    layers: tuple[str, ...]
    merged: dict[str, Any]
    settings: Settings

    @property
    def region(self) -> str:
        return self.settings.region

    @property
    def role_name(self) -> str:
        return self.settings.role_name.replace("{group}", self.name)

    @property
    def run_list(self) -> list[str]:
        """What Chef runs on its nodes: a repeated item stays, Chef runs it once."""
        return [*self.settings.run_list, *self.settings.post_run_list]

    @property
    def security_groups(self) -> list[str]:
        return list(dict.fromkeys(self.settings.security_groups))

    @property
    def zones(self) -> list[str]:
        return list(dict.fromkeys(self.settings.zones))

    @property
    def subnets(self) -> list[str]:
        return list(dict.fromkeys(self.settings.subnets))

    @property
    def block_devices(self) -> list[BlockDevice]:
        """Of two with one device name the last wins, in the place of the first."""
        return list({device.device: device for device in self.settings.block_devices}.values())
