package route

import "strings"

// Ambiguous reports whether a path that got to e would get to another function if
// its reader took an escaped slash for a slash, or what follows a semicolon for
// parameters of the path, as some HTTP libraries do. Such a path must not pass
// for one whose key was checked.
func (t *Table) Ambiguous(method, escapedPath string, e *Entry) bool {
	if !strings.ContainsAny(escapedPath, "%;") {
		return false
	}
	plain := plainSlashes(escapedPath)
	if plain == escapedPath {
		return false
	}
	other, _ := t.Match(method, plain, nil)
	return other != nil && other != e
}

// plainSlashes gives a path with escaped slashes as slashes and without path
// parameters.
func plainSlashes(path string) string {
	path = strings.ReplaceAll(strings.ReplaceAll(path, "%2F", "/"), "%2f", "/")
	path = strings.ReplaceAll(strings.ReplaceAll(path, "%3B", ";"), "%3b", ";")
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}
