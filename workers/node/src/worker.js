'use strict';
// The worker: answers the host's messages, in any order they come.

const { version } = require('../package.json');
const core = require('./core');
const { hookContext } = require('./hooks');
const { invoke } = require('./invoke');
const light = require('./light');
const logs = require('./logs');
const { App } = require('./registry');
const scripts = require('./scripts');
const { metadataFromWire } = require('./wire');

const SUCCESS = { status: 1 };

const CAPABILITIES = {
  RawHttpBodyBytes: 'true',
  RpcHttpTriggerMetadataRemoved: 'true',
  RpcHttpBodyOnly: 'true',
  IgnoreEmptyValuedRpcHttpHeaders: 'true',
  UseNullableValueDictionaryForHttp: 'true',
  WorkerStatus: 'true',
  TypedDataCollection: 'true',
  HandlesWorkerTerminateMessage: 'true',
};

class Worker {
  constructor(workerId) {
    this.id = workerId;
    this.version = version;
    this.hostVersion = '';
    this.app = new App();
    core.install(this);
    light.install();
  }

  /** Says hello: the first message of the stream. */
  start(stream) {
    this.stream = stream;
    logs.to(stream);
    stream.send({ startStream: { workerId: this.id } });
  }

  /** Takes a message of the host. */
  receive(message) {
    const kind = message.content;
    const handler = this[`on_${kind}`];
    if (handler) handler.call(this, message[kind], message.requestId);
  }

  /** The model of apps that bring none: function.json and context.done. */
  defaultModel() {
    const app = this.app;
    if (!app.model) require('@azure/functions').setup();
    return app.model;
  }

  async on_workerInitRequest(request, requestId) {
    this.hostVersion = request.hostVersion;
    await this.answer(requestId, 'workerInitResponse', async () => {
      if (request.functionAppDirectory) await this.load(request.functionAppDirectory);
      return { workerVersion: version, capabilities: await this.capabilities(), workerMetadata: this.describe() };
    });
  }

  async on_functionEnvironmentReloadRequest(request, requestId) {
    await this.answer(requestId, 'functionEnvironmentReloadResponse', async () => {
      process.env = { ...request.environmentVariables };
      if (request.functionAppDirectory) process.chdir(request.functionAppDirectory);
      this.app = new App();
      if (request.functionAppDirectory) await this.load(request.functionAppDirectory);
      return {
        capabilities: await this.capabilities(),
        capabilitiesUpdateStrategy: 1,
        workerMetadata: this.describe(),
      };
    });
  }

  async load(directory) {
    const app = this.app;
    await scripts.loadApp(app, directory);
    const context = hookContext({
      hookData: app.hooks.appOnlyHookData,
      appHookData: app.hooks.appHookData,
      functionAppDirectory: directory,
    });
    await app.hooks.run('appStart', context);
  }

  async capabilities() {
    const model = this.app.model;
    const defaults = { ...CAPABILITIES };
    return (await model?.getCapabilities?.(defaults)) ?? defaults;
  }

  describe() {
    const model = this.app.model;
    return {
      runtimeName: 'node',
      runtimeVersion: process.versions.node,
      workerVersion: version,
      workerBitness: process.arch,
      customProperties: model ? { modelName: model.name, modelVersion: model.version } : {},
    };
  }

  async on_functionsMetadataRequest(_request, requestId) {
    const { app } = this;
    app.sealed = true;
    await this.answer(requestId, 'functionMetadataResponse', () => ({
      functionMetadataResults: [...app.functions.values()].filter((f) => f.wire).map((f) => f.wire),
      useDefaultMetadataIndexing: !app.registered,
    }), () => loadFailure(app));
  }

  async on_functionLoadRequest(request, requestId) {
    const { functionId, metadata } = request;
    await this.answer(requestId, 'functionLoadResponse', async () => {
      if (!this.app.functions.has(functionId)) await this.loadFunction(functionId, metadataFromWire(metadata));
      return { functionId };
    }, undefined, { functionId });
  }

  async loadFunction(id, metadata) {
    if (this.app.registered) throw new Error(`the app registers no function with the id "${id}"`);
    this.defaultModel();
    const script = await scripts.loadScript(metadata.scriptFile);
    this.app.add(id, metadata, scripts.exported(script, metadata.entryPoint));
  }

  async on_invocationRequest(request, requestId) {
    const invocationId = request.invocationId;
    let invocationResponse;
    try {
      invocationResponse = await invoke(this.app, this.app.model ?? this.defaultModel(), request);
      invocationResponse.invocationId = invocationId;
      invocationResponse.result = SUCCESS;
      this.stream.send({ requestId, invocationResponse });
    } catch (error) {
      this.stream.send({ requestId, invocationResponse: { invocationId, result: failed(error) } });
    }
  }

  on_workerStatusRequest(_request, requestId) {
    this.stream.send({ requestId, workerStatusResponse: {} });
  }

  async on_workerTerminate() {
    try {
      const { hooks } = this.app;
      await hooks.run('appTerminate', hookContext({ hookData: hooks.appOnlyHookData, appHookData: hooks.appHookData }));
    } catch (error) {
      logs.system('error', `a hook on the app's end failed: ${scripts.asError(error).stack}`);
    }
    this.stream.flush(() => process.exit(0));
  }

  /** Sends what make gives, with its result, or why it failed. */
  async answer(requestId, name, make, problem = () => null, always = {}) {
    let response;
    try {
      response = await make();
      const result = problem();
      response.result = result ?? SUCCESS;
    } catch (error) {
      response = { ...always, result: failed(error) };
    }
    this.stream.send({ requestId, [name]: response });
  }
}

function failed(thrown) {
  const error = scripts.asError(thrown);
  return { status: 0, exception: { source: error.name, message: error.message, stackTrace: error.stack } };
}

/** The failures of the app's files as one result, or null. */
function loadFailure(app) {
  if (!app.failures.length) return null;
  const groups = new Map(); // what went wrong -> {files, error}
  for (const { file, error } of app.failures) {
    const text = `${error.message.split('\n', 1)[0]}${scripts.advice(error)}`;
    const group = groups.get(text);
    if (group) group.files.push(file);
    else groups.set(text, { files: [file], error });
  }
  const all = [...groups];
  const message = all.map(([text, { files }]) => `${files.join(', ')} could not be loaded: ${text}`).join('\n');
  const stackTrace = all.map(([, { files, error }]) => scripts.stackOf(files[0], error)).filter(Boolean).join('\n');
  return { status: 0, exception: { source: 'Error', message, stackTrace } };
}

module.exports = { Worker };
