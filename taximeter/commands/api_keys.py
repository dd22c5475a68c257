"""`taximeter api-keys`: make keys for those who send events to the gateway, or read the console."""

import argparse
import sys
from pathlib import Path
from typing import Final

from metering.configuration.key_file import BadKeysFile, create_key, read_keys
from metering.process.atomic_files import write_atomically
from taximeter.exit_codes import FAILED, OK, USAGE

PRIVATE: Final = 0o600


def create(arguments: argparse.Namespace) -> int:
    """Make a key, add its digest to the file, and print the key once.

    The key goes to stdout, everything else to stderr. A running gateway reads the file again by itself.
    """
    try:
        key = create_key(tenant=arguments.tenant, customers=tuple(arguments.customer), events_per_second=arguments.events_per_second)
    except BadKeysFile as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return USAGE
    path: Path = arguments.file
    try:
        before = path.read_text() if path.exists() else ""
        # A gateway that reads the file during this sees the old keys or the new ones.
        write_atomically(path, f"{before.rstrip()}\n\n{key.entry}".lstrip(), mode=PRIVATE)
        keys = read_keys(path)
    except (OSError, BadKeysFile) as error:
        print(f"taximeter: {path} cannot take the key: {error}", file=sys.stderr)
        return FAILED
    print(key.token)
    print(f"taximeter: {path} holds {len(keys)} keys now; this one is shown here and nowhere else", file=sys.stderr)
    return OK
