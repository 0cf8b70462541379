"""SSH hosts on loopback addresses, and an AWS of this machine that has an instance for each, as a process of its own.

python bench/many_hosts.py FOLDER HOSTS: prints one JSON object, where they are and how one logs in, and serves until
its standard input ends. The hosts are those of the tests (tests/rig/hosts.py): real sshds, state folders for each.
"""

import json
import logging
import sys
import threading
from pathlib import Path

from werkzeug.serving import make_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.rig.hosts import hosts

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox import moto_seed
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion
from nodepkg.sandbox.server import front

IMAGE, REGION, GROUP = "ami-1ebb2077", "us-east-1", "bee"


def addresses(count: int) -> list[str]:
    return [f"127.0.{2 + number // 250}.{1 + number % 250}" for number in range(count)]


def start_instances(endpoint: str, wanted: list[str]) -> None:
    """An instance of the group for each address, which is its tag."""
    client = Account(endpoint=endpoint).client("ec2", REGION)
    tags = [{"Key": "group", "Value": GROUP}, {"Key": "nodepkg:managed", "Value": "true"}]
    made = client.run_instances(
        ImageId=IMAGE,
        InstanceType="m1.large",
        MinCount=len(wanted),
        MaxCount=len(wanted),
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    for instance, address in zip(made["Instances"], wanted, strict=True):
        client.create_tags(Resources=[instance["InstanceId"]], Tags=[{"Key": "address", "Value": address}])


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    folder, wanted = Path(sys.argv[1]), addresses(int(sys.argv[2]))
    moto_seed.apply(Seed({REGION: SeedRegion(images=(SeedImage(IMAGE, "precise"),), instance_types=("m1.large",))}))
    server = make_server("127.0.0.1", 0, front(), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.port}"
    start_instances(endpoint, wanted)
    with hosts(folder, wanted) as fleet:
        told = {"endpoint": endpoint, "addresses": wanted, "port": fleet.port, "home": fleet.home, "key": fleet.key}
        print(json.dumps(told, default=str), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
