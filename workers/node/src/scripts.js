'use strict';
// Finding and loading the files of an app, CommonJS or ES modules.

const fs = require('fs');
const path = require('path');
const { pathToFileURL } = require('url');
const { globSync, isDynamicPattern } = require('tinyglobby');
const logs = require('./logs');

/** Loads a script, whichever kind of module it is. */
async function loadScript(file) {
  if (file.endsWith('.mjs')) return import(pathToFileURL(file).href);
  try {
    return require(file);
  } catch (err) {
    if (err?.code !== 'ERR_REQUIRE_ESM' && err?.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw err;
    return import(pathToFileURL(file).href);
  }
}

function packageJSON(directory) {
  let text;
  try {
    text = fs.readFileSync(path.join(directory, 'package.json'), 'utf8');
  } catch (err) {
    if (err.code !== 'ENOENT') logs.system('warning', `package.json cannot be read: ${err.message}`);
    return {};
  }
  try {
    return JSON.parse(text.replace(/^\uFEFF/, '')) ?? {};
  } catch (err) {
    throw plain(`package.json is not JSON: ${err.message}`);
  }
}

/** The files that `main` of package.json names, sorted; may be a pattern. */
function entryPoints(directory) {
  const { main } = packageJSON(directory);
  if (!main) return { files: [] };
  const found = fileNamed(directory, main) ?? matching(directory, main);
  return { main, files: found.sort() };
}

function fileNamed(directory, main) {
  for (const end of ['', '.js', '.cjs', '.mjs', '/index.js']) {
    const file = path.join(directory, main + end);
    if (fs.statSync(file, { throwIfNoEntry: false })?.isFile()) return [file];
  }
  return null;
}

function matching(directory, main) {
  if (!isDynamicPattern(main)) return [];
  return globSync(main.replace(/^\.\//, ''), { cwd: directory, absolute: true, ignore: ['**/node_modules/**'] });
}

/**
 * Loads the app's entry points. A file that fails does not keep the others from
 * being loaded; failures are kept in app.failures, with their stacks.
 */
async function loadApp(app, directory) {
  let entry;
  try {
    entry = entryPoints(directory);
  } catch (error) {
    app.failures.push({ file: 'package.json', error });
    return;
  }
  if (entry.main && !entry.files.length) missing(app, directory, entry.main);
  for (const file of entry.files) await loadEntryPoint(app, directory, file);
}

// package.json often names an index.js that nobody wrote: apps with
// function.json files run without it. Others have nothing to run then.
function missing(app, directory, main) {
  const text = `"main" of package.json names ${JSON.stringify(main)}, but there is no such file`;
  if (hasFunctionFiles(directory)) {
    logs.system('warning', text);
    return;
  }
  const next = 'correct it, or build the app first if its code is compiled, for example with "npm run build"';
  app.failures.push({ file: 'package.json', error: plain(`${text}; ${next}`) });
}

function hasFunctionFiles(directory) {
  return fs.readdirSync(directory, { withFileTypes: true }).some(
    (e) => e.isDirectory() && fs.existsSync(path.join(directory, e.name, 'function.json')));
}

/** An error without a stack, for what no code is to blame for. */
function plain(text) {
  const error = new Error(text);
  error.stack = text;
  return error;
}

const NOT_FOUND = new Set(['MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND']);

/** What to do about an error of loading a file; '' when there is nothing to say. */
function advice(error) {
  const name = NOT_FOUND.has(error.code) && /^Cannot find (?:module|package) '([^']+)'/.exec(error.message)?.[1];
  if (!name || /^[./]/.test(name)) return '';
  return `; run "npm install" in the app's folder, after adding ${name} to "dependencies" of package.json if it is not among them`;
}

const OWN = /^\s*at .*(?:node:|[\\/]dist[\\/]worker\.js:)/;
const FRAMES = 8;

/**
 * Where in the app's code an error of loading a file comes from: its stack
 * without what belongs to Node.js and this worker; '' when nothing is left.
 */
function stackOf(file, error) {
  if (advice(error) || error.stack === error.message) return '';
  const lines = String(error.stack).split('\n').filter((line) => !OWN.test(line));
  if (lines.length < 2) return '';
  return [`${file}: ${lines[0]}`, ...lines.slice(1, 1 + FRAMES)].join('\n');
}

async function loadEntryPoint(app, directory, file) {
  app.entryPoint = file;
  try {
    await loadScript(file);
  } catch (error) {
    app.failures.push({ file: path.relative(directory, file), error: asError(error) });
  } finally {
    app.entryPoint = null;
  }
}

/** The function that a function.json's script exports. */
function exported(script, entryPoint) {
  const [fn, owner] = pick(script, entryPoint);
  if (typeof fn === 'function') return owner ? fn.bind(owner) : fn;
  if (fn) throw new Error('what the script exports is not a function. Export the function itself, or name it in "entryPoint"');
  const what = entryPoint ? `the script exports no function named "${entryPoint}"` : 'the script exports several things';
  throw new Error(`${what}. Export one function, name it "run" or "index", or name it in "entryPoint" of function.json`);
}

function pick(script, entryPoint) {
  if (script === null || typeof script !== 'object') return [script];
  if (entryPoint) return [script[entryPoint] ?? script.default?.[entryPoint], script];
  const names = Object.keys(script).filter((n) => n !== '__esModule' && n !== 'module.exports');
  if (names.length === 1) {
    const only = script[names[0]];
    return names[0] === 'default' && typeof only === 'object' ? pick(only) : [only, script];
  }
  return [script.run ?? script.index ?? (typeof script.default === 'function' ? script.default : undefined), script];
}

function asError(thrown) {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

module.exports = { loadApp, loadScript, exported, advice, asError, stackOf };
