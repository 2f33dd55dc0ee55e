// Package testworker owns a language worker for tests, in Go: it speaks the
// protocol as existing workers do, and misbehaves on command. What it does stands
// in a [Script], which reaches the process in a variable of its environment. It
// shares nothing with the host but the messages.
package testworker

import (
	"encoding/json"
	"time"
)

// Variable holds the script of a process, as JSON.
const Variable = "TESTWORKER_SCRIPT"

// Steps of a worker's life, for [Script].
const (
	AtStart     = "start" // before it dials
	AtStream    = "stream"
	AtInit      = "init"
	AtMetadata  = "metadata"
	AtLoad      = "load"
	AtInvoke    = "invoke"
	AtStatus    = "status"
	AtReload    = "reload"
	AtTerminate = "terminate"
)

// Script says what a worker does. The zero value serves no functions and behaves.
type Script struct {
	Functions    []Function
	Capabilities map[string]string
	Many         int  // further functions with a queue trigger, which return their input
	Bundled      bool // leaves the functions to function.json files

	SlowStart   time.Duration     // before it dials
	CrashAt     string            // ends with ExitCode at this step
	ExitCode    int               // 0 is 7
	SilentAt    string            // does not answer at this step
	FailAt      string            // answers that it failed, with a stack
	CloseAt     string            // closes its side of the stream at this step
	StrangerID  bool              // begins with an id nobody gave it
	OtherFirst  bool              // begins with another message than StartStream
	Flood       int               // log lines per invocation, before its result
	Unasked     bool              // sends messages nobody asked for, and empty ones
	LeavesChild bool              // leaves a process of its own behind
	OnlyOnce    string            // a file: misbehaves only in the process that can create it
	HTTP        bool              // takes requests as they are, at HttpUri
	Reloaded    map[string]string // capabilities after a reload
	Replace     bool              // they replace the others
}

// Function is one function of a worker. Its name says what it does:
//
//	echo    returns its input
//	seen    returns the whole request as JSON text
//	outputs sets the output "out" to text, "bin" to bytes, and returns an object
//	bytes   returns bytes
//	http    answers 201 with a header, two cookies and the request's body
//	nothing returns nothing
//	throw   fails with a message and a stack
//	unload  cannot be loaded
//	logs    logs ten lines of each kind, then returns
//	hang    never returns; "unhang" is called by a cancel
//	crash   ends the process with code 3
//	big     returns as many bytes as its input says
//	half    closes the stream
//	double  answers twice, and once for an id that is nobody's
//	pid     returns the process id
//	tool    writes a line for development tools
//	exit    ends the process with the code that its input says
//	busy    is like slow, and at most eight of them run at a time
//	slow    returns after as many milliseconds as its input says
type Function struct {
	Name     string
	Bindings []string // JSON text
	Retry    int      // attempts of a policy with a fixed delay; 0 is none
	Fault    string
}

// Text gives the script as the variable holds it.
func (s Script) Text() string {
	b, err := json.Marshal(s)
	if err != nil { // texts and numbers: it cannot fail
		return ""
	}
	return string(b)
}
