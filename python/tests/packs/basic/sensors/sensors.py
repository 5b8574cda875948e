"""Sensors that show what a sensor may do and see."""

import importlib.util
import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import beside
from st2reactor.sensor.base import PollingSensor, Sensor


class Hooks:
    """What a sensor has to have and mostly leaves empty."""

    def setup(self):
        pass

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass


class Counter(Hooks, PollingSensor):
    """Counts its polls in the datastore."""

    def __init__(self, sensor_service, config=None, poll_interval=30):
        super().__init__(sensor_service=sensor_service, config=config, poll_interval=poll_interval)
        self._logger = sensor_service.get_logger(name=__name__)

    def setup(self):
        print("setup", flush=True)

    def poll(self):
        count = int(self.sensor_service.get_value("count") or 0) + 1
        self.sensor_service.dispatch(trigger="basic.event", payload={"count": count})
        self.sensor_service.set_value("count", count)
        self._logger.info("counted %d", count)

    def cleanup(self):
        print("cleanup", flush=True)


class Teller(Hooks, PollingSensor):
    """Tells at each poll what it sees of itself and around it."""

    def poll(self):
        self._sensor_service.dispatch(
            "basic.event",
            {
                "name": __name__,
                "registered": sys.modules.get(__name__) is sys.modules.get("no such module"),
                "file": __file__,
                "beside": beside.WORD,
                "library": importlib.util.find_spec("shared_words") is not None,
                "path": sys.path,
                "config": self._config,
                "interval": self._poll_interval,
                "main_thread": threading.current_thread() is threading.main_thread(),
                "group": os.getpgrp(),
                "threads": threading.active_count(),
                "incarnation": os.environ["ST2SA_INCARNATION"],
            },
        )


class WithoutBase(Hooks, PollingSensor):
    """Never calls the base's constructor, nor has it an interval, until later."""

    def __init__(self, sensor_service, config):
        self._service = sensor_service
        self._seen = "device" in config

    def poll(self):
        self._service.dispatch("basic.event", {"device": self._seen})
        self._poll_interval = 77


class SelfClass(Hooks, Sensor):
    """As 33 sensors of the kubernetes pack do: endless recursion in any subclass."""

    def __init__(self, sensor_service, config=None):
        super(self.__class__, self).__init__(sensor_service=sensor_service, config=config)  # noqa: UP008

    def run(self):
        return


class NotDerived(Hooks):
    """Has the methods, and no base at all."""

    def __init__(self, sensor_service, config):
        self.service = sensor_service

    def run(self):
        self.service.dispatch("basic.event", None)


class Constructs(Hooks, PollingSensor):
    """Calls when it is made, as its configuration says."""

    def __init__(self, sensor_service, config=None):
        super().__init__(sensor_service, config)
        names = [pair.name for pair in sensor_service.list_values()]
        self._read = {"name": sensor_service.get_value("name"), "names": names}
        try:
            eval(self.config.get("do", "None"), {"service": sensor_service})
        except RuntimeError:
            self._read["refused"] = True

    def poll(self):
        self.sensor_service.dispatch("basic.event", self._read)


class SetsInterval(Hooks, PollingSensor):
    """Sets its interval when it feels like it."""

    def setup(self):
        self.set_poll_interval("7")

    def poll(self):
        self._poll_interval = 8.5


class OverridesRun(Hooks, PollingSensor):
    """A polling sensor that runs by itself."""

    def poll(self):
        self.sensor_service.dispatch("basic.event", {"polled": True})

    def run(self):
        self._poll_interval = 0.01
        super().run()


class Raises(Hooks, PollingSensor):
    """Fails in all the ways there are; its configuration says which."""

    def setup(self):
        if self.config.get("where") == "setup":
            raise OSError(98, "Address already in use")

    def poll(self):
        if self.config.get("exit", False) is not False:
            sys.exit(self.config["exit"])
        if self.config.get("raise", True):
            self.config["raise"] = False
            raise ValueError("the first poll of Raises fails")


class Watcher(Hooks, Sensor):
    """Passive: tells of its triggers while `run` never returns."""

    def run(self):
        self.running = True
        while True:
            time.sleep(0.01)

    def add_trigger(self, trigger):
        while not hasattr(self, "running"):
            time.sleep(0.001)
        self.sensor_service.dispatch(trigger["ref"], {"added": trigger["parameters"]["path"]})

    def remove_trigger(self, trigger):
        self.sensor_service.dispatch(trigger["ref"], {"removed": trigger["parameters"]["path"]})

    def cleanup(self):
        self.sensor_service.dispatch("basic.event", {"cleaned": True})


class Closes(Hooks, Sensor):
    """Passive: `cleanup` ends `run`, in the way that its configuration says, and has more to do after that."""

    def setup(self):
        self.close, self.closed = threading.Event(), threading.Event()

    def run(self):
        self.close.wait()
        try:
            if self.config["how"] == "exits":
                sys.exit(3)
            if self.config["how"] == "raises":
                raise RuntimeError("connection closed")
        finally:
            self.closed.set()

    def cleanup(self):
        self.close.set()
        self.closed.wait()
        for number in range(50):
            self.sensor_service.set_value("cleanup", number)


class Returns(Hooks, Sensor):
    """Passive: `run` starts a thread and returns."""

    def run(self):
        self.go_on = threading.Event()
        threading.Thread(target=self._later).start()

    def _later(self):
        self.go_on.wait(10)
        self.sensor_service.dispatch("basic.event", {"thread": threading.current_thread().name != "MainThread"})

    def add_trigger(self, trigger):
        self.go_on.set()


