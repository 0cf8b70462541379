"""The keys of an entry of nodes.json: their types, units, defaults and meaning.

docs/nodes.md and nodes.schema.json are made from this file, so a description here is a sentence there. A
key is added by adding a field; nothing else lists them. Where a rule is Python, its `json_schema_extra` or
`json_schema_input_type` says the same to editors.
"""

import re
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_core import PydanticKnownError

from nodepkg.nodes.deploy import Deploy
from nodepkg.nodes.health_url import HEALTH_URL, checked_health_url
from nodepkg.nodes.model import Model, Seconds, Size, Text, Word, unit, without_null
from nodepkg.nodes.names import LAYER_NAME, RUN_LIST_ITEM, anchored, run_list_item_problem
from nodepkg.nodes.services import Services

SOURCE_KEYS = ("source_ami", "source_group", "source_ami_filter")

# Keys of a builder that nodepkg writes itself, and the key of nodes.json that decides each.
WRITTEN_BUILDER_KEYS = {
    "type": "type",
    "region": "region",
    "source_ami": "source_ami",
    "source_ami_filter": "source_ami_filter",
    "ami_name": "the group's name",
    "tags": "tags",
    "snapshot_tags": "tags",
    "run_tags": "tags",
    "launch_block_device_mappings": "block_devices",
    "temporary_key_pair_name": "the build's id",
}
SECRET_BUILDER_KEYS = ("access_key", "secret_key", "token", "mfa_code")

RESERVED_TAG = re.compile(r"^(?:group$|nodepkg:|aws:)")
LONGEST_TAG_KEY, LONGEST_TAG_VALUE = 128, 256
MOST_USER_DATA = 16_384  # bytes
_OWN_FOLDER = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,}")


def _run_list_item(item: str) -> str:
    if problem := run_list_item_problem(item):
        raise ValueError(problem)
    return item


def _false_is_none(value: Any) -> Any:
    if value is True:
        raise ValueError("true says nothing: write {} for a group with the defaults, or false for none")
    return None if value is False else value


def _exactly_false(value: Any) -> Any:
    if value is not False:  # to pydantic 0 is a Literal[False], too
        raise PydanticKnownError("literal_error", {"expected": "False"})
    return value


def _builder_keys(builder: dict[str, Any]) -> dict[str, Any]:
    for key in builder:
        if key != key.lower():
            raise ValueError(
                f"{key} has to be in lower case: Packer reads either, and nodepkg has to know what it says"
            )
        if key in SECRET_BUILDER_KEYS or key.endswith("_password"):
            raise ValueError(f"{key} is a secret, and is never written: Packer takes credentials from its environment")
        if key in WRITTEN_BUILDER_KEYS:
            raise ValueError(f"{key} is written by nodepkg: it follows from {WRITTEN_BUILDER_KEYS[key]}")
    return builder


