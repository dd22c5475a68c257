from pathlib import Path
from typing import Any, cast

from taximeter_sandbox.demo.watching import Watch, parse_metrics, total

PAGE = """
# TYPE process_start_time_seconds gauge
process_start_time_seconds {start}
# TYPE events_total counter
events_total{{outcome="counted"}} {counted}
events_total{{outcome="duplicate"}} {duplicate}
# TYPE held_bytes gauge
held_bytes {held}
"""


def page(*, start: int, counted: int, duplicate: int = 0, held: int = 0) -> str:
    return PAGE.format(start=start, counted=counted, duplicate=duplicate, held=held)


def watch() -> Watch:
    unused = cast("Any", Path("unused"))
    return Watch(unused, unused, [])


def test_a_metric_is_summed_over_the_series_with_the_labels_asked_for() -> None:
    series = parse_metrics(page(start=1, counted=5, duplicate=2))

    assert total(series, "events_total") == 7
    assert total(series, "events_total", outcome="duplicate") == 2
    assert total(series, "no_such_total") == 0


def test_counters_go_on_over_a_restart_and_gauges_do_not() -> None:
    view = watch()
    view._service("a", page(start=1, counted=100, held=7))
    down = view._service("a", None)
    again = view._service("a", page(start=2, counted=5, held=3))

    assert not down.up
    assert total(down.series, "events_total") == 100
    assert total(down.series, "held_bytes") == 0
    assert total(again.series, "events_total") == 105
    assert total(again.series, "held_bytes") == 3


def test_a_second_restart_adds_up_too() -> None:
    view = watch()
    services = [view._service("a", page(start=start, counted=counted)) for start, counted in ((1, 100), (2, 10), (3, 1))]

    assert total(services[-1].series, "events_total") == 111
