"""The ids that came last are taken out again exactly: those that are pending, and those of hours that are long past."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.ids.fingerprints import asked, asked_one, each, fingerprints_of
from aggregator.ids.recent_ids import RecentIds

NAMES = st.integers(0, 40)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(NAMES, unique=True, max_size=6)),
        st.tuples(st.just("commit"), st.sampled_from([0, 1, HOUR_MS - 1, HOUR_MS, 3 * HOUR_MS]).map(lambda step: [step])),
        st.tuples(st.just("rollback"), st.just([0])),
        st.tuples(st.just("forget"), st.integers(0, 6).map(lambda hours: [hours * HOUR_MS])),
    ),
    max_size=30,
)


def named(name: int) -> bytes:
    return name.to_bytes(16, "little")


@given(STEPS)
def test_they_are_what_a_dictionary_of_hours_would_hold(taken: list[tuple[str, Sequence[int]]]) -> None:
    recent = RecentIds(expected=0)
    counted: dict[int, int] = {}  # the start of the hour of each
    pending: dict[int, None] = {}
    now_ms = 0
    for step, what in taken:
        if step == "add":
            fresh = [name for name in what if name not in counted and name not in pending]
            if len(fresh) == 1:
                recent.add_one(asked_one(named(fresh[0])), fresh[0])
            else:
                recent.add(asked(fingerprints_of(b"".join(map(named, fresh)))), np.array(fresh, np.uint64))
            pending |= dict.fromkeys(fresh)
        elif step == "rollback":
            recent.rollback()
            pending = {}
        else:
            now_ms += what[0] if step == "commit" else 0
            recent.commit(now_ms)
            counted |= dict.fromkeys(pending, now_ms - now_ms % HOUR_MS)
            pending = {}
        if step == "forget":
            oldest = now_ms - what[0]
            recent.forget_before(oldest)
            counted = {name: hour for name, hour in counted.items() if hour + HOUR_MS >= oldest}
        assert (len(recent), recent.pending) == (len(counted) + len(pending), len(pending))
        assert [recent.look_up(asked_one(named(name))) for name in range(41)] == [
            name if name in counted or name in pending else None for name in range(41)
        ]
        fingerprints, contents = recent.everything()
        assert each(fingerprints) == [named(name) for name in (*counted, *pending)]
        assert contents.tolist() == [*counted, *pending]
        wanted = asked(fingerprints_of(b"".join(map(named, range(41)))))
        assert sorted(recent.known(wanted).tolist()) == sorted((*counted, *pending))
