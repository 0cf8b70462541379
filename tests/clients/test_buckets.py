"""EC2's buckets, with a clock of their own."""

import threading

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.buckets import Bucket, Buckets


class Clock:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def bucket(self, capacity: float, per_second: float) -> Bucket:
        return Bucket(capacity, per_second, clock=self, sleep=self.sleep)


def test_a_full_bucket_makes_nobody_wait() -> None:
    clock = Clock()
    bucket = clock.bucket(5, 2)
    for _ in range(5):
        bucket.take()
    assert clock.now == 0
    assert not bucket.try_take()


def test_after_the_burst_it_is_the_rate_that_counts() -> None:
    clock = Clock()
    bucket = clock.bucket(5, 2)
    for _ in range(25):
        bucket.take()
    assert clock.now == pytest.approx(10)


def test_it_does_not_fill_above_its_capacity() -> None:
    clock = Clock()
    bucket = clock.bucket(5, 2)
    clock.now = 3600
    assert [bucket.try_take() for _ in range(6)] == [True] * 5 + [False]
    clock.now += 0.5
    assert bucket.try_take()


def test_each_action_has_a_bucket_of_its_own() -> None:
    clock = Clock()
    buckets = Buckets(clock.bucket)
    for _ in range(95):
        buckets.take("DeregisterImage")
        buckets.take("DeleteSnapshot")
        buckets.take("DescribeImages")
    assert clock.now == 0
    buckets.take("DeregisterImage")
    assert clock.now == pytest.approx(1 / (5 * 0.99))


def test_threads_that_share_a_bucket_take_no_more_than_it_gives() -> None:
    waited: list[float] = []
    bucket = Bucket(10, 5, clock=lambda: 0.0, sleep=waited.append)
    threads = [threading.Thread(target=bucket.take) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waited) == pytest.approx([number / 5 for number in range(1, 21)])


def test_every_try_of_a_call_to_ec2_takes_a_token(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(Buckets, "take", lambda self, action: taken.append(action))
    again = Account(endpoint=account.endpoint)
    again.client("ec2", "us-east-1").describe_regions()
    again.client("autoscaling", "us-east-1").describe_auto_scaling_groups()
    assert taken == ["DescribeRegions"]
