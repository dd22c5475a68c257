"""The small machines: clock, forms, parameters, quantities, pages, keys, configuration, journal."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from taximeter_sandbox.stripe.configuration import Settings, changed
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.http.forms import nest, parse_pairs
from taximeter_sandbox.stripe.http.keys import KeyRing, mask
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.metering.quantities import add, digit_count, exact_text, quantity
from taximeter_sandbox.stripe.state.clock import SimulatedClock
from taximeter_sandbox.stripe.state.journal import FileJournal

from tests.support.stripe_account import add_meter, form, make_account, meter_draft

ROUTES = ["meter_events.create"]


class TestClock:
    def test_it_follows_real_time_until_told_otherwise(self) -> None:
        real = [1_000]
        clock = SimulatedClock(lambda: real[0])
        real[0] = 1_500
        assert clock.now_ms() == 1_500
        clock.advance_ms(86_400_000)
        assert clock.now_ms() == 86_401_500
        clock.set_rate(10)
        real[0] += 100
        assert clock.now_ms() == 86_402_500
        clock.set_rate(0)
        real[0] += 100
        assert clock.now_ms() == 86_402_500
        clock.follow_real_time()
        assert clock.now_ms() == 1_700

    def test_a_restored_clock_goes_on_as_if_it_had_never_stopped(self) -> None:
        real = [1_000]
        clock = SimulatedClock(lambda: real[0])
        clock.set_ms(5_000_000)
        clock.set_rate(2)
        other = SimulatedClock(lambda: real[0])
        other.restore(clock.state)
        real[0] += 1_000
        assert other.now_ms() == clock.now_ms() == 5_002_000

    @pytest.mark.parametrize("rate", [-1.0, 1e9, float("nan")])
    def test_senseless_settings_are_refused(self, rate: float) -> None:
        clock = SimulatedClock(lambda: 0)
        with pytest.raises(ValueError, match="rate"):
            clock.set_rate(rate)
        with pytest.raises(ValueError, match="outside"):
            clock.advance_ms(-1)


class TestForms:
    def test_brackets_make_hashes_and_lists(self) -> None:
        pairs = parse_pairs("a=1&payload%5Bvalue%5D=2+3&payload[x]=%C3%A9&expand[]=p&expand[0]=q&cancel[a][b]=")
        assert nest(pairs) == {"a": "1", "payload": {"value": "2 3", "x": "é"}, "expand": ["p", "q"], "cancel": {"a": {"b": ""}}}

    @pytest.mark.parametrize(
        "text", ["a=1&a[b]=2", "[a]=1", "a[b=1", "a" + "[b]" * 10_000 + "=1", "a[]=1&a[b]=2", "a[b]=1&a[]=2", "a=%FF", "&".join(["a=1"] * 501)]
    )
    def test_malformed_forms_are_refused(self, text: str) -> None:
        with pytest.raises(ApiError) as caught:
            nest(parse_pairs(text))
        assert caught.value.status == 400


class TestQuantities:
    @pytest.mark.parametrize(("text", "number"), [("5", 5), ("-0", 0), ("1.50", Decimal("1.50")), ("1e3", Decimal("1e3"))])
    def test_text_is_read_exactly(self, text: str, number: int | Decimal) -> None:
        assert quantity(text) == number

    def test_sums_never_round(self) -> None:
        assert exact_text(add(10**60, Decimal("1e-60"))) == "1" + "0" * 60 + "." + "0" * 59 + "1"
        assert exact_text(add(Decimal("0.5"), Decimal("-0.50"))) == "0"
        assert exact_text(Decimal("1e3")) == "1000"

    @pytest.mark.parametrize(("text", "digits"), [("0", 0), ("-12", 2), ("1.50", 3), ("0.05", 1), ("100", 3), ("1.5e10", 2)])
    def test_digits_are_counted_without_leading_zeros(self, text: str, digits: int) -> None:
        assert digit_count(text) == digits


class TestMeters:
    def test_an_event_name_belongs_to_one_meter_even_when_that_is_inactive(self) -> None:
        account = make_account()
        meter = add_meter(account)
        account.deactivate_meter(meter.id, 0)
        with pytest.raises(ApiError, match="already exists"):
            add_meter(account)

    @pytest.mark.parametrize(
        "fields",
        [
            {"default_aggregation[formula]": "max"},
            {"event_time_window": "minute"},
            {"customer_mapping[type]": "by_id"},
            {"customer_mapping[event_payload_key]": "k", "customer_mapping[type]": "by_name"},
            {"value_settings[event_payload_key]": "stripe_customer_id"},
            {"display_name": "x" * 251},
            {"value_settings[colour]": "red"},
        ],
    )
    def test_bad_meters_are_refused(self, fields: dict[str, str]) -> None:
        with pytest.raises(ApiError) as caught:
            meter_draft(**fields)
        assert caught.value.status == 400


class TestPages:
    def page(self, **fields: str) -> tuple[list[str], bool]:
        items: list[dict[str, object]] = [{"id": f"x{number}", "object": "x"} for number in range(25)]
        listed = list_object(items, read_page(form(**fields)), "/v1/x")
        data, has_more = listed["data"], listed["has_more"]
        assert isinstance(data, list)
        assert isinstance(has_more, bool)
        return [item["id"] for item in data], has_more

    def test_the_default_is_ten(self) -> None:
        assert self.page() == ([f"x{number}" for number in range(10)], True)

    def test_cursors_walk_both_ways(self) -> None:
        assert self.page(starting_after="x19", limit="10") == (["x20", "x21", "x22", "x23", "x24"], False)
        assert self.page(ending_before="x3", limit="2") == (["x1", "x2"], True)
        assert self.page(ending_before="x2") == (["x0", "x1"], False)

    @pytest.mark.parametrize(
        "fields", [{"limit": "0"}, {"limit": "101"}, {"limit": "ten"}, {"starting_after": "nobody"}, {"starting_after": "x1", "ending_before": "x2"}]
    )
    def test_bad_pages_are_refused(self, fields: dict[str, str]) -> None:
        with pytest.raises(ApiError) as caught:
            self.page(**fields)
        assert caught.value.status == 400


class TestKeys:
    def test_well_formed_keys_are_taken_and_tell_their_mode(self) -> None:
        ring = KeyRing()
        assert ring.check("Bearer sk_test_abcd1234", "customer_read") is False
        assert ring.check("bearer sk_live_abcd1234", "customer_write") is True
        assert ring.check("Basic c2tfdGVzdF9hYmNkMTIzNDo=", "customer_write") is False

    @pytest.mark.parametrize("header", [None, "", "Bearer", "Basic !!!", "Bearer pk_test_abcd1234", "Bearer sk_test_", "Digest x"])
    def test_others_get_401(self, header: str | None) -> None:
        with pytest.raises(ApiError) as caught:
            KeyRing().check(header, "customer_read")
        assert caught.value.status == 401

    def test_revoked_and_unlisted_keys_get_401_and_are_masked(self) -> None:
        ring = KeyRing(accepted=frozenset({"sk_test_good1234"}), revoked=frozenset({"sk_test_gone1234"}))
        for key, code in (("sk_test_gone1234", "api_key_expired"), ("sk_test_other234", None)):
            with pytest.raises(ApiError) as caught:
                ring.check(f"Bearer {key}", "customer_read")
            assert (caught.value.status, caught.value.code) == (401, code)
            assert key not in caught.value.message
        assert mask("sk_test_good1234") == "sk_test_****1234"

    def test_a_restricted_key_does_what_it_may_and_writing_includes_reading(self) -> None:
        ring = KeyRing(restricted={"rk_test_abcd1234": frozenset({"customer_write"})})
        ring.check("Bearer rk_test_abcd1234", "customer_read")
        with pytest.raises(ApiError) as caught:
            ring.check("Bearer rk_test_abcd1234", "billing_meter_event_write")
        assert caught.value.status == 403


class TestConfiguration:
    def test_sections_given_change_and_others_stay(self) -> None:
        settings = changed(Settings(), {"assumptions": {"concurrency": "lock_timeout"}, "limits": {"global_per_second": 7}}, ROUTES)
        again = changed(settings, {"latency": {"*": {"median_ms": 5}}, "outage": "reset"}, ROUTES)
        assert again.assumptions.concurrency == "lock_timeout"
        assert (again.limits.global_per_second, again.limits.meter_events_per_second) == (7, 1000)
        assert (again.plan.latency["*"].median_ms, again.plan.outage) == (5, "reset")

    @pytest.mark.parametrize(
        ("document", "named"),
        [
            ({"assumption": {}}, "unknown section 'assumption'"),
            ({"assumptions": {"zero": 1}}, "unknown field 'zero'"),
            ({"assumptions": {"zero_value": "maybe"}}, "assumptions.zero_value"),
            ({"assumptions": {"replayed_header": 1}}, "assumptions.replayed_header: must be bool"),
            ({"limits": {"global_per_second": True}}, "limits.global_per_second: must be int"),
            ({"limits": {"global_per_second": -1}}, "global_per_second"),
            ({"limits": []}, "limits: must be a JSON object"),
            ({"processing": {"lag_max_ms": 120_001}}, "lag"),
            ({"faults": {"nowhere": []}}, "unknown route 'nowhere'"),
            ({"faults": {"*": [{"probability": 0.5}]}}, "kind is required"),
            ({"faults": {"*": [{"kind": "slow", "probability": 0.6}, {"kind": "conflict", "probability": 0.6}]}}, "add up"),
            ({"latency": {"*": {"distribution": "lognormal"}}}, "lognormal"),
            ({"outage": "partial"}, "outage"),
            ({"keys": {"restricted": {"rk_test_abcd1234": ["everything"]}}}, "unknown permission 'everything'"),
            ({"keys": {"revoked": "all"}}, "keys.revoked"),
        ],
    )
    def test_mistakes_are_named(self, document: dict[str, object], named: str) -> None:
        with pytest.raises(ValueError, match=r".") as caught:
            changed(Settings(), document, ROUTES)
        assert named in str(caught.value)


class TestJournal:
    def test_entries_come_back_and_a_torn_end_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "journal"
        journal = FileJournal(path)
        assert list(journal.entries()) == []
        journal.append(["a", 1])
        journal.append(["b", {"x": "é"}])
        journal.close()
        whole = path.read_bytes()
        path.write_bytes(whole + b'["c", 1')
        again = FileJournal(path)
        assert list(again.entries()) == [["a", 1], ["b", {"x": "é"}]]
        again.append(["d"])
        again.close()
        assert path.read_bytes() == whole + b'["d"]\n'

    def test_a_damaged_line_stops_the_start(self, tmp_path: Path) -> None:
        path = tmp_path / "journal"
        path.write_bytes(b'["a"]\n{"b": 1}\n')
        journal = FileJournal(path)
        with pytest.raises(ValueError, match="byte 6"):
            list(journal.entries())
        journal.close()

    def test_a_full_disk_ends_the_process(self, tmp_path: Path) -> None:
        script = f"""
import pathlib, resource
from taximeter_sandbox.stripe.state.journal import FileJournal
journal = FileJournal(pathlib.Path({str(tmp_path / "journal")!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
journal.append(["x" * 200])
journal.flush()
print("went on")
"""
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "File too large" in ended.stderr

    def test_two_processes_cannot_share_a_file(self, tmp_path: Path) -> None:
        journal = FileJournal(tmp_path / "journal")
        with pytest.raises(BlockingIOError):
            FileJournal(tmp_path / "journal")
        journal.close()
