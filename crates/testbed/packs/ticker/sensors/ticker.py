"""Sensors that tick: `Ticker01` to `Ticker99`, as many of them as there is metadata for."""

from st2reactor.sensor.base import PollingSensor

from at_source import AtSource


class Ticker(PollingSensor):
    number = None

    def setup(self):
        self._ticks = 0
        self.sensor_service.get_logger(__name__).info("it is set up")
        print("a line of output")

    def poll(self):
        with AtSource(self, "ticker"):
            self._ticks += 1
            self.sensor_service.dispatch(trigger=f"ticker.tick_{self.number}", payload={"tick": self._ticks})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass


for _number in range(1, 100):
    _name = f"Ticker{_number:02}"
    globals()[_name] = type(_name, (Ticker,), {"number": f"{_number:02}"})
