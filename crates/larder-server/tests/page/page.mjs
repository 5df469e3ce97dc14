// The page in a browser: its numbers are right and follow the server, its forms work, keys are only text, it is
// readable at 360 pixels and in both colour schemes, it asks no other host for anything and complains of nothing.
//
// usage: page.mjs [SCREENSHOTS], run by .ci/checks/page.sh
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";

import { connect, eventually, launch, openPage, otherSite, startServer } from "./support.mjs";

const pictures = process.argv[2];
const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
const BINARY = Buffer.from([0x62, 0x00, 0xff, 0x5c]);
const LONG = "long/" + "k".repeat(600);
const CAPACITY = 1000;

const text = (page, id) => page.locator("#" + id).textContent();
const shows = (page, id, expected) =>
  eventually(async () => {
    const shown = await text(page, id);
    if (expected instanceof RegExp) assert.match(shown, expected);
    else assert.equal(shown, expected);
  }, `#${id} shows ${expected}`);
const keys = (from, to) => Array.from({ length: to - from }, (_, i) => `key:${from + i}`);

async function picture(page, name) {
  if (!pictures) return;
  fs.mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: path.join(pictures, name + ".png"), fullPage: true });
}

async function fitsItsWidth(page, name) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${name}: ${content} pixels in a window of ${window}`);
}

// Every text stands out from its ground as WCAG 2.2 asks (level AA).
async function isReadable(page, name) {
  const faint = await page.evaluate(() => {
    const parse = color => (color.match(/[\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => {
      const linear = [r, g, b].map(v => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
      if (!own || !element.getClientRects().length || element.closest("script, style, title, .skip")) continue;
      const style = getComputedStyle(element);
      const ink = parse(element instanceof SVGElement ? style.fill : style.color);
      let holder = element, ground = [];
      while (holder) {
        ground = parse(getComputedStyle(holder).backgroundColor);
        if (ground.length && (ground.length < 4 || ground[3] > 0.99)) break;
        holder = holder.parentElement;
      }
      const [one, two] = [light(ink), light(ground)];
      const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
      const isLarge = parseFloat(style.fontSize) >= 24;
      if (!(contrast >= (isLarge ? 3 : 4.5))) found.push(`${element.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
    }
    return found;
  });
  assert.deepEqual(faint, [], name);
}

async function everyControlHasAName(page) {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, a, svg[role], [role=meter]")]
      .filter(it => !(it.textContent.trim() || it.getAttribute("aria-label") || (it.labels && it.labels.length)))
      .map(it => it.outerHTML));
  assert.deepEqual(nameless, []);
}

async function anEmptyCacheIsShown(page) {
  await shows(page, "ratio", "–");
  await shows(page, "ratio-hint", "No lookups yet.");
  await shows(page, "memory-hint", "The cache is empty.");
  await shows(page, "hottest", "No keys yet.");
  await shows(page, "commands", "No command was called yet.");
  await fitsItsWidth(page, "empty");
  await picture(page, "empty");
}

async function numbersAreRightAndFollow(page, client, server) {
  await client.pipeline(keys(0, 100).map(key => ["SET", key, "value"]));
  await client.call("SET", "key:0", "another");
  await client.pipeline(keys(0, 90).map(key => ["GET", key]));
  await client.pipeline(keys(5000, 5010).map(key => ["GET", key]));
  await shows(page, "calls-get", "100");
  await shows(page, "calls-set", "101");
  await shows(page, "ratio", "90.0%");
  await shows(page, "cause-replacements", "1");
  await shows(page, "memory", /Entries100 of 1,000/);
  await shows(page, "clients", "1");
  assert.match(await page.title(), /^90\.0 % · larder$/);

  await client.pipeline(keys(5000, 5100).map(key => ["GET", key]));
  await shows(page, "calls-get", "200");
  await shows(page, "ratio-hint", /45\.0 %/);

  await client.pipeline(keys(100, 4000).map(key => ["SET", key, "value"]));
  await shows(page, "calls-set", "4,001");
  const evicted = await eventually(async () => {
    const metrics = await (await fetch(server.url + "/metrics")).text();
    const sample = /^larder_removals_total\{[^}]*cause="evicted"[^}]*\} (\d+)$/m.exec(metrics);
    const shown = (await text(page, "cause-evictions")).replaceAll(",", "");
    assert.equal(shown, sample[1]);
    assert.ok(Number(shown) > 2000, shown);
    return shown;
  }, "the page shows as many evictions as the metrics");
  await eventually(async () => assert.notEqual(await text(page, "age50"), "–"), "ages of evicted entries are shown");
  await eventually(async () => assert.notEqual(await text(page, "p50"), "–"), "latencies are shown");
  assert.ok((await page.locator("#latency-chart rect").count()) >= 10);
  await eventually(async () => {
    const rows = await page.locator("#curve-rows tr").allTextContents();
    assert.deepEqual(rows.map(row => /^(A quarter|Half|As now|Twice|Four times)/.exec(row)?.[1]),
      ["A quarter", "Half", "As now", "Twice", "Four times"]);
    assert.match(rows[2], /1,000 entries/);
  }, "the curve has a row for each size");
  console.log(`numbers are right and follow (${evicted} evictions)`);
}

