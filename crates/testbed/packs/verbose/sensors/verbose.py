"""A sensor that dispatches a kilobyte in each poll."""

from st2reactor.sensor.base import PollingSensor

from at_source import AtSource


class Verbose(PollingSensor):
    def setup(self):
        pass

    def poll(self):
        with AtSource(self, "verbose"):
            self.sensor_service.dispatch(trigger="verbose.text", payload={"text": "x" * 1024})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
