"""How AWS is reached: one session for a whole run, clients made when they are needed, errors in our words."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from nodepkg import __version__
from nodepkg.clients.aws.buckets import Buckets
from nodepkg.clients.aws.clock import AwsClock, uptime
from nodepkg.errors import POLICY_HINT, AwsError, CredentialsError

Found = TypeVar("Found")

CONSISTENCY_SECONDS = 10.0

_MANAGED = "IncludeManagedResources"

# Presigned URLs that every region takes, and that any HTTP client can read from.
_S3 = {
    "signature_version": "s3v4",
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}

# The codes with which AWS's services say that they do not know the caller.
_CREDENTIAL_CODES = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
    }
)

# Those with which they say that IAM does not allow it; 403 is S3's answer to HEAD, which has no words.
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})
_DENIED = re.compile(r"is not authorized to perform: (\S+)(?: on resource: (\S+))?")


class Account:
    """The account that commands talk to: the user's own, or with `endpoint` the embedded one.

    With an endpoint nothing of the user's AWS configuration is read, and a request to any other host
    is refused before it is sent. `uptime` is the local clock, for ages.
    """

    retry_mode = "adaptive"

    def __init__(
        self,
        *,
        profile: str | None = None,
        endpoint: str | None = None,
        say: Callable[[str], None] | None = None,
        trace: Callable[[str], None] | None = None,
        uptime: Callable[[], float] = uptime,
    ) -> None:
        self.profile = profile
        self.endpoint = endpoint
        self.uptime = uptime
        self._clock = AwsClock(uptime)
        self._say = say
        self._trace = trace
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = threading.Lock()
        self._thread = threading.local()

    def client(self, service: str, region: str) -> Any:
        """A boto3 client that tries again by itself; one for each service and region, which threads may share."""
        key = (service, region)
        with self._making:  # a session is for one thread at a time
            if key not in self._clients:
                with aws_errors(f"{service} in {region}"):
                    self._clients[key] = self._make(service, region)
            return self._clients[key]

    def now(self) -> float:
        """The time in seconds since the epoch by AWS's clock, as far as replies to this account have told it."""
        return self._clock.now()

    @contextmanager
    def checked(self, check: Callable[[str], None]) -> Iterator[None]:
        """Calls `check` before each try of every call that this thread makes here; what it raises ends the call.

        It is told the operation, such as `DescribeImages`. A call may have waited long for its turn, and again before
        it is tried another time. What `check` itself calls is not checked. Within another `checked` both hold.
        """
        with self._checking((*self._checks, check)):
            yield

    @contextmanager
    def unchecked(self) -> Iterator[None]:
        """Within it the calls of this thread are not checked."""
        with self._checking(()):
            yield

    def require_credentials(self) -> None:
        """Raises CredentialsError if there are none; asks AWS nothing."""
        if self.endpoint:
            return
        with aws_errors("credentials"):
            if self._boto().get_credentials() is None:
                from botocore.exceptions import NoCredentialsError

                raise NoCredentialsError

    def identity(self, region: str) -> str:
        """The id of the account, which everybody may ask; "" if AWS does not say it."""
        try:
            with aws_errors("who am I"):
                return str(self.client("sts", region).get_caller_identity()["Account"])
        except AwsError:
            return ""

    def pages(self, service: str, region: str, operation: str, key: str, **arguments: Any) -> list[Any]:
        """Everything that a list call has under `key`, read to its last page."""
        with aws_errors(f"{operation.replace('_', ' ')} in {region}"):
            client = self.client(service, region)
            # An account may have set what other services of AWS manage for it to be hidden.
            action = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
            if _MANAGED in action.input_shape.members:
                arguments = {_MANAGED: True, **arguments}
            paginator = client.get_paginator(operation)
            return [item for page in paginator.paginate(**arguments) for item in page.get(key, [])]

    @property
    def _checks(self) -> tuple[Callable[[str], None], ...]:
        return getattr(self._thread, "checks", ())

    @contextmanager
    def _checking(self, checks: tuple[Callable[[str], None], ...]) -> Iterator[None]:
        before, self._thread.checks = self._checks, checks
        try:
            yield
        finally:
            self._thread.checks = before

    def _make(self, service: str, region: str) -> Any:
        from botocore.config import Config

        retries = {"mode": self.retry_mode, "total_max_attempts": 10}
        options: dict[str, Any] = {"retries": retries, "user_agent_extra": f"nodepkg/{__version__}"}
        options |= {"connect_timeout": 5, "read_timeout": 30}
        settings: dict[str, Any] = {}
        if self.endpoint:
            options |= {"proxies": {}, "use_fips_endpoint": False, "use_dualstack_endpoint": False}
            settings = {
                "endpoint_url": self.endpoint,
                "aws_access_key_id": "sandbox",
                "aws_secret_access_key": "sandbox",
            }
        if service == "s3":
            options |= _S3 | ({"s3": {"addressing_style": "path"}} if self.endpoint else {})
        client = self._boto().create_client(service, region_name=region, config=Config(**options), **settings)
        if self.endpoint:
            client.meta.events.register_first("before-send", self._only_the_sandbox)
        if service == "ec2":
            buckets = self._new_buckets()
            # First, since the signature comes next and has a time in it; it is emitted for each try.
            client.meta.events.register_first(
                "request-created.ec2", lambda operation_name, **_: buckets.take(operation_name)
            )
        client.meta.events.register_last("before-send", self._check)  # behind botocore's own waiting
        client.meta.events.register("response-received", self._hear)
        client.meta.events.register("needs-retry", self._tell_a_retry)
        if self._trace:
            client.meta.events.register("before-call", self._tell)
        return client

    def _new_buckets(self) -> Buckets:
        return Buckets()

    def _boto(self) -> Any:
        if self._session is None:
            import botocore.session

            from nodepkg.clients.aws.models import Models

            if self.endpoint:
                session = botocore.session.Session(session_vars=_nothing_of_the_users())
            else:
                session = botocore.session.Session(profile=self.profile)
            session.register_component("data_loader", Models(session.get_config_variable("data_path")))
            self._session = session
        return self._session

    def _only_the_sandbox(self, request: Any, **_: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(str(self.endpoint)).netloc:
            raise AssertionError(f"a sandbox command was about to call {request.url}")

    def _check(self, event_name: str, **_: Any) -> None:
        operation = event_name.rpartition(".")[2]  # before-send.SERVICE.OPERATION
        checks = self._checks
        with self.unchecked():
            for check in checks:
                check(operation)

    def _hear(self, response_dict: dict[str, Any] | None, **_: Any) -> None:
        if response_dict:
            self._clock.hear(response_dict["headers"].get("Date"))

    def _tell_a_retry(self, operation: Any, attempts: int, caught_exception: Exception | None, **_: Any) -> None:
        from botocore.exceptions import BotoCoreError

        if self._say and attempts > 1 and isinstance(caught_exception, BotoCoreError):
            self._say(f"AWS does not answer {operation.name}, try {attempts}: {caught_exception}")

    def _tell(self, model: Any, **_: Any) -> None:
        if self._trace:
            self._trace(f"aws: {model.service_model.service_name} {model.name}")


def _nothing_of_the_users() -> dict[str, tuple[Any, ...]]:
    """botocore's session variables, each without the environment variable that would set it, and no files."""
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as VARIABLES

    ours = {name: (config, None, default, convert) for name, (config, _, default, convert) in VARIABLES.items()}
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return {**ours, **files, "profile": (None, None, None, None)}


def wait_for(seen: Callable[[], Found | None], *, seconds: float = CONSISTENCY_SECONDS) -> Found | None:
    """What `seen` finds, asked again until it finds something or the seconds have passed.

    EC2 and Auto Scaling are eventually consistent: what was just made may be invisible to the next read.
    """
    deadline = time.monotonic() + seconds
    while (found := seen()) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def _denied(error: Any) -> str:
    """Which action on what IAM does not allow, as far as AWS says it; EC2 adds what only another call can decode."""
    message = error.response["Error"].get("Message", "").partition(" Encoded authorization failure message")[0]
    told = _DENIED.search(message)
    if told is None:
        return f"not allowed: {error.operation_name}{message and f': {message}'}"
    on = f" on {told[2]}" if told[2] else ""
    why = "" if "no identity-based policy allows" in message else f": {message}"
    return f"not allowed: {told[1]}{on}{why}"


@contextmanager
def aws_errors(what: str) -> Iterator[None]:
    """Turns boto's errors into AwsError or CredentialsError, which say what was being done."""
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    try:
        yield
    except boto.ClientError as error:
        said = error.response.get("Error", {})
        code, message = said.get("Code", ""), said.get("Message", "")
        if code in _CREDENTIAL_CODES:
            raise CredentialsError(
                f"{what}: AWS does not take the credentials: {code}: {message}", code=code
            ) from error
        if code in _DENIED_CODES:
            raise AwsError(f"{what}: {code}: {_denied(error)}", code=code, hint=POLICY_HINT) from error
        raise AwsError(f"{what}: {code}: {message}", code=code) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError) as error:
        raise CredentialsError(
            f"{what}: no AWS credentials: {error}", hint="set AWS_PROFILE, name a --profile, or try --sandbox"
        ) from error
    except (boto.EndpointConnectionError, boto.HTTPClientError) as error:
        raise AwsError(f"{what}: {error}", hint="check the network, the region and AWS_ENDPOINT_URL") from error
    except boto.ProfileNotFound as error:
        raise AwsError(f"{what}: {error}", hint="aws configure list-profiles shows those that there are") from error
    except ResponseParserError as error:
        # It quotes the whole reply, and botocore does not try again: it may have been carried out.
        raise AwsError(f"{what}: AWS's reply broke off or is garbled", hint="run it again") from error
    except boto.BotoCoreError as error:
        raise AwsError(f"{what}: {error}") from error
