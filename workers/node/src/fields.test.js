'use strict';
// Maps that keep values in their keys do as weak maps do.

const assert = require('node:assert/strict');
const test = require('node:test');
const { constructors, FieldMap, FieldSet } = require('./fields');

const keys = [{}, Object.freeze({}), Object.preventExtensions({}), () => {}, [], new (class A { #x = 1; })(), new Proxy({}, {}), Object.create(null)];
const notKeys = [1, 'a', null, undefined, true, 1n];

function outcome(act) {
  try {
    return act();
  } catch (error) {
    return error.constructor.name;
  }
}

test('random operations have the results of a WeakMap', () => {
  const all = [...keys, ...notKeys];
  const pairs = [[new FieldMap(), new WeakMap()], [new FieldMap(), new WeakMap()]];
  let seed = 7;
  const next = (n) => (seed = (seed * 48271) % 0x7fffffff) % n;
  for (let i = 0; i < 20000; i++) {
    const [ours, theirs] = pairs[next(2)];
    const key = all[next(all.length)];
    const value = next(4) === 0 ? undefined : i;
    const name = ['get', 'has', 'set', 'delete'][next(4)];
    const run = (map) => outcome(() => (name === 'set' ? map.set(key, value) === map : map[name](key)));
    assert.deepEqual(run(ours), run(theirs), `${name} at step ${i}`);
  }
});

test('random operations have the results of a WeakSet', () => {
  const all = [...keys, ...notKeys];
  const ours = new FieldSet();
  const theirs = new WeakSet();
  let seed = 11;
  const next = (n) => (seed = (seed * 48271) % 0x7fffffff) % n;
  for (let i = 0; i < 5000; i++) {
    const key = all[next(all.length)];
    const name = ['has', 'add', 'delete'][next(3)];
    const run = (set) => outcome(() => (name === 'add' ? set.add(key) === set : set[name](key)));
    assert.deepEqual(run(ours), run(theirs), `${name} at step ${i}`);
  }
});

test('nothing of it shows from outside', () => {
  const map = new FieldMap();
  const key = { a: 1 };
  map.set(key, 'hidden');
  assert.deepEqual(Reflect.ownKeys(key), ['a']);
  assert.equal(JSON.stringify(key), '{"a":1}');
  assert.deepEqual(structuredClone(key), { a: 1 });
  assert.equal(map.has({ ...key }), false);
  assert.equal(require('util').inspect(key, { showHidden: true }), '{ a: 1 }');
  assert.equal(map.has(Object.create(key)), false);
});

test('after loading they are the platform\'s', () => {
  let loading = true;
  const made = constructors(() => loading);
  assert.ok(new made.WeakMap() instanceof FieldMap);
  assert.ok(new made.WeakSet() instanceof FieldSet);
  assert.ok(new made.WeakMap([[keys[0], 1]]) instanceof WeakMap);
  loading = false;
  assert.ok(new made.WeakMap() instanceof WeakMap);
  assert.ok(new made.WeakSet() instanceof WeakSet);
});
