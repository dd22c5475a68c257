"""A whole reporter in virtual time: Stripe goes away for an hour and a half, and comes back."""

from benchmarks.drain_world import DrainOrder, run


def test_a_backlog_is_sent_once_and_sooner_than_without_merging() -> None:
    found = run(DrainOrder(customers=60, calls_per_second=2, connections=4, rows_max=100, away_from_minute=600, away_minutes=90))
    assert found.rows == 60 * 90
    assert found.meter_events < found.rows / 4
    assert 0 < found.drain_minutes < found.unmerged_minutes / 4


def test_one_refusal_in_a_hundred_calls_hardly_delays_a_backlog() -> None:
    order = DrainOrder(customers=800, calls_per_second=20, connections=40, rows_max=500, away_from_minute=600, away_minutes=15, refused_share=0.01)
    found = run(order)
    assert found.rows == 800 * 15
    assert found.drain_minutes < 3.0, "2.3 without refusals"
