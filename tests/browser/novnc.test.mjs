// A console in a real browser: noVNC in Chromium, through the proxy, to a real QEMU guest. What the page
// shows is compared with QEMU's own picture of the screen, pixel by pixel.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { canvasPicture, difference, openPage, typeInto, untilShown } from './lib/browser.mjs';
import { bootGuest } from './lib/guest.mjs';
import { ownsSocket, sleep, until } from './lib/process.mjs';
import { npmWebRoot } from './lib/web.mjs';

const { startProxy } = await import(`./lib/${process.env.BROWSER_TEST_PROXY ?? 'proxy'}.mjs`);
const here = path.dirname(new URL(import.meta.url).pathname);
const screenshots = path.join(here, '../../target/browser');
mkdirSync(screenshots, { recursive: true });

/** Files that a noVNC page asks for and does without. */
const optional = /\/(favicon\.ico|defaults\.json|mandatory\.json|package\.json)$/;

/** The token within an access URL. */
const tokenOf = (url) => /token(?:=|%3D)([^&]+)/i.exec(url)[1];

const combinations = [
  { name: 'Debian noVNC 1.3, vnc_lite.html', web: () => '/usr/share/novnc', page: 'vnc_lite.html', socket: '/' },
  { name: 'Debian noVNC 1.3, vnc.html', web: () => '/usr/share/novnc', page: 'vnc.html?autoconnect=true', socket: '/' },
  { name: 'npm noVNC 1.7, path from the root', web: npmWebRoot, page: 'vnc_lite.html', socket: '/' },
  { name: 'npm noVNC 1.7, path from the page', web: npmWebRoot, page: 'vnc.html', socket: '/vnc.html' },
];

for (const { name, web, page, socket } of combinations) {
  describe(name, () => {
    let dir; let guest; let proxy; let url; let tab; let first;

    before(async () => {
      dir = mkdtempSync(path.join(os.tmpdir(), 'consolegate-browser-'));
      guest = await bootGuest(dir);
      proxy = await startProxy(dir, web(dir), guest.port);
      url = await proxy.accessUrl(page);
      tab = await openPage(url);
    });

    after(async () => {
      await tab?.close();
      await proxy?.stop();
      await guest?.stop();
      rmSync(dir, { recursive: true, force: true });
    });

    it('shows the screen of the guest', async () => {
      first = await untilShown(tab.page, guest.monitor);
    });

    it('carries a key to the guest and its echo back', async () => {
      await typeInto(tab.page, 'relayed');
      await until('an echo', async () => difference(await guest.monitor.screen(), first) !== null);
      const echoed = await untilShown(tab.page, guest.monitor);
      assert.notEqual(difference(echoed, first), null);
      await tab.page.screenshot({ path: path.join(screenshots, `${name.replace(/\W+/g, '-')}.png`) });
    });

    it('reaches the guest by one connection, which is the proxy\'s own', async () => {
      const clients = await guest.monitor.vncClients();
      assert.equal(clients.length, 1);
      assert.ok(ownsSocket(proxy.pid, clients[0].host, Number(clients[0].service)), 'the proxy process owns the socket that QEMU sees');
    });

    it('opened its WebSocket where this release of noVNC does', () => {
      assert.deepEqual(tab.sockets.map((each) => new URL(each).pathname), [socket]);
    });

    it('loads without an error', () => {
      assert.ok(tab.responses.length > 10, `${tab.responses.length} responses`);
      const failed = tab.responses.filter((each) => each.status >= 400 && !optional.test(new URL(each.url).pathname));
      assert.deepEqual(failed, []);
    });

    it('tells nobody the token by Referer', async () => {
      const headers = await Promise.all(tab.requests.map((request) => request.allHeaders()));
      assert.deepEqual(headers.map((each) => each.referer ?? '').filter((referer) => referer.includes(tokenOf(url))), []);
    });

    it('leaves the guest when the page is left', async () => {
      await tab.close();
      tab = undefined;
      await until('QEMU to lose its client', async () => (await guest.monitor.vncClients()).length === 0);
    });

    it('ends with status 0 on SIGTERM and has logged no token', async () => {
      assert.deepEqual(await proxy.stop(), { status: 0, signal: null });
      assert.ok(!proxy.output().includes(tokenOf(url)));
    });
  });
}

describe('a token that nobody issued', () => {
  let dir; let guest; let proxy; let tab;

  before(async () => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'consolegate-browser-'));
    guest = await bootGuest(dir);
    proxy = await startProxy(dir, npmWebRoot(dir), guest.port);
    const url = await proxy.accessUrl('vnc_lite.html');
    tab = await openPage(url.replace(tokenOf(url), randomUUID()));
  });

  after(async () => {
    await tab?.close();
    await proxy?.stop();
    await guest?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('shows nothing and never reaches the guest', async () => {
    await until('the page to be told', async () => await tab.page.title() === 'disconnected');
    await sleep(500);
    assert.deepEqual(await guest.monitor.vncClients(), []);
    assert.notEqual(difference(await canvasPicture(tab.page), await guest.monitor.screen()), null);
  });
});
