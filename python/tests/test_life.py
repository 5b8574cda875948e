"""A sensor process from load to its end."""

import os
import signal
import sys
import unittest

from st2sa_host import orphans
from tests.container import BASIC_PACK, Container, ContainerTestCase

SENSORS = os.path.join(BASIC_PACK, "sensors", "sensors.py")


class PollingSensors(ContainerTestCase):
    def test_a_polling_sensor_stands_by_then_sets_up_then_polls_when_told(self):
        sensor = self.load("Counter", poll_interval=5)
        ready = sensor.ready()
        self.assertEqual(ready, {"event": "ready", "kind": "polling", "poll_interval": 5.0, "keeps_cursor": True})
        self.assertEqual(bytes(sensor.output["stdout"]), b"", "a standby has not set up")
        sensor.activate()
        self.assertEqual(sensor.poll(7), {"event": "poll_returned", "number": 7, "ok": True, "poll_interval": 5.0})
        sensor.poll(8)
        self.assertEqual(sensor.dispatched(2), [{"count": 1}, {"count": 2}])
        self.assertEqual(self.container.values["basic.Counter:count"], "2")

    def test_stop_cleans_up_and_exits_with_0(self):
        sensor = self.load("Counter")
        sensor.activate()
        sensor.say({"op": "stop"})
        self.assertEqual(sensor.exit(), 0)
        self.container.wait(lambda: b"setup\ncleanup\n" in sensor.output["stdout"], "its output arrives")

    def test_a_standby_that_never_set_up_stops_without_cleanup(self):
        sensor = self.load("Counter")
        sensor.ready()
        sensor.say({"op": "stop"})
        self.assertEqual(sensor.exit(), 0)
        self.assertEqual(bytes(sensor.output["stdout"]), b"")

    def test_the_interval_is_the_metadatas_else_the_constructors(self):
        self.assertEqual(self.load("Counter").ready()["poll_interval"], 30)
        self.assertEqual(self.load("Counter", poll_interval=5).ready()["poll_interval"], 5)

    def test_the_interval_is_read_from_the_object_each_time(self):
        sensor = self.load("SetsInterval", poll_interval=5)
        self.assertEqual(sensor.ready()["poll_interval"], 5)
        self.assertEqual(sensor.activate()["poll_interval"], 7)
        self.assertEqual(sensor.poll()["poll_interval"], 8.5)

    def test_a_sensor_need_not_call_its_bases_constructor(self):
        sensor = self.load("WithoutBase", poll_interval=None, config=None)
        self.assertEqual(sensor.ready()["poll_interval"], 5)
        sensor.activate()
        self.assertEqual(sensor.poll()["poll_interval"], 77)
        self.assertEqual(sensor.dispatched(), [{"device": False}])

    def test_a_poll_that_raises_is_told_and_the_process_lives(self):
        sensor = self.load("Raises")
        sensor.activate()
        failed = sensor.poll(1)
        self.assertFalse(failed["ok"])
        self.assertEqual(failed["error"], "ValueError: the first poll of Raises fails")
        self.assertIn("sensors.py", failed["traceback"])
        self.assertNotIn("st2sa_host", failed["traceback"])
        self.assertTrue(sensor.poll(2)["ok"])

    def test_system_exit_is_a_death_even_with_code_0(self):
        for code in (0, -1, "a text"):
            with self.subTest(code=code):
                sensor = self.load("Raises", config={"exit": code})
                sensor.activate()
                sensor.say({"op": "poll", "number": 1})
                failed = sensor.event("failed")
                self.assertEqual((failed["phase"], failed["error"]), ("run", f"SystemExit: {code}"))
                self.assertIn("must not call exit()", failed["hint"])
                self.assertIn("sys.exit(self.config", failed["traceback"])
                self.assertEqual(sensor.exit(), 1)

    def test_a_setup_that_raises_says_where_and_ends_the_process(self):
        sensor = self.load("Raises", config={"where": "setup"})
        sensor.ready()
        sensor.say({"op": "activate", "triggers": []})
        failed = sensor.event("failed")
        self.assertEqual(failed["phase"], "setup")
        self.assertTrue(failed["file"].endswith("basic/sensors/sensors.py"), failed)
        self.assertIn("listens on that port", failed["hint"])
        self.assertEqual(sensor.exit(), 1)

    def test_a_sensor_may_read_on_standby(self):
        self.container.values["basic.Constructs:name"] = "value"
        sensor = self.load("Constructs")
        sensor.ready()
        sensor.activate()
        self.assertTrue(sensor.poll()["ok"])
        self.assertEqual(sensor.dispatched(), [{"name": "value", "names": ["basic.Constructs:name"]}])

    def test_a_sensor_may_go_on_when_it_was_refused_on_standby(self):
        sensor = self.load("Constructs", config={"do": "service.set_value('name', 1)"})
        sensor.activate()
        sensor.poll()
        self.assertTrue(sensor.dispatched()[0]["refused"])

    def test_hooks_with_the_wrong_arguments_leave_the_sensor_alive(self):
        sensor = self.load("WrongHooks")
        sensor.activate({"ref": "basic.one", "parameters": {}})
        self.assertIn("TypeError", sensor.logged("add_trigger failed")["message"])
        sensor.say({"op": "update_trigger", "trigger": {"ref": "basic.one"}})
        self.assertEqual(sensor.dispatched(), [{"trigger": {"ref": "basic.one"}}])
        self.assertTrue(sensor.poll()["ok"])