async function keysAreOnlyText(page, client) {
  for (const key of [HOSTILE, BINARY, LONG]) {
    await client.call("SET", key, "value");
    // So often that the sample of reads has it.
    for (let round = 0; round < 20; round++) await client.pipeline(Array.from({ length: 100 }, () => ["GET", key]));
  }
  const hot = page.locator("#hottest button");
  await eventually(async () => {
    const shown = await hot.allTextContents();
    assert.ok(shown.includes(HOSTILE) && shown.includes("b\\x00\\xff\\\\"), shown.join());
    assert.ok(shown.some(key => key.startsWith("long/kkk") && key.endsWith("…")), shown.join());
  }, "the hottest keys are shown");
  await fitsItsWidth(page, "with long keys");

  await hot.filter({ hasText: "<img" }).click();
  await shows(page, "explain-answer", /It is in the cache\./);
  assert.equal(await page.locator("#explain-answer .key").textContent(), HOSTILE);
  await hot.filter({ hasText: "b\\x00" }).click();
  await shows(page, "explain-answer", /It is in the cache\.b\\x00\\xff\\\\/);
  // The key as it is shown can be typed, too.
  assert.equal(await page.inputValue("#explain-key"), "b\\x00\\xff\\\\");
  await page.press("#explain-key", "Enter");
  await shows(page, "explain-answer", /It is in the cache\.b\\x00\\xff\\\\/);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("img, main script").count(), 0);
  console.log("keys are only text");
}

async function keysAreExplained(page, client) {
  const explain = async (key, expected) => {
    await page.fill("#explain-key", key);
    await page.press("#explain-key", "Enter");
    await shows(page, "explain-answer", expected);
  };
  await client.call("SET", "present", "12345");
  await explain("present", /It is in the cache\.present.*Kindstring, 5 B.*Expiresnever/);
  await explain("nothing", /It is not in the cache\.nothingIt was never inserted/);
  // The cache is full, and each of these is new: most of them are evicted.
  const fresh = keys(7000, 7200);
  await client.pipeline(fresh.map(key => ["SET", key, "value"]));
  const evicted = await eventually(async () => {
    const values = await client.pipeline(fresh.map(key => ["GET", key]));
    const missing = fresh.filter((_, i) => values[i] === null);
    assert.ok(missing.length > 0);
    return missing[0];
  }, "a key is evicted");
  await explain(evicted, /It is not in the cache\.key:7\d+It was evicted/);
  await page.fill("#explain-db", "99");
  await explain("present", /there is no database of that number/);
  await page.fill("#explain-db", "1");
  await explain("present", /It is not in the cache/);
  await page.fill("#explain-db", "0");
  console.log("keys are explained");
}

async function tagsAreInvalidated(page, client) {
  await client.call("SET", "tagged", "value");
  const tagged = await client.call("LARDER.TAG", "tagged", "news & <b>more</b>");
  const invalidate = async tag => {
    await page.fill("#tag", tag);
    await page.press("#tag", "Enter");
    await page.click("#tag-confirm");
  };
  await invalidate("unheard of");
  await shows(page, "tag-answer", "No entry has had this tag.");
  if (tagged instanceof Error) {
    console.log(`SKIPPED: a tag of an entry (LARDER.TAG: ${tagged.message})`);
  } else {
    await page.fill("#tag", "news & <b>more</b>");
    await page.click("#tag-ask");
    await page.click("#tag-cancel");
    assert.equal(await client.call("GET", "tagged"), "value", "it was not confirmed");
    await invalidate("news & <b>more</b>");
    await shows(page, "tag-answer", "Done: its entries are gone.");
    assert.equal(await client.call("GET", "tagged"), null);
  }
  console.log("tags are invalidated");
}

