"""A sensor whose poll outlasts every lease, in an open request."""

from st2reactor.sensor.base import PollingSensor

from at_source import AtSource


class Slow(PollingSensor):
    def setup(self):
        pass

    def poll(self):
        with AtSource(self, "slow", hold_ms=self.config["hold_ms"]):
            self.sensor_service.dispatch(trigger="slow.polled", payload={})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
