"""`taximeter api-keys`: make, list, rotate and revoke keys for those who send events to the gateway, or read the console."""

import argparse
import sys
from pathlib import Path
from typing import Final

from taximeter_emitter.clock import SystemClock

from metering.configuration.key_file import ApiKey, BadKeysFile, CreatedKey, create_key, expiry_text, parse_keys, read_keys, without_key
from metering.process.atomic_files import write_atomically
from taximeter.exit_codes import FAILED, OK, USAGE
from taximeter.stripe_commands.running import print_json

PRIVATE: Final = 0o600


def create(arguments: argparse.Namespace) -> int:
    """Make a key, add its digest to the file, and print the key once.

    The key goes to stdout, everything else to stderr. A running gateway reads the file again by itself.
    """
    try:
        key = create_key(
            tenant=arguments.tenant,
            name=arguments.name,
            customers=tuple(arguments.customer),
            sources=tuple(arguments.source),
            events_per_second=arguments.events_per_second,
            expires_ms=arguments.expires,
        )
    except BadKeysFile as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return USAGE
    return _add(arguments.file, key)


def list_all(arguments: argparse.Namespace) -> int:
    """Show the keys of a file: whose they are, and what they may do."""
    try:
        keys = read_keys(arguments.file)
    except BadKeysFile as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    now_ms = SystemClock().now_ms()
    found = [
        {
            "id": key.key_id,
            "name": key.name,
            "tenant": key.tenant,
            "customers": None if key.customers is None else sorted(key.customers),
            "sources": None if key.sources is None else sorted(key.sources),
            "events_per_second": key.events_per_second,
            "expires_ms": key.expires_ms,
            "expired": key.has_expired(now_ms),
        }
        for key in keys.values()
    ]
    if arguments.json:
        print_json({"schema": "taximeter.api-keys/1", "keys": found})
        return OK
    for key in keys.values():
        print(_line(key, now_ms))
    return OK


def _line(key: ApiKey, now_ms: int) -> str:
    """One key for people."""
    called = "" if key.name == key.key_id else f" ({key.name})"
    parts = ["all customers" if key.customers is None else f"customers {', '.join(sorted(key.customers))}"]
    if key.sources is not None:
        parts.append(f"sources {', '.join(sorted(key.sources))}")
    if key.events_per_second is not None:
        parts.append(f"{key.events_per_second} events a second")
    if key.expires_ms is not None:
        parts.append(f"{'EXPIRED' if key.has_expired(now_ms) else 'expires'} {expiry_text(key.expires_ms)}")
    return f"{key.key_id}{called}  {key.tenant}: {', '.join(parts)}"


def rotate(arguments: argparse.Namespace) -> int:
    """Make a key that may do what another may, and print it once.

    The other one is good until it is revoked.
    """
    try:
        old = read_keys(arguments.file).get(arguments.id)
        if old is None:
            raise BadKeysFile([f"there is no key {arguments.id!r}"])
        if old.expires_ms is not None and arguments.expires is None:
            print(
                f"taximeter: {old.key_id} expires at {expiry_text(old.expires_ms)}: say when the new one does, such as --expires 90d", file=sys.stderr
            )
            return USAGE
        key = create_key(
            tenant=old.tenant,
            name=arguments.name,
            customers=tuple(sorted(old.customers or ())),
            sources=tuple(sorted(old.sources or ())),
            events_per_second=old.events_per_second,
            expires_ms=arguments.expires,
        )
    except BadKeysFile as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    code = _add(arguments.file, key)
    if code == OK:
        print(f"taximeter: {old.key_id} is good as long as it is not revoked: taximeter api-keys revoke {old.key_id}", file=sys.stderr)
    return code


def revoke(arguments: argparse.Namespace) -> int:
    """Take a key out of the file.

    A running gateway refuses it within seconds, and a console once it is started again.
    """
    path: Path = arguments.file
    try:
        write_atomically(path, without_key(path.read_text(), arguments.id), mode=PRIVATE)
    except (OSError, UnicodeDecodeError, BadKeysFile) as error:
        print(f"taximeter: {path}: {error}", file=sys.stderr)
        return FAILED
    print(f"taximeter: {arguments.id} is out of {path}", file=sys.stderr)
    return OK


def _add(path: Path, key: CreatedKey) -> int:
    try:
        before = path.read_text() if path.exists() else ""
        after = f"{before.rstrip()}\n\n{key.entry}".lstrip()
        keys = parse_keys(after)
        # A gateway that reads the file during this sees the old keys or the new ones.
        write_atomically(path, after, mode=PRIVATE)
    except (OSError, BadKeysFile) as error:
        print(f"taximeter: {path} cannot take the key: {error}", file=sys.stderr)
        return FAILED
    print(key.token)
    print(f"taximeter: {path} holds {len(keys)} keys now; this one is shown here and nowhere else", file=sys.stderr)
    return OK
