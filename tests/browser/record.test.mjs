// A recording of the proxy's, played into noVNC in a real browser: it paints what the live console showed.
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { canvasPicture, difference, openPage, typeInto, untilShown } from './lib/browser.mjs';
import { bootGuest } from './lib/guest.mjs';
import { until } from './lib/process.mjs';
import { startProxy } from './lib/proxy.mjs';
import { npmWebRoot } from './lib/web.mjs';

const here = path.dirname(new URL(import.meta.url).pathname);

describe('a recorded session', () => {
  let dir; let web; let guest; let proxy; let origin; let live; let recording;

  before(async () => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'consolegate-browser-'));
    guest = await bootGuest(dir);
    web = npmWebRoot(dir);
    symlinkSync(path.join(here, 'pages/playback.html'), path.join(web, 'playback.html'));
    proxy = await startProxy(dir, web, guest.port, 'novnc', `record = ${path.join(dir, 'session')}`);
    const url = await proxy.accessUrl('vnc_lite.html');
    origin = new URL(url).origin;
    const tab = await openPage(url);
    try {
      const first = await untilShown(tab.page, guest.monitor);
      await typeInto(tab.page, 'recorded');
      await until('an echo', async () => difference(await guest.monitor.screen(), first) !== null);
      live = await untilShown(tab.page, guest.monitor);
    } finally {
      await tab.close();
    }
    const ended = () => readdirSync(dir).filter((name) => name.startsWith('session.'))
      .find((name) => readFileSync(path.join(dir, name), 'latin1').endsWith("'EOF'];\n"));
    recording = path.join(dir, await until('a complete recording', async () => ended()));
  });

  after(async () => {
    await proxy?.stop();
    await guest?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('is one file, for its owner only', () => {
    assert.equal(readdirSync(dir).filter((name) => name.startsWith('session.')).length, 1);
    assert.equal(statSync(recording).mode & 0o777, 0o600);
  });

  it('holds the keys that were typed', () => {
    const typed = readFileSync(recording, 'latin1').split('\n').filter((line) => line.startsWith("'}")).join('');
    // noVNC's key events towards QEMU: message 255, subtype 0, down, and the key's symbol.
    const pressed = typed.match(/\\xff\\x00\\x00\\x01\\x00\\x00\\x00[a-z]/g).map((event) => event.at(-1));
    assert.equal(pressed.join(''), 'recorded');
  });

  it('paints the live picture when it is played', async () => {
    copyFileSync(recording, path.join(web, 'recording.js'));
    const tab = await openPage(`${origin}/playback.html`);
    try {
      await until('the recording to be played', async () => await tab.page.title() === 'played', 60);
      let why;
      await until('the picture', async () => {
        why = difference(await canvasPicture(tab.page), live);
        return why === null;
      }).catch((error) => { throw new Error(`${error.message}: ${why}`); });
    } finally {
      await tab.close();
    }
  });
});
