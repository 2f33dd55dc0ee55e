package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
)

func newContainerRevision(env *Env) *cobra.Command {
	return newGroup("revision", "Look at the revisions of a container app, and choose which run",
		newRevisionList(env), newRevisionShow(env),
		newRevisionAct(env, "activate", "Run a revision again", "activated"),
		newRevisionAct(env, "deactivate", "End a revision", "deactivated"),
		newRevisionAct(env, "restart", "Start the replicas of a revision anew", "restarting"),
		newRevisionCopy(env), newRevisionSetMode(env),
		newGroup("label", "Give revisions names of their own to send requests to", newLabelAdd(env), newLabelRemove(env)))
}

func newRevisionList(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var all bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the active revisions of a container app",
		Example: "  latchkey containerapp revision list orders\n  latchkey containerapp revision list orders --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			list, err := client.Revisions(cmd.Context(), a)
			if err != nil {
				return err
			}
			return f.printRevisions(list, all)
		},
	}
	f.addTo(c)
	c.Flags().BoolVar(&all, "all", false, "those that are not active as well")
	return c
}

func (f *containerFlags) printRevisions(list []containerapps.Revision, all bool) error {
	docs, rows := []json.RawMessage{}, [][]string{}
	for _, r := range list {
		p := r.Properties
		if !all && !p.Active {
			continue
		}
		docs = append(docs, r.Shown)
		active := "no"
		if p.Active {
			active = "yes"
		}
		rows = append(rows, []string{r.Name, active, revisionState(r), strconv.Itoa(p.Replicas), strconv.Itoa(p.Weight) + "%", dash(strings.Join(p.Labels, ",")), when(p.Created, time.Now())})
	}
	return f.print(docs, func() error {
		return writeTable(f.env.Stdout, "NAME ACTIVE STATE REPLICAS TRAFFIC LABELS CREATED", rows)
	})
}

func revisionState(r containerapps.Revision) string {
	if r.Properties.State == "Failed" {
		return "Failed"
	}
	return r.Properties.Running
}

func newRevisionShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var revision string
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show a revision: what it runs and how it does",
		Example: "  latchkey containerapp revision show orders --revision orders--abc1234",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			r, err := client.Revision(cmd.Context(), a, orText(revision, a.Properties.Latest))
			if err != nil {
				return err
			}
			return f.print(r.Shown, func() error { return writeFacts(f.env.Stdout, revisionFacts(r)) })
		},
	}
	f.addTo(c)
	addRevision(c, &revision, "the revision (default: the newest)")
	return c
}

func addRevision(c *cobra.Command, revision *string, usage string) {
	c.Flags().StringVar(revision, "revision", "", usage)
}

func revisionFacts(r containerapps.Revision) [][2]string {
	p := r.Properties
	facts := [][2]string{
		{"name", r.Name}, {"created", when(p.Created, time.Now())}, {"active", fmt.Sprint(p.Active)}, {"state", revisionState(r)}, {"health", p.Health}, {"problem", p.Details},
		{"replicas", strconv.Itoa(p.Replicas)}, {"traffic", strconv.Itoa(p.Weight) + "%"}, {"labels", strings.Join(p.Labels, ", ")},
	}
	for _, c := range p.Template.InitContainers {
		facts = append(facts, [2]string{"init " + c.Name, c.Image})
	}
	for _, c := range p.Template.Containers {
		facts = append(facts, [2]string{"container " + c.Name, c.Image + resourcesText(c)})
		for _, e := range c.Env {
			value := e.Value
			if e.SecretRef != "" {
				value = "from secret " + e.SecretRef
			}
			facts = append(facts, [2]string{"  " + e.Name, value})
		}
	}
	if p.Template.Scale != nil {
		facts = append(facts, [2]string{"scale", scaleText(p.Template.Scale)})
	}
	return facts
}

// resourcesText says in plain words what a container may use.
func resourcesText(c containerapp.Container) string {
	if c.Resources == nil {
		return ""
	}
	text := strconv.FormatFloat(c.Resources.CPU, 'f', -1, 64) + " core"
	if c.Resources.CPU != 1 {
		text += "s"
	}
	if n, ok := containerapp.MemoryBytes(c.Resources.Memory); ok {
		text += ", " + memoryText(n) + " of memory"
	}
	return " (" + text + ")"
}

func memoryText(n int64) string {
	if n < 1<<30 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', -1, 64) + " GiB"
}

