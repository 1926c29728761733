"""Tempest's own test of noVNC consoles, without a cloud: its test methods and its networking as they are.

    tempest_console.py URL

URL is what Nova's API would answer, with a valid token. A stand-in for the servers client hands it out; everything
behind that is Tempest's. Ends with the status of the two tests.
"""

import sys
import unittest

import testtools
from tempest.api.compute.servers.test_novnc import NoVNCConsoleTestJSON


class ServersClient:
    """What the test asks of Nova's API."""

    def __init__(self, url):
        self.url = url

    def get_remote_console(self, server_id, console_type, protocol):
        return {"remote_console": {"type": console_type, "protocol": protocol, "url": self.url}}


class Console(NoVNCConsoleTestJSON):
    """The test class, without the fixtures that make servers in a cloud."""

    url = None

    @classmethod
    def setUpClass(cls):
        cls.servers_client, cls.server = ServersClient(cls.url), {"id": "server"}
        cls.use_get_remote_console = True

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        # Tempest's own would ask for credentials, and testtools wants its own to have run.
        testtools.TestCase.setUp(self)
        self.websocket = None

    def tearDown(self):
        testtools.TestCase.tearDown(self)
        self.websocket.close()


def main(url):
    Console.url = url
    names = ("test_novnc", "test_novnc_bad_token")
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(unittest.TestSuite(map(Console, names)))
    print(f"ran {result.testsRun}, {len(result.failures) + len(result.errors)} failed, {len(result.skipped)} skipped")
    return 0 if result.wasSuccessful() and result.testsRun == 2 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
