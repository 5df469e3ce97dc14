// node redis: commands, transactions, scripts, publish and subscribe, pools, and its client-side cache.
//
// usage: node node_redis.mjs HOST:PORT, where nothing else uses the server

import assert from 'node:assert/strict';
import {
  BasicClientSideCache,
  BasicPooledClientSideCache,
  WatchError,
  createClient,
  createClientPool,
  defineScript,
} from 'redis';

import { address, run, scenario, waitUntil } from './harness.mjs';

const { host, port } = address();
const url = `redis://${host}:${port}`;
const ROUNDS = 2_000;

// A connected client that is closed after the scenario.
async function connect(cleanups, options = {}) {
  const client = createClient({ url, socket: { reconnectStrategy: () => 10 }, ...options });
  client.on('error', () => {});
  await client.connect();
  cleanups.push(() => client.destroy());
  return client;
}

// A client with a cache, and how often the server was asked.
async function connectCached(cleanups, options = {}) {
  const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: 'LRU', ...options });
  const client = await connect(cleanups, { RESP: 3, clientSideCache: cache });
  return { client, cache };
}

for (const RESP of [2, 3]) {
  scenario(`commands in RESP${RESP}`, async ({ cleanups }) => {
    const client = await connect(cleanups, { RESP, name: 'tester' });
    assert.equal(await client.ping(), 'PONG');
    assert.equal(await client.clientGetName(), 'tester');
    assert.equal(await client.set('k', 'v', { EX: 100, NX: true }), 'OK');
    assert.equal(await client.set('k', 'w', { NX: true }), null);
    assert.equal(await client.get('k'), 'v');
    assert.ok([99, 100].includes(await client.ttl('k')));
    assert.equal(await client.getEx('k', { type: 'PERSIST' }), 'v');
    assert.equal(await client.ttl('k'), -1);
    assert.equal(await client.incrBy('n', 41), 41);
    assert.equal(Number(await client.incrByFloat('n', 0.5)), 41.5);
    assert.equal(await client.mSet({ a: '1', b: '2' }), 'OK');
    assert.deepEqual(await client.mGet(['a', 'none', 'b']), ['1', null, '2']);
    assert.equal(await client.hSet('h', { x: '1', y: '2' }), 2);
    assert.deepEqual({ ...(await client.hGetAll('h')) }, { x: '1', y: '2' });
    assert.deepEqual(await client.hmGet('h', ['y', 'none']), ['2', null]);
    assert.equal(await client.exists(['a', 'b', 'none']), 2);
    assert.equal(await client.rename('a', 'c'), 'OK');
    assert.equal(await client.type('h'), 'hash');
    assert.equal(await client.del(['b', 'c', 'none']), 2);
    await assert.rejects(client.incr('k'), /not an integer/);
    await assert.rejects(client.sendCommand(['NOSUCH']), /unknown command/);
    const info = await client.clientInfo();
    assert.equal(info.resp, RESP);
    const keys = [];
    for await (const found of client.scanIterator({ MATCH: '?', COUNT: 10 })) keys.push(...found);
    assert.deepEqual(keys.sort(), ['h', 'k', 'n']);
    assert.match(await client.info('server'), /redis_version:\d/);
    assert.ok((await client.configGet('maxmemory')).maxmemory !== undefined);
  });
}

scenario('many commands at once keep their order', async ({ client }) => {
  await Promise.all(Array.from({ length: 2000 }, (_, n) => client.set(`k${n}`, `${n}`)));
  const values = await Promise.all(Array.from({ length: 2000 }, (_, n) => client.get(`k${n}`)));
  assert.deepEqual(values, Array.from({ length: 2000 }, (_, n) => `${n}`));
});

scenario('transactions', async ({ client, other }) => {
  assert.deepEqual(await client.multi().set('a', '1').incr('a').get('a').exec(), ['OK', 2, '2']);
  await client.watch('a');
  await other.set('a', '9');
  await assert.rejects(client.multi().set('a', '10').exec(), WatchError);
  assert.equal(await client.get('a'), '9');
  await client.watch('a');
  assert.deepEqual(await client.multi().get('a').exec(), ['9']);
  await assert.rejects(client.multi().set('s', 'text').incr('s').exec(), /not an integer|commands failed/);
  assert.equal(await client.get('s'), 'text');
});

scenario('scripts', async ({ cleanups, other }) => {
  const client = await connect(cleanups, {
    scripts: {
      deleteIf: defineScript({
        NUMBER_OF_KEYS: 1,
        SCRIPT: "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
        parseCommand: (parser, key, value) => {
          parser.pushKey(key);
          parser.push(value);
        },
        transformReply: (reply) => reply,
      }),
    },
  });
  await other.scriptFlush();
  await client.set('lock', 'mine');
  assert.equal(await client.deleteIf('lock', 'theirs'), 0);
  assert.equal(await client.deleteIf('lock', 'mine'), 1);
  assert.equal(await client.exists('lock'), 0);
});