// Another site can neither read nor change anything.
async function otherSitesGetNothing(browser, server) {
  const site = await otherSite();
  const page = await (await browser.newContext()).newPage();
  await page.goto(site.url);
  const outcomes = await page.evaluate(async url => {
    const body = JSON.stringify({ tag: "a" });
    const attempt = options => fetch(url + "/api/invalidate", { method: "POST", body, ...options });
    const said = promise => promise.then(it => `${it.type} ${it.status}`, error => error.name);
    return [
      await said(attempt({ headers: { "content-type": "application/json", "x-larder": "1" } })),
      await said(attempt({ headers: { "content-type": "text/plain" } })),
      await said(attempt({ mode: "no-cors" })),
      await said(fetch(url + "/api/status")),
    ];
  }, server.url);
  // The answer of the third cannot be read either: it says 403.
  assert.deepEqual(outcomes, ["TypeError", "TypeError", "TypeError", "TypeError"]);
  const framed = await page.evaluate(url => new Promise(resolve => {
    const frame = document.createElement("iframe");
    frame.onload = () => { try { resolve(frame.contentDocument ? "blank" : "opaque"); } catch (error) { resolve(error.name); } };
    frame.src = url;
    document.body.append(frame);
  }), server.url + "/");
  assert.equal(framed, "opaque");
  assert.ok(!page.frames().some(frame => frame.url() === server.url + "/"), "the page lets itself be framed");
  await page.context().close();
  site.close();
  console.log("other sites get nothing");
}

async function bothSchemesAreReadable(browser, server) {
  const grounds = {};
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1280]) {
      const name = `${colorScheme}-${width}`;
      const { page, context, seen } = await openPage(browser, server, { colorScheme, viewport: { width, height: 800 } });
      await eventually(async () => assert.notEqual(await text(page, "ratio"), "–"), "the ratio is shown");
      await eventually(async () => assert.ok(await page.locator("#hottest button").count()), "keys are shown");
      grounds[colorScheme] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      await fitsItsWidth(page, name);
      await isReadable(page, name);
      await picture(page, name);
      assert.deepEqual(seen, { complaints: [], foreign: [] }, name);
      await context.close();
    }
  }
  assert.notEqual(grounds.light, grounds.dark);

  const { page, context } = await openPage(browser, server, { colorScheme: "light", reducedMotion: "reduce" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await ground(), grounds.light);
  await page.click("#theme");
  await page.click("#theme");
  assert.equal(await text(page, "theme"), "Dark");
  assert.equal(await ground(), grounds.dark);
  await page.reload();
  assert.equal(await ground(), grounds.dark, "the choice is kept");
  const moving = await page.evaluate(() => getComputedStyle(document.querySelector("#fill i")).transitionDuration);
  assert.match(moving, /^0s/);
  await everyControlHasAName(page);
  await context.close();
  console.log("both colour schemes are readable at 360 and at 1,280 pixels");
}

async function theKeyboardReachesEverything(page) {
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  const wanted = new Set(["pause", "theme", "explain-key", "explain-db", "tag", "tag-ask"]);
  for (let presses = 0; wanted.size > 0 && presses < 60; presses++) {
    await page.keyboard.press("Tab");
    const [id, outline] = await page.evaluate(() => [document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]);
    if (wanted.delete(id)) assert.notEqual(outline, "none", `${id} does not show that it has the focus`);
  }
  assert.deepEqual([...wanted], []);
  console.log("the keyboard reaches everything");
}

async function aRestartIsSurvived(page, server) {
  await server.stop();
  await page.locator("#pill[data-state=lost]").waitFor();
  const again = await startServer(server, "--capacity", String(CAPACITY));
  const client = await connect(again);
  await shows(page, "pill", /live/);
  await shows(page, "ratio", "–");
  await shows(page, "commands", /No command was called yet\./);
  await client.call("SET", "new", "value");
  await client.pipeline([["GET", "new"], ["GET", "new"], ["GET", "new"], ["GET", "none"]]);
  await shows(page, "ratio", "75.0%");
  await shows(page, "calls-get", "4");
  for (const id of ["gets", "sets", "evictions"]) assert.doesNotMatch(await text(page, id), /-|NaN|Infinity/);
  client.close();
  console.log("a restart is survived");
  return again;
}

let server = await startServer(null, "--capacity", String(CAPACITY), "--threads", "2");
const browser = await launch();
try {
  const { page, seen } = await openPage(browser, server, { viewport: { width: 360, height: 800 } });
  await anEmptyCacheIsShown(page);
  const client = await connect(server);
  await numbersAreRightAndFollow(page, client, server);
  await keysAreOnlyText(page, client);
  await keysAreExplained(page, client);
  // What the explanation of a database that does not exist is answered with.
  seen.complaints = seen.complaints.filter(it => !it.includes("400 (Bad Request)"));
  await tagsAreInvalidated(page, client);
  await otherSitesGetNothing(browser, server);
  await theKeyboardReachesEverything(page);
  await bothSchemesAreReadable(browser, server);
  assert.deepEqual(seen, { complaints: [], foreign: [] });
  client.close();
  server = await aRestartIsSurvived(page, server);
  assert.deepEqual(seen.foreign, []);
  console.log("the page works");
} finally {
  await browser.close();
  await server.stop();
}
