"""The meter catalogue: every problem is named at once, and its version changes with what is billed."""

from typing import Any

import orjson
import pytest
from taximeter_emitter.wire.limits import USAGE_FIELDS_MAX

from metering.records.meters import Catalogue, FieldVerdict, Meter, catalogue_from, catalogue_of, catalogue_problems, parse_catalogue
from metering.records.service_limits import METERS_MAX

TOKENS = {"event_name": "tokens", "sum": ["input_tokens", "output_tokens"], "dimensions": ["model"]}


def of(*meters: Any) -> Catalogue:
    return catalogue_of({"meters": list(meters)})


def test_a_catalogue_is_read_with_its_defaults() -> None:
    (meter,) = of(TOKENS).meters
    assert meter == Meter("tokens", ("input_tokens", "output_tokens"), ("model",), "stripe_customer_id", "value", "tokens")
    assert of(TOKENS).by_name == {"tokens": meter}
    assert of(TOKENS, {"event_name": "calls", "sum": ["calls"]}).usage_fields == {"input_tokens", "output_tokens", "calls"}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"sum": ["a"]}, "event_name: must be a string"),
        ({"event_name": "", "sum": ["a"]}, "event_name: must be a string"),
        ({"event_name": "x" * 101, "sum": ["a"]}, "event_name: must be a string"),
        ({"event_name": "a\nb", "sum": ["a"]}, "event_name: must be a string"),
        ({"event_name": "x"}, "sum: must be a list"),
        ({"event_name": "x", "sum": []}, "sum: must be a list"),
        ({"event_name": "x", "sum": "tokens"}, "sum: must be a list"),
        ({"event_name": "x", "sum": [1]}, "sum: must be a list"),
        ({"event_name": "x", "sum": ["a", "a"]}, "sum: names a field twice"),
        ({"event_name": "x", "sum": [f"f{n}" for n in range(USAGE_FIELDS_MAX + 1)]}, "sum: must be a list"),
        ({"event_name": "x", "sum": ["a"], "dimensions": ["value"]}, "are the payload keys of customer and value"),
        ({"event_name": "x", "sum": ["a"], "dimensions": "model"}, "dimensions: must be a list"),
        ({"event_name": "x", "sum": ["a"], "surprise": 1}, "unknown key 'surprise'"),
        ({"event_name": "x", "sum": ["a"], "customer_key": 7}, "customer_key: must be a string"),
        ("not a table", "must be a table"),
    ],
)
def test_a_wrong_meter_is_named_by_place_and_key(entry: Any, problem: str) -> None:
    found = catalogue_problems({"meters": [TOKENS, entry]})
    assert any(problem in line for line in found), found
    assert all(line.startswith("meters[2]") for line in found)


def test_every_problem_is_named_at_once() -> None:
    problems = catalogue_problems({"meters": [{"sum": []}, "no", TOKENS, TOKENS]})
    assert len(problems) == 4
    assert "'tokens' is used twice" in problems[-1]


@pytest.mark.parametrize("document", [{}, {"meters": []}, {"meters": {"tokens": TOKENS}}])
def test_no_meters_is_a_problem_that_says_what_to_add(document: dict[str, Any]) -> None:
    assert parse_catalogue(document) == (None, catalogue_problems(document))
    assert "add at least one [[meters]]" in catalogue_problems(document)[0]
    with pytest.raises(ValueError, match="no meters"):
        catalogue_of(document)


def test_too_many_meters_are_refused() -> None:
    meters = [{"event_name": f"m{number}", "sum": ["a"]} for number in range(METERS_MAX + 1)]
    assert catalogue_problems({"meters": meters}) == [f"{METERS_MAX + 1} meters; at most {METERS_MAX} are taken"]


def test_the_version_is_of_the_content_and_not_of_its_order() -> None:
    calls = {"event_name": "calls", "sum": ["calls"]}
    same = of(calls, TOKENS | {"sum": ["output_tokens", "input_tokens"]})
    assert of(TOKENS, calls).version == same.version


