"""The share of an account's reads is not passed, whatever the number of restarts and processes."""

from reporter.comparing.read_budget import MONTH_SECONDS, ReadBudget


def test_a_month_allows_its_share_and_what_may_be_spent_at_once() -> None:
    budget = ReadBudget(5_000, 0.0)
    spent = 0
    for second in range(0, MONTH_SECONDS, 600):
        calls = budget.left(second)
        budget.spend(calls)
        spent += calls
    assert 5_000 <= spent <= 5_000 + 20


def test_a_process_that_owns_a_third_has_a_third() -> None:
    budget = ReadBudget(3 * 720_000, 0.0)
    budget.set_share(1 / 3)
    assert budget.left(0.0) == 1_000
    budget.spend(1_000)
    assert budget.left(36.0) == 10


def test_nothing_is_allowed_of_nothing_and_where_nothing_is_owned() -> None:
    assert ReadBudget(0, 0.0).left(1e9) == 0
    budget = ReadBudget(5_000, 0.0)
    budget.set_share(0.0)
    assert budget.left(1e9) == 0
