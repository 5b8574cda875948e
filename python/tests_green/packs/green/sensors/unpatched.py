"""A sensor that uses eventlet and patches nothing until it runs."""

import eventlet
from st2reactor.sensor.base import PollingSensor


class Spawns(PollingSensor):
    def setup(self):
        eventlet.spawn_after(0.01, self.sensor_service.dispatch, "green.event", {"spawned": True})

    def poll(self):
        eventlet.monkey_patch()
        self.sensor_service.dispatch("green.event", {"patched": True})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
