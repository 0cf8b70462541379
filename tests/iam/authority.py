"""Layer that holds calls to a policy, and notes what they had to be allowed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nodepkg.sandbox.calls import Call, read
from nodepkg.sandbox.realistic import Realistic
from tests.iam.evaluation import Request, allows
from tests.iam.existing import Existing
from tests.iam.requests import requests

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from werkzeug.wrappers import Response

CALLER = "arn:aws:iam::123456789012:user/ops"
# What everybody may ask, whatever a policy says.
_FREE = {"sts:GetCallerIdentity"}


class Authority:
    """Outside of `holding(policy)` every call passes unseen. `used` are the requests that were allowed, `denied`
    those that were not."""

    def __init__(self) -> None:
        self.realistic: Realistic | None = None
        self.used: list[Request] = []
        self.denied: list[Request] = []
        self._policy: Mapping[str, Any] | None = None

    @contextmanager
    def holding(self, policy: Mapping[str, Any]) -> Iterator["Authority"]:
        """Within it a call that the policy does not allow is answered as AWS would."""
        self._policy = policy
        try:
            yield self
        finally:
            self._policy = None

    @property
    def actions(self) -> set[str]:
        return {request.action for request in self.used}

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            signed = "HTTP_AUTHORIZATION" in environ  # one that is signed in its address is a node's
            if self._policy is None or not signed:
                return app(environ, start_response)
            call = read(environ)
            existing = Existing(call.region, self.realistic)
            for request in requests(call, environ["REQUEST_METHOD"], environ["PATH_INFO"], existing):
                if request.action not in _FREE and not allows(self._policy, request):
                    self.denied.append(request)
                    return refusal(call, request)(environ, start_response)
                self.used.append(request)
            return app(environ, start_response)

        return respond


def refusal(call: Call, request: Request) -> "Response":
    told = (
        f"User: {CALLER} is not authorized to perform: {request.action} on resource: {request.resource}"
        f" because no identity-based policy allows the {request.action} action"
    )
    if call.service == "ec2":
        words = f"You are not authorized to perform this operation. {told}. Encoded authorization failure message: 9Zx"
        return call.error("UnauthorizedOperation", words, 403)
    return call.error("AccessDeniedException", told, 400) if call.speaks_json else call.error("AccessDenied", told, 403)
