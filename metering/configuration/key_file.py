"""A file of keys, and who proves one: `Authorization: Bearer tmk_<key id>_<secret>`. The gateway has one, and the console another.

The file of keys holds the SHA-256 of each secret, never the secret itself. A random secret of 256 bits needs no slower hash. A tenant may
have several keys at once, so that keys can be replaced without an interruption:

    [[keys]]
    id = "3f9c0a6d5b21"
    secret_sha256 = "..."
    tenant = "acme"
    customers = ["cus_1", "cus_2"]     # optional: the only customers it may send for
    events_per_second = 5000           # optional
"""

import hmac
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from taximeter_emitter.wire.errors import TaximeterError

KEY_PREFIX: Final = "tmk_"
_ID_CHARS: Final = 12
_SECRET_CHARS: Final = 64
_TABLE: Final = re.compile(r"^(?=[ \t]*\[\[\s*keys)", re.MULTILINE)
_HEX: Final = frozenset("0123456789abcdef")
_KEYS_MAX: Final = 10_000
_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_FIELDS: Final = frozenset({"id", "secret_sha256", "tenant", "customers", "events_per_second"})
# Stands for the key of an unknown id, so that refusing it takes as long as refusing a wrong secret.
_NOBODY: Final = sha256(b"no secret has this digest").digest()


class BadKeysFile(TaximeterError):
    """The file of keys cannot be used. `problems` names every fault, without digests."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key. `customers` None: the key may send for all customers."""

    key_id: str
    secret_sha256: bytes
    tenant: str
    customers: frozenset[str] | None = None
    events_per_second: int | None = None


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


def create_key(*, tenant: str, customers: tuple[str, ...] = (), events_per_second: int | None = None) -> CreatedKey:
    """Make a new key. Raises BadKeysFile if the file cannot hold these arguments."""
    key_id, secret = secrets.token_hex(_ID_CHARS // 2), secrets.token_hex(_SECRET_CHARS // 2)
    lines = ["[[keys]]", f'id = "{key_id}"', f'secret_sha256 = "{sha256(secret.encode()).hexdigest()}"', f"tenant = {_quoted(tenant)}"]
    if customers:
        lines.append(f"customers = [{', '.join(map(_quoted, customers))}]")
    if events_per_second is not None:
        lines.append(f"events_per_second = {events_per_second}")
    entry = "\n".join(lines) + "\n"
    parse_keys(entry)
    return CreatedKey(f"{KEY_PREFIX}{key_id}_{secret}", entry)


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
    for position, entry in enumerate(entries, start=1):
        found = _problems(entry)
        if not found and entry["id"] in keys:
            found = [f"id {entry['id']} is used twice"]
        problems += [f"keys[{position}]: {problem}" for problem in found]
        if not found:
            keys[entry["id"]] = ApiKey(
                key_id=entry["id"],
                secret_sha256=bytes.fromhex(entry["secret_sha256"]),
                tenant=entry["tenant"],
                customers=frozenset(entry["customers"]) if "customers" in entry else None,
                events_per_second=entry.get("events_per_second"),
            )
    if problems:
        raise BadKeysFile(problems)
    return keys


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
    customers = entry.get("customers", ["-"])
    if not isinstance(customers, list) or not customers or not all(map(_is_text, customers)):
        found.append("customers must be a list of texts")
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
