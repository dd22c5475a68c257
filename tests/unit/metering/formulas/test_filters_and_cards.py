"""`where`, formulas and rate cards of the settings file: every problem is named, and what is written is what is meant."""

import tomllib
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.formulas.dimension_filters import DimensionFilter, Where, most_that_match, read_where, where_takes
from metering.formulas.meter_formulas import Aggregate
from metering.formulas.rate_cards import read_rate_cards
from metering.records.meters import Catalogue, Meter, catalogue_of, catalogue_problems

CARD = """
[[rate_cards]]
[rate_cards.kinds]
input = {sum = ["input_tokens"], less = ["cached_input_tokens"]}
requests = {aggregate = "count"}
[rate_cards.models]
alpaca-7b = true
alpaca-70b = ["alpaca-70b", "alpaca-70b-*"]
"""


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"aggregate": "last"}, 'meters[1].where: aggregate = "last" needs one, such as where = {reading = "storage"}'),
        ({"aggregate": "last", "where": {"a": "b"}, "dimensions": ["m"]}, 'meters[1].dimensions: aggregate = "last" has none'),
        ({"aggregate": "max"}, 'meters[1].aggregate: must be "sum", "count" or "last", is \'max\''),
        ({"less": []}, "meters[1].less: must be a list of 1 to 16 names, is []"),
        ({"less": ["input"]}, "meters[1]: 'input' is in sum and in less, so it comes to nothing"),
        ({"aggregate": "count", "less": ["b"]}, 'meters[1].less: only a sum can be less something; aggregate = "count" counts events'),
        ({"where": {}}, "meters[1].where: must be a table of 1 to 16 dimensions"),
        ({"where": {"model": []}}, "meters[1].where.model: must have 1 to 64 values, has 0"),
        ({"where": {"model": 7}}, "meters[1].where.model: a value must be a text"),
        ({"where": {"model": "*"}}, 'meters[1].where.model: "*" takes every value: write {present = true}'),
        ({"where": {"model": "a*b"}}, "meters[1].where.model: a * stands for the rest of a value, at its end"),
        ({"where": {"model": ["a", "a"]}}, "meters[1].where.model: names a value twice"),
        ({"where": {"model": {"present": 1}}}, "meters[1].where.model: must be {present = true}"),
        ({"where": {"model": {"absent": True}}}, "meters[1].where.model: must be {present = true}"),
    ],
)
def test_a_wrong_formula_or_filter_is_named(keys: dict[str, Any], problem: str) -> None:
    (found,) = catalogue_problems({"meters": [{"event_name": "tokens", "sum": ["input"]} | keys]})
    assert found.startswith(problem)


def test_meters_that_may_all_take_one_event_are_too_many() -> None:
    apart = [{"event_name": f"m{number}", "sum": ["a"], "where": {"model": f"m-{number}"}} for number in range(300)]
    assert catalogue_problems({"meters": apart}) == []
    together = [entry | {"where": {"model": "m-1*"}} for entry in apart[:17]]
    assert catalogue_problems({"meters": together}) == [
        "meters: 17 of them may take the same event; at most 16 may: give them a where",
    ]


filters = st.one_of(
    st.booleans(),
    st.lists(st.sampled_from(["a", "ab", "b", "a*", "ab*", "c*"]), unique=True, min_size=1, max_size=3).map(lambda found: tuple(sorted(found))),
)
wheres = st.dictionaries(st.sampled_from(["model", "region"]), filters).map(
    lambda found: tuple(DimensionFilter(name, wanted) for name, wanted in sorted(found.items()))
)


@given(st.lists(wheres, max_size=6))
def test_the_most_that_take_an_event_are_as_many_as_a_search_finds(several: list[Where]) -> None:
    values = [None, "", "a", "ab", "abc", "ac", "b", "c", "cd", "z"]
    events = [{name: text for name, text in (("model", model), ("region", region)) if text is not None} for model, region in product(values, values)]
    assert most_that_match(several) == max(sum(where_takes(where, event) for where in several) for event in events)


