"""What oslo.messaging makes of transport URLs, for tests/rpc/urls.rs.

Reads a JSON array of URLs from its input and prints one of the same length: null where the URL is refused, else
[[[host, port, user, password]...], virtual host, {option: value}].
"""

import json
import sys

import oslo_messaging
from oslo_config import cfg


def parsed(url):
    try:
        got = oslo_messaging.TransportURL.parse(cfg.ConfigOpts(), url)
    except Exception:
        return None
    hosts = [[host.hostname, host.port, host.username, host.password] for host in got.hosts]
    return [hosts, got.virtual_host, got.query]


print(json.dumps([parsed(url) for url in json.load(sys.stdin)]))
