"""What `taximeter meters plan` says of another version."""

from metering.formulas.meter_formulas import Aggregate
from metering.records.meters import Catalogue, Meter
from taximeter.meter_commands.catalogue_changes import changes_between

OLD = Catalogue([Meter("tokens", ("input", "output")), Meter("calls", ("calls",))], ["cached"])
NEW = Catalogue([Meter("tokens", ("input",)), Meter("images", ("images",))], ["cached"])


def test_two_that_count_alike_change_nothing() -> None:
    changes = changes_between(OLD, Catalogue(OLD.meters[::-1], OLD.unmetered))
    assert changes.is_empty
    assert list(changes.refusals([])) == []


def test_meters_and_fields_that_come_go_and_change_are_named() -> None:
    changes = changes_between(OLD, NEW)
    assert (changes.added, changes.dropped, changes.changed) == (["images"], ["calls"], ["tokens"])
    assert (changes.known, changes.forgotten) == (["images"], ["calls", "output"])
    text = "\n".join(changes.lines())
    assert '~ tokens: counts [["input","output"]' in text
    assert "usage fields that nobody sums any more: calls, output" in text
    assert changes.as_json()["dropped"].keys() == {"calls"}


def test_a_meter_is_dropped_only_by_name() -> None:
    changes = changes_between(OLD, NEW)
    (refusal,) = changes.refusals([])
    assert "add --drop calls" in refusal
    assert list(changes.refusals(["calls"])) == []
    (refusal,) = changes.refusals(["calls", "tokens"])
    assert refusal.startswith("--drop tokens: this meter is not dropped")


def test_a_meter_never_changes_between_the_latest_value_and_a_sum() -> None:
    last = Catalogue([Meter("tokens", ("input",), aggregate=Aggregate.LAST)])
    count = Catalogue([Meter("tokens", ("input",), aggregate=Aggregate.COUNT)])
    (refusal,) = changes_between(OLD, last).refusals(["calls"])
    assert refusal.startswith('the meter tokens would change between aggregate = "last" and one that adds up')
    assert list(changes_between(OLD, count).refusals(["calls"])) == []
    others = Catalogue([Meter("calls", ("calls",))])
    assert len(list(changes_between(others, last, [OLD]).refusals(["calls"]))) == 1  # Stripe's meter is older than the newest version