@pytest.mark.parametrize(
    "change", [{"event_name": "other"}, {"sum": ["input_tokens"]}, {"dimensions": []}, {"customer_key": "customer"}, {"value_key": "amount"}]
)
def test_the_version_changes_with_anything_that_is_billed(change: dict[str, Any]) -> None:
    assert of(TOKENS | change).version != of(TOKENS).version


def test_each_meter_gets_the_dimensions_it_bills_by() -> None:
    catalogue = of(TOKENS, {"event_name": "calls", "sum": ["calls"]})
    for _ in range(2):  # the second answer comes from memory
        assert catalogue.of((("model", "alpaca"), ("region", "eu"))).rows == [[(0, (("model", "alpaca"),))], [(1, ())]]


def test_the_memory_of_matches_is_bounded() -> None:
    catalogue = of(TOKENS)
    for number in range(10_001):
        catalogue.of((("model", str(number)),))
    assert len(catalogue._matches) <= 10_000
    assert catalogue.of((("model", "0"),)).rows == [[(0, (("model", "0"),))]]


USAGE_METER: dict[str, Any] = {"event_name": "tokens", "sum": ["input_tokens"]}


def test_one_rule_says_what_a_usage_field_is() -> None:
    catalogue, problems = parse_catalogue({"meters": [USAGE_METER], "usage": {"unmetered": ["cached_tokens"]}})
    assert catalogue is not None, problems
    meters = catalogue.of(())
    assert meters.judge_field("input_tokens", 0) is meters.judge_field("input_tokens", 5) is FieldVerdict.BILLED
    assert meters.judge_field("cached_tokens", 5) is meters.judge_field("anything", 0) is FieldVerdict.FREE
    assert meters.judge_field("anything", 1) is FieldVerdict.UNKNOWN


@pytest.mark.parametrize(
    ("usage", "problem"),
    [
        ("cached", "usage in the settings file is not a table"),
        ({"unmeterd": []}, "unmeterd in [usage] is not a setting"),
        ({"unmetered": "cached"}, "usage.unmetered: must be a list"),
        ({"unmetered": [""]}, "usage.unmetered: must be a list"),
        ({"unmetered": ["input_tokens"]}, "usage.unmetered: 'input_tokens' is summed by a meter"),
    ],
)
def test_a_wrong_table_of_usage_is_named(usage: Any, problem: str) -> None:
    catalogue, problems = parse_catalogue({"meters": [USAGE_METER], "usage": usage})
    assert catalogue is None
    assert any(found.startswith(problem) for found in problems), problems


def test_what_is_free_changes_the_version_only_if_there_is_any() -> None:
    meter = Meter("tokens", ("input_tokens",))
    assert Catalogue([meter]).version == Catalogue([meter], []).version != Catalogue([meter], ["cached_tokens"]).version


def test_a_catalogue_comes_back_from_its_definition() -> None:
    catalogue = Catalogue([Meter("b", ("y", "x"), ("model",), "who", "how_many", "B"), Meter("a", ("z",))], ["free", "cached"])
    found = catalogue_from(orjson.loads(orjson.dumps(catalogue.definition)))
    assert (found.version, found.known_fields, found.unmetered) == (catalogue.version, catalogue.known_fields, catalogue.unmetered)
    assert found.by_name["b"] == Meter("b", ("x", "y"), ("model",), "who", "how_many")


@pytest.mark.parametrize("wrong", [[[]], [["a", 1]], [["a", ["x"], [], "c"]], [["", 7]], [7]])
def test_what_is_no_definition_of_a_catalogue_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="not the definition of a catalogue"):
        catalogue_from(wrong)


@pytest.mark.parametrize("keys", [{"customer_key": "value"}, {"value_key": "stripe_customer_id"}, {"customer_key": "x", "value_key": "x"}])
def test_customer_and_value_need_different_keys_of_the_payload(keys: dict[str, str]) -> None:
    _, problems = parse_catalogue({"meters": [USAGE_METER | keys]})
    assert len(problems) == 1
    assert "customer_key and value_key are both" in problems[0]
