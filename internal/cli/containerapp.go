package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/containerapp"
)

func newContainerApp(env *Env) *cobra.Command {
	c := newGroup("containerapp", "Create, run and change the container apps of an installation",
		newContainerCreate(env), newContainerUp(env), newContainerUpdate(env), newContainerList(env), newContainerShow(env),
		newContainerAct(env, "start", "Start a container app that was stopped", "started"),
		newContainerAct(env, "stop", "Stop a container app: nothing of it runs until it is started", "stopped"),
		newContainerDelete(env), newContainerLogs(env), newContainerExec(env), newContainerRevision(env), newContainerReplica(env),
		newContainerIngress(env), newContainerSecret(env), newContainerRegistry(env), newContainerIdentity(env), newContainerEnv(env))
	c.Long = "Works through the management API of latchkey up, with the commands and flags of\n" +
		"az containerapp. An app is named by its name (first, or with --name), by name and\n" +
		"--resource-group, or by its whole id. Flags that take several values take them one after\n" +
		"the other (--env-vars A=1 B=2) or each with its own flag."
	return c
}

// containerLists are the flags of container apps that take several values.
var containerLists = []string{"--env-vars", "--set-env-vars", "--remove-env-vars", "--replace-env-vars", "--secrets", "--secret-names", "--tags",
	"--command", "--args", "--user-assigned", "--scale-rule-metadata", "--scale-rule-auth", "--revision-weight", "--label-weight"}

// spread gives every value after a flag that takes several a flag of its own, as
// flags are read here: --env-vars A=1 B=2 is --env-vars A=1 --env-vars B=2.
func spread(args []string) []string {
	if len(args) == 0 || args[0] != "containerapp" || slices.Contains(args[:min(2, len(args))], "exec") {
		return args
	}
	var out []string
	list, first := "", false
	for i, arg := range args {
		switch {
		case arg == "--":
			return append(out, args[i:]...)
		case strings.HasPrefix(arg, "-") && !first:
			list = ""
			if slices.Contains(containerLists, arg) {
				list, first = arg, true
			}
		case list != "" && !first:
			out = append(out, list)
		default:
			first = false
		}
		out = append(out, arg)
	}
	return out
}

// containerFlags say which app a command is about.
type containerFlags struct {
	*session
	name, group string
	in          *manage.Installation // once it is open
	secretsRead map[string]containerapp.Secret
}

// addTo adds the flags, and lets the name come first.
func (f *containerFlags) addTo(c *cobra.Command) {
	f.session.addTo(c)
	c.Use += " [NAME]"
	c.Args = cobra.MaximumNArgs(1)
	c.Flags().StringVarP(&f.name, "name", "n", "", "name of the container app, if it is not the argument")
	c.Flags().StringVarP(&f.group, "resource-group", "g", "", "its resource group, if the name alone does not say which")
}

func newContainerFlags(env *Env) *containerFlags { return &containerFlags{session: newSession(env)} }

// named gives the name that was said.
func (f *containerFlags) named(args []string) (string, error) {
	switch {
	case len(args) == 1 && f.name != "" && args[0] != f.name:
		return "", usageError{errors.New("the app is named twice: " + printable(args[0]) + " and " + printable(f.name))}
	case len(args) == 1:
		return args[0], nil
	case f.name == "":
		return "", usageError{errors.New("say which container app: NAME, or --name")}
	}
	return f.name, nil
}

// client signs in.
func (f *containerFlags) client(ctx context.Context) (*containerapps.Client, error) {
	in, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := in.Subscription(ctx)
	f.in = in
	return containerapps.New(in.Client(), sub), err
}

// find signs in and finds the app.
func (f *containerFlags) find(ctx context.Context, args []string) (*containerapps.Client, containerapps.App, error) {
	name, err := f.named(args)
	if err != nil {
		return nil, containerapps.App{}, err
	}
	c, err := f.client(ctx)
	if err != nil {
		return nil, containerapps.App{}, err
	}
	a, err := c.App(ctx, name, f.group)
	return c, a, err
}

// change signs in, finds the app and changes it.
func (f *containerFlags) change(ctx context.Context, args []string, change func(a *containerapps.App) error) (*containerapps.Client, containerapps.App, error) {
	c, a, err := f.find(ctx, args)
	if err == nil {
		a, err = c.Change(ctx, a.ID, change)
	}
	return c, a, err
}

// tell shows progress where a person sees it and scripts do not.
func (f *containerFlags) tell(format string, args ...any) {
	fmt.Fprintln(f.env.Stderr, sentences(fmt.Sprintf(format, args...)))
}

// print shows a document in JSON, or what table does.
func (s *session) print(doc any, table func() error) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, doc)
	}
	return table()
}

// said prints one line, or a document in JSON.
func (s *session) said(doc any, format string, args ...any) error {
	return s.print(doc, func() error {
		_, err := fmt.Fprintln(s.env.Stdout, sentences(fmt.Sprintf(format, args...)))
		return err
	})
}

func newContainerList(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var environment string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the container apps",
		Example: "  latchkey containerapp list\n  latchkey containerapp list -g apps --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := f.client(cmd.Context())
			if err != nil {
				return err
			}
			return f.list(cmd.Context(), client, environment)
		},
	}
	f.session.addTo(c)
	c.Flags().StringVarP(&f.group, "resource-group", "g", "", "only apps of this resource group")
	c.Flags().StringVar(&environment, "environment", "", "only apps of this environment, by name or id")
	return c
}

