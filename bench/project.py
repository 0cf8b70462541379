"""A project of many groups: nodes.json with layers, cookbooks, a data bag.

Usage: project.py FOLDER [GROUPS]
"""

import json
import sys
from pathlib import Path
from typing import Any

REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1")
KINDS = ("web", "worker", "cache", "queue", "search")
TYPES = ("m5.large", "c5.xlarge", "r5.2xlarge", "t3.small")
RECIPES = ("frontend", "api", "reports", "billing", "ingest", "mailer")


def document(groups: int) -> dict[str, Any]:
    """`__base__`, a layer for each region and kind, and the groups, six of ten with an Auto Scaling group."""
    made: dict[str, Any] = {"__base__": base()}
    for number, region in enumerate(REGIONS):
        made[f"__{region}__"] = {"region": region, "source_ami": f"ami-{number:017x}", "zones": [f"{region}a"]}
    for number, kind in enumerate(KINDS):
        made[f"__{kind}__"] = layer(kind, number)
    for number in range(groups):
        made[f"{KINDS[number % 5]}-{RECIPES[number % 6]}-{number:05}"] = group(number)
    return made


def base() -> dict[str, Any]:
    return {
        "autoscale": False,
        "instance_type": "m5.large",
        "source_ami": "ami-1ebb2077",
        "security_groups": ["external", "internal"],
        "tags": {"team": "ops", "cost-centre": "4711"},
        "default_attributes": {
            "environment": "production",
            "ntp": {"servers": ["ntp1.example.com", "ntp2.example.com"]},
            "users": ["ops", "deploy"],
        },
        "packer": {"ssh_source_cidrs": ["192.0.2.0/24"]},
        "run_list": ["recipe[company::base]", "recipe[company::users]"],
        "post_run_list": ["recipe[company::collect-services]"],
    }


def layer(kind: str, number: int) -> dict[str, Any]:
    return {
        "security_groups": [kind],
        "tags": {"kind": kind},
        "block_devices": [{"device": "/dev/sda1", "size_gb": 20 + number}],
        "default_attributes": {kind: {"enabled": True, "port": 8000 + number}},
        "override_attributes": {"limits": {"nofile": 65536, "nproc": 1024 * (number + 1)}},
        "run_list": [f"recipe[company::{kind}]"],
    }


def group(number: int) -> dict[str, Any]:
    kind, recipe = KINDS[number % 5], RECIPES[number % 6]
    made: dict[str, Any] = {
        "description": f"{recipe} of customer {number}, on {kind} machines",
        "inherits": [f"__{REGIONS[number % 4]}__", f"__{kind}__"],
        "instance_type": TYPES[number % 4],
        "default_attributes": {
            "customer": {"id": number, "name": f"Kunde Nº {number}", "plan": "gold"},
            "key": "value",
        },
        "run_list": [f"recipe[service::{recipe}]"],
    }
    if number % 10 < 6:
        made["autoscale"] = {"timeout": 120, "node_min": 1 + number % 3, "node_max": 4 + number % 5}
    if number % 7 == 0:
        made["block_devices"] = [{"device": "/dev/sdb", "size_gb": 100, "type": "gp3", "encrypted": True}]
    return made


def make_project(folder: Path, groups: int) -> None:
    files = {"nodes.json": json.dumps(document(groups), indent=4, ensure_ascii=False) + "\n"}
    for cookbook in ("company", "service"):
        files[f"cookbooks/{cookbook}/metadata.rb"] = f"name '{cookbook}'\nversion '1.0.0'\n"
        for recipe in ("base", "users", "collect-services", *KINDS, *RECIPES):
            files[f"cookbooks/{cookbook}/recipes/{recipe}.rb"] = f"package '{recipe}'\n" * 10
    files["data_bags/users/deploy.json"] = '{"id": "deploy"}\n'
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    make_project(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
