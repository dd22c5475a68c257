"""Ids are known exactly while they matter, and forgotten after."""

from collections.abc import Sequence

import numpy as np
from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS

from aggregator.ids.fingerprints import Fingerprints, Words, fingerprints_of
from aggregator.ids.id_index import IdIndex, Seen, content_of

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))


def columns(fingerprints: Sequence[bytes], contents: Sequence[int]) -> tuple[Fingerprints, Words]:
    return fingerprints_of(b"".join(fingerprints)), np.array(contents, np.uint64)


def test_an_id_is_known_from_the_moment_it_is_added() -> None:
    index = IdIndex(HOUR_MS)
    assert index.look_up(A, 7) is Seen.NEVER
    index.claim(*columns([A], [7]))
    assert index.look_up(A, 7) is Seen.SAME
    assert index.look_up(A, 8) is Seen.OTHER_CONTENT


def test_what_is_rolled_back_was_never_there_and_what_is_committed_stays() -> None:
    index = IdIndex(HOUR_MS)
    index.claim(*columns([A], [1]))
    index.commit(0)
    index.claim(*columns([B], [1]))
    index.rollback()
    assert (index.look_up(A, 1), index.look_up(B, 1), len(index)) == (Seen.SAME, Seen.NEVER, 1)


def test_the_new_ones_of_many_ids_are_claimed_and_told() -> None:
    index = IdIndex(HOUR_MS)
    assert index.claim(*columns([A, B], [1, 2])).tolist() == [True, True]
    assert index.claim(*columns([C, B, C], [3, 4, 5])).tolist() == [True, False, False]
    assert [index.look_up(one, content) for one, content in ((A, 1), (B, 2), (C, 3))] == [Seen.SAME] * 3
    index.rollback()
    assert not len(index)


def test_reading_again_keeps_the_first_content() -> None:
    index = IdIndex(HOUR_MS)
    index.claim(*columns([A], [1]))
    index.commit(0)
    index.remember(*columns([A, B, B], [9, 2, 3]), 0)
    assert (index.look_up(A, 1), index.look_up(B, 2)) == (Seen.SAME, Seen.SAME)


def test_ids_are_kept_for_the_horizon_and_forgotten_within_two_hours_after() -> None:
    index = IdIndex(6 * HOUR_MS)
    index.claim(*columns([A], [1]))
    index.commit(0)
    index.commit(index.memory_ms)
    assert index.look_up(A, 1) is Seen.SAME
    index.commit(index.memory_ms + 2 * HOUR_MS)
    assert index.look_up(A, 1) is Seen.NEVER
    assert not len(index)


def test_the_memory_covers_the_horizon_and_every_tolerance_of_clocks() -> None:
    assert IdIndex(HOUR_MS).memory_ms >= HOUR_MS + 5 * MINUTE_MS


def test_a_zero_is_the_same_as_no_quantity_and_nothing_else_is() -> None:
    base = content_of("c", (), [("a", 5)])
    assert content_of("c", (), [("a", 5), ("b", 0)]) == base
    others = [
        content_of("d", (), [("a", 5)]),
        content_of("c", (("m", "x"),), [("a", 5)]),
        content_of("c", (), [("a", 6)]),
        content_of("c", (), [("b", 5)]),
    ]
    assert base not in others
