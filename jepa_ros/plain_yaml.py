"""YAML as configuration has it: mappings, lists, text, numbers and nothing that makes a reader work or build objects.

`yaml.safe_load` builds no objects, but a page of aliases of aliases still becomes gigabytes through merge keys, deep
nesting ends in a RecursionError, and a month 13 in a ValueError. So a file is looked through event by event, which
takes time in proportion to its size, before anything is built of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

MOST_BYTES, DEEPEST = 2**18, 32
LONGEST = 3000  # characters without quotes: a number of more than 4300 digits cannot even be shown


class NotPlain(yaml.YAMLError):
    """A file is too large, too deep, or uses aliases or tags; the message says which, and the line."""


def read_yaml(path: Path, most: int = MOST_BYTES) -> Any:
    """What a file holds.

    Args:
        path: of the file, UTF-8.
        most: bytes it may have.

    Raises:
        yaml.YAMLError: it is not YAML, or more than plain YAML.
        UnicodeDecodeError: it is not text.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise NotPlain(f"it is larger than {most} bytes")
    text = data.decode()
    _look_through(text)
    try:
        return yaml.safe_load(text)
    except (ValueError, OverflowError) as error:  # a date that is none
        raise NotPlain(f"a value cannot be read: {error}") from error


def _look_through(text: str) -> None:
    depth, events = 0, cast("Iterator[Any]", yaml.parse(text, Loader=yaml.SafeLoader))
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise NotPlain(f"line {line}: it is nested deeper than {DEEPEST} levels")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and len(event.value) > LONGEST:
            raise NotPlain(f"line {line}: it has a value of {len(event.value)} characters without quotes")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise NotPlain(f"line {line}: it uses an anchor or alias, &{event.anchor}; write the value out")
        if getattr(event, "tag", None) not in (None, "!"):  # a lone ! says that text is text
            raise NotPlain(f"line {line}: it uses a tag, {event.tag}; a plain value needs none")
