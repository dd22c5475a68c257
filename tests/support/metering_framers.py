"""Whatever can frame batches here: the native module where it is built, and its likeness in Python."""

from contextlib import suppress
from importlib import import_module
from typing import Final, cast

from metering.kafka.batches.framed_response import Framer
from tests.support.metering_python_framer import PythonFramer


def framers() -> dict[str, Framer]:
    found: dict[str, Framer] = {"python": PythonFramer()}
    with suppress(ImportError):
        found["native"] = cast("Framer", import_module("taximeter_native"))
    return found


FRAMERS: Final = framers()
