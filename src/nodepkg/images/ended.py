"""What became of a build whose Packer has ended: is there an image, will there be one, and whose fault is it if not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from nodepkg.clients.aws.account import CONSISTENCY_SECONDS
from nodepkg.clients.aws.images import Image
from nodepkg.clients.aws.tags import Tags
from nodepkg.clients.packer_output import Outcome
from nodepkg.errors import AwsError, NodepkgError, ToolError
from nodepkg.images.newest import belongs
from nodepkg.images.workbench import Build

PENDING_SECONDS = 30 * 60.0
APPEARS_SECONDS = 30.0
# How Packer (the AWS SDKs in it) tells that AWS said no, that there are no credentials, or no source image.
_AWS_SAID_NO = re.compile(
    r"status code: [45]\d\d\b|\bapi error [A-Z]\w+|AuthFailure|NoCredentialProviders|No valid credential sources"
    r"|No AMI was found matching filters|InvalidAMIID|ExpiredToken|no EC2 IMDS role found"
)


class Fate(Enum):
    """What is to be done now."""

    BUILT = auto()
    ADOPT = auto()
    WAIT = auto()
    FAILED = auto()


@dataclass(frozen=True)
class Ended:
    """A build that is over: Packer's exit code, negative for a signal, and what it said.

    `marks` are the tags by which its image, if it has them, differs from those of other builds.
    """

    group: str
    region: str
    code: int
    outcome: Outcome
    marks: Tags = field(default_factory=dict)

    @classmethod
    def of(cls, build: Build, code: int, outcome: Outcome) -> "Ended":
        marks = {"nodepkg:build": build.id, "nodepkg:digest": build.digest}
        return cls(build.group, build.region, code, outcome, marks)

    @property
    def succeeded(self) -> bool:
        return self.code == 0 and self.outcome.artifact is not None

    @property
    def image(self) -> str | None:
        """The id of the image that there may be, as far as Packer said it. Raises ToolError if it made none here."""
        if self.succeeded:
            return image_in(self.outcome.artifact or "", self.region)
        return self.outcome.image

    @property
    def may_have_made_one(self) -> bool:
        return self.succeeded or self.outcome.makes

    def may_be_its_own(self, image: Image) -> bool:
        """Whether the image can be that of a failed build: it has the name that Packer announced.

        One of another name may be an intermediate step. Two builds of a group that begin in the same second give their
        images the same name, of which EC2 takes the first only.
        """
        own = all(image.tags.get(key) in (None, value) for key, value in self.marks.items())
        return own and image.name == self.outcome.image_name


def judge(ended: Ended, image: Image | None, waited: float) -> Fate:
    """What becomes of the build, `waited` seconds after its end, when AWS shows this image (None: none).

    An image that is new may be invisible for a while, and its tags may, by which what is built on it finds it.
    """
    if image is None:
        return Fate.WAIT if ended.may_have_made_one and waited < APPEARS_SECONDS else Fate.FAILED
    if not ended.succeeded and not ended.may_be_its_own(image):
        return Fate.FAILED
    if image.state == "pending":
        return Fate.WAIT if waited < PENDING_SECONDS else Fate.FAILED
    if image.state != "available":
        return Fate.FAILED
    if not ended.succeeded:
        return Fate.ADOPT
    return Fate.BUILT if belongs(image, ended.group) or waited >= CONSISTENCY_SECONDS else Fate.WAIT


def failure(ended: Ended, image: Image | None, log: str) -> NodepkgError:
    """Why there is no image that counts."""
    group = ended.group
    if ended.succeeded and image is None:
        # Packer lists, and exits 0 for, an image whose tags or description it could not set, and then deregistered.
        return ToolError(f"Packer made {ended.image} of {group}, but it is not there", hint=f"its log: {log}")
    if image and image.state == "pending":
        return ToolError(
            f"{group}: {image.id} is still pending",
            hint=f"when it is available: package packer:adopt {group} {image.id}; its log: {log}",
        )
    how = f"exit {ended.code}" if ended.code >= 0 else f"ended by signal {-ended.code}"
    what = "failed" if ended.code else "made no image"
    told = f"{group}: packer build {what} ({how}): {ended.outcome.reason}"
    if image:
        told += f"; {image.id} is {image.state}"
    kind = AwsError if _AWS_SAID_NO.search(ended.outcome.reason) else ToolError
    return kind(told, hint=f"its log: {log}")


def image_in(artifact: str, region: str) -> str:
    """The image of this region from Packer's `us-east-1:ami-1,us-west-2:ami-2`."""
    images: Mapping[str, str] = dict(part.split(":", 1) for part in artifact.split(",") if ":" in part)
    if region not in images:
        raise ToolError(f"Packer reports no image in {region}, but {artifact}")
    return images[region]
