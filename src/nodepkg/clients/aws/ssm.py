"""Systems Manager's parameters, as far as they name images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.regional import Regional
from nodepkg.errors import AwsError

PARAMETERS_OF_ONE = 10  # the most that one GetParameters may name


class Parameters(Regional):
    """The parameters that one region sees."""

    service = "ssm"

    def values(self, names: Iterable[str]) -> dict[str, str]:
        """The value of each parameter (`name`, `name:3`, `name:label`, or an ARN); what is not told is left out.

        Whatever keeps Systems Manager from telling one, that it is unknown or that we may not read it, leaves it out.
        """
        wanted = sorted(set(names))
        values: dict[str, str] = {}
        for start in range(0, len(wanted), PARAMETERS_OF_ONE):
            values |= self._values(wanted[start : start + PARAMETERS_OF_ONE])
        return values

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


def _selector(raw: Mapping[str, Any]) -> str:
    """What stood behind the name: Systems Manager answers it apart from the name, with its colon."""
    selector = raw.get("Selector", "").removeprefix(":")
    return f":{selector}" if selector else ""
