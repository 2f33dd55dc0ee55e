'use strict';
// One app as the worker knows it: its functions, its hooks and the programming
// model that its code speaks.

const path = require('path');
const { Disposable } = require('./disposable');
const { Hooks } = require('./hooks');
const { metadataToWire } = require('./wire');

class App {
  constructor() {
    this.functions = new Map(); // by function id: {name, metadata, wire, callback}
    this.hooks = new Hooks();
    this.model = null;
    this.registered = false; // code has registered functions: no function.json is read
    this.sealed = false;
    this.failures = []; // of files that could not be loaded
    this.entryPoint = null; // the file being loaded
  }

  /** Adds a function that code registers. metadata is that of the core API. */
  register(metadata, callback) {
    if (this.sealed) throw new Error('A function can only be registered during app startup.');
    const id = metadata.functionId || metadata.name;
    if (this.functions.has(id)) throw new Error(`A function with id "${id}" has already been registered.`);
    this.registered = true;
    const wire = metadataToWire({ ...metadata, functionId: id });
    wire.rawBindings = Object.entries(metadata.bindings).map(([name, b]) => JSON.stringify({ ...b, name }));
    wire.scriptFile = this.entryPoint ? path.basename(this.entryPoint) : 'unknown';
    if (this.entryPoint) wire.directory = path.dirname(this.entryPoint);
    this.functions.set(id, { name: metadata.name, metadata: { ...metadata, functionId: id }, wire, callback });
    return new Disposable(() => {
      if (this.sealed) throw new Error('A function can only be disposed during app startup.');
      this.functions.delete(id);
    });
  }

  /** Adds a function of a function.json file, which the host has read. */
  add(id, metadata, callback) {
    this.functions.set(id, { name: metadata.name, metadata, callback });
  }
}

module.exports = { App };
