package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/problem"
)

// defaultGroup is the resource group of apps that nobody names one for.
const defaultGroup = "apps"

func newAppCommands(env *Env) *cobra.Command {
	c := newGroup("app", "Create, deploy and change the apps of an installation",
		newAppCreate(env), newAppList(env), newAppShow(env), newAppDeploy(env), newAppReleases(env), newAppRollback(env),
		newAppAct(env, "start", "Start an app that was stopped", "started", ""),
		newAppAct(env, "stop", "Stop an app", "stopped", "callers get 403 until it is started again"),
		newAppAct(env, "restart", "Restart an app without an outage", "restarting", ""),
		newAppDelete(env), newAppSettings(env), newAppFunctions(env), newAppLogs(env))
	c.Long = "Works through the management API of latchkey up. An app is named by its name, or by its\n" +
		"whole id. Which installation, and as whom: --data-dir, then LATCHKEY_CLIENT_* variables,\n" +
		"then latchkey login, then the data folder of this user's latchkey up."
	return c
}

// createFlags are the flags of app create.
type createFlags struct {
	group, location  string
	settings, vaults []string
}

func newAppCreate(env *Env) *cobra.Command {
	s, f := newSession(env), createFlags{}
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an app",
		Example: "  latchkey app create orders\n  latchkey app create orders --setting GREETING=Hello --setting DB=@db.txt\n" +
			"  latchkey app create orders --vault shop --setting 'DB=@Microsoft.KeyVault(VaultName=shop;SecretName=db)'",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return createApp(cmd.Context(), s, f, args[0]) },
	}
	s.addTo(c)
	c.Flags().StringVarP(&f.group, "resource-group", "g", defaultGroup, "resource group, made if it is missing")
	c.Flags().StringVar(&f.location, "location", "local", "location of the app")
	c.Flags().StringArrayVar(&f.vaults, "vault", nil, "a vault whose secrets the app may read, with an identity of its own; may be repeated")
	c.Flags().StringArrayVar(&f.settings, "setting", nil, "an app setting: K=V, K=@file, or K=- for standard input; may be repeated")
	return c
}

func createApp(ctx context.Context, s *session, f createFlags, name string) error {
	settings, err := readSettings(ctx, s.env, f.settings)
	if err != nil {
		return err
	}
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	if a, err := in.App(ctx, name); err == nil {
		return problem.New(problem.Exists, fmt.Sprintf("there is an app %s in resource group %s already", printable(a.Name), printable(a.ResourceGroup))).
			WithNext("choose another name, or change that one with latchkey app settings and latchkey app deploy")
	}
	vaults, err := findVaults(ctx, in, f.vaults)
	if err != nil {
		return err
	}
	later := map[string]string{} // settings that nobody can resolve before the app may read the vaults
	if len(vaults) > 0 {
		maps.DeleteFunc(settings, func(name, value string) bool {
			if isReference(value) {
				later[name] = value
			}
			return isReference(value)
		})
	}
	a, err := in.CreateApp(ctx, manage.NewApp{Name: name, Group: f.group, Location: f.location, Settings: settings})
	if err != nil {
		return err
	}
	if err := s.plugIn(ctx, in, a, vaults, later); err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, a)
	}
	_, err = fmt.Fprintf(s.env.Stdout, "created %s\n  url  %s\n\nNext: latchkey app deploy %s DIR\n", printable(a.Name), printable(a.URL), printable(a.Name))
	return err
}

// plugIn lets a new app read vaults and gives it the settings that need that. The
// settings are set in any case: they are what was asked for.
func (s *session) plugIn(ctx context.Context, in *manage.Installation, a manage.App, vaults []manage.Vault, settings map[string]string) error {
	if len(vaults) == 0 {
		return nil
	}
	_, err := in.AssignIdentity(ctx, a, true, nil, "")
	if err == nil {
		err = s.letRead(ctx, in, a, manage.Identity{}, vaults)
	}
	if len(settings) == 0 {
		return err
	}
	_, failed := in.ChangeSettings(ctx, a, func(all map[string]string) error { maps.Copy(all, settings); return nil })
	return errors.Join(err, failed)
}

// findVaults finds vaults by name, before anything is made that needs them.
func findVaults(ctx context.Context, in *manage.Installation, names []string) ([]manage.Vault, error) {
	vaults := make([]manage.Vault, len(names))
	for n, name := range names {
		var err error
		if vaults[n], err = in.Vault(ctx, name); err != nil {
			return nil, err
		}
	}
	return vaults, nil
}

// letRead lets an identity of an app, its own if none is said, read the secrets of
// vaults.
func (s *session) letRead(ctx context.Context, in *manage.Installation, a manage.App, who manage.Identity, vaults []manage.Vault) error {
	if who.PrincipalID == "" {
		list, err := in.IdentitiesOf(ctx, a)
		if err != nil {
			return err
		}
		if len(list) == 0 || !list[0].System {
			return problem.New(problem.NotFound, "app "+a.Name+" has no identity of its own").WithNext("latchkey identity assign " + a.Name)
		}
		who = list[0]
	}
	for _, v := range vaults {
		given, err := in.LetRead(ctx, v, who.PrincipalID)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.env.Stderr, "%s may read secrets of %s: %s\n", printable(who.Name), printable(v.Name), printable(given))
	}
	return nil
}

func newAppList(env *Env) *cobra.Command {
	s := newSession(env)
	var group string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the apps",
		Example: "  latchkey app list\n  latchkey app list --resource-group apps --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			apps, err := in.Apps(cmd.Context(), group)
			if err != nil {
				return err
			}
			return s.printApps(apps)
		},
	}
	s.addTo(c)
	c.Flags().StringVarP(&group, "resource-group", "g", "", "only apps of this resource group")
	return c
}

