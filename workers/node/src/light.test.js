'use strict';
// What stands in for the platform's requests and responses does the same.

const assert = require('node:assert/strict');
const test = require('node:test');
const { LightRequest, LightResponse } = require('./light');

const bytes = (text) => Buffer.from(text);

/** What can be seen of an outcome: a value, or an error's class. */
async function seen(act) {
  try {
    const value = await act();
    return { value: value instanceof ArrayBuffer ? Buffer.from(value).toString('hex') : value };
  } catch (error) {
    return { error: error.constructor.name };
  }
}

const READS = ['text', 'json', 'arrayBuffer'];

async function behaviour(make) {
  const all = {};
  for (const first of READS) {
    const r = await seen(make);
    if (r.error) return r;
    const subject = r.value;
    all[`${first} once`] = await seen(() => subject[first]());
    all[`${first} used`] = subject.bodyUsed;
    for (const second of [...READS, 'blob']) {
      const again = make();
      await seen(() => again[first]());
      const outcome = await seen(() => again[second]());
      if (outcome.value?.size !== undefined) outcome.value = outcome.value.size;
      all[`${first} then ${second}`] = outcome;
    }
  }
  const late = make();
  await seen(() => late.text());
  all['body after text'] = late.body === null ? null : { locked: late.body?.locked, used: late.bodyUsed };
  const clone = await seen(() => make().clone().text());
  all.clone = clone;
  const streamed = make();
  all.streamed = await seen(async () => {
    let text = '';
    if (streamed.body) for await (const chunk of streamed.body) text += Buffer.from(chunk).toString('latin1');
    return text;
  });
  all.afterStream = await seen(() => streamed.text());
  const fresh = make();
  all.headers = [...fresh.headers.entries()];
  all.status = fresh.status;
  all.method = fresh.method;
  all.url = fresh.url || undefined;
  return all;
}

const requests = {
  'a get': ['http://localhost:7071/api/hello?name=x', { method: 'GET', headers: { host: 'a', 'x-a': 'b' } }],
  'odd addresses': ['http://LOCALHOST:80/a b/../c?q=ü#part', { method: 'GET' }],
  'a post': ['http://h/p', { method: 'POST', headers: { 'content-type': 'application/json' }, body: bytes('{"a":1}') }],
  'a post of nothing': ['http://h/p', { method: 'POST', body: bytes('') }],
  'not JSON': ['http://h/p', { method: 'PUT', body: bytes('{"a":') }],
  'a byte order mark': ['http://h/p', { method: 'PATCH', body: bytes('\ufeff"x"') }],
  'bytes that are no text': ['http://h/p', { method: 'DELETE', body: Buffer.from([0xff, 0xfe, 0]) }],
  'text as the body': ['http://h/p', { method: 'POST', body: 'text' }],
  'a method in lower case': ['http://h/p', { method: 'post', body: bytes('x') }],
  'a method of its own': ['http://h/p', { method: 'PURGE' }],
  'a forbidden method': ['http://h/p', { method: 'TRACE' }],
  options: ['http://h/p', { method: 'OPTIONS' }],
};

for (const [name, args] of Object.entries(requests)) {
  test(`request: ${name}`, async () => {
    assert.deepEqual(await behaviour(() => new LightRequest(...args)), await behaviour(() => new Request(...args)));
  });
}

const responses = {
  nothing: [],
  'a text': ['hello', { status: 201 }],
  'a text with a type': ['{}', { headers: { 'content-type': 'application/json' } }],
  'an empty text': ['', {}],
  'headers as a list': ['x', { headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2'], ['x', '1'], ['x', '2']] }],
  'headers as headers': ['x', { headers: new Headers({ 'X-A': 'b' }) }],
  'bytes': [Buffer.from([1, 2, 255]), { status: 200 }],
  'part of a buffer': [Buffer.from('0123456789').subarray(2, 5), {}],
  'text outside of ASCII': ['žluť 🐎', {}],
  'no content': [undefined, { status: 204 }],
  'no content with content': ['x', { status: 204 }],
  'null': [null, { status: 404 }],
  'a status that cannot be': ['x', { status: 199 }],
  'a status of text': ['x', { status: '201' }],
  'a header that cannot be': ['x', { headers: { a: 'b\nc' } }],
  'form data': [new URLSearchParams({ a: 'b' }), {}],
  'a number': [12, {}],
};

for (const [name, args] of Object.entries(responses)) {
  test(`response: ${name}`, async () => {
    assert.deepEqual(await behaviour(() => new LightResponse(...args)), await behaviour(() => new Response(...args)));
  });
}

test('headers changed by a function are those of the whole request', () => {
  const r = new LightRequest('http://h/', { method: 'GET', headers: { a: '1' } });
  r.headers.set('a', '2');
  assert.equal(r.clone().headers.get('a'), '2');
});
