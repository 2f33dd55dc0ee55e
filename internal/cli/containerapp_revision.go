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

func newContainerIngress(env *Env) *cobra.Command {
	return newGroup("ingress", "Say how requests come to a container app",
		newIngressChange(env, "enable", true), newIngressChange(env, "update", false), newIngressDisable(env), newIngressShow(env),
		newGroup("traffic", "Share requests out among revisions", newTrafficSet(env), newTrafficShow(env)))
}

func newIngressChange(env *Env, action string, enable bool) *cobra.Command {
	f := newContainerFlags(env)
	m := &madeFlags{containerFlags: f}
	c := &cobra.Command{
		Use:     action,
		Short:   "Change how requests come to a container app",
		Example: "  latchkey containerapp ingress update orders --target-port 9090",
		RunE: func(cmd *cobra.Command, args []string) error {
			if enable && (m.ingress == "" || m.targetPort == 0) {
				return usageError{errors.New("say --type external or internal, and --target-port PORT")}
			}
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error {
				if _, err := a.Ingress(); err != nil && !enable {
					return err
				}
				err := m.applyIngress(a)
				if g := a.Properties.Configuration.Ingress; g != nil && cmd.Flags().Changed("allow-insecure") {
					g.AllowInsecure = m.insecure
				}
				return err
			})
			if err != nil {
				return err
			}
			return f.printIngress(a)
		},
	}
	if enable {
		c.Short, c.Example = "Let requests come to a container app", "  latchkey containerapp ingress enable orders --type external --target-port 8080"
	}
	f.addTo(c)
	c.Flags().StringVar(&m.ingress, "type", "", "who can send requests: external or internal")
	c.Flags().IntVar(&m.targetPort, "target-port", 0, "port that the container listens at")
	c.Flags().IntVar(&m.exposedPort, "exposed-port", 0, "port that tcp clients use")
	c.Flags().StringVar(&m.transport, "transport", "", "auto, http, http2 or tcp")
	c.Flags().BoolVar(&m.insecure, "allow-insecure", false, "answer http as well as https")
	return c
}

func newIngressDisable(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "disable",
		Short:   "Let no requests come to a container app any more",
		Example: "  latchkey containerapp ingress disable orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { a.Properties.Configuration.Ingress = nil; return nil })
			if err != nil {
				return err
			}
			return f.said(a.Shown, "no requests come to %s any more", a.Name)
		},
	}
	f.addTo(c)
	return c
}

func newIngressShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show how requests come to a container app",
		Example: "  latchkey containerapp ingress show orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.printIngress(a)
		},
	}
	f.addTo(c)
	return c
}

func (f *containerFlags) printIngress(a containerapps.App) error {
	g, err := a.Ingress()
	if err != nil {
		return err
	}
	return f.print(g, func() error {
		return writeFacts(f.env.Stdout, append([][2]string{{"url", a.URL()}, {"ingress", ingressText(g)}}, trafficFacts(g)...))
	})
}

func ingressText(g *containerapp.Ingress) string {
	who := "internal"
	if g.External {
		who = "external"
	}
	text := fmt.Sprintf("%s to port %d, %s", who, g.TargetPort, orText(g.Transport, "auto"))
	if g.AllowInsecure {
		text += ", http as well"
	}
	return text
}

func trafficFacts(g *containerapp.Ingress) [][2]string {
	var facts [][2]string
	for _, t := range g.Traffic {
		text := strconv.Itoa(t.Weight) + "%"
		if t.Label != "" {
			text += ", label " + t.Label
		}
		facts = append(facts, [2]string{"to " + trafficName(t), text})
	}
	return facts
}

func trafficName(t containerapp.Traffic) string {
	if t.LatestRevision {
		return "the newest revision"
	}
	return t.RevisionName
}

func newTrafficShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show how requests are shared out among revisions",
		Example: "  latchkey containerapp ingress traffic show orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.printTraffic(a)
		},
	}
	f.addTo(c)
	return c
}

func (f *containerFlags) printTraffic(a containerapps.App) error {
	g, err := a.Ingress()
	if err != nil {
		return err
	}
	list := slices.Clone(g.Traffic)
	if list == nil {
		list = []containerapp.Traffic{}
	}
	return f.print(list, func() error {
		var rows [][]string
		for _, t := range list {
			rows = append(rows, []string{orText(t.RevisionName, "latest"), strconv.Itoa(t.Weight) + "%", dash(t.Label)})
		}
		return writeTable(f.env.Stdout, "REVISION TRAFFIC LABEL", rows)
	})
}

func newTrafficSet(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var revisions, labels []string
	c := &cobra.Command{
		Use:   "set",
		Short: "Share requests out among revisions; those that are not named get none",
		Example: "  latchkey containerapp ingress traffic set orders --revision-weight latest=20 orders--abc1234=80\n" +
			"  latchkey containerapp ingress traffic set orders --label-weight blue=100",
		RunE: func(cmd *cobra.Command, args []string) error {
			byRevision, err := shares(revisions, "--revision-weight")
			if err != nil {
				return err
			}
			byLabel, err := shares(labels, "--label-weight")
			if err != nil {
				return err
			}
			if len(byRevision)+len(byLabel) == 0 {
				return usageError{errors.New("say --revision-weight REVISION=PERCENT or --label-weight LABEL=PERCENT")}
			}
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { return a.SetTraffic(byRevision, byLabel) })
			if err != nil {
				return err
			}
			return f.printTraffic(a)
		},
	}
	f.addTo(c)
	c.Flags().StringArrayVar(&revisions, "revision-weight", nil, "share of a revision, or of latest: REVISION=PERCENT; may be repeated")
	c.Flags().StringArrayVar(&labels, "label-weight", nil, "share of what has a label: LABEL=PERCENT; may be repeated")
	return c
}

func shares(texts []string, flag string) ([]containerapps.Share, error) {
	var list []containerapps.Share
	for _, text := range texts {
		name, percent, ok := strings.Cut(text, "=")
		weight, err := strconv.Atoi(percent)
		if !ok || name == "" || err != nil || weight < 0 || weight > 100 {
			return nil, usageError{fmt.Errorf("%s: write each as NAME=PERCENT, such as latest=20", flag)}
		}
		list = append(list, containerapps.Share{Name: name, Weight: weight})
	}
	return list, nil
}
