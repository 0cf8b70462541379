"""Systems Manager's parameters: what was asked for behind a name (`name:3`, `name:label`) is told with the answer, of
two who create the same one gets it, and values that AWS refuses are refused."""

import re
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from moto.core.responses import ActionResult
from moto.ssm.exceptions import ValidationException
from moto.ssm.models import SimpleSystemManagerBackend
from moto.ssm.responses import SimpleSystemManagerResponse

MOST_CHARACTERS = 4096  # of a standard parameter
_LOCK = threading.RLock()


def _answer_get_parameters(self: SimpleSystemManagerResponse) -> ActionResult:
    """moto leaves the selector out, so that nobody can tell two versions of a parameter apart."""
    names = list(dict.fromkeys(self._get_param("Names")))
    with _LOCK:
        found = self.ssm_backend.get_parameters(names)
    told = [_told(self, name, parameter) for name, parameter in sorted(found.items())]
    return ActionResult({"Parameters": told, "InvalidParameters": [name for name in names if name not in found]})


def _told(response: SimpleSystemManagerResponse, name: str, parameter: Any) -> dict[str, Any]:
    selector = name.rpartition("/")[2].partition(":")[2]
    answer: dict[str, Any] = parameter.response_object(response._get_param("WithDecryption"), response.region)
    return answer | ({"Selector": f":{selector}"} if selector else {})


def _one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    """moto looks whether there is one, and then makes it; two requests may do so side by side."""

    @wraps(method)
    def locked(*positional: Any, **named: Any) -> Any:
        with _LOCK:
            return method(*positional, **named)

    return locked


def _only_legal_values(put_parameter: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(put_parameter)
    def put(self: SimpleSystemManagerBackend, name: str, description: str, value: str, *more: Any, **named: Any) -> Any:
        if re.search(r"\{\{.*\}\}", value or "", re.DOTALL):
            raise ValidationException('Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.')
        if len(value or "") > MOST_CHARACTERS and named.get("tier") in (None, "Standard"):
            raise ValidationException(
                f"Standard tier parameters support a maximum value of {MOST_CHARACTERS} characters."
            )
        return put_parameter(self, name, description, value, *more, **named)

    return put


_put_parameter = _one_at_a_time(_only_legal_values(SimpleSystemManagerBackend.put_parameter))
_get_parameters_by_path = _one_at_a_time(SimpleSystemManagerBackend.get_parameters_by_path)
_delete_parameters = _one_at_a_time(SimpleSystemManagerBackend.delete_parameters)


def install() -> None:
    SimpleSystemManagerResponse.get_parameters = _answer_get_parameters  # type: ignore[method-assign]
    SimpleSystemManagerBackend.put_parameter = _put_parameter  # type: ignore[method-assign]
    SimpleSystemManagerBackend.get_parameters_by_path = _get_parameters_by_path  # type: ignore[method-assign]
    SimpleSystemManagerBackend.delete_parameters = _delete_parameters  # type: ignore[method-assign]
