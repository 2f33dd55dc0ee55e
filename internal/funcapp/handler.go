package funcapp

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

const runtimeSetting = "FUNCTIONS_WORKER_RUNTIME"

// customHandler reads customHandler or the legacy httpWorker section; nil when
// there is none.
func (l *loader) customHandler(r reporter, root *node) *CustomHandler {
	name := "customHandler"
	n := r.section(root.get(name), name)
	legacy := n == nil || len(n.members) == 0
	if legacy {
		name = "httpWorker"
		n = r.section(root.get(name), name)
	}
	if n == nil || len(n.members) == 0 {
		if v, _ := l.settings.lookup(runtimeSetting); strings.EqualFold(v, "custom") {
			r.at(nil, "add customHandler.description.defaultExecutablePath to host.json",
				"%s is custom but host.json has no customHandler", runtimeSetting)
		}
		return nil
	}
	h := &CustomHandler{Legacy: legacy}
	l.describe(r, name, h, n)
	if !legacy {
		h.Forward = r.boolean(n.get("enableForwardingHttpRequest"), "customHandler.enableForwardingHttpRequest", false)
		h.Proxy = r.boolean(n.get("enableProxyingHttpRequest"), "customHandler.enableProxyingHttpRequest", false)
		h.Routes = handlerRoutes(r, r.section(n.get("http"), "customHandler.http"))
	}
	h.Port = r.integer(n.get("port"), name+".port", 0, 0, 65535)
	return h
}

// describe reads the description: what to run and where.
func (l *loader) describe(r reporter, section string, h *CustomHandler, n *node) {
	d := r.section(n.get("description"), section+".description")
	exe := d.get("defaultExecutablePath")
	if exe.absent() || exe.scalar() && strings.TrimSpace(exe.text) == "" {
		r.at(firstOf(exe, d, n), "name the program that serves the functions", "%s.description.defaultExecutablePath is missing", section)
	} else {
		h.Executable = l.expanded(r, exe, section+".description.defaultExecutablePath")
	}
	h.WorkerPath = l.expanded(r, d.get("defaultWorkerPath"), section+".description.defaultWorkerPath")
	h.Arguments = l.arguments(r, d.get("arguments"), section+".description.arguments")
	h.WorkerArguments = l.arguments(r, d.get("workerArguments"), section+".description.workerArguments")
	h.WorkerDirectory = l.expanded(r, d.get("workerDirectory"), section+".description.workerDirectory")
	h.WorkingDirectory = l.app.Root
	if dir := l.expanded(r, d.get("workingDirectory"), section+".description.workingDirectory"); filepath.IsAbs(dir) {
		h.WorkingDirectory = filepath.Clean(dir)
	} else if dir != "" {
		h.WorkingDirectory = filepath.Join(l.app.Root, dir)
	}
}

// expanded reads a path with %VAR% replaced by settings. A variable that is
// not set is a fault: the path could not exist.
func (l *loader) expanded(r reporter, n *node, name string) string {
	text, missing := l.expand(r.str(n, name))
	for _, m := range missing {
		r.at(n, "set "+printable(m), "%s: %%%s%% does not resolve to a value", name, printable(m))
	}
	if strings.Contains(text, "\x00") {
		r.at(n, "", "%s holds a zero byte", name)
		return ""
	}
	return text
}

// arguments expands %VAR% where it resolves; other percent signs stay, since
// arguments may hold them for reasons of their own.
func (l *loader) arguments(r reporter, n *node, name string) []string {
	list := r.strings(n, name)
	for i := range list {
		list[i], _ = l.expand(list[i])
		if strings.Contains(list[i], "\x00") {
			r.at(n, "", "%s holds a zero byte", name)
			return nil
		}
	}
	return list
}

// expand replaces each %VAR% that is set; those that are not stay and are
// listed. A percent sign that starts no name stays too.
func (l *loader) expand(text string) (out string, missing []string) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "%")
		b.WriteString(before)
		if !ok {
			return b.String(), missing
		}
		name, after, closed := strings.Cut(rest, "%")
		if !closed || name == "" || strings.ContainsFunc(name, notInVariable) {
			b.WriteByte('%')
			text = rest
			continue
		}
		v, found := l.settings.lookup(name)
		if !found {
			v = "%" + name + "%"
			missing = append(missing, name)
		}
		b.WriteString(v)
		text = after
	}
}

func notInVariable(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_.:-()", c)
}

func handlerRoutes(r reporter, n *node) []HandlerRoute {
	def := LevelFunction
	if v := n.get("defaultAuthorizationLevel"); !v.absent() {
		def = authLevel(r, v, "customHandler.http.defaultAuthorizationLevel")
	}
	items, ok := n.get("routes").elements()
	if !ok {
		r.at(n.get("routes"), "", "customHandler.http.routes must be a list")
		return nil
	}
	var list []HandlerRoute
	for _, item := range items {
		if item = r.section(item, "an entry of customHandler.http.routes"); item == nil {
			continue
		}
		route := HandlerRoute{Route: routeText(r, item), AuthLevel: def}
		if v := item.get("authorizationLevel"); !v.absent() {
			route.AuthLevel = authLevel(r, v, "customHandler.http.routes: authorizationLevel")
		}
		list = append(list, route)
	}
	return list
}

// routeText checks a route of the handler: not empty, no spaces, no "//",
// balanced braces, no "{}".
func routeText(r reporter, item *node) string {
	n := item.get("route")
	s := r.str(n, "customHandler.http.routes: route")
	what := ""
	switch {
	case strings.TrimSpace(s) == "":
		what = "is missing"
	case strings.ContainsAny(s, " \t\r\n"):
		what = "holds a space"
	case strings.Contains(s, "//"):
		what = `holds "//"`
	case strings.Contains(s, "{}"):
		what = `holds "{}"`
	case strings.Count(s, "{") != strings.Count(s, "}"):
		what = "has unbalanced braces"
	default:
		return strings.Trim(s, "/")
	}
	r.at(firstOf(n, item), "", "customHandler.http.routes: route %s", what)
	return s
}

// handlerMethods are the methods of functions made from customHandler.http.routes.
var handlerMethods = []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"}

// handlerFunctions makes the functions http-handler1, 2, … for the routes.
func handlerFunctions(h *CustomHandler) []Function {
	var list []Function
	for i, route := range h.Routes {
		t := &HTTPTrigger{Route: route.Route, HasRoute: true, Methods: slices.Clone(handlerMethods), AuthLevel: route.AuthLevel}
		f := Function{
			Name:     fmt.Sprintf("http-handler%d", i+1),
			Language: "custom",
			Bindings: []Binding{
				{Name: "req", Type: "httpTrigger", Direction: In, Properties: map[string]any{}, HTTP: t},
				{Name: "res", Type: "http", Direction: Out, Properties: map[string]any{}},
			},
			Config: handlerMetadata(t),
		}
		list = append(list, f)
	}
	return list
}

func handlerMetadata(t *HTTPTrigger) json.RawMessage {
	methods := make([]string, len(t.Methods))
	for i, m := range t.Methods {
		methods[i] = strings.ToLower(m)
	}
	text, err := json.Marshal(map[string]any{"bindings": []map[string]any{
		{"type": "httpTrigger", "name": "req", "direction": "in", "route": t.Route, "methods": methods, "authLevel": authLevelNames[t.AuthLevel]},
		{"type": "http", "name": "res", "direction": "out"},
	}})
	if err != nil { // texts only: it cannot fail
		return nil
	}
	return text
}
