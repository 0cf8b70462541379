"""An embedded AWS in this process, with faults between it and its clients.

A fault is a layer (nodepkg.sandbox.front.Layer): `with aws(throttle("DescribeImages", 2), record) as account: ...`.
The last layer is the outermost. Actions are patterns: `"DescribeImages"`, `"Describe*"`, `"*"`. A process gets there
with `nodepkg.sandbox.environment.child_environment(os.environ, account.endpoint)`.
"""

from tests.faults.pages import cut_page, empty_page, short_pages
from tests.faults.replies import Recorder, dated, deny, fail, kill_at, lose_replies, refuse, throttle
from tests.faults.server import aws
from tests.faults.stale import stale
from tests.faults.states import no_room, pending_images, slow_start, slow_termination

__all__ = [
    "Recorder",
    "aws",
    "cut_page",
    "dated",
    "deny",
    "empty_page",
    "fail",
    "kill_at",
    "lose_replies",
    "no_room",
    "pending_images",
    "refuse",
    "short_pages",
    "slow_start",
    "slow_termination",
    "stale",
    "throttle",
]
