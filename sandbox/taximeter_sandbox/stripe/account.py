"""One Stripe account: all its state and every change to it. Synchronous; the time is an argument.

Each change is noted in the journal as an entry, and `replay` makes the same changes from the entries of an earlier
process. Work of the asynchronous plane is done whenever the account is touched at or after the time it became due.
"""

import random
from collections.abc import Iterable
from dataclasses import asdict

from taximeter_sandbox.stripe.billing import Billing
from taximeter_sandbox.stripe.http.errors import ApiError, no_such
from taximeter_sandbox.stripe.invoicing.billing_settings import BillingSettings
from taximeter_sandbox.stripe.metering import meters
from taximeter_sandbox.stripe.metering.adjustments import CANCEL_WITHIN_MS, Adjustment, not_cancellable
from taximeter_sandbox.stripe.metering.books import Books
from taximeter_sandbox.stripe.metering.error_reports import ErrorReports, announce
from taximeter_sandbox.stripe.metering.meter_events import DropReason, EventState, EventStore, MeterEvent, Submission, duplicate, no_active_meter
from taximeter_sandbox.stripe.metering.meters import EventWindow, Meter, MeterCatalogue, MeterDraft, meter_object
from taximeter_sandbox.stripe.metering.processing import Processing, ProcessingQueue
from taximeter_sandbox.stripe.metering.stream_sessions import Session, Sessions
from taximeter_sandbox.stripe.selling import customers
from taximeter_sandbox.stripe.selling.customers import Customer, CustomerChange, CustomerDirectory, CustomerDraft, customer_object
from taximeter_sandbox.stripe.state.assumptions import Assumptions
from taximeter_sandbox.stripe.state.clock import ClockState, SimulatedClock
from taximeter_sandbox.stripe.state.identities import IdentityGenerator
from taximeter_sandbox.stripe.state.journal import Entry, Journal, NoJournal
from taximeter_sandbox.stripe.state.stats import Stats
from taximeter_sandbox.stripe.traffic.idempotency import IdempotencyStore, StoredReply
from taximeter_sandbox.stripe.webhooks.deliveries import Webhooks
from taximeter_sandbox.stripe.webhooks.destinations import Destinations
from taximeter_sandbox.stripe.webhooks.event_log import differences
from taximeter_sandbox.stripe.webhooks.notifications import Notifications

EVENTS_MAX = 2_000_000  # at roughly 800 bytes each, the reply kept under its idempotency key included