func (f *containerFlags) list(ctx context.Context, client *containerapps.Client, environment string) error {
	apps, err := client.Apps(ctx, f.group)
	if err != nil {
		return err
	}
	if environment != "" {
		e, err := client.Environment(ctx, environment, "")
		if err != nil {
			return err
		}
		apps = slices.DeleteFunc(apps, func(a containerapps.App) bool { return !strings.EqualFold(a.Properties.EnvironmentID, e.ID) })
	}
	docs, rows := []json.RawMessage{}, [][]string{}
	for _, a := range apps {
		docs = append(docs, a.Shown)
		rows = append(rows, []string{a.Name, a.Group, stateOf(a), dash(a.Properties.LatestReady), dash(a.URL())})
	}
	return f.print(docs, func() error { return writeTable(f.env.Stdout, "NAME GROUP STATE REVISION URL", rows) })
}

// stateOf says how an app is in one word.
func stateOf(a containerapps.App) string {
	if a.Properties.State != "Succeeded" {
		return a.Properties.State
	}
	return a.Properties.Running
}

func newContainerShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var secrets bool
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show a container app: where it answers, what it runs, with which identities",
		Example: "  latchkey containerapp show orders\n  latchkey containerapp show -n orders -g apps --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.show(cmd.Context(), client, a, secrets)
		},
	}
	f.addTo(c)
	c.Flags().BoolVar(&secrets, "show-secrets", false, "show the values of secrets as well")
	return c
}

func (f *containerFlags) show(ctx context.Context, client *containerapps.Client, a containerapps.App, secrets bool) error {
	if secrets {
		list, err := client.Secrets(ctx, a)
		if err != nil {
			return err
		}
		if a.Shown, err = withSecrets(a.Shown, list); err != nil {
			return err
		}
		if !f.out.is(formJSON) {
			return f.printSecrets(list, true)
		}
	}
	return f.print(a.Shown, func() error { return writeFacts(f.env.Stdout, containerFacts(a)) })
}

// withSecrets puts values into a document.
func withSecrets(doc json.RawMessage, list []containerapps.Secret) (json.RawMessage, error) {
	var m map[string]any
	if err := json.Unmarshal(doc, &m); err != nil {
		return nil, err
	}
	properties, _ := m["properties"].(map[string]any)
	if c, ok := properties["configuration"].(map[string]any); ok {
		c["secrets"] = list
	}
	return json.Marshal(m)
}

func containerFacts(a containerapps.App) [][2]string {
	p := a.Properties
	facts := [][2]string{
		{"name", a.Name}, {"group", a.Group}, {"environment", lastOf(p.EnvironmentID)}, {"state", stateOf(a)}, {"problem", p.Errors}, {"url", a.URL()},
		{"latest revision", p.Latest}, {"ready revision", p.LatestReady}, {"revisions", strings.ToLower(string(p.Configuration.Mode))},
	}
	for _, c := range p.Template.InitContainers {
		facts = append(facts, [2]string{"init " + c.Name, c.Image})
	}
	for _, c := range p.Template.Containers {
		facts = append(facts, [2]string{"container " + c.Name, c.Image + resourcesText(c)})
	}
	if g := p.Configuration.Ingress; g != nil {
		facts = append(facts, [2]string{"ingress", ingressText(g)})
	}
	if s := p.Template.Scale; s != nil {
		facts = append(facts, [2]string{"replicas", scaleText(s)}, [2]string{"scale problem", p.ScaleProblem()})
	}
	for _, i := range identitiesOf(a) {
		facts = append(facts, [2]string{"identity " + i.name, i.lifecycle})
	}
	for _, s := range p.Configuration.Secrets {
		facts = append(facts, [2]string{"secret " + s.Name, secretFrom(s.KeyVaultURL, s.Identity)})
	}
	return facts
}

// lastOf gives the last part of an id.
func lastOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func newContainerAct(env *Env, action, short, done string) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use: action, Short: short, Example: "  latchkey containerapp " + action + " orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err == nil {
				err = client.Act(cmd.Context(), a, action)
			}
			if err == nil && action == "start" {
				a, err = client.Await(cmd.Context(), a.ID, func(step string) { f.tell("%s", step) })
			} else if err == nil {
				a, err = client.App(cmd.Context(), a.ID, "")
			}
			if err != nil {
				return err
			}
			return f.said(a.Shown, "%s %s", done, a.Name)
		},
	}
	f.addTo(c)
	return c
}

func newContainerDelete(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var yes bool
	c := &cobra.Command{
		Use:     "delete",
		Short:   "Delete a container app with its revisions, secrets and its own identity",
		Example: "  latchkey containerapp delete orders --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			loss := "container app " + printable(a.Name) + " is deleted with its revisions, secrets and its own identity"
			if err := confirm(cmd.Context(), env, yes, loss, "delete it?"); err != nil {
				return err
			}
			if err := client.Delete(cmd.Context(), a); err != nil {
				return err
			}
			return f.said(a.Shown, "deleted %s", a.Name)
		},
	}
	f.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// when says how long ago something was, in plain words.
func when(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	count := func(n int, what string) string {
		if n == 1 {
			return "1 " + what + " ago"
		}
		return strconv.Itoa(n) + " " + what + "s ago"
	}
	switch d := now.Sub(t); {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d.Minutes()), "minute")
	case d < 48*time.Hour:
		return count(int(d.Hours()), "hour")
	default:
		return count(int(d.Hours()/24), "day")
	}
}
