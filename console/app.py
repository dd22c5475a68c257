"""The console process: wiring."""

from taximeter_emitter.wire.limits import DAY_MS

from console.answering.events_behind import EventLookup
from console.following.log_following import LogFollowing
from console.following.price_following import PriceFollowing
from console.following.store_thread import StoreThread
from console.metrics import ConsoleMetrics
from console.serving.console_server import ConsoleServer, Sources
from console.serving.page_answers import PageAnswers
from console.serving.readers_access import Access
from console.settings import ConsoleSettings
from console.store.store_reading import StoreReading
from console.store.usage_store import StoreUnusable, UsageStore
from metering.configuration.key_file import read_keys
from metering.kafka.clients import KafkaSettings
from metering.process.listener import CannotListen, ListenAddress
from metering.process.service import ServiceContext
from metering.process.supervision import RefusedToStart
from metering.stripe.settings import StripeSettings


class Console:
    """Owns the store, what follows the log, and the listener."""

    def __init__(self, context: ServiceContext, kafka: KafkaSettings, settings: ConsoleSettings, stripe: StripeSettings | None) -> None:
        self._context = context
        self._kafka = kafka
        self._settings = settings
        self._stripe = stripe
        self._metrics = ConsoleMetrics.create(context.registry)

    async def run(self) -> None:
        """Until the context's stop event. Raises RefusedToStart if the store cannot be used or the port cannot be opened."""
        context, settings = self._context, self._settings
        kept_from_day = context.clock.now_ms() // DAY_MS - settings.days_kept + 1
        try:
            store = StoreThread(UsageStore(settings.store_path, identity=identity_of(self._kafka), kept_from_day=kept_from_day))
        except StoreUnusable as error:
            raise RefusedToStart([str(error)]) from error
        reading = StoreReading(settings.store_path, seconds=settings.answer_seconds)
        following = LogFollowing(context, self._kafka, settings, store, self._metrics)
        self._metrics.unfollowed.set_function(lambda: sum(len(each.stops) for each in following.view.partitions))
        context.health.require("followed", following.view.stopped)
        context.health.mention("reading", following.view.unread)
        events = EventLookup(self._kafka)
        prices = PriceFollowing(self._stripe, context.clock, context.log)
        context.spawn("prices", prices.run(), background=True)
        pages = PageAnswers(reading, following.view, events, prices, context.clock)
        try:
            await self._serve(following, Sources(reading, pages, lambda: store.revision))
        finally:
            await events.close()
            await following.close()
            reading.close()
            await store.close()

    async def _serve(self, following: LogFollowing, sources: Sources) -> None:
        context, settings = self._context, self._settings
        keys = None if settings.keys_file is None else read_keys(settings.keys_file)
        access = Access(keys, settings.proxy_header, frozenset(settings.proxy_addresses))
        address = ListenAddress(host=settings.host, port=settings.port, port_file=settings.port_file)
        server = ConsoleServer(address, access, sources, metrics=self._metrics, clock=context.clock)
        try:
            await server.start()
        except CannotListen as problem:
            raise RefusedToStart([str(problem)]) from None
        context.log.info("answering", url=f"http://{settings.host}:{server.port}/", access=settings.access)
        work = context.spawn("following", following.run(), background=True)
        try:
            context.health.mark_started()
            await context.stop.wait()
        finally:
            work.cancel()
            await server.stop()


def identity_of(kafka: KafkaSettings) -> str:
    """Which installation a store is of."""
    return f"{kafka.topic_prefix}/{kafka.partitions}"
