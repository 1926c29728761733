// Web roots for the proxy to serve.
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';

const browser = new URL('..', import.meta.url).pathname;

/** A web root of the npm package: its library, and a page per way of resolving the path. */
export function npmWebRoot(dir) {
  const root = path.join(dir, 'web');
  mkdirSync(root);
  for (const part of ['core', 'vendor']) symlinkSync(path.join(browser, 'node_modules/@novnc/novnc', part), path.join(root, part));
  for (const page of ['vnc_lite.html', 'vnc.html']) symlinkSync(path.join(browser, 'pages', page), path.join(root, page));
  return root;
}