scenario('publish and subscribe', async ({ cleanups, client }) => {
  const subscriber = await connect(cleanups);
  const seen = [];
  await subscriber.subscribe('news', (message, channel) => seen.push([channel, message]));
  await subscriber.pSubscribe('n*', (message, channel) => seen.push([`*${channel}`, message]));
  assert.equal(await client.publish('news', 'hello'), 2);
  await waitUntil(() => seen.length === 2, 'two messages');
  assert.deepEqual(seen.sort(), [['*news', 'hello'], ['news', 'hello']]);
  assert.deepEqual(await client.pubSubChannels(), ['news']);
  await subscriber.unsubscribe('news');
  await subscriber.pUnsubscribe();
  assert.equal(await client.publish('news', 'x'), 0);
});

scenario('a killed subscriber subscribes again', async ({ cleanups, client }) => {
  const subscriber = await connect(cleanups, { RESP: 3 });
  let heard = 0;
  await subscriber.subscribe('again', () => { heard += 1; });
  assert.equal(await client.clientKill({ filter: 'ID', id: await subscriber.clientId() }), 1);
  await waitUntil(async () => (await client.publish('again', 'x')) === 1 && heard > 0, 'a message');
});

scenario('pools', async ({ cleanups, client }) => {
  const pool = await createClientPool({ url }, { minimum: 1, maximum: 8 }).connect();
  cleanups.push(() => pool.destroy());
  await Promise.all(Array.from({ length: 500 }, () => pool.incr('n')));
  assert.equal(await client.get('n'), '500');
});

// ---------------------------------------------------------------- the client-side cache

scenario('a hit stays local until another client writes', async ({ cleanups, other }) => {
  const { client, cache } = await connectCached(cleanups);
  await other.set('k', '1');
  assert.equal(await client.get('k'), '1');
  for (let n = 0; n < 10; n += 1) assert.equal(await client.get('k'), '1');
  assert.deepEqual([cache.stats().hitCount, cache.stats().missCount], [10, 1]);
  const changes = [
    [() => other.set('k', '2'), '2'],
    [() => other.append('k', '0'), '20'],
    [() => other.incr('k'), '21'],
    [() => other.multi().set('k', '5').exec(), '5'],
    [() => other.mSet({ k: '6', x: '7' }), '6'],
    [() => other.rename('x', 'k'), '7'],
    [() => other.del('k'), null],
    [() => other.set('k', '8'), '8'],
    [() => other.flushAll(), null],
    [() => other.set('k', '9', { PX: 500 }), '9'],
    [async () => {}, null],
  ];
  for (const [change, value] of changes) {
    await change();
    await waitUntil(async () => (await client.get('k')) === value, `${change} makes it ${value}`);
  }
});

scenario('hashes and several keys are cached and invalidated', async ({ cleanups, other }) => {
  const { client, cache } = await connectCached(cleanups);
  await other.hSet('h', { a: '1', b: '2' });
  await other.mSet({ x: '1', y: '2' });
  for (let n = 0; n < 3; n += 1) {
    assert.deepEqual({ ...(await client.hGetAll('h')) }, { a: '1', b: '2' });
    assert.equal(await client.hGet('h', 'a'), '1');
  }
  assert.equal(cache.stats().hitCount, 4);
  await other.hSet('h', 'a', '3');
  await waitUntil(async () => (await client.hGet('h', 'a')) === '3', 'the field changes');
  assert.deepEqual({ ...(await client.hGetAll('h')) }, { a: '3', b: '2' });
});

scenario('a flush and a lost connection empty the cache', async ({ cleanups, other }) => {
  const { client, cache } = await connectCached(cleanups);
  for (let n = 0; n < 50; n += 1) {
    await other.set(`k${n}`, `${n}`);
    await client.get(`k${n}`);
  }
  assert.equal(cache.size(), 50);
  await other.flushAll();
  await waitUntil(() => cache.size() === 0, 'the flush arrives');
  await other.set('k', 'old');
  assert.equal(await client.get('k'), 'old');
  assert.equal(await other.clientKill({ filter: 'ID', id: await client.clientId() }), 1);
  await other.set('k', 'new');
  await waitUntil(async () => (await client.get('k')) === 'new', 'the new value after a reconnect');
  await other.set('k', 'newer');
  await waitUntil(async () => (await client.get('k')) === 'newer', 'tracking is on again');
});

scenario(`every invalidation of ${ROUNDS} rounds arrives`, async ({ cleanups, other }) => {
  const { client } = await connectCached(cleanups);
  for (let n = 0; n < ROUNDS; n += 1) {
    const key = `k${n % 97}`;
    await other.set(key, `${n}`);
    await waitUntil(async () => (await client.get(key)) === `${n}`, `round ${n}`);
  }
});

scenario('a pool shares one cache', async ({ cleanups, other }) => {
  const cache = new BasicPooledClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: 'LRU' });
  const pool = await createClientPool({ url, RESP: 3 }, { minimum: 2, maximum: 4, clientSideCache: cache }).connect();
  cleanups.push(() => pool.destroy());
  await other.set('k', '1');
  for (let n = 0; n < 20; n += 1) assert.equal(await pool.get('k'), '1');
  assert.ok(cache.stats().hitCount >= 10, `${cache.stats().hitCount} hits`);
  await other.set('k', '2');
  await waitUntil(async () => (await pool.get('k')) === '2', 'the pool sees the change');
});

run(async (cleanups) => {
  const client = await connect(cleanups);
  const other = await connect(cleanups);
  await client.flushAll();
  return { client, other, cleanups };
});
