"""What nodes answer to HTTP, and how they stand in target groups: asked for many at once."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Protocol

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.balancing import LoadBalancing
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.ready import Health, address


class Web(Protocol):
    """Asks urls: each with "" if it answers with 2xx within `timeout` seconds, else why not (clients/web.py)."""

    def __call__(self, urls: Collection[str], *, timeout: float) -> Mapping[str, str]: ...


def web_of(account: Account) -> Web:
    """What asks the nodes of this account; those of the embedded one are on loopback addresses."""
    from nodepkg.clients.web import answering

    return partial(answering, loopback_only=account.endpoint is not None)


def target_states(account: Account, region: str, targets: Iterable[Collection[str]]) -> dict[str, Mapping[str, str]]:
    """Of each target group (ARN), once: instance -> state."""
    ask = LoadBalancing(account, region).target_health
    return {arn: ask(arn) for arn in sorted({arn for arns in targets for arn in arns})}


def wrong_answers(ec2: Ec2, to_ask: Mapping[str, Health], web: Web) -> dict[str, str]:
    """What is wrong with the answer of each of these instances, "" for nothing."""
    addresses = ec2.addresses(to_ask)
    urls = {
        instance: address(asked.url, addresses[instance]) if instance in addresses else ""
        for instance, asked in to_ask.items()
    }
    answers: dict[tuple[str, float], str] = {}
    for timeout in {asked.timeout for asked in to_ask.values()}:
        alike = {urls[instance] for instance, asked in to_ask.items() if asked.timeout == timeout and urls[instance]}
        answers |= {(url, timeout): why for url, why in web(sorted(alike), timeout=timeout).items()}
    return {
        instance: answers[urls[instance], asked.timeout]
        if urls[instance]
        else f"EC2 does not tell of all that {asked.url} names"
        for instance, asked in to_ask.items()
    }
