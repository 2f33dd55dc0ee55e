'use strict';
// What the worker and the app's functions have to say, on its way to the host.

const { level, logCategory } = require('./wire');

let sink = null;

/** Gives the stream that logs go to. */
function to(stream) {
  sink = stream;
}

function write(rpcLog) {
  sink?.send({ rpcLog });
}

/** A log outside of any invocation. Names as in the core API. */
function log(levelName, category, message) {
  write({ level: level.number(levelName, 2), logCategory: logCategory.number(category, 1), message });
}

/** A log that belongs to an invocation. */
function ofInvocation(invocationId, functionName, levelName, category, message) {
  write({
    invocationId,
    category: `${functionName}.Invocation`,
    level: level.number(levelName, 2),
    logCategory: logCategory.number(category, 0),
    message,
  });
}

const system = (levelName, message) => log(levelName, 'system', message);

module.exports = { to, log, ofInvocation, system };
