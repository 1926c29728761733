// The proxy under test, started and used as an operator would.
import { symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, listening, run, start } from './process.mjs';

const executable = process.env.CONSOLEGATE_BIN
  ?? new URL('../../../target/release/consolegate', import.meta.url).pathname;
// As tests/proxy/program.rs has it.
const sandbox = process.env.CONSOLEGATE_TEST_SANDBOX;
if (sandbox) process.env.OS_CONSOLEGATE__SANDBOX = sandbox;
const instance = '5b6cc2ea-6a40-4a4e-8b1b-2f6a2bd6cb7c';

/** Each console type's program, and the options that say where it listens. */
const programs = {
  novnc: { name: 'nova-novncproxy', group: 'vnc', prefix: 'novncproxy' },
  serial: { name: 'nova-serialproxy', group: 'serial_console', prefix: 'serialproxy' },
  'spice-html5': { name: 'nova-spicehtml5proxy', group: 'spice', prefix: 'html5proxy' },
};

/** Starts a proxy in `dir` with `web` as its web root, for the console of type `type` at loopback `consolePort`;
 *  `more` goes into the section [DEFAULT] of its nova.conf. `tlsPort` is the console's port for TLS, if it has one of its own. */
export async function startProxy(dir, web, consolePort, type = 'novnc', more = '', tlsPort = undefined) {
  const { name, group, prefix } = programs[type];
  const port = await freePort();
  const database = `sqlite:///${path.join(dir, 'cell.sqlite')}`;
  const config = path.join(dir, 'nova.conf');
  writeFileSync(config, `[DEFAULT]
web = ${web}
debug = true
${more}
[${group}]
${prefix}_host = 127.0.0.1
${prefix}_port = ${port}
[database]
connection = ${database}
[consolegate]
port_check = off
io_engine = ${process.env.CONSOLEGATE_TEST_IO_ENGINE ?? 'auto'}
`);
  const link = path.join(dir, name);
  symlinkSync(executable, link);
  /** Mints a token and returns the address that Nova would hand to the user. */
  const tokens = [];
  const accessUrl = async (page, scheme = 'http') => {
    const url = await mint(page, scheme);
    tokens.push(url.slice(-36));
    return url;
  };
  const mint = async (page, scheme) => (await run(executable, [
    'token', 'create', '--database', database, '--init', '--type', type,
    '--host', '127.0.0.1', '--port', String(consolePort), '--instance', instance, '--ttl', '600',
    '--base-url', `${scheme}://127.0.0.1:${port}/${page}`, ...(tlsPort ? ['--tls-port', String(tlsPort)] : []),
  ])).trim();
  await accessUrl('index.html'); // the database is there before the proxy starts, as in a cell
  const program = start(link, ['--config-file', config]);
  await listening(program, port);
  /** Ends it; none of its tokens may be in what it wrote. */
  const stop = async () => {
    const how = await program.stop();
    if (tokens.some((token) => program.output.includes(token))) throw new Error(`a token is shown:\n${program.output}`);
    return how;
  };
  return { ...program, accessUrl, stop, output: () => program.output };
}
