'use strict';
// Hooks: what an app wants called at the edges of its life and of invocations.

const { Disposable } = require('./disposable');

/** The hooks of one app and what they share. */
class Hooks {
  constructor() {
    this.byName = new Map();
    this.appHookData = {};
    this.appOnlyHookData = {};
  }

  register(name, callback) {
    const list = this.byName.get(name) ?? [];
    list.push(callback);
    this.byName.set(name, list);
    return new Disposable(() => {
      const at = list.indexOf(callback);
      if (at >= 0) list.splice(at, 1);
    });
  }

  has(name) {
    return (this.byName.get(name)?.length ?? 0) > 0;
  }

  /** Calls the hooks of a name in the order they were registered. */
  async run(name, context) {
    for (const callback of [...(this.byName.get(name) ?? [])]) await callback(context);
  }
}

/**
 * A hook's context: fields that may be read but not replaced, and fields that
 * a hook may replace to change what happens.
 */
function hookContext(fixed, changeable = {}) {
  const context = { ...changeable };
  for (const [name, value] of Object.entries(fixed)) {
    Object.defineProperty(context, name, {
      enumerable: true,
      get: () => value,
      set: () => {
        throw new Error(`Cannot assign to read only property '${name}'`);
      },
    });
  }
  return context;
}

module.exports = { Hooks, hookContext };