func (s *session) printApps(apps []manage.App) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, apps)
	}
	rows := make([][]string, len(apps))
	for n, a := range apps {
		rows[n] = []string{a.Name, a.ResourceGroup, a.State, dash(instanceText(a)), dash(a.Release), a.URL}
	}
	return writeTable(s.env.Stdout, "NAME GROUP WANTED NOW RELEASE URL", rows)
}

// instanceText says how an app does on its nodes.
func instanceText(a manage.App) string {
	var states []string
	for _, in := range a.Instances {
		states = append(states, in.State)
	}
	return strings.Join(states, ",")
}

func newAppShow(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show an app: where it is, what it runs, how it does on each node",
		Example: "  latchkey app show orders",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := s.openApp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.printApp(a)
		},
	}
	s.addTo(c)
	return c
}

func (s *session) printApp(a manage.App) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, a)
	}
	facts := [][2]string{
		{"name", a.Name}, {"id", a.ID}, {"wanted", a.State}, {"url", a.URL}, {"release", first(a.Release, "nothing is deployed")},
	}
	for _, in := range a.Instances {
		facts = append(facts, [2]string{"node " + printable(in.Node), in.State})
		for _, e := range in.Errors {
			facts = append(facts, [2]string{"", e})
		}
	}
	return writeFacts(s.env.Stdout, facts)
}

// newAppAct makes one of the commands that change whether an app runs.
func newAppAct(env *Env, action, short, done, consequence string) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use:     action + " NAME",
		Short:   short,
		Example: "  latchkey app " + action + " orders",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, a, err := s.openApp(cmd.Context(), args[0])
			if err == nil && consequence != "" {
				err = confirm(cmd.Context(), env, yes, "app "+printable(a.Name)+": "+consequence, action+" it?")
			}
			if err == nil {
				err = in.Act(cmd.Context(), a, action)
			}
			if err != nil {
				return err
			}
			return s.done(cmd.Context(), in, a, done)
		},
	}
	s.addTo(c)
	if consequence != "" {
		c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	return c
}

// done tells of a change of an app; in JSON by the app as it is now.
func (s *session) done(ctx context.Context, in *manage.Installation, a manage.App, what string) error {
	if !s.out.is(formJSON) {
		_, err := fmt.Fprintf(s.env.Stdout, "%s %s\n", what, printable(a.Name))
		return err
	}
	now, err := in.App(ctx, a.ID)
	if err != nil {
		return err
	}
	return writeJSON(s.env.Stdout, now)
}

func newAppDelete(env *Env) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete an app with its releases, settings and keys",
		Example: "  latchkey app delete orders --yes",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return deleteApp(cmd.Context(), s, yes, args[0]) },
	}
	s.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func deleteApp(ctx context.Context, s *session, yes bool, name string) error {
	in, a, err := s.openApp(ctx, name)
	if err != nil {
		return err
	}
	loss := "app " + printable(a.Name) + " is deleted with its releases, settings and access keys: callers get 404, and an app made anew has other keys"
	if err := confirm(ctx, s.env, yes, loss, "delete it?"); err != nil {
		return err
	}
	if err := in.DeleteApp(ctx, a); err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, a)
	}
	_, err = fmt.Fprintf(s.env.Stdout, "deleted %s\n", printable(a.Name))
	return err
}

func newAppFunctions(env *Env) *cobra.Command {
	s := newSession(env)
	var showKeys bool
	c := &cobra.Command{
		Use:     "functions NAME",
		Short:   "List the functions of an app with their URLs and, if asked, their keys",
		Example: "  latchkey app functions orders\n  latchkey app functions orders --show-keys --output json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, a, err := s.openApp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.listAppFunctions(cmd.Context(), in, a, showKeys)
		},
	}
	s.addTo(c)
	c.Flags().BoolVar(&showKeys, "show-keys", false, "show the keys that open each function")
	return c
}

func (s *session) listAppFunctions(ctx context.Context, in *manage.Installation, a manage.App, showKeys bool) error {
	list, err := in.Functions(ctx, a)
	if err != nil {
		return err
	}
	if showKeys {
		if err := in.AddKeys(ctx, a, list); err != nil {
			return err
		}
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	return functionTable(s.env, list, showKeys)
}

// readSettings reads settings as flags and arguments have them: K=V; K=@file for
// the content of a file, without the line end; K=- for standard input; K=@@text for
// a value that begins with an at sign.
func readSettings(ctx context.Context, env *Env, pairs []string) (map[string]string, error) {
	settings, stdinTaken := map[string]string{}, false
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			// The text is left out: it could be a value.
			return nil, usageError{problem.New(problem.Invalid, "a setting is not K=V").WithNext("write it as NAME=VALUE, NAME=@file or NAME=-")}
		}
		if _, twice := settings[name]; twice {
			return nil, usageError{errors.New("setting " + printable(name) + " is given twice")}
		}
		if value == "-" {
			if stdinTaken {
				return nil, usageError{errors.New("only one setting can come from standard input")}
			}
			stdinTaken = true
		}
		text, err := settingValue(ctx, env, name, value)
		if err != nil {
			return nil, err
		}
		settings[name] = text
	}
	return settings, nil
}

func isReference(value string) bool {
	_, is, _ := keyref.Parse(value)
	return is
}

func settingValue(ctx context.Context, env *Env, name, value string) (string, error) {
	switch {
	case value == "-":
		return readSecret(ctx, env, "value of setting "+printable(name)+": ")
	case isReference(value): // no name of a file is like this
		return value, nil
	case strings.HasPrefix(value, "@@"):
		return value[1:], nil
	case strings.HasPrefix(value, "@"):
		return readSecretFile(value[1:])
	}
	return value, nil
}
