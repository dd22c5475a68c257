"""Which events the index takes for the same: those with the same customer, source and id."""

import pytest
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.event import fingerprint

from aggregator.ids import identities as module
from aggregator.ids.fingerprints import each
from aggregator.ids.identities import Identities
from tests.support.aggregator_identities import identity_of

SAME = fingerprint("s", "1")


def test_the_same_id_of_two_customers_is_two_identities() -> None:
    identities = Identities(b"key")
    assert identity_of(identities, "a", SAME) != identity_of(identities, "b", SAME)
    assert identity_of(identities, "a", SAME) == identity_of(Identities(b"key"), "a", SAME)


def test_what_is_chosen_without_the_key_meets_nobody_elses_event() -> None:
    """Whoever knows how identities are made, and another customer's ids, but not the key."""
    guessed = Identities(b"")
    chosen = bytes(ours ^ theirs ^ wanted for ours, theirs, wanted in zip(guessed.number("a"), guessed.number("b"), SAME, strict=True))
    assert identity_of(guessed, "a", chosen) == identity_of(guessed, "b", SAME)
    kept = Identities(b"key")
    assert identity_of(kept, "a", chosen) != identity_of(kept, "b", SAME)
    assert identity_of(kept, "a", NO_ID) != identity_of(kept, "b", NO_ID)


def test_customers_are_forgotten_when_they_are_many_and_keep_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CUSTOMERS_NUMBERED_MAX", 2_000)
    identities = Identities(b"key")
    some = [f"cus_{number}" for number in range(1_500)]
    first = identities.numbers(some).copy()
    identities.numbers([f"other_{number}" for number in range(1_500)])
    assert (identities.numbers([*some, *some[:3]])[:1_500] == first).all()
    assert each(first[:1]) == [identities.number("cus_0")]
