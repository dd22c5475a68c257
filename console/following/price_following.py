"""The account's prices, read now and then, where a Stripe key is configured. It only reads."""

from typing import Final

import aiohttp
import stripe
from taximeter_emitter.clock import Clock

from billing.calls import NotPossible
from billing.catalogue.account_reading import read_price_list
from billing.catalogue.price_list import PriceList
from metering.configuration.secrets import Redactor
from metering.process.logs import Log, RateLimited
from metering.stripe.client import ReplyTooLarge, StripeHttp, make_client
from metering.stripe.settings import StripeSettings

PRICES_SECONDS: Final = 600.0
AGAIN_SECONDS: Final = 30.0


class PriceFollowing:
    """`prices` is None until they were read once; then `why_not` says why. `settings` None: there is no key."""

    def __init__(self, settings: StripeSettings | None, clock: Clock, log: Log) -> None:
        self.prices: PriceList | None = None
        self.why_not = "the prices are being read" if settings is not None else "there is no Stripe key here to read the prices with"
        self._settings = settings
        self._clock = clock
        self._log = log
        self._warnings = RateLimited(clock)

    async def run(self) -> None:
        """Until cancelled. While Stripe does not answer, what was read last stands."""
        settings = self._settings
        if settings is None:
            return
        http = StripeHttp(connections=1, timeout_s=settings.timeout_seconds)
        try:
            client = make_client(http, api_key=settings.api_key, api_base=settings.api_base)
            while True:
                await self._clock.sleep(PRICES_SECONDS if await self._read(client, settings) else AGAIN_SECONDS)
        finally:
            await http.close_async()

    async def _read(self, client: stripe.StripeClient, settings: StripeSettings) -> bool:
        try:
            self.prices = await read_price_list(client)
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge, NotPossible) as error:
            said = Redactor([settings.api_key]).redact(str(error) or type(error).__name__)
            self.why_not = f"the prices could not be read: {said}"
            self._warnings.warning(self._log, "the prices cannot be read", reason=said)
            return False
        return True
