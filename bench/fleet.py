"""An AWS of this machine with many images in it, with EC2's request limits and 20 ms a call, as a process of its own.

python bench/fleet.py GROUPS IMAGES: prints its port, serves until its standard input ends, and then prints one JSON
object: calls and refusals by action, the ids of the images that are left, the seconds between the first and the last
deletion.
"""

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.worlds import STOCK_IMAGE, World

from nodepkg.sandbox import moto_seed
from nodepkg.sandbox.calls import read
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion
from nodepkg.sandbox.server import front
from nodepkg.sandbox.throttling import Throttling, latency

LATENCY = 0.02


class Changes:
    """Layer that notes when images and snapshots were deleted."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, app: Any) -> Any:
        def answer(environ: Any, start_response: Any) -> Any:
            if read(environ).action in ("DeregisterImage", "DeleteSnapshot"):
                self.times.append(time.monotonic())
            return app(environ, start_response)

        return answer


def populate(groups: int, images: int) -> World:
    region = SeedRegion(images=(SeedImage(STOCK_IMAGE, "precise"),), instance_types=("m1.large",))
    moto_seed.apply(Seed({"us-east-1": region}))
    world = World()
    for number in range(groups):
        group = f"group-{number:03}"
        made = world.images(group, images)
        world.template(group, [made[-1]])
        # Of groups with a launch template at size 0 aws-amicleaner 0.2.2 asks for a launch configuration named "".
        world.group(f"{group}-v001", configuration=world.launch_configuration(group, made[-1]))
    return world


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    throttling, changes = Throttling(), Changes()
    server = make_server("127.0.0.1", 0, front(layers=[changes, latency(LATENCY), throttling]), threaded=True)
    world = populate(int(sys.argv[1]), int(sys.argv[2]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    told = {
        "calls": throttling.calls,
        "refused": throttling.refused,
        "left": sorted(image for image in world.ec2.amis),
        "snapshots": len(world.ec2.snapshots),
        "seconds": changes.times[-1] - changes.times[0] if changes.times else 0,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
