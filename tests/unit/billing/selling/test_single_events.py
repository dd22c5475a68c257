from dataclasses import replace

import pytest

from billing.selling.single_events import IDENTIFIER_PREFIX, SingleEvent
from metering.records.meters import Meter

NOW = 1_800_000_000
METER = Meter("tokens", ("input_tokens",), ("model",))
EVENT = SingleEvent(METER, "cus_1", 10, NOW, {"model": "alpaca-7b"})


def test_an_ordinary_event_has_no_problems() -> None:
    assert EVENT.problems(NOW) == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (replace(EVENT, value=0), "the value"),
        (replace(EVENT, value=10**12 + 1), "the value"),
        (replace(EVENT, timestamp=NOW - 35 * 86_400 - 1), "35 days"),
        (replace(EVENT, timestamp=NOW + 301), "5 minutes"),
        (replace(EVENT, dimensions={"region": "eu"}), "it has model"),
    ],
)
def test_what_stripe_would_not_take_is_named(event: SingleEvent, said: str) -> None:
    [problem] = event.problems(NOW)

    assert said in problem


def test_every_event_has_an_identifier_of_its_own_that_says_what_it_is() -> None:
    identifiers = {SingleEvent(METER, "cus_1", 1, NOW).identifier for _ in range(100)}

    assert len(identifiers) == 100
    assert all(identifier.startswith(IDENTIFIER_PREFIX) and len(identifier) <= 100 for identifier in identifiers)
