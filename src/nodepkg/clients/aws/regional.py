"""What the client of every service has: an account, a region, lists that are read to their last page."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.errors import AwsError

Item = TypeVar("Item")


@dataclass
class Regional:
    """A part of AWS in one region; `service` is botocore's name of it."""

    account: Account
    region: str
    service: ClassVar[str] = "ec2"

    @property
    def client(self) -> Any:
        return self.account.client(self.service, self.region)

    def pages(self, operation: str, key: str, **arguments: Any) -> list[Any]:
        return self.account.pages(self.service, self.region, operation, key, **arguments)

    def arguments(self, operation: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """What of an answer the operation (`PutMetricAlarm`) takes, so that the same can be made again from it.

        An answer has empty lists for what is not there, which some operations do not take.
        """
        taken = self.client.meta.service_model.operation_model(operation).input_shape.members
        return {key: value for key, value in told.items() if key in taken and value not in (None, "", [], {})}


def in_parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in their order, at most so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


@contextmanager
def unless(what: str, *codes: str) -> Iterator[None]:
    """As aws_errors(what), but that an error of one of AWS's codes ends the block and is none."""
    try:
        with aws_errors(what):
            yield
    except AwsError as error:
        if error.code not in codes:
            raise
