"""Systems Manager's parameters: what was asked for behind a name (`name:3`, `name:label`) is told with the answer."""

from typing import Any

from moto.core.responses import ActionResult
from moto.ssm.responses import SimpleSystemManagerResponse


def _answer_get_parameters(self: SimpleSystemManagerResponse) -> ActionResult:
    """moto leaves the selector out, so that nobody can tell two versions of a parameter apart."""
    names = list(dict.fromkeys(self._get_param("Names")))
    found = self.ssm_backend.get_parameters(names)
    told = [_told(self, name, parameter) for name, parameter in sorted(found.items())]
    return ActionResult({"Parameters": told, "InvalidParameters": [name for name in names if name not in found]})


def _told(response: SimpleSystemManagerResponse, name: str, parameter: Any) -> dict[str, Any]:
    selector = name.rpartition("/")[2].partition(":")[2]
    answer: dict[str, Any] = parameter.response_object(response._get_param("WithDecryption"), response.region)
    return answer | ({"Selector": f":{selector}"} if selector else {})


def install() -> None:
    SimpleSystemManagerResponse.get_parameters = _answer_get_parameters  # type: ignore[method-assign]
