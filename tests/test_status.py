"""group:status: what is to be run next for a group that runs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from nodepkg.autoscale.journal import Sizes, kept_sizes
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.clients.aws.images import Image
from nodepkg.images.due import Shown
from nodepkg.status import Local, Remote, Running, next_command
from tests.autoscale.test_run import group

OURS = {"group": "bee-group", "nodepkg:managed": "true"}
SERVING = OURS | {"nodepkg:phase": "serving"}
KEPT = OURS | {"nodepkg:phase": "kept"}
ROLLING = OURS | {"nodepkg:run": "r", "nodepkg:old": "bee-group-v001"}


def runs(name: str, tags: dict[str, str], image: str, size: int = 1) -> Running:
    return Running(AutoScalingGroup(name, tags, size, size, size, (), None), image)


@pytest.mark.parametrize(
    ("running", "command"),
    [
        ([], "package autoscale:run bee-group"),
        ([runs("bee-group-v001", SERVING, "ami-2")], ""),
        ([runs("bee-group-v001", SERVING, "ami-1")], "package autoscale:update bee-group"),
        ([runs("bee-group-v001", KEPT, "ami-1", 0), runs("bee-group-v002", SERVING, "ami-2")], ""),
        (
            [runs("bee-group-v001", KEPT, "ami-2", 0), runs("bee-group-v002", SERVING, "ami-1")],
            "package autoscale:update bee-group",
        ),
        ([runs("bee-group-v001", SERVING | kept_sizes(Sizes(1, 2, 1)), "ami-1", 0)], ""),
        (
            [
                runs("bee-group-v001", SERVING, "ami-1"),
                runs("bee-group-v002", ROLLING | {"nodepkg:phase": "hold"}, "ami-2"),
            ],
            "package autoscale:update bee-group",
        ),
        (
            [
                runs("bee-group-v001", SERVING, "ami-2"),
                runs("bee-group-v002", ROLLING | {"nodepkg:phase": "rollback"}, "ami-1"),
            ],
            "package autoscale:rollback bee-group",
        ),
    ],
)
def test_what_runs_an_older_image_is_updated(running: list[Running], command: str) -> None:
    tags: dict[str, Any] = {"nodepkg:digest": "d", "nodepkg:source_ami": "ami-0"}
    newest = Image("ami-2", "bee 2", datetime(2026, 1, 1, tzinfo=UTC), "available", tags)
    there = Remote(Shown(newest), tuple(running))
    assert next_command(group(), Local({}, "d"), there) == command
