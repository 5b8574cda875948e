"""Any Python value as JSON that StackStorm stores.

StackStorm's rules engine loses a whole event whose payload holds bytes, an integer of more than 64 bits or a key that
is no string; it stores a datetime as ISO 8601 text and NaN as null. Here nothing is lost: what cannot be told as it
is, is told as near as can be, and the sensor's log says so.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence, Set, ValuesView
from datetime import date, time
from enum import Enum
from numbers import Integral, Real
from operator import index

PAYLOAD_BYTES_AT_MOST = 16 * 1024 * 1024
"""Bound of a payload, as of the line that carries it."""

NESTED_AT_MOST = 100
"""Levels at most; a container's JSON parser gives up at 128 of the whole line."""

CHANGES_NAMED_AT_MOST = 5

_LEAST_INTEGER = -(2**63)
_MOST_INTEGER = 2**64 - 1
_ARRAYS = (Sequence, ValuesView, deque)


def storable(payload):
    """The payload as JSON has it, and what was changed for that, in words, the first few."""
    conversion = _Conversion()
    document = conversion.value(payload)
    return document, conversion.changes


class _Conversion:
    def __init__(self):
        self.changes = []
        self._path = []
        self._above = set()
        self._budget = PAYLOAD_BYTES_AT_MOST

    def value(self, value):
        kind = type(value)
        if value is None or kind is bool:
            self._pay(4)
            return value
        if kind is str:
            return self._text(value)
        if kind is int:
            return self._integer(value)
        if kind is float:
            return self._real(value)
        if isinstance(value, Mapping):
            return self._nested(value, self._object)
        if kind is list or kind is tuple:
            return self._nested(value, self._array)
        return self._unusual(value)

    def _text(self, text):
        self._pay(len(text) + 2)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            self._changed("a character that UTF-8 cannot hold", "a question mark")
        return text

    def _integer(self, number):
        if _LEAST_INTEGER <= number <= _MOST_INTEGER:
            self._pay(1)
            return number
        self._changed("an integer of more than 64 bits", "text")
        # Python refuses to write out a number of more than some thousand digits in decimal.
        return self._text(str(number) if number.bit_length() < 4096 else hex(number))

    def _real(self, number):
        self._pay(3)
        if math.isfinite(number):
            return number
        self._changed(str(number), "null")
        return None

    def _object(self, mapping):
        document = {}
        for key, value in list(mapping.items()):
            name = self._key(key)
            self._path.append(name)
            document[name] = self.value(value)
            self._path.pop()
        return document

    def _array(self, items):
        document = []
        for position, item in enumerate(list(items)):
            self._path.append(position)
            document.append(self.value(item))
            self._path.pop()
        return document

    def _nested(self, container, convert):
        self._pay(2)
        identity = id(container)
        if identity in self._above:
            raise ValueError(f"{self._where()} contains itself: it cannot be written as JSON")
        if len(self._above) >= NESTED_AT_MOST:
            raise ValueError(f"the payload is nested in more than {NESTED_AT_MOST} levels")
        self._above.add(identity)
        document = convert(container)
        self._above.discard(identity)
        return document

    def _key(self, key):
        if type(key) is str:
            return self._text(key)
        if isinstance(key, str):
            return self._text(str.__str__(key))
        name = {None: "null", True: "true", False: "false"}.get(key) if key is None or type(key) is bool else None
        if name is None:
            name = _decoded(key) if isinstance(key, bytes) else _as_text(key)
        self._changed(f"a key of type {type(key).__name__}", "text")
        return self._text(name)

    def _unusual(self, value):
        if isinstance(value, Enum):
            self._changed("an enumeration's member", "its value")
            return self.value(value.value)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            self._changed("bytes", "text")
            return self._text(_decoded(value))
        if isinstance(value, Set):
            self._changed(f"a {type(value).__name__}", "a list")
            return self._nested(value, lambda members: self._array(_ordered(members)))
        if isinstance(value, _ARRAYS):
            return self._nested(value, self._array)
        if isinstance(value, (date, time)):
            self._changed(f"a {type(value).__name__}", "ISO 8601 text")
            return self._text(value.isoformat())
        if isinstance(value, Integral):
            return self._integer(index(value))
        if isinstance(value, Real):
            return self._real(float(value))
        self._changed(f"an object of type {type(value).__name__}", "text")
        return self._text(_as_text(value))

    def _pay(self, characters):
        # Every character takes a byte at least. Objects that occur many times over are counted each time.
        self._budget -= characters
        if self._budget < 0:
            raise ValueError(f"the payload takes more than {PAYLOAD_BYTES_AT_MOST} bytes")

    def _changed(self, what, into):
        if len(self.changes) < CHANGES_NAMED_AT_MOST:
            self.changes.append(f"{self._where()}: {what} became {into}")

    def _where(self):
        shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._path[:8])
        return ("payload" + shown)[:200]


def _decoded(data):
    return bytes(data).decode("utf-8", "replace")


def _ordered(members):
    try:
        return sorted(members)
    except Exception:
        return list(members)


def _as_text(value):
    try:
        return str.__str__(str(value))
    except Exception:
        return f"<{type(value).__name__}>"
