"""Every PromQL expression parses, and names only metrics, labels and label values that exist."""

import re
from collections.abc import Iterator, Mapping

import promql_parser
import pytest

from tests.support.deploy_files import FOREIGN, alerts, dashboard, label_values, panels, rules, series

TARGET = frozenset({"job", "instance"})


def recorded() -> Mapping[str, frozenset[str]]:
    return {rule["record"]: frozenset() for rule in rules() if "record" in rule}


def alert_expressions() -> Iterator[tuple[str, str]]:
    return ((rule.get("alert") or rule["record"], rule["expr"]) for rule in rules())


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    for panel in panels():
        yield from ((f"{panel['title']} {target['refId']}", target["expr"]) for target in panel["targets"])
    yield from ((note["name"], note["expr"]) for note in dashboard()["annotations"]["list"])


EXPRESSIONS = [*alert_expressions(), *dashboard_expressions()]
by_name = pytest.mark.parametrize(("name", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """All vector selectors, those of ranges included. Raises ValueError for what does not parse."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression.replace("$__rate_interval", "1m")), visit)
    return found


def grouping_labels(expression: str) -> set[str]:
    return {label.strip() for names in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expression) for label in names.split(",") if label.strip()}


@by_name
def test_it_parses_and_its_metrics_and_labels_exist(name: str, expression: str) -> None:
    known = {**series(), **FOREIGN, **recorded()}
    used: set[str] = set()
    for selector in selectors(expression):
        assert selector.name is not None
        assert selector.name in known, f"{name}: no process exports {selector.name}"
        labels = known[selector.name] | TARGET
        used |= labels
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{name}: {selector.name} has no label {matcher.name}"
            values = label_values().get((selector.name, matcher.name))
            if values is not None and "$" not in matcher.value:
                assert set(matcher.value.split("|")) <= values, f"{name}: {selector.name} never has {matcher.name}={matcher.value}"
    assert grouping_labels(expression) <= used, f"{name}: groups by a label that none of its series has"


@pytest.mark.parametrize(("name", "expression"), list(dashboard_expressions()))
def test_a_rate_on_the_dashboard_follows_the_zoom(name: str, expression: str) -> None:
    windows = re.findall(r"\brate\([^\[\]]*\[([^\]]+)\]", expression)
    assert windows == ["$__rate_interval"] * expression.count("rate("), name


def test_the_parser_refuses_what_is_wrong_and_the_check_sees_inside_ranges() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        selectors("sum by (rate(x[5m])")
    assert [selector.name for selector in selectors("sum(rate(a[$__rate_interval])) / max_over_time(sum(b)[1d:5m]) or absent(c)")] == ["a", "b", "c"]


def test_the_texts_of_an_alert_use_labels_that_its_expression_keeps() -> None:
    for name, rule in alerts().items():
        written = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        kept = grouping_labels(rule["expr"]) or TARGET
        assert written <= kept, name
