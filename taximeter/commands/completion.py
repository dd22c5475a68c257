"""`taximeter completion`: print a script that completes commands and options in a shell."""

import argparse
from pathlib import Path

import shtab

from taximeter.cli import parser
from taximeter.exit_codes import OK


def run(arguments: argparse.Namespace) -> int:
    """The script goes to stdout. It holds all names, so pressing the key starts nothing; a newer version needs a newer script."""
    # In zsh shtab offers what follows a group two levels down (`customer`) beside the group too.
    root = parser()
    for one in root.walk():
        for action in one.actions():
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # how shtab is given it
    print(shtab.complete(root, shell=arguments.shell))
    return OK
