"""S3: small archives of ours in a bucket of the user's, by keys that say what is in them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.clients.aws.regional import Regional
from nodepkg.errors import AwsError

LONGEST_URL_SECONDS = 12 * 3600
_MISSING = ("404", "NoSuchBucket", "NoSuchKey", "NotFound")
_FORBIDDEN = ("403", "AccessDenied", "Forbidden")
_REGION = "x-amz-bucket-region"
_DIGEST = "sha256"  # the object's metadata: what its bytes are, whoever wrote them


@dataclass
class Bucket(Regional):
    """One bucket; `region` is its own. Whatever S3 refuses is an AwsError that names the bucket and the right."""

    name: str
    service = "s3"

    def put(self, key: str, body: bytes) -> bool:
        """Whether it was sent: not if the object is there with the same bytes. It is private, as the bucket's are.

        Its encryption is the bucket's default.
        """
        digest = sha256(body)
        if self._has(key, digest.hexdigest()):
            return False
        try:
            with aws_errors(f"write s3://{self.name}/{key}"):
                self.client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=body,
                    ContentType="application/gzip",
                    Metadata={_DIGEST: digest.hexdigest()},
                    ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                )
        except AwsError as error:
            raise _explained(self.name, error, "s3:PutObject") from error
        return True

    def url(self, key: str, seconds: float) -> str:
        """A URL with which anybody may read the object for so many seconds, 12 hours at most.

        It lives no longer than the credentials that it is signed with. AWS is not asked.
        """
        with aws_errors(f"sign s3://{self.name}/{key}"):
            return str(
                self.client.generate_presigned_url(
                    "get_object",
                    Params={"Bucket": self.name, "Key": key},
                    ExpiresIn=int(min(max(seconds, 60), LONGEST_URL_SECONDS)),
                )
            )

    def _has(self, key: str, digest: str) -> bool:
        try:
            with aws_errors(f"look at s3://{self.name}/{key}"):
                found = self.client.head_object(Bucket=self.name, Key=key)
        except AwsError as error:
            # Who may not list the bucket is told 403 of an object that is not there.
            if error.code in (*_MISSING, *_FORBIDDEN):
                return False
            raise _explained(self.name, error, "s3:GetObject") from error
        return str(found.get("Metadata", {}).get(_DIGEST)) == digest


def bucket(account: Account, region: str, name: str) -> Bucket:
    """The bucket, in whatever region it is. Raises AwsError if there is none of this name, or none for us."""
    from botocore.exceptions import ClientError

    try:
        with aws_errors(f"bucket {name}"):
            try:
                told = account.client("s3", region).head_bucket(Bucket=name)
            except ClientError as error:
                # Where we may not look, and from another region, S3 still says where the bucket is.
                told = error.response
                if told["Error"]["Code"] in _MISSING or _REGION not in _headers(told):
                    raise
    except AwsError as error:
        raise _explained(name, error, "s3:ListBucket") from error
    return Bucket(account, _headers(told).get(_REGION) or region, name)


def _headers(told: Mapping[str, Any]) -> Mapping[str, str]:
    headers: Mapping[str, str] = told["ResponseMetadata"].get("HTTPHeaders", {})
    return headers


def _explained(name: str, error: AwsError, right: str) -> AwsError:
    """The error with a remedy, as far as it is known."""
    hints = {
        **dict.fromkeys(_MISSING, f"deploy.bucket names it: make it (aws s3 mb s3://{name}), or name another one"),
        **dict.fromkeys(_FORBIDDEN, f"whoever deploys needs {right} on the bucket {name}, and it has to be yours"),
    }
    if error.code not in hints:
        return error
    told = f"there is no bucket {name}" if error.code in _MISSING else error.message
    return AwsError(told, code=error.code, hint=hints[error.code])
