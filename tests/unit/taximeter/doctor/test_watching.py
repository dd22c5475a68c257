"""`taximeter doctor --watch`: the page begins anew each time, with nothing of a client library in it, and Ctrl-C ends it."""

import argparse
import logging
from typing import Any

import pytest

from taximeter.doctor import doctor_command
from taximeter.doctor.doctor_facts import Facts


def test_what_libraries_log_is_not_in_the_page_that_is_watched(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    rounds = iter(range(3))

    async def gather(_arguments: Any) -> Facts:
        if next(rounds) == 2:
            raise KeyboardInterrupt
        logging.getLogger("aiokafka").warning("bootstrap server does not answer")
        return Facts(now_ms=0, version="1", partitions=1, hours=24.0, kafka_problem="no bootstrap server answers")

    monkeypatch.setattr(doctor_command, "gather_facts", gather)
    monkeypatch.setattr(doctor_command, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(KeyboardInterrupt):
        doctor_command.run(argparse.Namespace(watch=True, json=False, runbooks="r"))
    said = capfd.readouterr()
    assert said.out.count("no bootstrap server answers") == 2
    assert "bootstrap server does not answer" not in said.err
    logging.getLogger("aiokafka").warning("afterwards")
    assert "afterwards" in capfd.readouterr().err
