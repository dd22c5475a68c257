"""A file of keys, and who proves one: `Authorization: Bearer tmk_<key id>_<secret>`. The gateway has one, and the console another.

The file of keys holds the SHA-256 of each secret, never the secret itself. A random secret of 256 bits needs no slower hash. A tenant may
have several keys at once, so that keys can be replaced without an interruption:

    [[keys]]
    id = "3f9c0a6d5b21"
    secret_sha256 = "..."
    tenant = "acme"
    name = "acme-eu"                   # optional: what metrics and dead letters call it; its id, if it has none
    customers = ["cus_1", "cus_2"]     # optional: the only customers it may send for
    sources = ["inference/eu-1"]       # optional: the only sources of its events
    events_per_second = 5000           # optional
    expires = 2027-03-01T00:00:00Z     # optional: from then on it is refused

An unknown field makes the whole file unusable: a process that is too old for a limit refuses to start, or keeps the keys it has, and never takes
a key without its limit.
"""

import hmac
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from taximeter_emitter.wire.errors import TaximeterError

KEY_PREFIX: Final = "tmk_"
_ID_CHARS: Final = 12
_SECRET_CHARS: Final = 64
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_TABLE: Final = re.compile(r"^(?=[ \t]*\[\[\s*keys)", re.MULTILINE)
_HEX: Final = frozenset("0123456789abcdef")
_KEYS_MAX: Final = 10_000
_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_FIELDS: Final = frozenset({"id", "secret_sha256", "tenant", "name", "customers", "sources", "events_per_second", "expires"})
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
# Stands for the key of an unknown id, so that refusing it takes as long as refusing a wrong secret.
_NOBODY: Final = sha256(b"no secret has this digest").digest()


class BadKeysFile(TaximeterError):
    """The file of keys cannot be used. `problems` names every fault, without digests."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key. `customers` and `sources`: the only ones that it may send for; None for all. `expires_ms`: Unix ms; None for never."""

    key_id: str
    secret_sha256: bytes
    tenant: str
    name: str
    customers: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    events_per_second: int | None = None
    expires_ms: int | None = None

    def has_expired(self, now_ms: int) -> bool:
        """Whether it is refused at this time (Unix ms)."""
        return self.expires_ms is not None and now_ms >= self.expires_ms


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. `token` is shown once and stored nowhere; `entry` goes into the file of keys."""

    token: str
    entry: str


def proven_key(keys: Mapping[str, ApiKey], token: str) -> ApiKey | None:
    """The key that this token proves. Takes the same time for every fault in it."""
    key_id, _, secret = token.removeprefix(KEY_PREFIX).partition("_")
    key = keys.get(key_id)
    digest = sha256(secret.encode("utf-8", "surrogateescape")).digest()
    proven = hmac.compare_digest(digest, _NOBODY if key is None else key.secret_sha256)
    return key if proven and token.startswith(KEY_PREFIX) else None


def create_key(
    *,
    tenant: str,
    name: str | None = None,
    customers: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
    events_per_second: int | None = None,
    expires_ms: int | None = None,
) -> CreatedKey:
    """Make a new key: without a name it is called by its id, without customers or sources it is for all. `expires_ms`: Unix ms, of a full second.

    Raises BadKeysFile if the file cannot hold these arguments.
    """
    key_id, secret = secrets.token_hex(_ID_CHARS // 2), secrets.token_hex(_SECRET_CHARS // 2)
    lines = ["[[keys]]", f'id = "{key_id}"', f'secret_sha256 = "{sha256(secret.encode()).hexdigest()}"', f"tenant = {_quoted(tenant)}"]
    if name is not None:
        lines.append(f"name = {_quoted(name)}")
    for field, texts in (("customers", customers), ("sources", sources)):
        if texts:
            lines.append(f"{field} = [{', '.join(map(_quoted, texts))}]")
    if events_per_second is not None:
        lines.append(f"events_per_second = {events_per_second}")
    if expires_ms is not None:
        lines.append(f"expires = {expiry_text(expires_ms)}")
    entry = "\n".join(lines) + "\n"
    parse_keys(entry)
    return CreatedKey(f"{KEY_PREFIX}{key_id}_{secret}", entry)


def expiry_text(expires_ms: int) -> str:
    """A time (Unix ms) as the file and people have it."""
    return datetime.fromtimestamp(expires_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_key(text: str, key_id: str) -> str:
    """The text of a file without one key; comments stay. Raises BadKeysFile if there is no such key, or no other."""
    keys = parse_keys(text)
    if key_id not in keys:
        raise BadKeysFile([f"there is no key {key_id!r}"])
    if len(keys) == 1:
        raise BadKeysFile([f"{key_id} is the only key, and a file has one at least: create the next one first"])
    blocks = _TABLE.split(text)
    kept = [blocks[0]]
    for block in blocks[1:]:
        is_it = tomllib.loads(block)["keys"][0].get("id") == key_id
        kept.append(_comments_after(block) if is_it else block)
    found = "".join(kept)
    assert parse_keys(found).keys() == keys.keys() - {key_id}, "one key is taken out, and no other"
    return found


def _comments_after(block: str) -> str:
    """The comments at the end of a table: they are about the next one."""
    lines = block.splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#"))
    return "".join(lines[last + 1 :]).lstrip("\n")


def read_keys(path: Path) -> dict[str, ApiKey]:
    """Read keys by id from the file of keys. Raises BadKeysFile."""
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
        if len(raw) > _FILE_BYTES_MAX:
            raise BadKeysFile([f"{path} is larger than {_FILE_BYTES_MAX} bytes"])
        return parse_keys(raw.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeysFile([f"{path} cannot be read: {type(error).__name__}"]) from None


def parse_keys(text: str) -> dict[str, ApiKey]:
    """Read keys by id from the text of a file. Raises BadKeysFile with every problem."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadKeysFile([f"not valid TOML: {error}"]) from None
    entries = document.get("keys")
    if not isinstance(entries, list) or not 0 < len(entries) <= _KEYS_MAX or document.keys() != {"keys"}:
        raise BadKeysFile([f"the file of keys has 1 to {_KEYS_MAX} [[keys]] tables and nothing else"])
    problems: list[str] = []
    keys: dict[str, ApiKey] = {}
    names: set[str] = set()
    for position, entry in enumerate(entries, start=1):
        found = _problems(entry)
        if not found and entry["id"] in keys:
            found = [f"id {entry['id']} is used twice"]
        if not found and (called := entry.get("name", entry["id"])) in names:
            found = [f"name {called} is used twice"]
        problems += [f"keys[{position}]: {problem}" for problem in found]
        if not found:
            key = keys[entry["id"]] = _key_of(entry)
            names.add(key.name)
    if problems:
        raise BadKeysFile(problems)
    return keys


