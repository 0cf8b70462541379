"""One group on a realistic AWS of this machine, in real time and with short delays, as a process of its own.

python bench/realtime.py FOLDER NODES MIN: writes nodes.json into the folder, starts the group with a target group, and
prints one JSON object: port, target group, the new image. It serves until its standard input ends, and then prints
another one: calls, how many nodes served when, and the least of it.
"""

import json
import logging
import sys
import time
from pathlib import Path

import rolling
from rolling import Counting
from tests.fleets import fleet

from nodepkg.sandbox.realistic import RealClock

DELAYS = {"pending": 3, "checks": 1, "healthy": 3, "drain": 2, "termination": 2, "notice": 2, "delete": 2}
GROUP = "bee"


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    folder, size, least = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    clock = RealClock()
    counting = Counting(clock)
    autoscale = {
        **{"node_min": least, "node_max": size, "node_desired": size},
        **{"bake_time": 0, "timeout": 0, "ready_timeout": 300, "health_check_type": "ELB"},
    }
    with fleet(counting, clock=clock, **DELAYS) as rig:
        nodes = rolling.nodes_of(folder, [GROUP], autoscale, {GROUP: "web"})
        rolling.started(rig, nodes, [GROUP], sum(DELAYS.values()))
        region = rig.world()
        counting.came.clear()
        begin = time.time()
        (target,) = region.now_there.balancing.target_groups
        image = list(region.now_there.ec2.amis)[-1]
        print(json.dumps({"endpoint": rig.endpoint, "target": target, "image": image}), flush=True)
        sys.stdin.read()
        told = {
            "first": counting.came[0].at,
            "last": counting.came[-1].at,
            "kinds": rolling.by_kind(counting.came),
            "actions": rolling.by_action(counting.came),
            "least": region.low_water(GROUP, begin),
            "history": [(one.at - begin, one.serving) for one in region.history(GROUP) if one.at > begin],
            "images": sorted(node.image for asg in region.now_there.groups for node in region.nodes(asg)),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
