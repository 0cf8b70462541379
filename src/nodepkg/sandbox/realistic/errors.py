"""What AWS refuses, in its own codes."""


class AwsRefusalError(Exception):
    """The answer to a request that AWS does not carry out; `code` as in the reply."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def invalid(message: str) -> AwsRefusalError:
    return AwsRefusalError("ValidationError", message)


class LaunchFailureError(Exception):
    """A node could not be launched, for this reason, which the group's activity tells."""
