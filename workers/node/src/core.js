'use strict';
// The module @azure/functions-core, which programming models require: it exists
// in this process only.

const Module = require('module');
const { Disposable } = require('./disposable');
const logs = require('./logs');

const NAME = '@azure/functions-core';

/** Makes the module known. worker has the app, hostVersion and version. */
function install(worker) {
  const core = {
    version: worker.version,
    get hostVersion() {
      return worker.hostVersion;
    },
    registerFunction: (metadata, callback) => worker.app.register(metadata, callback),
    registerHook: (name, callback) => worker.app.hooks.register(name, callback),
    setProgrammingModel: (model) => {
      worker.app.model = model;
    },
    getProgrammingModel: () => worker.app.model ?? worker.defaultModel(),
    log: logs.log,
    Disposable,
  };
  const load = Module._load;
  Module._load = function (request, ...rest) {
    return request === NAME ? core : load.call(this, request, ...rest);
  };
}

module.exports = { install };
