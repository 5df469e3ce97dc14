// What the JavaScript programs share: the server's address, waiting with a bound, and the closing line.

import assert from 'node:assert/strict';

// A bound for waits that end as soon as the server has done its part.
const PATIENCE_MS = 10_000;
const scenarios = [];

export function address() {
  const given = process.argv[2] ?? '';
  const [, host, port] = given.match(/^(.*):(\d+)$/) ?? [];
  if (!port) {
    console.error(`usage: ${process.argv[1]} HOST:PORT`);
    process.exit(2);
  }
  return { host, port: Number(port) };
}

export function scenario(name, body) {
  scenarios.push({ name, body });
}

export async function waitUntil(condition, what) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const result = await condition();
    if (result) return result;
    assert.ok(Date.now() < end, `not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((done) => setImmediate(done));
  }
}

// Runs the scenarios one after the other, each from an empty server, and ends with the counts.
export async function run(prepare) {
  let passed = 0;
  let failed = 0;
  for (const { name, body } of scenarios) {
    const cleanups = [];
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('it did not end')), 6 * PATIENCE_MS);
    });
    try {
      await Promise.race([late, prepare(cleanups).then((context) => body(context))]);
      passed += 1;
      console.log(`ok   ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}\n${error.stack ?? error}`);
    } finally {
      clearTimeout(timer);
      for (const cleanup of cleanups.reverse()) await cleanup();
    }
  }
  console.log(`${passed} passed, ${failed} failed, 0 skipped`);
  process.exit(failed > 0 || passed === 0 ? 1 : 0);
}
