"""Message definitions: those embedded in a bag, else those of ROS 2 Jazzy and of this project."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.interfaces.typing import Typesdict
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from jepa_ros.errors import JepaRosError
from jepa_ros_replay.interfaces import interface_files
from jepa_ros_replay.records import BagError

# What rosbags raises over bytes or definitions that are not what they claim to be.
DECODING = (
    SerdeError,
    TypesysError,
    AssertionError,
    struct.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)
_SEPARATOR = "=" * 80 + "\n"
_TIMES = ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")


@cache
def known_types() -> Typestore:
    """The messages of ROS 2 Jazzy and, where their definitions can be found, of jepa_ros_msgs."""
    store = get_typestore(Stores.ROS2_JAZZY)
    with suppress(JepaRosError):  # a machine that only reads bags need not have the interfaces built
        for path in interface_files():
            store.register(get_types_from_msg(path.read_text(), f"jepa_ros_msgs/msg/{path.stem}"))
    return store


def known_definition(kind: str) -> str:
    """The definition of a known message with all it needs, as bags embed it.

    Raises:
        BagError: it is not known here.
    """
    try:
        return known_types().generate_msgdef(kind, ros_version=2)[0]
    except DECODING as error:
        raise BagError(
            f"message {kind}: not in ROS 2 Jazzy or jepa_ros_msgs, so its definition is not known"
        ) from error


def parse(definition: MessageDefinition, kind: str) -> Typesdict:
    """The types of an embedded definition.

    Raises:
        one of DECODING: it is malformed.
    """
    if definition.format is MessageDefinitionFormat.MSG:
        return get_types_from_msg(definition.data, kind)
    types: Typesdict = {}
    if definition.format is MessageDefinitionFormat.IDL:
        parts = [definition.data]
        if definition.data.startswith(f"{_SEPARATOR}IDL: "):
            parts = [part.partition("\n")[2] for part in definition.data.split(_SEPARATOR)[1:]]
        for part in parts:
            types.update(get_types_from_idl(part))
    return types


def store_of(definition: MessageDefinition, kind: str) -> Typestore:
    """A store with one embedded definition and nothing else.

    Raises:
        one of DECODING: it is malformed, or lacks the kind.
    """
    types = parse(definition, kind)
    for name in _TIMES:  # some writers leave these out, since everybody knows them
        types.setdefault(name, known_types().fielddefs[name])
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    store.get_msgdef(kind)
    return store


class Definitions:
    """Finds the store that decodes a kind; each embedded definition has a store of its own, because two of them may
    disagree about a type that both contain.

    Args:
        embedded: definitions in the bag.
    """

    def __init__(self, embedded: Mapping[str, MessageDefinition]) -> None:
        self._embedded = embedded
        self._stores: dict[str, Typestore] = {}

    def store(self, kind: str) -> Typestore:
        """The store that decodes a kind: from the bag's own definition where it has a usable one, else the known types.

        Raises:
            BagError: the kind is in neither.
        """
        if kind not in self._stores:
            self._stores[kind] = self._find(kind)
        return self._stores[kind]

    def _find(self, kind: str) -> Typestore:
        definition = self._embedded.get(kind)
        if definition is not None and definition.format is not MessageDefinitionFormat.NONE:
            with suppress(*DECODING):
                return store_of(definition, kind)
        if kind not in known_types().fielddefs:
            raise BagError(f"the bag has no usable definition of {kind}, and it is not in ROS 2 Jazzy or jepa_ros_msgs")
        return known_types()
