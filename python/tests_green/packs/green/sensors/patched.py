"""Sensors of a module that monkey patches everything, as one in eight on the Exchange does."""

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

from eventlet import patcher, tpool  # noqa: E402
from st2common.util.shell import run_command  # noqa: E402
from st2reactor.sensor.base import PollingSensor, Sensor  # noqa: E402

real_thread = patcher.original("_thread").get_ident
real_sleep = patcher.original("time").sleep


class Hooks:
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


class Polls(Hooks, PollingSensor):
    """Polls, while a greenlet works between polls."""

    def setup(self):
        self.home = real_thread()
        eventlet.spawn(self._work)

    def poll(self):
        threads = [threading.Thread(target=self._count, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self):
        for number in range(3):
            time.sleep(0.01)
            self.sensor_service.dispatch("green.work", {"work": number})

    def _count(self, number):
        self.sensor_service.set_value(f"thread-{number}", number)
        value = self.sensor_service.get_value(f"thread-{number}")
        self.sensor_service.dispatch("green.event", {"value": value, "home": real_thread() == self.home})


class Held(Hooks, PollingSensor):
    """A call that waits must not keep other greenlets from running."""

    def setup(self):
        eventlet.spawn(self._tick)

    def poll(self):
        self.sensor_service.dispatch("green.event", {"from": "the main greenlet"})

    def _tick(self):
        while True:
            print("tick")
            eventlet.sleep(0.01)


class Native(Hooks, PollingSensor):
    """Calls from a native thread of eventlet's pool."""

    def poll(self):
        tpool.execute(self.sensor_service.dispatch, "green.event", {"thread": "native"})
        code, output, _ = run_command(["echo", "word"])
        self.sensor_service.dispatch("green.event", {"code": code, "output": output})


class Watches(Hooks, Sensor):
    """Passive, with a lock that only one thread's greenlets can share."""

    def setup(self):
        self.home = real_thread()
        self.lock = threading.Lock()

    def run(self):
        while True:
            with self.lock:
                time.sleep(0.01)

    def add_trigger(self, trigger):
        with self.lock:
            self.sensor_service.dispatch("green.event", {"home": real_thread() == self.home})


class Blocks(Hooks, Sensor):
    """Passive, and never gives way to anybody."""

    def run(self):
        print("blocks")
        real_sleep(60)


class Exits(Hooks, PollingSensor):
    """A greenlet of it calls exit(), between polls."""

    def setup(self):
        eventlet.spawn_after(0.01, sys.exit, "cannot go on")

    def poll(self):
        pass


class TimesOut(Hooks, PollingSensor):
    """An eventlet Timeout is no Exception."""

    def poll(self):
        with eventlet.Timeout(0.01):
            eventlet.sleep(60)
