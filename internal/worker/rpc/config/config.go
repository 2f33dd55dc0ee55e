// Package config owns worker.config.json: finding the language workers installed
// on a machine, reading how each wants to be started, and choosing the one for an
// app. It reads files only; it starts nothing and knows no protocol.
package config

import (
	"time"
)

// Worker is a language worker, ready to be started.
type Worker struct {
	Language        string   // as its file spells it, for example "node"
	Directory       string   // absolute
	Executable      string   // as given: a path, or a name for the search path
	Path            string   // the worker's own file, absolute; "" when it has none
	Arguments       []string // before Path
	WorkerArguments []string // after Path
	Extensions      []string // of its scripts, with the dot
	RuntimeName     string
	RuntimeVersion  string
	// Indexes says that the worker finds the functions of an app itself.
	Indexes bool
	// ErrorsOnlyOnStderr says that each line on standard error is an error.
	ErrorsOnlyOnStderr bool
	// Frames says that it speaks over a socket it inherits, without gRPC, as
	// Latchkey's own workers do.
	Frames  bool
	Process Process
}

// Process says how many processes there are and how long each step of their lives
// may take.
type Process struct {
	Count           int
	MaxCount        int
	PerCPU          bool          // Count is the number of processors
	Dynamic         bool          // there are more than Count, up to MaxCount, when they are busy
	StartupInterval time.Duration // between the starts of further processes
	StartupTimeout  time.Duration // from the start to the first message
	InitTimeout     time.Duration // for the answer to the first request
	ReloadTimeout   time.Duration // for the answer to a new environment
	RestartInterval time.Duration // between restarts after crashes
	ShutdownTimeout time.Duration // for work in progress when a process is to end
}

// DefaultProcess are the values for what a file leaves out.
func DefaultProcess() Process {
	return Process{
		Count: 1, MaxCount: 10, StartupInterval: 10 * time.Second, StartupTimeout: 60 * time.Second,
		InitTimeout: 10 * time.Second, ReloadTimeout: 30 * time.Second,
		RestartInterval: 10 * time.Second, ShutdownTimeout: 10 * time.Second,
	}
}
