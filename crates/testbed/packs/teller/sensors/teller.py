"""Sensors that count: `Teller01` to `Teller99`. Each number is dispatched, and noted in a file once that has returned."""

import os

from st2reactor.sensor.base import PollingSensor

BATCH = 50


class Teller(PollingSensor):
    number = None

    def setup(self):
        self._file = os.path.join(self.config["folder"], f"told-{self.number}")
        self._last = 0
        if os.path.exists(self._file):
            with open(self._file, encoding="utf-8") as told:
                self._last = max([0, *(int(line) for line in told)])

    def poll(self):
        with open(self._file, "a", encoding="utf-8") as told:
            for _ in range(BATCH):
                self._last += 1
                payload = {"teller": self.number, "number": self._last, "process": os.getpid()}
                self.sensor_service.dispatch(trigger=f"teller.told_{self.number}", payload=payload)
                told.write(f"{self._last}\n")
                told.flush()

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass


for _number in range(1, 100):
    _name = f"Teller{_number:02}"
    globals()[_name] = type(_name, (Teller,), {"number": f"{_number:02}"})
