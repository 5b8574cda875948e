"""What is wrong with a pack is said with its place in the pack and a cure."""

import os
import sys

from tests.container import ContainerTestCase

HOOKS = "\n".join(
    f"    def {name}(self{arguments}): pass"
    for name, arguments in (
        ("setup", ""),
        ("cleanup", ""),
        ("add_trigger", ", trigger"),
        ("update_trigger", ", trigger"),
        ("remove_trigger", ", trigger"),
    )
)
HEAD = "from st2reactor.sensor.base import PollingSensor, Sensor\n"


class Refusals(ContainerTestCase):
    def failed(self, source, class_name="Good", **description):
        files = description.pop("files", {})
        folder = self.write_pack(source, **files)
        sensor = self.load(class_name, "sensor.py", folder, **description)
        failed = sensor.event("failed")
        self.assertEqual(failed["phase"], "load")
        self.assertEqual(sensor.exit(), 1)
        self.assertTrue(failed["file"].startswith(folder), failed)
        failed["file"] = os.path.relpath(failed["file"], folder)
        return failed

    def check(self, failed, error, place, hint):
        self.assertIn(error, failed["error"])
        self.assertEqual((failed["file"], failed["line"]), place)
        self.assertIn(hint, failed["hint"])

    def test_a_class_that_is_not_there(self):
        failed = self.failed(f"{HEAD}class EventsSensor(Sensor):\n{HOOKS}\n", "EventSensor")
        self.check(failed, "its classes are EventsSensor", ("sensors/sensor.py", 2), "set class_name to EventsSensor")
        failed = self.failed("X = 1\n", "X")
        self.check(failed, '"X" in', ("sensors/sensor.py", None), "must name a class")
        failed = self.failed(HEAD)
        self.check(failed, "it has no classes", ("sensors/sensor.py", None), 'add a class "Good" to it')

    def test_methods_that_are_not_there(self):
        failed = self.failed(f"{HEAD}\nclass Good(PollingSensor):\n    def setup(self): pass\n")
        self.check(
            failed,
            'class "Good" does not implement cleanup, add_trigger, update_trigger, remove_trigger, poll',
            ("sensors/sensor.py", 3),
            "add each",
        )

    def test_a_file_that_is_not_there(self):
        folder = self.write_pack("")
        sensor = self.load("Good", "other.py", folder)
        failed = sensor.event("failed")
        self.assertIn("does not exist", failed["error"])
        self.assertIn("entry_point", failed["hint"])

    def test_a_constructor_that_refuses_or_demands_the_interval(self):
        refuses = f"{HEAD}class Good(PollingSensor):\n{HOOKS}\n    def poll(self): pass\n"
        refuses += "    def __init__(self, sensor_service, config=None): pass\n"
        failed = self.failed(refuses, poll_interval=5)
        self.check(failed, "'poll_interval'", ("sensors/sensor.py", 9), "add poll_interval=5 to the constructor")
        demands = refuses.replace("config=None", "config, poll_interval")
        failed = self.failed(demands)
        self.check(failed, "'poll_interval'", ("sensors/sensor.py", 9), "set one in the sensor's metadata")

    def test_a_constructor_that_raises(self):
        raises = f"{HEAD}class Good(Sensor):\n{HOOKS}\n    def run(self): pass\n"
        raises += "    def __init__(self, sensor_service, config=None):\n        self.url = config['url']\n"
        failed = self.failed(raises)
        self.check(failed, "KeyError: 'url'", ("sensors/sensor.py", 10), "configs/basic.yaml")
        self.assertIsNone(self.failed(raises, config={"uri": 1})["hint"])

    def test_a_standby_that_acts(self):
        source = f"{HEAD}class Good(Sensor):\n{HOOKS}\n    def run(self): pass\n"
        source += "    def __init__(self, sensor_service, config=None):\n"
        for call in ("dispatch('basic.event')", "set_value('name', 1)", "delete_value('name')"):
            raises = f"        sensor_service.{call}\n"
            wraps = f"        try:{raises}        except RuntimeError: raise OSError('no connection')\n"
            for lines, error in ((raises, "refused: it is on standby"), (wraps, "OSError: no connection")):
                with self.subTest(call=call, error=error):
                    failed = self.failed(source + lines, config={"key": 1})
                    place = ("sensors/sensor.py", 10 if lines is raises else 11)
                    self.check(failed, error, place, "do it in setup()")

    def test_python_2_code(self):
        for line in (
            "print 'hello'",
            "raise ValueError, 'x'",
            "try:\n  pass\nexcept ValueError, e:\n  pass",
            "x = 0777",
        ):
            with self.subTest(line=line):
                failed = self.failed(f"# a comment\n{line}\n")
                self.assertTrue(failed["error"].startswith("SyntaxError: "), failed)
                self.assertEqual(failed["file"], "sensors/sensor.py")
                self.assertEqual(failed["line"], 4 if line.startswith("try") else 2)
                self.assertIn("Python 2 code", failed["hint"])
        self.check(self.failed("import urllib2\n"), "'urllib2'", ("sensors/sensor.py", 1), "urllib.request")

    def test_other_broken_syntax(self):
        failed = self.failed("import helper\n", files={"sensors/helper.py": "\n\nx = (\n"})
        self.assertEqual(failed["file"], "sensors/helper.py")
        self.assertIn("not valid in Python", failed["hint"])

    def test_a_missing_module_names_importer_and_cure(self):
        failed = self.failed("import os\nimport yaml_is_not_here\n")
        self.check(
            failed,
            "ModuleNotFoundError: No module named 'yaml_is_not_here'",
            ("sensors/sensor.py", 2),
            "list the distribution that brings yaml_is_not_here (its name may be another)",
        )
        self.assertNotIn("st2sa_host", failed["traceback"])
        self.assertNotIn("pip install yaml_is_not_here", failed["hint"])
        self.assertIn("the pack has no virtualenv of its own: `st2 pack install` makes one", failed["hint"])
        failed = self.failed("import helper\n", files={"sensors/helper.py": "\nimport MySQLdb.nothing\n"})
        self.check(failed, "MySQLdb", ("sensors/helper.py", 2), "pip install mysqlclient")

    def test_a_virtualenv_is_the_packs_own_wherever_this_python_is(self):
        failed = self.failed("import not_there\n", virtualenv="/opt/stackstorm/virtualenvs/written")
        self.assertNotIn("virtualenv", failed["hint"])

    def test_a_missing_module_that_requirements_list(self):
        for module, requirements, hint in (
            ("trello", "six\npy-trello>=0.4.3,<0.5\n", '"py-trello" is listed in requirements.txt, but not installed'),
            ("http_parser", "http-parser # built\n", '"http-parser" is listed in requirements.txt, but not installed'),
            ("icinga2api", "git+https://h/x.git#egg=icinga2api\n", '"icinga2api" is listed in requirements.txt'),
            ("telegram", "python-telegram-bot==5.3.0", '"python-telegram-bot" is listed in requirements.txt'),
            ("novaclient.v2", "python_novaclient[x] ; python_version > '3'", '"python_novaclient" is listed'),
            ("hidden", "one_thing\nother~=1.0\n", "not installed: one_thing, other; one of them may bring it: `"),
            (
                "hidden",
                "# nothing\n-r more.txt\nold; python_version < '3'\n",
                "list the distribution that brings hidden (",
            ),
        ):
            with self.subTest(module=module, requirements=requirements):
                failed = self.failed(f"import {module}\n", files={"requirements.txt": requirements})
                self.check(failed, "ModuleNotFoundError", ("sensors/sensor.py", 1), hint)
                self.assertNotIn(f"pip install {module}", failed["hint"])
                if not hint.startswith("list "):
                    self.assertNotIn("list ", failed["hint"])
                    self.assertRegex(failed["hint"], rf"`{sys.executable} -m pip install -r /.*/requirements\.txt`")

    def test_a_missing_part_of_a_package_that_is_there(self):
        distribution = {
            "library/nothing-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: nothing\nVersion: 1.2\n",
            "library/nothing/__init__.py": "",
            "library/shared/one.py": "",
        }
        site = os.path.join(self.write_pack("", **distribution), "library")
        named = "import sys\nsys.path.append({0!r})\nimport {1}\n"
        for module, hint in (
            ("nothing.at.all", "the installed nothing 1.2 has no nothing.at: pin a version that has it"),
            ("shared.two", "several distributions share shared: list the one that brings shared.two"),
            ("email.MIMEText", f"Python {sys.version_info[0]}.{sys.version_info[1]} has no email.MIMEText"),
            ("time.clocks", f"Python {sys.version_info[0]}.{sys.version_info[1]} has no time.clocks"),
            ("beside.there", "the pack's own sensors/beside.py is what it finds as beside"),
            ("not_there.at.all", "the distribution that brings not_there ("),
        ):
            with self.subTest(module=module):
                failed = self.failed(named.format(site, module), files={"sensors/beside.py": ""})
                self.check(failed, "ModuleNotFoundError", ("sensors/sensor.py", 3), hint)

    def test_a_missing_module_that_the_pack_has_elsewhere(self):
        failed = self.failed("import patched_search\n", files={"actions/lib/patched_search.py": ""})
        self.check(
            failed, "patched_search", ("sensors/sensor.py", 1), "the pack has it as actions/lib/patched_search.py"
        )

    def test_a_part_of_stackstorm_that_is_not_provided(self):
        failed = self.failed("from st2common.persistence import trigger\n")
        self.check(failed, "st2common.persistence", ("sensors/sensor.py", 1), "where StackStorm itself is installed")
        failed = self.failed("from st2reactor.sensor.base import sensor\n")
        self.check(failed, "cannot import name 'sensor'", ("sensors/sensor.py", 1), "StackStorm itself is installed")
        self.assertNotIn("runtime", failed["hint"])

    def test_a_name_that_a_module_has_not(self):
        python = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
        files = {
            "site-packages/bought.py": "import beside",
            "site-packages/old_one/__init__.py": "from collections import Gone",
            "site-packages/py_bought-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: py-bought\nVersion: 1.2\n",
            "requirements.txt": "py-bought\n",
            "sensors/beside.py": "",
        }
        for source, hint in (
            ("from collections import Gone", f"the sensor needs a name that {python} no longer has"),
            ("import time; time.clock()", f"the sensor needs a name that {python} no longer has"),
            ("import old_one", f"the installed old_one needs a name that {python} no longer has"),
            ("from bought import nothing", "the installed py-bought is another version than the pack needs"),
            ("import bought; bought.nothing()", "the installed py-bought is another version than the pack needs"),
            ("from beside import nothing", "the pack's own sensors/beside.py has no such name"),
        ):
            with self.subTest(source=source):
                head = (
                    "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), '..', 'site-packages'))\n"
                )
                failed = self.failed(f"{head}{source}\n", files=files)
                self.check(failed, "Error", ("sensors/sensor.py", 3), hint)

    def test_a_module_that_exits_at_import(self):
        failed = self.failed("import sys\nsys.exit(0)\n")
        self.check(failed, "SystemExit: 0", ("sensors/sensor.py", 2), "must not call exit()")

    def test_an_error_that_cannot_be_shown(self):
        source = "class Bad(Exception):\n    def __str__(self): raise ValueError\nraise Bad()\n"
        self.assertEqual(self.failed(source)["error"], "Bad: (its message cannot be shown)")

    def test_text_that_utf_8_cannot_hold(self):
        failed = self.failed("raise ValueError('\\udc80')\n")
        self.assertEqual(failed["error"], "ValueError: ?")

    def test_a_place_is_found_behind_a_wrapped_error(self):
        source = "import json\ntry:\n    json.loads('{')\nexcept ValueError as error:\n"
        source += "    raise RuntimeError('wrapped') from error\n"
        failed = self.failed(source)
        self.assertEqual((failed["error"], failed["line"]), ("RuntimeError: wrapped", 5))
        self.assertIn("JSONDecodeError", failed["traceback"])
