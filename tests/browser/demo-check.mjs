// demo-check.mjs VNC_URL SPICE_URL SERIAL_URL QMP_SOCKET SCREENSHOTS: what a person would do with the demo's
// URLs, all at once: what is typed into one console shows in the others. Status 0 or 1.
import path from 'node:path';
import { difference, openPage, openSpice, typeInto, untilShown } from './lib/browser.mjs';
import { Monitor } from './lib/guest.mjs';
import { run, until } from './lib/process.mjs';

const [vncUrl, spiceUrl, serialUrl, socket, screenshots] = process.argv.slice(2);
const root = new URL('../..', import.meta.url).pathname;
const python = process.env.CONSOLEGATE_TEST_PYTHON ?? path.join(root, 'target/test-python/bin/python');

const monitor = await Monitor.connect(socket);
await until('the guest to boot', async () => (await monitor.restingScreen()).rgb.includes(0xff), 60);
const tabs = {};

/** Does `type`, waits until it has changed the screen, and until every page shows the new one. */
async function seenEverywhere(what, type) {
  const before = await monitor.screen();
  await type();
  await until('an echo', async () => difference(await monitor.screen(), before) !== null);
  for (const tab of Object.values(tabs)) await untilShown(tab.page, monitor);
  console.log(`demo: ${what}; noVNC and spice-html5 show the echo`);
}

try {
  tabs.vnc = await openPage(vncUrl);
  tabs.spice = await openSpice(spiceUrl, monitor);
  const { width, height } = await untilShown(tabs.vnc.page, monitor);
  console.log(`demo: noVNC shows the guest's screen, ${width}x${height}, equal to QEMU's own picture`);
  await untilShown(tabs.spice.page, monitor);
  const channels = await monitor.spiceChannels();
  if (channels.length !== 4) throw new Error(`${channels.length} SPICE channels are open, not 4`);
  console.log('demo: spice-html5 shows the same, by four channels');
  await seenEverywhere('typed into noVNC', () => typeInto(tabs.vnc.page, 'hello vnc '));
  await seenEverywhere('typed into spice-html5', () => typeInto(tabs.spice.page, 'hello spice '));
  await seenEverywhere('typed into the serial console, which echoed it', () => run(python, [
    path.join(root, 'tests/serial/console.py'), serialUrl, 'hello serial', 'hello serial\r\n',
  ]));
} catch (error) {
  console.error(`demo: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const [name, tab] of Object.entries(tabs)) {
    const screenshot = path.join(screenshots, `${name}.png`);
    await tab.page.screenshot({ path: screenshot }).catch(() => {});
    console.log(`demo: screenshot in ${screenshot}`);
    await tab.close();
  }
  monitor.close();
}
