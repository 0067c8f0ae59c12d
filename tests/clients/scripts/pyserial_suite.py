"""Runs pyserial's own tests against one URL and tells each verdict as a line of JSON.

Owner: the pyserial scenarios, here and in the hardware tier. The tests are those of pyserial's source archive, unchanged;
this only says which port they are to use, as their own runner does, and what came of each.

usage: pyserial_suite.py TESTS_DIRECTORY URL [TEST...]
"""

import importlib
import json
import os
import sys
import time
import unittest


# Tests print, too: what they say goes to standard error.
VERDICTS, sys.stdout = sys.stdout, sys.stderr

# About pyserial itself.
WITHOUT_PORT = ("test_pty", "test_timeout_class", "test_url", "test_util")


class Verdicts(unittest.TestResult):
    """Each test's end, as it happens: a suite that hangs has told what was before."""

    def startTest(self, test):
        super().startTest(test)
        self.start = time.monotonic()
        self.said = False

    def stopTest(self, test):
        super().stopTest(test)
        if not self.said:
            self.say(test, "pass", "")

    def addError(self, test, error):
        super().addError(test, error)
        self.say(test, "fail", describe(error))

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.say(test, "fail", describe(error))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say(test, "skip", reason)

    def say(self, test, verdict, why):
        if getattr(self, "said", False):
            return  # A failure in tearDown as well: the first one counts.
        self.said = True
        seconds = round(time.monotonic() - getattr(self, "start", time.monotonic()), 3)
        tell({"test": test.id(), "verdict": verdict, "seconds": seconds, "why": why})


def tell(what):
    print(json.dumps(what), file=VERDICTS, flush=True)


def describe(error):
    kind, value, _ = error
    return f"{kind.__name__}: {value}"


def each(suite):
    for entry in suite:
        yield from each(entry) if isinstance(entry, unittest.TestSuite) else [entry]


def main(directory, url, *only):
    sys.path.insert(0, directory)
    suite = unittest.TestSuite()
    for name in sorted(os.listdir(directory)):
        stem, extension = os.path.splitext(name)
        if extension != ".py" or not stem.startswith("test") or stem in WITHOUT_PORT:
            continue
        module = importlib.import_module(stem)
        module.PORT = url
        tests = each(unittest.defaultTestLoader.loadTestsFromModule(module))
        suite.addTests(test for test in tests if not only or test.id() in only)
    result = Verdicts()
    suite.run(result)
    tell({"ran": result.testsRun})
    # Some tests leave threads behind that wait for a port for ever.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
