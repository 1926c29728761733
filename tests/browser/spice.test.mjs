// A SPICE console in a real browser: Debian's spice-html5 in Chromium, through the proxy, to a real QEMU
// guest. What the page shows is compared with QEMU's own picture of the screen, pixel by pixel.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { difference, openSpice, typeInto, untilShown } from './lib/browser.mjs';
import { bootGuest } from './lib/guest.mjs';
import { ownsSocket, until } from './lib/process.mjs';
import { startProxy } from './lib/proxy.mjs';

const here = path.dirname(new URL(import.meta.url).pathname);
const screenshots = path.join(here, '../../target/browser');
mkdirSync(screenshots, { recursive: true });

/** Channel types by their number in the protocol. */
const channelNames = { 1: 'main', 2: 'display', 3: 'inputs', 4: 'cursor' };

// The second is the card that Nova gives to guests with SPICE.
for (const vga of ['std', 'qxl']) {
  describe(`spice-html5, a guest with ${vga} graphics`, () => {
    let dir; let guest; let proxy; let url; let token; let tab; let first;

    before(async () => {
      dir = mkdtempSync(path.join(os.tmpdir(), 'consolegate-browser-'));
      guest = await bootGuest(dir, vga);
      proxy = await startProxy(dir, '/usr/share/spice-html5', guest.spicePort, 'spice-html5');
      url = await proxy.accessUrl('spice_auto.html');
      token = new URL(url).searchParams.get('token');
      tab = await openSpice(url, guest.monitor);
    });

    after(async () => {
      await tab?.close();
      await proxy?.stop();
      await guest?.stop();
      rmSync(dir, { recursive: true, force: true });
    });

    it('paints the screen of the guest', async () => {
      first = await untilShown(tab.page, guest.monitor);
    });

    it('carries a key to the guest and its echo back', async () => {
      await typeInto(tab.page, 'relayed');
      await until('an echo', async () => difference(await guest.monitor.screen(), first) !== null);
      const echoed = await untilShown(tab.page, guest.monitor);
      assert.notEqual(difference(echoed, first), null);
      await tab.page.screenshot({ path: path.join(screenshots, `spice-html5-${vga}.png`) });
    });

    it('has all four channels open at the guest, each by a connection of the proxy\'s own', async () => {
      const channels = await guest.monitor.spiceChannels();
      assert.deepEqual(channels.map((each) => channelNames[each['channel-type']]).sort(), ['cursor', 'display', 'inputs', 'main']);
      assert.equal(new Set(channels.map((each) => each['connection-id'])).size, 1, 'one SPICE session');
      for (const { host, port } of channels) assert.ok(ownsSocket(proxy.pid, host, Number(port)));
    });

    it('had the token in its cookie alone', async () => {
      assert.ok(tab.sockets.length >= 4, `${tab.sockets.length} sockets`);
      for (const each of tab.sockets) assert.equal(new URL(each).pathname + new URL(each).search, '/websockify');
      const cookies = await tab.page.context().cookies();
      assert.equal(cookies.find((each) => each.name === 'token').value, token);
    });

    it('loads without an error', () => {
      assert.ok(tab.responses.length > 10, `${tab.responses.length} responses`);
      const failed = tab.responses.filter((each) => each.status >= 400 && new URL(each.url).pathname !== '/favicon.ico');
      assert.deepEqual(failed, []);
    });

    it('tells nobody the token by Referer', async () => {
      const headers = await Promise.all(tab.requests.map((request) => request.allHeaders()));
      assert.deepEqual(headers.map((each) => each.referer ?? '').filter((referer) => referer.includes(token)), []);
    });

    it('leaves the guest when the page is left', async () => {
      await tab.close();
      tab = undefined;
      await until('QEMU to lose its channels', async () => (await guest.monitor.spiceChannels()).length === 0);
    });

    it('ends with status 0 on SIGTERM and has logged no token', async () => {
      assert.deepEqual(await proxy.stop(), { status: 0, signal: null });
      assert.ok(!proxy.output().includes(token));
    });
  });
}
