"""A poll as the source sees it: it begins, is held there for a while, and ends."""

import http.client
import os
import signal
import urllib.parse

# Longer than any poll is held: a source that is gone must not hold a poll for ever.
ANSWER_SECONDS_AT_MOST = 60


class AtSource:
    """Inside a poll at the source, from `with` to its end."""

    def __init__(self, sensor, pack, hold_ms=0):
        self._address = urllib.parse.urlsplit(sensor.config["source"]).netloc
        self._begin = "/begin?" + urllib.parse.urlencode(
            {"sensor": f"{pack}.{type(sensor).__name__}", "pid": os.getpid(), "hold_ms": hold_ms}
        )

    def __enter__(self):
        # A connection for each poll: when this process dies, the source sees the poll's end at once.
        self._connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS_AT_MOST)
        self._post(self._begin)
        return self

    def __exit__(self, *_):
        self._post("/end")
        self._connection.close()

    def _post(self, path):
        self._connection.request("POST", path)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the source answers {path} with {answer.status}")


def die_if_told(sensor):
    """Dies here, once, where the file that its configuration names is."""
    try:
        os.remove(sensor.config["dies"])
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
