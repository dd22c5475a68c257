"""Error reports against the drops themselves."""

from taximeter_sandbox.stripe.metering.error_reports import WINDOW_MS, ErrorReports


def test_a_window_is_closed_once_and_not_before_its_end() -> None:
    reports = ErrorReports()
    reports.dropped(0, "no_meter", None, 9_999, 5)
    reports.dropped(1, "archived_meter", "mtr_1", 10_000, 5)
    assert reports.close(9_999) == []
    assert [(report.start_ms, report.end_ms, report.meter_id) for report in reports.close(10_000)] == [(0, 10_000, None)]
    assert [report.meter_id for report in reports.close(60_000)] == ["mtr_1"]
    assert reports.close(10**9) == []


def test_the_sample_is_cut_and_the_count_is_not() -> None:
    reports = ErrorReports()
    for sequence in range(10):
        reports.dropped(sequence, "archived_meter", "mtr_1", 0, 3)
    [report] = reports.close(WINDOW_MS)
    assert (report.counts["archived_meter"], report.samples["archived_meter"]) == (10, [0, 1, 2])
