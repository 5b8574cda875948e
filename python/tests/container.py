"""A stand-in for the container: listens, starts a real host, keeps what sensor processes say, answers their calls."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PYTHON_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BASIC_PACK = os.path.join(PYTHON_FOLDER, "tests", "packs", "basic")

WAIT_SECONDS = 10
"""Longest wait for anything; a machine under load takes a tenth of it."""


class Container:
    def __init__(self, inherited=(), **variables):
        self.inherited = inherited
        self.variables = variables
        self.folder = tempfile.mkdtemp(prefix="st2sa-host-")
        self.changed = threading.Condition()
        self.values = {}
        self._tokens = 0
        self._sensors = {}
        self._address = os.path.join(self.folder, "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._address)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        self.host = self._participant("host")
        self.host_process = subprocess.Popen(
            [sys.executable, "-m", "st2sa_host"], env=self.environment("host", "host"), cwd=self.folder
        )
        self.processes = [self.host_process]
        self.wait(lambda: self.host.controls, "the host connects")

    def environment(self, role, token):
        return dict(
            os.environ,
            PYTHONPATH=os.pathsep.join([PYTHON_FOLDER, *self.inherited]),
            PYTHONDONTWRITEBYTECODE="1",
            ST2SA_SOCKET=self._address,
            ST2SA_TOKEN=token,
            ST2SA_ROLE=role,
            ST2SA_INCARNATION="incarnation-1",
            **self.variables,
        )

    def fork(self):
        """A fresh sensor process that was told nothing yet."""
        self._tokens += 1
        sensor = self._participant(f"token-{self._tokens}")
        sensor.process = self._tokens
        self.host.say({"op": "fork", "process": sensor.process, "token": sensor.token})
        forked = self.wait(
            lambda: next((e for e in self.host.events if e.get("process") == sensor.process), None), "it is forked"
        )
        assert forked["event"] == "forked", forked
        sensor.pid = forked["pid"]
        self.wait(lambda: sensor.controls, "the sensor process connects")
        return sensor

    def start_directly(self, entry_point, class_name):
        """A sensor process without a host, that was told to load that."""
        sensor = self._participant("direct")
        process = subprocess.Popen(
            [sys.executable, "-m", "st2sa_host"], env=self.environment("sensor", "direct"), cwd=self.folder
        )
        self.processes.append(process)
        self.wait(lambda: sensor.controls, "the sensor process connects")
        return self._tell(sensor, entry_point, class_name)

    def load(self, entry_point, class_name, **description):
        """A sensor process that was told to load that."""
        return self._tell(self.fork(), entry_point, class_name, **description)

    def _tell(self, sensor, entry_point, class_name, **description):
        pack = description.setdefault("pack", "basic")
        description.setdefault("config", {})
        description.setdefault("poll_interval", None)
        description.setdefault("library_path", None)
        sensor.description = dict(
            description,
            ref=f"{pack}.{class_name}",
            class_name=class_name,
            entry_point=entry_point,
            trigger_types=[f"{pack}.event"],
        )
        sensor.say({"op": "load", "sensor": sensor.description})
        return sensor

    def wait(self, found, what, longer=0):
        """Waits until `found` gives something, and gives that; that many seconds longer than is usual."""
        until = time.monotonic() + WAIT_SECONDS + longer
        with self.changed:
            while True:
                result = found()
                if result:
                    return result
                left = until - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"waited {WAIT_SECONDS + longer} s in vain: {what}\n{self._story()}")
                self.changed.wait(min(left, 1))

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for participant in self._sensors.values():
            participant.hang_up()
        for process in self.processes:
            process.wait(WAIT_SECONDS)
        shutil.rmtree(self.folder)

    def _participant(self, token):
        self._sensors[token] = Participant(self, token)
        return self._sensors[token]

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            hello = json.loads(stream.readline())["hello"]
            self._sensors[hello["token"]].serve(hello, connection, stream)

    def _story(self):
        told = {name: (each.events[-5:], bytes(each.output["stderr"])) for name, each in self._sensors.items()}
        return json.dumps(told, indent=1, default=repr)


class Participant:
    """A host or a sensor process, with all the connections of its token."""

    def __init__(self, container, token):
        self.container = container
        self.token = token
        self.controls = []
        self.hellos = []
        self.events = []
        self.calls = []
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self.ended = 0
        self.on_standby = True
        self.may_act = threading.Event()
        self.may_act.set()
        self.is_read = threading.Event()
        self.is_read.set()

    def say(self, message, control=0):
        if message.get("op") == "activate":
            self.on_standby = False
        self.controls[control].sendall(json.dumps(message).encode() + b"\n")

    def event(self, name, **fields):
        """Waits for an event of that name with those fields."""

        def found():
            for event in self.events:
                if event.get("event") == name and all(event.get(key) == value for key, value in fields.items()):
                    return event
                if event.get("event") == "failed" and name != "failed":
                    raise AssertionError(f"failed instead of {name}: {json.dumps(event, indent=1)}")
            return None

        return self.container.wait(found, f"event {name} {fields}")

    def ready(self):
        return self.event("ready")

    def activate(self, *triggers):
        self.ready()
        self.say({"op": "activate", "triggers": list(triggers)})
        return self.event("activated")

    def poll(self, number=1):
        self.say({"op": "poll", "number": number})
        return self.event("poll_returned", number=number)

    def called(self, op, number=1):
        """Waits for that many calls of an operation; gives them."""

        def found():
            calls = [call for call in self.calls if call["op"] == op]
            return calls if len(calls) >= number else None

        return self.container.wait(found, f"{number} calls of {op}")

    def dispatched(self, number=1):
        """Waits for that many dispatches; gives their payloads."""
        return [call["payload"] for call in self.called("dispatch", number)]

    def logged(self, part):
        """Waits for a log record with that in its message."""

        def found():
            records = [event for event in self.events if event.get("event") == "log"]
            return next((record for record in records if part in record["message"]), None)

        return self.container.wait(found, f"log with {part!r}")

    def exit(self):
        """Waits for the host's word that the process has ended; gives its status."""
        host = self.container.host

        def found():
            return next((e for e in host.events if e["event"] == "exited" and e["process"] == self.process), None)

        return self.container.wait(found, f"process {self.process} ends")["status"]

    def hang_up(self):
        for control in self.controls:
            try:
                control.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(self, hello, connection, stream):
        with self.container.changed:
            self.hellos.append(hello)
            self.container.changed.notify_all()
        if hello["channel"] != "control":
            self._collect(hello["channel"], connection, stream)
            return
        with self.container.changed:
            self.controls.append(connection)
            second = len(self.controls) > 1
            self.container.changed.notify_all()
        if second and self.token != "host":
            self.say({"op": "load", "sensor": self.description}, control=-1)
            self.say({"op": "activate", "triggers": []}, control=-1)
        try:
            while self.is_read.wait() and self._take(connection, stream.readline()):
                pass
        except OSError:
            pass
        with self.container.changed:
            self.ended += 1
            self.container.changed.notify_all()

    def _take(self, connection, line):
        if not line:
            return False
        message = json.loads(line)
        with self.container.changed:
            (self.calls if "call" in message else self.events).append(message)
            self.container.changed.notify_all()
        if "call" in message:
            threading.Thread(target=self._reply, args=(connection, message), daemon=True).start()
        return True

    def _reply(self, connection, call):
        self.may_act.wait(WAIT_SECONDS)
        try:
            answer = {"reply": call["call"], "result": self._result(call)}
        except (KeyError, RuntimeError) as error:
            kind = "ValueError" if isinstance(error, KeyError) else "RuntimeError"
            answer = {"reply": call["call"], "error": {"type": kind, "message": f"refused: {error}"}}
        with self.container.changed:
            try:
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                pass  # it did not wait for the answer

    def _result(self, call):
        values = self.container.values
        prefix = f"{self.description['ref']}:" if call.get("local") else ""
        if self.on_standby and call["op"] not in ("get", "list"):
            raise RuntimeError("it is on standby")
        if call["op"] == "dispatch":
            return {"refused": values["no such value"]} if call["trigger"] == "basic.refused" else None
        if call["op"] == "get":
            return values.get(prefix + call["name"])
        if call["op"] == "set":
            values[prefix + call["name"]] = call["value"]
        elif call["op"] == "delete":
            values.pop(prefix + call["name"], None)
        elif call["op"] == "list":
            wanted = prefix + (call["prefix"] or "")
            names = sorted(name for name in values if name.startswith(wanted))
            return [{"name": name, "value": values[name]} for name in names[: call["limit"]]]
        return True

    def _collect(self, channel, connection, stream):
        while True:
            data = stream.read1(65536)
            with self.container.changed:
                self.output[channel] += data
                self.container.changed.notify_all()
            if not data:
                return


class ContainerTestCase(unittest.TestCase):
    """Tests that share a container and its host; each has sensor processes of its own."""

    @classmethod
    def setUpClass(cls):
        cls.container = Container()
        cls.addClassCleanup(cls.container.close)

    def setUp(self):
        self.container.values.clear()

    def load(self, class_name, file="sensors.py", folder=BASIC_PACK, **description):
        """A sensor of a pack in a process of its own."""
        path = os.path.join(folder, "sensors", file)
        sensor = self.container.load(path, class_name, **description)
        self.addCleanup(sensor.hang_up)
        return sensor

    def write_pack(self, source, file="sensor.py", **files):
        """A pack in a folder of its own with that as its sensor's source; gives the folder."""
        folder = tempfile.mkdtemp(dir=self.container.folder)
        for name, text in {f"sensors/{file}": source, "pack.yaml": "ref: written\n", **files}.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as target:
                target.write(text)
        return folder
