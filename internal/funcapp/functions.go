package funcapp

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const functionFile = "function.json"

// folders makes a function of each direct subfolder that holds function.json.
func (l *loader) folders(entries []fs.DirEntry) {
	for _, e := range entries {
		if !e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		dir := filepath.Join(l.app.Root, e.Name())
		if _, err := os.Lstat(filepath.Join(dir, functionFile)); err == nil {
			l.app.Functions = append(l.app.Functions, l.function(dir, e.Name()))
		}
	}
}

// function reads one folder. A function with faults is listed with what could
// be read of it.
func (l *loader) function(dir, folder string) Function {
	f := Function{Name: printable(folder), Directory: dir, Language: l.language("")}
	r := reporter{file: f.Name + "/" + functionFile, function: f.Name, list: &f.Faults}
	if err := ValidName(folder); err != nil {
		r.at(nil, "rename the folder", "%v", err)
		return f
	}
	data, ok := l.functionText(r, dir)
	if !ok {
		return f
	}
	doc, issues := parseDocument(data, namesFold)
	r.issues(issues)
	if doc == nil {
		return f
	}
	f.Config = doc.text
	if doc.root.kind != objectNode {
		r.at(doc.root, "", "the file's content must be an object")
		return f
	}
	l.describeFunction(r, &f, doc.root)
	return f
}

// functionText reads function.json after making sure that neither the folder
// nor the file leads out of the app.
func (l *loader) functionText(r reporter, dir string) ([]byte, bool) {
	path := filepath.Join(dir, functionFile)
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		r.at(nil, "", "cannot be read: %v", plainCause(err))
		return nil, false
	}
	if !inside(l.realRoot, real) {
		r.at(nil, "copy the folder into the app", "is a link that leads out of the app folder")
		return nil, false
	}
	data, ok := r.read(real)
	if !ok && len(*r.list) == 0 {
		r.at(nil, "", "cannot be read: it has gone")
	}
	return data, ok
}

func (l *loader) describeFunction(r reporter, f *Function, root *node) {
	f.EntryPoint = r.str(root.get("entryPoint"), "entryPoint")
	f.Disabled = l.oldDisabled(r, root.get("disabled"))
	f.Retry = retryPolicy(r, root.get("retry"))
	f.Bindings = l.bindings(r, root, f.Name)
	if l.needsScript() {
		f.ScriptFile = l.script(r, f.Directory, root.get("scriptFile"))
		f.Language = l.language(f.ScriptFile)
	}
}

// needsScript is false for custom handlers, also when host.json, which would
// describe the handler, is what is broken: one fault is enough.
func (l *loader) needsScript() bool {
	v, _ := l.settings.lookup(runtimeSetting)
	return l.app.Host.CustomHandler == nil && !l.hostUnread && !strings.EqualFold(v, "custom")
}

// oldDisabled honours the "disabled" member of old function.json files: true,
// or the name of a setting that is true or 1. Current hosts ignore it; running
// what its owner switched off is the worse mistake.
func (l *loader) oldDisabled(r reporter, n *node) bool {
	if n.absent() {
		return false
	}
	if n.kind == textNode && !truthy(n.text) && !strings.EqualFold(n.text, "false") {
		v, _ := l.settings.lookup(n.text)
		return truthy(v)
	}
	return r.boolean(n, "disabled", truthy(n.text))
}

var scriptLanguages = map[string]string{
	".js": "node", ".mjs": "node", ".cjs": "node", ".ts": "node", ".py": "python",
	".ps1": "powershell", ".jar": "java", ".dll": "dotnet", ".csx": "dotnet",
}

// language is custom with a custom handler, else what the settings say, else
// what the script's extension tells.
func (l *loader) language(script string) string {
	if l.app.Host.CustomHandler != nil {
		return "custom"
	}
	if v, _ := l.settings.lookup(runtimeSetting); v != "" {
		return strings.ToLower(v)
	}
	return scriptLanguages[strings.ToLower(filepath.Ext(script))]
}
