"""The real Packer waits for what takes its time, and removes what it made."""

import json
import os
import subprocess
from pathlib import Path

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox.environment import child_environment
from nodepkg.sandbox.packer import staged_template
from tests.faults import Recorder, aws, pending_images, slow_termination
from tests.packers import each_packer
from tests.sandbox.test_packer import TEMPLATE


def build(packer: str, account: Account, folder: Path) -> None:
    file = folder / "bee.json"
    file.write_text(json.dumps(staged_template(TEMPLATE, str(account.endpoint))))
    environment = child_environment({**os.environ, "HOME": str(folder)}, str(account.endpoint))
    command = [packer, "build", "-machine-readable", str(file)]
    done = subprocess.run(
        command, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_packer
def test_packer_waits_for_an_image_and_for_the_end_of_its_instance(packer: str, tmp_path: Path) -> None:
    recorder = Recorder()
    with aws(pending_images(3), slow_termination(2), recorder) as account:
        build(packer, account, tmp_path)
        ec2 = account.client("ec2", "us-east-1")
        (image,) = ec2.describe_images(Owners=["self"])["Images"]
        assert image["State"] == "available"
        (reservation,) = ec2.describe_instances()["Reservations"]
        assert reservation["Instances"][0]["State"]["Name"] == "terminated"
        assert [one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
        assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert recorder.counts["CreateImage"] == recorder.counts["DeleteSecurityGroup"] == 1
    looks = [call.action for call in recorder.calls]
    assert looks[looks.index("CreateImage") :].count("DescribeImages") > 3
