package funcapp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// Description is a function as a language worker found it in an app's code.
type Description struct {
	Name       string
	Directory  string
	ScriptFile string
	EntryPoint string
	Bindings   []string // JSON text, one object per binding
	Retry      *Retry   // nil when the code says nothing
	Fault      string   // what the worker says is wrong with it; "" for nothing
}

// Describe checks functions that a worker found the way Load checks those of
// function.json files, and gives them ordered by name, faults included. Nothing
// in the app is changed. Safe for concurrent use.
func (a *App) Describe(env Env, found []Description) []Function {
	l := &loader{app: &App{Root: a.Root, Host: a.Host}, realRoot: a.Root, settings: newSettings(env)}
	for i := range found {
		l.app.Functions = append(l.app.Functions, l.described(&found[i]))
	}
	l.finish()
	return l.app.Functions
}

func (l *loader) described(d *Description) Function {
	f := Function{Name: printable(d.Name), Directory: d.Directory, ScriptFile: d.ScriptFile, EntryPoint: d.EntryPoint,
		Language: l.language(d.ScriptFile), Retry: d.Retry}
	r := reporter{file: "function " + f.Name, function: f.Name, list: &f.Faults}
	if err := ValidName(d.Name); err != nil {
		r.at(nil, "rename the function", "%v", err)
		return f
	}
	if d.Fault != "" {
		r.at(nil, "", "%s", printable(d.Fault))
	}
	text := l.describedText(d)
	doc, issues := parseDocument(text, namesFold)
	r.issues(issues)
	if doc == nil || doc.root.kind != objectNode {
		return f
	}
	f.Config = doc.text
	f.Bindings = l.bindings(r, doc.root, f.Name)
	for i := range f.Faults {
		f.Faults[i].Line = 0 // nobody has written these lines
	}
	return f
}

// describedText gives what function.json would say. A binding that is no JSON
// stands in it as its text, which is a fault.
func (l *loader) describedText(d *Description) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range [][2]string{{"name", d.Name}, {"scriptFile", l.relative(d.ScriptFile)}, {"entryPoint", d.EntryPoint}} {
		if m[1] != "" {
			fmt.Fprintf(&b, "%s:%s,", jsonText(m[0]), jsonText(m[1]))
		}
	}
	b.WriteString(`"bindings":[`)
	for i, binding := range d.Bindings {
		if i > 0 {
			b.WriteByte(',')
		}
		if json.Valid([]byte(binding)) {
			b.WriteString(binding)
		} else {
			b.WriteString(jsonText(binding))
		}
	}
	b.WriteString("]}")
	return b.Bytes()
}

func (l *loader) relative(path string) string {
	if rel, err := filepath.Rel(l.app.Root, path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return path
}

func jsonText(s string) string {
	b, err := json.Marshal(strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil { // text only: it cannot fail
		return `""`
	}
	return string(b)
}
