"""Who may send events for whom, and how many: the gateway's keys while it runs."""

from collections.abc import Mapping

from ingest.admission.rate_limit import EventRate
from metering.configuration.key_file import ApiKey, proven_key


class ApiKeys:
    """The keys, and how much of its rate each key has used."""

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        self._keys = dict(keys)
        self._rates: dict[str, EventRate] = {}

    def replace(self, keys: Mapping[str, ApiKey]) -> None:
        """Use these keys from now on. An unchanged key keeps the state of its rate."""
        self._rates = {key_id: rate for key_id, rate in self._rates.items() if keys.get(key_id) == self._keys.get(key_id)}
        self._keys = dict(keys)

    def identify(self, authorization: str) -> ApiKey | None:
        """The key that an Authorization header proves. Takes the same time for every fault in the header."""
        scheme, _, token = authorization.partition(" ")
        key = proven_key(self._keys, token.strip())
        return key if scheme.lower() == "bearer" else None

    def rate_of(self, key: ApiKey, now: float) -> EventRate | None:
        """The rate of a key; None if it has no limit."""
        if key.events_per_second is None:
            return None
        rate = self._rates.get(key.key_id)
        if rate is None:
            rate = self._rates[key.key_id] = EventRate(key.events_per_second, now=now)
        return rate
