package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
)

func newReferences(env *Env) *cobra.Command {
	c := newGroup("references", "See and refresh the settings that refer to secrets",
		newReferencesList(env), newReferencesShow(env), newReferencesRefresh(env))
	c.Long = "A setting of the form @Microsoft.KeyVault(VaultName=…;SecretName=…) gets its value from a\n" +
		"vault. It is kept up to date whether or not the app runs; when a vault cannot be read, the last\n" +
		"good value stays in use and the reason is shown here. Secrets of container apps that are in a\n" +
		"vault are references as well."
	return c
}

func newReferencesList(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "list [APP]", Short: "Show how references stand, and why",
		Long: "Shows the references of an app, or of all apps: whether they are resolved, which version is\n" +
			"in use, and if not, why. Exits with 1 if one is not resolved.",
		Example: "  latchkey references list orders\n  latchkey references list --output json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.references(cmd.Context(), args, false)
		},
	}
	s.addTo(c)
	return c
}

func newReferencesShow(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "show APP SETTING", Short: "Show one reference, and what became of it so far",
		Long: "Shows how the reference of one setting stands, with the last changes: when it was resolved\n" +
			"or failed, which version was in use from then on, and why. Exits with 1 if it is not resolved.",
		Example: "  latchkey references show orders DB_PASSWORD",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, a, err := s.openApp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := in.Reference(cmd.Context(), a, args[1])
			if err != nil {
				return err
			}
			return s.showReference(r)
		},
	}
	s.addTo(c)
	return c
}

// showReference shows one reference in full.
func (s *session) showReference(r manage.Reference) error {
	var err error
	if s.out.is(formJSON) {
		err = writeJSON(s.env.Stdout, r)
	} else if err = writeFacts(s.env.Stdout, factsOf(r)); err == nil && len(r.History) > 0 {
		rows := make([][]string, len(r.History))
		for n, c := range r.History {
			rows[n] = []string{c.Time.UTC().Format(time.DateTime), string(c.Status), short(c.Version), c.Why}
		}
		fmt.Fprintln(s.env.Stdout)
		err = writeTable(s.env.Stdout, "WHEN STATUS IN-USE WHY", rows)
	}
	if err == nil && r.Status != "Resolved" {
		return quietError{exitFailed}
	}
	return err
}

func factsOf(r manage.Reference) [][2]string {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.DateTime)
	}
	facts := [][2]string{{"setting", r.Setting}, {"status", r.Status}, {"why", whyOf(r)}, {"secret", strings.Trim(r.Vault+"/"+r.Secret, "/")},
		{"pinned to", r.Pinned}, {"in use", inUse(r)}, {"in use since", at(r.GoodSince)}, {"read as", r.Identity},
		{"status since", at(r.Since)}, {"last tried", at(r.LastAttempt)}, {"next refresh", at(r.NextRefresh)}}
	return slices.DeleteFunc(facts, func(f [2]string) bool { return f[1] == "" })
}

func newReferencesRefresh(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "refresh APP", Short: "Read the secrets of an app anew, now",
		Long: "Reads the secrets that an app's settings refer to again and shows how that went. The app\n" +
			"restarts, without an outage, only if a value changed. Exits with 1 if one is not resolved.",
		Example: "  latchkey references refresh orders",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.references(cmd.Context(), args, true)
		},
	}
	s.addTo(c)
	return c
}

// references shows the references of the app that is named, or of all: of function
// apps and of container apps.
func (s *session) references(ctx context.Context, names []string, refresh bool) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	name := strings.Join(names, "")
	contained, found, err := in.ContainerReferences(ctx, name, refresh)
	if err != nil {
		return err
	}
	var apps []manage.App
	if name == "" {
		apps, err = in.Apps(ctx, "")
	} else if !found || !strings.HasPrefix(name, "/") {
		var a manage.App
		if a, err = in.App(ctx, name); err == nil {
			apps = []manage.App{a}
		}
	}
	if err != nil && !found {
		return err
	}
	read := in.References
	if refresh {
		read = in.RefreshReferences
	}
	all := []manage.Reference{}
	for _, a := range apps {
		list, err := read(ctx, a)
		if err != nil {
			return err
		}
		all = append(all, list...)
	}
	return s.showReferences(append(all, contained...))
}

func (s *session) showReferences(all []manage.Reference) error {
	failing := false
	rows := make([][]string, len(all))
	for n, r := range all {
		failing = failing || r.Status != "Resolved"
		rows[n] = []string{r.App, r.Setting, r.Status, strings.Trim(r.Vault+"/"+r.Secret, "/"), inUse(r), whyOf(r)}
	}
	var err error
	if s.out.is(formJSON) {
		err = writeJSON(s.env.Stdout, all)
	} else {
		err = writeTable(s.env.Stdout, "APP SETTING STATUS SECRET IN-USE WHY", rows)
	}
	if err == nil && failing {
		return quietError{exitFailed}
	}
	return err
}

// inUse tells which version an app has.
func inUse(r manage.Reference) string {
	switch {
	case r.Version == "":
		return "(the text)"
	case r.Stale:
		return short(r.Version) + " (stale)"
	}
	return short(r.Version)
}

func short(version string) string {
	if len(version) > 8 {
		return version[:8]
	}
	return version
}

// whyOf tells why a reference is not resolved, and when that is tried again.
func whyOf(r manage.Reference) string {
	if r.Status == "Resolved" {
		return ""
	}
	var parts []string
	for _, part := range []string{r.InnerCode, r.Why} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		parts = append(parts, r.Details)
	}
	if !r.NextRefresh.IsZero() {
		parts = append(parts, "tried again at "+r.NextRefresh.UTC().Format(time.TimeOnly))
	}
	return strings.Join(parts, "; ")
}
