"""The yardstick of the large figures: what `group:create` writes, for the nodes.json of project.py, by plain Python.

Reads, merges by the same rules, dumps and writes. It validates nothing, compares nothing with what is on disk,
knows no templates and no other key than those of project.py. Usage: bare-create SOLO_RB, in the project's folder.
"""

import json
import sys
from pathlib import Path
from shlex import quote

AS_ROOT = (
    'if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then sudo -n env {{ .Vars }} sh -e {{ .Path }};'
    " else env {{ .Vars }} sh -e {{ .Path }}; fi"
)
INSTALL = (
    "command -v chef-solo >/dev/null || { curl -fsSL https://omnitruck.chef.io/install.sh -o /tmp/install-chef.sh"
    " && sh /tmp/install-chef.sh -v 18 && rm /tmp/install-chef.sh; }"
)
PATH = "/opt/nodepkg"
FOLDERS = f"{PATH}/cookbooks {PATH}/data_bags {PATH}/roles"


def merge(parent, child):
    merged = dict(parent)
    for key, value in child.items():
        before = merged.get(key)
        if isinstance(before, list) and isinstance(value, list):
            merged[key] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            merged[key] = {**before, **value}
        else:
            merged[key] = value
    return merged


def role(name, group):
    return {
        "name": f"role-{name}",
        "chef_type": "role",
        "json_class": "Chef::Role",
        "description": group.get("description", ""),
        "override_attributes": group.get("override_attributes", {}),
        "default_attributes": group.get("default_attributes", {}),
        "run_list": group.get("run_list", []) + group.get("post_run_list", []),
    }


def dna(name):
    return {"id": name, "run_list": [f"role[role-{name}]"]}


def volume(device):
    made = {
        "device_name": device["device"],
        "volume_size": device["size_gb"],
        "volume_type": device.get("type", "gp3"),
        "iops": 3000,
        "throughput": 125,
    }
    if "encrypted" in device:
        made["encrypted"] = device["encrypted"]
    return {**made, "delete_on_termination": True}


def builder(name, group):
    tags = group.get("tags", {})
    image_tags = {
        **tags,
        "group": name,
        "nodepkg:managed": "true",
        "nodepkg:source_ami": "{{ .SourceAMI }}",
        "nodepkg:commit": "{{user `nodepkg_commit`}}",
        "nodepkg:digest": "{{user `nodepkg_digest`}}",
    }
    return {
        "type": "amazon-ebs",
        "region": group["region"],
        "source_ami": group["source_ami"],
        "instance_type": group["instance_type"],
        "ssh_username": "ubuntu",
        "temporary_security_group_source_cidrs": group["packer"]["ssh_source_cidrs"],
        "ami_name": name + " {{timestamp}}",
        "temporary_key_pair_name": "{{user `nodepkg_key_pair`}}",
        "launch_block_device_mappings": [volume(device) for device in group["block_devices"]],
        "tags": image_tags,
        "snapshot_tags": {**image_tags, "nodepkg:image-snapshot": "true"},
        "run_tags": {**tags, "nodepkg:managed": "true", "nodepkg:build": "{{user `nodepkg_build`}}"},
    }


def upload(source, destination):
    return {"type": "file", "source": "{{template_dir}}/../" + source, "destination": f"{PATH}/{destination}"}


def as_root(*lines):
    return {"type": "shell", "execute_command": AS_ROOT, "inline": list(lines)}


def packer(name, group, solo_rb):
    files = {"solo.rb": solo_rb, "dna.json": json.dumps(dna(name), indent=4, ensure_ascii=False)}
    return {
        "variables": {"nodepkg_build": "", "nodepkg_commit": "", "nodepkg_digest": "", "nodepkg_key_pair": ""},
        "builders": [builder(name, group)],
        "provisioners": [
            as_root(
                f"rm -rf {FOLDERS} {PATH}/solo.rb {PATH}/dna.json",
                f"mkdir -p {FOLDERS}",
                f'chown -R "${{SUDO_UID:-$(id -u)}}" {PATH}',
            ),
            upload("cookbooks/", "cookbooks"),
            upload("data_bags/", "data_bags"),
            upload(f"roles/{name}.json", f"roles/role-{name}.json"),
            {
                "type": "shell",
                "inline": [f"printf '%s\\n' {quote(text)} > {PATH}/{file}" for file, text in files.items()],
            },
            as_root(INSTALL),
            as_root(f"chef-solo --chef-license accept-silent -c {PATH}/solo.rb -j {PATH}/dna.json"),
        ],
    }


def write(path, document):
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - the plainest way that there is
        file.write(json.dumps(document, indent=4, ensure_ascii=False) + "\n")


def main():
    solo_rb = Path(sys.argv[1]).read_text("utf-8").rstrip("\n")
    entries = json.loads(Path("nodes.json").read_text("utf-8"))
    for folder in ("roles", "packer", "dna/asg"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for name, entry in entries.items():
        if name.startswith("__"):
            continue
        group = entries["__base__"]
        for layer in entry["inherits"]:
            group = merge(group, entries[layer])
        group = merge(group, entry)
        write(f"roles/{name}.json", role(name, group))
        write(f"packer/{name}.json", packer(name, group, solo_rb))
        if group["autoscale"]:
            write(f"dna/asg/{name}.json", dna(name))
