'use strict';
// Starts the worker with what the host put on the command line.

const { parseArgs } = require('util');
const { Stream } = require('./stream');
const { Worker } = require('./worker');

function options() {
  const { values } = parseArgs({
    strict: false,
    options: {
      'functions-worker-id': { type: 'string' },
      'latchkey-fd': { type: 'string' },
    },
  });
  const fd = Number(values['latchkey-fd']);
  if (!values['functions-worker-id'] || !Number.isInteger(fd)) {
    console.error('LanguageWorkerConsoleLog[error] this worker is started by latchkey');
    process.exit(2);
  }
  return { workerId: values['functions-worker-id'], fd };
}

process.on('uncaughtException', (error) => {
  console.error(`LanguageWorkerConsoleLog[error] the worker ends because of an uncaught exception: ${error?.stack ?? error}`);
  process.exit(1);
});

const { workerId, fd } = options();
const worker = new Worker(workerId);
worker.start(new Stream(fd, (message) => worker.receive(message), () => process.exit(0)));
