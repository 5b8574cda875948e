"""Polls an HTTP source for items above a cursor, which it keeps in the datastore."""

import json
import urllib.request

from st2reactor.sensor.base import PollingSensor

# A source that does not answer must not hold the poll until it counts as hung.
ANSWER_SECONDS_AT_MOST = 10


class ItemPoller(PollingSensor):
    def __init__(self, sensor_service, config=None, poll_interval=5):
        super().__init__(sensor_service=sensor_service, config=config, poll_interval=poll_interval)
        self._logger = sensor_service.get_logger(__name__)
        self.set_poll_interval(self.config.get("poll_interval", poll_interval))

    def setup(self):
        pass

    def poll(self):
        # Read at every poll and never kept in memory: whoever polls next goes on exactly here.
        after = self.sensor_service.get_value("after") or "0"
        url = f"{self.config['url']}?after={after}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS_AT_MOST) as answer:
                items = json.load(answer)
        except OSError as error:
            # The same source awaits this sensor on every other node: nothing is gained by failing here.
            self._logger.warning("no answer from %s: %s", url, error)
            return

        for item in items:
            # In this order: a crash between the two repeats one item, in the other order it would lose one.
            self.sensor_service.dispatch(trigger="http_poll.item", payload=item)
            self.sensor_service.set_value("after", item["id"])

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
