'use strict';
// The words of the protocol: how the enums of messages are spelled in the API
// that programming models see, both ways. Everything else of a message has the
// same shape on both sides and is passed as it is.

const { AzureFunctionsRpcMessages: rpc } = require('./messages');

/** A table of spellings: toNumber by name, toName by number. */
function spelled(pairs) {
  const toName = new Map(Object.entries(pairs).map(([name, number]) => [number, name]));
  return {
    number(name, fallback) {
      if (name === undefined || name === null) return fallback;
      const number = typeof name === 'number' ? name : pairs[name];
      if (number === undefined) throw new Error(`"${name}" is not one of ${Object.keys(pairs).join(', ')}`);
      return number;
    },
    name: (number) => toName.get(number ?? 0),
  };
}

const level = spelled({ trace: 0, debug: 1, information: 2, warning: 3, error: 4, critical: 5, none: 6 });
const logCategory = spelled({ user: 0, system: 1, customMetric: 2 });
const direction = spelled({ in: 0, out: 1, inout: 2 });
const dataType = spelled({ undefined: 0, string: 1, binary: 2, stream: 3 });
const sameSite = spelled({ none: 0, lax: 1, strict: 2, explicitNone: 3 });
const retryStrategy = spelled({ exponentialBackoff: 0, fixedDelay: 1 });
const status = spelled({ failure: 0, success: 1, cancelled: 2 });

function mapValues(object, convert) {
  return Object.fromEntries(Object.entries(object ?? {}).map(([key, value]) => [key, convert(value)]));
}

/** What a programming model registered, as a message. */
function metadataToWire(metadata) {
  const wire = { ...metadata };
  wire.bindings = mapValues(metadata.bindings, (b) => ({
    type: b.type,
    direction: direction.number(b.direction, 0),
    dataType: dataType.number(b.dataType, 0),
  }));
  if (metadata.retryOptions) {
    wire.retryOptions = {
      ...metadata.retryOptions,
      retryStrategy: retryStrategy.number(metadata.retryOptions.retryStrategy, 0),
    };
  }
  return wire;
}

/** Metadata from the host, as programming models read it. */
function metadataFromWire(wire) {
  return {
    name: wire.name,
    functionId: wire.functionId,
    directory: wire.directory,
    scriptFile: wire.scriptFile,
    entryPoint: wire.entryPoint,
    isProxy: wire.isProxy,
    language: wire.language,
    bindings: mapValues(wire.bindings, (b) => ({
      type: b.type,
      direction: direction.name(b.direction),
      dataType: dataType.name(b.dataType),
    })),
  };
}

/** An answer of a programming model, as a message. */
function responseToWire(response) {
  const wire = { ...response, returnValue: dataToWire(response.returnValue) };
  if (response.outputData) {
    wire.outputData = response.outputData.map((o) => ({ ...o, data: dataToWire(o.data) }));
  }
  if (response.result) {
    wire.result = { ...response.result, status: status.number(response.result.status, 0) };
  }
  return wire;
}

function dataToWire(data) {
  const cookies = data?.http?.cookies;
  if (!cookies?.length) return data;
  const spell = (c) => ({ ...c, sameSite: sameSite.number(c.sameSite, 0) });
  return { ...data, http: { ...data.http, cookies: cookies.map(spell) } };
}

module.exports = { rpc, level, logCategory, metadataToWire, metadataFromWire, responseToWire };
