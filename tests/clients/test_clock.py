"""AWS's clock, as its replies tell it."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest
from botocore.utils import parse_timestamp

from nodepkg.clients.aws.clock import AwsClock, moment, uptime
from nodepkg.clients.aws.images import Images
from nodepkg.errors import AwsError
from tests.faults import aws, dated, deny
from tests.faults.server import QuickAccount

DAY = 1_000_000_000.0  # a moment in 2001


class Local:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_before_the_first_reply_it_is_that_of_this_machine() -> None:
    assert abs(AwsClock().now() - time.time()) < 1


def test_it_goes_on_with_the_local_clock() -> None:
    local = Local()
    clock = AwsClock(local)
    clock.hear(formatdate(DAY, usegmt=True))
    local.now += 2.5
    assert clock.now() == DAY + 2.5


def test_of_whole_seconds_the_one_that_is_farthest_ahead_counts() -> None:
    local, true_now = Local(), DAY + 0.7
    clock = AwsClock(local)
    for step in (0.0, 0.35, 0.5, 1.3):
        true_now, local.now = true_now + step, local.now + step
        clock.hear(formatdate(int(true_now), usegmt=True))
    assert true_now - 0.2 < clock.now() <= true_now


def test_a_local_clock_that_stood_still_is_put_forward() -> None:
    local = Local()
    clock = AwsClock(local)
    clock.hear(formatdate(DAY, usegmt=True))
    clock.hear(formatdate(DAY + 3600, usegmt=True))
    assert clock.now() == DAY + 3600


@pytest.mark.parametrize(
    "date", [None, "", "soon", "Sat, 99 Nov 2026 18:19:14 GMT", f"Sat, 21 Nov {10**12} 18:19:14 GMT"]
)
def test_what_is_no_date_is_passed_over(date: str | None) -> None:
    clock = AwsClock(Local())
    clock.hear(formatdate(DAY, usegmt=True))
    clock.hear(date)
    assert clock.now() == DAY


def test_an_account_hears_it_from_any_reply_also_from_a_refusal() -> None:
    local = Local()
    with aws(deny("DescribeImages"), dated(lambda: DAY + 0.9)) as served:
        account = QuickAccount(endpoint=served.endpoint, uptime=local)
        assert abs(account.now() - time.time()) < 1
        with pytest.raises(AwsError):
            Images(account, "us-east-1").owned()
        local.now += 10
        assert account.now() == DAY + 10


def test_uptime_goes_on() -> None:
    assert uptime() <= uptime()


@pytest.mark.parametrize(
    "told",
    [
        *("2026-11-21T22:37:35.000Z", "2026-11-21T22:37:35Z", "2026-11-21T22:37:35+02:00", "2026-11-21T22:37:35.5"),
        *("Sat, 21 Nov 2026 22:37:35 GMT", "1000000000", 1000000000, 1000000000.25, "2026-11-21 22:37:35 Z"),
    ],
)
def test_a_moment_is_read_as_botocore_reads_it(told: str | float) -> None:
    assert moment(told) == parse_timestamp(told)
    assert moment(told).utcoffset() == parse_timestamp(told).utcoffset()


def test_a_moment_is_aware_and_to_the_millisecond() -> None:
    assert moment("2001-09-09T01:46:40.125Z") == datetime.fromtimestamp(DAY, UTC) + timedelta(milliseconds=125)


@pytest.mark.parametrize("told", ["Z", "soon", ""])
def test_what_is_no_moment_is_told(told: str) -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        moment(told)
