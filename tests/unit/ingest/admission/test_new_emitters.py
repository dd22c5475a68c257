"""How many emitters a key may bring, and what metrics call it."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.admission.key_labels import KEY_LABELS_MAX, OTHER_KEYS, KeyLabels
from ingest.admission.new_emitters import NAMES_REMEMBERED_MAX, NewEmitters
from metering.configuration.key_file import ApiKey

DAY_S = 86_400.0


def test_a_key_that_brings_many_holds_itself_back_and_nobody_else() -> None:
    emitters = NewEmitters(per_day=3)
    assert [emitters.wait_seconds("greedy", str(number), 0.0) for number in range(3)] == [0.0] * 3
    assert emitters.wait_seconds("greedy", "3", 0.0) == DAY_S / 3
    assert emitters.wait_seconds("greedy", "0", 0.0) == 0.0, "one that is known goes on"
    assert emitters.wait_seconds("modest", "3", 0.0) == 0.0
    assert emitters.wait_seconds("greedy", "3", DAY_S / 3) == 0.0
    assert emitters.wait_seconds("greedy", "4", DAY_S / 3) > 0


def test_what_is_remembered_is_bounded() -> None:
    emitters = NewEmitters(per_day=NAMES_REMEMBERED_MAX + 2)
    for number in range(NAMES_REMEMBERED_MAX + 1):
        assert emitters.wait_seconds("k", str(number), 0.0) == 0.0
    assert len(emitters._names) == NAMES_REMEMBERED_MAX
    assert ("k", "0") not in emitters._names
    emitters.keep_only({})
    assert not emitters._allowances


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, DAY_S)), max_size=60))
def test_in_any_day_a_key_brings_no_more_than_its_bucket_and_its_day(asked: list[tuple[int, float]]) -> None:
    emitters, now, admitted = NewEmitters(per_day=5), 0.0, []
    for name, later in asked:
        now += later
        known = ("k", str(name)) in emitters._names
        if emitters.wait_seconds("k", str(name), now) == 0.0 and not known:
            admitted.append(now)
    assert all(sum(start <= at <= start + DAY_S for at in admitted) <= 10 for start in admitted)


def test_a_bounded_number_of_keys_have_labels() -> None:
    labels = KeyLabels()
    keys = [ApiKey(key_id=f"{number:012x}", secret_sha256=b"", tenant="t", name=f"n{number}") for number in range(KEY_LABELS_MAX + 2)]
    found = [labels.of(key) for key in keys]
    assert found == [*(f"n{number}" for number in range(KEY_LABELS_MAX)), OTHER_KEYS, OTHER_KEYS]
    assert labels.of(keys[0]) == "n0"
