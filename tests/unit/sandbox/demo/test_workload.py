from collections import Counter
from typing import Any

import pytest
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import check_not_in_future, parse_event
from taximeter_sandbox.demo.load.workload import FLAWS, Kind, Times, Workload, customer_ids, document_of, in_batches
from taximeter_sandbox.demo.plan import METERS, Mix, settings_file

NOW_MS = 1_763_800_000_000
MIX = Mix(retries=0.1, late=0.1, malformed=0.1, conflicts=0.1)
KNOWN_FIELDS = {field for fields in METERS.values() for field in fields}


def workload(name: str = "w", seed: int = 1) -> Workload:
    return Workload(name, seed=seed, customers=customer_ids(20), mix=MIX)


def accept(document: Any, now_ms: int) -> None:
    """What every door does with an event, in short."""
    event = parse_event(document, arrival_ms=now_ms)
    check_not_in_future(event.time_ms, now_ms)
    if unknown := {name for name, _ in event.usage} - KNOWN_FIELDS:
        raise ValueError(f"unknown usage fields {unknown}")


def test_the_same_seed_and_name_give_the_same_stream() -> None:
    assert workload().take(500, NOW_MS) == workload().take(500, NOW_MS)
    assert workload().take(500, NOW_MS) != workload(seed=2).take(500, NOW_MS)


def test_the_mix_is_about_as_asked() -> None:
    kinds = Counter(emission.kind for emission in workload().take(20_000, NOW_MS))

    for kind in (Kind.RETRY, Kind.LATE, Kind.MALFORMED, Kind.CONFLICT):
        assert 1_600 < kinds[kind] < 2_400


def test_retries_repeat_an_earlier_event_and_conflicts_change_it() -> None:
    seen: dict[str, Any] = {}
    for emission in workload().take(5_000, NOW_MS):
        if emission.kind is Kind.RETRY:
            assert emission._replace(kind=seen[emission.event_id].kind) == seen[emission.event_id]
        elif emission.kind is Kind.CONFLICT:
            assert emission.output_tokens != seen[emission.event_id].output_tokens
        else:
            assert emission.event_id not in seen
            seen[emission.event_id] = emission


def test_every_event_that_is_not_meant_to_be_malformed_is_acceptable() -> None:
    for emission in workload().take(2_000, NOW_MS):
        if emission.kind is not Kind.MALFORMED:
            accept(document_of(emission, "demo/w", Times()), NOW_MS)


@pytest.mark.parametrize("flaw", FLAWS)
def test_every_flaw_is_one_that_no_door_takes(flaw: str) -> None:
    emission = workload().take(1, NOW_MS)[0]._replace(kind=Kind.MALFORMED, flaw=flaw)

    with pytest.raises((EventRejected, ValueError)):
        accept(document_of(emission, "demo/w", Times()), NOW_MS)


def test_batches_add_up() -> None:
    assert list(in_batches(1_050, 500)) == [500, 500, 50]


def test_the_settings_file_names_every_meter() -> None:
    assert all(f'event_name = "{name}"' in settings_file() for name in METERS)
