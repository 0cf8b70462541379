"""The roles by what Ansible's filter `combine` calls, without a playbook around it."""

import json
from pathlib import Path

from ansible.utils.vars import merge_hash

nodes = json.loads(Path("nodes.json").read_text("utf-8"))
for name, entry in nodes.items():
    if name.startswith("__"):
        continue
    group = nodes["__base__"]
    for child in (*(nodes[layer] for layer in entry["inherits"]), entry):
        group = merge_hash(group, child, recursive=True, list_merge="append")
    role = {
        "name": f"role-{name}",
        "chef_type": "role",
        "json_class": "Chef::Role",
        "description": group["description"],
        "override_attributes": group["override_attributes"],
        "default_attributes": group["default_attributes"],
        "run_list": group["run_list"] + group["post_run_list"],
    }
    Path("roles", f"{name}.json").write_text(json.dumps(role, indent=4, ensure_ascii=False) + "\n", "utf-8")
