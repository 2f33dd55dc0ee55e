// Package server owns assembly: it builds a node from a configuration, in small
// steps, and runs it until it is told to end. It is the only importer of key
// store backends and worker kinds. It holds no behaviour of its own beyond which
// part gets which settings.
package server

import (
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// Config says what to run. Dir is required.
type Config struct {
	Dir     string   // the app's folder
	DataDir string   // keys and sealing keys; default DIR/.latchkey
	Environ []string // the process environment, as os.Environ gives it

	Host       string // address to listen on; "" is local.settings.json's, else 127.0.0.1
	Port       int    // -1 is local.settings.json's, else 7071; 0 picks a free one
	OpsAddress string // metrics and health; "" is none
	OpsMayMove bool   // take another port if that of OpsAddress is taken

	CORS []string // origins of pages that may read answers; nil is local.settings.json's

	Functions []string // run only these; nil is all
	NewKeys   bool     // make keys also where an app that ran before has none
	Watch     bool     // restart the app when its files change
	Version   string   // of this program

	Log       io.Writer
	LogFormat telemetry.Format
	LogLevel  string // debug, info, warn or error
	Grace     time.Duration
	Clock     clock.Clock
}

// DefaultPort is the port of the functions, the same as Core Tools'.
const DefaultPort = 7071

// DefaultOpsAddress is where metrics and health are served.
const DefaultOpsAddress = "127.0.0.1:7090"

// dataDirName is the folder in the app's that holds its keys.
const dataDirName = ".latchkey"

func (c Config) withDefaults() (Config, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if c.DataDir == "" {
		c.DataDir = filepath.Join(dir, dataDirName)
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	return c, nil
}

// appName names the app in logs, metrics and reports.
func appName(dir string, settings settings) string {
	if site := settings.Get("WEBSITE_SITE_NAME"); site != "" {
		return site
	}
	return filepath.Base(dir)
}

// hostID identifies the app to its peers (keys §3.3): a configured one, else
// the site name, else the machine's name with a hash of the folder. Lower case,
// at most 32 characters.
func hostID(dir, machine string, settings settings) string {
	id := settings.Get("AzureFunctionsWebHost__hostid")
	if id == "" {
		id = settings.Get("WEBSITE_SITE_NAME")
	}
	if id == "" {
		id = alnum(machine) + "-" + shortHash(dir)
	}
	if len(id) > 32 {
		id = id[:32]
	}
	return strings.TrimRight(strings.ToLower(id), "-")
}
