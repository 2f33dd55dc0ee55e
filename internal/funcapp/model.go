// Package funcapp owns the reading of an app folder: host.json, function.json,
// local.settings.json and the settings they refer to, turned into a [App]
// value with every fault listed at once. It does not know how apps run, which
// routes match or who may call; it never writes to the folder.
package funcapp

import (
	"encoding/json"
	"strings"
	"time"
)

// App is what an app folder says. A value; nothing in it changes after Load.
type App struct {
	Root      string // absolute path of the app folder
	Host      HostConfig
	Functions []Function // every function found, faulty ones too, by name ignoring case
	Faults    []Fault    // faults of the whole app: with any, no function may run
}

// Fault is one thing wrong with an app's files or settings.
type Fault struct {
	File     string // path relative to the app root with forward slashes; "" when no file is at fault
	Line     int    // 1-based, 0 when unknown
	Function string // "" for a fault of the whole app
	Message  string // what is wrong: lower case, no full stop, never a secret
	Next     string // what to do about it; may be empty
}

// Function is one entry point of an app.
type Function struct {
	Name       string // as the folder or the worker spells it
	Directory  string // absolute; "" for functions made from customHandler.http.routes
	ScriptFile string // absolute; "" when there is none
	EntryPoint string
	Language   string // "custom", "node", …
	Bindings   []Binding
	Retry      *Retry // the function's own, else the app's, else nil
	Disabled   bool
	Excluded   bool            // left out by host.json "functions" or --functions: listed, not run
	Config     json.RawMessage // function.json as read (byte order mark removed)
	Faults     []Fault         // with any, the function does not run
}

// Runnable reports whether the function can be served: it has no fault and is
// not excluded. Disabled functions are runnable (a master key opens them).
func (f *Function) Runnable() bool { return len(f.Faults) == 0 && !f.Excluded }

// Trigger gives the function's trigger binding, nil when it has none.
func (f *Function) Trigger() *Binding {
	for i := range f.Bindings {
		if f.Bindings[i].IsTrigger() {
			return &f.Bindings[i]
		}
	}
	return nil
}

// HTTP gives the HTTP trigger, nil when the function has another one.
func (f *Function) HTTP() *HTTPTrigger {
	if t := f.Trigger(); t != nil {
		return t.HTTP
	}
	return nil
}

// Direction of a binding.
type Direction uint8

const (
	In Direction = iota
	Out
	InOut
)

// Binding is one entry of "bindings". Binding expressions %Name% in its string
// properties are resolved already (routes excepted).
type Binding struct {
	Name        string
	Type        string // as written, for example "httpTrigger"
	Direction   Direction
	DataType    string // "", "string", "binary" or "stream"
	Cardinality string // "", "one" or "many"
	Connection  string
	Properties  map[string]any // all other members by lower-cased name; numbers are json.Number
	HTTP        *HTTPTrigger   // set for type httpTrigger only
}

// AuthLevel is the level a caller needs.
type AuthLevel uint8

const (
	LevelAnonymous AuthLevel = iota
	LevelUser
	LevelFunction
	LevelSystem
	LevelAdmin
)

// HTTPTrigger is what an httpTrigger binding says.
type HTTPTrigger struct {
	Route     string   // without prefix; the function's name when not given
	HasRoute  bool     // the binding gave a route
	Methods   []string // upper-cased; empty means every method
	AuthLevel AuthLevel
}

// Retry is a retry policy.
type Retry struct {
	Strategy        string // "fixedDelay" or "exponentialBackoff"
	MaxRetryCount   int    // -1 is for ever
	DelayInterval   time.Duration
	MinimumInterval time.Duration
	MaximumInterval time.Duration
}

// HostConfig is what host.json and the AzureFunctionsJobHost__ settings say,
// defaults filled in.
type HostConfig struct {
	Raw              json.RawMessage // host.json as read (byte order mark removed); nil without a file
	FunctionTimeout  time.Duration   // 0 is unlimited; default 30 minutes
	HTTP             HTTPConfig
	Queues           QueuesConfig
	CustomHandler    *CustomHandler // nil when there is none
	Retry            *Retry
	WatchDirectories []string // top-level folder names
	WatchFiles       []string
	Functions        []string // allow-list; nil is all
	LogLevels        map[string]string
	ConsoleLogging   bool
	// SendCanceledInvocations is host.json sendCanceledInvocationsToWorker.
	SendCanceledInvocations bool
	SequentialRestart       bool
	ExtensionBundle         *ExtensionBundle
}

// ExtensionBundle is host.json extensionBundle, kept for status answers only.
type ExtensionBundle struct{ ID, Version string }

// Encodings of queue messages.
const (
	EncodingBase64 = "base64"
	EncodingNone   = "none"
)

// QueuesConfig is host.json extensions.queues.
type QueuesConfig struct {
	BatchSize          int           // messages asked for at a time, 1 to 32; default 16
	NewBatchThreshold  int           // messages in progress at which more are asked for; default half of BatchSize
	MaxPollingInterval time.Duration // between looks at a queue that is empty; default 1 minute
	VisibilityTimeout  time.Duration // before a message that failed is tried again; default 0
	MaxDequeueCount    int           // tries before a message is poison; default 5
	MessageEncoding    string        // EncodingBase64, the default, or EncodingNone
}

// HTTPConfig is host.json extensions.http.
type HTTPConfig struct {
	RoutePrefix            string // default "api"
	MaxOutstandingRequests int    // -1 is no limit
	MaxConcurrentRequests  int    // -1 is no limit
	DynamicThrottles       bool
	CustomHeaders          map[string]string
	HSTS                   *HSTS // nil when not enabled
}

// HSTS is host.json extensions.http.hsts.
type HSTS struct {
	MaxAge            time.Duration
	IncludeSubDomains bool
	Preload           bool
	ExcludedHosts     []string // default localhost, 127.0.0.1, [::1]
}

// CustomHandler is host.json customHandler (or the legacy httpWorker).
type CustomHandler struct {
	Executable       string // %VAR% expanded, not yet looked up
	WorkerPath       string
	Arguments        []string // before WorkerPath
	WorkerArguments  []string // after WorkerPath
	WorkerDirectory  string
	WorkingDirectory string // absolute; default the app root
	Forward          bool   // enableForwardingHttpRequest
	Proxy            bool   // enableProxyingHttpRequest; wins over Forward
	Port             int    // 0 is a free one
	Legacy           bool   // from httpWorker: forwards to /<FunctionName>
	Routes           []HandlerRoute
}

// HandlerRoute is one of customHandler.http.routes.
type HandlerRoute struct {
	Route     string
	AuthLevel AuthLevel
}

// LocalSettings is what local.settings.json says.
type LocalSettings struct {
	Values            map[string]string
	ConnectionStrings map[string]string
	Port              int    // Host.LocalHttpPort, 0 when absent
	Address           string // Host.LocalHttpAddress
	CORS              []string
	CORSCredentials   bool
	Notes             []string // worth a warning, not faults
}

// IsTrigger reports whether the binding starts its function: its type ends in
// "trigger", ignoring case.
func (b *Binding) IsTrigger() bool {
	return len(b.Type) >= 7 && strings.EqualFold(b.Type[len(b.Type)-7:], "trigger")
}