def _tag_keys(tags: dict[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if RESERVED_TAG.search(key):
            raise ValueError(f"the tag {key} is reserved: by it nodepkg (or AWS) knows what belongs to whom")
        if not 1 <= len(key) <= LONGEST_TAG_KEY or len(value) > LONGEST_TAG_VALUE:
            raise ValueError(
                f"the tag {key[:40]}: AWS takes keys of 1 to {LONGEST_TAG_KEY} and values of at most"
                f" {LONGEST_TAG_VALUE} characters"
            )
        if "{{" in key or "{{" in value:
            # It renders tags until nothing changes any more (packer-plugin-sdk, template/interpolate/render.go).
            raise ValueError(f"the tag {key[:40]}: Packer evaluates {{{{…}}}} in tags, and cannot be kept from it")
    return tags


# The same two rules as JSON Schema has them: patterns of keys.
_REFUSED_BUILDER_KEYS = (
    "[A-Z]",
    f"^(?:{'|'.join(SECRET_BUILDER_KEYS)})$|_password$",
    f"^(?:{'|'.join(WRITTEN_BUILDER_KEYS)})$",
)
_TAGS_ONLY_TAKEN_BACK = (RESERVED_TAG.pattern, r"\{\{", rf"^$|^[\s\S]{{{LONGEST_TAG_KEY + 1}}}")


def _own_folder(path: str) -> str:
    if not _OWN_FOLDER.fullmatch(path):
        raise ValueError("has to be an absolute path of letters, digits, . _ -, two folders deep, such as /opt/nodepkg")
    return path


RunListItem = Annotated[
    str, AfterValidator(_run_list_item), Field(json_schema_extra={"pattern": anchored(RUN_LIST_ITEM)})
]
# That it is the name of a layer is inheritance.py's to say, which knows those that there are.
LayerName = Annotated[Text, Field(json_schema_extra={"pattern": anchored(LAYER_NAME)})]
TagValue = Annotated[str, Field(max_length=LONGEST_TAG_VALUE, json_schema_extra={"not": {"pattern": r"\{\{"}})]
Attributes = dict[str, Any]
Tags = Annotated[
    dict[str, str],
    BeforeValidator(without_null, json_schema_input_type=dict[str, TagValue | None]),
    AfterValidator(_tag_keys),
    Field(json_schema_extra={"patternProperties": {key: {"type": "null"} for key in _TAGS_ONLY_TAKEN_BACK}}),
]
BuilderKeys = Annotated[
    Attributes,
    AfterValidator(_builder_keys),
    Field(json_schema_extra={"patternProperties": dict.fromkeys(_REFUSED_BUILDER_KEYS, False)}),
]


def _not_both(one: str, other: str) -> JsonDict:
    """JSON Schema: at most one of two keys is there and not null."""
    not_null: JsonDict = {"not": {"type": "null"}}
    return {"not": {"required": [one, other], "properties": {one: not_null, other: not_null}}}


class AmiFilter(Model):
    """The newest public or shared image whose name matches."""

    name: Text = Field(description="Name of the image; `*` and `?` match.", examples=["ubuntu/images/*jammy*amd64*"])
    owners: list[Text] = Field(
        min_length=1,
        description="Accounts (or `amazon`, `self`) that may own it: anybody can publish an image under any name.",
        examples=[["099720109477"]],
    )


class BlockDevice(Model):
    """One volume, of the image and of the nodes."""

    device: Text = Field(description="Device name; of two with one name the last wins.", examples=["/dev/sda1"])
    size_gb: int | None = Field(None, ge=1, description="Size.", examples=[20], json_schema_extra=unit("GB"))
    type: Word = Field("gp3", description="Volume type.", examples=["gp3"])
    encrypted: bool | None = Field(
        None, description="Encrypt it; unset, the account's setting decides.", examples=[True]
    )
    iops: int | None = Field(None, ge=1, description="Provisioned operations a second.", examples=[3000])
    throughput: int | None = Field(
        None, ge=1, description="Throughput (gp3).", examples=[250], json_schema_extra=unit("MB/s")
    )
    kms_key_id: Text | None = Field(None, description="Key to encrypt with.", examples=["alias/nodes"])
    delete_on_termination: bool = Field(True, description="Goes with its instance.", examples=[True])


class Chef(Model):
    """How an image build gets Chef, and runs it."""

    install: Text | Annotated[Literal[False], BeforeValidator(_exactly_false)] = Field(
        "command -v chef-solo >/dev/null || { curl -fsSL https://omnitruck.chef.io/install.sh -o /tmp/install-chef.sh"
        " && sh /tmp/install-chef.sh -v 18 && rm /tmp/install-chef.sh; }",
        description="Shell command, run as root, that installs Chef; false: the source image has it.",
        examples=["apt-get install -y cinc"],
    )
    command: Text = Field(
        "chef-solo --chef-license accept-silent -c {path}/solo.rb -j {path}/dna.json",
        description="Shell command, run as root, that converges; `{path}` is the bundle's folder.",
        examples=["cinc-solo -c {path}/solo.rb -j {path}/dna.json"],
    )
    path: Annotated[str, AfterValidator(_own_folder)] = Field(
        "/opt/nodepkg",
        description="Folder of the bundle on the node.",
        examples=["/var/lib/nodepkg"],
        json_schema_extra={"pattern": anchored(_OWN_FOLDER)},
    )


class Packer(Model):
    """How the group's image is built."""

    format: Literal["json", "hcl2"] = Field(
        "json",
        description="Language of the template: `json`, which every Packer reads, or `hcl2` for Packer 1.7 and newer.",
        examples=["hcl2"],
    )
    template: Word | None = Field(
        None,
        description="Template to render, `templates/packer/NAME.j2`, in HCL2 `NAME.pkr.hcl.j2`; default: "
        "the builder's `type`.",
        examples=["web"],
    )
    ssh_source_cidrs: list[Text] = Field(
        [],
        description="Networks that may reach the build machine by SSH; without it the world may with `json`, and with "
        "`hcl2` only the address that Packer is run from.",
        examples=[["10.0.0.0/8"]],
    )
    builder: BuilderKeys = Field(
        {},
        description="Further keys of the builder, as Packer knows them (its own `{{…}}` work in them, in HCL2 those "
        "that it has there); for the build they come before `instance_type`, `ssh_username` and `ssh_source_cidrs`.",
        examples=[{"ena_support": True, "instance_type": "c5.large"}],
    )
    chef: Chef = Field(Chef(), description="How Chef is installed and run.")


class Autoscale(Model):
    """The group's Auto Scaling group."""

    timeout: Seconds = Field(
        120,
        description="How long an old group waits before it goes, so that every other node has a chance to update.",
        examples=[120],
        json_schema_extra=unit("seconds"),
    )
    node_min: Size = Field(1, description="Fewest nodes.", examples=[2])
    node_max: Size | None = Field(
        None, description="Most nodes; default: the larger of node_min and node_desired.", examples=[4]
    )
    node_desired: Size | None = Field(None, description="Nodes to start with; default: node_min.", examples=[2])
    ready_timeout: Seconds = Field(
        900,
        description="How long new nodes may take until they serve.",
        examples=[900],
        json_schema_extra=unit("seconds"),
    )
    bake_time: Seconds = Field(
        60, description="How long new nodes must stay healthy.", examples=[60], json_schema_extra=unit("seconds")
    )
    health_check_type: Literal["EC2", "ELB"] | None = Field(
        None, description="Who judges a node's health; default: ELB with target groups, else EC2.", examples=["ELB"]
    )
    health_check_grace_period: Seconds = Field(
        300, description="How long a new node is not judged.", examples=[300], json_schema_extra=unit("seconds")
    )
    health_url: (
        Annotated[str, AfterValidator(checked_health_url), Field(json_schema_extra={"pattern": anchored(HEALTH_URL)})]
        | None
    ) = Field(
        None,
        description="What a node answers with 2xx when it serves; `{private_ip}`, `{public_ip}`, `{instance_id}`, "
        "`{zone}` and `{name}` (its tag Name) stand for the node's own. Without it nothing is asked.",
        examples=["http://{private_ip}:8080/health"],
    )
    health_timeout: Annotated[int, Field(ge=1)] = Field(
        5,
        description="How long a node may take to answer health_url.",
        examples=[5],
        json_schema_extra=unit("seconds"),
    )
    unhealthy_after: Seconds = Field(
        60,
        description="How long new nodes may be too few, with the old ones still there, before a rollout goes back.",
        examples=[60],
        json_schema_extra=unit("seconds"),
    )
    keep_old: Size = Field(
        0, description="How many old Auto Scaling groups stay, without nodes, to go back to.", examples=[1]
    )
    target_groups: list[Text] = Field(
        [], description="Names or ARNs of the target groups that the nodes serve.", examples=[["web-http"]]
    )
    wait: Literal["acknowledged", "full"] = Field(
        "acknowledged",
        description="With `services`: `timeout` ends early when all that use the old nodes have acknowledged that they "
        "leave, or is waited out in `full`.",
        examples=["full"],
    )

    @property
    def desired(self) -> int:
        return self.node_min if self.node_desired is None else self.node_desired

    @property
    def most(self) -> int:
        return max(self.node_min, self.desired) if self.node_max is None else self.node_max


class Settings(Model):
    """The keys of one entry: a layer or a group."""

    # That an entry names one source image at most is said by load.py, which knows where it stands.
    model_config = ConfigDict(json_schema_extra={"allOf": [_not_both(*pair) for pair in combinations(SOURCE_KEYS, 2)]})

    description: str = Field(
        "", description="What the machines are for; goes into the role.", examples=["worker processes"]
    )
    inherits: LayerName | list[LayerName] = Field(
        [], description="Layers below this entry, in order, besides `__base__`.", examples=["__web__"]
    )
    type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")] = Field(
        "amazon-ebs", description="Packer builder.", examples=["amazon-ebs"]
    )
    region: Annotated[str, Field(pattern=r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")] = Field(
        "us-east-1", description="AWS region.", examples=["eu-west-1"]
    )
    instance_type: Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")] = Field(
        "t3.small", description="Instance type, of the nodes and of the build machine.", examples=["m5.large"]
    )
    source_ami: Annotated[str, Field(pattern=r"^ami-[A-Za-z0-9]+$")] | None = Field(
        None, description="Image to build on, by id.", examples=["ami-1ebb2077"]
    )
    source_group: Text | None = Field(
        None, description="Image to build on: the newest of this other group.", examples=["12_04-base"]
    )
    source_ami_filter: AmiFilter | None = Field(None, description="Image to build on: the newest that matches.")
    ssh_username: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] = Field(
        "ubuntu", description="User that the source image lets log in.", examples=["admin"]
    )
    security_groups: list[Text] = Field(
        [],
        description="Security groups of the running nodes, by name or id.",
        examples=[["internal", "sg-0123456789abcdef0"]],
    )
    zones: list[Text] = Field(
        [], description="Availability zones of the nodes.", examples=[["us-east-1a", "us-east-1b"]]
    )
    subnets: list[Annotated[str, Field(pattern=r"^subnet-[A-Za-z0-9]+$")]] = Field(
        [],
        description="Subnets of the nodes; without these and zones: the default subnet of each zone with the type.",
        examples=[["subnet-0123456789abcdef0"]],
    )
    key_name: Text | None = Field(None, description="EC2 key pair of the nodes.", examples=["ops"])
    iam_instance_profile: Text | None = Field(
        None, description="Instance profile of the nodes, by name or ARN.", examples=["web-node"]
    )
    tags: Tags = Field(
        {},
        description="Tags of images, snapshots, build machines and nodes; null takes back a layer's.",
        examples=[{"team": "ops"}],
    )
    block_devices: list[BlockDevice] = Field([], description="Volumes; without it, those of the source image.")
    default_attributes: Attributes = Field(
        {}, description="Chef attributes of level default.", examples=[{"environment": "production"}]
    )
    override_attributes: Attributes = Field(
        {}, description="Chef attributes of level override.", examples=[{"nginx": {"workers": 4}}]
    )
    run_list: list[RunListItem] = Field(
        [], description="What Chef runs.", examples=[["recipe[seatgeek-service::api-workers]"]]
    )
    post_run_list: list[RunListItem] = Field(
        [],
        description="What Chef runs after the run lists of all entries.",
        examples=[["recipe[seatgeek::collect-services]"]],
    )
    role_name: Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9_-]|\{group\})+$")] = Field(
        "role-{group}", description="Name of the Chef role; `{group}` is the group's name.", examples=["role-{group}"]
    )
    packer: Packer = Field(Packer(), description="How the image is built.")
    user_data: Text | None = Field(
        None,
        description="User data of the nodes, at most 16 KB; default: a script that writes the dna and runs Chef.",
        examples=["#!/bin/sh\necho hello\n"],
        json_schema_extra={"maxLength": MOST_USER_DATA},
    )
    autoscale: Annotated[
        Autoscale | None, BeforeValidator(_false_is_none, json_schema_input_type=Autoscale | Literal[False] | None)
    ] = Field(
        None,
        description="The Auto Scaling group; false: none.",
        examples=[{"node_min": 2, "node_max": 4}],
        json_schema_extra={"default": False},
    )
    deploy: Deploy = Field(Deploy(), description="How `instance:deploy` reaches running nodes, and what it runs there.")
    services: Annotated[
        Services | None, BeforeValidator(_false_is_none, json_schema_input_type=Services | Literal[False] | None)
    ] = Field(
        None,
        description="What the nodes announce to each other, and need of each other; false: nothing.",
        examples=[{"cookbook": "seatgeek-service", "requires": ["recommendation"]}],
        json_schema_extra={"default": False},
    )
