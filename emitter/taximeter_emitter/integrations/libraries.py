"""Libraries of others, imported when they are used and not before."""

from importlib import import_module
from typing import Any


def library(name: str, extra: str) -> Any:
    """The module. Raises ModuleNotFoundError, which says what to install, if it is not there."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(f"this needs {error.name}, which is not installed: pip install 'taximeter-emitter[{extra}]'", name=name) from error