def test_a_rate_card_makes_a_meter_for_each_pair() -> None:
    catalogue = catalogue_of(tomllib.loads(CARD))
    assert list(catalogue.by_name) == ["alpaca-7b_input", "alpaca-7b_requests", "alpaca-70b_input", "alpaca-70b_requests"]
    assert catalogue.by_name["alpaca-70b_input"] == Meter(
        "alpaca-70b_input",
        ("input_tokens",),
        display_name="alpaca-70b: input",
        less=("cached_input_tokens",),
        where=(DimensionFilter("model", ("alpaca-70b", "alpaca-70b-*")),),
    )
    assert catalogue.by_name["alpaca-7b_requests"].aggregate is Aggregate.COUNT
    assert len(catalogue.formulas) == 2


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("[[rate_cards]]", '[[rate_cards]]\nevent_name = "{model}"', "rate_cards[1].event_name: must be a text with {model} and {kind}"),
        ("[[rate_cards]]", '[[rate_cards]]\nevent_name = "{model!r}{kind}"', "rate_cards[1].event_name: must be a text with {model} and {kind}"),
        ("[[rate_cards]]", '[[rate_cards]]\nevnt = "x"', "rate_cards[1]: unknown key 'evnt'"),
        ("[[rate_cards]]", '[[rate_cards]]\nwhere = {model = "x"}', "rate_cards[1].where.model: the models of the card are the condition"),
        ("alpaca-7b = true", "alpaca-7b = false", "rate_cards[1].models.alpaca-7b: a value must be a text"),
        ("alpaca-7b = true", '"alpaca-7b*" = true', "rate_cards[1].models.alpaca-7b*: a name has no *"),
        ('{aggregate = "count"}', '{aggregate = "last"}', 'rate_cards[1].kinds.requests.aggregate: "last" is not for a rate card'),
        ('{aggregate = "count"}', "{}", "rate_cards[1].kinds.requests.sum: must be a list of 1"),
        ('{aggregate = "count"}', '{count = "x"}', "rate_cards[1].kinds.requests: unknown key 'count'"),
        ("alpaca-7b = true", f'{"x" * 64} = true\n[[meters]]\nevent_name = "{"x" * 64}_input"\nsum = ["a"]', "meters: event_name 'xxx"),
    ],
)
def test_a_wrong_rate_card_is_named(before: str, after: str, problem: str) -> None:
    text = CARD.replace(before, after)
    if "[[meters]]" in after:  # its models come before the table
        text = CARD.replace(before, after.split("\n", 1)[0]) + after.split("\n", 1)[1]
    found = catalogue_problems(tomllib.loads(text))
    assert any(line.startswith(problem) for line in found), found


def test_a_name_that_stripe_would_not_take_is_named_with_its_pair() -> None:
    card = {"event_name": "y" * 60 + "{model}{kind}", "kinds": {"k" * 40: {"sum": ["a"]}}, "models": {"m": True}}
    _, problems = read_rate_cards({"rate_cards": [card]})
    assert len(problems) == 1
    assert problems[0].startswith(f"rate_cards[1] (m, {'k' * 40}).event_name: must be a string of 1 to 100 characters")


def test_the_version_of_plain_sums_is_what_it_was() -> None:
    """Logs hold it: another one for the same meters would say that the catalogue had changed."""
    assert Catalogue([Meter("tokens", ("input", "output"), ("model",))], ["cached"]).definition == [
        ["", ["cached"]],
        ["tokens", ["input", "output"], ["model"], "stripe_customer_id", "value"],
    ]
    where, _ = read_where({"model": "a"}, "")
    plain = Catalogue([Meter("tokens", ("input",))]).version
    others = [
        Meter("tokens", ("input",), less=("x",)),
        Meter("tokens", ("input",), where=where),
        Meter("tokens", ("input",), aggregate=Aggregate.COUNT),
    ]
    assert len({plain, *(Catalogue([meter]).version for meter in others)}) == 4


def test_an_event_that_no_meter_takes_is_told_which_would() -> None:
    catalogue = catalogue_of(tomllib.loads(CARD.replace('requests = {aggregate = "count"}', "")))
    meters = catalogue.of((("model", "alpaca-9b"),))
    assert meters.knows_nothing_of([("input_tokens", 5)])
    assert meters.why_unknown("input_tokens") == (
        "no meter takes it of an event with model alpaca-9b: it is taken by alpaca-7b_input where model is alpaca-7b;"
        " alpaca-70b_input where model is alpaca-70b or alpaca-70b-*"
    )
    assert not catalogue.of((("model", "alpaca-70b-2026"),)).knows_nothing_of([("input_tokens", 5)])


def test_a_count_of_everything_takes_an_event_whatever_its_usage_is() -> None:
    meters = catalogue_of({"meters": [{"event_name": "calls", "aggregate": "count"}]}).of(())
    assert not meters.knows_nothing_of([("seconds", 5)])
    assert meters.unknown_in([("seconds", 5)]) == [("seconds", 5)]
    assert meters.units([("seconds", 5)]) == {"calls": 1}
