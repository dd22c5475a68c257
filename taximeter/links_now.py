"""Who is billed for whom, for commands that ask Stripe about customers."""

from metering.folds.customer_links import CustomerLinks
from metering.following.customers_log import CustomersLog
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader


async def links_now(kafka: KafkaSettings) -> CustomerLinks:
    """As it is in the log now. Blocks on Kafka; raises LogUnavailable or FailClosed."""
    reader = LogReader(kafka, "links")
    try:
        log = CustomersLog(reader, kafka.topics.customers.name)
        await log.read_on()
        return log.links
    finally:
        await reader.close()
