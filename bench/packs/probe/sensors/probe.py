"""Sensors that show the source when they are set up and when they poll: `Probe01` to `Probe99`."""

from at_source import AtSource
from st2reactor.sensor.base import PollingSensor


class Probe(PollingSensor):
    def setup(self):
        with AtSource(self, "setup"):
            pass

    def poll(self):
        with AtSource(self, "probe"):
            pass

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass


for _number in range(1, 101):
    _name = f"Probe{_number:02}"
    globals()[_name] = type(_name, (Probe,), {})
