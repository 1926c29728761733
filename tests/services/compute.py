"""nova-compute's half of the port check, answered by the real libraries, for tests.

    compute.py HOST [--topic TOPIC] [--option GROUP.NAME=VALUE ...]

Serves validate_console_port on topic TOPIC (compute) for HOST through nova.rpc, oslo.messaging and Nova's own
object serializer, with the two endpoints that nova-compute has (versions 6.x and 5.x). The transport URL comes
as the first line of the input. Prints one line, "ready", and then reads one JSON array per line and
answers each with one line of JSON:

    ["answer", UUID, HOW, ...]  how to answer for that instance from now on; without it the answer is true:
                                "true", "false", "null", "text", or "raise" and the name of an exception of
                                nova.exception, or "delay" and seconds, or "never"
    ["calls", UUID]             the calls seen for that instance, as a list of objects
    ["stop"]                    stop serving; the queues stay, as a stopped nova-compute's do

The end of its input ends it.
"""

import argparse
import json
import os
import sys
import threading
import time

# Before nova is imported: no green threads, no patched sockets.
os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'

import oslo_messaging as messaging  # noqa: E402

import nova.conf  # noqa: E402
from nova import config  # noqa: E402
from nova import exception  # noqa: E402
from nova import objects  # noqa: E402
from nova import rpc  # noqa: E402


class Script:
    """What to answer, and what was asked."""

    def __init__(self):
        self.answers = {}
        self.calls = {}
        self.over = threading.Event()

    def play(self, call):
        uuid = call['instance']['uuid']
        self.calls.setdefault(uuid, []).append(call)
        how, *arguments = self.answers.get(uuid, ['true'])
        if how == 'raise':
            raise getattr(exception, arguments[0])(
                instance_id=uuid, instance_uuid=uuid, console_type=call['console_type'], reason='test', err='test')
        if how == 'delay':
            time.sleep(arguments[0])
            return True
        if how == 'never':
            self.over.wait()
        return {'true': True, 'false': False, 'null': None, 'text': 'true', 'never': None}[how]


def endpoint(script, version):
    class Endpoint:
        target = messaging.Target(version=version)

        def validate_console_port(self, ctxt, instance, port, console_type):
            assert isinstance(instance, objects.Instance), type(instance)
            return script.play({
                'endpoint': version, 'port': port, 'console_type': console_type,
                'is_admin': ctxt.is_admin, 'request_id': ctxt.request_id,
                'instance': {name: getattr(instance, name) for name in ('id', 'uuid', 'host')},
            })

    return Endpoint()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('host')
    parser.add_argument('--topic', default='compute')
    parser.add_argument('--option', action='append', default=[])
    given = parser.parse_args()
    url = sys.stdin.readline().strip()
    config.parse_args(['compute', '--config-dir', '/dev/null'], default_config_files=[], init_rpc=False)
    conf = nova.conf.CONF
    # Registers the options, the driver's too, so that they are there to be set.
    messaging.get_rpc_transport(conf, url)
    conf.set_override('transport_url', url)
    for option in given.option:
        name, value = option.split('=', 1)
        group, name = name.split('.', 1)
        conf.set_override(name, json.loads(value), group)
    objects.register_all()
    rpc.init(conf)
    script = Script()
    server = rpc.get_server(
        messaging.Target(topic=given.topic, server=given.host),
        [endpoint(script, '6.5'), endpoint(script, '5.13')],
        serializer=objects.base.NovaObjectSerializer())
    server.start()
    print('ready', flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        answer = None
        if command == 'answer':
            uuid, *how = arguments
            script.answers[uuid] = how
        elif command == 'calls':
            answer = script.calls.get(arguments[0], [])
        elif command == 'stop':
            server.stop()
            server.wait()
        else:
            raise SystemExit(f'unknown command: {command}')
        print(json.dumps(answer), flush=True)
    # Threads that still answer would hold the process.
    os._exit(0)


if __name__ == '__main__':
    main()
