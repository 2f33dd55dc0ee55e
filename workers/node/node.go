// Package node carries Latchkey's own worker for Node.js inside the binary: the
// built script and its description. It does not run it: that is what
// internal/worker/rpc does with any language worker.
package node

import "embed"

// Files holds worker.config.json and dist/worker.js, as `make node-worker` built
// it from the sources beside this file.
//
//go:embed worker.config.json dist
var Files embed.FS
