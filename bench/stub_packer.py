#!/usr/bin/env python3
"""Stands for Packer where many builds run at once: starts quickly, and calls EC2 as Packer does, without its patience.

It prints what Packer prints with -machine-readable. The moment in which it calls RunInstances varies by two seconds, as
Packer's does, and one RequestLimitExceeded fails the build.
"""

import http.client
import json
import os
import random
import re
import sys
import time
from pathlib import Path
from urllib.parse import urlencode, urlsplit

AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"


def call(action: str, **parameters: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc, timeout=60)
    body = urlencode({"Action": action, "Version": "2016-11-15", **parameters})
    headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/", body, headers)
    response = connection.getresponse()
    answer = response.read().decode()
    connection.close()
    if response.status != http.HTTPStatus.OK:
        code = re.search("<Code>(.*?)</Code>", answer)
        tell("error", f"{action}: {code[1] if code else response.status}", target="amazon-ebs")
        sys.exit(1)
    return answer


def tell(kind: str, *data: str, target: str = "") -> None:
    escaped = [part.replace(",", "%!(PACKER_COMMA)").replace("\n", "\\n") for part in data]
    print(",".join([str(int(time.time())), target, kind, *escaped]), flush=True)


def build(template: Path) -> None:
    builder = json.loads(template.read_text())["builders"][0]
    group = builder["tags"]["group"]
    digest = next(word.removeprefix("nodepkg_digest=") for word in sys.argv if word.startswith("nodepkg_digest="))
    time.sleep(random.uniform(0, 2))
    tell("ui", "say", "==> amazon-ebs: Launching a source AWS instance...")
    source = {"ImageId": builder["source_ami"], "InstanceType": "m1.large", "MinCount": "1", "MaxCount": "1"}
    instance = re.search("<instanceId>(.*?)</instanceId>", call("RunInstances", **source))[1]
    time.sleep(3)
    image = re.search(
        "<imageId>(.*?)</imageId>", call("CreateImage", InstanceId=instance, Name=f"{group} {os.getpid()}")
    )[1]
    tags = {"group": group, "nodepkg:managed": "true", "nodepkg:digest": digest}
    named = {}
    for number, (key, value) in enumerate(tags.items(), 1):
        named |= {f"Tag.{number}.Key": key, f"Tag.{number}.Value": value}
    call("CreateTags", **{"ResourceId.1": image}, **named)
    call("TerminateInstances", **{"InstanceId.1": instance})
    tell("artifact", "0", "id", f"{builder['region']}:{image}", target="amazon-ebs")


if __name__ == "__main__":
    if sys.argv[1] == "version":
        print("Packer v1.6.6")
    elif sys.argv[1] == "build":
        build(Path(sys.argv[-1]))
