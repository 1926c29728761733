// The proxy under test, started and used as an operator would.
import { symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, listening, run, start } from './process.mjs';

const executable = process.env.CONSOLEGATE_BIN
  ?? new URL('../../../target/release/consolegate', import.meta.url).pathname;
const instance = '5b6cc2ea-6a40-4a4e-8b1b-2f6a2bd6cb7c';

/** Starts `nova-novncproxy` in `dir` with `web` as its web root, for the VNC server at loopback `vncPort`. */
export async function startProxy(dir, web, vncPort) {
  const port = await freePort();
  const database = `sqlite:///${path.join(dir, 'cell.sqlite')}`;
  const config = path.join(dir, 'nova.conf');
  writeFileSync(config, `[DEFAULT]
web = ${web}
[vnc]
novncproxy_host = 127.0.0.1
novncproxy_port = ${port}
[database]
connection = ${database}
[consolegate]
port_check = off
io_engine = ${process.env.CONSOLEGATE_TEST_IO_ENGINE ?? 'auto'}
`);
  const name = path.join(dir, 'nova-novncproxy');
  symlinkSync(executable, name);
  /** Mints a token and returns the address that Nova would hand to the user. */
  const accessUrl = async (page) => (await run(executable, [
    'token', 'create', '--database', database, '--init', '--type', 'novnc',
    '--host', '127.0.0.1', '--port', String(vncPort), '--instance', instance, '--ttl', '600',
    '--base-url', `http://127.0.0.1:${port}/${page}`,
  ])).trim();
  await accessUrl('vnc_lite.html'); // the database is there before the proxy starts, as in a cell
  const program = start(name, ['--config-file', config]);
  await listening(program, port);
  return { ...program, accessUrl, output: () => program.output };
}
