"""Where botocore finds the models of the services."""

import os
from pathlib import Path

from botocore.loaders import Loader


class Models(Loader):  # type: ignore[misc]  # botocore has no types
    """botocore's own loader, but for one thing: it does not look into the folders of services that nobody asked for.

    Before it reads any part of a model (three for each client that lists), botocore's own looks through all
    of them, some 400, which takes longer than what follows. `data_path` is AWS_DATA_PATH.
    """

    def __init__(self, data_path: str | None = None) -> None:
        folders = os.path.expandvars(data_path).split(os.pathsep) if data_path else []
        super().__init__(extra_search_paths=[str(Path(folder).expanduser()) for folder in folders])

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's signature
        """The names of the folders; what is not in one is told when it is read."""
        folders = [Path(path) for path in self.search_paths if Path(path).is_dir()]
        return sorted({service.name for folder in folders for service in folder.iterdir()})
