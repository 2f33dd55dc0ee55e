package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/server"
)

func newFunctions(env *Env) *cobra.Command {
	return newGroup("functions", "List the functions of an app", newFunctionsList(env))
}

// functionsFlags are the flags of functions list.
type functionsFlags struct {
	dataDir, url string
	showKeys     bool
	out          *choice
}

func newFunctionsList(env *Env) *cobra.Command {
	f := functionsFlags{out: tableOrJSON()}
	c := &cobra.Command{
		Use:     "list [DIR]",
		Short:   "List functions with their URLs and, if asked, their keys",
		Example: "  latchkey functions list\n  latchkey functions list --show-keys --output json ./shop",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return listFunctions(cmd.Context(), env, f, dirArg(args))
		},
	}
	f.out.addTo(c)
	c.Flags().StringVar(&f.url, "url", "", "where the app is reached (default: http://localhost and the port of local.settings.json, else 7071)")
	c.Flags().BoolVar(&f.showKeys, "show-keys", false, "show the keys that open each function")
	addDataDir(c, &f.dataDir)
	return c
}

func listFunctions(ctx context.Context, env *Env, f functionsFlags, dir string) error {
	a, err := openApp(env, dir, f.dataDir)
	if err != nil {
		return err
	}
	sayWhenFound(env, a)
	base := strings.TrimRight(f.url, "/")
	if base == "" {
		base = server.LocalURL(a.cfg)
	}
	list := server.Describe(a.model, base)
	if f.showKeys {
		if err := addKeys(ctx, a, list); err != nil {
			return err
		}
	}
	if f.out.is(formJSON) {
		return writeJSON(env.Stdout, list)
	}
	return functionTable(env, list, f.showKeys)
}

// sayWhenFound tells how old it is what is known of functions that only a start of
// the app finds.
func sayWhenFound(env *Env, a *app) {
	switch {
	case !a.model.FoundAt.IsZero():
		fmt.Fprintf(env.Stderr, "the functions are those that the language worker found at the app's last start, %s\n", a.model.FoundAt.Format(time.RFC3339))
	case server.Indexed(a.model) && len(a.model.App.Faults) == 0:
		fmt.Fprintln(env.Stderr, "no functions are known yet: the language worker finds them when the app is started with this data folder")
	}
}

func addKeys(ctx context.Context, a *app, list []server.FunctionInfo) error {
	keys, err := a.keys(ctx)
	if err != nil {
		return err
	}
	defer keys.Close()
	return server.AddKeys(ctx, keys.Ring, list)
}

func functionTable(env *Env, list []server.FunctionInfo, withKeys bool) error {
	heading := "NAME TRIGGER LEVEL METHODS URL STATE"
	if withKeys {
		heading += " KEYS"
	}
	var rows [][]string
	for _, f := range list {
		row := []string{f.Name, dash(f.Trigger), dash(f.AuthLevel), dash(methodText(f)), dash(f.URL), stateText(f)}
		if withKeys {
			row = append(row, dash(keyText(f)))
		}
		rows = append(rows, row)
	}
	return writeTable(env.Stdout, heading, rows)
}

func methodText(f server.FunctionInfo) string {
	if f.URL != "" && len(f.Methods) == 0 {
		return "ALL"
	}
	return strings.Join(f.Methods, ",")
}

func stateText(f server.FunctionInfo) string {
	switch {
	case len(f.Faults) > 0:
		return "faulty: " + strings.Join(f.Faults, "; ")
	case f.Disabled:
		return "disabled"
	}
	return "ok"
}

// keyText gives the keys by name, the one to show first in front.
func keyText(f server.FunctionInfo) string {
	var parts []string
	for _, name := range sortedKeys(f) {
		parts = append(parts, name+"="+f.Keys[name])
	}
	return strings.Join(parts, " ")
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func sortedKeys(f server.FunctionInfo) []string {
	names := slices.Sorted(maps.Keys(f.Keys))
	if i := slices.Index(names, f.Default); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, f.Default)
	}
	return names
}
