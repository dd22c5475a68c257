"""A publication: all meters, and the log time from which records are counted by them. A record of usage.catalogue. Pure.

Its writer has read the whole topic and names the version that it follows, so of two that were written at once the first counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.marked_records import begins_with, text, whole

PUBLICATION_FORMAT: Final = "catalogue/1"
FROM_THE_BEGINNING: Final = 0


@dataclass(frozen=True, slots=True)
class Publication:
    """One version of the catalogue. `after`: the offset of the accepted publication before it, -1 for the first.

    `from_ms`: the log time, Unix ms, from which it holds. `version`: the digest of `definition` (`Catalogue`). `at_ms`: when it was written.
    """

    after: int
    from_ms: int
    version: str
    definition: Sequence[Sequence[Any]]
    reason: str
    by: str
    at_ms: int


def encode_publication(publication: Publication) -> bytes:
    """The value of its record."""
    return orjson.dumps(
        {
            "format": PUBLICATION_FORMAT,
            "after": publication.after,
            "from": publication.from_ms,
            "version": publication.version,
            "definition": publication.definition,
            "reason": publication.reason,
            "by": publication.by,
            "at": publication.at_ms,
        }
    )


def decode_publication(value: bytes | None) -> Publication | None:
    """What a record of usage.catalogue publishes. None if it is foreign, or not what Taximeter writes: it counts for no reader.

    Raises RecordCorrupt for a format of a later release: what it says must not be passed over.
    """
    if not begins_with(value, ("catalogue/",)):
        return None
    try:
        document = orjson.loads(value or b"")
        if document["format"] != PUBLICATION_FORMAT:
            raise RecordCorrupt(f"unknown format {document['format']!r}; this version reads {PUBLICATION_FORMAT}: use the release that wrote it")
        definition = document["definition"]
        found = Publication(
            _after(document["after"]),
            whole(document["from"]),
            text(document["version"]),
            definition,
            text(document["reason"]),
            text(document["by"]),
            whole(document["at"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return found if blake2b(orjson.dumps(definition), digest_size=8).hexdigest() == found.version else None


def _after(found: Any) -> int:
    return -1 if found == -1 else whole(found)
