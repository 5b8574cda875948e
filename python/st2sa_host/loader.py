"""From a file of a pack to a sensor object, as StackStorm loads it: never subclassed, never wrapped."""

import ast
import difflib
import inspect
import os
import select
import sys
import warnings
from importlib import util

from st2sa_host.faults import Refused, class_line

REQUIRED_METHODS = ("setup", "run", "cleanup", "add_trigger", "update_trigger", "remove_trigger")
"""What StackStorm refuses a sensor without; the class need not derive from StackStorm's."""

MODULES_READ_AT_MOST = 100
"""Modules of a pack looked at for monkey patching: more than any sensor is made of."""

MODULE_BYTES_AT_MOST = 1024 * 1024
"""Larger modules are not looked at: data, or generated."""

POLLING = "polling"
PASSIVE = "passive"


def load(sensor, service):
    """Makes the object of a sensor (its description from the container); gives it and its kind."""
    _extend_path(sensor)
    _patch_first(sensor)
    module = _imported(sensor["entry_point"])
    sensor_class = _class(module, sensor["class_name"], sensor["entry_point"])
    polling_class = _polling_class()
    is_polling = polling_class is not None and issubclass(sensor_class, polling_class)
    _check_methods(sensor_class, is_polling, sensor["entry_point"])
    arguments = {"sensor_service": service, "config": sensor.get("config") or {}}
    if is_polling and sensor.get("poll_interval"):
        arguments["poll_interval"] = sensor["poll_interval"]
    kind = POLLING if is_polling and sensor_class.run is polling_class.run else PASSIVE
    return _made(sensor_class, arguments, sensor), kind


def _extend_path(sensor):
    library = sensor.get("library_path")
    if library:
        sys.path.insert(0, library)
    folder = os.path.dirname(os.path.realpath(sensor["entry_point"]))
    if folder not in (path.rstrip(os.sep) for path in sys.path):
        sys.path.append(folder)


def _patch_first(sensor):
    """Patches before anything else is imported, if the sensor's module, or one of the pack's that it imports, patches.

    StackStorm patches each sensor process first, and what sensors import ahead of their own patching counts on that:
    patched later, TLS recurses without end and servers block all greenlets. A sensor that never asks for it keeps
    native threads, which its triggers and its end reach at any time.
    """
    folders = [os.path.dirname(os.path.realpath(sensor["entry_point"])), sensor.get("library_path")]
    if not _patches(sensor["entry_point"], [folder for folder in folders if folder]):
        return
    try:
        import eventlet
    except Exception:
        return  # the module fails at the same, with its own line
    poll = select.poll
    eventlet.monkey_patch(os=True, select=True, socket=True, thread=True, time=True)
    # StackStorm puts the blocking one back, too: some libraries have nothing else.
    select.poll = poll


def _patches(entry_point, folders):
    files, seen = [entry_point], set()
    while files and len(seen) < MODULES_READ_AT_MOST:
        file = files.pop(0)
        if file in seen:
            continue
        seen.add(file)
        for node in ast.walk(_parsed(file)):
            if _name(node) == "monkey_patch":
                return True
            files += _modules(node, file, folders)
    return False


def _parsed(file):
    try:
        with open(file, "rb") as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the import gives them again
            text = source.read(MODULE_BYTES_AT_MOST + 1)
            return ast.parse(text if len(text) <= MODULE_BYTES_AT_MOST else b"")
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])  # the import says what is wrong with it


def _name(node):
    """What a node of a program refers to, without what that is in."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    return node.name if isinstance(node, ast.alias) else None


def _modules(node, file, folders):
    """Files in those folders that an import statement runs."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
        for _ in range(node.level):
            folders = [os.path.dirname(file)]
            file = folders[0]
    else:
        return []
    found = []
    for folder in folders:
        for name in names:
            path = folder
            for step in name.split("."):
                path = os.path.join(path, step)
                found += [each for each in (path + ".py", os.path.join(path, "__init__.py")) if os.path.isfile(each)]
    return found


def _imported(file):
    """The module in a file. It is not in `sys.modules`: packs use the same names."""
    if not os.path.isfile(file):
        raise Refused(
            f"the sensor's file {file} does not exist",
            "entry_point in the sensor's metadata must name a file, relative to the metadata's folder",
            file,
        )
    name, extension = os.path.splitext(os.path.basename(file))
    if extension != ".py":
        raise Refused(
            f"the sensor's file {file} is no Python file", "entry_point must name a file that ends in .py", file
        )
    spec = util.spec_from_file_location(name, file)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _class(module, name, file):
    found = getattr(module, name, None)
    if inspect.isclass(found):
        return found
    if found is not None:
        raise Refused(f'"{name}" in {file} is no class', "class_name in the sensor's metadata must name a class", file)
    own = sorted(each for each, value in vars(module).items() if inspect.isclass(value) and _is_of(value, module))
    there = f"its classes are {', '.join(own)}" if own else "it has no classes"
    close = difflib.get_close_matches(name, own, 1, 0.5) or (own if len(own) == 1 else [])
    suggestion = f"set class_name to {close[0]}" if close else "set class_name to one of them" if own else "write one"
    raise Refused(
        f'there is no class "{name}" in {file}: {there}',
        f"{suggestion} in the sensor's metadata" if own else f'add a class "{name}" to it, or correct entry_point',
        file,
        class_line(file, close[0]) if close else None,
    )


def _is_of(value, module):
    return getattr(value, "__module__", None) == module.__name__


def _polling_class():
    """StackStorm's class, if the module or what it imports has imported it."""
    return getattr(sys.modules.get("st2reactor.sensor.base"), "PollingSensor", None)


def _check_methods(sensor_class, is_polling, file):
    required = REQUIRED_METHODS + (("poll",) if is_polling else ())
    lacking = [name for name in required if not _implements(sensor_class, name)]
    lacking += sorted(set(getattr(sensor_class, "__abstractmethods__", ())) - set(lacking))
    if lacking:
        raise Refused(
            f'class "{sensor_class.__name__}" does not implement {", ".join(lacking)}',
            "StackStorm refuses a sensor without them: add each, with `pass` in it if there is nothing to do",
            file,
            class_line(file, sensor_class.__name__),
        )


def _implements(sensor_class, name):
    method = getattr(sensor_class, name, None)
    return callable(method) and not getattr(method, "__isabstractmethod__", False)


def _made(sensor_class, arguments, sensor):
    try:
        return sensor_class(**arguments)
    except TypeError as error:
        if error.__traceback__.tb_next is not None:
            raise  # from within the constructor
        raise _refused_arguments(sensor_class, arguments, sensor, error)


def _refused_arguments(sensor_class, arguments, sensor, error):
    name = sensor_class.__name__
    file, line = sensor["entry_point"], class_line(sensor["entry_point"], name)
    code = getattr(sensor_class.__init__, "__code__", None)
    if code is not None and os.path.realpath(code.co_filename) == os.path.realpath(file):
        line = code.co_firstlineno
    hint = (
        "StackStorm makes a sensor with the keywords sensor_service, config and, where the metadata of a polling "
        "sensor has one, poll_interval: its constructor must take them"
    )
    if "'poll_interval'" in str(error):
        hint = (
            "add poll_interval=5 to the constructor's arguments and hand it to super().__init__, or remove "
            "poll_interval from the metadata"
            if "poll_interval" in arguments
            else "its constructor demands a poll_interval: set one in the sensor's metadata"
        )
    return Refused(f'the constructor of "{name}" does not take what StackStorm gives it: {error}', hint, file, line)
