"""Archives in a bucket: sent once, private, readable by a URL, and errors that say what to do."""

import pytest
import urllib3

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.s3 import bucket
from nodepkg.errors import AwsError
from tests.faults import aws

REGION, NAME, KEY = "us-east-1", "example-deploys", "nodepkg/bundles/bee/d.tar.gz"


def made(account: Account, region: str = REGION) -> None:
    more = {} if region == REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    account.client("s3", region).create_bucket(Bucket=NAME, **more)


def test_the_same_bytes_are_sent_once_and_others_replace_them() -> None:
    with aws() as account:
        made(account)
        there = bucket(account, REGION, NAME)
        assert [there.put(KEY, b"1"), there.put(KEY, b"1"), there.put(KEY, b"2")] == [True, False, True]
        assert account.client("s3", REGION).get_object(Bucket=NAME, Key=KEY)["Body"].read() == b"2"


def test_a_url_is_enough_to_read_it_and_nothing_else_is() -> None:
    with aws() as account:
        made(account)
        there = bucket(account, REGION, NAME)
        there.put(KEY, b"bundle")
        url = there.url(KEY, 1e9)
        assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
        assert "X-Amz-Expires=43200" in url
        assert urllib3.request("GET", url).data == b"bundle"


def test_the_bucket_may_be_in_another_region() -> None:
    with aws() as account:
        made(account, "eu-west-1")
        there = bucket(account, REGION, NAME)
        assert there.region == "eu-west-1"
        assert "eu-west-1%2Fs3%2Faws4_request" in there.url(KEY, 60)


def test_a_missing_bucket_is_an_error_with_a_remedy() -> None:
    with aws() as account, pytest.raises(AwsError, match="there is no bucket nowhere") as caught:
        bucket(account, REGION, "nowhere")
    assert caught.value.hint.startswith("deploy.bucket names it: make it")
