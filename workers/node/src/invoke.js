'use strict';
// One run of a function, in the steps that programming models and hooks see.

const { hookContext } = require('./hooks');
const logs = require('./logs');
const { responseToWire } = require('./wire');

/** What a programming model is told about an invocation. */
class Invocation {
  constructor(request, fn) {
    this.invocationId = request.invocationId;
    this.request = request;
    this.metadata = fn.metadata;
    this.state = undefined;
  }

  log(level, category, message) {
    logs.ofInvocation(this.invocationId, this.metadata.name, level, category, message);
  }
}

/** Runs the function and gives the response's message. Throws what it threw. */
async function invoke(app, model, request) {
  const fn = app.functions.get(request.functionId);
  if (!fn) throw new Error(`Function code for '${request.functionId}' is not loaded and cannot be invoked.`);
  const invocation = new Invocation(request, fn);
  const run = await model.getInvocationModel(invocation);
  const { context, inputs } = await run.getArguments();
  const value = app.hooks.has('preInvocation') || app.hooks.has('postInvocation')
    ? await withHooks(app, invocation, run, context, inputs, fn.callback)
    : await inState(invocation, 'invocation', () => run.invokeFunction(context, inputs, fn.callback));
  return responseToWire(await run.getResponse(context, value));
}

async function withHooks(app, invocation, run, context, inputs, callback) {
  const fixed = { hookData: {}, appHookData: app.hooks.appHookData, invocationContext: context };
  const before = hookContext(fixed, { inputs, functionCallback: callback });
  await inState(invocation, 'preInvocationHooks', () => app.hooks.run('preInvocation', before));
  const after = hookContext(fixed, { inputs: before.inputs, result: null, error: null });
  try {
    after.result = await inState(invocation, 'invocation', () =>
      run.invokeFunction(context, before.inputs, before.functionCallback));
  } catch (error) {
    after.error = error;
  }
  await inState(invocation, 'postInvocationHooks', () => app.hooks.run('postInvocation', after));
  if (after.error) throw after.error;
  return after.result;
}

async function inState(invocation, state, step) {
  invocation.state = state;
  try {
    return await step();
  } finally {
    invocation.state = undefined;
  }
}

module.exports = { invoke };
