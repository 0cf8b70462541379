"""config:explain: what the reader of a group is told."""

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_the_table_says_who_gave_each_value(run: Run, project: Path) -> None:
    done = run("config:explain", "12_04-www")
    assert done.code == 0
    lines = {line.split()[0]: line.split(maxsplit=4)[1:] for line in done.out.splitlines()}
    assert lines["security_groups[2]"] == ["append", "__web__", "nodes.json:31", '"www"']
    assert lines["packer.ssh_source_cidrs"] == ["merge", "__base__", "nodes.json:16", '["192.0.2.0/24"]']
    assert lines["instance_type"] == ["override", "12_04-www", "nodes.json:70", '"m3.xlarge"']
    assert lines["packer.chef.path"] == ["default", "-", "-", '"/opt/nodepkg"']
    assert lines["key_name"] == ["default", "-", "-", "none"]
    assert "instead of" not in done.out


def test_one_key_is_told_with_what_it_was_laid_over(run: Run, project: Path) -> None:
    lines = run("config:explain", "12_04-w*", "instance_type").out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["instance_type", "override", "12_04-www", "nodes.json:70", '"m3.xlarge"'],
        ["instead", "of", "-", "__base__", "nodes.json:8", '"m1.large"'],
    ]


def test_a_source_image_that_lost_names_the_winner(run: Run, project: Path) -> None:
    told = run("config:explain", "ftp-listener", "source_ami").out
    assert "none: source_group counts instead" in told
    assert '"ami-1ebb2077"' in told


def test_null_is_told_as_the_default_again(run: Run, project: Path) -> None:
    document = json.loads((project / "nodes.json").read_text())
    document["12_04-bee"] |= {"instance_type": None, "key_name": None}
    (project / "nodes.json").write_text(json.dumps(document))
    assert '"t3.small" (null: the default again)' in run("config:explain", "12_04-bee", "instance_type").out
    assert "none (null: the default again)" in run("config:explain", "12_04-bee", "key_name").out


def test_what_does_not_count_is_told_with_what_does(run: Run, project: Path) -> None:
    document = json.loads((project / "nodes.json").read_text())
    document["__base__"] |= {"packer": {"chef": {"path": "/opt/x"}}, "tags": {"team": "ops"}}
    volume = {"device": "/dev/sda1"}
    document["12_04-bee"] |= {
        "packer": {"chef": {"install": False}},
        "tags": {"team": None, "other": None},
        "block_devices": [volume, {**volume, "size_gb": 9}],
    }
    (project / "nodes.json").write_text(json.dumps(document, indent=4))
    path = run("config:explain", "12_04-bee", "packer.chef.path").out.splitlines()
    assert path[1].split()[1:3] == ["default", "12_04-bee"]
    assert path[1].endswith('"/opt/nodepkg" (packer.chef replaces it whole)')
    assert path[2].endswith('"/opt/x"')
    out = run("config:explain", "12_04-bee").out
    assert "none: block_devices[1] counts instead\n" in out
    assert "null (takes back the layer's)\n" in out
    assert out.count("takes back") == 1


def test_json_has_value_layer_place_and_rule(run: Run, project: Path) -> None:
    document = json.loads(run("config:explain", "12_04-www", "run_list.1", "--json").out)
    assert document == {
        "group": "12_04-www",
        "file": "nodes.json",
        "values": [
            {
                "key": "run_list[1]",
                "path": ["run_list", 1],
                "value": "recipe[nginx]",
                "layer": "__web__",
                "place": {"file": "nodes.json", "line": 39},
                "rule": "append",
                "reset": False,
                "by": None,
                "overrides": [],
            }
        ],
    }


def test_an_unknown_key_is_a_usage_error_with_the_nearest(run: Run, project: Path) -> None:
    done = run("config:explain", "12_04-www", "packer.chef.instal")
    assert done.code == 2
    assert "packer.chef.install" in done.err


def test_a_key_is_near_to_its_beginning(run: Run, project: Path) -> None:
    assert "did you mean packer.ssh_source_cidrs or" in run("config:explain", "12_04-www", "packer.ssh").err


def test_a_group_that_is_wrong_is_not_explained(run: Run, project: Path) -> None:
    document = json.loads((project / "nodes.json").read_text())
    document["12_04-bee"]["regoin"] = "x"
    (project / "nodes.json").write_text(json.dumps(document))
    assert run("config:explain", "12_04-bee").code == 3
    assert run("config:explain", "12_04-www").code == 0
    assert run("config:explain", "nobody").code == 2
