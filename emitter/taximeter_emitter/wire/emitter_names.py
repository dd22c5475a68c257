"""The name under which an emitter numbers its batches: the digest of a secret that only its process and its spool know.

Numbers belong to names: who sends batches under the name of another emitter uses up its numbers. A name can be read in every batch. So who sends
batches through the gateway shows the secret with them, and the gateway takes only batches whose name is the digest of it. It has to remember
nothing for that, and an API key may be replaced while its batches wait on a disk.
"""

import re
from hashlib import sha256
from typing import Final

SECRET_HEADER: Final = "Taximeter-Emitter-Secret"  # noqa: S105  # the name of a header
SOURCE_HEADER: Final = "Taximeter-Source"
"""The header in which an emitter says its source, percent-encoded: batches do not have it."""
KEY_NAME_HEADER: Final = "api-key-name"
"""The header of a record in Kafka that names the API key with which a gateway got it. Others can write it, too: nothing rests on it."""
UNPLACED_SUFFIX: Final = "-unplaced"
"""Ends the name under which events are numbered that waited on disk before anybody knew how many partitions there are."""

SECRET_BYTES: Final = 16

_SECRET: Final = re.compile(r"[0-9a-f]{32}")
_NAME_CHARS: Final = 32


def is_secret(text: str) -> bool:
    """Whether a text has the form of a secret: 32 hexadecimal digits, which are to be random."""
    return _SECRET.fullmatch(text) is not None


def emitter_name(secret: str) -> str:
    """The name that belongs to a secret."""
    return sha256(f"taximeter emitter {secret}".encode()).hexdigest()[:_NAME_CHARS]


def proven_names(secret: str) -> tuple[str, str]:
    """The names under which the owner of a secret may send: of the emitter, and of its unplaced events."""
    name = emitter_name(secret)
    return name, f"{name}{UNPLACED_SUFFIX}"
