// websockify in the proxy's place (BROWSER_TEST_PROXY=websockify): tells a fault of these tests from a
// fault of the proxy. It is expected to fail where the proxy does more: it lets the token into Referer,
// and forks, so that the connection to QEMU is its child's.
import { randomUUID } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, listening, start } from './process.mjs';

/** The same as `startProxy` of `proxy.mjs`. */
export async function startProxy(dir, web, vncPort) {
  const port = await freePort();
  const tokens = path.join(dir, 'tokens');
  writeFileSync(tokens, '');
  const accessUrl = async (page) => {
    const token = randomUUID();
    appendFileSync(tokens, `${token}: 127.0.0.1:${vncPort}\n`);
    return `http://127.0.0.1:${port}/${page}${page.includes('?') ? '&' : '?'}path=%3Ftoken%3D${token}`;
  };
  const program = start('websockify', [
    '--web', web, '--token-plugin', 'TokenFile', '--token-source', tokens, `127.0.0.1:${port}`,
  ]);
  await listening(program, port);
  return { ...program, accessUrl, output: () => program.output };
}
