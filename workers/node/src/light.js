'use strict';
// Requests and responses as @azure/functions makes them for each invocation,
// without the cost of the platform's own: those make streams, signals and
// tables that hardly any function looks at. These stand in for them inside that
// package only, do what is common by themselves, and hand everything else to the
// platform's objects, made when they are needed. LATCHKEY_NODE_PLAIN=1 switches
// them off.

const Module = require('module');
const path = require('path');
const { constructors } = require('./fields');

const NativeRequest = globalThis.Request;
const NativeResponse = globalThis.Response;

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
const NO_BODY = new Set([204, 205, 304]);
const USED = 'Body is unusable: Body has already been read';

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** A request whose body, if any, is there as bytes. */
class LightRequest {
  #url;
  #init;
  #href;
  #headers;
  #used = false;
  #native;

  constructor(url, init) {
    const bytes = init?.body === undefined || init.body === null || init.body instanceof Uint8Array;
    if (typeof url !== 'string' || !bytes || !METHODS.has(init?.method)) return new NativeRequest(url, init);
    this.#url = url;
    this.#init = init;
  }

  get url() {
    return (this.#href ??= new URL(this.#url).href);
  }

  get method() {
    return this.#init.method;
  }

  get headers() {
    return (this.#headers ??= this.#native?.headers ?? new Headers(this.#init.headers));
  }

  get bodyUsed() {
    return this.#native ? this.#native.bodyUsed : this.#used;
  }

  get body() {
    return this.#whole().body;
  }

  async text() {
    return this.#native ? this.#native.text() : decoder.decode(this.#take());
  }

  async json() {
    return this.#native ? this.#native.json() : JSON.parse(decoder.decode(this.#take()));
  }

  async arrayBuffer() {
    return this.#native ? this.#native.arrayBuffer() : Uint8Array.from(this.#take()).buffer;
  }

  async blob() {
    return this.#whole().blob();
  }

  async formData() {
    return this.#whole().formData();
  }

  clone() {
    return this.#whole().clone();
  }

  #take() {
    const { body } = this.#init;
    if (!body) return new Uint8Array(0);
    if (this.#used) throw new TypeError(USED);
    this.#used = true;
    return body;
  }

  // From here on the platform's object counts; what was read stays read.
  #whole() {
    if (this.#native) return this.#native;
    this.#native = new NativeRequest(this.#url, { ...this.#init, headers: this.#headers ?? this.#init.headers });
    if (this.#used) this.#native.arrayBuffer().catch(() => {});
    return this.#native;
  }
}

/** A response whose body, if any, is text or bytes. */
class LightResponse {
  #body;
  #init;
  #used = false;
  #native;

  constructor(body, init) {
    const status = init?.status ?? 200;
    const simple = body === undefined || body === null || typeof body === 'string' || body instanceof Uint8Array;
    const usual = Number.isInteger(status) && status >= 200 && status <= 599;
    if (!simple || !usual || (NO_BODY.has(status) && body !== undefined && body !== null)) {
      return new NativeResponse(body, init);
    }
    this.#body = body;
    this.#init = init;
    this.status = status;
    this.headers = new Headers(init?.headers);
    if (typeof body === 'string' && !this.headers.has('content-type')) {
      this.headers.append('content-type', 'text/plain;charset=UTF-8');
    }
  }

  get bodyUsed() {
    return this.#native ? this.#native.bodyUsed : this.#used;
  }

  get body() {
    return this.#whole().body;
  }

  async arrayBuffer() {
    if (this.#native) return this.#native.arrayBuffer();
    if (this.#body === undefined || this.#body === null) return new ArrayBuffer(0);
    if (this.#used) throw new TypeError(USED);
    this.#used = true;
    return typeof this.#body === 'string' ? bufferOf(encoder.encode(this.#body)) : Uint8Array.from(this.#body).buffer;
  }

  async text() {
    return this.#whole().text();
  }

  async json() {
    return this.#whole().json();
  }

  async blob() {
    return this.#whole().blob();
  }

  async formData() {
    return this.#whole().formData();
  }

  clone() {
    return this.#whole().clone();
  }

  #whole() {
    if (this.#native) return this.#native;
    this.#native = new NativeResponse(this.#body, { ...this.#init, headers: this.headers });
    if (this.#used) this.#native.arrayBuffer().catch(() => {});
    return this.#native;
  }
}

function bufferOf(bytes) {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
}

const NAME = Symbol.for('latchkey.web');
const FILES = /[\\/]node_modules[\\/]@azure[\\/]functions[\\/]dist[\\/]azure-functions(\.min)?\.js$/;

/** Has the package use them, and members that are none of the collector's work. */
function install() {
  if (process.env.LATCHKEY_NODE_PLAIN === '1') return;
  let loading = false;
  const standIns = { Request: LightRequest, Response: LightResponse, ...constructors(() => loading) };
  Object.defineProperty(globalThis, NAME, { value: standIns });
  const compile = Module.prototype._compile;
  Module.prototype._compile = function (content, filename, ...rest) {
    if (!isPackage(filename)) return compile.call(this, content, filename, ...rest);
    loading = true;
    try {
      return compile.call(this, before + content, filename, ...rest);
    } finally {
      loading = false;
    }
  };
}

const before = `const { Request, Response, WeakMap, WeakSet } = globalThis[Symbol.for('latchkey.web')];`;

function isPackage(filename) {
  if (!FILES.test(filename)) return false;
  try {
    return require(path.join(path.dirname(filename), '..', 'package.json')).version.startsWith('4.');
  } catch {
    return false;
  }
}

module.exports = { install, LightRequest, LightResponse };
