// ioredis: commands, pipelines, transactions, scripts by defineCommand, publish and subscribe, scans, reconnects.
//
// usage: node ioredis.mjs HOST:PORT, where nothing else uses the server

import assert from 'node:assert/strict';
import { Redis } from 'ioredis';

import { address, run, scenario, waitUntil } from './harness.mjs';

const { host, port } = address();

scenario('strings and keys', async ({ redis }) => {
  assert.equal(await redis.set('k', 'v', 'EX', 100), 'OK');
  assert.equal(await redis.get('k'), 'v');
  assert.ok([99, 100].includes(await redis.ttl('k')));
  assert.equal(await redis.set('k', 'w', 'KEEPTTL', 'GET'), 'v');
  assert.equal(await redis.set('k', 'x', 'NX'), null);
  assert.equal(await redis.getex('k', 'PERSIST'), 'w');
  assert.equal(await redis.ttl('k'), -1);
  assert.equal(await redis.mset({ a: '1', b: '2' }), 'OK');
  assert.deepEqual(await redis.mget('a', 'none', 'b'), ['1', null, '2']);
  assert.equal(await redis.incrby('a', 41), 42);
  assert.equal(Number(await redis.incrbyfloat('a', 0.5)), 42.5);
  assert.equal(await redis.append('b', '34'), 3);
  assert.equal(await redis.getrange('b', 1, -1), '34');
  assert.deepEqual(await redis.getBuffer('b'), Buffer.from('234'));
  const binary = Buffer.from([0, 255, 13, 10, 128]);
  await redis.set(binary, binary);
  assert.deepEqual(await redis.getBuffer(binary), binary);
  assert.equal(await redis.exists('a', 'b', 'none'), 2);
  assert.equal(await redis.rename('a', 'c'), 'OK');
  assert.equal(await redis.copy('c', 'd'), 1);
  assert.equal(await redis.type('d'), 'string');
  assert.equal(await redis.unlink('c', 'd', 'none'), 2);
  assert.equal(await redis.pexpire('b', 30), 1);
  await waitUntil(async () => (await redis.get('b')) === null, 'the key expires');
  assert.equal(await redis.pttl('b'), -2);
});

scenario('hashes', async ({ redis }) => {
  assert.equal(await redis.hset('h', { a: '1', b: '2' }), 2);
  assert.equal(await redis.hset('h', 'a', '3'), 0);
  assert.deepEqual(await redis.hgetall('h'), { a: '3', b: '2' });
  assert.deepEqual(await redis.hmget('h', 'b', 'none'), ['2', null]);
  assert.equal(await redis.hexists('h', 'a'), 1);
  assert.equal(await redis.hdel('h', 'a', 'none'), 1);
  assert.equal(await redis.hlen('h'), 1);
  assert.deepEqual(await redis.hgetall('none'), {});
});

scenario('errors are rejected promises, and the connection lives on', async ({ redis }) => {
  await redis.set('s', 'text');
  await assert.rejects(redis.incr('s'), /ERR value is not an integer/);
  await assert.rejects(redis.hget('s', 'f'), /WRONGTYPE/);
  await assert.rejects(redis.call('NOSUCH', 'x'), /ERR unknown command/);
  await assert.rejects(redis.call('GET'), /wrong number of arguments/);
  assert.equal(await redis.get('s'), 'text');
});

scenario('a pipeline keeps its order', async ({ redis }) => {
  const pipeline = redis.pipeline();
  for (let n = 0; n < 2000; n += 1) pipeline.set(`k${n}`, n).get(`k${n}`);
  const answers = await pipeline.exec();
  assert.equal(answers.length, 4000);
  answers.forEach(([error, value], n) => {
    assert.equal(error, null);
    assert.equal(value, n % 2 ? String((n - 1) / 2) : 'OK');
  });
  const mixed = await redis.pipeline().set('s', 'text').incr('s').get('s').exec();
  assert.match(mixed[1][0].message, /not an integer/);
  assert.deepEqual(mixed[2], [null, 'text']);
});

scenario('many commands at once, pipelined by the client', async ({ host, port, cleanups }) => {
  const auto = new Redis({ host, port, enableAutoPipelining: true });
  cleanups.push(() => auto.quit());
  await Promise.all(Array.from({ length: 1000 }, (_, n) => auto.set(`k${n}`, n)));
  const values = await Promise.all(Array.from({ length: 1000 }, (_, n) => auto.get(`k${n}`)));
  assert.deepEqual(values, Array.from({ length: 1000 }, (_, n) => String(n)));
});

scenario('transactions', async ({ redis }) => {
  const answers = await redis.multi().set('a', 1).incr('a').hset('h', 'f', 'v').hgetall('h').exec();
  assert.deepEqual(answers, [[null, 'OK'], [null, 2], [null, 1], [null, { f: 'v' }]]);
  await redis.multi({ pipeline: false });
  assert.equal(await redis.get('a'), 'QUEUED');
  assert.equal(await redis.incr('a'), 'QUEUED');
  assert.deepEqual(await redis.exec(), [[null, '2'], [null, 3]]);
  await redis.multi({ pipeline: false });
  await redis.set('a', 'never');
  assert.equal(await redis.discard(), 'OK');
  assert.equal(await redis.get('a'), '3');
  await assert.rejects(redis.multi().set('never', 1).call('GET').exec(), /EXECABORT/);
  assert.equal(await redis.exists('never'), 0);
});

scenario('a watched key that changed ends the transaction', async ({ redis, other }) => {
  await redis.set('w', '1');
  await redis.watch('w');
  await other.set('w', '2');
  assert.equal(await redis.multi().set('done', 1).exec(), null);
  assert.equal(await redis.exists('done'), 0);
  await redis.watch('w');
  await other.get('w');
  assert.deepEqual(await redis.multi().set('done', 1).exec(), [[null, 'OK']]);
});