class RunFails(Hooks, Sensor):
    """Passive: `run` ends in what its configuration says."""

    def run(self):
        if self.config.get("exit"):
            exit("cannot go on")
        raise ConnectionError("the other side is gone")


class WrongHooks(Hooks, PollingSensor):
    """Declares its hooks as some do; StackStorm goes on with such sensors."""

    def add_trigger(self):
        pass

    def update_trigger(self, **kwargs):
        self.sensor_service.dispatch("basic.event", kwargs)

    def poll(self):
        pass


class Alarmed(Hooks, PollingSensor):
    """Gives a dispatch little time by SIGALRM, as timeout_decorator does, then tries another."""

    def poll(self):
        def too_late(number, frame):
            print("too late")
            raise TimeoutError("too late")

        self.sensor_service.get_logger("alarmed").info("begins")

        signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            self.sensor_service.dispatch("basic.event", {"long": "x" * self.config["bytes"]})
        except TimeoutError:
            self.sensor_service.dispatch("basic.event", {"timed_out": True})


class Threads(Hooks, PollingSensor):
    """Calls from many threads at a time, one poll."""

    def poll(self):
        threads = [threading.Thread(target=self._call, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _call(self, number):
        self.sensor_service.set_value(f"thread-{number}", number)
        value = self.sensor_service.get_value(f"thread-{number}")
        self.sensor_service.dispatch("basic.event", {"number": number, "value": value})


class Forks(Hooks, PollingSensor):
    """Has children of each kind."""

    def poll(self):
        worker = multiprocessing.get_context("fork").Process(target=self._work)
        worker.start()
        worker.join()
        script = (
            "import os,sys,time; os.setsid(); os.fork() and sys.exit(0); print(os.getpid(), flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as daemon:
            orphan = int(daemon.stdout.readline())
            daemon.wait()
            with open(f"/proc/{orphan}/stat") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        os.kill(orphan, signal.SIGKILL)
        self.sensor_service.dispatch("basic.event", {"orphans_parent": parent, "me": os.getpid()})

    def _work(self):
        self.sensor_service.dispatch("basic.event", {"worker": os.getpid(), "parent": os.getppid()})


class Daemons(Hooks, PollingSensor):
    """Leaves processes of each kind behind, and has others that it waits for later."""

    LEFT = ("sleep 0.1 &", "setsid sleep 0.1 &")

    def setup(self):
        script = "import os, sys; os.setsid(); pid = os.fork(); pid and print(pid)"
        self.own = [subprocess.Popen(["sh", "-c", "exit 3"], start_new_session=own) for own in (False, True)]
        self.forked = [self._forked(), pty.fork()[0] or os._exit(4)]
        self.forked.append(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 4"], os.environ))
        daemon = int(subprocess.check_output([sys.executable, "-c", script]))
        for command in self.LEFT * self.config["times"]:
            subprocess.check_call(["sh", "-c", command])
        self.sensor_service.dispatch("basic.event", {"daemon": daemon})

    def _forked(self):
        forked = os.fork()
        if forked == 0:
            os.setsid()
            os._exit(4)
        return forked

    def poll(self):
        codes = [process.wait() for process in self.own]
        codes += [os.WEXITSTATUS(os.waitpid(forked, 0)[1]) for forked in self.forked]
        self.sensor_service.dispatch("basic.event", {"codes": codes})


class Reloads(Hooks, Sensor):
    """Starts itself again in a second Python, as Flask's reloader does, and lets that one work."""

    def run(self):
        if os.environ.get("RELOADED"):
            self.sensor_service.dispatch("basic.event", {"pid": os.getpid(), "arguments": sys.argv})
            print("second Python", flush=True)
            threading.Event().wait()
        main = sys.modules["__main__"]
        arguments = [sys.executable, "-m", main.__package__] + sys.argv[1:]
        if self.config.get("original"):
            arguments = [sys.executable] + sys.orig_argv[1:]
        subprocess.call(arguments, env=dict(os.environ, RELOADED="true"), close_fds=False)


class Writes(Hooks, PollingSensor):
    """Writes to all that can be written to."""

    def poll(self):
        print("from print")
        print("to stderr: \u20ac \udc80", file=sys.stderr)
        os.system("echo from a child")
        logger = self.sensor_service.get_logger("writes")
        logger.debug("too quiet")
        logger.warning("a warning of %s", "it")
        try:
            raise KeyError("lost")
        except KeyError:
            logger.exception("went wrong")
        logger.info("%d does not fit", "this")


class Floods(Hooks, PollingSensor):
    """Logs more than anybody reads."""

    def poll(self):
        logger = self.sensor_service.get_logger("floods")
        for number in range(5000):
            logger.info("%d %s", number, "x" * 1000)
        with open(self.config["done"], "w") as done:
            done.write("done")


class Service(Hooks, PollingSensor):
    """Evaluates what its configuration says, with its service at hand; tells the result or the error."""

    def poll(self):
        self.sensor_service.set_value("result", "", local=False)
        try:
            result = eval(self.config["do"], {"service": self.sensor_service, "json": json, "Odd": Odd})
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        self.sensor_service.set_value("result", result, local=False)


class Odd:
    """No JSON knows it."""

    def __str__(self):
        return "odd"
