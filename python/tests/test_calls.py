"""The sensor service, over the wire."""

from tests.container import ContainerTestCase


class Calls(ContainerTestCase):
    def do(self, expression):
        """Evaluates that in a sensor's poll; gives the result as text, and the calls that it made."""
        sensor = self.load("Service", config={"do": expression})
        sensor.activate()
        answer = sensor.poll()
        self.assertTrue(answer["ok"], answer)
        self.sensor = sensor
        return self.container.values["result"], [call for call in sensor.calls if call.get("name") != "result"]

    def call(self, expression):
        """The one call that it made, without its number."""
        _, (call,) = self.do(expression)
        del call["call"]
        return call

    def test_dispatch_carries_trigger_payload_and_tag(self):
        for expression, tag in (
            ("service.dispatch('basic.event', {'a': 1})", None),
            ("service.dispatch(trigger='basic.event', payload={'a': 1}, trace_tag='tag')", {"trace_tag": "tag"}),
            ("service.dispatch('basic.event', {'a': 1}, 'tag')", {"trace_tag": "tag"}),
            ("service.dispatch_with_context('basic.event', {'a': 1}, {'id_': 'x'})", {"id_": "x"}),
        ):
            with self.subTest(expression=expression):
                expected = {"op": "dispatch", "trigger": "basic.event", "payload": {"a": 1}, "trace_context": tag}
                self.assertEqual(self.call(expression), expected)
                self.assertEqual(self.container.values["result"], "None")

    def test_a_trigger_may_be_a_dictionary(self):
        self.assertEqual(self.call("service.dispatch({'type': 'basic.event'})")["trigger"], {"type": "basic.event"})

    def test_what_stackstorm_refuses_is_refused_with_its_error(self):
        for expression, error in (
            ("service.dispatch('basic.event', [1])", "TypeError: the payload must be a dictionary, not list"),
            ("service.dispatch(None, {})", "TypeError: the trigger must be"),
            ("service.dispatch_with_context('basic.event', {}, {'foo': 1})", "TypeError: a trace context"),
            ("service.dispatch_with_context('basic.event', {}, 'text')", "TypeError: the trace context"),
            ("service.get_value('a', scope='user')", "ValueError: Scope user is unsupported."),
            ("service.set_value('a', 1, scope='user')", "ValueError: Scope user is unsupported."),
            ("service.delete_value('a', scope='user')", "ValueError: Scope user is unsupported."),
            ("service.get_value(1)", "TypeError: the name of a value"),
            ("service.get_logger()", "TypeError: "),
            ("service.set_value('a', 1, ttl='soon')", "ValueError: "),
            ("service.datastore_service.get_api_client()", "NotImplementedError: "),
        ):
            with self.subTest(expression=expression):
                result, calls = self.do(expression)
                self.assertTrue(result.startswith(error), result)
                self.assertEqual(calls, [])

    def test_what_the_container_refuses_is_raised(self):
        result, _ = self.do("service.dispatch('basic.refused', {})")
        self.assertEqual(result, "ValueError: refused: 'no such value'")

    def test_values_are_stored_as_text_and_read_back(self):
        result, calls = self.do("[service.set_value('k', [1]), service.get_value('k'), service.get_value('none')]")
        self.assertEqual(result, "[True, '[1]', None]")
        self.assertEqual(self.container.values["basic.Service:k"], "[1]")
        expected = {"op": "set", "name": "k", "value": "[1]", "local": True, "ttl": None, "scope": "system"}
        self.assertEqual({**calls[0], "call": None}, {**expected, "call": None, "encrypt": False})

    def test_options_of_values_reach_the_container(self):
        self.assertEqual(
            self.call("service.set_value(name='a', value=1, ttl=60, local=False, encrypt=True)"),
            {"op": "set", "name": "a", "value": "1", "local": False, "ttl": 60, "scope": "system", "encrypt": True},
        )
        self.assertEqual(
            self.call("service.get_value('a', False, decrypt=True)"),
            {"op": "get", "name": "a", "local": False, "scope": "system", "decrypt": True},
        )
        self.assertEqual(
            self.call("service.delete_value('a')"), {"op": "delete", "name": "a", "local": True, "scope": "system"}
        )

    def test_lists_have_objects_with_whole_names(self):
        listing = (
            "[service.set_value(n, n) for n in ('a1', 'a2', 'a3', 'b1')],"
            "[(kvp.name, kvp.value) for kvp in service.list_values(prefix='a', limit=1, offset=1)],"
            "[service.delete_value('b1')], len(service.list_values()), service.list_values(local=False, prefix='zz')"
        )
        result, calls = self.do(listing)
        self.assertTrue(result.endswith("[('basic.Service:a2', 'a2')], [True], 3, [])"), result)
        self.assertEqual([call["limit"] for call in calls if call["op"] == "list"], [2, 100, 100])

    def test_the_rest_of_the_service_is_there(self):
        result, _ = self.do(
            "[service.get_user_info()['username'], service.datastore_service.get_value('x'),"
            " service.get_logger('n').name, json.dumps(service.dispatch('basic.event'))]"
        )
        self.assertEqual(result, "['sensor_service', None, 'SensorWrapper.basic.Service.n', 'null']")

    def test_a_payload_that_json_cannot_hold_goes_out_and_is_warned_of_once(self):
        twice = "[service.dispatch('basic.event', {'raw': b'x', 1: Odd(), 'far': float('inf')}) for _ in '12']"
        _, calls = self.do(twice)
        self.assertEqual(calls[0]["payload"], {"raw": "x", "1": "odd", "far": None})
        warnings = [event for event in self.sensor.events if "what JSON cannot" in event.get("message", "")]
        self.assertEqual(len(warnings), 1)
        self.assertIn("payload.raw: bytes became text", warnings[0]["message"])

    def test_what_is_too_large_is_refused_and_the_sensor_goes_on(self):
        for expression in (
            "service.dispatch('basic.event', {'x': 'x' * 2**24})",
            "service.dispatch('basic.event', {'x': '\\x01' * (2**23)})",
            "service.set_value('x', 'x' * 2**24)",
        ):
            with self.subTest(expression=expression):
                result, calls = self.do(expression)
                self.assertTrue(result.startswith("ValueError: "), result)
                self.assertEqual(calls, [])

    def test_large_values_pass_both_ways(self):
        result, _ = self.do("[service.set_value('x', '\u20ac' * 2**21), len(service.get_value('x'))]")
        self.assertEqual(result, "[True, 2097152]")

    def test_calls_wait_while_the_container_may_not_act(self):
        sensor = self.load("Counter")
        sensor.activate()
        sensor.may_act.clear()
        sensor.say({"op": "poll", "number": 1})
        sensor.called("get")
        self.assertFalse([event for event in sensor.events if event["event"] == "poll_returned"])
        sensor.may_act.set()
        self.assertTrue(sensor.event("poll_returned")["ok"])

    def test_any_thread_may_call_at_any_time(self):
        sensor = self.load("Threads")
        sensor.activate()
        self.assertTrue(sensor.poll()["ok"])
        told = sorted((payload["number"], payload["value"]) for payload in sensor.dispatched(20))
        self.assertEqual(told, [(number, str(number)) for number in range(20)])
