// demo-check.mjs URL QMP_SOCKET SCREENSHOT: what a person would do with the demo's URL. Status 0 or 1.
import { difference, openPage, typeInto, untilShown } from './lib/browser.mjs';
import { Monitor } from './lib/guest.mjs';
import { until } from './lib/process.mjs';

const [url, socket, screenshot] = process.argv.slice(2);
const monitor = await Monitor.connect(socket);
const booted = async () => (await monitor.restingScreen()).rgb.includes(0xff);
await until('the guest to boot', booted, 60);
const tab = await openPage(url);
try {
  const first = await untilShown(tab.page, monitor);
  console.log(`demo: noVNC shows the guest's screen, ${first.width}x${first.height}, equal to QEMU's own picture`);
  await typeInto(tab.page, 'hello');
  await until('an echo', async () => difference(await monitor.screen(), first) !== null);
  await untilShown(tab.page, monitor);
  console.log('demo: typed, and the echo of the guest is shown');
  await tab.page.screenshot({ path: screenshot });
  console.log(`demo: screenshot in ${screenshot}`);
} catch (error) {
  await tab.page.screenshot({ path: screenshot }).catch(() => {});
  console.error(`demo: ${error.message} (screenshot in ${screenshot})`);
  process.exitCode = 1;
} finally {
  await tab.close();
  monitor.close();
}
