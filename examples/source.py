"""A local source of items for the pack http_poll: `python3 source.py --port 9180`, then GET /items?after=N.

It makes one item a second and answers those above N, in order, at most 100 at a time. It ends with its parent.
"""

import argparse
import datetime
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ITEMS_AN_ANSWER_AT_MOST = 100
# More than a day of items at one a second, in some 30 MiB.
ITEMS_KEPT_AT_MOST = 100_000


class Items:
    """The newest items, with consecutive ids."""

    def __init__(self, first):
        self._lock = threading.Lock()
        self._first = first
        self._items = []

    def add(self):
        at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:
            self._items.append({"id": self._first + len(self._items), "at": at})
            if len(self._items) > ITEMS_KEPT_AT_MOST:
                dropped = ITEMS_KEPT_AT_MOST // 10
                del self._items[:dropped]
                self._first += dropped

    def after(self, number):
        with self._lock:
            start = max(number + 1 - self._first, 0)
            return self._items[start : start + ITEMS_AN_ANSWER_AT_MOST]


class Handler(BaseHTTPRequestHandler):
    # A client that says nothing must not hold its thread for ever.
    timeout = 10

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path != "/items":
            return self._answer(404, {"error": "there is only /items?after=N"})
        try:
            after = int(parse_qs(url.query).get("after", ["0"])[0])
        except ValueError:
            return self._answer(400, {"error": "after is a number"})
        return self._answer(200, self.server.items.after(after))

    def log_message(self, message, *values):
        pass

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port, items):
        super().__init__(("127.0.0.1", port), Handler)
        self.items = items


def arguments():
    parser = argparse.ArgumentParser(description="A local source of items for the pack http_poll.")
    parser.add_argument("--port", type=int, default=9180, help="0 takes any free one (default: 9180)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two items (default: 1.0)")
    parser.add_argument(
        "--first",
        type=int,
        # A reader's cursor outlives the source: ids must go on rising when it is started again.
        default=time.time_ns() // 1_000_000,
        help="the first item's id (default: the milliseconds since 1970)",
    )
    return parser.parse_args()


def main():
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    options = arguments()
    items = Items(options.first)
    try:
        server = Server(options.port, items)
    except OSError as error:
        sys.exit(f"cannot listen on 127.0.0.1:{options.port}: {error}; try --port 0")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on http://127.0.0.1:{server.server_port}/items", flush=True)
    while os.getppid() == parent:
        items.add()
        time.sleep(options.every)


if __name__ == "__main__":
    main()
