package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/problem"
)

func newAppSettings(env *Env) *cobra.Command {
	c := newGroup("settings", "List and change the settings of an app", newSettingsList(env), newSettingsSet(env), newSettingsDelete(env))
	c.Long = "App settings are the environment of an app's handler. A change restarts the app without\n" +
		"an outage."
	return c
}

// settingView is a setting as it is shown. Its JSON form is a contract.
type settingView struct {
	Name  string  `json:"name"`
	Value *string `json:"value,omitempty"` // only when it is to be shown
	Size  int     `json:"size"`            // bytes of the value
}

// printSettings shows settings, of which names choose some; none are all.
func (s *session) printSettings(settings map[string]string, show bool, names ...string) error {
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(settings))
	}
	views, rows := make([]settingView, len(names)), make([][]string, len(names))
	for n, name := range names {
		value := settings[name]
		views[n] = settingView{Name: name, Size: len(value)}
		rows[n] = []string{name, fmt.Sprintf("hidden, %s", countOf(len(value), "byte"))}
		if show {
			views[n].Value, rows[n][1] = &value, value
		}
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, views)
	}
	return writeTable(s.env.Stdout, "NAME VALUE", rows)
}

func newSettingsList(env *Env) *cobra.Command {
	s := newSession(env)
	var show bool
	c := &cobra.Command{
		Use:     "list NAME",
		Short:   "List the settings of an app, values hidden unless asked for",
		Example: "  latchkey app settings list orders\n  latchkey app settings list orders --show-values --output json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, a, err := s.openApp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			settings, err := in.Settings(cmd.Context(), a)
			if err != nil {
				return err
			}
			return s.printSettings(settings, show)
		},
	}
	s.addTo(c)
	c.Flags().BoolVar(&show, "show-values", false, "show the values")
	return c
}

func newSettingsSet(env *Env) *cobra.Command {
	s := newSession(env)
	var show bool
	c := &cobra.Command{
		Use:   "set NAME K=V...",
		Short: "Set settings of an app; others stay as they are",
		Long: "K=V sets a value, K=@file the content of a file without the line end, K=- what comes\n" +
			"from standard input or is typed unseen. Use those two for secrets: arguments can be\n" +
			"seen by other users of the machine. K=@@text stands for a value that begins with @.",
		Example: "  latchkey app settings set orders GREETING=Hello\n  latchkey app settings set orders DB=@db.txt\n" +
			"  printf %s \"$TOKEN\" | latchkey app settings set orders TOKEN=-",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return setSettings(cmd.Context(), s, show, args[0], args[1:])
		},
	}
	s.addTo(c)
	c.Flags().BoolVar(&show, "show-values", false, "show the values that were set")
	return c
}

func setSettings(ctx context.Context, s *session, show bool, name string, pairs []string) error {
	wanted, err := readSettings(ctx, s.env, pairs)
	if err != nil {
		return err
	}
	in, a, err := s.openApp(ctx, name)
	if err != nil {
		return err
	}
	settings, err := in.ChangeSettings(ctx, a, func(have map[string]string) error {
		for k, v := range wanted {
			if old, ok := spelled(have, k); ok {
				delete(have, old)
			}
			have[k] = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.printSettings(settings, show, slices.Sorted(maps.Keys(wanted))...)
}

// spelled finds a setting whatever its case: programs find it so too.
func spelled(settings map[string]string, name string) (string, bool) {
	if _, ok := settings[name]; ok {
		return name, true
	}
	for have := range settings {
		if strings.EqualFold(have, name) {
			return have, true
		}
	}
	return "", false
}

func newSettingsDelete(env *Env) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use:     "delete NAME K...",
		Short:   "Delete settings of an app",
		Example: "  latchkey app settings delete orders GREETING --yes",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deleteSettings(cmd.Context(), s, yes, args[0], args[1:])
		},
	}
	s.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func deleteSettings(ctx context.Context, s *session, yes bool, name string, keys []string) error {
	in, a, err := s.openApp(ctx, name)
	if err != nil {
		return err
	}
	have, err := in.Settings(ctx, a)
	if err != nil {
		return err
	}
	if err := hasSettings(have, keys); err != nil {
		return err
	}
	loss := "the values of " + printable(strings.Join(keys, ", ")) + " of app " + printable(a.Name) + " are lost, and the app restarts without them"
	if err := confirm(ctx, s.env, yes, loss, "delete them?"); err != nil {
		return err
	}
	left, err := in.ChangeSettings(ctx, a, func(have map[string]string) error {
		if err := hasSettings(have, keys); err != nil {
			return err
		}
		for _, k := range keys {
			old, _ := spelled(have, k)
			delete(have, old)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return s.printSettings(left, false)
	}
	_, err = fmt.Fprintf(s.env.Stdout, "deleted %s\n", printable(strings.Join(keys, ", ")))
	return err
}

// hasSettings refuses names of settings that are not there.
func hasSettings(settings map[string]string, names []string) error {
	for _, name := range names {
		if strings.Contains(name, "=") {
			return usageError{errors.New("settings to delete are named without a value")}
		}
		if _, ok := spelled(settings, name); ok {
			continue
		}
		missing := problem.New(problem.NotFound, "the app has no setting "+printable(name))
		if len(settings) == 0 {
			return missing.WithNext("it has no settings at all")
		}
		return missing.WithNext("the settings there are: " + strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
	}
	return nil
}