def _key_of(entry: dict[str, Any]) -> ApiKey:
    expires = entry.get("expires")
    return ApiKey(
        key_id=entry["id"],
        secret_sha256=bytes.fromhex(entry["secret_sha256"]),
        tenant=entry["tenant"],
        name=entry.get("name", entry["id"]),
        customers=frozenset(entry["customers"]) if "customers" in entry else None,
        sources=frozenset(entry["sources"]) if "sources" in entry else None,
        events_per_second=entry.get("events_per_second"),
        expires_ms=None if expires is None else int(expires.timestamp() * 1000),
    )


def _problems(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be a table"]
    found = [f"unknown field {name[:40]!r}" for name in sorted(entry.keys() - _FIELDS)]
    if not _is_hex(entry.get("id"), _ID_CHARS):
        found.append(f"id must be {_ID_CHARS} hexadecimal digits")
    if not _is_hex(entry.get("secret_sha256"), _SECRET_CHARS):
        found.append(f"secret_sha256 must be {_SECRET_CHARS} hexadecimal digits")
    if not _is_text(entry.get("tenant")):
        found.append("tenant must be a text")
    name = entry.get("name", "-")
    if "name" in entry and not (isinstance(name, str) and _NAME.fullmatch(name)):
        found.append("name must be up to 40 lower-case letters, digits, dots, dashes and underscores, the first of them a letter or digit")
    for field in ("customers", "sources"):
        texts = entry.get(field, ["-"])
        if not isinstance(texts, list) or not texts or not all(map(_is_text, texts)):
            found.append(f"{field} must be a list of texts")
    expires = entry.get("expires", _EPOCH)
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        found.append("expires must be a time with a zone, such as 2027-03-01T00:00:00Z")
    rate = entry.get("events_per_second", 1)
    if type(rate) is not int or rate < 1:
        found.append("events_per_second must be an integer of at least 1")
    return found


def _is_hex(value: object, length: int) -> bool:
    return isinstance(value, str) and len(value) == length and _HEX.issuperset(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 128 and value.isprintable()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
