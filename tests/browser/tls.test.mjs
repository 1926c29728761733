// One port for https and http: noVNC in Chromium shows the same guest by wss and by ws, at the same time.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { difference, openPage, typeInto, untilShown } from './lib/browser.mjs';
import { bootGuest } from './lib/guest.mjs';
import { run, until } from './lib/process.mjs';
import { startProxy } from './lib/proxy.mjs';
import { npmWebRoot } from './lib/web.mjs';

const screenshots = new URL('../../target/browser', import.meta.url).pathname;
mkdirSync(screenshots, { recursive: true });

describe('https and http on one port', () => {
  let dir; let guest; let proxy;
  const tabs = {};

  before(async () => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'consolegate-tls-'));
    guest = await bootGuest(dir);
    await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-days', '2',
      '-keyout', path.join(dir, 'key.pem'), '-out', path.join(dir, 'cert.pem')]);
    proxy = await startProxy(dir, npmWebRoot(dir), guest.port, 'novnc', `cert = ${dir}/cert.pem\nkey = ${dir}/key.pem`);
  });

  after(async () => {
    await Promise.all(Object.values(tabs).map((tab) => tab.close()));
    await proxy?.stop();
    await guest?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  for (const [scheme, socket] of [['https', 'wss:'], ['http', 'ws:']]) {
    it(`shows the screen of the guest by ${socket}`, async () => {
      tabs[scheme] = await openPage(await proxy.accessUrl('vnc_lite.html', scheme));
      await untilShown(tabs[scheme].page, guest.monitor);
      assert.deepEqual(tabs[scheme].sockets.map((each) => new URL(each).protocol), [socket]);
    });
  }

  it('shows both what is typed by either', async () => {
    for (const scheme of ['https', 'http']) {
      const before = await guest.monitor.screen();
      await typeInto(tabs[scheme].page, scheme);
      await until('an echo', async () => difference(await guest.monitor.screen(), before) !== null);
      for (const tab of Object.values(tabs)) await untilShown(tab.page, guest.monitor);
    }
    await tabs.https.page.screenshot({ path: path.join(screenshots, 'over-wss.png') });
    const log = proxy.output();
    assert.match(log, /SSL\/TLS \(wss:\/\/\) WebSocket connection/);
    assert.match(log, /Plain non-SSL \(ws:\/\/\) WebSocket connection/);
  });
});
