// A QEMU guest, and its monitor (QMP) that says what is really on the screen and who is connected.
import { readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { freePort, run, sleep, start, until } from './process.mjs';

/** A connection to QEMU's monitor. One command at a time; events are passed over. */
export class Monitor {
  #socket;
  #buffer = '';
  #waiting = [];

  /** Connects to the monitor's unix socket, waiting for it to appear. */
  static async connect(file) {
    const monitor = new Monitor();
    await until(`QEMU's monitor ${file}`, () => new Promise((resolve) => {
      const socket = net.connect(file, () => { monitor.#socket = socket; resolve(true); });
      socket.on('error', () => resolve(false));
    }));
    monitor.#socket.on('data', (data) => monitor.#read(data));
    monitor.#socket.on('close', () => monitor.#waiting.splice(0).forEach(({ reject }) => reject(new Error('QEMU closed its monitor'))));
    await monitor.execute('qmp_capabilities');
    return monitor;
  }

  #read(data) {
    this.#buffer += data;
    const lines = this.#buffer.split('\n');
    this.#buffer = lines.pop();
    for (const line of lines) {
      const message = JSON.parse(line);
      if ('return' in message) this.#waiting.shift()?.resolve(message.return);
      if ('error' in message) this.#waiting.shift()?.reject(new Error(message.error.desc));
    }
  }

  /** Executes a QMP command and returns its answer. */
  execute(command, args = {}) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }

  /** QEMU's own picture of the screen: `{width, height, rgb}`, three bytes a pixel. */
  async screen() {
    const file = path.join('/tmp', `screen-${process.pid}-${Math.random().toString(36).slice(2)}.ppm`);
    await this.execute('screendump', { filename: file });
    const ppm = readFileSync(file);
    rmSync(file);
    const head = /^P6\n(\d+) (\d+)\n255\n/.exec(ppm.subarray(0, 64).toString('latin1'));
    return { width: Number(head[1]), height: Number(head[2]), rgb: ppm.subarray(head[0].length) };
  }

  /** The screen once it has rested: two pictures half a second apart are equal. */
  async restingScreen() {
    let last = await this.screen();
    return until('a resting screen', async () => {
      await sleep(500);
      const next = await this.screen();
      const rests = next.rgb.equals(last.rgb);
      last = next;
      return rests && next;
    });
  }

  /** The channels open at the guest's SPICE server: `[{host, port, channel-type, …}]`. */
  async spiceChannels() {
    return (await this.execute('query-spice')).channels ?? [];
  }

  /** Who is connected to the guest's VNC server: `[{host, service, …}]`. */
  async vncClients() {
    return (await this.execute('query-vnc')).clients;
  }

  close() {
    this.#socket.destroy();
  }
}

/** Boots the echo guest of `tests/guest` with graphics card `vga`. Its VNC and SPICE servers are on free loopback ports.
 *  With `tls.password` its VNC server wants one, which is to be set. With `tls.vnc`, what follows `tls-creds-x509,id=…,endpoint=server,`, its VNC server wants VeNCrypt; with `tls.serial`, the
 *  same, its serial port is on a port for TLS; with `tls.spice`, a directory, its SPICE server has one more port, for TLS. */
export async function bootGuest(dir, vga = 'std', tls = {}) {
  const image = path.join(dir, 'guest.img');
  const socket = path.join(dir, 'qmp.sock');
  await run(new URL('../../guest/build', import.meta.url).pathname, [image]);
  const spicePort = await freePort();
  const spiceTlsPort = tls.spice && await freePort();
  const serialPort = tls.serial && await freePort();
  const credentials = (id) => (tls[id] ? ['-object', `tls-creds-x509,id=${id},endpoint=server,${tls[id]}`] : []);
  const qemu = start('qemu-system-x86_64', [
    '-accel', 'tcg', '-m', '64', '-nodefaults', '-vga', vga, '-display', 'none',
    ...credentials('vnc'), ...credentials('serial'),
    '-vnc', `127.0.0.1:0,to=999${tls.vnc ? ',tls-creds=vnc' : ''}${tls.password ? ',password=on' : ''}`, '-qmp', `unix:${socket},server=on,wait=off`,
    '-spice', `addr=127.0.0.1,port=${spicePort},disable-ticketing=on${tls.spice ? `,tls-port=${spiceTlsPort},x509-dir=${tls.spice}` : ''}`,
    ...(tls.serial ? ['-device', 'isa-serial,chardev=com1',
      '-chardev', `socket,id=com1,host=127.0.0.1,port=${serialPort},server=on,wait=off,tls-creds=serial`] : []),
    '-drive', `file=${image},format=raw,snapshot=on`,
  ]);
  const guest = { spicePort, spiceTlsPort, serialPort, stop: async () => { guest.monitor?.close(); await qemu.stop(); } };
  try {
    guest.monitor = await Monitor.connect(socket);
    guest.port = Number((await guest.monitor.execute('query-vnc')).service);
    // The boot sector's last colour is pure white, which firmware never shows.
    await until('the guest to boot', async () => (await guest.monitor.restingScreen()).rgb.includes(0xff), 60);
    return guest;
  } catch (error) {
    await guest.stop();
    throw new Error(`${error.message}\n${qemu.output}`);
  }
}
