"""Object ids in Stripe's style, from one seeded generator."""

import random
import string

ALPHABET = string.digits + string.ascii_letters


class IdentityGenerator:
    """Ids that differ within and between runs with different `seed` texts."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._requests = 0
        self._request_prefix = self.token(8)

    def token(self, length: int) -> str:
        """Random letters and digits."""
        return "".join(self._random.choices(ALPHABET, k=length))

    def meter_id(self, *, livemode: bool) -> str:
        """`mtr_...` or `mtr_test_...`."""
        return ("mtr_" if livemode else "mtr_test_") + self.token(24)

    def customer_id(self) -> str:
        """`cus_...`."""
        return "cus_" + self.token(14)

    def event_identifier(self) -> str:
        """What Stripe gives an event that came without an identifier: UUID-like."""
        digits = f"{self._random.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def request_id(self) -> str:
        """`req_...`, unique in this process; cheap, because every call needs one."""
        self._requests += 1
        return f"req_{self._request_prefix}{self._requests:08d}"
