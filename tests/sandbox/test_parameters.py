"""Systems Manager's parameters, as a claim needs them."""

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ssm.exceptions import ParameterAlreadyExists
from moto.ssm.models import ssm_backends

from tests.faults import aws


@pytest.fixture
def client() -> Iterator[Any]:
    with aws() as account:
        yield account.client("ssm", "us-east-1")


def refusal(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_what_exists_is_not_made_again_unless_it_is_overwritten(client: Any) -> None:
    client.put_parameter(Name="/a/1", Value="x", Type="String", Tags=[{"Key": "k", "Value": "v"}])
    assert refusal(client.put_parameter, Name="/a/1", Value="y", Type="String") == "ParameterAlreadyExists"
    client.put_parameter(Name="/a/1", Value="y", Type="String", Overwrite=True)
    assert client.get_parameter(Name="/a/1")["Parameter"]["Value"] == "y"
    tagged = {"Overwrite": True, "Tags": [{"Key": "k", "Value": "v"}]}
    assert refusal(client.put_parameter, Name="/a/1", Value="z", Type="String", **tagged) == "ValidationException"
    assert client.list_tags_for_resource(ResourceType="Parameter", ResourceId="/a/1")["TagList"] == [
        {"Key": "k", "Value": "v"}
    ]


@pytest.mark.parametrize("value", ["{{x}}", 'a {"b": {"c": {}}} {{ d }}', "x" * 4097])
def test_values_that_aws_refuses_are_refused(client: Any, value: str) -> None:
    assert refusal(client.put_parameter, Name="/a/1", Value=value, Type="String") == "ValidationException"
    client.put_parameter(Name="/a/1", Value="x" * 4096, Type="String")


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns so often that whatever is not locked goes wrong."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_of_many_who_make_the_same_parameter_one_does(client: Any) -> None:
    backend = ssm_backends[DEFAULT_ACCOUNT_ID]["us-east-1"]
    for number in range(300):
        start, made = threading.Barrier(4), list[bool]()

        def make(name: str, start: threading.Barrier = start, made: list[bool] = made) -> None:
            start.wait()
            try:
                backend.put_parameter(name, "", "x", "String", "", "", False, [], "text", tier=None, policies=None)
                made.append(True)
            except ParameterAlreadyExists:
                made.append(False)

        threads = [threading.Thread(target=make, args=(f"/a/{number}",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(made) == [False, False, False, True]


def test_lists_by_path_have_pages_of_ten(client: Any) -> None:
    for number in range(21):
        client.put_parameter(Name=f"/a/b/{number}", Value="x", Type="String")
    client.put_parameter(Name="/a/b/c/1", Value="x", Type="String")
    client.put_parameter(Name="/a/bb/1", Value="x", Type="String")
    pages = list(client.get_paginator("get_parameters_by_path").paginate(Path="/a/b"))
    assert [len(page["Parameters"]) for page in pages] == [10, 10, 1]
    below = client.get_paginator("get_parameters_by_path").paginate(Path="/a", Recursive=True)
    assert sum(len(page["Parameters"]) for page in below) == 23
