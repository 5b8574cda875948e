"""StackStorm's own packages, where it is installed: sensors see them as they do in StackStorm."""

import json
import os
import shutil
import sys
import tempfile
import unittest

from tests.container import Container

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
HOOKS = "setup cleanup add_trigger update_trigger remove_trigger"
SENSOR = f"""
import json, os, sys
from st2reactor.sensor import base
import {{modules}}

class Sees(base.PollingSensor):
    def poll(self):
        which = {{{{name: sys.modules[name].WHICH for name in {{names!r}}}}}}
        seen = {{{{"which": which, "base": base.__file__ if hasattr(base, "__file__") else None, "path": sys.path}}}}
        self.sensor_service.dispatch("basic.event", dict(seen, variable=os.environ["PYTHONPATH"].split(":")))

for name in {HOOKS.split()!r}:
    setattr(Sees, name, lambda self, trigger=None: None)
Sees.__abstractmethods__ = frozenset()
"""
BASE = """
import st2common

class Sensor:
    pass

class PollingSensor(Sensor):
    def __init__(self, sensor_service, config=None, poll_interval=5):
        self.sensor_service = sensor_service

    def run(self):
        raise NotImplementedError
"""


class Lent(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="st2sa-lent-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.packages = os.path.join(self.folder, "st2", "lib", PYTHON, "site-packages")
        self.inherited = os.path.join(self.folder, "inherited")
        self.write(f"{self.packages}/lent.py", "WHICH = 'lent'")
        self.write(f"{self.packages}/both.py", "WHICH = 'lent'")
        self.write(f"{self.inherited}/both.py", "WHICH = 'inherited'")
        self.write(f"{self.folder}/st2/lib/python2.7/site-packages/old.py", "WHICH = 'old'")

    def write(self, path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def write_stackstorm(self, base):
        for name in ("st2common/__init__.py", "st2reactor/__init__.py", "st2reactor/sensor/__init__.py"):
            self.write(f"{self.packages}/{name}", "")
        self.write(f"{self.packages}/st2reactor/sensor/base.py", base)

    def load(self, *names):
        container = Container([self.inherited], ST2SA_STACKSTORM=os.path.join(self.folder, "st2"))
        self.addCleanup(container.close)
        path = os.path.join(self.folder, "pack", "sensors", "sees.py")
        self.write(path, SENSOR.format(modules=", ".join(names), names=names))
        return container.load(path, "Sees")

    def seen(self, *names):
        sensor = self.load(*names)
        self.assertEqual(sensor.ready()["kind"], "polling")
        sensor.activate()
        self.assertTrue(sensor.poll()["ok"], json.dumps(sensor.events))
        (seen,) = sensor.dispatched()
        return sensor, seen

    def test_stackstorms_packages_are_behind_what_is_inherited_and_before_pythons_own(self):
        _, seen = self.seen("lent", "both")
        self.assertEqual(seen["which"], {"lent": "lent", "both": "inherited"})
        self.assertEqual(seen["path"][:2], [self.inherited, self.packages])
        self.assertEqual(seen["variable"][:2], [self.inherited, self.packages])
        self.assertEqual(seen["path"].count(self.packages), 1)
        self.assertIsNone(seen["base"], "it is the host's")

    def test_those_of_another_python_are_not_seen(self):
        failed = self.load("old").event("failed")
        self.assertIn("No module named 'old'", failed["error"])

    def test_stackstorms_own_base_is_taken_where_it_is_there(self):
        self.write_stackstorm(BASE)
        _, seen = self.seen("lent")
        self.assertEqual(seen["base"], os.path.join(self.packages, "st2reactor", "sensor", "base.py"))

    def test_the_hosts_base_is_taken_where_stackstorms_cannot_be_imported(self):
        self.write_stackstorm(f"import st2common, not_there_at_all\n{BASE}")
        sensor, seen = self.seen("lent")
        self.assertIsNone(seen["base"])
        sensor.logged("StackStorm's own modules cannot be imported")
