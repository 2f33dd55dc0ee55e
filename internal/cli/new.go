package cli

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/problem"
)

// templates are the starter apps, one folder each. Files end in .tmpl so that no
// tool takes them for what they will be.
//
//go:embed templates
var templates embed.FS

const (
	templateSuffix = ".tmpl"
	dotPrefix      = "dot-" // of files whose name begins with a dot
)

var runtimes = []string{"node", "custom-go", "custom-node"}

func newNew(env *Env) *cobra.Command {
	runtime := &choice{allowed: runtimes}
	c := &cobra.Command{
		Use:   "new NAME --runtime RUNTIME",
		Short: "Make a starter app",
		Long: "Makes a folder NAME here with an app of one HTTP function: a Node.js app, or one\n" +
			"whose function is answered by a custom handler.",
		Example: "  latchkey new shop --runtime node\n  latchkey new shop --runtime custom-go\n  latchkey new shop --runtime custom-node",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if runtime.value == "" {
				return usageError{errors.New("--runtime is missing; use " + strings.Join(runtimes[:len(runtimes)-1], ", ") + " or " + runtimes[len(runtimes)-1])}
			}
			return newApp(env, args[0], runtime.value)
		},
	}
	runtime.addAs(c, "runtime", "language of the app, or of its handler")
	return c
}

var appName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,59}$`)

// checkAppName keeps names to what is a folder here and nowhere else, a module
// and part of a host name alike.
func checkAppName(name string) error {
	if appName.MatchString(name) {
		return nil
	}
	const most = 60
	shown := strconv.QuoteToGraphic(strings.ToValidUTF8(name, "?"))
	if len(name) > most {
		shown = strconv.QuoteToGraphic(strings.ToValidUTF8(name[:most], "")) + "…"
	}
	return usageError{problem.New(problem.Invalid, shown+" cannot be an app's name").
		WithNext("use a letter, then up to 59 letters, digits, _ or -")}
}

func newApp(env *Env, name, runtime string) error {
	if err := checkAppName(name); err != nil {
		return err
	}
	if err := claimFolder(name); err != nil {
		return err
	}
	source, err := fs.Sub(templates, "templates/"+runtime)
	if err == nil {
		err = writeTemplates(source, name)
	}
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the app could not be written", err)
	}
	return printNewApp(env, name, runtime)
}

// claimFolder makes the folder, or takes an empty one.
func claimFolder(name string) error {
	err := os.Mkdir(name, 0o755)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return problem.Wrap(problem.Unavailable, "the folder "+name+" cannot be made", err)
	}
	if entries, err := os.ReadDir(name); err != nil || len(entries) > 0 {
		return problem.New(problem.Exists, name+" is there already and is not an empty folder; nothing was changed").
			WithNext("choose another name, or move it aside")
	}
	return nil
}

func writeTemplates(source fs.FS, name string) error {
	return fs.WalkDir(source, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return writeTemplate(source, path, name)
	})
}

func writeTemplate(source fs.FS, path, name string) error {
	t, err := template.ParseFS(source, path)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, struct{ Name, Package string }{name, strings.ToLower(name)}); err != nil {
		return err
	}
	target := filepath.Join(name, filepath.FromSlash(targetName(path)))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, text.Bytes(), modeOf(target))
}

// modeOf keeps settings, which tend to become secret, from other users.
func modeOf(target string) fs.FileMode {
	if filepath.Base(target) == "local.settings.json" {
		return 0o600
	}
	return 0o644
}

func targetName(path string) string {
	path = strings.TrimSuffix(path, templateSuffix)
	if rest, ok := strings.CutPrefix(path, dotPrefix); ok {
		return "." + rest
	}
	return path
}

func printNewApp(env *Env, name, runtime string) error {
	next := "latchkey start " + name
	switch runtime {
	case "custom-go":
		next = "cd " + name + " && go build -o bin/handler . && latchkey start"
	case "node":
		next = "cd " + name + " && npm install && latchkey start"
	}
	_, err := fmt.Fprintf(env.Stdout, "made %s; to run it:\n  %s\n", name, next)
	return err
}
