"""The modules of StackStorm that sensors import."""

import datetime
import sys
import unittest

from st2sa_host import provided

UTC = datetime.timezone.utc


class Provided(unittest.TestCase):
    def setUp(self):
        provided.install()
        self.addCleanup(sys.meta_path.remove, provided._Finder)
        for name in provided.MODULES:
            self.addCleanup(sys.modules.pop, name, None)

    def test_times_are_read_as_stackstorm_reads_them(self):
        from st2common.util import isotime

        moment = datetime.datetime(2014, 9, 1, 23, 45, 26, tzinfo=UTC)
        for text in ("2014-09-01T23:45:26Z", "2014-09-01 23:45:26+00", "2014-09-01T23:45:26+0000"):
            self.assertEqual(isotime.parse(text), moment)
        self.assertEqual(isotime.parse("2014-09-01T23:45:26.123Z").microsecond, 123000)
        for text in ("2014-09-01T23:45:26+02:00", "2014-09-01", "yesterday"):
            with self.assertRaises(ValueError):
                isotime.parse(text)
        self.assertEqual(isotime.parse("2014-09-02T01:45:26+02:00", validate_value=False), moment)
        self.assertEqual(isotime.format(moment), "2014-09-01T23:45:26.000000+00:00")
        self.assertEqual(isotime.format(moment, usec=False, offset=False), "2014-09-01T23:45:26Z")
        self.assertTrue(isotime.validate("2014-09-01T23:45:26Z"))
        self.assertFalse(isotime.validate("no", raise_exception=False))

    def test_dates_are_aware_of_utc(self):
        from st2common.util.date import add_utc_tz, convert_to_utc, get_datetime_utc_now, parse

        self.assertEqual(get_datetime_utc_now().utcoffset(), datetime.timedelta(0))
        self.assertEqual(parse("20140901T2345"), datetime.datetime(2014, 9, 1, 23, 45, tzinfo=UTC))
        self.assertEqual(parse("2014-09-01 23:45:26.5 -0130").hour, 1)
        self.assertEqual(parse("2014-09-01T23:45-01:30", preserve_original_tz=True).hour, 23)
        east = datetime.timezone(datetime.timedelta(hours=2))
        self.assertEqual(convert_to_utc(datetime.datetime(2014, 1, 1, 2, tzinfo=east)).hour, 0)
        with self.assertRaises(ValueError):
            add_utc_tz(datetime.datetime(2014, 1, 1, tzinfo=east))

    def test_commands_give_code_output_and_errors(self):
        from st2common.util.shell import quote_unix, run_command

        self.assertEqual(run_command("echo out; echo err >&2; exit 3", shell=True), (3, "out\n", "err\n"))
        self.assertEqual(run_command(cmd=["printf", "%s", "a b"]), (0, "a b", ""))
        with self.assertRaises(OSError):
            run_command(["no-such-program-anywhere"])
        self.assertEqual(quote_unix("a b"), "'a b'")

    def test_nothing_is_added_below_a_package_that_is_stackstorms_own(self):
        real = type(sys)("st2common")
        real.__path__ = []
        real.__spec__ = None
        sys.modules["st2common"] = real
        with self.assertRaises(ImportError):
            import st2common.util  # noqa: F401

    def test_what_is_not_provided_is_not_there(self):
        with self.assertRaises(ModuleNotFoundError) as raised:
            import st2common.log  # noqa: F401
        self.assertEqual(raised.exception.name, "st2common.log")
