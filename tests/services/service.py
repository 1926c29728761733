"""What the private servers of the tests share: a directory, ports, certificates, and how to end.

A service is an executable of this folder. It makes a directory of its own, starts one server on a free port
of the loopback (as an unprivileged user where it was started by root) and of the addresses in its arguments,
prints one line of JSON with what a client needs, and then takes one command per line of its standard input, each answered by one line. The end
of its input, or SIGTERM, ends the server and removes everything.
"""

import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# Seconds until a server has to answer or to be gone; machines that run tests are busy.
START_MAX = 120
STOP_MAX = 60

PR_SET_PDEATHSIG = 1


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def find(names, *folders):
    """The path of the first of these programs."""
    path = os.pathsep.join([*folders, os.environ.get('PATH', ''), '/usr/sbin', '/usr/bin'])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    sys.exit(f'{sys.argv[0]}: none of these is installed: {", ".join(names)}; scripts/install installs them')


def openssl(*arguments):
    subprocess.run(['openssl', *arguments], check=True, capture_output=True, timeout=START_MAX)


class Server:
    """One server. A subclass says how to prepare, start, reach and ask it."""

    name = 'server'
    # Who runs it when we are root.
    user = 'nobody'
    # What asks it to end in an orderly way.
    stop_signal = signal.SIGTERM

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix=f'consolegate-{self.name}-')
        self.process = None
        self.paused = False
        # Where it listens beside the loopback, for clients in other network namespaces.
        self.addresses = sys.argv[1:]
        self.environment = {
            'PATH': os.environ.get('PATH', '/usr/bin:/bin'), 'HOME': self.directory, 'LC_ALL': 'C',
        }

    # What a subclass has.
    def prepare(self):
        """Makes what the server needs, once."""

    def command_line(self):
        raise NotImplementedError

    def answers(self):
        """Whether a client is served."""
        raise NotImplementedError

    def facts(self):
        return {}

    def ask(self, text):
        """Runs one statement, answers its rows."""
        raise NotImplementedError

    # Processes.
    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def give_away(self, *paths):
        """Makes these the server's own."""
        if os.getuid() == 0:
            entry = pwd.getpwnam(self.user)
            for path in paths:
                os.chown(path, entry.pw_uid, entry.pw_gid)

    def become_user(self):
        if os.getuid() == 0:
            entry = pwd.getpwnam(self.user)
            os.initgroups(self.user, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        # Whatever ends us ends the server.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def run(self, *command, **options):
        """Runs a helper program as the server's user, answers what it printed."""
        done = subprocess.run(
            command, preexec_fn=self.become_user, env=self.environment, cwd=self.directory, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=START_MAX, **options)
        if done.returncode:
            raise RuntimeError(f'{os.path.basename(command[0])}: {done.stderr.strip() or done.stdout.strip()}')
        return done.stdout

    def start(self):
        if self.process:
            raise RuntimeError('it runs already')
        with open(self.path('log'), 'ab') as log:
            self.process = subprocess.Popen(
                self.command_line(), preexec_fn=self.become_user, env=self.environment, cwd=self.directory,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_MAX
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                with open(self.path('log'), errors='replace') as log:
                    raise RuntimeError(f'the server does not start: {log.read()[-2000:]!r}')
            time.sleep(0.05)

    def processes(self):
        """The server and its children."""
        pids = [self.process.pid]
        for entry in os.listdir('/proc'):
            try:
                with open(f'/proc/{entry}/stat') as stat:
                    if int(stat.read().rpartition(')')[2].split()[1]) == self.process.pid:
                        pids.append(int(entry))
            except (OSError, ValueError):
                continue
        return pids

    def signal_all(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def end(self, number):
        if not self.process:
            raise RuntimeError('it does not run')
        if number == signal.SIGKILL:
            # It ends one that is paused, too, which shall do nothing more before that.
            self.signal_all(number)
            self.paused = False
        else:
            self.resume()
            self.process.send_signal(number)
        try:
            self.process.wait(STOP_MAX)
        except subprocess.TimeoutExpired:
            self.signal_all(signal.SIGKILL)
            self.process.wait()
        self.process = None

    def pause(self):
        self.signal_all(signal.SIGSTOP)
        self.paused = True
        # The signal only asks: a thread that runs elsewhere may answer one more client before it stops.
        until = time.monotonic() + STOP_MAX
        while not all(self.is_stopped(pid) for pid in self.processes()):
            if time.monotonic() > until:
                raise RuntimeError('the server does not stop')
            time.sleep(0.001)

    @staticmethod
    def is_stopped(pid):
        """Whether each thread is."""
        try:
            for thread in os.listdir(f'/proc/{pid}/task'):
                with open(f'/proc/{pid}/task/{thread}/stat') as stat:
                    if stat.read().rpartition(')')[2].split()[0] != 'T':
                        return False
        except OSError:
            pass  # it is gone
        return True

    def resume(self):
        if self.paused:
            self.signal_all(signal.SIGCONT)
        self.paused = False

    # Certificates.
    def make_certificates(self):
        """A CA, another one that signed nothing, and what they are for."""
        folder = self.path('tls')
        os.mkdir(folder)
        # The tests' client runs as another user than the server.
        for path in (self.directory, folder):
            os.chmod(path, 0o755)

        def file(name):
            return os.path.join(folder, name)

        key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes')
        for name in ('ca', 'other-ca'):
            openssl('req', '-x509', *key, '-keyout', file(f'{name}.key'), '-out', file(f'{name}.pem'),
                    '-days', '30', '-subj', f'/CN=consolegate test {name}',
                    '-addext', 'keyUsage=critical,keyCertSign,cRLSign')
        for name, subject in (('server', 'localhost'), ('client', 'nova_tls')):
            openssl('req', *key, '-keyout', file(f'{name}.key'), '-out', file(f'{name}.csr'),
                    '-subj', f'/CN={subject}')
            self.sign(name, '30')
        self.give_away(file('server.key'))
        return {
            'ca': file('ca.pem'), 'other_ca': file('other-ca.pem'),
            'cert': file('client.pem'), 'key': file('client.key'),
        }

    def sign(self, name, days):
        """Makes the certificate of the server or the client, from now on for these days."""
        extensions = {
            'server': 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth',
            'client': 'extendedKeyUsage=clientAuth',
        }
        with open(self.path('tls', 'extensions'), 'w') as extension_file:
            extension_file.write(f'basicConstraints=CA:FALSE\n{extensions[name]}\n')
        openssl('x509', '-req', '-in', self.path('tls', f'{name}.csr'), '-CA', self.path('tls', 'ca.pem'),
                '-CAkey', self.path('tls', 'ca.key'), '-CAcreateserial', '-days', days,
                '-extfile', self.path('tls', 'extensions'), '-out', self.path('tls', f'{name}.pem'))

    def expire(self):
        """Starts the server anew with a certificate that has ended."""
        self.end(self.stop_signal)
        self.sign('server', '0')
        time.sleep(1.5)  # It ends with the second that it was made in.
        self.start()

    # The conversation.
    def obey(self, command):
        verb, _, rest = command.partition(' ')
        if verb == 'start':
            self.start()
        elif verb == 'stop':
            self.end(self.stop_signal)
        elif verb == 'kill':
            self.end(signal.SIGKILL)
        elif verb == 'pause':
            self.pause()
        elif verb == 'resume':
            self.resume()
        elif verb == 'expire':
            self.expire()
        elif verb == 'sql':
            return self.ask(rest)
        else:
            raise RuntimeError(f'unknown command {verb!r}')
        return 'ok'

    def serve(self):
        """Runs until the input ends. Errors of a command are its answer."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            self.prepare()
            self.start()
            print(json.dumps({'directory': self.directory, 'pid': self.process.pid, **self.facts()}), flush=True)
            for line in sys.stdin:
                try:
                    answer = {'ok': self.obey(line.strip())}
                except Exception as reason:
                    answer = {'error': str(reason)}
                print(json.dumps(answer), flush=True)
        finally:
            if self.process:
                self.end(signal.SIGKILL)
            shutil.rmtree(self.directory, ignore_errors=True)
