"""What stands behind a console proxy, as a service for the comparison of speed.

    cloud.py [mariadb|sqlite]

Starts the database, the bus and the compute node of `world`, prints one line of JSON with the path of a nova.conf
that names them, then reads one JSON array a line, [KIND, PORT, TTL], and answers with a token for that console. The
end of its input ends all of it.
"""

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from world import World


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = Path(tempfile.mkdtemp(prefix="consolegate-cloud-"))
    directory.chmod(0o755)
    world = World(directory, *sys.argv[1:2])
    try:
        world.start()
        print(json.dumps({"conf": str(world.conf)}), flush=True)
        for line in sys.stdin:
            kind, port, ttl = json.loads(line)
            print(json.dumps(world.token(kind, port, ttl=ttl)), flush=True)
    finally:
        world.close()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
