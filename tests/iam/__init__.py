"""IAM for tests: what a call has to be allowed, whether a policy allows it, and a layer that holds callers to one."""

from tests.iam.authority import Authority
from tests.iam.evaluation import Request, allows

__all__ = ["Authority", "Request", "allows"]
