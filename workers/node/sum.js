// Prints the sum of what dist/ is built from, which node_test.go compares.
'use strict';

const { createHash } = require('crypto');
const fs = require('fs');
const path = require('path');

const sources = fs.readdirSync(path.join(__dirname, 'src')).filter((name) => name.endsWith('.js') && name !== 'messages.js');
const files = ['package.json', 'package-lock.json', ...sources.map((name) => `src/${name}`).sort(), '../../internal/worker/rpc/wire/wire.proto'];
const sum = createHash('sha256');
for (const name of files) {
  const text = fs.readFileSync(path.join(__dirname, name));
  sum.update(`${name} ${text.length}\n`).update(text);
}
console.log(sum.digest('hex'));
