"""Systems Manager's parameters: those that name images, and those that we write."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.regional import Regional, unless
from nodepkg.clients.aws.tags import Tags, tag_list
from nodepkg.errors import AwsError

PARAMETERS_OF_ONE = 10  # the most that one GetParameters or DeleteParameters may name


@dataclass(frozen=True)
class Parameter:
    """One parameter; `modified` in seconds since the epoch, by AWS's clock."""

    name: str
    value: str
    modified: float


class Parameters(Regional):
    """The parameters that one region sees."""

    service = "ssm"

    def values(self, names: Iterable[str]) -> dict[str, str]:
        """The value of each parameter (`name`, `name:3`, `name:label`, or an ARN); what is not told is left out.

        Whatever keeps Systems Manager from telling one, that it is unknown or that we may not read it, leaves it out.
        """
        values: dict[str, str] = {}
        for part in _parts(names):
            values |= self._values(part)
        return values

    def under(self, path: str, *, recursive: bool = False) -> list[Parameter]:
        """The parameters right under a path, or `recursive`ly: one call for each page, of ten at most."""
        found = self.pages("get_parameters_by_path", "Parameters", Path=path, Recursive=recursive)
        return [_parameter(raw) for raw in found]

    def parameter(self, name: str) -> Parameter | None:
        """One parameter; None if there is none of this name."""
        with aws_errors(f"parameter {name}"):
            found = self.client.get_parameters(Names=[name])["Parameters"]
        return _parameter(found[0]) if found else None

    def create(self, name: str, value: str, tags: Tags) -> bool:
        """Whether it was made just now: not if there is one of this name, or somebody else is writing it.

        After a lost reply the SDK tries again, and the parameter that stands in its way may be our own.
        """
        with unless(f"parameter {name}", "ParameterAlreadyExists", "TooManyUpdates"):
            # The tier is named, since an account may have made the one that costs money its default.
            self.client.put_parameter(Name=name, Value=value, Type="String", Tier="Standard", Tags=tag_list(tags))
            return True
        return False

    def overwrite(self, name: str, value: str) -> None:
        """Writes a new version of it. AWS keeps the last hundred by itself, and its tags."""
        with aws_errors(f"parameter {name}"):
            self.client.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def delete(self, names: Iterable[str]) -> None:
        """Those that are gone already are as good as deleted."""
        for part in _parts(names):
            with aws_errors(f"parameters {', '.join(part)}"):
                self.client.delete_parameters(Names=part)

    def _values(self, names: Sequence[str]) -> dict[str, str]:
        try:
            with aws_errors(f"parameters {', '.join(names)}"):
                told = self.client.get_parameters(Names=list(names))["Parameters"]
        except AwsError:
            if len(names) == 1:
                return {}
            # One name that is not legal, or not for us, has all of them refused.
            half = len(names) // 2
            return {**self._values(names[:half]), **self._values(names[half:])}
        known = {raw[key] + _selector(raw): raw["Value"] for raw in told for key in ("ARN", "Name") if key in raw}
        return {name: known[name] for name in names if name in known}


def _parts(names: Iterable[str]) -> list[list[str]]:
    """As many at a time as one call may name."""
    sorted_names = sorted(set(names))
    return [sorted_names[at : at + PARAMETERS_OF_ONE] for at in range(0, len(sorted_names), PARAMETERS_OF_ONE)]


def _parameter(raw: Mapping[str, Any]) -> Parameter:
    return Parameter(raw["Name"], raw["Value"], raw["LastModifiedDate"].timestamp())


def _selector(raw: Mapping[str, Any]) -> str:
    """What stood behind the name: Systems Manager answers it apart from the name, with its colon."""
    selector = raw.get("Selector", "").removeprefix(":")
    return f":{selector}" if selector else ""
