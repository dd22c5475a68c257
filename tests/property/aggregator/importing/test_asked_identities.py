"""Millions of identities are looked for as one by one would be: whatever they are called, and however many passes it takes."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID
from taximeter_emitter.wire.event import fingerprint

from aggregator.importing import asked_identities, identity_search
from aggregator.importing.asked_identities import IdentityList
from aggregator.importing.identity_search import IdentitySearch
from aggregator.importing.source_entries import SourceEvent
from tests.support.aggregator_entries import Lines
from tests.support.aggregator_installation import TOPICS, MemoryInstallation, at_home
from tests.support.metering_memory_log import finished

IDENTITY = st.tuples(st.sampled_from(["a", "ab", "b", "é"]), st.sampled_from([b"\0", b"b", b"\xff"]).map(lambda byte: byte * FINGERPRINT_BYTES))


@given(st.lists(st.none() | IDENTITY, max_size=30), st.lists(IDENTITY, max_size=10))
@example([("ab", b"b" * FINGERPRINT_BYTES)], [("a", b"b" * FINGERPRINT_BYTES)])
def test_the_first_entry_of_each_identity_is_found(entries: Sequence[tuple[str, bytes] | None], others: Sequence[tuple[str, bytes]]) -> None:
    listed, first, repeats = IdentityList(), dict[tuple[str, bytes], int](), []
    for entry, identity in enumerate(entries):
        if identity is not None:
            listed.add(identity, entry)
            if first.setdefault(identity, entry) != entry:
                repeats.append(entry)
    asked = listed.asked()
    assert sorted(asked.repeats) == repeats
    assert {identity: asked.entry(identity) for identity in first} == first
    assert [asked.has(identity) for identity in others] == [identity in first for identity in others]


def test_digests_that_begin_alike_are_not_taken_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_identities, "_digest", lambda identity: b"same all" + identity[1][:8])
    listed = IdentityList()
    for entry, byte in enumerate([b"c", b"a", b"b", b"a"]):
        listed.add(("ann", byte * FINGERPRINT_BYTES), entry)
    asked = listed.asked()
    assert [asked.entry(("ann", byte * FINGERPRINT_BYTES)) for byte in (b"a", b"b", b"c")] == [1, 2, 0]
    assert (asked.repeats, asked.has(("ann", b"d" * FINGERPRINT_BYTES))) == ([3], False)
    with pytest.raises(KeyError):
        asked.entry(("ann", b"d" * FINGERPRINT_BYTES))


@pytest.mark.parametrize("a_pass", [1, 3, 100])
def test_what_was_counted_is_found_in_however_many_passes(a_pass: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_search, "IDENTITIES_A_PASS", a_pass)
    installation = MemoryInstallation()
    now_ms = installation.clock.now_ms()
    for number in (1, 4):
        installation.emit({"id": str(number), "customer": "ann", "usage": {"input": 1}})
    installation.count()
    marks = [fingerprint("", str(number)) for number in (0, 1, 2, 3, 0, 4)]
    lines = Lines([SourceEvent("ann", (), now_ms, (("input", 1),), mark) for mark in [*marks, NO_ID]])
    read: list[tuple[int, int, int]] = []
    redriven = frozenset({("ann", marks[3]), ("bob", marks[2])})
    search = IdentitySearch(installation.log, TOPICS, at_home, redriven, lambda *place: read.append(place))
    known = finished(search.known_entries(lines, len(marks), lambda event: event.fingerprint != marks[2]))
    assert [entry for entry in range(len(marks) + 1) if entry in known] == [1, 3, 4, 5]
    passes = -(-len(marks) // a_pass)
    assert read == [(number, passes, entries) for number in range(passes) for entries in (2, 4, 6, 7)]
