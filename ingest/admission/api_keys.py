"""Who may send events for whom, and how many: the gateway's keys while it runs."""

from collections.abc import Iterator, Mapping

from ingest.admission.key_labels import KeyLabels
from ingest.admission.new_emitters import NEW_EMITTERS_PER_DAY, NewEmitters
from ingest.admission.rate_limit import EventRate
from metering.configuration.key_file import ApiKey, proven_key


class ApiKeys:
    """The keys, what metrics call each, and how much of its rate and of its new emitters each has used."""

    def __init__(self, keys: Mapping[str, ApiKey], *, new_emitters_per_day: int = NEW_EMITTERS_PER_DAY) -> None:
        self.labels = KeyLabels()
        self.new_emitters = NewEmitters(new_emitters_per_day)
        self._keys = dict(keys)
        self._rates: dict[str, EventRate] = {}

    def replace(self, keys: Mapping[str, ApiKey]) -> None:
        """Use these keys from now on. An unchanged key keeps the state of its rate."""
        self._rates = {key_id: rate for key_id, rate in self._rates.items() if keys.get(key_id) == self._keys.get(key_id)}
        self._keys = dict(keys)
        self.new_emitters.keep_only(keys)

    def expiring(self) -> Iterator[tuple[str, int]]:
        """The label of each key that expires, and when (Unix ms): the earliest first."""
        for key in sorted(self._keys.values(), key=lambda key: key.expires_ms or 0):
            if key.expires_ms is not None:
                yield self.labels.of(key), key.expires_ms

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
