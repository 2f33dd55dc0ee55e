package funcapp

import (
	"os"
	"path/filepath"
	"strings"
)

// script finds a function's script: scriptFile, else the only other file of
// the folder, else one with a customary name. The stock host lets scriptFile
// point anywhere; here it must stay inside the app folder.
func (l *loader) script(r reporter, dir string, n *node) string {
	name := strings.ReplaceAll(r.str(n, "scriptFile"), `\`, "/")
	if name == "" {
		if name = defaultScript(dir); name == "" {
			r.at(nil, "add scriptFile to function.json", "no script: scriptFile is not given and the folder holds no run.*, index.js, index.mjs, index.cjs or __init__.py")
			return ""
		}
	}
	path := filepath.Join(dir, name)
	if !inside(l.app.Root, path) || strings.Contains(name, "\x00") {
		r.at(n, "move the script into the app", "scriptFile leads out of the app folder")
		return ""
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		r.at(n, "build the app, or correct scriptFile", "scriptFile %s: %v", quote(name), plainCause(err))
		return ""
	}
	if !inside(l.realRoot, real) {
		r.at(n, "copy the script into the app", "scriptFile is a link that leads out of the app folder")
		return ""
	}
	if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
		r.at(n, "", "scriptFile %s is not a file", quote(name))
		return ""
	}
	return path
}

func defaultScript(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && !strings.EqualFold(e.Name(), functionFile) {
			files = append(files, e.Name())
		}
	}
	if len(files) == 1 {
		return files[0]
	}
	for _, pattern := range []string{"run.*", "index.js", "index.mjs", "index.cjs", "__init__.py"} {
		for _, f := range files {
			if ok, _ := filepath.Match(pattern, strings.ToLower(f)); ok {
				return f
			}
		}
	}
	return ""
}
