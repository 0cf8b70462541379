"""instance:deploy does its work with its own policy, over both transports, and the policy has nothing more."""

from pathlib import Path
from typing import Any

from nodepkg.permissions.commands import Facts, needed
from nodepkg.permissions.statement import policy
from tests.fleet.deploys import deployed, groups
from tests.fleet.ssm_fleets import BUCKET, drained, results, ssm_fleet
from tests.fleet.test_drain import DRAINS, behind
from tests.fleets import fleet
from tests.iam import Authority
from tests.iam.conftest import Stage
from tests.iam.test_commands import running, unseen


def deploys_over_ssh(authority: Authority, folder: Path, document: dict[str, Any]) -> None:
    """Of a group behind a target group, whose nodes are drained, then again, and AWS takes one for unhealthy."""
    with fleet(authority, direct=True) as rig:
        authority.realistic = rig.realistic
        nodes, _ = behind(rig, 3, HealthCheckType="ELB", HealthCheckGracePeriod=0)

        def watches(what: str, name: str) -> None:
            if what == "succeeded":
                rig.world().now_there.groups["bee-v001"].nodes[name].health = "Unhealthy"

        with authority.holding(document):
            done = deployed(rig, folder / "1", groups(folder, bee=DRAINS))
            assert done.states() == dict.fromkeys(nodes, "succeeded")
            deployed(rig, folder / "2", groups(folder, bee=DRAINS), watches=watches, patience=60.0)
        assert authority.denied == []


def deploys_over_ssm(authority: Authority, folder: Path, document: dict[str, Any]) -> None:
    """By tag, by instance, and with a command of a former deploy that is cancelled."""
    with ssm_fleet(folder, authority) as there:
        authority.realistic = there.rig.realistic
        nodes = there.nodes(3)
        there.agents(nodes)
        with authority.holding(document):
            there.transport().start(there.jobs(nodes, deploy="20261121T210000-1a2b3c"))
            for whole in (True, False):
                transport = there.transport(whole=whole)
                transport.start(there.jobs(nodes))
                assert results(drained(transport)) == dict.fromkeys(nodes, "succeeded")
        assert authority.denied == []


def test_a_deploy_does_its_work_with_its_own_policy_and_needs_all_of_it(authority: Authority, tmp_path: Path) -> None:
    statements = needed(["instance:deploy"], Facts(buckets=(BUCKET,)))
    document = policy(statements)
    deploys_over_ssh(authority, tmp_path, document)
    deploys_over_ssm(authority, tmp_path, document)
    allowed = {action for one in statements for action in one.actions}
    assert " ".join(sorted(allowed - authority.actions - unseen("instance:deploy"))) == ""


def test_what_a_deploy_would_touch_is_looked_at_with_its_own_policy(stage: Stage) -> None:
    running(stage)
    stage.held("instance:deploy", "bee", "--list")
    stage.held("instance:deploy", "bee", "--dry-run")
    assert not [name for name in stage.authority.actions if "Describe" not in name and not name.startswith("ssm:Get")]
