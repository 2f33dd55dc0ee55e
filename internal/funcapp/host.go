package funcapp

import (
	"math"
	"path/filepath"
	"strings"
	"time"
)

const hostFile = "host.json"

// defaultHost is host.json with nothing in it.
func defaultHost() HostConfig {
	return HostConfig{
		FunctionTimeout:         30 * time.Minute,
		HTTP:                    HTTPConfig{RoutePrefix: "api", MaxOutstandingRequests: -1, MaxConcurrentRequests: -1},
		Queues:                  defaultQueues(),
		WatchDirectories:        []string{"node_modules"},
		ConsoleLogging:          true,
		SendCanceledInvocations: true,
	}
}

// host reads host.json and the settings that override it. It reports whether
// the file is there; a file that cannot be read counts as there.
func (l *loader) host() (present bool) {
	l.app.Host = defaultHost()
	before := len(l.app.Faults)
	r := reporter{file: hostFile, list: &l.app.Faults}
	data, ok := r.read(filepath.Join(l.app.Root, hostFile))
	present = ok || len(l.app.Faults) > before
	root := &node{kind: objectNode}
	if ok {
		doc, issues := parseDocument(data, namesFold)
		r.issues(issues)
		if doc == nil {
			l.hostUnread = true
			return present
		}
		l.app.Host.Raw = doc.text
		if root = doc.root; root.kind != objectNode {
			r.at(root, `write {"version": "2.0"}`, "the file's content must be an object")
			l.hostUnread = true
			return present
		}
		checkVersion(r, root)
	}
	for _, o := range overrides(l.settings.exact) {
		root.overlay(o)
	}
	l.hostKeys(r, root)
	return present
}

func checkVersion(r reporter, root *node) {
	const next = `write "version": "2.0"`
	v := root.get("version")
	if v.absent() {
		r.at(root, next, "host.json has no version")
		return
	}
	if v.kind != textNode || v.text != "2.0" {
		r.at(v, next, "host.json version must be the text \"2.0\", it is %s", quote(v.text))
	}
}

func (l *loader) hostKeys(r reporter, root *node) {
	h := &l.app.Host
	h.FunctionTimeout = functionTimeout(r, root.get("functionTimeout"))
	h.HTTP = httpConfig(r, r.section(root.at("extensions", "http"), "extensions.http"))
	h.Queues = queuesConfig(r, r.section(root.at("extensions", "queues"), "extensions.queues"))
	h.Retry = retryPolicy(r, root.get("retry"))
	h.WatchDirectories = append(h.WatchDirectories, r.strings(root.get("watchDirectories"), "watchDirectories")...)
	h.WatchFiles = r.strings(root.get("watchFiles"), "watchFiles")
	h.Functions = r.strings(root.get("functions"), "functions")
	h.LogLevels = logLevels(r, r.section(root.at("logging", "logLevel"), "logging.logLevel"))
	h.ConsoleLogging = r.boolean(root.at("logging", "console", "isEnabled"), "logging.console.isEnabled", true)
	h.SendCanceledInvocations = r.boolean(root.get("sendCanceledInvocationsToWorker"), "sendCanceledInvocationsToWorker", true)
	h.SequentialRestart = r.boolean(root.get("sequentialRestart"), "sequentialRestart", false)
	if b := r.section(root.get("extensionBundle"), "extensionBundle"); b != nil {
		h.ExtensionBundle = &ExtensionBundle{r.str(b.get("id"), "extensionBundle.id"), r.str(b.get("version"), "extensionBundle.version")}
	}
	h.CustomHandler = l.customHandler(r, root)
}

func functionTimeout(r reporter, n *node) time.Duration {
	if n.scalar() && strings.TrimSpace(n.text) == "-1" {
		return 0
	}
	d := r.span(n, "functionTimeout", 30*time.Minute)
	if d < time.Second {
		r.at(n, `use "-1" for no limit`, "functionTimeout must be at least 00:00:01")
		return 30 * time.Minute
	}
	return d
}

var knownLogLevels = []string{"Trace", "Debug", "Information", "Warning", "Error", "Critical", "None"}

func logLevels(r reporter, n *node) map[string]string {
	if n == nil {
		return nil
	}
	m := make(map[string]string, len(n.members))
	for _, e := range n.members {
		if e.value.absent() {
			continue
		}
		level := oneOf(r.str(e.value, "logging.logLevel"), knownLogLevels)
		if level == "" {
			r.at(e.value, "use one of "+strings.Join(knownLogLevels, ", "), "logging.logLevel: %s has an unknown level", quote(e.name))
			continue
		}
		m[e.name] = level
	}
	return m
}

// oneOf gives the entry equal to s ignoring case, "" when there is none.
func oneOf(s string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(k, s) {
			return k
		}
	}
	return ""
}

// retryPolicy reads host.json "retry" or a function's own; nil when absent or
// faulty.
func retryPolicy(r reporter, n *node) *Retry {
	if n = r.section(n, "retry"); n == nil {
		return nil
	}
	before := len(*r.list)
	p := &Retry{Strategy: oneOf(r.str(n.get("strategy"), "retry.strategy"), []string{"fixedDelay", "exponentialBackoff"})}
	requireMember(r, n, "maxRetryCount")
	p.MaxRetryCount = r.integer(n.get("maxRetryCount"), "retry.maxRetryCount", 0, -1, math.MaxInt32)
	switch p.Strategy {
	case "fixedDelay":
		p.DelayInterval = retrySpan(r, n, "delayInterval")
	case "exponentialBackoff":
		p.MinimumInterval = retrySpan(r, n, "minimumInterval")
		p.MaximumInterval = retrySpan(r, n, "maximumInterval")
		if p.MinimumInterval > p.MaximumInterval {
			r.at(n.get("minimumInterval"), "", "retry.minimumInterval is longer than retry.maximumInterval")
		}
	default:
		r.at(firstOf(n.get("strategy"), n), "", "retry.strategy must be fixedDelay or exponentialBackoff")
	}
	if len(*r.list) > before {
		return nil
	}
	return p
}

func retrySpan(r reporter, n *node, name string) time.Duration {
	requireMember(r, n, name)
	d := r.span(n.get(name), "retry."+name, 0)
	if d < 0 {
		r.at(n.get(name), "", "retry.%s must not be negative", name)
	}
	return d
}

func requireMember(r reporter, n *node, name string) {
	if n.get(name).absent() {
		r.at(n, "add "+name, "retry.%s is missing", name)
	}
}

// firstOf gives the first node that is there, for the place of a fault.
func firstOf(nodes ...*node) *node {
	for _, n := range nodes {
		if n != nil {
			return n
		}
	}
	return nil
}
