"""Any Python value as JSON."""

import collections
import datetime
import decimal
import enum
import fractions
import json
import math
import types
import unittest
import uuid

from st2sa_host.payload import storable


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    def __str__(self):
        return "something else"


class Unprintable:
    def __str__(self):
        raise ValueError


Pair = collections.namedtuple("Pair", "left right")


class Payloads(unittest.TestCase):
    def test_plain_json_stays_as_it_is_without_a_word(self):
        plain = {"a": [1, -1.5, True, None, "\u20ac", {}], "b": {"c.d": {"$e": []}}, "f": 2**64 - 1, "g": -(2**63)}
        self.assertEqual(storable(plain), (plain, []))

    def test_everything_else_becomes_as_near_as_can_be(self):
        moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        for value, expected, changed in (
            ((1, 2), [1, 2], False),
            (Pair(1, 2), [1, 2], False),
            (collections.OrderedDict(a=1), {"a": 1}, False),
            (types.MappingProxyType({"a": 1}), {"a": 1}, False),
            (collections.deque([1]), [1], False),
            ({"k": 2}.values(), [2], False),
            (range(3), [0, 1, 2], False),
            (Text("text"), "text", False),
            (b"\xe2\x82\xac", "\u20ac", True),
            (bytearray(b"\xff"), "\ufffd", True),
            (moment, "2026-01-02T03:04:05+00:00", True),
            (moment.date(), "2026-01-02", True),
            ({3, 1, 2}, [1, 2, 3], True),
            (frozenset(["a"]), ["a"], True),
            (math.nan, None, True),
            (-math.inf, None, True),
            (2**64, "18446744073709551616", True),
            (fractions.Fraction(1, 2), 0.5, False),
            (decimal.Decimal("1.10"), "1.10", True),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", True),
            (Colour.RED, "red", True),
            (Level.HIGH, 3, True),
            (Unprintable(), "<Unprintable>", True),
        ):
            with self.subTest(value=repr(type(value))):
                document, changes = storable({"key": value})
                self.assertEqual(document, {"key": expected})
                self.assertEqual(bool(changes), changed, changes)
                json.dumps(document, allow_nan=False)

    def test_an_integer_that_python_will_not_write_out_becomes_text(self):
        document, _ = storable({"n": 10**100000})
        self.assertTrue(document["n"].startswith("0x"))

    def test_keys_become_text(self):
        document, changes = storable({7: 1, None: 2, True: 3, (1, 2): 4, b"b": 5, 2.5: 6})
        self.assertEqual(document, {"7": 1, "true": 3, "null": 2, "(1, 2)": 4, "b": 5, "2.5": 6})
        self.assertEqual(changes[0], "payload: a key of type int became text")

    def test_the_first_changes_are_named_with_their_place(self):
        _, changes = storable({"a": [{"b": {1}}], "c": [b""] * 10})
        self.assertEqual(changes[0], "payload.a[0].b: a set became a list")
        self.assertEqual(len(changes), 5)

    def test_what_contains_itself_is_refused(self):
        inner = []
        inner.append({"back": inner})
        with self.assertRaisesRegex(ValueError, r"payload.a\[0\].back contains itself"):
            storable({"a": inner})
        shared = []
        self.assertEqual(storable({"a": shared, "b": shared}), ({"a": [], "b": []}, []))

    def test_what_is_nested_too_deep_is_refused(self):
        deep = {}
        for _ in range(99):
            deep = {"deeper": deep}
        storable(deep)
        with self.assertRaisesRegex(ValueError, "100 levels"):
            storable({"deeper": deep})

    def test_what_grows_beyond_its_bound_is_refused_before_it_does(self):
        layer = ["x" * 100]
        for _ in range(50):
            layer = [layer, layer]
        with self.assertRaisesRegex(ValueError, "more than 16777216 bytes"):
            storable({"bomb": layer})
