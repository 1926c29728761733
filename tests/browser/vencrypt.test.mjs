// docs/TLS.md, followed to the letter: its commands make the certificates, its settings go to QEMU and to the proxy,
// and noVNC in Chromium, itself over wss, shows the screen of a guest that speaks VeNCrypt alone. So do spice-html5 and a
// serial console whose guest speaks TLS.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openPage, openSpice, untilShown } from './lib/browser.mjs';
import { bootGuest } from './lib/guest.mjs';
import { run, until } from './lib/process.mjs';
import { startProxy } from './lib/proxy.mjs';
import { npmWebRoot } from './lib/web.mjs';

const page = readFileSync(new URL('../../docs/TLS.md', import.meta.url), 'utf8');

/** The page's blocks of one language, with its example's paths and address replaced by ours. */
function blocks(language, dir) {
  const found = [...page.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map((match) => match[1]);
  return found.map((text) => text.replaceAll('/etc/pki', path.join(dir, 'pki')).replaceAll('192.0.2.7', '127.0.0.1'));
}

/** What libvirt makes of its qemu.conf: the credentials of QEMU's VNC server (`vnc`) or serial ports (`chardev`). */
function credentials(conf, of) {
  const value = (name) => new RegExp(`^${name} = "?([^"\n]*)`, 'm').exec(conf)[1];
  assert.equal(value(`${of}_tls`), '1');
  const verify = value(`${of}_tls_x509_verify`) === '1' ? 'yes' : 'no';
  return `dir=${value(`${of}_tls_x509_cert_dir`)},verify-peer=${verify}`;
}

describe('TLS to the compute node as docs/TLS.md has it', () => {
  let dir; let rollOut; let strict; let password; let whole; let secured; let plain; let asking;

  before(async () => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'consolegate-vencrypt-'));
    mkdirSync(path.join(dir, 'pki'));
    const commands = blocks('sh', dir);
    assert.equal(commands.length, 8);
    await run('sh', ['-euc', `cd '${dir}'\n${commands.join('\n')}`]);
    const settings = blocks('ini', dir);
    assert.equal(settings.length, 6);
    const [libvirt, others] = [settings[0], settings[4]];
    [, rollOut, strict, password, , whole] = settings;
    const spice = /^spice_tls = 1\nspice_tls_x509_cert_dir = "(.*)"/m.exec(others)[1];
    const tls = { vnc: credentials(libvirt, 'vnc'), serial: credentials(others, 'chardev'), spice };
    mkdirSync(path.join(dir, 'secured'));
    mkdirSync(path.join(dir, 'plain'));
    secured = await bootGuest(path.join(dir, 'secured'), 'std', tls);
    plain = await bootGuest(path.join(dir, 'plain'));
    mkdirSync(path.join(dir, 'asking'));
    asking = await bootGuest(path.join(dir, 'asking'), 'std', { vnc: tls.vnc, password: true });
    await asking.monitor.execute('set_password', { protocol: 'vnc', password: 'secretpw' });
    await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-days', '2',
      '-keyout', path.join(dir, 'https.pem'), '-out', path.join(dir, 'https.crt')]);
  });

  after(async () => {
    await secured?.stop();
    await plain?.stop();
    await asking?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Opens the console of `guest` through a proxy with these settings, over TLS. */
  async function withConsole(guest, settings, look, type = 'novnc') {
    const own = mkdtempSync(path.join(dir, 'proxy-'));
    const https = `cert = ${dir}/https.crt\nkey = ${dir}/https.pem\nssl_only = true`;
    const web = type === 'spice-html5' ? '/usr/share/spice-html5' : npmWebRoot(own);
    const port = { novnc: guest.port, serial: guest.serialPort, 'spice-html5': guest.spicePort }[type];
    const tlsPort = type === 'spice-html5' ? guest.spiceTlsPort : undefined;
    const proxy = await startProxy(own, web, port, type, `${https}\n${settings}`, tlsPort);
    let tab;
    try {
      const url = await proxy.accessUrl(type === 'spice-html5' ? 'spice_auto.html' : 'vnc_lite.html', 'https');
      tab = type === 'spice-html5' ? await openSpice(url, guest.monitor) : await openPage(url);
      await look(tab, proxy);
      assert.ok(tab.sockets.every((each) => each.startsWith('wss:')), `${tab.sockets}`);
    } catch (error) {
      throw new Error(`${error.message}\n${proxy.output()}${tab?.messages.join('\n')}`);
    } finally {
      await tab?.close();
      await proxy.stop();
    }
  }

  it('shows a guest that speaks VeNCrypt alone, and QEMU sees the client\'s certificate', async () => {
    await withConsole(secured, rollOut, async (tab) => {
      await untilShown(tab.page, secured.monitor);
      const [client] = await secured.monitor.vncClients();
      assert.match(client.x509_dname, /proxy\.example\.com/);
      assert.deepEqual((await secured.monitor.execute('query-vnc')).auth, 'vencrypt+x509+none');
    });
  });

  it('shows a guest without VeNCrypt while both are listed', async () => {
    await withConsole(plain, rollOut, (tab) => untilShown(tab.page, plain.monitor));
  });

  it('refuses that guest once vencrypt is listed alone, and shows the other', async () => {
    const settings = `${rollOut}\n${strict}`;
    await withConsole(plain, settings, async (tab, proxy) => {
      await until('the refusal', () => proxy.output().includes('usable from auth_schemes: 19 (VENCRYPT)'));
      assert.deepEqual(await plain.monitor.vncClients(), []);
    });
    await withConsole(secured, settings, (tab) => untilShown(tab.page, secured.monitor));
  });

  it('shows a guest that wants a password under TLS, which the page is not asked for', async () => {
    await withConsole(asking, `${rollOut}\n${password}`, async (tab, proxy) => {
      await untilShown(tab.page, asking.monitor);
      assert.deepEqual((await asking.monitor.execute('query-vnc')).auth, 'vencrypt+x509+vnc');
      assert.ok(!proxy.output().includes('secretpw'));
    });
  });

  it('shows a guest whose SPICE server is spoken to on its port for TLS alone', async () => {
    await withConsole(secured, whole, async (tab) => {
      await untilShown(tab.page, secured.monitor);
      const channels = await secured.monitor.spiceChannels();
      assert.deepEqual(channels.map((each) => each.tls), [true, true, true, true]);
    }, 'spice-html5');
  });

  it('echoes what is typed on a serial console whose port speaks TLS and asks for our certificate', async () => {
    // The page is only there to have a WebSocket of the browser's.
    await withConsole(secured, whole, async (tab) => {
      const echo = await tab.page.evaluate(async () => {
        const socket = new WebSocket(`wss://${window.location.host}/${window.location.search}`, ['binary']);
        socket.binaryType = 'arraybuffer';
        let seen = '';
        await new Promise((resolve, reject) => {
          socket.onopen = () => socket.send(new TextEncoder().encode('typed under TLS'));
          socket.onmessage = (message) => {
            seen += new TextDecoder().decode(message.data);
            if (seen.endsWith('typed under TLS')) resolve();
          };
          socket.onclose = (close) => reject(new Error(`closed with ${close.code}`));
        });
        return seen;
      });
      assert.match(echo, /typed under TLS$/);
    }, 'serial');
  });
});