class PassiveSensors(ContainerTestCase):
    def test_triggers_come_and_go_while_run_never_returns(self):
        sensor = self.load("Watcher")
        ready = {"event": "ready", "kind": "passive", "poll_interval": None, "keeps_cursor": False}
        self.assertEqual(sensor.ready(), ready)
        one = {"ref": "basic.one", "parameters": {"path": "/1"}}
        two = {"ref": "basic.two", "parameters": {"path": "/2"}}
        sensor.activate(one)
        sensor.say({"op": "add_trigger", "trigger": two})
        sensor.say({"op": "remove_trigger", "trigger": one})
        self.assertEqual(sensor.dispatched(3), [{"added": "/1"}, {"added": "/2"}, {"removed": "/1"}])
        self.assertEqual(sensor.called("dispatch")[1]["trigger"], "basic.two")

    def test_stop_reaches_a_sensor_whose_run_never_returns(self):
        sensor = self.load("Watcher")
        sensor.activate()
        sensor.say({"op": "stop"})
        self.assertEqual(sensor.exit(), 0)
        self.assertEqual(sensor.dispatched(), [{"cleaned": True}])

    def test_cleanup_goes_on_when_it_ends_run(self):
        for how, told in (
            ("raises", "RuntimeError: connection closed"),
            ("exits", "SystemExit: 3"),
            ("returns", "run() has ended"),
        ):
            with self.subTest(how=how):
                self.container.values.clear()
                sensor = self.load("Closes", config={"how": how})
                sensor.activate()
                sensor.say({"op": "stop"})
                self.assertEqual(sensor.exit(), 0)
                self.assertEqual(self.container.values, {"basic.Closes:cleanup": "49"})
                sensor.logged(told)
                names = {event["event"] for event in sensor.events}
                self.assertEqual(names, {"ready", "activated", "log"})

    def test_a_run_that_returns_is_told_and_what_it_started_goes_on(self):
        sensor = self.load("Returns")
        sensor.activate()
        sensor.event("run_returned")
        sensor.say({"op": "add_trigger", "trigger": {"ref": "basic.one"}})
        self.assertEqual(sensor.dispatched(), [{"thread": True}])

    def test_a_run_that_raises_or_exits_is_a_death(self):
        for config, error in (
            ({}, "ConnectionError: the other side is gone"),
            ({"exit": 1}, "SystemExit: cannot go on"),
        ):
            with self.subTest(error=error):
                sensor = self.load("RunFails", config=config)
                sensor.activate()
                failed = sensor.event("failed")
                self.assertEqual((failed["phase"], failed["error"]), ("run", error))
                self.assertEqual(sensor.exit(), 1)

    def test_a_polling_sensor_that_overrides_run_is_passive(self):
        sensor = self.load("OverridesRun")
        self.assertEqual(sensor.ready()["kind"], "passive")
        sensor.activate()
        self.assertEqual(sensor.dispatched(2)[0], {"polled": True})

    def test_a_passive_sensor_gets_no_interval_whatever_its_metadata_says(self):
        self.assertEqual(self.load("SelfClass", poll_interval=5).ready()["kind"], "passive")

    def test_a_class_need_not_derive_from_stackstorms(self):
        sensor = self.load("NotDerived")
        sensor.activate()
        self.assertEqual(sensor.dispatched(), [None])