class Account:
    """State of the simulated account. `journal` records every change; the caller flushes it before answering."""

    def __init__(self, *, seed: str, clock: SimulatedClock, journal: Journal, assumptions: Assumptions, processing: Processing) -> None:
        self.assumptions = assumptions
        self.processing = processing
        self.webhooks = Webhooks()
        self.billing_settings = BillingSettings()
        self.clock = clock
        self.replaying = False
        self.reseed(seed)
        self._journal = journal
        self._start_empty()

    def note(self, entry: Entry) -> None:
        """Put a change into the journal."""
        self._journal.append(entry)

    def reseed(self, seed: str) -> None:
        """Give ids, lags and delays from another sequence from now on."""
        self.identities = IdentityGenerator(seed)
        self.webhook_draws = random.Random(f"{seed}:webhooks")
        self._lags = random.Random(f"{seed}:lag")

    def _start_empty(self) -> None:
        self.meters = MeterCatalogue()
        self.customers = CustomerDirectory()
        self.sessions = Sessions()
        self.destinations = Destinations()
        self.billing = Billing(self)
        self._start_without_usage()

    def _start_without_usage(self) -> None:
        self.events = EventStore(self.assumptions.identifier_scope)
        self.books = Books(self.events, self._window_of)
        self.adjustments: list[Adjustment] = []
        self.idempotency = IdempotencyStore()
        self.stats = Stats()
        self.notifications = Notifications(self)
        self._reports = ErrorReports()
        self._queue = ProcessingQueue()
        self._cancelled: set[int] = set()

    def _window_of(self, event_name: str) -> EventWindow | None:
        meter = self.meters.by_event_name(event_name)
        return None if meter is None else meter.event_time_window

    @property
    def pending(self) -> int:
        """Events and adjustments that the asynchronous plane has not reached."""
        return len(self._queue)

    def assume(self, assumptions: Assumptions) -> None:
        """Change how the open questions are answered, from now on."""
        self.assumptions = assumptions
        self.events.change_scope(assumptions.identifier_scope)

    def reset(self, *, keep_catalogue: bool) -> None:
        """Forget all usage, replies and counters, and unless `keep_catalogue` the catalogue: meters, prices, customers, destinations."""
        if keep_catalogue:
            self._start_without_usage()
            self.billing.start_over()
        else:
            self._start_empty()
        self._journal.append(["reset", keep_catalogue])

    # Catalogue

    def create_meter(self, draft: MeterDraft, *, livemode: bool, now_ms: int) -> Meter:
        """Raises ApiError when the event name is taken."""
        self.advance(now_ms)
        now_s = now_ms // 1000
        meter = Meter(
            id=self.identities.meter_id(livemode=livemode), livemode=livemode, created=now_s, updated=now_s, deactivated_at=None, **asdict(draft)
        )
        self.meters.add(meter)
        self._journal.append(["meter", now_ms, asdict(meter)])
        self.notifications.snapshot("billing.meter.created", meter_object(meter), now_ms)
        return meter

    def rename_meter(self, meter_id: str, display_name: str | None, now_ms: int) -> Meter:
        """Raises ApiError when there is no such meter."""
        meter = self.meters.get(meter_id)
        if display_name is None:
            return meter
        return self._change_meter("billing.meter.updated", meters.renamed(meter, display_name, now_ms // 1000), now_ms)

    def deactivate_meter(self, meter_id: str, now_ms: int) -> Meter:
        """Raises ApiError when there is no such meter or it is inactive already."""
        return self._change_meter("billing.meter.deactivated", meters.deactivated(self.meters.get(meter_id), now_ms // 1000), now_ms)

    def reactivate_meter(self, meter_id: str, now_ms: int) -> Meter:
        """Raises ApiError when there is no such meter or it is active already."""
        return self._change_meter("billing.meter.reactivated", meters.reactivated(self.meters.get(meter_id), now_ms // 1000), now_ms)

    def _change_meter(self, kind: str, meter: Meter, now_ms: int) -> Meter:
        self.advance(now_ms)  # usage that was due before is judged by the meter as it was
        before, after = meter_object(self.meters.get(meter.id)), meter_object(meter)
        self.meters.update(meter)
        self._journal.append(["meter", now_ms, asdict(meter)])
        self.notifications.snapshot(kind, after, now_ms, differences(before, after))
        return meter

    def create_customer(self, draft: CustomerDraft, *, livemode: bool, now_ms: int) -> Customer:
        """A new customer with a generated id."""
        customer = Customer(id=self.identities.customer_id(), created=now_ms // 1000, livemode=livemode, **asdict(draft))
        self._put_customer(customer, now_ms)
        self.notifications.snapshot("customer.created", customer_object(customer), now_ms)
        return customer

    def admit_customer(self, customer_id: str, now_ms: int) -> Customer:
        """A customer with an id of the caller's choice, created again if it was deleted; Stripe itself has no such call."""
        return self._put_customer(Customer(id=customer_id, created=now_ms // 1000, livemode=False), now_ms)

    def change_customer(self, customer_id: str, change: CustomerChange, now_ms: int) -> Customer:
        """Raises ApiError when there is no such customer, or not the payment method that it is to pay with."""
        before = customers.changed(self.customers.get(customer_id), change)
        if change.default_payment_method:
            self.billing.paying.owned(change.default_payment_method, customer_id, "invoice_settings[default_payment_method]")
        old = customer_object(self.customers.get(customer_id))
        self._put_customer(before, now_ms)
        self.notifications.snapshot("customer.updated", customer_object(before), now_ms, differences(old, customer_object(before)))
        return before

    def delete_customer(self, customer_id: str, now_ms: int) -> Customer:
        """Its subscriptions end with it, without a last invoice. Raises ApiError when there is no such customer."""
        self.advance(now_ms)
        customer = self.customers.get(customer_id)
        marker = customers.deleted(customer)
        self.billing.subscriptions.end_all_of(customer_id, now_ms)
        deleted = self._put_customer(marker, now_ms)
        self.notifications.snapshot("customer.deleted", customer_object(customer), now_ms)
        return deleted

    def _put_customer(self, customer: Customer, now_ms: int) -> Customer:
        self.advance(now_ms)  # usage that was due before a customer came or went is judged by what was true then
        self.customers.put(customer)
        self._journal.append(["customer", now_ms, asdict(customer)])
        return customer

    def open_session(self, *, livemode: bool, now_ms: int) -> Session:
        """A new session for the meter event stream."""
        session = Session(f"mes_{self.identities.token(24)}", f"session_token_{self.identities.token(48)}", now_ms, livemode)
        self.sessions.add(session)
        self._journal.append(["session", *session])
        return session

    # Usage

    def accept(self, submission: Submission, now_ms: int, request_key: str = "") -> MeterEvent:
        """Take one event that was validated at once. Raises ApiError for a duplicate, a missing customer (if synchronous) or a full simulator."""
        self.advance(now_ms)
        meter, customer = self.meters.by_event_name(submission.event_name), submission.customer
        if meter is None or not meter.active:  # it was active when the call was validated
            raise no_active_meter(submission.event_name, self.assumptions.unknown_meter_code)
        if self.assumptions.missing_customer == "sync" and not self.customers.exists(customer):
            raise no_such("customer", customer, f"payload[{meter.customer_key}]", status=400)
        if self.has(submission, now_ms):
            self.stats.duplicates += 1
            raise duplicate(submission.identifier or "")
        return self.take(submission, now_ms, request_key)

    def has(self, submission: Submission, now_ms: int) -> bool:
        """Whether Stripe would call this event a duplicate."""
        self.advance(now_ms)
        name, customer, identifier = submission.event_name, submission.customer, submission.identifier
        return identifier is not None and self.events.duplicates(name, customer, identifier, now_ms, self.assumptions.identifier_memory_hours)

    def take(self, submission: Submission, now_ms: int, request_key: str) -> MeterEvent:
        """Take one event as it is, not asking whether it is a duplicate. Raises ApiError when the simulator is full."""
        self.advance(now_ms)
        if len(self.events) >= EVENTS_MAX:
            raise ApiError(500, f"The simulator is full: it keeps {EVENTS_MAX} events.", outcome="simulator_full", kind="api_error")
        identifier = submission.identifier or self.identities.event_identifier()
        event = MeterEvent(
            sequence=len(self.events),
            event_name=self.events.intern_name(submission.event_name),
            customer=self.events.intern_name(submission.customer),
            identifier=identifier,
            value=submission.value,
            dimensions=self.events.intern(submission.dimensions),
            timestamp=now_ms // 1000 if submission.timestamp is None else submission.timestamp,
            received_ms=now_ms,
            request_key=self.events.intern_key(request_key, identifier),
        )
        due_ms = now_ms + self.processing.sample_ms(self._lags)
        self._journal.append(["event", now_ms, due_ms, submission.problem, *event[1:7], request_key])
        self._enter(event, due_ms, submission.problem)
        self.advance(now_ms)
        return event

    def _enter(self, event: MeterEvent, due_ms: int, problem: DropReason | None) -> None:
        if self.events.append(event):
            self.stats.counted_again += 1
        if problem is None:
            self.books.add(event)
        else:
            self.events.mark(event.sequence, problem)
        self._queue.push(due_ms, event=event.sequence)

    def cancel(self, event_name: str, identifier: str, now_ms: int) -> Adjustment:
        """Start to cancel an event. Raises ApiError when there is none, it is cancelled, or its 24 hours have passed."""
        self.advance(now_ms)
        code = self.assumptions.adjustment_error_code
        event = self.events.latest(event_name, identifier)
        if event is None:
            raise not_cancellable(f"No meter event found with identifier {identifier}.", code)
        if event.sequence in self._cancelled:
            raise not_cancellable(f"The meter event with identifier {identifier} is cancelled already.", code)
        if now_ms - event.received_ms >= CANCEL_WITHIN_MS:
            raise not_cancellable("Meter events can only be cancelled within 24 hours of being received.", code)
        due_ms = now_ms + self.processing.sample_ms(self._lags)
        self._journal.append(["cancel", now_ms, due_ms, event.sequence])
        return self._start_cancelling(event, due_ms)

    def _start_cancelling(self, event: MeterEvent, due_ms: int) -> Adjustment:
        adjustment = Adjustment(event.event_name, event.identifier, event.sequence, "pending")
        self._cancelled.add(event.sequence)
        self.adjustments.append(adjustment)
        self._queue.push(due_ms, adjustment=len(self.adjustments) - 1)
        return adjustment

    def keep_reply(self, key: str, reply: StoredReply) -> None:
        """Keep what an idempotency key must answer from now on."""
        self.idempotency.keep(key, reply)
        body = reply.body.decode()
        entry = ["reply", reply.stored_ms, key, reply.path, reply.fingerprint.hex(), reply.request_id, reply.status, reply.headers, body, reply.event]
        self._journal.append(entry)

    # The asynchronous plane

    def advance(self, now_ms: int) -> None:
        """Do what is due, in the order in which it became due."""
        self.billing.advance(now_ms, self._process_until)
        self._process_until(now_ms)

    def _process_until(self, now_ms: int) -> None:
        while (work := self._queue.pop_due(now_ms)) is not None:
            if work.event is not None:
                self._process(self.events[work.event], work.due_ms)
            elif work.adjustment is not None:
                self._complete(work.adjustment)
        for report in self._reports.close(now_ms):
            announce(report, self.meters, self.events, self.assumptions, self.notifications)

    def _process(self, event: MeterEvent, due_ms: int) -> None:
        if self.events.state(event.sequence) is not EventState.PENDING:
            return
        meter = self.meters.by_event_name(event.event_name)
        known = self.events.drop_reason(event.sequence)
        problem = self._late_problem(event, meter) if known is None else known
        if problem is None:
            self.events.set_state(event.sequence, EventState.COUNTED)
            return
        self.events.set_state(event.sequence, EventState.DROPPED)
        if known is None:
            self.books.remove(event)
            self.events.mark(event.sequence, problem)
        self.stats.drops[problem] += 1
        subject = None if meter is None or problem == "no_meter" else meter.id
        self._reports.dropped(event.sequence, problem, subject, due_ms, self.webhooks.error_samples)
        if not self.assumptions.identifier_burnt_by_rejection:
            self.events.forget_identifier(event.sequence)

    def _late_problem(self, event: MeterEvent, meter: Meter | None) -> DropReason | None:
        archived = meter is not None and not meter.active
        if archived and self.assumptions.archived_before_processing == "dropped":
            return "archived_meter"
        return None if self.customers.exists(event.customer) else "meter_event_customer_not_found"

    def _complete(self, number: int) -> None:
        adjustment = self.adjustments[number]
        self.adjustments[number] = Adjustment(adjustment.event_name, adjustment.identifier, adjustment.sequence, "complete")
        if self.assumptions.identifier_reusable_after_cancel:
            self.events.forget_identifier(adjustment.sequence)
        if self.events.state(adjustment.sequence) is EventState.DROPPED:
            return
        self.events.set_state(adjustment.sequence, EventState.CANCELLED)
        if self.events.drop_reason(adjustment.sequence) is None:
            self.books.remove(self.events[adjustment.sequence])

    # Coming back after a restart

    def note_clock(self) -> None:
        """Put the clock's present setting into the journal."""
        self._journal.append(["clock", self.clock.now_ms(), *self.clock.state])

    def replay(self, entries: Iterable[Entry]) -> int:
        """Make the changes that an earlier process noted; returns how many there were. Raises ValueError for an unknown one."""
        journal, self._journal = self._journal, NoJournal()
        self.replaying = True
        count = 0
        for entry in entries:
            self._apply(entry)
            count += 1
        self._journal = journal
        self.replaying = False
        return count

    def _apply(self, entry: Entry) -> None:
        parts = {"billing": self.billing.apply, "notice": self.notifications.apply}
        apply = parts.get(str(entry[0]).partition(".")[0])
        if apply is not None:
            apply(entry)
            return
        match entry:
            case ["event", now_ms, due_ms, problem, event_name, customer, identifier, value, dimensions, timestamp, request_key]:
                self.advance(now_ms)
                name, owner = self.events.intern_name(event_name), self.events.intern_name(customer)
                pairs = self.events.intern(tuple((key, text) for key, text in dimensions))
                key = self.events.intern_key(request_key, identifier)
                self._enter(MeterEvent(len(self.events), name, owner, identifier, value, pairs, timestamp, now_ms, key), due_ms, problem)
                self.advance(now_ms)
            case ["reply", stored_ms, key, path, marks, request_id, status, headers, body, event]:
                pairs = tuple((name, value) for name, value in headers)
                reply = StoredReply(path, bytes.fromhex(marks), stored_ms, request_id, status, pairs, body.encode(), event)
                self.idempotency.keep(key, reply)
            case ["cancel", now_ms, due_ms, sequence]:
                self.advance(now_ms)
                self._start_cancelling(self.events[sequence], due_ms)
            case ["meter", now_ms, fields]:
                self.advance(now_ms)
                meter = Meter(**fields)
                if self.meters.by_event_name(meter.event_name) is None:
                    self.meters.add(meter)
                else:
                    self.meters.update(meter)
            case ["customer", now_ms, fields]:
                fields["metadata"] = tuple((name, value) for name, value in fields["metadata"])
                self._put_customer(Customer(**fields), now_ms)
            case ["session", identity, token, created_ms, livemode]:
                self.sessions.add(Session(identity, token, created_ms, livemode))
            case ["clock", _, base_ms, anchor_ms, rate]:
                self.clock.restore(ClockState(base_ms, anchor_ms, rate))
            case ["reset", keep_catalogue]:
                self.reset(keep_catalogue=keep_catalogue)
            case _:
                raise ValueError(f"journal: unknown entry {str(entry[0])[:40]!r}")
