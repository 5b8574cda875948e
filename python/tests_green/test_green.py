"""Sensors that use eventlet or Flask."""

import json
import os
import socket
import urllib.request

import eventlet  # noqa: F401  its absence is a failure, not a reason to skip
import flask  # noqa: F401

from tests.container import ContainerTestCase

PACK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "packs", "green")

TELLS = """
from st2reactor.sensor.base import PollingSensor

class Tells(PollingSensor):
    def poll(self):
        self.sensor_service.dispatch("green.event", {"early": EARLY})

    def setup(self, trigger=None):
        pass

    cleanup = add_trigger = update_trigger = remove_trigger = setup
"""


class Green(ContainerTestCase):
    def sensor(self, class_name, file="patched.py", **description):
        sensor = self.load(class_name, file, PACK, pack="green", **description)
        sensor.activate()
        return sensor

    def test_a_module_that_patches_late_is_patched_before_it_is_imported(self):
        sensor = self.sensor("Secure", "late.py")
        self.assertTrue(sensor.poll()["ok"])
        self.assertEqual(sensor.dispatched(), [{"version": "TLSv1_2"}])

    def test_a_server_that_was_imported_before_patching_serves_and_stops(self):
        port = self.free_port()
        sensor = self.sensor("LateHook", "late.py", config={"port": port})
        self.container.wait(lambda: self.listens(port), "it listens")
        self.assertEqual(self.post(port, {"a": 1}), {"ok": True})
        self.assertEqual(sensor.dispatched(), [{"body": {"a": 1}}])
        sensor.say({"op": "stop"})
        self.assertEqual(sensor.exit(), 0)
        self.assertEqual(self.container.values, {"green.LateHook:cleanup": "and once more: 19"})
        sensor.logged("SystemExit: the server ends")
        sensor.logged("SystemExit: and once more")

    def test_patching_by_what_a_sensor_imports_of_its_pack_counts(self):
        files = {
            "sensors/helpers/__init__.py": "",
            "sensors/helpers/patches.py": "from .deep.below import go",
            "sensors/helpers/deep/below.py": "from .. import own\ngo = 1",
            "sensors/helpers/own.py": "from eventlet import monkey_patch as early\nearly()",
            "sensors/quiet.py": "import quiet\n'# monkey_patch() is not for us: \\d'",
            "lib/common.py": "import eventlet.patcher\neventlet.patcher.monkey_patch()",
        }
        for statement, counts in (
            ("from helpers import patches", True),
            ("import helpers.patches", True),
            ("from helpers.patches import go", True),
            ("if True: import json, common as other", True),
            ("import quiet", False),
            ("from helpers import deep", False),
        ):
            with self.subTest(statement=statement):
                early = "import eventlet.patcher\nEARLY = eventlet.patcher.is_monkey_patched('thread')"
                folder = self.write_pack(f"{early}\n{statement}\n{TELLS}", **files)
                sensor = self.load("Tells", "sensor.py", folder, library_path=os.path.join(folder, "lib"))
                sensor.activate()
                sensor.poll()
                self.assertEqual(sensor.dispatched(), [{"early": counts}])

    def test_the_host_itself_is_never_patched(self):
        self.sensor("Polls")
        with open(f"/proc/{self.container.host_process.pid}/maps") as maps:
            self.assertNotIn("greenlet", maps.read())

    def test_greenlets_run_between_polls(self):
        self.assertEqual(self.sensor("Polls").dispatched(3), [{"work": number} for number in range(3)])

    def test_any_green_thread_may_call_at_any_time(self):
        sensor = self.sensor("Polls")
        self.assertTrue(sensor.poll()["ok"])
        told = [payload for payload in sensor.dispatched(13) if "value" in payload]
        self.assertEqual(sorted(payload["value"] for payload in told), [str(number) for number in range(10)])
        self.assertTrue(all(payload["home"] for payload in told))

    def test_a_call_that_waits_lets_other_greenlets_run(self):
        sensor = self.sensor("Held")
        sensor.may_act.clear()
        sensor.say({"op": "poll", "number": 1})
        sensor.dispatched()
        ticks = sensor.output["stdout"].count(b"tick")
        self.container.wait(lambda: sensor.output["stdout"].count(b"tick") > ticks + 3, "ticks go on")
        sensor.may_act.set()
        self.assertTrue(sensor.event("poll_returned")["ok"])

    def test_native_threads_and_commands_work_beside_greenlets(self):
        sensor = self.sensor("Native")
        self.assertTrue(sensor.poll()["ok"])
        self.assertEqual(sensor.dispatched(2), [{"thread": "native"}, {"code": 0, "output": "word\n"}])

    def test_triggers_reach_a_passive_sensor_in_its_own_thread(self):
        sensor = self.sensor("Watches")
        for _ in range(3):
            sensor.say({"op": "add_trigger", "trigger": {"ref": "green.event"}})
        self.assertEqual(sensor.dispatched(3), [{"home": True}] * 3)
        sensor.say({"op": "stop"})
        self.assertEqual(sensor.exit(), 0)

    def test_a_sensor_that_blocks_everything_still_ends_with_its_connection(self):
        sensor = self.sensor("Blocks")
        self.container.wait(lambda: b"blocks" in sensor.output["stdout"], "it runs")
        sensor.hang_up()
        self.assertEqual(sensor.exit(), 70)

    def test_exit_in_a_greenlet_is_a_death(self):
        sensor = self.sensor("Exits")
        self.assertEqual(sensor.event("failed")["error"], "SystemExit: cannot go on")
        self.assertEqual(sensor.exit(), 1)

    def test_a_timeout_of_eventlet_fails_the_poll_and_not_the_process(self):
        sensor = self.sensor("TimesOut")
        self.assertIn("Timeout", sensor.poll(1)["error"])
        self.assertIn("Timeout", sensor.poll(2)["error"])

    def test_eventlet_works_unpatched_and_patched_late(self):
        sensor = self.sensor("Spawns", "unpatched.py")
        self.assertEqual(sensor.dispatched(), [{"spawned": True}])
        self.assertTrue(sensor.poll(1)["ok"])
        self.assertTrue(sensor.poll(2)["ok"])
        self.assertEqual(sensor.dispatched(3)[1], {"was_native": True})

    def test_flask_with_its_reloader_dispatches_from_the_second_python(self):
        port = self.free_port()
        sensor = self.sensor("Hook", "web.py", config={"port": port})
        self.container.wait(lambda: self.listens(port), "the second Python listens")
        self.assertEqual(self.post(port, {"a": 1}), {"ok": True})
        (told,) = sensor.dispatched()
        self.assertEqual(told["body"], {"a": 1})
        self.assertNotEqual(told["pid"], sensor.pid)

    @staticmethod
    def free_port():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    @staticmethod
    def post(port, document):
        body = json.dumps(document).encode()
        hook = urllib.request.Request(f"http://127.0.0.1:{port}/", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(hook, timeout=10) as answer:
            return json.load(answer)

    @staticmethod
    def listens(port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0
