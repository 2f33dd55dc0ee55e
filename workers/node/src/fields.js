'use strict';
// Private members of classes that a compiler has written for older engines: it
// keeps them in a WeakMap for each member, with all instances as keys. A program
// that makes ten such instances for each request spends a quarter of its time in
// the collector on them. These stand in for the maps and keep each value where
// the language keeps private members now: in the object, unseen from outside.

// A class of its own for each map: its member is a name nobody else has. The base
// class lets the constructor put the member into an object that exists.
const make = new Function(`
  class Given { constructor(object) { return object; } }
  return class extends Given {
    #value;
    constructor(object, value) { super(object); this.#value = value; }
    static has(object) { return #value in object; }
    static get(object) { return object.#value; }
    static set(object, value) { object.#value = value; }
  };
`);

const isObject = (key) => (typeof key === 'object' && key !== null) || typeof key === 'function';

/** What a WeakMap does, except that it never forgets that a key was in it. */
class FieldMap {
  #member = make();
  #gone = Symbol('deleted');

  has(key) {
    return isObject(key) && this.#member.has(key) && this.#member.get(key) !== this.#gone;
  }

  get(key) {
    if (!isObject(key) || !this.#member.has(key)) return undefined;
    const value = this.#member.get(key);
    return value === this.#gone ? undefined : value;
  }

  set(key, value) {
    if (!isObject(key)) throw new TypeError('Invalid value used as weak map key');
    if (this.#member.has(key)) this.#member.set(key, value);
    else new this.#member(key, value);
    return this;
  }

  delete(key) {
    if (!this.has(key)) return false;
    this.#member.set(key, this.#gone);
    return true;
  }
}

/** What a WeakSet does, on the same terms. */
class FieldSet {
  #members = new FieldMap();

  has(key) {
    return this.#members.has(key);
  }

  add(key) {
    if (!isObject(key)) throw new TypeError('Invalid value used in weak set');
    this.#members.set(key, true);
    return this;
  }

  delete(key) {
    return this.#members.delete(key);
  }
}

/**
 * Stand-ins for the two constructors: those of members while loading() says so,
 * that is where a module makes its classes; the platform's own afterwards.
 */
function constructors(loading) {
  const choose = (Field, Native) => function (entries) {
    return loading() && entries === undefined ? new Field() : new Native(entries);
  };
  return { WeakMap: choose(FieldMap, WeakMap), WeakSet: choose(FieldSet, WeakSet) };
}

module.exports = { constructors, FieldMap, FieldSet };
