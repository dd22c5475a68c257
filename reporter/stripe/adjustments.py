"""Cancelling meter events through version 1 of Stripe's API; meter events of version 2 are cancelled so, too."""

from metering.configuration.secrets import Secret
from metering.stripe.client import StripeHttp, make_client
from reporter.sending.verdicts import Reply, Verdict, classify
from reporter.stripe.replies import Verdicts

DONE = frozenset({"pending", "complete"})


class StripeAdjustments:
    """Adjustments by `POST /v1/billing/meter_event_adjustments`: what `cancel` of a MeterEventPort needs.

    `http` stays its owner's, who closes it; it must raise replies that are not 2xx (PlainHttp). `api_base` is where Stripe's API is.
    """

    def __init__(self, http: StripeHttp, *, api_key: Secret, api_base: str) -> None:
        self._adjustments = make_client(http, api_key=api_key, api_base=api_base).v1.billing.meter_event_adjustments
        self._verdicts = Verdicts(api_key)

    async def cancel(self, *, event_name: str, identifier: str, idempotency_key: str) -> Verdict:
        """Make one attempt to cancel the meter event with this identifier. Waits for the network, for the time that `http` allows; raises
        only CancelledError. Stripe answers `pending` or `complete`; both mean that the event will not be billed. No verdict contains the key.
        """
        try:
            adjustment = await self._adjustments.create_async(
                {"event_name": event_name, "type": "cancel", "cancel": {"identifier": identifier}}, {"idempotency_key": idempotency_key}
            )
        except Exception as error:
            return self._verdicts.of(error)
        # It must be an adjustment, and of this event if it names one.
        named = getattr(getattr(adjustment, "cancel", None), "identifier", None)
        is_one = getattr(adjustment, "object", None) == "billing.meter_event_adjustment" and getattr(adjustment, "status", None) in DONE
        return classify(Reply(200, recognised=is_one and named in {None, identifier}))
