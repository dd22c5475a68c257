"""`[[rate_cards]]` of the settings file: a page of prices, which makes a meter for each pair of a model and a kind of usage.

    [[rate_cards]]
    dimension = "model"                  # optional: the dimension of events that says which model it was
    event_name = "{model}_{kind}"        # optional: names the meters
    display_name = "{model}: {kind}"     # optional: what Stripe's dashboard calls them
    where = {region = "eu"}              # optional: conditions that hold for every meter of the card

    [rate_cards.kinds]                   # what is a kind of usage, as in [[meters]]
    input = {sum = ["input_tokens"], less = ["cached_input_tokens"]}
    cached_input = {sum = ["cached_input_tokens"]}
    output = {sum = ["output_tokens"]}

    [rate_cards.models]                  # values of the dimension; `true` is the name itself
    alpaca-7b = true
    alpaca-70b = ["alpaca-70b", "alpaca-70b-*"]

`dimensions`, `customer_key` and `value_key` are those of every meter. `[rate_cards.prices]` is for billing.catalogue.card_prices.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final

from taximeter_emitter.wire.limits import NAME_CHARS_MAX

from metering.formulas.dimension_filters import read_where, values_problem
from metering.formulas.meter_entries import FORMULA_KEYS, entry_problems, formula_problems, is_name
from metering.formulas.meter_formulas import Aggregate

CARDS_MAX: Final = 16
_SHARED_KEYS: Final = ("dimensions", "customer_key", "value_key")
_CARD_KEYS: Final = frozenset({"dimension", "event_name", "display_name", "where", "kinds", "models", "prices", *_SHARED_KEYS})


@dataclass(frozen=True, slots=True)
class CardMeter:
    """One pair of a rate card. `entry` is what a `[[meters]]` table would say; `place` is where the pair is in the file."""

    card: int
    model: str
    kind: str
    place: str
    entry: Mapping[str, Any]


def read_rate_cards(document: Mapping[str, Any]) -> tuple[list[CardMeter], list[str]]:
    """The meters of all rate cards of a decoded settings file, and every problem of the cards."""
    cards = document.get("rate_cards", [])
    if not isinstance(cards, list) or len(cards) > CARDS_MAX or not all(isinstance(card, dict) for card in cards):
        return [], [f"rate_cards: must be at most {CARDS_MAX} tables, each under [[rate_cards]]"]
    meters: list[CardMeter] = []
    problems: list[str] = []
    for number, card in enumerate(cards):
        place = f"rate_cards[{number + 1}]"
        found = _card_problems(card, place)
        if not found:
            made = list(_meters_of(card, number, place))
            # What is wrong with what all share would be said of each.
            found = list(dict.fromkeys(problem for meter in made for problem in entry_problems(meter.entry, meter.place)))
            meters += made
        problems += found
    return meters, problems


def _card_problems(card: Mapping[str, Any], place: str) -> list[str]:
    problems = [f"{place}: unknown key {key!r}; known are {', '.join(sorted(_CARD_KEYS))}" for key in sorted(card.keys() - _CARD_KEYS)]
    dimension = card.get("dimension", "model")
    if not is_name(dimension, NAME_CHARS_MAX):
        problems.append(f"{place}.dimension: must be the name of a dimension, is {dimension!r}")
    for key in ("event_name", "display_name"):
        problems += _template_problems(card[key], f"{place}.{key}") if key in card else []
    if "where" in card:
        problems += read_where(card["where"], f"{place}.where")[1]
        if isinstance(card["where"], dict) and dimension in card["where"]:
            problems.append(f"{place}.where.{dimension}: the models of the card are the condition on {dimension}")
    return problems + _kinds_problems(card.get("kinds"), f"{place}.kinds") + _models_problems(card.get("models"), f"{place}.models")


def _template_problems(template: object, place: str) -> list[str]:
    wrong = [f'{place}: must be a text with {{model}} and {{kind}}, such as "{{model}}_{{kind}}", is {template!r}']
    if not isinstance(template, str):
        return wrong
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        return wrong
    named = [name for _, name, _, _ in parts if name is not None]
    plain = all(not spec and not conversion for _, _, spec, conversion in parts)
    return [] if plain and set(named) == {"model", "kind"} else wrong


def _kinds_problems(kinds: object, place: str) -> list[str]:
    if not isinstance(kinds, dict) or not kinds:
        return [f'{place}: must be a table of kinds of usage, such as output = {{sum = ["output_tokens"]}}, is {kinds!r}']
    problems = []
    for kind, formula in kinds.items():
        here = f"{place}.{kind}"
        if not is_name(kind, NAME_CHARS_MAX):
            problems.append(f"{here}: the name of a kind has 1 to {NAME_CHARS_MAX} characters that can be printed")
        elif not isinstance(formula, dict):
            problems.append(f'{here}: must be a table such as {{sum = ["output_tokens"]}}, is {formula!r}')
        else:
            known = ", ".join(sorted(FORMULA_KEYS))
            problems += [f"{here}: unknown key {key!r}; known are {known}" for key in sorted(formula.keys() - FORMULA_KEYS)]
            problems += formula_problems(formula, here)
            if formula.get("aggregate") == Aggregate.LAST.value:
                problems.append(f'{here}.aggregate: "last" is not for a rate card, whose meters take all events of a model: write a [[meters]] table')
    return problems


def _models_problems(models: object, place: str) -> list[str]:
    if not isinstance(models, dict) or not models:
        return [f"{place}: must be a table of models, such as alpaca-7b = true, is {models!r}"]
    problems = []
    for model, values in models.items():
        if not is_name(model, NAME_CHARS_MAX):
            problems.append(f"{place}.{model}: the name of a model has 1 to {NAME_CHARS_MAX} characters that can be printed")
        elif values is not True:
            wrong = values_problem(values if isinstance(values, list) else [values])
            problems += [f"{place}.{model}: {wrong}; true takes the name itself"] if wrong else []
        elif "*" in model:
            problems.append(f'{place}.{model}: a name has no *; write a list of values, such as ["{model}"]')
    return problems


def _meters_of(card: Mapping[str, Any], number: int, place: str) -> Iterator[CardMeter]:
    shared = {key: card[key] for key in _SHARED_KEYS if key in card}
    for model, values in card["models"].items():
        for kind, formula in card["kinds"].items():
            entry = {
                "event_name": card.get("event_name", "{model}_{kind}").format(model=model, kind=kind),
                "display_name": card.get("display_name", "{model}: {kind}").format(model=model, kind=kind),
                "where": {**card.get("where", {}), card.get("dimension", "model"): model if values is True else values},
            }
            yield CardMeter(number, model, kind, f"{place} ({model}, {kind})", {**entry, **formula, **shared})
