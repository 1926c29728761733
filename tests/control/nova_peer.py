"""Nova's own side of the console token contract, for tests/control_real.rs.

    nova_peer.py URL DIRECTORY

URL is where the cell database is, DIRECTORY one that holds no configuration. Reads one JSON array per line, [COMMAND, ARGUMENT...],
and answers each with one line of JSON.

    ["create"]                  make the cell database with Nova's migrations
    ["instance", HOST]          create an instance on HOST (null: nowhere yet), answer its uuid
    ["destroy", UUID]           delete that instance
    ["load", UUID]              load an instance as Nova's proxies do, answer its host
    ["authorize", FIELDS, TTL]  mint a token with ConsoleAuthToken.authorize()
    ["validate", TOKEN]         check a token with ConsoleAuthToken.validate()
    ["schema"]                  answer the columns of the two tables
"""

import json
import os
import sys

# Before nova is imported: no green threads, no patched sockets.
os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'

import nova.conf  # noqa: E402
from nova import config  # noqa: E402
from nova import context as nova_context  # noqa: E402
from nova import exception  # noqa: E402
from nova import objects  # noqa: E402
from nova.db import migration  # noqa: E402
from nova.db.main import api as db  # noqa: E402
from oslo_utils import uuidutils  # noqa: E402
import sqlalchemy  # noqa: E402


class Peer:
    def __init__(self, url, directory):
        # No configuration of this host is read.
        config.parse_args(
            ['nova-peer', '--config-dir', directory],
            default_config_files=[])
        nova.conf.CONF.set_override('connection', url, 'database')
        db.configure(nova.conf.CONF)
        objects.register_all()
        self.context = nova_context.get_admin_context()

    def create(self):
        migration.db_sync()
        return migration.db_version()

    def instance(self, host):
        instance = objects.Instance(self.context)
        instance.uuid = uuidutils.generate_uuid()
        instance.user_id = 'demo'
        instance.project_id = 'demo'
        if host:
            instance.host = host
        instance.create()
        return instance.uuid

    def destroy(self, uuid):
        objects.Instance.get_by_uuid(self.context, uuid).destroy()
        return None

    def load(self, uuid):
        return objects.Instance.get_by_uuid(self.context, uuid).host

    def authorize(self, fields, ttl):
        token = objects.ConsoleAuthToken(context=self.context, **fields)
        token.authorize(ttl)
        return {'token': token.token, 'access_url': token.access_url,
                'expires': token.expires}

    def validate(self, token):
        try:
            found = objects.ConsoleAuthToken.validate(self.context, token)
        except exception.InvalidToken as reason:
            return {'invalid': str(reason)}
        return {name: getattr(found, name) for name in (
            'access_url', 'console_type', 'host', 'port', 'instance_uuid',
            'internal_access_path')}

    def schema(self):
        inspector = sqlalchemy.inspect(db.get_engine())
        return {
            table: {
                column['name']: [str(column['type']), column['nullable']]
                for column in inspector.get_columns(table)
            }
            for table in ('console_auth_tokens', 'instances')
        }


def main(url, directory):
    peer = Peer(url, directory)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(peer, command)(*arguments)), flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
