"""A sensor that uses eventlet and patches nothing until it runs, in a way that cannot be seen before."""

import threading

import eventlet
from st2reactor.sensor.base import PollingSensor


class Spawns(PollingSensor):
    def setup(self):
        self.native = not eventlet.patcher.is_monkey_patched("thread") and type(threading.Lock()).__name__ == "lock"
        eventlet.spawn_after(0.01, self.sensor_service.dispatch, "green.event", {"spawned": True})

    def poll(self):
        vars(eventlet)["monkey_patch"]()
        self.sensor_service.dispatch("green.event", {"was_native": self.native})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
