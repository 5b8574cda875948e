"""Whether a sensor keeps its cursor in the datastore: whether its own code both reads and writes that."""

import ast

READS = {"get_value", "list_values"}
WRITES = {"set_value", "delete_value"}

_SOURCE_BYTES_AT_MOST = 4 * 1024 * 1024
_NOT_A_PACKS = ("builtins", "st2reactor", "st2common", "st2client", "st2sa_host", "abc")


def keeps_cursor(sensor):
    """Looks at the files in which the sensor's class, and what it inherits from, are written."""
    names = set()
    for file in _files(type(sensor)):
        names |= _attributes(file)
    return bool(names & READS) and bool(names & WRITES)


def _files(sensor_class):
    """Where its methods are written: packs' modules are in no list of modules."""
    files = set()
    for cls in sensor_class.__mro__:
        if str(cls.__module__).split(".")[0] not in _NOT_A_PACKS:
            codes = (getattr(member, "__code__", None) for member in vars(cls).values())
            files |= {code.co_filename for code in codes if hasattr(code, "co_filename")}
    return files


def _attributes(path):
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(_SOURCE_BYTES_AT_MOST))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        # What has been loaded can be read; where it cannot, nothing is known.
        return set()
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
