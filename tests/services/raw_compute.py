"""A compute that answers the port check with whatever bytes a test wants.

    raw_compute.py HOST [--topic TOPIC] [--exchange NAME] [--durable]

Consumes TOPIC.HOST as nova-compute does, but speaks AMQP by hand (py-amqp). The first line of the input is a
JSON object with host, port, user, password and vhost. Prints one line, "ready", and then reads one JSON
array per line and answers each with one line of JSON:

    ["answer", UUID, MESSAGES]  what to publish for each request about that instance: a list of objects with
                                "body" (MSG_ID in it becomes the request's), and perhaps "to" ("queue", the
                                default exchange, is the default; "exchange" is what servers up to
                                oslo.messaging 9.1 answered to), "zlib": true, and "delay" in seconds
    ["answer_each", UUID, LISTS]
                                the same, one list for each request in turn
    ["seen", UUID]              the requests about that instance: objects with properties, routing_key,
                                version (of the envelope) and message

The end of its input ends it.
"""

import argparse
import json
import os
import sys
import threading
import time
import zlib

import amqp


class Peer:
    def __init__(self, given, where):
        self.queue = f'{given.topic}.{given.host}'
        self.connection = amqp.Connection(
            host=f'{where["host"]}:{where["port"]}', userid=where['user'], password=where['password'],
            virtual_host=where['vhost'])
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.exchange_declare(given.exchange, 'topic', durable=given.durable, auto_delete=False)
        self.channel.queue_declare(self.queue, durable=given.durable, auto_delete=False)
        self.channel.queue_bind(self.queue, given.exchange, self.queue)
        self.channel.basic_consume(self.queue, callback=self.request, no_ack=True)
        self.answers = {}
        self.seen = {}

    def request(self, delivered):
        envelope = json.loads(delivered.body)
        message = json.loads(envelope['oslo.message'])
        uuid = message['args']['instance']['nova_object.data']['uuid']
        self.seen.setdefault(uuid, []).append({
            'properties': delivered.properties, 'routing_key': delivered.delivery_info['routing_key'],
            'version': envelope['oslo.version'], 'message': message,
        })
        lists = self.answers.get(uuid, [])
        answers = lists[min(len(self.seen[uuid]), len(lists)) - 1] if lists else []
        for answer in answers:
            time.sleep(answer.get('delay', 0))
            body = answer['body'].replace('MSG_ID', message['_msg_id'])
            headers = {}
            if answer.get('zlib'):
                body = zlib.compress(body.encode())
                headers['compression'] = 'application/x-gzip'
            # As oslo.messaging has them: [v:reply-true].
            reply = amqp.Message(
                body, content_type='application/json', content_encoding='utf-8', application_headers=headers,
                delivery_mode=2, priority=0)
            queue = message['_reply_q']
            exchange = queue if answer.get('to') == 'exchange' else ''
            self.channel.basic_publish(reply, exchange=exchange, routing_key=queue)

    def obey(self):
        for line in sys.stdin:
            command, uuid, *arguments = json.loads(line)
            answer = None
            if command == 'answer':
                self.answers[uuid] = arguments
            elif command == 'answer_each':
                self.answers[uuid] = arguments[0]
            elif command == 'seen':
                answer = self.seen.get(uuid, [])
            else:
                raise SystemExit(f'unknown command: {command}')
            print(json.dumps(answer), flush=True)
        os._exit(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('host')
    parser.add_argument('--topic', default='compute')
    parser.add_argument('--exchange', default='nova')
    parser.add_argument('--durable', action='store_true')
    given = parser.parse_args()
    peer = Peer(given, json.loads(sys.stdin.readline()))
    threading.Thread(target=peer.obey, daemon=True).start()
    print('ready', flush=True)
    while True:
        peer.connection.drain_events()


if __name__ == '__main__':
    main()
