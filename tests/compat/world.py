"""What stands behind both sides: a real cell database, a real message bus with a compute node, web files, nova.conf.

The schema is made by Nova's own migrations and tokens are minted by Nova's own objects; `validate_console_port` is
answered by the real oslo.messaging with Nova's own serializer.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

# Before nova is imported: no green threads, no patched sockets, in this process.
os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"

import nova.conf  # noqa: E402
from nova import config as nova_config  # noqa: E402
from nova import context as nova_context  # noqa: E402
from nova import objects  # noqa: E402
from nova.db import migration  # noqa: E402
from nova.db.main import api as db  # noqa: E402
from oslo_utils import uuidutils  # noqa: E402
import sqlalchemy  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "tests/services"
COMPUTE_HOST = "compute-1"

CONSOLE_TYPES = {"novnc": "novnc", "spice": "spice-html5", "serial": "serial"}
BASES = {
    "novnc": "http://127.0.0.1:6080/vnc_lite.html",
    "spice": "http://127.0.0.1:6082/spice_auto.html",
    "serial": "ws://127.0.0.1:6083/",
}
# How the compute node answers for the instance of this name; the others are dealt with by the database.
ANSWERS = {"false": ["false"], "raises": ["raise", "ConsoleTypeUnavailable"], "never": ["never"]}
RPC_SECONDS_MAX = 10

NOVA_CONF = """\
[DEFAULT]
transport_url = {bus}
rpc_response_timeout = {rpc_seconds_max}
[console]
allowed_origins = dashboard.example.org, other.example.org
[database]
connection = {database}
"""

FILES = {
    "index.html": "<h1>index</h1>\n", "vnc_lite.html": "<h1>lite</h1>\n", "spice_auto.html": "<h1>spice</h1>\n",
    "app.js": "export default 1;\n", "module.mjs": "export default 2;\n", "style.css": "b {}\n",
    "picture.svg": "<svg/>\n", "picture.png": "png", "icon.ico": "ico", "data.json": "{}\n", "code.wasm": "wasm",
    "bell.oga": "oga", "bell.mp3": "mp3", "font.woff2": "woff2", "unknown.qqq": "?", "short/index.htm": "short\n",
    "plain/file.txt": "plain\n", ".git/config": "hidden\n", "both/index.html": "html\n", "both/index.htm": "htm\n",
    "a b.txt": "space\n", "a+b.txt": "plus\n", "ä.txt": "umlaut\n", "100%.txt": "percent\n", "dated.txt": "dated\n",
}


class Service:
    """A program of tests/services: a line of JSON when it is ready, commands on its input, and the end with that."""

    def __init__(self, *argv, first=None):
        self.process = subprocess.Popen([sys.executable, *map(str, argv)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)
        if first is not None:
            self.process.stdin.write(first + "\n")
            self.process.stdin.flush()

    def ready(self):
        self.facts = self.process.stdout.readline()
        if not self.facts:
            raise RuntimeError(f"{self.process.args[1]} did not start")
        return self.facts

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class World:
    def __init__(self, directory, database="mariadb"):
        self.directory, self.kind = directory, database
        self.services = []
        self.lock = threading.Lock()
        self.instances = {}
        self.secrets = set()  # what no log may show
        self.make_web()
        self.make_certificates()
        self.empty_conf = str(directory / "empty.conf")
        Path(self.empty_conf).write_text("")

    def start(self):
        """Both servers start side by side, since each takes seconds."""
        mariadb = self.service(SERVICES / "mariadb") if self.kind == "mariadb" else None
        rabbitmq = self.service(SERVICES / "rabbitmq")
        self.bus = json.loads(rabbitmq.ready())["url"]
        # A compute node of this release serves both topics.
        self.computes = [self.service(SERVICES / "compute.py", COMPUTE_HOST, "--topic", topic, first=self.bus)
                         for topic in ("compute", "compute-alt")]
        self.database = (self.database_url(json.loads(mariadb.ready())) if mariadb
                         else f"sqlite:///{self.directory}/cell.sqlite")
        self.secrets |= {urlsplit(url).password for url in (self.bus, self.database)} - {None}
        self.secrets |= {unquote(password) for password in self.secrets}
        self.conf = self.directory / "nova.conf"
        self.conf.write_text(NOVA_CONF.format(bus=self.bus, database=self.database, rpc_seconds_max=RPC_SECONDS_MAX))
        self.make_cell()
        for compute in self.computes:
            compute.ready()
        for name, answer in ANSWERS.items():
            for compute in self.computes:
                compute.tell(json.dumps(["answer", self.instances[name], *answer]))

    def service(self, *argv, **how):
        self.services.append(Service(*argv, **how))
        return self.services[-1]

    def close(self):
        with contextlib.ExitStack() as end:
            for service in self.services:
                end.callback(service.close)

    @staticmethod
    def database_url(facts):
        password = quote(facts["password"], safe="")
        return (f"mysql+pymysql://{facts['user']}:{password}@127.0.0.1:{facts['port']}/{facts['database']}"
                "?charset=utf8")

    def make_cell(self):
        nova_config.parse_args(["compat", "--config-file", str(self.conf)], default_config_files=[])
        db.configure(nova.conf.CONF)
        objects.register_all()
        migration.db_sync()
        for name in ("good", "deleted", "homeless", *ANSWERS):
            self.instances[name] = self.instance(None if name == "homeless" else COMPUTE_HOST)

    @staticmethod
    def context():
        return nova_context.get_admin_context()

    def instance(self, host):
        instance = objects.Instance(self.context(), uuid=uuidutils.generate_uuid(), user_id="compat",
                                    project_id="compat")
        if host:
            instance.host = host
        instance.create()
        return instance.uuid

    def token(self, *arguments, **how):
        """A token, as `mint` says. Both sides ask, each from a thread of its own."""
        with self.lock:
            return self.mint(*arguments, **how)

    def mint(self, kind, port, *, base="", ttl=600, path=None, instance="good", console_type=None,
              host="127.0.0.1", tls_port=None):
        """A token for a console of `kind` on `port`, as nova-compute mints it. `base` None leaves it NULL."""
        if instance == "deleted":
            self.instances[instance] = self.instance(COMPUTE_HOST)
        fields = {"console_type": console_type or CONSOLE_TYPES[kind], "host": host, "port": port,
                  "internal_access_path": path, "instance_uuid": self.instances[instance],
                  "access_url_base": base or BASES[kind], "tls_port": tls_port}
        token = objects.ConsoleAuthToken(context=self.context(), **fields)
        token.authorize(ttl)
        self.secrets |= {token.token, hashlib.sha256(token.token.encode()).hexdigest()}
        if base is None:
            with db.get_engine().begin() as connection:
                connection.execute(sqlalchemy.text(
                    "UPDATE console_auth_tokens SET access_url_base = NULL WHERE id = :id"), {"id": token.id})
        if instance == "deleted":
            objects.Instance.get_by_uuid(self.context(), self.instances[instance]).destroy()
        return token.token

    def make_web(self):
        self.web = self.directory / "web"
        for name, text in FILES.items():
            path = self.web / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.directory / "secret").write_text("secret\n")
        (self.directory / "outside.js").write_text("export default 3;\n")
        (self.web / "linked.js").symlink_to("../outside.js")
        (self.web / "linked").symlink_to("plain")
        os.utime(self.web / "dated.txt", (1640995200, 1640995200))
        (self.web / "novnc").symlink_to("/usr/share/novnc")

    def make_certificates(self):
        for name in ("server", "other"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                            "-subj", f"/CN=name-{name}", "-addext", "subjectAltName=DNS:localhost",
                            "-keyout", self.directory / f"{name}.key", "-out", self.directory / f"{name}.pem"],
                           check=True, capture_output=True)
