"""What AWS and the nodes themselves show of Auto Scaling groups: a few calls for many groups."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from nodepkg.autoscale.view import Node
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScalingGroup, Member
from nodepkg.clients.aws.balancing import LoadBalancing
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.ready import Health, address, unready


class Web(Protocol):
    """Asks urls: each with "" if it answers with 2xx within `timeout` seconds, else why not (clients/web.py)."""

    def __call__(self, urls: Collection[str], *, timeout: float) -> Mapping[str, str]: ...


def web_of(account: Account) -> Web:
    """What asks the nodes of this account; those of the embedded one are on loopback addresses."""
    from nodepkg.clients.web import answering

    return partial(answering, loopback_only=account.endpoint is not None)


def readiness(
    account: Account,
    region: str,
    asgs: Sequence[AutoScalingGroup],
    *,
    health: Mapping[str, Health],
    web: Web,
    also: Mapping[str, Collection[str]] = {},
) -> dict[str, tuple[Node, ...]]:
    """The nodes of each group, by the group's name.

    `health` says what the nodes of a group, by its name, are asked. In its attached target groups each node is looked
    for, and in those that `also` has for the group (ARNs), from which it may have been detached. Calls: one for up to
    100 nodes in service, one for each target group, and where urls are to be asked one for up to 200 nodes.
    """
    ec2 = Ec2(account, region)
    checks = ec2.status_checks(one.id for asg in asgs for one in asg.members if one.lifecycle == "InService")
    asked = {asg.name: health[asg.name] for asg in asgs if asg.name in health and health[asg.name].url}
    to_ask = {
        member.id: asked[asg.name]
        for asg in asgs
        if asg.name in asked
        for member in asg.members
        if not _lacks(member, checks, "")
    }
    wrong = _wrong_answers(ec2, to_ask, web)
    targets = {asg.name: {*asg.target_groups, *also.get(asg.name, ())} for asg in asgs}
    states = _states(LoadBalancing(account, region).target_health, targets.values())
    return {
        asg.name: tuple(
            _node(
                member,
                checks=checks,
                wrong=wrong.get(member.id, ""),
                answers=asg.name not in asked or wrong.get(member.id) == "",
                states={arn: states[arn] for arn in sorted(targets[asg.name])},
            )
            for member in asg.members
        )
        for asg in asgs
    }


def _states(
    ask: Callable[[str], Mapping[str, str]], targets: Collection[Collection[str]]
) -> dict[str, Mapping[str, str]]:
    """Of each target group, once: instance -> state."""
    return {arn: ask(arn) for arn in sorted({arn for arns in targets for arn in arns})}


def _wrong_answers(ec2: Ec2, to_ask: Mapping[str, Health], web: Web) -> dict[str, str]:
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


def _node(
    member: Member, *, checks: Mapping[str, str], wrong: str, answers: bool, states: Mapping[str, Mapping[str, str]]
) -> Node:
    return Node(
        member.id,
        member.lifecycle,
        healthy=_is_healthy(member),
        checks=checks.get(member.id) == "ok",
        answers=answers,
        targets=tuple((arn, found[member.id]) for arn, found in states.items() if member.id in found),
        protected=member.protected,
        why=_lacks(member, checks, wrong),
    )


def _is_healthy(member: Member) -> bool:
    return member.health.lower() == "healthy"


def _lacks(member: Member, checks: Mapping[str, str], answer: str) -> str:
    return unready(lifecycle=member.lifecycle, health=member.health, checks=checks.get(member.id, ""), answer=answer)
