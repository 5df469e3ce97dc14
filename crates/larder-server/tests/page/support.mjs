// What the test of the page needs: a server, a client of it, a browser, and conditions to wait for.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const { chromium } = createRequire(process.env.LARDER_MODULES + "/")("playwright-core");

// Tries until a check passes; after half a minute its failure is the test's.
export async function eventually(check, what) {
  const end = Date.now() + 30_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw new Error(`${what}: ${error.message}`, { cause: error });
      await pause(100);
    }
  }
}

async function freePort() {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

// Starts `larder serve`, at the ports of a former server if one is given.
export async function startServer(former, ...options) {
  const port = former ? former.port : await freePort();
  const httpPort = former ? former.httpPort : await freePort();
  const all = ["serve", "--port", port, "--http-port", httpPort, ...options].map(String);
  const program = spawn(process.env.LARDER_SERVER, all, { stdio: ["ignore", "inherit", "pipe"] });
  let said = "";
  program.stderr.on("data", text => (said += text));
  const url = `http://127.0.0.1:${httpPort}`;
  await eventually(async () => {
    assert.equal(program.exitCode, null, `the server has ended: ${said}`);
    assert.equal((await fetch(url + "/readyz")).status, 200);
  }, "the server becomes ready");
  const stop = async () => {
    if (program.exitCode == null && program.signalCode == null) {
      program.kill();
      await once(program, "exit");
    }
  };
  return { port, httpPort, url, stop };
}

// A client of the Redis protocol, which sends commands one by one or many at once.
export async function connect(server) {
  const socket = net.connect(server.port, "127.0.0.1");
  await once(socket, "connect");
  socket.setNoDelay();
  let input = Buffer.alloc(0);
  const waiting = [];
  socket.on("data", bytes => {
    input = Buffer.concat([input, bytes]);
    for (;;) {
      const end = input.indexOf("\r\n");
      if (end < 0 || waiting.length === 0) return;
      const line = input.subarray(0, end).toString();
      let length = end + 2, reply = line.slice(1);
      if (line[0] === "$") {
        const size = Number(reply);
        length += size < 0 ? 0 : size + 2;
        if (input.length < length) return;
        reply = size < 0 ? null : input.subarray(end + 2, end + 2 + size).toString("latin1");
      }
      input = input.subarray(length);
      waiting.shift()(line[0] === "-" ? new Error(reply) : reply);
    }
  });
  const frame = parts => {
    const all = parts.map(part => Buffer.from(part));
    return Buffer.concat([
      Buffer.from(`*${all.length}\r\n`),
      ...all.flatMap(part => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from("\r\n")]),
    ]);
  };
  const pipeline = commands => {
    const replies = commands.map(() => new Promise(resolve => waiting.push(resolve)));
    socket.write(Buffer.concat(commands.map(frame)));
    return Promise.all(replies);
  };
  return { pipeline, call: async (...parts) => (await pipeline([parts]))[0], close: () => socket.destroy() };
}

export function launch() {
  const quiet = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"];
  const args = [...quiet, "no-sandbox", "disable-component-update", "disable-sync"];
  return chromium.launch({ executablePath: process.env.LARDER_CHROMIUM, args: args.map(arg => "--" + arg) });
}

// Opens the page, and keeps what it complains of and asks for.
export async function openPage(browser, server, settings = {}) {
  const context = await browser.newContext(settings);
  const page = await context.newPage();
  const seen = { complaints: [], foreign: [] };
  page.on("console", message => {
    if (["error", "warning"].includes(message.type())) seen.complaints.push(message.text());
  });
  page.on("pageerror", error => seen.complaints.push(String(error)));
  page.on("request", request => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== server.url && protocol !== "data:") seen.foreign.push(request.url());
  });
  await page.goto(server.url + "/");
  await page.locator("#pill[data-state=live]").waitFor();
  return { page, context, seen };
}

// A site at another origin, with an empty page.
export async function otherSite() {
  const site = http.createServer((_, response) => response.end("<!doctype html><title>other</title>"));
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  return { url: `http://127.0.0.1:${site.address().port}/`, close: () => site.close() };
}
