// Headless Chromium with a console page in it.
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { until } from './process.mjs';

const flags = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** Starts Chromium with a fresh profile and opens `url`, whoever signed its certificate. Every response and request is
 *  kept. */
export async function openPage(url) {
  const profile = mkdtempSync(path.join(os.tmpdir(), 'consolegate-chromium-'));
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: flags, ignoreHTTPSErrors: true });
  const page = context.pages()[0] ?? await context.newPage();
  const seen = { page, responses: [], requests: [], sockets: [], messages: [] };
  page.on('response', (response) => seen.responses.push({ url: response.url(), status: response.status() }));
  page.on('request', (request) => seen.requests.push(request));
  page.on('websocket', (socket) => seen.sockets.push(socket.url()));
  page.on('console', (message) => seen.messages.push(message.text()));
  // spice-html5 tells its errors with alert(). One that opens while the page is closed cannot be dismissed any more, and
  // needs not be.
  page.on('dialog', (dialog) => dialog.dismiss().catch(() => {}));
  seen.close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  try {
    await page.goto(url);
  } catch (error) {
    await seen.close();
    throw error;
  }
  return seen;
}

/** Opens a page of spice-html5 and waits for its channels. About one ticket in 200 that spice-html5 encrypts cannot be read by
 *  QEMU, which then says "Permission denied" to that channel: a person would load the page again, and so do we. */
export async function openSpice(url, monitor) {
  for (let attempt = 1; ; attempt += 1) {
    const tab = await openPage(url);
    const denied = () => tab.messages.some((each) => each.includes('Permission denied'));
    await until('four channels', async () => denied() || (await monitor.spiceChannels()).length === 4);
    if (!denied() || attempt === 4) return tab;
    console.log('note: QEMU could not read a ticket of spice-html5; the page is loaded again');
    await tab.close();
    await until('QEMU to lose its channels', async () => (await monitor.spiceChannels()).length === 0);
  }
}

/** The picture of the screen in the page: `{width, height, rgb}`, or null while there is none. */
export async function canvasPicture(page) {
  const picture = await page.evaluate(() => {
    const canvas = [...document.querySelectorAll('canvas')].find((each) => each.width > 0 && each.height > 0);
    if (!canvas) return null;
    const { width, height } = canvas;
    const rgba = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    const pieces = [];
    for (let at = 0; at < rgba.length; at += 32768) pieces.push(String.fromCharCode(...rgba.subarray(at, at + 32768)));
    return { width, height, rgba: btoa(pieces.join('')) };
  });
  if (!picture) return null;
  const rgba = Buffer.from(picture.rgba, 'base64');
  const rgb = Buffer.alloc(picture.width * picture.height * 3);
  for (let pixel = 0; pixel < picture.width * picture.height; pixel += 1) rgba.copy(rgb, pixel * 3, pixel * 4, pixel * 4 + 3);
  return { width: picture.width, height: picture.height, rgb };
}

/** Why two pictures differ, or null when they are equal but for the rounding of a colour by one step. */
export function difference(seen, real) {
  if (!seen) return 'there is no canvas';
  if (seen.width !== real.width || seen.height !== real.height) {
    return `the canvas is ${seen.width}x${seen.height}, the screen ${real.width}x${real.height}`;
  }
  let wrong = 0;
  for (let at = 0; at < real.rgb.length; at += 1) if (Math.abs(seen.rgb[at] - real.rgb[at]) > 1) wrong += 1;
  return wrong === 0 ? null : `${wrong} of ${real.rgb.length} colour values differ`;
}

/** Waits until the page shows what QEMU says is on the screen, and returns that picture. */
export async function untilShown(page, monitor) {
  let why;
  try {
    return await until('the canvas to equal the screen', async () => {
      const real = await monitor.restingScreen();
      why = difference(await canvasPicture(page), real);
      return why === null && real;
    }, 30);
  } catch (error) {
    throw new Error(`${error.message}: ${why}`);
  }
}

/** Types `text` into the page, as a person who has clicked on the screen would. */
export async function typeInto(page, text) {
  await page.locator('canvas').first().click({ position: { x: 300, y: 200 } });
  await page.keyboard.type(text, { delay: 60 });
}
