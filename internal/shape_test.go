package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxFunction = 100 // lines
	maxMain     = 20  // lines of a main.go under cmd
	minComment  = 80  // characters of a package comment
)

// longFunctions may be longer than the limit, each with the reason why cutting
// it would make it harder to read: "package.Function" or "package.Type.Method".
var longFunctions = map[string]string{}

// badNames say nothing about what a package owns.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "base", "shared"}

func TestSourcesKeepTheirShape(t *testing.T) {
	used := map[string]bool{}
	for _, p := range list(t) {
		for _, fault := range packageFaults(t, p, used) {
			t.Error(fault)
		}
	}
	for name, reason := range longFunctions {
		if !used[name] || reason == "" {
			t.Errorf("exception for %s is not needed any more, or gives no reason", name)
		}
	}
}

// packageFaults says what is wrong with the files of a package, tests included.
func packageFaults(t *testing.T, p pkg, used map[string]bool) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set, comment, sources := token.NewFileSet(), "", 0
	var faults []string
	for _, name := range names {
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s does not parse: %v", name, err))
			continue
		}
		if ast.IsGenerated(file) {
			continue
		}
		faults = append(faults, fileFaults(set, p.Path, file, used)...)
		if !strings.HasSuffix(name, "_test.go") {
			sources++
			comment += file.Doc.Text()
		}
	}
	if sources > 0 {
		faults = append(faults, commentFaults(p.Path, comment)...)
	}
	return append(faults, nameFaults(p)...)
}

// fileFaults finds long functions, init functions and long mains.
func fileFaults(set *token.FileSet, path string, file *ast.File, used map[string]bool) []string {
	var faults []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		at, name := set.Position(f.Pos()), path+"."+functionName(f)
		lines := set.Position(f.End()).Line - at.Line + 1
		if f.Recv == nil && f.Name.Name == "init" {
			faults = append(faults, fmt.Sprintf("%s: no init functions: wire it up in server or cli", at))
		}
		if lines <= maxFunction {
			continue
		}
		used[name] = true
		if longFunctions[name] == "" {
			faults = append(faults, fmt.Sprintf("%s: %s has %d lines, more than %d", at, name, lines, maxFunction))
		}
	}
	end := set.Position(file.End())
	if strings.HasPrefix(path, "cmd/") && filepath.Base(end.Filename) == "main.go" && end.Line > maxMain {
		faults = append(faults, fmt.Sprintf("%s has more than %d lines: the program belongs in cli", end.Filename, maxMain))
	}
	return faults
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr:
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		case *ast.Ident:
			return r.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}

// commentFaults asks for what a package owns and what it does not know, which
// no comment of one short sentence says.
func commentFaults(path, comment string) []string {
	text := strings.Join(strings.Fields(comment), " ")
	sentences := strings.Count(text+" ", ". ")
	if len(text) < minComment || sentences < 2 {
		return []string{fmt.Sprintf("package comment of %s is too short (%d characters, %d sentences): "+
			"say what it owns and what it does not know", path, len(text), sentences)}
	}
	return nil
}

func nameFaults(p pkg) []string {
	var faults []string
	for _, part := range append(strings.Split(p.Path, "/"), p.Name) {
		if slices.Contains(badNames, strings.TrimSuffix(part, "_test")) {
			faults = append(faults, fmt.Sprintf("package %s: %q does not say what it is about", p.Path, part))
		}
	}
	return slices.Compact(faults)
}

func TestShapeRulesFindWhatTheyForbid(t *testing.T) {
	const line = "\t_ = 0\n"
	tests := []struct {
		name, path, file, source string
		faults                   int
	}{
		{"short function", "internal/x", "x.go", "package x\nfunc f() {\n" + strings.Repeat(line, 98) + "}\n", 0},
		{"long function", "internal/x", "x.go", "package x\nfunc f() {\n" + strings.Repeat(line, 99) + "}\n", 1},
		{"long method", "internal/x", "x.go", "package x\ntype t[A any] int\nfunc (*t[A]) f() {\n" + strings.Repeat(line, 99) + "}\n", 1},
		{"init", "internal/x", "x.go", "package x\nfunc init() {}\n", 1},
		{"method called init", "internal/x", "x.go", "package x\ntype t int\nfunc (t) init() {}\n", 0},
		{"short main", "cmd/x", "main.go", "package main\nfunc main() {\n" + strings.Repeat(line, 17) + "}\n", 0},
		{"long main", "cmd/x", "main.go", "package main\nfunc main() {\n" + strings.Repeat(line, 18) + "}\n", 1},
	}
	for _, tt := range tests {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, tt.file, tt.source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		used := map[string]bool{}
		if got := fileFaults(set, tt.path, file, used); len(got) != tt.faults {
			t.Errorf("%s: %q, want %d faults", tt.name, got, tt.faults)
		}
		if tt.name == "long method" && !used["internal/x.t.f"] {
			t.Errorf("methods are not named: %v", used)
		}
	}
	short := "Package x does things that are described here at some length, but in one sentence only."
	if len(commentFaults("x", short)) == 0 || len(commentFaults("x", "Package x is. Short.")) == 0 ||
		len(commentFaults("x", short+"\nIt does not know y.\n")) != 0 {
		t.Error("comment rule does not tell comments apart")
	}
	if len(nameFaults(pkg{Path: "internal/x/util", Name: "util"})) == 0 || len(nameFaults(pkg{Path: "internal/web", Name: "web"})) != 0 {
		t.Error("name rule does not tell names apart")
	}
}
