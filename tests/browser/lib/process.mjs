// Child processes, waiting, and whose socket is whose.
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import net from 'node:net';

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Calls `probe` until it returns something true, and returns that; an error names `what` after `seconds`. */
export async function until(what, probe, seconds = 20) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await sleep(100);
  }
}

/** Starts a program whose output is kept in `.output`; `stop()` ends it by its pid and tells how it ended. */
export function start(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const program = { pid: child.pid, output: '' };
  const keep = (chunk) => { program.output += chunk; };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  program.exited = new Promise((resolve) => {
    child.on('error', (error) => { keep(`${error}\n`); resolve({ error }); });
    child.on('exit', (status, signal) => { program.ended = true; resolve({ status, signal }); });
  });
  program.stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
    const how = await program.exited;
    clearTimeout(late);
    return how;
  };
  return program;
}

/** Runs a program to its end and returns what it printed on stdout; anything but status 0 is an error. */
export async function run(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => { out += chunk; });
  child.stderr.on('data', (chunk) => { err += chunk; });
  const status = await new Promise((resolve, reject) => { child.on('error', reject); child.on('close', resolve); });
  if (status !== 0) throw new Error(`${command} ended with status ${status}: ${err}`);
  return out;
}

/** A TCP port of the loopback address that nobody listens on. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Waits until `program` accepts connections on `port` of the loopback address. */
export async function listening(program, port) {
  const connects = () => new Promise((resolve) => {
    if (program.ended) throw new Error(`it ended before it listened:\n${program.output}`);
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  });
  await until(`port ${port}`, connects);
}

/** Whether the IPv4 TCP socket bound to `host`:`port` is open in process `pid`. */
export function ownsSocket(pid, host, port) {
  const octets = host.split('.').map(Number).reverse();
  const hex = (number, digits) => number.toString(16).toUpperCase().padStart(digits, '0');
  const local = `${octets.map((octet) => hex(octet, 2)).join('')}:${hex(port, 4)}`;
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n').map((row) => row.trim().split(/\s+/));
  const inodes = rows.filter((row) => row[1] === local).map((row) => `socket:[${row[9]}]`);
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try { return readlinkSync(`/proc/${pid}/fd/${fd}`); } catch { return ''; }
  });
  return inodes.some((inode) => open.includes(inode));
}