class Surroundings(ContainerTestCase):
    def test_a_sensor_sees_what_it_sees_in_stackstorm(self):
        library = os.path.join(BASIC_PACK, "lib")
        sensor = self.load("Teller", poll_interval=9, config={"key": [1]}, library_path=library)
        sensor.activate()
        sensor.poll()
        (seen,) = sensor.dispatched()
        folder = os.path.dirname(sensor.description["entry_point"])
        self.assertEqual(seen["name"], "sensors")
        self.assertTrue(seen["registered"], "the module is not in sys.modules")
        self.assertEqual(seen["file"], sensor.description["entry_point"])
        self.assertEqual((seen["beside"], seen["library"]), ("beside", True))
        self.assertEqual((seen["path"][0], seen["path"][-1]), (library, folder))
        self.assertNotIn(self.container.folder, seen["path"], "the host's working directory")
        self.assertEqual((seen["config"], seen["interval"]), ({"key": [1]}, 9))
        self.assertTrue(seen["main_thread"])
        self.assertEqual(seen["group"], sensor.pid)
        self.assertEqual(seen["threads"], 1)
        self.assertEqual(seen["incarnation"], "incarnation-1")

    def test_a_signal_handler_that_raises_ends_the_call_and_breaks_no_line(self):
        sensor = self.load("Alarmed", config={"bytes": 4 * 1024 * 1024})
        sensor.activate()
        sensor.is_read.clear()  # the line cannot be written as a whole
        sensor.may_act.clear()
        sensor.say({"op": "poll", "number": 1})
        self.container.wait(lambda: sensor.output["stdout"] == b"too late\n", "the alarm")
        sensor.is_read.set()
        self.assertEqual(sensor.dispatched(2)[1], {"timed_out": True})
        sensor.may_act.set()
        self.assertTrue(sensor.event("poll_returned")["ok"])

    def test_what_a_sensor_forks_stays_below_it_and_may_call(self):
        sensor = self.load("Forks")
        sensor.activate()
        self.assertTrue(sensor.poll()["ok"])
        worker, told = sensor.dispatched(2)
        self.assertEqual((worker["parent"], told["me"]), (sensor.pid, sensor.pid))
        self.assertEqual(told["orphans_parent"], sensor.pid)
        self.assertEqual([hello["pid"] for hello in sensor.hellos][-1], worker["worker"])

    def test_what_a_sensor_leaves_behind_is_reaped_and_what_it_waits_for_is_not(self):
        sensor = self.load("Daemons", config={"times": 20})
        sensor.activate()
        (told,) = sensor.dispatched()
        own = 5
        self.container.wait(
            lambda: len(self.dead_children(sensor.pid)) >= own + 2 * 20, "what is left behind has ended"
        )
        self.container.wait(lambda: not os.path.exists(f"/proc/{told['daemon']}"), "the daemon is reaped")
        spared = orphans.SECONDS_BETWEEN * (orphans.LOOKS_SPARED + 2)
        self.container.wait(lambda: len(self.dead_children(sensor.pid)) == own, "the others are reaped", spared)
        self.assertTrue(sensor.poll()["ok"])
        self.assertEqual(sensor.dispatched(2)[1], {"codes": [3, 3, 4, 4, 4]})

    def dead_children(self, pid):
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            numbers = children.read().split()
        dead = []
        for number in numbers:
            try:
                with open(f"/proc/{number}/stat") as stat:
                    if stat.read().rpartition(")")[2].split()[0] == "Z":
                        dead.append(number)
            except OSError:
                pass  # reaped meanwhile
        return dead

    def test_a_sensor_that_starts_itself_again_works_in_the_second_python(self):
        ways = [{}, {"original": True}] if sys.version_info >= (3, 10) else [{}]
        for config in ways:
            with self.subTest(config=config):
                sensor = self.load("Reloads", config=config)
                sensor.activate()
                (told,) = sensor.dispatched()
                self.assertNotEqual(told["pid"], sensor.pid)
                self.container.wait(lambda: b"second Python" in sensor.output["stdout"], "its output")  # noqa: B023
                self.assertEqual([hello["channel"] for hello in sensor.hellos].count("stdout"), 1)
                os.killpg(sensor.pid, signal.SIGKILL)
                self.assertEqual(sensor.exit(), -signal.SIGKILL)
                self.container.wait(lambda: sensor.ended == 2, "the second Python ends")  # noqa: B023

    def test_output_and_logs_are_kept_apart_from_the_protocol(self):
        sensor = self.load("Writes")
        sensor.activate()
        sensor.poll()
        self.container.wait(lambda: sensor.output["stdout"] == b"from print\nfrom a child\n", "stdout")
        self.container.wait(lambda: b"to stderr: \xe2\x82\xac \\udc80\n" in sensor.output["stderr"], "stderr")
        record = sensor.logged("a warning of it")
        self.assertEqual((record["level"], record["logger"]), ("WARNING", "SensorWrapper.basic.Writes.writes"))
        self.assertIn("KeyError: 'lost'", sensor.logged("went wrong")["message"])
        sensor.logged("%d does not fit")
        self.assertFalse([each for each in sensor.events if "too quiet" in str(each)])

    def test_logs_that_nobody_reads_are_dropped_and_counted(self):
        done = os.path.join(self.container.folder, "done")
        sensor = self.load("Floods", config={"done": done})
        sensor.activate()
        sensor.is_read.clear()
        sensor.say({"op": "poll", "number": 1})
        self.container.wait(lambda: os.path.exists(done), "the poll goes on though nobody reads")
        sensor.is_read.set()
        sensor.event("poll_returned")
        self.assertIn("log records were dropped", sensor.logged("were dropped")["message"])