// scaleText says in plain words how many replicas there are.
func scaleText(s *containerapp.Scale) string {
	least, most := 0, 10
	if s.MinReplicas != nil {
		least = *s.MinReplicas
	}
	if s.MaxReplicas != nil {
		most = *s.MaxReplicas
	}
	text := fmt.Sprintf("%d to %d", least, most)
	if least == most {
		text = strconv.Itoa(least)
	}
	var rules []string
	for _, r := range s.Rules {
		kind := "http"
		switch {
		case r.TCP != nil:
			kind = "tcp"
		case r.AzureQueue != nil:
			kind = "queue " + r.AzureQueue.QueueName
		case r.Custom != nil:
			kind = r.Custom.Type
		}
		rules = append(rules, r.Name+" ("+kind+")")
	}
	if len(rules) > 0 {
		text += " by " + strings.Join(rules, ", ")
	}
	return text
}

func newRevisionAct(env *Env, action, short, done string) *cobra.Command {
	f := newContainerFlags(env)
	var revision string
	c := &cobra.Command{
		Use: action, Short: short, Example: "  latchkey containerapp revision " + action + " orders --revision orders--abc1234",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err == nil {
				err = client.ActOnRevision(cmd.Context(), a, revision, action)
			}
			if err != nil {
				return err
			}
			r, err := client.Revision(cmd.Context(), a, revision)
			if err != nil {
				return err
			}
			return f.said(r.Shown, "%s %s", done, r.Name)
		},
	}
	f.addTo(c)
	addRevision(c, &revision, "the revision")
	_ = c.MarkFlagRequired("revision") // fails for a flag that is not there only
	return c
}

func newRevisionCopy(env *Env) *cobra.Command {
	f, t := newContainerFlags(env), &templateFlags{}
	var from string
	var noWait bool
	c := &cobra.Command{
		Use:   "copy",
		Short: "Make a revision from an older one, with changes",
		Example: "  latchkey containerapp revision copy orders --from-revision orders--abc1234\n" +
			"  latchkey containerapp revision copy orders --set-env-vars GREETING=Hello",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.copyRevision(cmd.Context(), args, t, from, noWait)
		},
	}
	f.addTo(c)
	t.addTo(c)
	t.addEnvChanges(c)
	c.Flags().StringVar(&from, "from-revision", "", "the revision to begin with (default: the newest)")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until the revision is ready")
	return c
}

func (f *containerFlags) copyRevision(ctx context.Context, args []string, t *templateFlags, from string, noWait bool) error {
	client, a, err := f.find(ctx, args)
	if err != nil {
		return err
	}
	r, err := client.Revision(ctx, a, orText(from, a.Properties.Latest))
	if err == nil {
		err = t.resolve(ctx, f)
	}
	if err != nil {
		return err
	}
	a, err = client.Change(ctx, a.ID, func(a *containerapps.App) error {
		template := r.Properties.Template
		a.Properties.Template = &template
		return t.apply(a, false)
	})
	if err != nil {
		return err
	}
	return (&madeFlags{containerFlags: f, noWait: noWait}).finish(ctx, client, a)
}

func newRevisionSetMode(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var mode string
	c := &cobra.Command{
		Use:     "set-mode",
		Short:   "Say whether several revisions can be active",
		Example: "  latchkey containerapp revision set-mode orders --mode multiple",
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := revisionMode(mode)
			if err != nil {
				return err
			}
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { a.Properties.Configuration.Mode = m; return nil })
			if err != nil {
				return err
			}
			return f.said(a.Shown, "%s has %s active revisions now", a.Name, strings.ToLower(string(m)))
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&mode, "mode", "", "single or multiple")
	_ = c.MarkFlagRequired("mode") // fails for a flag that is not there only
	return c
}

func newLabelAdd(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var label, revision string
	c := &cobra.Command{
		Use:     "add",
		Short:   "Give a revision a label, which leaves the one that has it",
		Example: "  latchkey containerapp revision label add orders --label blue --revision orders--abc1234",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { return a.AddLabel(label, revision) })
			if err != nil {
				return err
			}
			return f.printTraffic(a)
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&label, "label", "", "the label")
	addRevision(c, &revision, "the revision, or latest")
	_, _ = c.MarkFlagRequired("label"), c.MarkFlagRequired("revision") // as above
	return c
}

func newLabelRemove(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var label string
	c := &cobra.Command{
		Use:     "remove",
		Short:   "Take a label away; its revision keeps its share of requests",
		Example: "  latchkey containerapp revision label remove orders --label blue",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { return a.RemoveLabel(label) })
			if err != nil {
				return err
			}
			return f.printTraffic(a)
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&label, "label", "", "the label")
	_ = c.MarkFlagRequired("label") // fails for a flag that is not there only
	return c
}
