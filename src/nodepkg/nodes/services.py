"""The key `services`: what a group's nodes announce, what they need; and which services a run list provides."""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from nodepkg.nodes.deploy import SHARE
from nodepkg.nodes.model import Model, Seconds, Text, unit, without_null
from nodepkg.nodes.names import SERVICE_NAME, anchored, recipe_of, service_name_problem

NODE_ADDRESS_FIELDS = ("private_ip", "public_ip", "private_dns", "instance_id", "zone")
_NODE_ADDRESS = re.compile(rf"(?:[A-Za-z0-9._:-]|\{{(?:{'|'.join(NODE_ADDRESS_FIELDS)})\}})+")
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_.-]+)+")
_HTTP = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(?:[/?][!-~]*)?")


def provided(run_list: Iterable[str], cookbook: str) -> list[str]:
    """The services of a run list, in its order, each once: recipe[COOKBOOK::NAME], in whatever way it is written."""
    recipes = [found for item in run_list if (found := recipe_of(item))]
    return list(dict.fromkeys(name for book, name in recipes if book == cookbook and not service_name_problem(name)))


def _service(name: str) -> str:
    if problem := service_name_problem(name):
        raise ValueError(problem)
    return name


def _matching(rule: re.Pattern[str], told: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not rule.fullmatch(text):
            raise ValueError(told)
        return text

    return check


def _named(services: dict[str, Any]) -> dict[str, Any]:
    for name in services:
        _service(name)
    return services


ServiceName = Annotated[str, AfterValidator(_service), Field(json_schema_extra={"pattern": anchored(SERVICE_NAME)})]
Endpoint = Annotated[
    str,
    AfterValidator(_matching(_ENDPOINT, "is no endpoint such as http://127.0.0.1:2379")),
    Field(json_schema_extra={"pattern": anchored(_ENDPOINT)}),
]
Prefix = Annotated[
    str,
    AfterValidator(_matching(_PREFIX, "is no prefix such as /nodepkg")),
    Field(json_schema_extra={"pattern": anchored(_PREFIX)}),
]
HttpUrl = Annotated[
    str,
    AfterValidator(_matching(_HTTP, "is no URL such as http://127.0.0.1:8080/health")),
    Field(json_schema_extra={"pattern": anchored(_HTTP)}),
]
NodeAddress = Annotated[
    str,
    AfterValidator(_matching(_NODE_ADDRESS, "has to be a template such as {private_ip}")),
    Field(json_schema_extra={"pattern": anchored(_NODE_ADDRESS)}),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]


class Check(Model):
    """How a node asks whether one of its services is well: by `command` or by `http`, never by both."""

    command: Text | None = Field(
        None, description="Shell command, run as the agent's user; 0 is well.", examples=["pgrep -f api-workers"]
    )
    http: HttpUrl | None = Field(
        None, description="URL on the node that is answered with 2xx.", examples=["http://127.0.0.1:8080/health"]
    )
    interval: Positive = Field(10, description="How often.", examples=[10], json_schema_extra=unit("seconds"))
    timeout: Positive = Field(
        5, description="How long an answer may take.", examples=[5], json_schema_extra=unit("seconds")
    )
    rise: Positive = Field(2, description="So many good answers in a row announce the service.", examples=[2])
    fall: Positive = Field(3, description="So many bad answers in a row take it back.", examples=[3])


class External(Model):
    """One address of an attached service that no group provides."""

    host: Text = Field(description="Name or address.", examples=["db.example.internal"])
    port: Port | None = Field(None, description="Port.", examples=[5432])


class Tls(Model):
    """Files on the node (and on your machine) with which etcd is reached by https."""

    ca: Text | None = Field(
        None,
        description="Certificates that vouch for etcd; default: those of the system.",
        examples=["/etc/etcd/ca.pem"],
    )
    cert: Text | None = Field(None, description="The client's own certificate.", examples=["/etc/etcd/node.pem"])
    key: Text | None = Field(None, description="The key of `cert`.", examples=["/etc/etcd/node-key.pem"])


class Services(Model):
    """What the group's nodes announce, and what they need: docs/services.md."""

    cookbook: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        description="Cookbook whose recipes are the services, but for `default` and `delete-…`: a run list with "
        "`recipe[COOKBOOK::NAME]` provides the service NAME.",
        examples=["seatgeek-service"],
    )
    ports: Annotated[
        dict[str, Port],
        BeforeValidator(without_null, json_schema_input_type=dict[str, Port | None]),
        AfterValidator(_named),
    ] = Field({}, description="Port of each service that has one.", examples=[{"api-workers": 8080}])
    checks: Annotated[
        dict[str, Check],
        BeforeValidator(without_null, json_schema_input_type=dict[str, Check | None]),
        AfterValidator(_named),
    ] = Field(
        {},
        description="How a service is found to be well; without a check it is whenever the agent runs.",
        examples=[{"api-workers": {"http": "http://127.0.0.1:8080/health"}}],
    )
    requires: list[ServiceName] = Field(
        [],
        description="Services that the group's nodes need: they converge when those change.",
        examples=[["api-workers"]],
    )
    external: Annotated[
        dict[str, list[External]],
        BeforeValidator(without_null, json_schema_input_type=dict[str, list[External] | None]),
        AfterValidator(_named),
    ] = Field(
        {},
        description="Attached services that no group provides, such as databases, by name.",
        examples=[{"db": [{"host": "db.example.internal", "port": 5432}]}],
    )
    etcd: list[Endpoint] = Field(
        ["http://127.0.0.1:2379"],
        min_length=1,
        description="Endpoints of the etcd (v3) that is the registry.",
        examples=[["https://etcd-1.example.internal:2379", "https://etcd-2.example.internal:2379"]],
    )
    tls: Tls = Field(Tls(), description="How etcd is reached by https.")
    user: Text | None = Field(None, description="User in etcd; NODEPKG_ETCD_USER counts before it.", examples=["nodes"])
    password_file: Text | None = Field(
        None,
        description="File with the user's password; NODEPKG_ETCD_PASSWORD counts before it.",
        examples=["/etc/etcd/password"],
    )
    prefix: Prefix = Field("/nodepkg", description="Where in etcd the registry lies.", examples=["/staging/nodepkg"])
    attribute: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = Field(
        "nodepkg",
        description="Chef attribute that has the maps `services` and `available`.",
        examples=["seatgeek-services"],
    )
    address: NodeAddress = Field(
        "{private_ip}",
        description="What a node announces as its host; `{private_ip}`, `{public_ip}`, `{private_dns}`, `{zone}` and "
        "`{instance_id}` stand for its own, as EC2 tells them.",
        examples=["{private_dns}"],
    )
    ttl: Annotated[int, Field(ge=2)] = Field(
        30,
        description="A node that is dead has vanished after this time.",
        examples=[30],
        json_schema_extra=unit("seconds"),
    )
    debounce: Seconds = Field(
        2,
        description="After a change it has to be quiet for so long before a node converges.",
        examples=[2],
        json_schema_extra=unit("seconds"),
    )
    most_debounce: Seconds = Field(
        30,
        description="Where it never gets quiet, it converges after so long.",
        examples=[30],
        json_schema_extra=unit("seconds"),
    )
    at_once: Positive | Annotated[str, Field(pattern=anchored(SHARE))] = Field(
        "10%",
        description="So many nodes of the group, a number or a percentage, converge at a time (at least one).",
        examples=[2],
    )
    timeout: Positive = Field(
        1800,
        description="How long a converge may take before it is ended.",
        examples=[1800],
        json_schema_extra=unit("seconds"),
    )
    min_providers: Seconds = Field(
        1,
        description="If fewer providers of a service are left at once, without having said so, it is doubted.",
        examples=[2],
    )
    doubt: Seconds = Field(
        60,
        description="For how long a list that is doubted has to be stable before it is believed.",
        examples=[60],
        json_schema_extra=unit("seconds"),
    )
