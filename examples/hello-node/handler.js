// A custom handler in its default mode: every invocation is a POST of a JSON
// document to /<FunctionName>, and the answer is a JSON document with outputs
// and logs. Node's own modules are all it needs.
'use strict';

const http = require('node:http');

const port = process.env.FUNCTIONS_CUSTOMHANDLER_PORT;
if (!port) {
  console.error('error: FUNCTIONS_CUSTOMHANDLER_PORT is not set; start me with: latchkey start examples/hello-node');
  process.exit(1);
}

const functions = {
  // Greets by route parameter, query or body, in this order.
  hello({ Data: { req } }) {
    const name = req.Params.name || req.Query.name || (req.Body || '').trim() || 'world';
    const greeting = process.env.GREETING || 'Hello';
    return {
      Outputs: {
        res: {
          statusCode: 200,
          headers: { 'content-type': 'application/json' },
          body: { message: `${greeting}, ${name}!`, key: keyName(req) },
        },
      },
      Logs: [`greeted ${name}`],
    };
  },
};

// keyName gives the name of the access key that let the caller in, if any. The
// key itself never comes this far.
function keyName(req) {
  const claims = req.Identities.flatMap((identity) => identity.Claims);
  const claim = claims.find((c) => c.Type.endsWith('/claims/keyid'));
  return claim ? claim.Value : null;
}

async function readAll(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function answer(res, status, value) {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(value));
}

const server = http.createServer(async (req, res) => {
  const run = functions[req.url.slice(1)];
  if (req.method !== 'POST' || !run) {
    answer(res, 404, { Logs: [`no function at ${req.method} ${req.url}`] });
    return;
  }
  try {
    answer(res, 200, run(JSON.parse(await readAll(req))));
  } catch (err) {
    answer(res, 500, { Logs: [`error: ${err.message}`] });
  }
});

server.listen(Number(port), '127.0.0.1');
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