scenario('defineCommand runs a script by its digest', async ({ redis, other }) => {
  await redis.script('FLUSH');
  redis.defineCommand('deleteIf', {
    numberOfKeys: 1,
    lua: "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
  });
  await redis.set('lock', 'mine');
  assert.equal(await redis.deleteIf('lock', 'theirs'), 0);
  assert.equal(await redis.deleteIf('lock', 'mine'), 1);
  assert.equal(await redis.exists('lock'), 0);
  await other.script('FLUSH');
  await redis.set('lock', 'mine');
  assert.equal(await redis.deleteIf('lock', 'mine'), 1);
  const piped = await redis.pipeline().set('lock', 'x').deleteIf('lock', 'x').get('lock').exec();
  assert.deepEqual(piped, [[null, 'OK'], [null, 1], [null, null]]);
});

scenario('defineCommand runs scripts of one\'s own', async ({ redis }) => {
  redis.defineCommand('hitLimit', {
    numberOfKeys: 1,
    lua: `
      local count = redis.call('INCR', KEYS[1])
      if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
      return { count, redis.call('PTTL', KEYS[1]), ARGV[1] .. '!', false }`,
  });
  const [count, left, text, nothing] = await redis.hitLimit('limit', 5000);
  assert.deepEqual([count, text, nothing], [1, '5000!', null]);
  assert.ok(left > 4000 && left <= 5000);
  assert.equal((await redis.hitLimit('limit', 5000))[0], 2);
  redis.defineCommand('fails', { numberOfKeys: 0, lua: "return redis.error_reply('NOPE on purpose')" });
  await assert.rejects(redis.fails(), /NOPE on purpose/);
});

scenario('publish and subscribe', async ({ redis, other }) => {
  const seen = [];
  redis.on('message', (channel, message) => seen.push(['message', channel, message]));
  redis.on('pmessage', (pattern, channel, message) => seen.push(['pmessage', pattern, channel, message]));
  assert.equal(await redis.subscribe('news', 'sport'), 2);
  assert.equal(await redis.psubscribe('n*'), 3);
  assert.equal(await other.publish('news', 'one'), 2);
  assert.equal(await other.publish('sport', 'two'), 1);
  assert.equal(await other.publish('none', 'x'), 1);
  await waitUntil(() => seen.length === 4, 'four messages');
  const texts = seen.map((message) => message.join(' ')).sort();
  assert.deepEqual(texts, ['message news one', 'message sport two', 'pmessage n* news one', 'pmessage n* none x']);
  for (let n = 0; n < 1000; n += 1) other.publish('sport', `${n}`);
  await waitUntil(() => seen.length === 1004, 'a thousand messages');
  assert.deepEqual(seen.slice(4).map((message) => message[2]), Array.from({ length: 1000 }, (_, n) => `${n}`));
  assert.deepEqual(await other.pubsub('CHANNELS', 's*'), ['sport']);
  assert.equal(await redis.unsubscribe('news', 'sport'), 1);
  assert.equal(await redis.punsubscribe('n*'), 0);
  assert.equal(await redis.get('k'), null);
});

scenario('a scan stream sees every key once', async ({ redis }) => {
  const pipeline = redis.pipeline();
  for (let n = 0; n < 1000; n += 1) pipeline.set(`key:${n}`, n);
  pipeline.set('other', 1);
  await pipeline.exec();
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: 'key:*', count: 50 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 1000);
});

scenario('a killed connection comes back with its database and its subscriptions', async ({ host, port, other, cleanups }) => {
  const redis = new Redis({ host, port, db: 4, connectionName: 'victim', retryStrategy: () => 10 });
  const subscriber = new Redis({ host, port, retryStrategy: () => 10 });
  for (const client of [redis, subscriber]) {
    client.on('error', () => {});
    cleanups.push(() => client.quit());
  }
  await redis.set('k', 'in four');
  let heard = 0;
  subscriber.on('message', () => { heard += 1; });
  const ident = await subscriber.client('ID');
  await subscriber.subscribe('again');
  assert.equal(await other.client('KILL', 'ID', await redis.client('ID')), 1);
  assert.equal(await other.client('KILL', 'ID', ident), 1);
  assert.equal(await redis.get('k'), 'in four');
  assert.match(await redis.client('INFO'), /name=victim .*db=4/);
  await waitUntil(async () => (await other.publish('again', 'x')) === 1, 'subscribed again');
  await waitUntil(() => heard > 0, 'a message');
});

scenario('large values', async ({ redis }) => {
  const blob = Buffer.alloc(3_000_000, 'larder');
  await redis.set('blob', blob);
  const answers = await Promise.all(Array.from({ length: 5 }, () => redis.getBuffer('blob')));
  answers.forEach((answer) => assert.ok(answer.equals(blob)));
  assert.equal(await redis.strlen('blob'), 3_000_000);
});

scenario('RESP2 works as well', async ({ host, port, cleanups }) => {
  const redis = new Redis({ host, port, protocol: 2 });
  cleanups.push(() => redis.quit());
  await redis.hset('h', 'f', 'v');
  assert.deepEqual(await redis.hgetall('h'), { f: 'v' });
  assert.match(await redis.client('INFO'), /resp=2/);
});

run(async (cleanups) => {
  const redis = new Redis({ host, port });
  const other = new Redis({ host, port });
  cleanups.push(() => redis.quit(), () => other.quit());
  await redis.flushall();
  return { host, port, redis, other, cleanups };
});