class Ends(unittest.TestCase):
    def setUp(self):
        self.container = Container()
        self.addCleanup(self.container.close)

    def sensor(self, name="Watcher"):
        sensor = self.container.load(SENSORS, name)
        sensor.activate()
        return sensor

    def test_a_sensor_process_ends_at_once_with_its_control_connection(self):
        sensor = self.sensor()
        sensor.hang_up()
        self.assertEqual(sensor.exit(), 70)

    def test_the_host_has_one_thread_so_that_it_may_fork(self):
        self.sensor()
        with open(f"/proc/{self.container.host_process.pid}/status") as status:
            self.assertIn("Threads:\t1\n", status.read())

    def test_a_sensor_process_needs_no_host(self):
        sensor = self.container.start_directly(SENSORS, "Writes")
        sensor.activate()
        self.assertTrue(sensor.poll()["ok"])
        self.container.wait(lambda: b"from a child" in sensor.output["stdout"], "its output arrives")
        sensor.say({"op": "stop"})
        self.container.wait(lambda: sensor.ended, "it ends")

    def test_sensor_processes_end_with_the_host(self):
        sensors = [self.sensor(), self.sensor()]
        self.container.host_process.kill()
        for sensor in sensors:
            self.container.wait(lambda: sensor.ended, "its connection ends")  # noqa: B023

    def test_the_host_and_all_below_it_end_with_its_control_connection(self):
        sensor = self.sensor("Reloads")
        sensor.dispatched()
        self.container.host.hang_up()
        self.assertEqual(self.container.host_process.wait(10), 70)
        self.container.wait(lambda: sensor.ended == 2, "both Pythons end")

    def test_a_line_that_is_no_json_ends_the_process(self):
        sensor = self.sensor()
        sensor.controls[0].sendall(b"{\n")
        self.assertEqual(sensor.exit(), 70)
        self.container.wait(lambda: b"JSONDecodeError" in sensor.output["stderr"], "it says why")
