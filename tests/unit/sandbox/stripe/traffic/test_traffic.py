"""Limits, lanes, idempotency keys and faults: what stands between a call and its effect."""

from collections import Counter

import pytest
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.traffic.faults import Fault, FaultInjector, FaultPlan, Latency
from taximeter_sandbox.stripe.traffic.idempotency import MEMORY_MS, IdempotencyStore, StoredReply, fingerprint
from taximeter_sandbox.stripe.traffic.limits import LIVE, SANDBOX, Lanes, Limiter, Limits

SECOND = 1_000_000_000
ROUTE = "meter_events.create"


def admitted(limiter: Limiter, route: str, calls: int, now_ns: int, concurrent: int = 1) -> Counter[str | None]:
    return Counter(limiter.admit(route, "meter_events" if route == ROUTE else "ordinary", concurrent=concurrent, now_ns=now_ns) for _ in range(calls))


class TestLimits:
    def test_live_meter_events_have_their_own_thousand(self) -> None:
        limiter = Limiter(LIVE)
        assert admitted(limiter, ROUTE, 1500, 10 * SECOND) == {None: 1000, "endpoint-rate": 500}
        assert admitted(limiter, ROUTE, 500, 10 * SECOND + SECOND // 4) == {None: 250, "endpoint-rate": 250}
        assert admitted(limiter, "meters.list", 30, 10 * SECOND) == {None: 25, "endpoint-rate": 5}

    def test_the_sandbox_has_25_for_everything_together(self) -> None:
        limiter = Limiter(SANDBOX)
        assert admitted(limiter, "meters.list", 20, SECOND) == {None: 20}
        assert admitted(limiter, ROUTE, 10, SECOND) == {None: 5, "global-rate": 5}

    def test_the_live_global_limit_is_for_everything_but_meter_events(self) -> None:
        limiter = Limiter(LIVE)
        reasons = sum((admitted(limiter, f"endpoint{number}", 25, SECOND) for number in range(5)), Counter[str | None]())
        assert reasons == {None: 100, "global-rate": 25}

    def test_zero_is_no_limit_and_a_refused_call_uses_no_token(self) -> None:
        assert admitted(Limiter(Limits(meter_events_per_second=0)), ROUTE, 5000, SECOND) == {None: 5000}
        limiter = Limiter(Limits(meter_events_per_second=10))
        admitted(limiter, ROUTE, 1000, SECOND)
        assert admitted(limiter, ROUTE, 20, 2 * SECOND) == {None: 10, "endpoint-rate": 10}

    def test_the_stream_is_limited_by_events(self) -> None:
        limiter = Limiter(LIVE)

        def stream(events: int, now_ns: int) -> str | None:
            return limiter.admit("v2.meter_event_stream.create", "stream", events=events, concurrent=1, now_ns=now_ns)

        assert Counter(stream(100, SECOND) for _ in range(120)) == {None: 100, "endpoint-rate": 20}
        assert Counter(stream(100, SECOND + SECOND // 2) for _ in range(120)) == {None: 50, "endpoint-rate": 70}
        assert stream(1, SECOND + SECOND // 2) == "endpoint-rate"
        small = Limiter(Limits(stream_events_per_second=10))
        assert [small.admit("s", "stream", events=100, concurrent=1, now_ns=now * SECOND) for now in (1, 5, 12)] == [None, "endpoint-rate", None]

    def test_the_stream_of_a_sandbox_has_25_requests_of_any_size(self) -> None:
        limiter = Limiter(SANDBOX)
        found = Counter(limiter.admit("s", "stream", events=100, concurrent=1, now_ns=SECOND) for _ in range(30))
        assert found == {None: 25, "global-rate": 5}

    def test_concurrency_can_be_limited(self) -> None:
        limiter = Limiter(Limits(concurrent_calls=3))
        assert admitted(limiter, ROUTE, 1, SECOND, concurrent=3) == {None: 1}
        assert admitted(limiter, ROUTE, 1, SECOND, concurrent=4) == {"global-concurrency": 1}


def test_a_lane_takes_one_call_and_remembers_the_crowd() -> None:
    lanes = Lanes()
    lane = [("tokens", "cus_1")]
    assert lanes.enter(lane, exclusive=True)
    assert lanes.enter([("tokens", "cus_2")], exclusive=True)
    assert lanes.peak == 1
    assert not lanes.enter(lane, exclusive=True)
    assert lanes.enter(lane, exclusive=False)
    lanes.leave(lane)
    assert not lanes.enter(lane, exclusive=True)
    lanes.leave(lane)
    assert lanes.enter(lane, exclusive=True)
    assert lanes.peak == 2


def test_several_lanes_are_taken_together_or_not_at_all() -> None:
    lanes = Lanes()
    first, second, third = ((f"tokens{number}", "cus_1") for number in range(3))
    assert lanes.enter([first, second], exclusive=True)
    assert not lanes.enter([second, third], exclusive=True)
    assert lanes.enter([third], exclusive=True)
    lanes.leave([first, second])
    assert lanes.enter([first], exclusive=True)
    assert lanes.enter([], exclusive=True)


class TestIdempotency:
    marks = fingerprint([("a", "1"), ("b", "2")])

    def kept(self, stored_ms: int = 0) -> StoredReply:
        return StoredReply("/v1/x", self.marks, stored_ms, "req_1", 500, (), b"{}", None)

    def test_fingerprints_ignore_order_and_nothing_else(self) -> None:
        assert fingerprint([("b", "2"), ("a", "1")]) == self.marks
        others = ([("a", "1")], [("a", "12"), ("b", "")], [("a1", ""), ("b", "2")], [("a", "2"), ("b", "1")])
        assert all(fingerprint(list(pairs)) != self.marks for pairs in others)

    def test_the_first_reply_is_given_again_for_24_hours(self) -> None:
        store = IdempotencyStore()
        assert store.begin("k", "/v1/x", self.marks, 0) is None
        store.keep("k", self.kept())
        store.end("k")
        assert store.begin("k", "/v1/x", self.marks, MEMORY_MS - 1) == self.kept()
        assert store.begin("k", "/v1/x", self.marks, MEMORY_MS) is None
        assert len(store) == 0

    def test_a_key_in_flight_gets_409_and_a_call_without_reply_leaves_nothing(self) -> None:
        store = IdempotencyStore()
        store.begin("k", "/v1/x", self.marks, 0)
        with pytest.raises(ApiError) as caught:
            store.begin("k", "/v1/x", self.marks, 0)
        assert (caught.value.status, caught.value.code) == (409, "idempotency_key_in_use")
        store.end("k")
        assert store.begin("k", "/v1/x", self.marks, 0) is None

    @pytest.mark.parametrize(("path", "pairs"), [("/v1/y", [("a", "1"), ("b", "2")]), ("/v1/x", [("a", "1")])])
    def test_a_key_belongs_to_its_parameters_and_endpoint(self, path: str, pairs: list[tuple[str, str]]) -> None:
        store = IdempotencyStore()
        store.begin("k", "/v1/x", self.marks, 0)
        store.keep("k", self.kept())
        store.end("k")
        with pytest.raises(ApiError) as caught:
            store.begin("k", path, fingerprint(pairs), 0)
        assert (caught.value.status, caught.value.kind) == (400, "idempotency_error")

    def test_long_keys_are_refused(self) -> None:
        with pytest.raises(ApiError):
            IdempotencyStore().begin("k" * 256, "/v1/x", self.marks, 0)


class TestFaults:
    plan = FaultPlan(faults={"*": (Fault("conflict", 0.2), Fault("slow", 0.3))})

    def drawn(self, seed: int, route: str = ROUTE, count: int = 2000) -> list[str | None]:
        injector = FaultInjector(seed, self.plan)
        return [fault.kind if fault is not None else None for fault in (injector.draw(route) for _ in range(count))]

    def test_a_seed_gives_the_same_faults_and_about_as_many_as_asked_for(self) -> None:
        first = self.drawn(1)
        assert first == self.drawn(1)
        assert first != self.drawn(2)
        counts = Counter(first)
        assert 320 < counts["conflict"] < 480
        assert 500 < counts["slow"] < 700

    def test_one_route_does_not_disturb_another(self) -> None:
        injector = FaultInjector(1, self.plan)
        mixed = []
        for _ in range(2000):
            injector.draw("meters.list")
            fault = injector.draw(ROUTE)
            mixed.append(fault.kind if fault is not None else None)
        assert mixed == self.drawn(1)

    def test_scripted_faults_come_first_and_end(self) -> None:
        injector = FaultInjector(1, FaultPlan(outage="hang"))
        injector.script(ROUTE, Fault("reset_after"), 2)
        assert [getattr(injector.draw(ROUTE), "kind", None) for _ in range(3)] == ["reset_after", "reset_after", "hang_before"]
        assert injector.scripted() == {}

    def test_an_empty_list_for_a_route_exempts_it(self) -> None:
        injector = FaultInjector(1, FaultPlan(faults={"*": (Fault("conflict", 1.0),), ROUTE: ()}))
        assert injector.draw(ROUTE) is None
        assert injector.draw("meters.list") is not None

    @pytest.mark.parametrize("distribution", ["constant", "uniform", "lognormal"])
    def test_latencies_follow_their_distribution(self, distribution: str) -> None:
        latency = Latency(distribution, 100, 400)  # type: ignore[arg-type]  # the parameters are its literals
        injector = FaultInjector(1, FaultPlan(latency={"*": latency}))
        samples = sorted(injector.latency_s(ROUTE) for _ in range(4000))
        median, p99 = samples[2000], samples[3960]
        expected = {"constant": (0.1, 0.1), "uniform": (0.25, 0.397), "lognormal": (0.1, 0.4)}[distribution]
        assert median == pytest.approx(expected[0], rel=0.1)
        assert p99 == pytest.approx(expected[1], rel=0.2)
