"""Where botocore finds the models of the services."""

import os
from collections.abc import Sequence

from botocore.loaders import Loader

SERVICES = ("autoscaling", "ec2", "elbv2")


class Models(Loader):  # type: ignore[misc] - botocore has no types
    """botocore's own loader, but for one thing: it does not look for services that nobody asked for.

    Before it reads any part of a model (three for each client that lists), botocore's own looks into the
    folders of all the services that there are, some 400 of them. `data_path` is AWS_DATA_PATH.
    """

    def __init__(self, data_path: str | None = None) -> None:
        folders = (data_path or "").split(os.pathsep) if data_path else []
        super().__init__(extra_search_paths=[os.path.expanduser(os.path.expandvars(folder)) for folder in folders])

    def list_available_services(self, type_name: str) -> Sequence[str]:  # noqa: ARG002 - botocore's signature
        return SERVICES
