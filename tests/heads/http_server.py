"""Counts the requests in streams as Python's http.server reads them, which Nova's proxies are built on.

Standard input has a stream a line, as hex. Standard output has for each a JSON list of [method, end of the head], with
null where the next was refused.
"""

import http.server
import io
import json
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, stream):
        self.rfile, self.wfile = io.BytesIO(stream), io.BytesIO()
        self.client_address = ("192.0.2.7", 40000)

    def log_message(self, *args):
        pass

    def heads(self):
        while True:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                return
            if not self.parse_request():
                yield None
                return
            # It takes the end of a stream for the end of a head.
            if not self.rfile.getvalue()[: self.rfile.tell()].endswith((b"\n\r\n", b"\n\n")):
                return
            yield self.command, self.rfile.tell()
            # What follows other methods could be a body.
            if self.command not in ("GET", "HEAD"):
                return


for line in sys.stdin:
    print(json.dumps(list(Handler(bytes.fromhex(line)).heads())))
